"""Builders for the gate's facts and orders: a healthy desk, to be spoiled one fact at a time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.model.emergency import TripSource
from engine.model.events import Event
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import paper_instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderRecord, OrderState
from engine.model.policy import Profile, seeded
from engine.model.snapshots import EngineState
from engine.model.values import Side
from engine.risk import DrawdownState, GateFacts, GovernorState

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
NOW_NS = 1_700_000_000_000_000_000
PROFILE: Profile = seeded(Decimal(100_000), live=False).active


class Recorder:
    """Keeps what was emitted and tripped, in the order in which it happened."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.trips: list[tuple[TripSource, str]] = []
        self.order: list[str] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self.order.append(event.TYPE)

    def trip(self, source: TripSource, reason: str) -> None:
        self.trips.append((source, reason))
        self.order.append("trip")


def healthy(**changes: Any) -> GateFacts:
    """Facts of a desk on which the gate is open."""
    values: dict[str, Any] = {
        "now_ns": NOW_NS,
        "policy_version": 7,
        "engine_state": EngineState.RUNNING,
        "latched": False,
        "allow_new_trades": True,
        "redis_up": True,
        "redis_answer_age_s": 0.1,
        "policy_age_s": 1.0,
        "store_healthy": True,
        "venue_stream_connected": True,
        "bus_saturated": False,
        "market_age_s": {BTC: 0.1, ETH: 0.1},
        "drawdown_state": DrawdownState.NORMAL,
        "drawdown": Decimal(0),
        "governor": GovernorState.NORMAL,
        "equity": Decimal(100_000),
        "available_margin": Decimal(100_000),
        "marks": {BTC: Decimal(50_000), ETH: Decimal(2_500)},
        "instrument": paper_instrument(BTC),
    }
    values.update(changes)
    return GateFacts(**values)


def entry(**changes: Any) -> Intent:
    """An entry that a healthy desk approves: 0.1 BTC, 5,000 of notional."""
    values: dict[str, Any] = {
        "client_order_id": ClientOrderId("desk-g1-100"),
        "symbol": BTC,
        "side": Side.BUY,
        "kind": OrderKind.MARKET,
        "purpose": OrderPurpose.ENTRY,
        "quantity": Decimal("0.1"),
        "leverage": Decimal(5),
        "policy_version": 7,
        "created_ns": NOW_NS,
    }
    values.update(changes)
    return Intent(**values)


def exit_(**changes: Any) -> Intent:
    """A reduce-only market sell."""
    values: dict[str, Any] = {
        "client_order_id": ClientOrderId("desk-g1-200"),
        "side": Side.SELL,
        "purpose": OrderPurpose.EXIT,
        "reduce_only": True,
    }
    values.update(changes)
    return entry(**values)


def working(number: int, state: OrderState = OrderState.ACCEPTED, **changes: Any) -> OrderRecord:
    """An order in flight; `updated_ns` and `filled` are the record's, all else the intent's."""
    record = {name: changes.pop(name) for name in ("filled", "updated_ns") if name in changes}
    changes.setdefault("client_order_id", ClientOrderId(f"desk-g1-{number}"))
    changes.setdefault("created_ns", NOW_NS - 60_000_000_000)
    make = exit_ if changes.get("reduce_only") else entry
    return OrderRecord(intent=make(**changes), state=state, **record)


__all__ = [
    "BTC",
    "ETH",
    "NOW_NS",
    "PROFILE",
    "Recorder",
    "entry",
    "exit_",
    "healthy",
    "working",
]
