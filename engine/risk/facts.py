"""Everything the gate must know to judge an entry, as one frozen value.

Why: the gate is a pure function, so the kernel gathers the facts and the gate never asks anybody.
Units: money in account currency, positions in signed base coin, ages in seconds, losses as positive
fractions, times in UTC nanoseconds. A fact that is not known is None and refuses (fails closed).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderRecord
from engine.model.snapshots import EngineState
from engine.model.values import ZERO


class DrawdownState(StrEnum):
    """Where the drawdown stands. UNKNOWN: a position is open and nobody can price it."""

    NORMAL = "normal"
    SOFT = "soft"
    HARD = "hard"
    UNKNOWN = "unknown"


class GovernorState(StrEnum):
    """The governor's rungs, mildest first."""

    NORMAL = "NORMAL"
    SOFT_BRAKE = "SOFT_BRAKE"
    QUARANTINE = "QUARANTINE"
    HARD_STOP = "HARD_STOP"


class GateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The world at the moment of a check.

    `working` holds every order that is not final, intended ones too; `recent` the intents of the
    last seconds whatever became of them. `available_margin` is equity less the margin of open
    positions, orders in flight not counted (the gate counts them). `trips_uncleared` are ids, with
    node. `why` texts are shown to the operator; an empty `clock_jump` means that there was none.
    """

    now_ns: int
    policy_version: int
    # Who may trade at all.
    engine_state: EngineState
    engine_why: str = ""
    latched: bool = True
    trips_uncleared: tuple[str, ...] = ()
    halted: bool = False
    reduce_only: bool = False
    allow_new_trades: bool = False
    # Infrastructure.
    redis_standalone: bool = False
    redis_up: bool = False
    redis_answer_age_s: float | None = None
    recovering: str = ""
    policy_age_s: float | None = None
    store_healthy: bool = False
    store_why: str = ""
    store_lag_s: float = 0.0
    venue_stream_connected: bool = False
    # The private stream was away, and what happened meanwhile has not been read.
    venue_gap_unread: bool = False
    # Connections of the feed that are lost, each with its cause.
    market_streams_down: Mapping[str, str] = {}
    bus_saturated: bool = True
    bus_why: str = ""
    loop_lag_ms: float = 0.0
    clock_jump: str = ""
    # How far the venue's clock is ahead of ours, and how old an entry may be when it arrives; None
    # where both are one, or nothing was measured yet.
    clock_offset_ms: float | None = None
    receive_window_ms: int | None = None
    market_age_s: Mapping[Symbol, float] = {}
    # Risk measures.
    drawdown_state: DrawdownState = DrawdownState.UNKNOWN
    drawdown: Decimal | None = None
    daily_loss: Decimal = ZERO
    loss_streak: int = 0
    governor: GovernorState = GovernorState.HARD_STOP
    # The books, and what is in flight.
    equity: Decimal = ZERO
    available_margin: Decimal = ZERO
    positions: Mapping[Symbol, Decimal] = {}
    # Symbols that are long and short at once at the venue (hedge mode), with their legs in words.
    two_legs: Mapping[Symbol, str] = {}
    marks: Mapping[Symbol, Decimal] = {}
    working: tuple[OrderRecord, ...] = ()
    recent: tuple[Intent, ...] = ()
    entries_last_minute: int = 0
    # Filters of the intent's symbol; None when the venue does not list it.
    instrument: Instrument | None = None


__all__ = ["DrawdownState", "GateFacts", "GovernorState"]
