"""The latched view: four named stages, one row per position, and what may be done now.

A row is FLAT only because the venue said so (R16); an unknown answer is a state with a word (R17).
"""

from dataclasses import dataclass
from typing import Final

from console.viewmodels.appearance import ChipState, Glyph, Tone
from console.viewmodels.formatting import DASH, clock_tenths, quantity
from console.viewmodels.freshness import Engine
from console.viewmodels.identity import latched_words
from console.viewmodels.positions import Cell, Column
from engine.model.emergency import (
    EmergencySnapshot,
    EmergencyState,
    PositionProgress,
    Scope,
    StageProgress,
    StageState,
    Trip,
    TripSource,
)

__all__ = [
    "STOP_COLUMNS",
    "StopProgressState",
    "StopProgressViewModel",
    "cause_words",
    "details_text",
    "source_words",
]

STOP_COLUMNS: Final = (
    Column(title="Symbol", width_px=92),
    Column(title="Side", width_px=68),
    Column(title="At press", width_px=92, is_number=True),
    Column(title="Left", width_px=92, is_number=True),
    Column(title="State", width_px=264),
    Column(title="Try", width_px=44, is_number=True),
    Column(title="Last answer of the venue", width_px=216),
    Column(title="Protected", width_px=150),
)
_SOURCES: Final = {
    TripSource.BUTTON: "pressed by the operator, main window",
    TripSource.CHORD: "by the operator, keyboard",
    TripSource.COMMAND_LINE: "by the command line",
    TripSource.BUS: "by a command on the bus",
    TripSource.DRAWDOWN: "by the drawdown limit",
    TripSource.DAILY_LOSS: "by the daily loss limit",
    TripSource.LOSS_STREAK: "by the losing streak limit",
    TripSource.MIN_BALANCE: "by the minimum balance",
    TripSource.GOVERNOR: "by the risk governor",
    TripSource.LATCH_FILE: "by the latch file",
    TripSource.DISAGREEMENT: "by a disagreement over what is latched",
    TripSource.QUIT: "by the operator, on quitting",
}
_STAGE_TITLES: Final = {
    "BLOCK": "1 BLOCK new orders",
    "CANCEL": "2 CANCEL orders",
    "CLOSE": "3 CLOSE positions",
    "VERIFY": "4 VERIFY with the venue",
}
_URGENT_WORDS: Final = ("UNKNOWN", "ACT NOW", "UNPROTECTED", "MARKET HALTED")


def source_words(source: TripSource) -> str:
    """Who or what pulled the stop, in words."""
    return _SOURCES.get(source, source.value.replace("_", " "))


def cause_words(trip: Trip, *, node: str) -> str:
    """A trip's cause as read at `node`: where it was made elsewhere, it says where and for whom."""
    words = source_words(trip.source)
    if not trip.node or trip.node == node:
        return f"{words}, for the whole desk" if trip.scope is Scope.DESK else words
    return f"for the whole desk, at node {trip.node}, {words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopProgressState:
    """Everything in the stop panel."""

    title: str
    note: str
    stages: tuple[ChipState, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str
    pause_text: str
    pause_enabled: bool
    is_paused: bool
    reset_text: str


class StopProgressViewModel:
    """Makes the stop panel from a snapshot; None while not latched."""

    def present(self, engine: Engine) -> StopProgressState | None:
        """What the panel shows."""
        emergency = engine.snapshot.emergency
        if not emergency.latched:
            return None
        is_flat = emergency.state is EmergencyState.FLAT
        conditions = engine.snapshot.reset_conditions
        met = sum(1 for condition in conditions if condition.met)
        return StopProgressState(
            title=_title(emergency),
            note=_note(emergency, node=engine.snapshot.node),
            stages=tuple(_stage(stage, emergency) for stage in emergency.stages),
            rows=tuple(_row(row, engine.snapshot.ts_ns) for row in emergency.positions),
            empty="No position was open at the press.",
            pause_text="Go on closing" if emergency.paused else "Pause closing (keep latch)",
            pause_enabled=not is_flat and not engine.is_silent,
            is_paused=emergency.paused,
            reset_text=f"Reset…  {met} of {len(conditions)} conditions met"
            if conditions
            else "Reset…",
        )


def _title(emergency: EmergencySnapshot) -> str:
    if emergency.paused:
        return "Stop – closing paused, latch kept"
    if emergency.state is EmergencyState.FLAT:
        return "Stopped and flat"
    if emergency.state is EmergencyState.INCOMPLETE:
        return "Stop incomplete"
    return "Stop in progress"


def _note(emergency: EmergencySnapshot, *, node: str) -> str:
    if not emergency.trips:
        return emergency.damage or emergency.reason
    first = min(emergency.trips, key=lambda trip: trip.ts_ns)
    words = f"{clock_tenths(first.ts_ns)} {cause_words(first, node=node)} · {first.reason}"
    more = len(emergency.trips) - 1
    return f"{words} · and {more} more" if more else words


def _stage(stage: StageProgress, emergency: EmergencySnapshot) -> ChipState:
    title = _STAGE_TITLES.get(stage.name.upper(), stage.name)
    count = f"{stage.done} of {stage.total}" if stage.total and stage.name != "BLOCK" else ""
    took = "" if stage.duration_s is None else _took(stage.duration_s)
    if stage.state is StageState.DONE:
        return ChipState(text=_join(title, "done", count, took), glyph=Glyph.CHECK)
    if stage.state is StageState.FAILED:
        return ChipState(text=_join(title, "failed", count), tone=Tone.CRITICAL, glyph=Glyph.CROSS)
    if stage.state is StageState.WAITING:
        return ChipState(text=_join(title, "waiting"), tone=Tone.QUIET, glyph=Glyph.RING)
    if emergency.paused:
        return ChipState(text=_join(title, "paused", count), tone=Tone.HIGH, glyph=Glyph.PAUSE)
    return ChipState(text=_join(title, count or "running"), glyph=Glyph.DOTS)


def _took(seconds: float) -> str:
    if seconds < 0.0005:
        return "< 1 ms"
    return f"{seconds * 1_000:.0f} ms" if seconds < 0.0995 else f"{seconds:.2f} s"


def _join(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _row(row: PositionProgress, now_ns: int) -> tuple[Cell, ...]:
    words = row.state_words
    if row.next_try_ns is not None and not row.is_flat and row.next_try_ns > now_ns:
        words = f"{words} – next try in {(row.next_try_ns - now_ns) / 1e9:.0f} s"
    tone = Tone.NEUTRAL
    if any(word in row.state_words for word in _URGENT_WORDS):
        tone = Tone.CRITICAL
    elif "RETRY" in row.state_words or "PAUSED" in row.state_words:
        tone = Tone.HIGH
    return (
        Cell(text=str(row.symbol)),
        Cell(text=row.side.upper()),
        Cell(text=quantity(row.quantity_at_trip)),
        Cell(text="?" if row.left is None else quantity(row.left)),
        Cell(text=words.removeprefix("✔ "), tone=tone, is_done=row.is_flat),
        Cell(text=str(row.attempts)),
        Cell(text=row.last_answer or DASH),
        Cell(
            text=row.protected or DASH,
            tone=Tone.HIGH if "UNPROTECTED" in row.protected else Tone.NEUTRAL,
        ),
    )


def details_text(engine: Engine) -> str:
    """Plain text for the exchange's desk: what is open, since when, what was answered."""
    snapshot = engine.snapshot
    emergency = snapshot.emergency
    lines = [
        f"{latched_words(emergency)} at {clock_tenths(snapshot.ts_ns)} UTC",
        f"Account {snapshot.account}, venue {snapshot.venue}, {snapshot.mode}",
    ]
    for trip in emergency.trips:
        when = clock_tenths(trip.ts_ns)
        cause = cause_words(trip, node=snapshot.node)
        lines.append(f"Trip {trip.id}: {when} UTC, {cause}: {trip.reason}")
    lines.append(
        f"Positions open {emergency.positions_open}, orders open {emergency.orders_open}, "
        f"orders cancelled {emergency.orders_cancelled}, "
        f"positions closed {emergency.positions_closed}"
    )
    for row in emergency.positions:
        left = "unknown" if row.left is None else format(row.left, "f")
        at_trip = format(row.quantity_at_trip, "f")
        protected = f"; protected: {row.protected}" if row.protected else ""
        lines.append(
            f"{row.symbol} {row.side.upper()} {at_trip} at press, {left} left, {row.state_words}, "
            f"try {row.attempts}; last answer: {row.last_answer or 'none'}{protected}"
        )
    return "\n".join(lines)
