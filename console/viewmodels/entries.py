"""Whether new positions may be opened, and which control changes that.

HOLD ENTRIES goes on by one press and off by a hold.
"Hold" never means "stop": exits still run. START is another control, shown only when READY.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from console.viewmodels.freshness import Engine
from engine.model.emergency import Condition
from engine.model.snapshots import EngineState

__all__ = ["EntriesState", "EntriesViewModel", "StartState"]

_WORDS: Final[Mapping[EngineState, str]] = {
    EngineState.RUNNING: "allowed",
    EngineState.HALTED: "held by you",
    EngineState.REDUCE_ONLY: "reduce only",
    EngineState.READY: "not started",
    EngineState.LATCHED: "blocked by stop",
    EngineState.STOPPING: "blocked by stop",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EntriesState:
    """The foot of the rail."""

    words: str
    can_hold: bool
    offers_allow: bool
    can_allow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StartState:
    """The START row while READY."""

    text: str
    unmet: tuple[Condition, ...]
    can_start: bool


class EntriesViewModel:
    """Makes both from a snapshot and what is pending."""

    def present(self, engine: Engine, *, is_pending: bool) -> EntriesState:
        """The foot of the rail."""
        snapshot = engine.snapshot
        words = _WORDS.get(snapshot.state, "not yet")
        if snapshot.emergency.latched:
            words = "blocked by stop"
        elif snapshot.state is EngineState.RUNNING and snapshot.emergency.elsewhere:
            words = "held, desk stopped"
        elif snapshot.state is EngineState.RUNNING and snapshot.gate:
            words = "held by the gate"
        is_halted = snapshot.state is EngineState.HALTED
        return EntriesState(
            words="sent, waiting" if is_pending else words,
            can_hold=snapshot.state is EngineState.RUNNING and not is_pending,
            offers_allow=is_halted,
            can_allow=is_halted and not is_pending,
        )

    def start(self, engine: Engine, *, is_pending: bool) -> StartState | None:
        """The START row, or None unless READY or in standby."""
        snapshot = engine.snapshot
        if snapshot.emergency.latched or snapshot.state not in {
            EngineState.READY,
            EngineState.STANDBY,
        }:
            return None
        unmet = tuple(condition for condition in snapshot.start_conditions if not condition.met)
        if snapshot.state is EngineState.STANDBY:
            why = snapshot.state_why or "a start condition is not met"
            return StartState(text=f"STANDBY – {why}", unmet=unmet, can_start=False)
        text = "READY – nothing trades until START."
        if is_pending:
            text = "START sent, waiting for the engine."
        return StartState(text=text, unmet=unmet, can_start=not unmet and not is_pending)
