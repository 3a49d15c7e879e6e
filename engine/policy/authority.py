"""The port to whoever has the last word on the policy: standalone, the state database.

Why a port: with Redis on the desk the shared policy answers the same questions. Every method raises
StoreError when the authority does not answer; nothing was changed then.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from engine.model.events import PolicyChanged
from engine.model.policy import PolicyDocument


class AuthorityState(msgspec.Struct, frozen=True, kw_only=True):
    """What the authority holds now: the newest version and the hash of its document."""

    version: int
    sha256: str


class PolicyAuthority(Protocol):
    """Holds every version."""

    @property
    def name(self) -> str:
        """Shown as the policy's source, e.g. `state database`."""
        ...

    async def newest(self) -> PolicyDocument | None:
        """The newest document, or None when there is none yet."""
        ...

    async def confirm(self) -> AuthorityState | None:
        """Version and hash of what is stored now, read from the disk and not from memory."""
        ...

    async def store(
        self, document: PolicyDocument, *, base_version: int, event: PolicyChanged
    ) -> None:
        """Add a version in one transaction with its event and its audit entry.

        Raises PolicyConflict when the newest version is not `base_version` (0: there is none).
        """
        ...

    async def versions(self) -> tuple[PolicyDocument, ...]:
        """Every version, oldest first."""
        ...


__all__ = ["AuthorityState", "PolicyAuthority"]
