"""Alarms: the counters and newest text of line B, and the strip of the last few.

An alarm is something to do (R38): every row carries its action. The trip's first cause is marked
and comes first while latched (R43).
"""

from dataclasses import dataclass
from typing import Final

from console.viewmodels.appearance import ChipState, Tone
from console.viewmodels.formatting import clock, clock_tenths
from console.viewmodels.freshness import Engine
from engine.model.snapshots import AlarmSnapshot

__all__ = [
    "PRIORITY_TONE",
    "STATE_WORDS",
    "STRIP_ROWS",
    "AlarmLineState",
    "AlarmRow",
    "AlarmsViewModel",
]

STRIP_ROWS: Final = 3
PRIORITY_TONE: Final = {1: Tone.CRITICAL, 2: Tone.HIGH, 3: Tone.LOW}
STATE_WORDS: Final = {
    "new": "new",
    "acknowledged": "acknowledged",
    "returned": "returned, not acknowledged",
    "cleared": "cleared",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRow:
    """One row of the strip."""

    id: str
    time: str
    chip: ChipState
    text: str
    action: str
    state: str
    is_unacknowledged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmLineState:
    """Line B: three counters and the newest unacknowledged alarm, or the first-out while
    latched.
    """

    counters: tuple[ChipState, ...]
    headline: str
    tone: Tone


def _is_active(alarm: AlarmSnapshot) -> bool:
    return alarm.state in {"new", "acknowledged"}


def _is_unseen(alarm: AlarmSnapshot) -> bool:
    return alarm.state in {"new", "returned"}


class AlarmsViewModel:
    """Makes line B and the strip from a snapshot."""

    def line(self, engine: Engine) -> AlarmLineState:
        """What line B says."""
        alarms = engine.snapshot.alarms
        counters = tuple(self._counter(alarms, priority) for priority in (1, 2, 3))
        if engine.is_silent:
            text = "The engine does not answer: nothing below is current. The stop still records."
            return AlarmLineState(counters=counters, headline=text, tone=Tone.CRITICAL)
        if engine.snapshot.emergency.latched:
            return AlarmLineState(
                counters=counters, headline=self._first_out(engine), tone=Tone.CRITICAL
            )
        unseen = sorted((alarm for alarm in alarms if _is_unseen(alarm)), key=_newest_first)
        if unseen:
            newest = unseen[0]
            return AlarmLineState(
                counters=counters,
                headline=f"{newest.text}  ({clock(newest.ts_ns)})",
                tone=PRIORITY_TONE.get(newest.priority, Tone.LOW),
            )
        if engine.snapshot.gate:
            held = engine.snapshot.gate[0]
            detail = f": {held.detail}" if held.detail else ""
            words = held.code.value.replace("_", " ")
            return AlarmLineState(
                counters=counters, headline=f"Entries held – {words}{detail}", tone=Tone.QUIET
            )
        return AlarmLineState(counters=counters, headline="No new alarms", tone=Tone.QUIET)

    def strip(self, engine: Engine) -> tuple[AlarmRow, ...]:
        """The last few alarms, the first-out and P1 before newer lesser ones."""
        shown = [alarm for alarm in engine.snapshot.alarms if alarm.state != "cleared"]
        shown.sort(key=lambda alarm: (not alarm.first_out, alarm.priority != 1, -alarm.ts_ns))
        return tuple(_row(alarm) for alarm in shown[:STRIP_ROWS])

    def hidden_count(self, engine: Engine) -> int:
        """How many more there are than the strip shows."""
        shown = sum(1 for alarm in engine.snapshot.alarms if alarm.state != "cleared")
        return max(0, shown - STRIP_ROWS)

    @staticmethod
    def _counter(alarms: tuple[AlarmSnapshot, ...], priority: int) -> ChipState:
        count = sum(1 for alarm in alarms if alarm.priority == priority and _is_active(alarm))
        tone = PRIORITY_TONE[priority]
        if count == 0:
            # The shape stays, the colour does not: calm when well (R26).
            from_tone = ChipState(text=f"P{priority}  0", tone=Tone.QUIET)
            return from_tone
        return ChipState(text=f"P{priority}  {count}", tone=tone)

    @staticmethod
    def _first_out(engine: Engine) -> str:
        for alarm in engine.snapshot.alarms:
            if alarm.first_out:
                return f"First-out: {alarm.text}  ({clock_tenths(alarm.ts_ns)})"
        trips = engine.snapshot.emergency.trips
        if trips:
            first = min(trips, key=lambda trip: trip.ts_ns)
            return f"First-out: {first.reason}  ({clock_tenths(first.ts_ns)})"
        return f"First-out: {engine.snapshot.emergency.reason or 'not known'}"


def _newest_first(alarm: AlarmSnapshot) -> tuple[int, int]:
    return alarm.priority, -alarm.ts_ns


def _row(alarm: AlarmSnapshot) -> AlarmRow:
    first_out = "First-out · " if alarm.first_out else ""
    return AlarmRow(
        id=alarm.id,
        time=clock_tenths(alarm.ts_ns),
        chip=ChipState(text=f"P{alarm.priority}", tone=PRIORITY_TONE.get(alarm.priority, Tone.LOW)),
        text=f"{first_out}{alarm.text}",
        action=f"→ {alarm.action}" if alarm.action else "",
        state=STATE_WORDS.get(alarm.state, alarm.state),
        is_unacknowledged=_is_unseen(alarm),
    )
