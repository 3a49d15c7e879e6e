"""The state database as the policy's authority: standalone, it has the last word.

A thin translation of `TradeStore`: version, heads, events and audit entry are one transaction
there, reads go through the reader, so that a confirmation proves what is on the disk and not what
is in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from engine.model.commands import CommandNote
from engine.model.events import Event
from engine.model.policy import PolicyDocument, document_hash
from engine.model.policy_revision import Revision, revisions_from_json, revisions_json
from engine.policy.authority import AuthorityState
from engine.trade_state import TradeStore

_log = logging.getLogger(__name__)
_VERSIONS_MAX = 1_000


class StateDatabaseAuthority:
    """Implements `PolicyAuthority`. `new_line` is of this start only, and used where the database
    has no name of its own for its changes yet."""

    name = "state database"

    def __init__(self, *, store: TradeStore, node: str, new_line: str) -> None:
        self._store = store
        self._node = node
        self._new_line = new_line
        # What the newest row held when it was last looked at, and what that means.
        self._record = b""
        self._state: AuthorityState | None = None

    async def newest(self) -> PolicyDocument | None:
        """The newest document."""
        found = await self._store.history.policies(limit=1)
        return found[0] if found else None

    async def heads(self) -> tuple[int, tuple[Revision, ...]] | None:
        """None also where a different Seawall wrote what this one cannot read."""
        found = await self._store.history.policy_heads()
        if found is None:
            return None
        version, text = found
        try:
            return version, revisions_from_json(text)
        except ValueError as error:  # msgspec's are.
            _log.error("the heads of the policy cannot be read, its descent is lost: %s", error)
            return None

    async def line(self) -> str:
        """Kept in the database."""
        return await self._store.policy_line(node=self._node, new_line=self._new_line)

    async def confirm(self) -> AuthorityState | None:
        """What the disk holds now."""
        record = await self._store.history.newest_policy_record()
        if record is None:
            return None
        if record != self._record:
            # Decoding and hashing cost a thousand times what comparing the bytes does.
            document = msgspec.json.decode(record, type=PolicyDocument)
            self._state = AuthorityState(version=document.version, sha256=document_hash(document))
            self._record = record
        return self._state

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
        """Compare-and-set in one transaction."""
        await self._store.record_policy_version(
            document,
            base_version,
            events,
            heads=revisions_json(heads),
            origin=origin,
            command=command,
        )

    async def keep_heads(
        self, heads: tuple[Revision, ...], *, version: int, events: Sequence[Event]
    ) -> None:
        """In one transaction with their events."""
        await self._store.record_policy_heads(revisions_json(heads), version=version, events=events)

    async def versions(self) -> tuple[PolicyDocument, ...]:
        """The newest 1,000 versions, oldest first."""
        return tuple(reversed(await self._store.history.policies(limit=_VERSIONS_MAX)))


__all__ = ["StateDatabaseAuthority"]
