"""A policy authority in memory, with the faults a database can have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from engine.model.commands import CommandNote
from engine.model.emergency import Trip, TripSource
from engine.model.errors import PolicyConflict, StoreError
from engine.model.events import Event, PolicyChanged
from engine.model.ids import TripId
from engine.model.policy import PolicyDocument, document_hash
from engine.model.policy_revision import Revision
from engine.policy import AuthorityState


class FakeAuthority:
    """Compare-and-set over a list of documents; `down` makes every answer a StoreError."""

    name = "state database"

    def __init__(self) -> None:
        self.documents: list[PolicyDocument] = []
        self.journal: list[PolicyChanged] = []
        self.commands: list[CommandNote | None] = []
        self.kept: tuple[int, tuple[Revision, ...]] | None = None
        self.down = False
        self.own_line = "desk:1"

    async def heads(self) -> tuple[int, tuple[Revision, ...]] | None:
        await self._answer()
        return self.kept

    async def line(self) -> str:
        await self._answer()
        return self.own_line

    async def newest(self) -> PolicyDocument | None:
        await self._answer()
        return self.documents[-1] if self.documents else None

    async def confirm(self) -> AuthorityState | None:
        await self._answer()
        if not self.documents:
            return None
        newest = self.documents[-1]
        return AuthorityState(version=newest.version, sha256=document_hash(newest))

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
        await self._answer()
        current = self.documents[-1].version if self.documents else 0
        if current != base_version:
            raise PolicyConflict(base_version, current)
        self.documents.append(document)
        self.kept = (document.version, heads)
        self.commands.append(command)
        self.journal += [event for event in events if isinstance(event, PolicyChanged)]

    async def keep_heads(
        self, heads: tuple[Revision, ...], *, version: int, events: Sequence[Event]
    ) -> None:
        await self._answer()
        self.kept = (version, heads)

    async def versions(self) -> tuple[PolicyDocument, ...]:
        await self._answer()
        return tuple(self.documents)

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise StoreError("disk I/O error")


class FakeEmergency:
    """The stop's side of the policy: trips, without anything being stopped."""

    def __init__(self) -> None:
        self._trips: list[Trip] = []
        self.latched = False

    def is_latched(self) -> bool:
        return self.latched

    @property
    def trips(self) -> tuple[Trip, ...]:
        return tuple(self._trips)

    def trip(self, *, source: TripSource, reason: str) -> Trip:
        number = len(self._trips) + 1
        trip = Trip(id=TripId(f"x{number}"), source=source, reason=reason, ts_ns=number)
        self._trips.append(trip)
        self.latched = True
        return trip


__all__ = ["FakeAuthority", "FakeEmergency"]
