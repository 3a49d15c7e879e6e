"""The engine's state word: one table of what may follow what, and why it is in its state.

READY may start and is not trading; RUNNING trades; HALTED keeps positions and takes no entries;
REDUCE_ONLY comes from the governor, a soft breach or an operator; LATCHED outranks everything.
Whether an operator has started the engine is remembered over restarts, so that a reset starts
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.model.snapshots import EngineState
from engine.ports import LatchView

_NEXT: Mapping[EngineState, frozenset[EngineState]] = {
    EngineState.OFF: frozenset({EngineState.STARTING}),
    EngineState.STARTING: frozenset(
        {EngineState.READY, EngineState.STANDBY, EngineState.RUNNING, EngineState.STOPPING}
    ),
    EngineState.STANDBY: frozenset(
        {EngineState.STARTING, EngineState.READY, EngineState.RUNNING, EngineState.STOPPING}
    ),
    EngineState.READY: frozenset({EngineState.RUNNING, EngineState.STANDBY, EngineState.STOPPING}),
    EngineState.RUNNING: frozenset({EngineState.READY, EngineState.STANDBY, EngineState.STOPPING}),
    EngineState.STOPPING: frozenset({EngineState.OFF}),
}


class ModeKeeper:
    """Holds the base state and what overlays it; `on_change(state, why)` hears every change."""

    def __init__(self, *, latch: LatchView, on_change: Callable[[EngineState, str], None]) -> None:
        self._latch = latch
        self._on_change = on_change
        self._base = EngineState.OFF
        self._base_why = ""
        self._halted_why: str | None = None
        self._operator_reduce_why: str | None = None
        self._automatic_reduce_why: str | None = None
        self._uncleared: Callable[[], tuple[str, ...]] = tuple
        self._told: tuple[EngineState, str] = (EngineState.OFF, "")
        # False on a live account that nobody has ever confirmed: nothing of ours may touch it then,
        # no stop, no cancel, no close; only the emergency stop may.
        self.is_confirmed = True

    def show_trips(self, uncleared: Callable[[], tuple[str, ...]]) -> None:
        """Where uncleared trips are read from, in words."""
        self._uncleared = uncleared

    def uncleared_trips(self) -> tuple[str, ...]:
        return self._uncleared()

    @property
    def base(self) -> EngineState:
        """The state below latch, halt and reduce-only."""
        return self._base

    @property
    def state(self) -> EngineState:
        if self._base in {EngineState.OFF, EngineState.STARTING, EngineState.STOPPING}:
            return self._base
        if self._latch.is_latched():
            return EngineState.LATCHED
        if self._base is not EngineState.RUNNING:
            return self._base
        if self._halted_why is not None:
            return EngineState.HALTED
        return EngineState.REDUCE_ONLY if self.is_reduce_only else EngineState.RUNNING

    @property
    def why(self) -> str:
        if self.state is EngineState.HALTED:
            return self._halted_why or ""
        if self.state is EngineState.REDUCE_ONLY:
            return self._operator_reduce_why or self._automatic_reduce_why or ""
        return self._base_why

    @property
    def is_halted(self) -> bool:
        return self._halted_why is not None

    @property
    def halted_why(self) -> str | None:
        return self._halted_why

    @property
    def is_reduce_only(self) -> bool:
        return self._operator_reduce_why is not None or self._automatic_reduce_why is not None

    @property
    def operator_reduce_why(self) -> str | None:
        return self._operator_reduce_why

    def go(self, state: EngineState, why: str = "") -> None:
        """Move the base state; a move the table does not know is a programmer's error."""
        if state is not self._base and state not in _NEXT[self._base]:
            raise ValueError(f"{self._base} cannot become {state}")
        self._base, self._base_why = state, why
        self.tell()

    def set_halted(self, why: str | None) -> None:
        self._halted_why = why
        self.tell()

    def set_operator_reduce_only(self, why: str | None) -> None:
        self._operator_reduce_why = why
        self.tell()

    def set_automatic_reduce_only(self, why: str | None) -> None:
        """From the governor or a soft breach."""
        if why != self._automatic_reduce_why:
            self._automatic_reduce_why = why
            self.tell()

    def tell(self) -> None:
        """Report the state if it is another than the last one reported."""
        now = (self.state, self.why)
        if now != self._told:
            self._told = now
            self._on_change(*now)


__all__ = ["ModeKeeper"]
