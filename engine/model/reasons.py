"""Reason codes: why the gate, the signal queue or the stop said no. One enum for the whole engine.

A refusal always carries *every* reason that applies, each with its figures (`Reason`).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ReasonCode(StrEnum):
    """Machine-readable reasons; the value is what JSON and events carry."""

    LATCHED = "latched"
    TRIP_UNCLEARED = "trip_uncleared"
    NOT_RUNNING = "not_running"
    HALTED = "halted"
    REDUCE_ONLY = "reduce_only"
    NEW_TRADES_NOT_ALLOWED = "new_trades_not_allowed"
    REDIS_DOWN = "redis_down"
    RECOVERING = "recovering"
    POLICY_TOO_OLD = "policy_too_old"
    POLICY_CHANGED = "policy_changed"
    STORE_UNHEALTHY = "store_unhealthy"
    VENUE_STREAM_DOWN = "venue_stream_down"
    MARKET_STREAM_DOWN = "market_stream_down"
    MARKET_DATA_STALE = "market_data_stale"
    BUS_SATURATED = "bus_saturated"
    LOOP_LAG = "loop_lag"
    CLOCK_JUMP = "clock_jump"
    CLOCK_OFFSET = "clock_offset"
    DRAWDOWN_SOFT = "drawdown_soft"
    DRAWDOWN_HARD = "drawdown_hard"
    DRAWDOWN_UNKNOWN = "drawdown_unknown"
    DAILY_LOSS = "daily_loss"
    LOSS_STREAK = "loss_streak"
    MIN_BALANCE = "min_balance"
    GOVERNOR_QUARANTINE = "governor_quarantine"
    GOVERNOR_HARD_STOP = "governor_hard_stop"
    MAX_OPEN_POSITIONS = "max_open_positions"
    MAX_POSITION_NOTIONAL = "max_position_notional"
    MAX_GROSS_EXPOSURE = "max_gross_exposure"
    MAX_ORDER_NOTIONAL = "max_order_notional"
    MAX_LEVERAGE = "max_leverage"
    MAX_ORDERS_PER_MINUTE = "max_orders_per_minute"
    PRICE_COLLAR = "price_collar"
    DUPLICATE_ORDER = "duplicate_order"
    SYMBOL_UNRESOLVED = "symbol_unresolved"
    TWO_LEGS = "two_legs"
    SYMBOL_UNKNOWN = "symbol_unknown"
    BELOW_VENUE_MINIMUM = "below_venue_minimum"
    OFF_VENUE_GRID = "off_venue_grid"
    INSUFFICIENT_MARGIN = "insufficient_margin"
    WOULD_NOT_REDUCE = "would_not_reduce"
    POSITION_ALREADY_OPEN = "position_already_open"
    QUEUE_FULL = "queue_full"
    SIGNAL_EXPIRED = "signal_expired"
    NO_MARK = "no_mark"


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One reason with its figures in plain words, e.g. `age 6.2 s, at most 5 s`."""

    code: ReasonCode
    detail: str = ""


__all__ = ["Reason", "ReasonCode"]
