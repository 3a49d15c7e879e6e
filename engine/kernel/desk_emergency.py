"""The desk's emergency as this node knows it: trips and clearings, obeyed, shared and compared.

Who knows what (R-POL-5): the sets in memory are what is obeyed; the database and the desk's hash in
Redis hold them for a restart and for the other nodes. What arrives is obeyed first and recorded
beside: a trip of scope desk, or of this node, makes the stop trip under the trip's own id; another
node's own trip holds entries here until its clearing arrives. A clearing lets entries pass; this
node's own latch waits for a person at this node.

R-POL-6: stop and sets are compared every second, the tables every few seconds, the hash with every
read. A difference counts as tripped. What Redis lost is written back and trips nobody: a flushed
server is no information.

The stop waits for nothing here. On the loop; `exchange` alone raises (LINK_FAULTS).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import msgspec

from engine.bus import EventBus
from engine.emergency_stop import EmergencyStop
from engine.health import AlarmDesk
from engine.kernel.emergency_records import EmergencyRecords
from engine.kernel.storage import Storage
from engine.model.emergency import Clearing, EmergencySnapshot, Scope, Trip, TripSource
from engine.model.emergency_sets import UNKNOWN_NODE, EmergencySets
from engine.model.events import DeskEmergencyChanged, Event
from engine.model.ids import TripId
from engine.model.limits import (
    EMERGENCY_KEPT_S,
    EMERGENCY_READ_AGE_GATE_S,
    EMERGENCY_READ_INTERVAL_S,
    EMERGENCY_TABLES_INTERVAL_S,
)
from engine.ports import Clock
from engine.redis_link import (
    EMERGENCY_TOPIC,
    LINK_FAULTS,
    FoundEmergency,
    RedisLink,
    SharedEmergency,
)
from engine.runtime import Stamper, within

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# Others need time to see a clearing before it and its trip are forgotten.
_FORGET_EVERY_S = 3_600.0
_REASON_MAX = 120


class DeskEmergency:
    """One node's part in the desk's emergency. Implements `EmergencyView` for the policy."""

    def __init__(
        self,
        *,
        storage: Storage,
        stop: EmergencyStop,
        redis: RedisLink,
        shared: SharedEmergency,
        alarms: AlarmDesk,
        bus: EventBus,
        io_clock: Clock,
        stamper: Stamper,
    ) -> None:
        self._node = shared.node
        # A private server is nobody else's: there is no desk to tell.
        self._is_alone = redis.snapshot().mode != "url"
        self._stop = stop
        self._redis = redis
        self._shared = shared
        self._alarms = alarms
        self._io_clock = io_clock
        self._stamper = stamper
        self.records = EmergencyRecords(store=storage.store, bus=bus, stamper=stamper)
        state = storage.open_state
        self._sets = EmergencySets.of(state.trips, state.clearings)
        self._holding: tuple[Trip, ...] = self._sets.holding(self._node)
        self._under_way: frozenset[TripId] = frozenset()
        self._found = FoundEmergency()
        self._found_ids: frozenset[TripId] = frozenset()
        self._found_in_outage = -1
        self._given: tuple[FoundEmergency, EmergencySets] | None = None
        self._read_ns: int | None = None
        self._read_why = ""
        self._forget_ns = io_clock.monotonic_ns() + round(_FORGET_EVERY_S * _NS)
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        redis.hear(EMERGENCY_TOPIC, self._wake.set)

    # --- what others ask ------------------------------------------------------------------------

    @property
    def sets(self) -> EmergencySets:
        """Everything that is known."""
        return self._sets

    @property
    def holding(self) -> tuple[Trip, ...]:
        """Other nodes' own uncleared trips: they hold entries here."""
        return self._holding

    def is_latched(self) -> bool:
        """Whether this node is in emergency: stopped, or held by another node's trip."""
        return self._stop.is_latched() or bool(self._holding)

    @property
    def trips(self) -> tuple[Trip, ...]:
        """The stop's trips, then those that hold entries; another node's minimum balance says
        nothing of ours.
        """
        others = (trip for trip in self._holding if trip.source is not TripSource.MIN_BALANCE)
        return (*self._stop.trips, *others)

    def trip(self, *, source: TripSource, reason: str) -> object:
        """Stop this node."""
        return self._stop.trip(source=source, reason=reason)

    def blocking(self) -> tuple[str, ...]:
        """Every trip that keeps entries from leaving, in words for the gate."""
        return (
            *(trip.id for trip in self._stop.trips),
            *(trip_words(trip) for trip in self._holding),
        )

    def unread_why(self) -> str:
        """Why the desk's trips are not known as of now, or nothing; in standalone there are
        none.
        """
        if self._redis.is_standalone or self._redis.recovering or self._read_ns is None:
            return ""  # The link's own state says it.
        age_s = (self._io_clock.monotonic_ns() - self._read_ns) / _NS
        if age_s <= EMERGENCY_READ_AGE_GATE_S:
            return ""
        why = f": {self._read_why}" if self._read_why else ""
        return f"the desk's trips were last read {age_s:.1f} s ago{why}"

    @property
    def desk_why(self) -> str:
        """What the desk cannot be told or this node does not obey; empty when all is well."""
        parts = [f"{one} is not obeyed: {why}" for one, why in self._refused().items()]
        if untold := ", ".join(self.untold()):
            parts.append(
                f"there is no Redis of a desk to tell of {untold}: only this node was stopped"
                if self._is_alone
                else f"the desk does not know yet of {untold}; it is told as soon as Redis is there"
            )
        if self._untold():
            parts.append(
                "this node has no desk key, so its resets are not signed: other nodes stay blocked"
                " until they are reset there"
            )
        return "; ".join(parts)

    def snapshot(self) -> EmergencySnapshot:
        """The stop's, with what holds entries for the desk."""
        shown = self._stop.snapshot()
        if not shown.latched and not self._holding and self._is_alone:
            return shown
        return msgspec.structs.replace(
            shown, elsewhere=self._holding, desk_why=self.desk_why, untold=self.untold()
        )

    def untold(self) -> tuple[TripId, ...]:
        """Uncleared trips that are not in Redis; without a desk, those that were meant for one."""
        # The stop tells of a trip a moment after it has tripped.
        due = self._sets.plus(self._stop.trips).uncleared()
        if self._is_alone:
            return tuple(trip.id for trip in due if trip.scope is Scope.DESK)
        return tuple(trip.id for trip in due if trip.id not in self._found_ids)

    # --- what happens here ----------------------------------------------------------------------

    def on_trip(self, trip: Trip) -> None:
        """The stop has tripped: record it, and let the desk know. Never waits."""
        one = EmergencySets.of((trip,))
        if self._sets.merge(one) == self._sets:
            return  # From the desk, and recorded as it came.
        self._become(self._sets.merge(one))
        self.records.record(one, where="engine")
        self._wake.set()

    @contextlib.contextmanager
    def resetting(self, clearing: Clearing) -> Iterator[None]:
        """While the stop is being armed, an armed stop with these trips is no difference."""
        self._under_way = frozenset(clearing.trips)
        try:
            yield
        finally:
            self._under_way = frozenset()

    def clear(self, clearing: Clearing) -> asyncio.Future[None]:
        """Count a reset made here, at once, and let the desk know; the future is done when it is
        recorded (StoreError: it is owed).
        """
        one = EmergencySets.of((), (self._shared.signed(clearing),))
        self._become(self._sets.merge(one))
        self._wake.set()
        return self.records.record(one, where="engine")

    def begin(self) -> None:
        """At the start, after the latch: what one knows and the other does not is a stop."""
        self.compare()

    # --- the watch ------------------------------------------------------------------------------

    def compare(self) -> None:
        """Stop and sets must agree; cheap enough for every second."""
        known = self._sets.ids
        for trip in self._stop.trips:
            if trip.id not in known:
                self.on_trip(trip)  # From the latch file: `panic` without an engine writes it.
        due = [t for t in self._sets.stopping(self._node) if t.id not in self._under_way]
        if due and not self._stop.is_latched():
            listed = ", ".join(trip.id for trip in due)
            self._disagree(due[0].id, f"uncleared and not stopped for: {listed}")
        self._obey()

    async def compare_tables(self) -> None:
        """The database must say after a restart what the engine says now."""
        difference = await self.records.compare(lambda: self._sets)
        if difference is None:
            return
        self._become(self._sets.plus(difference.unknown.trips.values()))
        if not any(trip.source is TripSource.DISAGREEMENT for trip in self._stop.trips):
            self._stop.trip(source=TripSource.DISAGREEMENT, reason=difference.why)
        self._obey()

    def _disagree(self, key: str, text: str) -> None:
        _log.error("the desk's emergency: %s", text)
        self._alarms.raise_alarm("LATCH_DISAGREES", text, key=key)

    # --- the desk -------------------------------------------------------------------------------

    async def run_exchange(self) -> None:
        """Read what the desk has as soon as it says that something changed, and each second."""
        while True:
            with contextlib.suppress(TimeoutError):
                await within(self._io_clock, EMERGENCY_READ_INTERVAL_S, self._wake.wait())
            self._wake.clear()
            if self._redis.is_standalone or not self._redis.desk.is_there:
                continue
            try:
                await self.exchange()
            except LINK_FAULTS as error:
                self._read_why = str(error)
                _log.info("the desk's trips could not be exchanged: %s", error)

    async def run_records(self) -> None:
        """Write what is owed, and compare the tables, for ever."""
        while True:
            await self._io_clock.sleep(EMERGENCY_TABLES_INTERVAL_S)
            self.records.try_again()
            await self.compare_tables()

    async def exchange(self) -> bool:
        """Both ways (a part of the recovery): theirs are obeyed, then ours are written."""
        if self._redis.is_standalone:
            return True
        async with self._turn:
            found = await self._shared.read()
            self._read_ns, self._read_why = self._io_clock.monotonic_ns(), ""
            self._take(found)
            if not self._is_given(found):
                await self._give(found)
        return True

    async def tell(self) -> None:
        """At the end of the engine: write ours and obey nothing any more; the next start does."""
        if self._redis.is_standalone:
            return
        async with self._turn:
            await self._give(await self._shared.read())

    def _is_given(self, found: FoundEmergency) -> bool:
        """Whether nothing is to be done: neither side has changed since all was given."""
        if self._given is None or self._io_clock.monotonic_ns() >= self._forget_ns:
            return False
        return self._given[0] is found and self._given[1] is self._sets

    def _take(self, found: FoundEmergency) -> None:
        outage = len(self._redis.outages)
        if found is not self._found:
            self._look_for_hands(found, is_same_link=outage == self._found_in_outage)
            self._found, self._found_ids = found, found.sets.ids
            self._merge(found)
        self._found_in_outage = outage

    def _merge(self, found: FoundEmergency) -> None:
        before = self._sets
        after = before.merge(found.sets)
        if after == before:
            return
        self._become(after)
        self._obey()
        news = after.minus(before)
        self.records.record(news, self._events(news), where="redis")

    async def _give(self, found: FoundEmergency) -> None:
        """Ours that are missing there; of what is long settled only what still clears something."""
        sets = self._signed()
        settled = sets.settled_before(self._io_clock.now_ns() - round(EMERGENCY_KEPT_S * _NS))
        there = found.sets.ids
        ours = EmergencySets(
            {key: one for key, one in sets.trips.items() if key not in settled.trips},
            {
                key: one
                for key, one in sets.clearings.items()
                if key not in settled.clearings or not there.isdisjoint(one.trips)
            },
        )
        if await self._shared.write(ours, found):
            return  # It is read again, as everybody does.
        self._given = (found, self._sets)
        if self._io_clock.monotonic_ns() >= self._forget_ns:
            self._forget_ns = self._io_clock.monotonic_ns() + round(_FORGET_EVERY_S * _NS)
            await self._shared.forget(settled, found)

    def _signed(self) -> EmergencySets:
        """With the signature that was missing while this node had no key; only for its own."""
        unsigned = [
            self._shared.signed(one)
            for one in self._sets.clearings.values()
            if not one.signed and one.node == self._node
        ]
        return self._sets.plus((), unsigned) if unsigned else self._sets

    def _look_for_hands(self, found: FoundEmergency, *, is_same_link: bool) -> None:
        """Somebody took out or weakened what was there: it is written back, and said."""
        changed = self._shared.weakened(self._sets, found)
        if is_same_link:
            changed += tuple(sorted(self._found.fields.keys() - found.fields.keys()))
        settled = self._found.sets.settled_before(
            self._io_clock.now_ns() - round(EMERGENCY_KEPT_S * _NS)
        )
        changed = tuple(name for name in changed if name not in self._shared.names(settled))
        if changed:
            self._disagree("redis", f"changed in Redis by hand, put back: {', '.join(changed)}")
        else:
            self._alarms.clear_alarm("LATCH_DISAGREES", key="redis")

    def _become(self, sets: EmergencySets) -> None:
        self._sets = sets
        self._holding = sets.holding(self._node)
        self._stop.note_cleared_elsewhere(sets.cleared)

    def _obey(self) -> None:
        for trip in self._sets.stopping(self._node):
            if trip.id not in self._under_way:
                self._stop.adopt(trip)

    def _events(self, news: EmergencySets) -> tuple[Event, ...]:
        trips = [
            DeskEmergencyChanged(
                **self._stamper(),
                phase="tripped",
                node=trip.node,
                trip_ids=(trip.id,),
                scope=trip.scope.value,
                author=trip.source.value,
                reason=trip.reason,
            )
            for trip in news.trips.values()
        ]
        clearings = [
            DeskEmergencyChanged(
                **self._stamper(),
                phase="cleared",
                node=one.node,
                trip_ids=one.trips,
                scope="",
                author=one.author,
                reason=f"{one.cause}: {one.reason}",
            )
            for one in news.clearings.values()
        ]
        return (*trips, *clearings)

    # --- in words -------------------------------------------------------------------------------

    def alarms(self) -> dict[str, dict[str, str]]:
        """By code and key what there is to be told of the desk."""
        return {
            "DESK_TRIP_UNCLEARED": {trip.id: trip_words(trip) for trip in self._holding},
            "CLEARING_REFUSED": {
                origin: f"{origin}: {why}" for origin, why in self._refused().items()
            },
        }

    def _refused(self) -> dict[str, str]:
        """By origin why its clearings are not obeyed, as far as they would clear something."""
        open_ids = {trip.id for trip in self._sets.uncleared()}
        return {
            f"a clearing of {one.origin}": one.why
            for one in self._found.refused
            if not one.trips or not open_ids.isdisjoint(one.trips)
        }

    def _untold(self) -> bool:
        """Whether resets made here cannot be shown to the desk, and something waits for them."""
        if self._is_alone or self._shared.can_sign:
            return False
        there = {trip.id for trip in self._found.sets.uncleared()}
        return any(
            not one.signed and not there.isdisjoint(one.trips)
            for one in self._sets.clearings.values()
        )


def trip_words(trip: Trip) -> str:
    """Which trip, of which node, and why."""
    node = "an unknown node" if trip.node == UNKNOWN_NODE else f"node {trip.node}"
    return f"{trip.id} of {node} ({trip.source.value}: {trip.reason[:_REASON_MAX]})"


__all__ = ["DeskEmergency", "trip_words"]
