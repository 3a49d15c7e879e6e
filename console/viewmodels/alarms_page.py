"""The Alarms page: every alarm with its priority, what it is, what to do, its state and age.

The most urgent first, then the newest. While a row is chosen, nothing above it moves: what comes
new goes to the end until the choice is given up, so that a key never acts on a neighbour.
Ages are seconds. Pure.
"""

from dataclasses import dataclass
from typing import Final

from console.viewmodels.alarms import PRIORITY_TONE, STATE_WORDS
from console.viewmodels.appearance import Tone
from console.viewmodels.formatting import clock_tenths, duration
from console.viewmodels.freshness import Engine
from console.viewmodels.positions import Cell, Column
from engine.model.snapshots import AlarmSnapshot

__all__ = ["ALARM_COLUMNS", "AlarmsPageState", "AlarmsPageViewModel"]

ALARM_COLUMNS: Final = (
    Column(title="Priority", width_px=76),
    Column(title="Since, UTC", width_px=96),
    Column(title="Age", width_px=70, is_number=True),
    Column(title="State", width_px=190),
    Column(title="What", width_px=270, may_elide=True),
    Column(title="What to do", width_px=370, may_elide=True),
)
_UNSEEN: Final = ("new", "returned")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmsPageState:
    """Rows with their keys, what is told of the chosen one, and what the buttons can do."""

    title: str
    note: str
    rows: tuple[tuple[Cell, ...], ...]
    keys: tuple[str, ...]
    unseen: frozenset[str]
    empty: str
    detail: str
    can_acknowledge: bool


class AlarmsPageViewModel:
    """Makes the page; remembers the order while a row is chosen."""

    def __init__(self) -> None:
        self._order: list[str] = []

    def present(self, engine: Engine, *, chosen: str) -> AlarmsPageState:
        """The page now; ``chosen`` is an alarm's id or empty."""
        alarms = {alarm.id: alarm for alarm in engine.snapshot.alarms if alarm.state != "cleared"}
        urgent_first = sorted(alarms.values(), key=_urgency)
        if chosen in alarms and chosen in self._order:
            kept = [key for key in self._order if key in alarms]
            self._order = kept + [one.id for one in urgent_first if one.id not in kept]
        else:
            self._order = [one.id for one in urgent_first]
        unseen = frozenset(key for key, one in alarms.items() if one.state in _UNSEEN)
        active = sum(1 for one in alarms.values() if one.state in {"new", "acknowledged"})
        return AlarmsPageState(
            title=f"Alarms: {active} active, {len(unseen)} not acknowledged",
            note="the engine does not answer: nothing here is current" if engine.is_silent else "",
            rows=tuple(_row(alarms[key], engine) for key in self._order),
            keys=tuple(self._order),
            unseen=unseen,
            empty="No alarms",
            detail=_detail(alarms.get(chosen), bool(alarms)),
            can_acknowledge=chosen in unseen,
        )


def _urgency(alarm: AlarmSnapshot) -> tuple[bool, int, int]:
    return not alarm.first_out, alarm.priority, -alarm.ts_ns


def _row(alarm: AlarmSnapshot, engine: Engine) -> tuple[Cell, ...]:
    is_dim = engine.is_silent or alarm.state == "returned"
    tone = Tone.NEUTRAL if is_dim else PRIORITY_TONE.get(alarm.priority, Tone.LOW)
    first_out = "First-out · " if alarm.first_out else ""
    age_s = max(0, engine.snapshot.ts_ns - alarm.ts_ns) / 1e9
    return (
        Cell(text=f"P{alarm.priority}", tone=tone, is_dim=is_dim),
        Cell(text=clock_tenths(alarm.ts_ns), is_dim=is_dim),
        Cell(text=duration(age_s), is_dim=is_dim),
        Cell(text=STATE_WORDS.get(alarm.state, alarm.state), is_dim=is_dim),
        Cell(text=f"{first_out}{alarm.text}", is_dim=is_dim),
        Cell(text=alarm.action, is_dim=is_dim),
    )


def _detail(alarm: AlarmSnapshot | None, has_alarms: bool) -> str:
    if alarm is None:
        return "Choose one to read all of it." if has_alarms else ""
    return f"{alarm.text}. What to do: {alarm.action}"
