"""Events as the engine makes them, with fields of realistic length, built before the clock runs."""

from __future__ import annotations

from decimal import Decimal

from engine.model.events import MarketTick, OrderAccepted, OrderIntended
from engine.model.ids import ClientOrderId, EventId, Symbol, TraceId, VenueOrderId
from engine.model.values import Side

__all__ = ["SYMBOLS", "accepted", "intended", "tick", "ticks"]

SYMBOLS = tuple(Symbol(name) for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"))
_START_NS = 1_723_118_400_000_000_000
_PREFIX = "e9f86d08188"


def tick(number: int) -> MarketTick:
    identifier = f"{_PREFIX}-{number}"
    return MarketTick(
        id=EventId(identifier),
        ts_ns=_START_NS + number * 1_000_000,
        source="market",
        trace=TraceId(identifier),
        symbol=SYMBOLS[number % len(SYMBOLS)],
        price=Decimal(6_000_000 + number % 1_000) / 100,
        quantity=Decimal("0.010"),
        side=Side.BUY,
    )


def ticks(count: int) -> list[MarketTick]:
    return [tick(number) for number in range(count)]


def intended(number: int, *, run: str = "") -> OrderIntended:
    """A durable event that changes an order; `run` keeps ids of several rounds apart."""
    identifier = f"{_PREFIX}{run}-{number}"
    return OrderIntended(
        id=EventId(identifier),
        ts_ns=_START_NS + number * 1_000_000,
        source="execution",
        trace=TraceId(identifier),
        client_order_id=ClientOrderId(f"desk-g1-{run}{number}"),
        symbol=SYMBOLS[number % len(SYMBOLS)],
        side=Side.BUY,
        quantity=Decimal("0.010"),
        price=Decimal("60000.10"),
        policy_version=3,
    )


def accepted(number: int) -> OrderAccepted:
    """A fast-path event."""
    identifier = f"{_PREFIX}-{number}"
    return OrderAccepted(
        id=EventId(identifier),
        ts_ns=_START_NS + number * 1_000_000,
        source="execution",
        trace=TraceId(identifier),
        client_order_id=ClientOrderId(f"desk-g1-{number}"),
        venue_order_id=VenueOrderId(str(8_000_000_000 + number)),
        symbol=SYMBOLS[number % len(SYMBOLS)],
        side=Side.BUY,
        quantity=Decimal("0.010"),
    )
