"""Reads a legacy `trade_state.json`: one JSON object, trade id → state (contract.md, Imports).

Pure: bytes in, trades and reasons out; nothing is written here. A state is taken whole or refused
with the reason; keys that nobody knows are reported and left. What is read, under any of its names:

    symbol                                    letters and digits, made upper-case
    side                                      buy, long, sell, short
    quantity, qty, size, amount               above zero
    entry_price, entry, price, exit_price     above zero
    realised, realized, realized_pnl, pnl     in account currency, before fees; 0 when absent
    fees, fee, commission, funding            0 when absent
    opened_at, entry_time, open_time, timestamp; closed_at, exit_time, close_time
                                              ISO 8601 with its zone, or seconds, ms, µs, ns (UTC)
    status                                    open or closed, where it is given
    strategy, trace, trace_id                 text

Only closed trades are taken. An open one is refused: a position is what the venue holds, and is
read there at each start; booking one from a file would make our books differ from the venue's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from engine.model.errors import OperatorMessage
from engine.model.ids import Symbol, TraceId, TradeId
from engine.model.instants import instant_ns
from engine.model.orders import TradeRecord
from engine.model.values import ZERO, Side

__all__ = ["StateReading", "read_state"]

_NAMES: Final[Mapping[str, str]] = {
    name: field_name
    for field_name, names in {
        "symbol": ("symbol",),
        "side": ("side", "direction"),
        "quantity": ("quantity", "qty", "size", "amount"),
        "entry_price": ("entry_price", "entry", "price"),
        "exit_price": ("exit_price", "exit", "close_price"),
        "realised": ("realised", "realized", "realised_pnl", "realized_pnl", "pnl"),
        "fees": ("fees", "fee", "commission"),
        "funding": ("funding",),
        "opened": ("opened_at", "opened_ns", "entry_time", "open_time", "timestamp"),
        "closed": ("closed_at", "closed_ns", "exit_time", "close_time"),
        "status": ("status", "state"),
        "strategy": ("strategy",),
        "trace": ("trace", "trace_id"),
        "trade_id": ("trade_id", "id"),
    }.items()
    for name in names
}
_SIDES: Final = {"buy": Side.BUY, "long": Side.BUY, "sell": Side.SELL, "short": Side.SELL}
_CLOSED: Final = frozenset({"closed", "done", "finished", "exited"})
_OPEN: Final = frozenset({"open", "active", "opened"})
_SYMBOL: Final = re.compile(r"[A-Z0-9]{3,30}")
_ID_LENGTH_MAX: Final = 100


@dataclass(slots=True)
class StateReading:
    """What a file holds: trades to take, and by trade id why others are refused and what is
    unknown."""

    trades: list[TradeRecord] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, list[str]] = field(default_factory=dict)


class _Refusal(Exception):
    """Why one state cannot be used."""


def read_state(text: str) -> StateReading:
    """Judge every state; `OperatorMessage` when the file is not one JSON object."""
    try:
        pairs = json.loads(text, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise OperatorMessage(f"this is not JSON: {error}") from error
    if not isinstance(pairs, _Pairs):
        raise OperatorMessage("this is not one JSON object, trade id → state")
    reading = StateReading()
    ids = [name for name, _ in pairs]
    for trade_id, state in pairs:
        if ids.count(trade_id) > 1:
            reading.refused[trade_id] = "it is in the file more than once"
            continue
        try:
            trade, unknown = _trade(trade_id, state)
        except _Refusal as refusal:
            reading.refused[trade_id] = str(refusal)
            continue
        reading.trades.append(trade)
        if unknown:
            reading.unknown[trade_id] = unknown
    return reading


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a name given twice is seen."""


def _trade(trade_id: str, state: Any) -> tuple[TradeRecord, list[str]]:
    if not trade_id or len(trade_id) > _ID_LENGTH_MAX:
        raise _Refusal(f"a trade id has 1 to {_ID_LENGTH_MAX} characters")
    if not isinstance(state, _Pairs):
        raise _Refusal("its state is not a JSON object")
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in state:
        known = _NAMES.get(name)
        if known is None:
            unknown.append(name)
        elif known in values:
            raise _Refusal(f"{name} says again what another key has said")
        elif value is not None:
            values[known] = value
    if values.get("trade_id", trade_id) != trade_id:
        raise _Refusal(f"it calls itself {values['trade_id']}")
    status = str(values.get("status", "closed" if "closed" in values else "open")).lower()
    if status not in _CLOSED | _OPEN:
        raise _Refusal(f"status: {status!r} is neither open nor closed")
    if status in _OPEN:
        raise _Refusal("it is open: a position is read from the venue at the start, not from here")
    opened_ns, closed_ns = _instant(values, "opened"), _instant(values, "closed")
    if closed_ns < opened_ns:
        raise _Refusal("closed before it was opened")
    trade = TradeRecord(
        trade_id=TradeId(trade_id),
        symbol=_symbol(values),
        side=_side(values),
        quantity=_number(values, "quantity", above_zero=True),
        entry_price=_number(values, "entry_price", above_zero=True),
        exit_price=_number(values, "exit_price", above_zero=True),
        realised=_number(values, "realised", default=ZERO),
        fees=_number(values, "fees", default=ZERO),
        funding=_number(values, "funding", default=ZERO),
        opened_ns=opened_ns,
        closed_ns=closed_ns,
        strategy=_words(values, "strategy"),
        trace=TraceId(_words(values, "trace")),
    )
    return trade, unknown


def _symbol(values: Mapping[str, Any]) -> Symbol:
    text = re.sub(r"[-_/]", "", _words(values, "symbol").upper())
    if not _SYMBOL.fullmatch(text):
        raise _Refusal(f"symbol: {values.get('symbol')!r} is not a symbol such as BTCUSDT")
    return Symbol(text)


def _side(values: Mapping[str, Any]) -> Side:
    side = _SIDES.get(_words(values, "side").lower())
    if side is None:
        raise _Refusal(f"side: {values.get('side')!r} is none of {', '.join(_SIDES)}")
    return side


def _words(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name, "")
    if not isinstance(value, str):
        raise _Refusal(f"{name}: {value!r} is not text")
    return value


def _number(
    values: Mapping[str, Any],
    name: str,
    *,
    above_zero: bool = False,
    default: Decimal | None = None,
) -> Decimal:
    value = values.get(name, default)
    if value is None:
        raise _Refusal(f"{name} is missing")
    try:
        # From text or from the digits of the file, never from a float.
        number = Decimal(value) if isinstance(value, str | Decimal) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise _Refusal(f"{name}: {value!r} is not a number")
    if above_zero and number <= 0:
        raise _Refusal(f"{name}: {value} is not above zero")
    return number


def _instant(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    if value is None:
        raise _Refusal(f"when it was {name} is missing")
    try:
        return instant_ns(value)
    except ValueError as error:
        raise _Refusal(f"{name}: {error}") from error
