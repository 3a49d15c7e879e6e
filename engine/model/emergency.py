"""The emergency stop's words: trips, clearings, states, and what is open during a stop.

A trip is a cause that latched; a clearing names the trips a reset was shown. In emergency = some
trip in scope without a clearing. Times are UTC nanoseconds, durations seconds, money in account
currency.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.ids import Symbol, TripId
from engine.model.values import ZERO


class EmergencyState(StrEnum):
    """State of the stop procedure, beside the latch."""

    ARMED = "armed"
    FLATTENING = "flattening"
    FLAT = "flat"
    INCOMPLETE = "incomplete"


class TripSource(StrEnum):
    """Where a trip came from; each is cleared by name."""

    BUTTON = "button"
    CHORD = "chord"
    COMMAND_LINE = "command_line"
    BUS = "bus"
    DRAWDOWN = "drawdown"
    DAILY_LOSS = "daily_loss"
    LOSS_STREAK = "loss_streak"
    MIN_BALANCE = "min_balance"
    GOVERNOR = "governor"
    LATCH_FILE = "latch_file"
    DISAGREEMENT = "disagreement"
    QUIT = "quit"


class Scope(StrEnum):
    """Whom a trip concerns."""

    NODE = "node"
    DESK = "desk"


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """One cause that latched the stop."""

    id: TripId
    source: TripSource
    reason: str
    ts_ns: int
    scope: Scope = Scope.NODE
    node: str = ""


class Clearing(msgspec.Struct, frozen=True, kw_only=True):
    """A reset: the trips it was shown, by whom and why."""

    id: str
    trips: tuple[TripId, ...]
    author: str
    cause: str
    reason: str
    ts_ns: int
    # Of which node's console.
    node: str = ""
    # What other nodes are shown, to the byte, with its signature; empty while nobody signed it.
    signed: str = ""


class StageState(StrEnum):
    """State of one stage of the stop."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class StageProgress(msgspec.Struct, frozen=True, kw_only=True):
    """BLOCK, CANCEL, CLOSE or VERIFY: `done` of `total`, and how long it took."""

    name: str
    state: StageState = StageState.WAITING
    done: int = 0
    total: int = 0
    duration_s: float | None = None


class PositionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One position during a stop; in hedge mode a symbol may have two, and `side` tells them
    apart. `state_words` are from console.md 2.2; `left` from the venue's mouth.

    `left` is None while the venue has not answered. `next_try_ns` is when it is tried again.
    """

    symbol: Symbol
    side: str
    quantity_at_trip: Decimal
    left: Decimal | None
    state_words: str
    attempts: int = 0
    last_answer: str = ""
    protected: str = ""
    is_flat: bool = False
    next_try_ns: int | None = None


class EmergencySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the console shows of the stop."""

    state: EmergencyState
    latched: bool
    paused: bool = False
    trips: tuple[Trip, ...] = ()
    reason: str = ""
    since_ns: int | None = None
    stages: tuple[StageProgress, ...] = ()
    positions: tuple[PositionProgress, ...] = ()
    positions_open: int = 0
    orders_open: int = 0
    orders_cancelled: int = 0
    positions_closed: int = 0
    slippage: Decimal = ZERO
    presses: int = 0
    flat_since_ns: int | None = None
    # Text of what damaged the latch file, where that is why we are latched.
    damage: str = ""
    next_try_ns: int | None = None
    # Uncleared trips of other nodes' own: they hold entries here and flatten nothing.
    elsewhere: tuple[Trip, ...] = ()
    # What the desk cannot be told or does not obey, in words; empty when all is well.
    desk_why: str = ""
    # Uncleared trips of which the rest of the desk does not know yet.
    untold: tuple[TripId, ...] = ()


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of a reset or a start; `why` says what is missing, in plain words."""

    condition: str
    met: bool
    why: str = ""


class ResetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator gives to a reset: cause and reason, the trips by id, measures to re-base by
    name.

    `rebase` takes peak, day, streak, capital.
    """

    cause: str
    reason: str
    clear: tuple[TripId, ...] = ()
    rebase: tuple[str, ...] = ()
    accept_residual: tuple[Symbol, ...] = ()
    author: str = "operator"


REBASES = ("peak", "day", "streak", "capital")

__all__ = [
    "REBASES",
    "Clearing",
    "Condition",
    "EmergencySnapshot",
    "EmergencyState",
    "PositionProgress",
    "ResetRequest",
    "Scope",
    "StageProgress",
    "StageState",
    "Trip",
    "TripSource",
]
