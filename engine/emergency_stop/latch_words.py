"""Between the stop's words and the latch file's: trips, states and what a write may not lose.

Pure. The latch file is standard library only and has its own strings; what it holds that this
version does not know becomes a trip of source `latch_file` that says so, never nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from engine.latch import LatchState, LatchTrip, StopState
from engine.model.emergency import Scope, Trip, TripSource
from engine.model.ids import TripId


def to_latch_trip(trip: Trip) -> LatchTrip:
    return LatchTrip(
        trip_id=trip.id,
        source=trip.source.value,
        reason=trip.reason,
        ts_ns=trip.ts_ns,
        scope=trip.scope.value,
        node=trip.node,
    )


def from_latch_trip(found: LatchTrip, *, node: str) -> Trip:
    """The trip as written, or one of source `latch_file` when its words are not known here."""
    try:
        source, reason = TripSource(found.source), found.reason
    except ValueError:
        source, reason = TripSource.LATCH_FILE, f"{found.source}: {found.reason}"
    try:
        scope = Scope(found.scope)
    except ValueError:
        scope = Scope.NODE
    return Trip(
        id=TripId(found.trip_id),
        source=source,
        reason=reason,
        ts_ns=found.ts_ns,
        scope=scope,
        node=found.node or node,
    )


def latched_change(ours: LatchState) -> Callable[[LatchState], LatchState]:
    """Write our state; trips that somebody else wrote meanwhile stay, and damage is never armed
    over.
    """

    def change(old: LatchState) -> LatchState:
        known = {trip.trip_id for trip in ours.trips}
        theirs = tuple(t for t in old.trips if old.latched and t.trip_id not in known)
        is_latched = ours.latched or bool(theirs) or bool(old.damage)
        return replace(
            ours,
            state=ours.state if ours.latched or not is_latched else StopState.FLATTENING,
            latched=is_latched,
            trips=ours.trips + theirs,
            trips_omitted=old.trips_omitted if old.latched else 0,
            fence=max(ours.fence, old.fence),
        )

    return change


def armed_change(
    ours: LatchState, *, named: Collection[str], is_current: Callable[[], bool]
) -> Callable[[LatchState], LatchState]:
    """Arm the file, unless it holds a trip that was not named, is damaged, or a trip came
    meanwhile.

    What is returned then is the file's own state, still latched.
    """

    def change(old: LatchState) -> LatchState:
        unknown = any(trip.trip_id not in named for trip in old.trips)
        if unknown or old.damage or not is_current():
            return replace(old, latched=True, damage="")
        return replace(ours, fence=max(ours.fence, old.fence))

    return change


__all__ = ["armed_change", "from_latch_trip", "latched_change", "to_latch_trip"]
