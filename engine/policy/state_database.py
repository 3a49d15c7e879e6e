"""The state database as the policy's authority: standalone, it has the last word.

A thin translation of `TradeStore`: version, event and audit entry are one transaction there, reads
go through the reader, so that a confirmation proves what is on the disk and not what is in memory.
"""

from __future__ import annotations

import msgspec

from engine.model.events import PolicyChanged
from engine.model.policy import PolicyDocument, document_hash
from engine.policy.authority import AuthorityState
from engine.trade_state import TradeStore

_VERSIONS_MAX = 1_000


class StateDatabaseAuthority:
    """Implements `PolicyAuthority`."""

    name = "state database"

    def __init__(self, *, store: TradeStore) -> None:
        self._store = store
        # What the newest row held when it was last looked at, and what that means.
        self._record = b""
        self._state: AuthorityState | None = None

    async def newest(self) -> PolicyDocument | None:
        """The newest document."""
        found = await self._store.history.policies(limit=1)
        return found[0] if found else None

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
        self, document: PolicyDocument, *, base_version: int, event: PolicyChanged
    ) -> None:
        """Compare-and-set in one transaction."""
        await self._store.record_policy_version(document, base_version, (event,))

    async def versions(self) -> tuple[PolicyDocument, ...]:
        """The newest 1,000 versions, oldest first."""
        return tuple(reversed(await self._store.history.policies(limit=_VERSIONS_MAX)))


__all__ = ["StateDatabaseAuthority"]
