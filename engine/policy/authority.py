"""The port to where this node keeps the policy: the state database.

Standalone it has the last word; on a desk it is the snapshot that every change writes first, and
Redis has the last word (`engine.policy.shared`). Every method raises StoreError when it does not
answer; nothing was changed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from engine.model.commands import CommandNote
from engine.model.events import Event
from engine.model.policy import PolicyDocument
from engine.model.policy_revision import Revision


class AuthorityState(msgspec.Struct, frozen=True, kw_only=True):
    """What the authority holds now: the newest version and the hash of its document."""

    version: int
    sha256: str


class PolicyAuthority(Protocol):
    """Holds every version that was in force on this node, and the heads of what the desk knows."""

    @property
    def name(self) -> str:
        """Shown as the policy's source, e.g. `state database`."""
        ...

    async def newest(self) -> PolicyDocument | None:
        """The newest document, or None when there is none yet."""
        ...

    async def heads(self) -> tuple[int, tuple[Revision, ...]] | None:
        """The heads, and the version in force that was made of them; None when none were kept."""
        ...

    async def line(self) -> str:
        """The name under which this database counts its own changes."""
        ...

    async def confirm(self) -> AuthorityState | None:
        """Version and hash of what is stored now, read from the disk and not from memory."""
        ...

    async def store(
        self,
        document: PolicyDocument,
        *,
        base_version: int,
        heads: tuple[Revision, ...],
        events: Sequence[Event],
        origin: str = "policy",
        command: CommandNote | None = None,
    ) -> None:
        """Add a version in one transaction with its heads, its events and its audit entry, which
        names the origin, and the command that asked for it.

        Raises PolicyConflict when the newest version is not `base_version` (0: there is none),
        CommandKnown when the command had its effect before.
        """
        ...

    async def keep_heads(
        self, heads: tuple[Revision, ...], *, version: int, events: Sequence[Event]
    ) -> None:
        """Heads that change nothing of what is in force, `version`."""
        ...

    async def versions(self) -> tuple[PolicyDocument, ...]:
        """Every version, oldest first."""
        ...


__all__ = ["AuthorityState", "PolicyAuthority"]
