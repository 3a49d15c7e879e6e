"""Frames of the sockets: our updates, what is passed over, what is refused, and the answers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.orders import OrderState
from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.streams import (
    ControlAnswer,
    PrivateMessage,
    decode_private,
    decode_server_time,
    decode_tickers,
)

_MS = 1746270400355
_ORDER = {
    "category": "linear", "symbol": "BTCUSDT", "orderId": "o-1", "orderLinkId": "desk-g1-7",
    "side": "Buy", "orderType": "Market", "orderStatus": "Filled", "qty": "1", "cumExecQty": "1",
    "reduceOnly": False, "updatedTime": str(_MS),
}  # fmt: skip
_EXECUTION = {
    "category": "linear", "symbol": "BTCUSDT", "orderId": "o-1", "orderLinkId": "desk-g1-7",
    "side": "Buy", "execId": "e-1", "execType": "Trade", "execQty": "0.4", "execPrice": "95900",
    "execFee": "21", "execTime": str(_MS), "isMaker": False,
}  # fmt: skip


def private(topic: str, *rows: object, **fields: object) -> PrivateMessage:
    frame = {"topic": topic, "creationTime": _MS, "data": rows} | fields
    found = decode_private(msgspec.json.encode(frame))
    assert isinstance(found, PrivateMessage)
    return found


@pytest.mark.parametrize("topic", ["order", "order.linear"])
def test_an_order_is_an_update(topic: str) -> None:
    found = private(topic, _ORDER)
    (update,) = found.updates
    assert update.ts_ns == found.ts_ns == _MS * 1_000_000
    assert update.order is not None
    assert (update.order.client_order_id, update.order.state) == ("desk-g1-7", OrderState.FILLED)
    assert (update.fill, update.connected) == (None, None)


def test_one_frame_may_hold_many_fills_and_funding() -> None:
    funding = _EXECUTION | {"execId": "f-1", "execType": "Funding", "execFee": "0.5"}
    found = private("execution", _EXECUTION, _EXECUTION | {"execId": "e-2"}, funding)
    assert [each.fill and each.fill.execution_id for each in found.updates] == ["e-1", "e-2"]
    assert [each.amount for each in found.fundings] == [Decimal("-0.5")]


def test_both_legs_of_a_position_are_told_flat_or_not() -> None:
    row = {"category": "linear", "symbol": "BTCUSDT", "entryPrice": "0", "size": "0", "side": ""}
    long = row | {"positionIdx": 1, "size": "0.5", "side": "Buy", "entryPrice": "50000"}
    found = private("position", long, row | {"positionIdx": 2})
    assert [(each.index, each.position.quantity) for each in found.legs] == [
        (1, Decimal("0.5")),
        (2, Decimal(0)),
    ]


def test_a_wallet_is_balances() -> None:
    coins = [{"coin": "USDT", "walletBalance": "1000"}]
    found = private("wallet", {"accountType": "UNIFIED", "coin": coins})
    assert [(each.currency, each.balance) for each in found.balances] == [("USDT", Decimal(1000))]


def test_a_row_of_another_category_is_passed_over_before_it_is_read() -> None:
    found = private("order", {"category": "spot"}, _ORDER, {"category": "option", "qty": 7})
    assert len(found.updates) == 1
    assert found.passed_over == 2


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        ({"topic": "execution.fast", "creationTime": _MS, "data": []}, "execution.fast"),
        ({"topic": "kline.5.BTCUSDT", "ts": _MS, "data": []}, "topic: 'kline"),
        ({"topic": "order", "data": []}, "creationTime"),
        ({"topic": "order", "creationTime": -1, "data": []}, "creationTime"),
        ({"topic": "order", "creationTime": _MS}, "data"),
        ({"topic": "order", "creationTime": _MS, "data": {}}, "array"),
        ({"topic": "order", "creationTime": _MS, "data": [{}]}, "`symbol`"),
        ({"creationTime": _MS, "data": []}, "topic"),
        ({"op": "auth"}, "success"),
    ],
)
def test_a_frame_that_cannot_be_read_is_refused_never_nothing(
    frame: dict[str, Any], named: str
) -> None:
    with pytest.raises(Undecodable, match=named):
        decode_private(msgspec.json.encode(frame))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            {"op": "pong", "args": ["1"], "conn_id": "c"},
            ControlAnswer(operation="pong", is_success=True),
        ),
        (
            {"success": True, "ret_msg": "pong", "op": "ping", "req_id": ""},
            ControlAnswer(operation="pong", is_success=True),
        ),
        (
            {"retCode": 0, "op": "pong", "data": ["1"]},
            ControlAnswer(operation="pong", is_success=True),
        ),
        (
            {"success": False, "ret_msg": "Params Error", "op": "auth"},
            ControlAnswer(operation="auth", is_success=False, text="Params Error"),
        ),
        (
            {"op": "auth", "retCode": 10003, "retMsg": "Invalid apikey", "success": True},
            ControlAnswer(operation="auth", is_success=False, text="Invalid apikey"),
        ),
        (
            {"op": "subscribe", "success": True, "ret_msg": "", "req_id": "r-1"},
            ControlAnswer(operation="subscribe", is_success=True, request_id="r-1"),
        ),
        (
            {"op": "order.create", "retCode": 110007, "retMsg": "funds", "reqId": "r-2"},
            ControlAnswer(
                operation="order.create", is_success=False, text="funds", request_id="r-2"
            ),
        ),
    ],
)
def test_the_four_shapes_of_answers_are_one(frame: dict[str, Any], expected: ControlAnswer) -> None:
    body = msgspec.json.encode(frame)
    assert decode_private(body) == expected


# --- public -------------------------------------------------------------------------------------


def test_a_ticker_asked_for_has_a_mark_and_the_time_of_the_answer() -> None:
    row = {"symbol": "BTCUSDT", "markPrice": "1", "lastPrice": "2"}
    document: dict[str, Any] = {"retCode": 0, "time": _MS, "result": {"list": [row]}}
    (found,) = decode_tickers(msgspec.json.encode(document))
    assert (found.mark_price, found.ts_ns) == (Decimal(1), _MS * 1_000_000)
    del row["markPrice"]
    with pytest.raises(Undecodable, match="markPrice"):
        decode_tickers(msgspec.json.encode(document))


def test_the_venues_time_is_in_nanoseconds() -> None:
    body = b'{"retCode":0,"result":{"timeSecond":"1688639403","timeNano":"1688639403423213947"}}'
    assert decode_server_time(body) == 1688639403423213947
    with pytest.raises(Undecodable, match="timeNano"):
        decode_server_time(b'{"retCode":0,"result":{"timeNano":"1e9"}}')


@given(st.binary(max_size=200))
def test_whatever_bytes_come_nothing_but_a_refusal_is_raised(body: bytes) -> None:
    for reader in (decode_private, decode_tickers, decode_server_time):
        with pytest.raises(Undecodable):
            reader(body)
