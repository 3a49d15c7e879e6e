"""Whether new positions may be opened, and which controls change that.

HOLD ENTRIES and REDUCE ONLY go on by one press and off by a hold. What breaker or governor set,
no control here takes off.
"Hold" never means "stop": exits still run. START is another control, shown only when READY.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from console.viewmodels.freshness import Engine
from engine.model.emergency import Condition
from engine.model.snapshots import EngineSnapshot, EngineState

__all__ = [
    "EntriesState",
    "EntriesViewModel",
    "ReduceOnlyState",
    "StartState",
    "may_switch_reduce_only_on",
]

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
class ReduceOnlyState:
    """The operator's reduce-only below it: a button that switches it on, or a hold that ends it."""

    can_switch_on: bool
    is_on: bool
    can_switch_off: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StartState:
    """The START row while READY. Live asks in a sheet, where the hold is then."""

    text: str
    words: str
    needs_hold: bool
    unmet: tuple[Condition, ...]
    can_start: bool


def may_switch_reduce_only_on(snapshot: EngineSnapshot) -> bool:
    """While it trades, held or not; also when breaker or governor have set it already, so that it
    stays when they let go."""
    trading = {EngineState.RUNNING, EngineState.HALTED, EngineState.REDUCE_ONLY}
    return snapshot.state in trading and not snapshot.reduce_only_by_operator


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

    def reduce_only(self, engine: Engine, *, is_pending: bool) -> ReduceOnlyState:
        """The operator's reduce-only."""
        snapshot = engine.snapshot
        is_on = bool(snapshot.reduce_only_by_operator)
        return ReduceOnlyState(
            can_switch_on=may_switch_reduce_only_on(snapshot) and not is_pending,
            is_on=is_on,
            can_switch_off=is_on and not snapshot.emergency.latched and not is_pending,
        )

    def start(self, engine: Engine, *, is_pending: bool) -> StartState | None:
        """The START row, or None unless READY or in standby."""
        snapshot = engine.snapshot
        if snapshot.emergency.latched or snapshot.state not in {
            EngineState.READY,
            EngineState.STANDBY,
        }:
            return None
        is_live = snapshot.mode == "live"
        words = "START LIVE" if is_live else "START"
        unmet = tuple(condition for condition in snapshot.start_conditions if not condition.met)
        if snapshot.state is EngineState.STANDBY:
            why = snapshot.state_why or "a start condition is not met"
            return StartState(
                text=f"STANDBY – {why}",
                words=words,
                needs_hold=not is_live,
                unmet=unmet,
                can_start=False,
            )
        text = f"READY – nothing trades until {words}."
        if is_pending:
            text = f"{words} sent, waiting for the engine."
        return StartState(
            text=text,
            words=words,
            needs_hold=not is_live,
            unmet=unmet,
            can_start=not unmet and not is_pending,
        )
