"""A legacy trade_state.json: each state whole or refused with its reason."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from engine.model.errors import OperatorMessage
from engine.model.values import Side
from engine.trade_state import read_state

_GOOD: dict[str, Any] = {
    "symbol": "btc-usdt",
    "side": "long",
    "qty": 0.1,
    "entry_price": "60000.10",
    "exit_price": 61000,
    "pnl": 99.99,
    "fee": "0.6",
    "entry_time": "2024-08-06T12:00:00Z",
    "exit_time": 1722949200,
    "status": "closed",
}


def test_a_state_is_taken_to_the_digit() -> None:
    text = json.dumps({"t-1": _GOOD}).replace("99.99", "99.990000000000000001")
    reading = read_state(text)
    (trade,) = reading.trades
    assert (reading.refused, reading.unknown) == ({}, {})
    assert (trade.trade_id, trade.symbol, trade.side) == ("t-1", "BTCUSDT", Side.BUY)
    assert (trade.quantity, trade.entry_price) == (Decimal("0.1"), Decimal("60000.10"))
    assert trade.realised == Decimal("99.990000000000000001")
    assert (trade.fees, trade.funding) == (Decimal("0.6"), Decimal(0))
    assert (trade.opened_ns, trade.closed_ns) == (1_722_945_600 * 10**9, 1_722_949_200 * 10**9)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"qty": 0}, "quantity: 0 is not above zero"),
        ({"qty": None}, "quantity is missing"),
        ({"entry_price": "sixty"}, "entry_price: 'sixty' is not a number"),
        ({"exit_price": True}, "exit_price: True is not a number"),
        ({"fee": "NaN"}, "fees: 'NaN' is not a number"),
        ({"side": "up"}, "side: 'up' is none of"),
        ({"symbol": "?"}, "symbol: '?' is not a symbol"),
        ({"entry_time": "soon"}, "opened: 'soon' is not a point in time"),
        ({"exit_time": 1}, "closed before it was opened"),
        ({"status": "lost"}, "neither open nor closed"),
        ({"status": "open"}, "it is open"),
        ({"exit_time": None, "status": None}, "it is open"),
        ({"quantity": 3}, "says again what another key"),
        ({"trade_id": "t-9"}, "it calls itself t-9"),
        ({"strategy": 7}, "strategy: Decimal('7') is not text"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    change: dict[str, Any], reason: str
) -> None:
    reading = read_state(json.dumps({"bad": _GOOD | change, "good": _GOOD}))
    assert reason in reading.refused["bad"]
    assert [trade.trade_id for trade in reading.trades] == ["good"]


def test_unknown_keys_are_reported_and_double_ids_refused() -> None:
    text = json.dumps({"a": _GOOD | {"mood": "good"}, "b": 3})
    reading = read_state(text[:-1] + f', "b": {json.dumps(_GOOD)}, "c": []}}')
    assert reading.unknown == {"a": ["mood"]}
    assert reading.refused == {
        "b": "it is in the file more than once",
        "c": "its state is not a JSON object",
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000])
def test_a_file_of_another_kind_is_refused_whole(text: str) -> None:
    with pytest.raises(OperatorMessage):
        read_state(text)
