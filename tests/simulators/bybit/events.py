"""Bybit's pushes: what each event of the core means to the private topics and the public ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.model.values import Side, plain
from tests.simulators.bybit.account_routes import wallet_row
from tests.simulators.bybit.answers import MS, funding_json
from tests.simulators.bybit.desk import Desk, Document
from tests.simulators.bybit.market_routes import levels_json, ticker_json
from tests.simulators.core.account import Key
from tests.simulators.core.model import (
    AccountChanged,
    BookChanged,
    ConditionalChanged,
    ConditionalStatus,
    Event,
    LeverageChanged,
    MarketTraded,
    OrderChanged,
)

# Of a conditional order these two are told by the order that it became.
_TOLD_BY_ORDER = (ConditionalStatus.TRIGGERED, ConditionalStatus.FINISHED)


def private_rows(event: Event, desk: Desk) -> Iterator[tuple[str, Document]]:
    """(topic, row) of each push that an event makes."""
    if isinstance(event, OrderChanged):
        order = event.order
        if event.execution is not None:
            yield "execution", desk.execution(event.execution, left=order.left)
        yield "order", desk.document(order)
        # Pushed with every change of an order, even when nothing of it has changed.
        yield "position", _position(desk, (order.symbol, order.leg))
    elif isinstance(event, ConditionalChanged):
        if event.conditional.status not in _TOLD_BY_ORDER:
            yield "order", desk.document(event.conditional)
    elif isinstance(event, AccountChanged):
        if event.why == "FUNDING_FEE":
            paid = desk.venue.account.incomes[-1]
            yield "execution", funding_json(paid, execution_wire_id=desk.wire_id(paid.income_id))
        yield "wallet", wallet_row(desk)
    elif isinstance(event, LeverageChanged):
        for leg in desk.venue.account.legs():
            yield "position", _position(desk, (event.symbol, leg))


def _position(desk: Desk, key: Key) -> Document:
    return {"category": "linear", **desk.position(key)}


def flat_keys(event: Event, desk: Desk) -> list[Key]:
    """Positions that an event has closed."""
    if not isinstance(event, AccountChanged):
        return []
    return [key for key in event.positions if not desk.venue.account.quantity(key)]


# --- public -------------------------------------------------------------------------------------


def book_message(event: BookChanged, topic: str, depth: int, desk: Desk) -> Document:
    """A delta; of depth 1 always the whole."""
    if depth == 1:
        return book_snapshot(topic, event.symbol, depth, desk)
    changes: Mapping[str, object] = {
        "b": levels_json(sorted(event.bids, reverse=True)),
        "a": levels_json(list(event.asks)),
    }
    return _book(topic, "delta", event.symbol, changes, event.last_id, desk)


def book_snapshot(topic: str, symbol: str, depth: int, desk: Desk) -> Document:
    market = desk.venue.markets[desk.venue.contract(symbol).symbol]
    levels: Mapping[str, object] = {
        "b": levels_json(market.published(Side.SELL)[:depth]),
        "a": levels_json(market.published(Side.BUY)[:depth]),
    }
    return _book(topic, "snapshot", symbol, levels, market.update_id, desk)


def _book(
    topic: str, kind: str, symbol: str, levels: Mapping[str, object], update: int, desk: Desk
) -> Document:
    now_ms = desk.now_ms()
    return {
        "topic": topic,
        "type": kind,
        "ts": now_ms,
        "data": {"s": symbol, **levels, "u": update, "seq": update},
        "cts": now_ms,
    }


def trade_message(event: MarketTraded, desk: Desk) -> Document:
    row = {
        "T": event.ts_ns // MS,
        "s": event.symbol,
        "S": "Sell" if event.is_buyer_maker else "Buy",
        "v": plain(event.quantity),
        "p": plain(event.price),
        "L": "ZeroPlusTick",
        "i": desk.wire_id(event.trade_id),
        "BT": False,
        "RPI": False,
        "seq": event.trade_id,
    }
    topic = f"publicTrade.{event.symbol}"
    return {"topic": topic, "type": "snapshot", "ts": desk.now_ms(), "data": [row]}


def ticker_message(
    symbol: str, sent: Mapping[str, object], desk: Desk
) -> tuple[Document, Mapping[str, object]]:
    """The first time all of it, then what has changed; and what is known now."""
    market = desk.venue.markets[desk.venue.contract(symbol).symbol]
    now = ticker_json(market, desk)
    changed = {name: value for name, value in now.items() if sent.get(name) != value}
    message: Document = {
        "topic": f"tickers.{symbol}",
        "type": "delta" if sent else "snapshot",
        "data": {"symbol": symbol, **changed},
        "cs": market.update_id,
        "ts": desk.now_ms(),
    }
    return message, now


__all__ = [
    "book_message",
    "book_snapshot",
    "flat_keys",
    "private_rows",
    "ticker_message",
    "trade_message",
]
