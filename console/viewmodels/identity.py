"""Line A and the stop's face: who we are, what state we are in, and what a press would do.

The words are those of console.md 2.2; a state has one word and one meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from console.viewmodels.appearance import ChipState, Glyph, StopFace, StopLook, Tone
from console.viewmodels.formatting import clock, duration
from console.viewmodels.freshness import Engine, Freshness
from engine.model.emergency import EmergencySnapshot, EmergencyState
from engine.model.snapshots import EngineSnapshot, EngineState

__all__ = [
    "IdentityState",
    "IdentityViewModel",
    "StopFaceViewModel",
    "desk_words",
    "engine_chip",
    "latched_words",
    "mode_words",
    "open_count",
]

_STATE_CHIPS: Final[Mapping[EngineState, ChipState]] = {
    EngineState.OFF: ChipState(text="OFF", tone=Tone.QUIET),
    EngineState.STARTING: ChipState(text="STARTING", glyph=Glyph.DOTS),
    EngineState.STANDBY: ChipState(text="STANDBY", tone=Tone.HIGH),
    EngineState.READY: ChipState(text="READY", glyph=Glyph.RING),
    EngineState.RUNNING: ChipState(text="RUNNING", glyph=Glyph.CHECK),
    EngineState.HALTED: ChipState(text="HOLD ENTRIES", tone=Tone.HIGH),
    EngineState.REDUCE_ONLY: ChipState(text="REDUCE ONLY", tone=Tone.HIGH),
    EngineState.STOPPING: ChipState(text="STOPPING", glyph=Glyph.DOTS),
    EngineState.LATCHED: ChipState(text="STOP LATCHED", tone=Tone.CRITICAL),
}
_MODE_WORDS: Final = {"paper": "PAPER", "dry_run": "DRY RUN", "live": "LIVE"}
_DRY_RUN_WORDS: Final = "DRY RUN: touches nothing at the venue"


def open_count(emergency: EmergencySnapshot) -> int | None:
    """How many positions are not flat; None when some venue answer is missing."""
    if any(row.left is None and not row.is_flat for row in emergency.positions):
        return None
    return emergency.positions_open


def latched_words(emergency: EmergencySnapshot) -> str:
    """``STOP LATCHED – FLAT``, ``– n NOT FLAT`` or ``– UNKNOWN``."""
    if emergency.state is EmergencyState.FLAT:
        return "STOP LATCHED – FLAT"
    count = open_count(emergency)
    if count is None:
        return "STOP LATCHED – UNKNOWN"
    if count == 0:
        return "STOP LATCHED – VERIFYING"
    return f"STOP LATCHED – {count} NOT FLAT"


def engine_chip(engine: Engine) -> ChipState:
    """The engine's state as a chip; a silent engine says nothing else."""
    if engine.is_silent:
        return ChipState(text=f"ENGINE SILENT {duration(engine.silent_s)}", tone=Tone.CRITICAL)
    snapshot = engine.snapshot
    if snapshot.emergency.latched:
        tone = Tone.HIGH if snapshot.emergency.state is EmergencyState.FLAT else Tone.CRITICAL
        return ChipState(text=latched_words(snapshot.emergency), tone=tone, glyph=Glyph.SQUARE)
    return _STATE_CHIPS[snapshot.state]


def mode_words(snapshot: EngineSnapshot) -> str:
    """PAPER, DRY RUN or LIVE."""
    return _MODE_WORDS.get(snapshot.mode, snapshot.mode.upper())


def desk_words(engine: Engine) -> str:
    """What the desk is connected to: ``paper venue · simulated feed · Redis standalone``."""
    snapshot = engine.snapshot
    is_dry = snapshot.mode == "dry_run"
    venue = " ".join(word for word in (snapshot.venue, snapshot.environment) if word)
    parts = (
        f"{_DRY_RUN_WORDS} · {venue}" if is_dry else f"{venue} venue",
        f"{snapshot.feed} feed",
        f"Redis {snapshot.redis.mode}",
        f"node {snapshot.node}",
    )
    return " · ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityState:
    """Everything on line A."""

    mode: ChipState
    engine: ChipState
    why: str
    policy: str
    account: str
    clock: str
    data_age: str
    is_data_old: bool


class IdentityViewModel:
    """Makes line A from a snapshot."""

    def present(self, engine: Engine) -> IdentityState:
        """What line A says."""
        snapshot = engine.snapshot
        policy = snapshot.policy
        freshness = engine.freshness
        return IdentityState(
            mode=ChipState(text=mode_words(snapshot)),
            engine=engine_chip(engine),
            why="" if snapshot.emergency.latched else snapshot.state_why,
            policy=f"Policy v{policy.version} · {policy.sha256[:7]} · {policy.profile}",
            account=f"Account {snapshot.account}",
            clock=f"{clock(snapshot.ts_ns)} UTC",
            data_age=_data_age(engine),
            is_data_old=freshness is not Freshness.PLAIN,
        )


def _data_age(engine: Engine) -> str:
    if engine.is_silent:
        return f"engine silent {duration(engine.silent_s)}"
    age_s = engine.market_age_s
    if age_s is None:
        return "no market data yet"
    if age_s >= 10:
        return f"NO DATA {duration(age_s)}"
    return f"data {age_s:.1f} s old"


class StopFaceViewModel:
    """What is written on the stop: its scope before, its progress after.

    A press shows at once (``note_press``), before any engine answer: R11 asks for words within
    100 ms.
    """

    def __init__(self) -> None:
        self._pressed = False

    def note_press(self) -> None:
        """The operator pressed; the next face says so until the engine reports the latch."""
        self._pressed = True

    def present(self, engine: Engine | None) -> StopFace:
        """The face for what the engine reported last."""
        if engine is None:
            return _no_answer("")
        emergency = engine.snapshot.emergency
        if engine.is_silent:
            return _no_answer(duration(engine.silent_s))
        if emergency.latched:
            self._pressed = False
            return StopFace(
                look=StopLook.LATCHED, headline="STOP LATCHED", lines=_progress_lines(emergency)
            )
        if self._pressed:
            return StopFace(
                look=StopLook.LATCHED, headline="STOP PRESSED", lines=("blocking entries",)
            )
        return StopFace(
            look=StopLook.READY, headline="EMERGENCY STOP", lines=_scope_lines(engine.snapshot)
        )


def _no_answer(silence: str) -> StopFace:
    seconds = f" for {silence}" if silence else ""
    return StopFace(
        look=StopLook.NO_ANSWER,
        headline="STOP: NO ANSWER",
        lines=(f"engine silent{seconds}", "press still records"),
    )


def _scope_lines(snapshot: EngineSnapshot) -> tuple[str, str]:
    if snapshot.mode == "dry_run":
        return _DRY_RUN_WORDS, f"{snapshot.account} · Ctrl+Shift+F12"
    return (
        "Cancels all orders · closes all positions",
        f"{snapshot.account} {mode_words(snapshot)} · Ctrl+Shift+F12",
    )


def _progress_lines(emergency: EmergencySnapshot) -> tuple[str, ...]:
    presses = f" · {emergency.presses} presses" if emergency.presses > 1 else ""
    if emergency.state is EmergencyState.FLAT:
        return "all positions flat, verified", f"reset in the page{presses}"
    if emergency.paused:
        return "closing PAUSED, orders blocked", f"{emergency.positions_open} open{presses}"
    total = len(emergency.positions)
    flat = sum(1 for row in emergency.positions if row.is_flat)
    state = f"{flat} of {total} flat" if total else "verifying with the venue"
    return state, f"progress is on the overview{presses}"
