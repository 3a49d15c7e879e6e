"""What the stop tells others: its events and alarms. Nobody is waited for and nobody can hurt it.

Durations are seconds since the stop began, slippage is account currency, positive is a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from engine.emergency_stop.collaborators import EventSink
from engine.emergency_stop.flattening import Flattening
from engine.emergency_stop.supervision import quietly
from engine.model.emergency import Clearing, Trip
from engine.model.events import (
    AlarmCleared,
    AlarmRaised,
    EmergencyFlat,
    EmergencyReset,
    EmergencyTriggered,
    Event,
)
from engine.model.ids import TraceId
from engine.model.values import ZERO
from engine.ports.clock import Clock
from engine.runtime import Stamper

_P1 = 1
_NS = 1_000_000_000


class StopReports:
    """Makes the events of the stop and hands them to the bus."""

    def __init__(self, *, bus: EventSink, stamp: Stamper, clock: Clock) -> None:
        self._bus = bus
        self._stamp = stamp
        self._clock = clock
        self.last_slippage: Decimal = ZERO

    def _emit(self, event: Event) -> None:
        quietly(f"publishing {event.TYPE}", lambda: self._bus.emit(event))

    def tripped(self, trip: Trip) -> None:
        self._emit(
            EmergencyTriggered(
                **self._stamp(TraceId(trip.id)),
                trip_id=trip.id,
                phase="tripped",
                reason=f"{trip.source.value}: {trip.reason}",
                scope=trip.scope.value,
                node=trip.node,
            )
        )

    def flat(self, trip: Trip, flattening: Flattening, *, duration_s: float) -> None:
        """Flat: the stop is completed."""
        self.last_slippage = flattening.slippage()
        for kind in (EmergencyTriggered, EmergencyFlat):
            self._emit(self._counted(kind, "completed", trip, flattening, duration_s))

    def incomplete(self, trip: Trip, flattening: Flattening, left: Sequence[str]) -> None:
        duration_s = (self._clock.monotonic_ns() - flattening.began_ns) / _NS
        self._emit(self._counted(EmergencyTriggered, "incomplete", trip, flattening, duration_s))
        self._alarm(
            "stop_incomplete",
            f"The stop is not flat after {duration_s:.0f} s: {_listed(left)}",
            "Close what is open at the venue itself; the stop goes on trying",
        )

    def reset(self, trip: Trip, clearing: Clearing) -> None:
        self._emit(
            EmergencyReset(
                **self._stamp(TraceId(trip.id)),
                trip_id=trip.id,
                phase="cleared",
                scope=trip.scope.value,
                node=trip.node,
                reason=f"{clearing.cause}: {clearing.reason} ({clearing.author})",
                cleared=clearing.trips,
            )
        )

    def reopened(self, positions: Sequence[str]) -> None:
        self._alarm(
            "position_after_flat",
            f"Something opened after the stop was flat: {_listed(positions)}",
            "Watch that it closes again; look for who trades this account beside us",
        )

    def paused(self, positions: Sequence[str], reason: str) -> None:
        self._alarm(
            "closing_paused",
            f"Closing is paused with {_listed(positions)} open: {reason}",
            "Go on closing, or close at the venue; the stop stays latched",
        )

    def pause_ended(self) -> None:
        self._emit(
            AlarmCleared(
                **self._stamp(),
                code="closing_paused",
                priority=_P1,
                text="Closing goes on",
                action="",
            )
        )

    def latch_not_written(self, text: str) -> None:
        self._alarm(
            "latch_not_written",
            f"{text}. The stop holds in memory; after a crash the file may not say so",
            "Free or replace the disk; writing is tried again each second",
        )

    def _alarm(self, code: str, text: str, action: str) -> None:
        self._emit(AlarmRaised(**self._stamp(), code=code, priority=_P1, text=text, action=action))

    def _counted(
        self,
        kind: type[EmergencyTriggered],
        phase: str,
        trip: Trip,
        flattening: Flattening,
        duration_s: float,
    ) -> EmergencyTriggered:
        return kind(
            **self._stamp(TraceId(trip.id)),
            trip_id=trip.id,
            phase=phase,
            reason=f"{trip.source.value}: {trip.reason}",
            scope=trip.scope.value,
            node=trip.node,
            positions_closed=flattening.positions_closed(),
            orders_cancelled=flattening.orders_cancelled(),
            slippage=flattening.slippage(),
            duration_s=round(duration_s, 3),
        )


def _listed(positions: Sequence[str]) -> str:
    return ", ".join(positions) or "nothing known"


__all__ = ["StopReports"]
