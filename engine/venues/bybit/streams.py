"""Frames of Bybit's private sockets, and two answers that everybody may ask for: tickers and time.

A private frame becomes the updates of the `Streams` port, and beside them what the port has no
place for: position legs, balances, funding. Frames hold rows of every category (spot, options); a
row that is not linear is counted and passed over before anything else of it is read. A frame that
cannot be read raises `Undecodable`: something was missed, which is a gap, never nothing.
`execution.fast` is refused: it tells no fee, so nothing could be booked by it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from engine.model.ids import Symbol
from engine.model.venue import StreamUpdate, VenueBalance
from engine.venues.bybit.accounts import (
    ExecutionRow,
    FundingPayment,
    OrderRow,
    PositionLeg,
    PositionRow,
    WalletRow,
    balances_of,
    executions_of,
    leg_of,
    order_of,
)
from engine.venues.bybit.decoding import (
    LINEAR,
    Undecodable,
    decode,
    decode_list,
    decode_result,
    name,
    number_or_none,
    positive_or_none,
    time_ns,
)

T = TypeVar("T")
PING = b'{"op":"ping"}'
# No snapshot comes with a subscription: the wallet is read by REST first (venues.md B8).
PRIVATE_TOPICS = ("order", "execution", "position", "wallet")
# Says nothing: whoever subscribes to it is watched by the protection against disconnection.
PROTECTION_TOPIC = "dcp.future"
_NOTHING = msgspec.Raw(b"")
_PONG = "pong"


class ControlAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to something we sent: `operation` is auth, subscribe, pong, order.create, ..."""

    operation: str
    is_success: bool
    text: str = ""
    request_id: str = ""


class PrivateMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One frame of a private topic; `passed_over` rows were of another category."""

    topic: str
    ts_ns: int
    updates: tuple[StreamUpdate, ...] = ()
    legs: tuple[PositionLeg, ...] = ()
    balances: tuple[VenueBalance, ...] = ()
    fundings: tuple[FundingPayment, ...] = ()
    passed_over: int = 0


class Ticker(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a symbol; None where the venue names none."""

    symbol: Symbol
    ts_ns: int
    mark_price: Decimal | None = None
    index_price: Decimal | None = None
    last_price: Decimal | None = None
    bid_price: Decimal | None = None
    ask_price: Decimal | None = None
    funding_rate: Decimal | None = None
    next_funding_ns: int | None = None


class _Frame(msgspec.Struct, frozen=True):
    topic: str = ""
    op: str = ""
    type: str = ""
    creationTime: int | None = None
    ts: int | None = None
    success: bool | None = None
    retCode: int | None = None
    ret_msg: str = ""
    retMsg: str = ""
    req_id: str | None = None
    reqId: str | None = None
    data: msgspec.Raw = _NOTHING


class _Categorised(msgspec.Struct, frozen=True):
    category: str = LINEAR


class _TickerRow(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    mark_price: str | None = None
    index_price: str | None = None
    last_price: str | None = None
    bid1_price: str | None = None
    ask1_price: str | None = None
    funding_rate: str | None = None
    next_funding_time: str | None = None


class _ServerTime(msgspec.Struct, frozen=True, rename="camel"):
    time_nano: str


# --- private ------------------------------------------------------------------------------------


def decode_private(body: bytes) -> PrivateMessage | ControlAnswer:
    """A frame of the private socket, or of the order-entry one."""
    frame = decode(body, _Frame)
    if not frame.topic:
        return _control_of(frame)
    if frame.topic == PROTECTION_TOPIC:
        return PrivateMessage(topic=frame.topic, ts_ns=0)
    decode_rows = _PRIVATE.get(frame.topic.removesuffix(f".{LINEAR}"))
    if decode_rows is None:
        raise Undecodable(f"topic: {frame.topic[:60]!r} is not one we subscribe to")
    if frame.creationTime is None:
        raise Undecodable("creationTime: is missing")
    ts_ns = time_ns(frame.creationTime, "creationTime")
    raws = _rows(frame.data, msgspec.Raw)
    linear = [raw for raw in raws if decode(raw, _Categorised).category == LINEAR]
    message = decode_rows(frame.topic, ts_ns, linear)
    return msgspec.structs.replace(message, passed_over=len(raws) - len(linear))


def _orders(topic: str, ts_ns: int, raws: list[msgspec.Raw]) -> PrivateMessage:
    orders = [order_of(decode(raw, OrderRow)) for raw in raws]
    updates = tuple(StreamUpdate(ts_ns=ts_ns, order=order) for order in orders)
    return PrivateMessage(topic=topic, ts_ns=ts_ns, updates=updates)


def _executions(topic: str, ts_ns: int, raws: list[msgspec.Raw]) -> PrivateMessage:
    found = executions_of([decode(raw, ExecutionRow) for raw in raws])
    updates = tuple(StreamUpdate(ts_ns=ts_ns, fill=fill) for fill in found.fills)
    return PrivateMessage(topic=topic, ts_ns=ts_ns, updates=updates, fundings=found.fundings)


def _positions(topic: str, ts_ns: int, raws: list[msgspec.Raw]) -> PrivateMessage:
    legs = tuple(leg_of(decode(raw, PositionRow)) for raw in raws)
    return PrivateMessage(topic=topic, ts_ns=ts_ns, legs=legs)


def _wallet(topic: str, ts_ns: int, raws: list[msgspec.Raw]) -> PrivateMessage:
    balances = [each for raw in raws for each in balances_of(decode(raw, WalletRow))]
    return PrivateMessage(topic=topic, ts_ns=ts_ns, balances=tuple(balances))


_PRIVATE: Mapping[str, Callable[[str, int, list[msgspec.Raw]], PrivateMessage]] = {
    "order": _orders,
    "execution": _executions,
    "position": _positions,
    "wallet": _wallet,
}


def _control_of(frame: _Frame) -> ControlAnswer:
    """Four shapes of answers (B8): by `success`, by `retCode`, and two kinds of pong."""
    text = (frame.ret_msg or frame.retMsg)[:300]
    if not frame.op:
        raise Undecodable("topic: neither it nor op is there")
    if frame.op == _PONG or (frame.op == "ping" and text == _PONG):
        return ControlAnswer(operation=_PONG, is_success=True)
    if frame.success is None and frame.retCode is None:
        raise Undecodable("success: neither it nor retCode is there")
    is_success = frame.success is not False and frame.retCode in (None, 0)
    request_id = frame.req_id or frame.reqId or ""
    return ControlAnswer(
        operation=frame.op, is_success=is_success, text=text, request_id=request_id
    )


def _rows(raw: msgspec.Raw, type_: type[T]) -> list[T]:
    if not bytes(raw):
        raise Undecodable("data: is missing")
    return decode(raw, list[type_])  # type: ignore[valid-type]


# --- public -------------------------------------------------------------------------------------


def _ticker_of(row: _TickerRow, *, ts_ns: int) -> Ticker:
    next_funding = row.next_funding_time
    return Ticker(
        symbol=Symbol(name(row.symbol, "symbol")),
        ts_ns=ts_ns,
        mark_price=positive_or_none(row.mark_price, "markPrice"),
        index_price=positive_or_none(row.index_price, "indexPrice"),
        last_price=positive_or_none(row.last_price, "lastPrice"),
        bid_price=positive_or_none(row.bid1_price, "bid1Price"),
        ask_price=positive_or_none(row.ask1_price, "ask1Price"),
        funding_rate=number_or_none(row.funding_rate, "fundingRate"),
        next_funding_ns=time_ns(next_funding, "nextFundingTime") if next_funding else None,
    )


class _Stamped(msgspec.Struct, frozen=True):
    time: int


def decode_tickers(body: bytes) -> tuple[Ticker, ...]:
    """`market/tickers`, each whole; their time is that of the answer."""
    rows = decode_list(body, _TickerRow).rows
    ts_ns = time_ns(decode(body, _Stamped).time, "time")
    tickers = tuple(_ticker_of(row, ts_ns=ts_ns) for row in rows)
    if any(each.mark_price is None for each in tickers):
        raise Undecodable("markPrice: is missing")
    return tickers


def decode_server_time(body: bytes) -> int:
    """`market/time` in UTC nanoseconds."""
    text = decode_result(body, _ServerTime).time_nano
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise Undecodable(f"timeNano: {text[:60]!r} is not a time in nanoseconds")
    return int(text)


__all__ = [
    "PING",
    "PRIVATE_TOPICS",
    "PROTECTION_TOPIC",
    "ControlAnswer",
    "PrivateMessage",
    "Ticker",
    "decode_private",
    "decode_server_time",
    "decode_tickers",
]
