"""Trips and clearings on the disk: written beside, owed until they are there, and compared.

Nobody waits for a record: what cannot be written now is tried again with the next look. The look
reads the tables off the loop and compares what they would make of a restart with what the engine
knows. What the tables lack is put back, a trip that only they know counts, a clearing that only
they know does not: somebody's hand may tighten, never relax. On the loop; never fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from engine.bus import EventBus
from engine.execution import announce
from engine.model.emergency import Scope
from engine.model.emergency_sets import ClearingKey, EmergencySets, TripKey
from engine.model.errors import StoreError
from engine.model.events import Event
from engine.model.ids import TripId
from engine.runtime import Stamper
from engine.trade_state import TradeStore

_log = logging.getLogger(__name__)
_Standing = frozenset[tuple[TripId, str, Scope]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The tables differ from the engine in what they make of it. `unknown` is what only they
    have.
    """

    why: str
    unknown: EmergencySets


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    found: EmergencySets
    events: tuple[Event, ...]
    where: str


class EmergencyRecords:
    """The two tables, as one engine keeps them."""

    def __init__(self, *, store: TradeStore, bus: EventBus, stamper: Stamper) -> None:
        self._store = store
        self._bus = bus
        self._stamper = stamper
        # Not known to be on the disk: on the way there, or to be tried again.
        self._owed_trips: set[TripKey] = set()
        self._owed_clearings: set[ClearingKey] = set()
        self._failed: list[_Record] = []

    def record(
        self, found: EmergencySets, events: Sequence[Event] = (), *, where: str
    ) -> asyncio.Future[None]:
        """Write, then publish the events; whoever asks may wait for it or not."""
        self._owed_trips |= found.trips.keys()
        self._owed_clearings |= found.clearings.keys()
        record = _Record(found=found, events=tuple(events), where=where)
        ts_ns = self._stamper()["ts_ns"]
        future = self._store.record_emergency(found, events, where=where, ts_ns=ts_ns)
        future.add_done_callback(lambda done: self._recorded(done, record))
        return future

    def _recorded(self, done: asyncio.Future[None], record: _Record) -> None:
        if done.cancelled() or (error := done.exception()) is not None:
            _log.error("trips or clearings are not on the disk yet: %s", done)
            self._failed.append(record)
            return
        assert error is None
        self._owed_trips -= record.found.trips.keys()
        self._owed_clearings -= record.found.clearings.keys()
        for event in record.events:
            announce(self._bus, event, journaled=True)

    def try_again(self) -> None:
        """Write what could not be written."""
        failed, self._failed = self._failed, []
        for record in failed:
            self.record(record.found, record.events, where=record.where)

    async def compare(self, known: Callable[[], EmergencySets]) -> Difference | None:
        """Read the tables and put them right; says what a restart would have made of them."""
        before = known()
        owed_trips, owed_clearings = set(self._owed_trips), set(self._owed_clearings)
        try:
            disk = await self._store.history.emergency()
        except StoreError as error:
            _log.warning("the tables of trips and clearings were not compared: %s", error)
            return None  # The writer's health has an alarm and shuts the gate.
        except msgspec.MsgspecError as error:
            why = f"the database holds a trip or clearing that cannot be read: {error}"
            await self._repair(before, EmergencySets(), why)
            return Difference(why=why, unknown=EmergencySets())
        now = known()
        expected = EmergencySets(
            {key: one for key, one in before.trips.items() if key not in owed_trips},
            {key: one for key, one in before.clearings.items() if key not in owed_clearings},
        )
        unknown = disk.minus(now)
        lacking = _lacking(expected, disk)
        why = _difference(expected=expected, now=now, disk=disk)
        if lacking.trips or lacking.clearings or unknown.clearings:
            await self._repair(lacking, unknown, why or "the tables of trips were changed by hand")
        return Difference(why=why, unknown=unknown) if why else None

    async def _repair(self, wanted: EmergencySets, unknown: EmergencySets, why: str) -> None:
        _log.error("%s; the tables are put right", why)
        ts_ns = self._stamper()["ts_ns"]
        try:
            await self._store.repair_emergency(wanted, unknown, why=why, ts_ns=ts_ns)
        except StoreError as error:
            _log.warning("the tables could not be put right: %s", error)


def _difference(*, expected: EmergencySets, now: EmergencySets, disk: EmergencySets) -> str:
    """In words what a restart would take for tripped that is not, and the other way round."""
    # What is being cleared at this moment may or may not be on the disk yet.
    fresh = {
        trip
        for key, clearing in now.clearings.items()
        if key not in expected.clearings
        for trip in clearing.trips
    }
    lost = {one for one in _standing(expected) - _standing(disk) if one[0] not in fresh}
    extra = {one for one in _standing(disk) - _standing(now) if one[0] not in fresh}
    parts = []
    if lost:
        parts.append(f"the database does not know as uncleared: {_listed(lost)}")
    if extra:
        parts.append(f"only the database knows as uncleared: {_listed(extra)}")
    return "; ".join(parts)


def _lacking(expected: EmergencySets, disk: EmergencySets) -> EmergencySets:
    """What a restart would miss; the table has room for one trip of an id."""
    there = disk.by_id()
    return EmergencySets.of(
        [
            trip
            for id, trip in expected.by_id().items()
            if id not in there or (there[id].scope, there[id].node) != (trip.scope, trip.node)
        ],
        expected.minus(disk).clearings.values(),
    )


def _standing(sets: EmergencySets) -> _Standing:
    cleared = sets.cleared
    return frozenset(
        (trip.id, trip.node, trip.scope) for trip in sets.by_id().values() if trip.id not in cleared
    )


def _listed(standing: Iterable[tuple[TripId, str, Scope]]) -> str:
    return ", ".join(
        f"{id} (node {node}, scope {scope.value})" for id, node, scope in sorted(standing)
    )


__all__ = ["Difference", "EmergencyRecords"]
