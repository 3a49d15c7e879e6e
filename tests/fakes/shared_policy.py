"""The desk's policy in memory: one place that several nodes read and write, and that may be away.

Compare-and-set as the real one; who holds the key signs. `forget` is a flush. The real one is
tested in `tests/faults/test_shared_policy.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from engine.model.errors import BridgeDown
from engine.model.policy import PolicyDocument, document_hash
from engine.model.policy_revision import Revision, SharedReading, revisions_json

__all__ = ["FakeDesk", "FakeShared"]


class FakeDesk:
    """What is there, and who is told when it changes."""

    def __init__(self) -> None:
        self.reading = SharedReading(is_missing=True)
        self.writes = 0
        self.nodes: list[FakeShared] = []

    def put(self, reading: SharedReading) -> None:
        """Somebody wrote it, by whatever means."""
        self.reading = reading
        self.writes += 1

    def forget(self) -> None:
        self.reading = SharedReading(is_missing=True)


class FakeShared:
    """One node's way to it; implements `engine.policy.SharedPolicy`."""

    def __init__(self, desk: FakeDesk, node: str, *, key: str = "key") -> None:
        self.desk = desk
        self.node = node
        self.key = key
        self.is_there = True
        self._unproved: tuple[SharedReading, SharedReading] | None = None

    @property
    def has_key(self) -> bool:
        return bool(self.key)

    async def read(self) -> SharedReading:
        await self._answer()
        found = self.desk.reading
        if not found.is_signed or self.key:
            return found
        if self._unproved is None or self._unproved[0] is not found:
            # Without the key nobody can tell.
            self._unproved = found, msgspec.structs.replace(found, is_signed=False)
        return self._unproved[1]

    async def write(
        self, document: PolicyDocument, heads: Sequence[Revision], *, based_on: SharedReading
    ) -> bool:
        await self._answer()
        if self.desk.reading.stood != based_on.stood:
            return False
        said = revisions_json(tuple(heads))
        self.desk.put(
            SharedReading(
                stood=(str(document.version), document_hash(document), said),
                is_signed=bool(self.key),
                node=self.node,
                document=document,
                heads=tuple(heads),
            )
        )
        return True

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if not self.is_there:
            raise BridgeDown("Redis is away")
