"""Orders as faces show them: a record made into a snapshot, a snapshot into JSON.

Pure. Quantities in base coin, ages in seconds, times UTC nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from engine.model.orders import OrderRecord
from engine.model.snapshots import OrderSnapshot
from engine.model.values import ZERO, plain

_ORDER_FACTS = (
    *("client_order_id", "symbol", "side", "kind", "purpose", "state", "strategy", "reason"),
    *("reduce_only", "external", "is_final", "created_ns", "updated_ns"),
)
_ORDER_NUMBERS = (
    *("quantity", "filled", "price", "average_price", "leverage"),
    *("stop_loss", "take_profit"),
)


def order_snapshot(record: OrderRecord, *, now_ns: int) -> OrderSnapshot:
    """An order now."""
    intent = record.intent
    return OrderSnapshot(
        client_order_id=intent.client_order_id,
        symbol=intent.symbol,
        side=intent.side.value,
        kind=intent.kind.value,
        purpose=intent.purpose.value,
        quantity=intent.quantity,
        filled=record.filled,
        price=intent.price if intent.trigger_price is None else intent.trigger_price,
        state=record.state.value,
        age_s=(now_ns - intent.created_ns) / 1e9,
        average_price=_average(record),
        reduce_only=intent.reduce_only,
        external=record.external,
        is_final=record.state.is_final,
        may_be_live=record.state.may_be_at_venue,
        leverage=intent.leverage,
        stop_loss=intent.stop_loss,
        take_profit=intent.take_profit,
        strategy=intent.strategy,
        reason=record.reason,
        created_ns=intent.created_ns,
        updated_ns=record.updated_ns,
    )


def _average(record: OrderRecord) -> Decimal | None:
    """At what it has filled; an adopted order's earlier fills are not known to us."""
    if record.filled == ZERO or record.filled_notional == ZERO:
        return None
    return record.filled_notional / record.filled


def order_snapshots(records: Iterable[OrderRecord], *, now_ns: int) -> tuple[OrderSnapshot, ...]:
    """Several, in their order."""
    return tuple(order_snapshot(record, now_ns=now_ns) for record in records)


def plain_numbers(of: object, names: Iterable[str]) -> dict[str, str | None]:
    """Numbers as the contract writes them."""
    values = {name: getattr(of, name) for name in names}
    return {name: None if value is None else plain(value) for name, value in values.items()}


def order_json(order: OrderSnapshot) -> dict[str, Any]:
    """One order, as `status` and the order commands show it."""
    return {name: getattr(order, name) for name in _ORDER_FACTS} | plain_numbers(
        order, _ORDER_NUMBERS
    )


__all__ = ["order_json", "order_snapshot", "order_snapshots", "plain_numbers"]
