"""What the desk knows of its emergencies: two sets that only grow, trips and clearings (R-POL-5).

Pure. `merge` is a union, so whatever two sides did while they could not talk, in whatever order
and however often they exchange it, both end with the same sets: a trip that nobody was shown
survives, and a reset that was made is not undone. In emergency = some trip without a clearing that
names it.

Identity: a trip is its id with its node, of two texts of one the stricter counts (scope desk), and
a clearing, which is its id with the trips it names, clears by id alone: so that a change by hand
can only tighten. Times are UTC nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from engine.model.emergency import Clearing, Scope, Trip
from engine.model.ids import TripId

TripKey = tuple[TripId, str]
ClearingKey = tuple[str, tuple[TripId, ...]]
# No node can have this name, so such a trip is everybody's hold and nobody's own.
UNKNOWN_NODE: Final = "?"
_ENCODER = msgspec.json.Encoder()


def trip_key(trip: Trip) -> TripKey:
    """What makes two trips the same one."""
    return trip.id, trip.node


def clearing_key(clearing: Clearing) -> ClearingKey:
    """What makes two clearings the same one."""
    return clearing.id, tuple(sorted(set(clearing.trips)))


@dataclass(frozen=True, slots=True)
class EmergencySets:
    """Trips and clearings. Immutable: every change is a new value."""

    trips: Mapping[TripKey, Trip] = field(default_factory=dict)
    clearings: Mapping[ClearingKey, Clearing] = field(default_factory=dict)

    @classmethod
    def of(cls, trips: Iterable[Trip] = (), clearings: Iterable[Clearing] = ()) -> EmergencySets:
        """The sets that hold exactly these."""
        return cls().plus(trips, clearings)

    def plus(self, trips: Iterable[Trip] = (), clearings: Iterable[Clearing] = ()) -> EmergencySets:
        """These sets and more."""
        all_trips, all_clearings = dict(self.trips), dict(self.clearings)
        for trip in trips:
            id_at_node = trip_key(trip)
            known = all_trips.get(id_at_node)
            all_trips[id_at_node] = trip if known is None else max(known, trip, key=_strictness)
        for clearing in clearings:
            key = clearing_key(clearing)
            other = all_clearings.get(key)
            all_clearings[key] = clearing if other is None else max(clearing, other, key=_proof)
        return EmergencySets(all_trips, all_clearings)

    def merge(self, other: EmergencySets) -> EmergencySets:
        """The union: commutative, associative, idempotent."""
        return self.plus(other.trips.values(), other.clearings.values())

    def minus(self, other: EmergencySets) -> EmergencySets:
        """What the other lacks, or knows in a weaker form. Words and times are not compared."""
        return EmergencySets(
            {
                key: trip
                for key, trip in self.trips.items()
                if (theirs := other.trips.get(key)) is None or _is_weaker(theirs, trip)
            },
            {key: one for key, one in self.clearings.items() if key not in other.clearings},
        )

    @property
    def cleared(self) -> frozenset[TripId]:
        """Ids of trips that some clearing names, whether the trip is known here or not."""
        return frozenset(trip for clearing in self.clearings.values() for trip in clearing.trips)

    def uncleared(self) -> tuple[Trip, ...]:
        """Trips that no clearing names, oldest first."""
        cleared = self.cleared
        found = [trip for trip in self.trips.values() if trip.id not in cleared]
        return tuple(sorted(found, key=lambda trip: (trip.ts_ns, trip.id, trip.node)))

    def by_id(self) -> dict[TripId, Trip]:
        """One trip an id, for where there is room for one only: the strictest, of a known node."""
        found: dict[TripId, Trip] = {}
        for trip in sorted(self.trips.values(), key=_place):
            found.setdefault(trip.id, trip)
        return found

    @property
    def ids(self) -> frozenset[TripId]:
        """Of every trip, cleared or not."""
        return frozenset(trip.id for trip in self.trips.values())

    def stopping(self, node: str) -> tuple[Trip, ...]:
        """Uncleared trips that flatten this node: its own, and every one of scope desk."""
        return tuple(trip for trip in self.uncleared() if concerns(trip, node))

    def holding(self, node: str) -> tuple[Trip, ...]:
        """Uncleared trips of other nodes' own: they hold this node's entries and flatten nothing
        here.
        """
        return tuple(trip for trip in self.uncleared() if not concerns(trip, node))

    def settled_before(self, ts_ns: int) -> EmergencySets:
        """What may be forgotten: trips with the clearings that name them, where all of what hangs
        together is older. A trip without a clearing is never among it.
        """
        young = {key for key, one in self.clearings.items() if one.ts_ns >= ts_ns}
        kept = {trip.id for trip in self.trips.values() if trip.ts_ns >= ts_ns}
        kept |= self.ids - self.cleared
        # What is kept keeps the clearings that name it, and those keep the other trips they name.
        while True:
            keeping = {key for key in self.clearings if key in young or not kept.isdisjoint(key[1])}
            more = kept | {trip for key in keeping for trip in key[1]}
            if more == kept and keeping == young:
                break
            kept, young = more, keeping
        return EmergencySets(
            {key: trip for key, trip in self.trips.items() if trip.id not in kept},
            {key: one for key, one in self.clearings.items() if key not in young},
        )


def concerns(trip: Trip, node: str) -> bool:
    """Whether a trip flattens this node."""
    return trip.scope is Scope.DESK or trip.node == node


def _place(trip: Trip) -> tuple[bool, bool, str]:
    return trip.scope is not Scope.DESK, trip.node == UNKNOWN_NODE, trip.node


def _is_weaker(trip: Trip, than: Trip) -> bool:
    return trip.scope is Scope.NODE and than.scope is Scope.DESK


def _strictness(trip: Trip) -> tuple[bool, bytes]:
    return trip.scope is Scope.DESK, _ENCODER.encode(trip)


def _proof(clearing: Clearing) -> tuple[bool, bytes]:
    return bool(clearing.signed), _ENCODER.encode(clearing)


__all__ = [
    "UNKNOWN_NODE",
    "ClearingKey",
    "EmergencySets",
    "TripKey",
    "clearing_key",
    "concerns",
    "trip_key",
]
