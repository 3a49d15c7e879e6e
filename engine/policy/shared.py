"""The port to the policy that the desk shares. Redis fills it; every method raises BridgeDown when
it does not answer, and then nothing is known.

What is read is only what is there: whether it may be believed is decided by `DeskPolicy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.model.policy import PolicyDocument
from engine.model.policy_revision import Revision, SharedReading


class SharedPolicy(Protocol):
    """One document for the whole desk, with what it follows from."""

    @property
    def has_key(self) -> bool:
        """Whether this node can sign, and so tell the desk's own documents from others."""
        ...

    @property
    def is_there(self) -> bool:
        """Whether it is worth asking now."""
        ...

    async def read(self) -> SharedReading:
        """What is there now; the same object as before while nothing has changed."""
        ...

    async def write(
        self, document: PolicyDocument, heads: Sequence[Revision], *, based_on: SharedReading
    ) -> bool:
        """Replace what was read; False when it is not there any more, and nothing was written.
        Every node is told."""
        ...


__all__ = ["SharedPolicy"]
