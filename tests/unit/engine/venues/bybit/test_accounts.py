"""Orders, executions, positions and wallets: directions, states, fees, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.orders import OrderKind, OrderState
from engine.model.values import Side, plain
from engine.model.venue import OrderAck
from engine.venues.bybit.accounts import (
    PositionLeg,
    decode_ack,
    decode_batch,
    decode_cancel_all,
    decode_executions,
    decode_orders,
    decode_positions,
    decode_wallet,
    settle_coin,
)
from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.errors import RequestKind

_MS = 1672364262457
_ORDER: dict[str, Any] = {
    "symbol": "BTCUSDT", "orderId": "5cf98598", "orderLinkId": "desk-g1-7", "side": "Buy",
    "orderType": "Limit", "orderStatus": "New", "qty": "0.010", "cumExecQty": "0",
    "reduceOnly": False, "updatedTime": str(_MS), "price": "30000.50", "triggerPrice": "0.00",
    "stopOrderType": "UNKNOWN", "rejectReason": "EC_NoError", "cancelType": "UNKNOWN",
}  # fmt: skip
_EXECUTION: dict[str, Any] = {
    "symbol": "BTCUSDT", "orderId": "5cf98598", "orderLinkId": "desk-g1-7", "side": "Sell",
    "execId": "e-1", "execType": "Trade", "execQty": "0.5", "execPrice": "95900.1",
    "execFee": "26.37", "execTime": str(_MS), "isMaker": False, "feeCurrency": "", "seq": 4,
}  # fmt: skip
_POSITION: dict[str, Any] = {
    "symbol": "BTCUSDT", "side": "Sell", "size": "0.5", "positionIdx": 0, "avgPrice": "50000",
    "markPrice": "50500", "updatedTime": str(_MS), "seq": 9,
}  # fmt: skip


def answer(*rows: object, **result: object) -> bytes:
    return msgspec.json.encode(
        {"retCode": 0, "retMsg": "OK", "result": {"list": rows, **result}, "time": _MS}
    )


def changed(row: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A row with other values; None takes a field away."""
    return {name: value for name, value in (row | changes).items() if value is not None}


# --- orders -------------------------------------------------------------------------------------


def order(**changes: Any) -> Any:
    return decode_orders(answer(changed(_ORDER, changes))).rows[0]


def test_a_resting_order_is_read_whole() -> None:
    page = decode_orders(answer(_ORDER, nextPageCursor="next", category="linear"))
    (found,) = page.rows
    assert page.next_cursor == "next"
    assert found.client_order_id == "desk-g1-7"
    assert found.venue_order_id == "5cf98598"
    assert (found.side, found.kind, found.state) == (Side.BUY, OrderKind.LIMIT, OrderState.ACCEPTED)
    assert (found.quantity, found.filled) == (Decimal("0.010"), Decimal(0))
    assert (found.price, found.trigger_price) == (Decimal("30000.50"), None)
    assert found.ts_ns == _MS * 1_000_000
    assert found.reason == ""


@pytest.mark.parametrize(
    ("status", "filled", "state"),
    [
        ("New", "0", OrderState.ACCEPTED),
        ("Untriggered", "0", OrderState.ACCEPTED),
        ("Triggered", "0", OrderState.ACCEPTED),
        ("PartiallyFilled", "0.005", OrderState.PARTIALLY_FILLED),
        ("Filled", "0.010", OrderState.FILLED),
        ("Cancelled", "0.005", OrderState.CANCELLED),
        ("PartiallyFilledCanceled", "0.005", OrderState.CANCELLED),
        ("Deactivated", "0", OrderState.CANCELLED),
        ("Rejected", "0", OrderState.REJECTED),
        # Its fills are real, so it is not an order that never was.
        ("Rejected", "0.005", OrderState.CANCELLED),
    ],
)
def test_each_state_has_one_of_ours(status: str, filled: str, state: OrderState) -> None:
    assert order(orderStatus=status, cumExecQty=filled).state is state


@pytest.mark.parametrize(
    ("status", "reject", "cancel", "reason"),
    [
        ("Rejected", "EC_PostOnlyWillTakeLiquidity", "UNKNOWN", "EC_PostOnlyWillTakeLiquidity"),
        ("Cancelled", "EC_NoError", "CancelByUser", "CancelByUser"),
        ("Cancelled", "EC_NoError", "UNKNOWN", ""),
        ("Cancelled", None, None, ""),
        # The second message of a cancel that lost against a fill: the fill is what happened.
        ("Filled", "EC_OrigClOrdIDDoesNotExist", "CancelByUser", ""),
    ],
)
def test_why_an_order_ended_is_told(
    status: str, reject: str | None, cancel: str | None, reason: str
) -> None:
    assert order(orderStatus=status, rejectReason=reject, cancelType=cancel).reason == reason


@pytest.mark.parametrize(
    ("order_type", "stop_type", "trigger", "kind"),
    [
        ("Market", "", "", OrderKind.MARKET),
        ("Market", "UNKNOWN", "0.00", OrderKind.MARKET),
        ("Market", "Stop", "45000.0", OrderKind.STOP_MARKET),
        ("Market", "TakeProfit", "55000", OrderKind.TAKE_PROFIT_MARKET),
        ("Limit", "StopLoss", "48000", OrderKind.LIMIT),
    ],
)
def test_a_conditional_order_has_its_trigger(
    order_type: str, stop_type: str, trigger: str, kind: OrderKind
) -> None:
    found = order(orderType=order_type, stopOrderType=stop_type, triggerPrice=trigger)
    assert found.kind is kind
    assert found.is_conditional == (stop_type not in ("", "UNKNOWN"))
    assert (found.price is None) == (order_type == "Market")


def test_an_order_the_venue_made_itself_is_named_by_it() -> None:
    assert order(orderLinkId="").client_order_id == "@5cf98598"


@pytest.mark.parametrize("field", [
    "symbol", "orderId", "orderLinkId", "side", "orderType", "orderStatus", "qty", "cumExecQty",
    "reduceOnly", "updatedTime",
])  # fmt: skip
def test_an_order_without_a_field_is_refused_by_its_name(field: str) -> None:
    with pytest.raises(Undecodable, match=f"`{field}`"):
        order(**{field: None})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("orderStatus", "Sleeping"), ("orderType", "Iceberg"), ("side", ""), ("qty", "-1"),
        ("qty", 1), ("cumExecQty", ""), ("orderId", ""), ("symbol", ""), ("updatedTime", "soon"),
        ("reduceOnly", "true"), ("price", "-5"), ("triggerPrice", "none"),
    ],
)  # fmt: skip
def test_an_odd_field_of_an_order_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(Undecodable, match=field):
        order(**{field: value})


# --- acknowledgements ---------------------------------------------------------------------------


def test_an_acknowledgement_names_the_order_twice() -> None:
    body = msgspec.json.encode(
        {"retCode": 0, "result": {"orderId": "13210037", "orderLinkId": "desk-g1-7"}}
    )
    assert decode_ack(body) == OrderAck(client_order_id="desk-g1-7", venue_order_id="13210037")  # type: ignore[arg-type]


def batch(rows: list[Any], codes: list[tuple[int, str]], code: int = 0) -> bytes:
    verdicts = [{"code": each, "msg": text} for each, text in codes]
    document = {"retCode": code, "result": {"list": rows}, "retExtInfo": {"list": verdicts}}
    return msgspec.json.encode(document)


def test_a_batch_is_judged_item_by_item() -> None:
    rows = [{"orderId": "1", "orderLinkId": "a"}] + [{"orderId": "", "orderLinkId": "b"}] * 3
    codes = [(0, "OK"), (110007, "funds"), (10006, "slow"), (10016, "?")]
    found = decode_batch(batch(rows, codes), RequestKind.PLACE, count=4)
    assert [type(each) for each in found] == [OrderAck, Refused, NotExecuted, OutcomeUnknown]


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_of_another_length_proves_nothing_of_any_item(count: int) -> None:
    rows = [{"orderId": "1", "orderLinkId": "a"}] * 2
    with pytest.raises(Undecodable, match="2 items"):
        decode_batch(batch(rows, [(0, "OK")] * 2), RequestKind.PLACE, count=count)
    with pytest.raises(Undecodable, match=r"retExtInfo\.list"):
        decode_batch(batch(rows, [(0, "OK")]), RequestKind.PLACE, count=2)


def test_an_item_said_to_be_done_without_an_id_is_refused() -> None:
    with pytest.raises(Undecodable, match="orderId"):
        decode_batch(
            batch([{"orderId": "", "orderLinkId": "a"}], [(0, "OK")]), RequestKind.PLACE, count=1
        )


def test_cancelling_all_counts_or_says_that_it_failed() -> None:
    row = {"orderId": "1", "orderLinkId": ""}
    assert decode_cancel_all(answer(row, row, success="1")) == 2
    with pytest.raises(OutcomeUnknown):
        decode_cancel_all(answer(success="0"))
    with pytest.raises(Undecodable, match="success"):
        decode_cancel_all(answer(row))


# --- executions ---------------------------------------------------------------------------------


def executions(*changes: dict[str, Any]) -> Any:
    return decode_executions(answer(*(changed(_EXECUTION, each) for each in changes)))


def test_a_fill_is_read_whole() -> None:
    (fill,) = executions({}).fills
    assert (fill.execution_id, fill.client_order_id, fill.venue_order_id) == (
        "e-1", "desk-g1-7", "5cf98598",
    )  # fmt: skip
    assert (fill.side, fill.quantity, fill.price) == (Side.SELL, Decimal("0.5"), Decimal("95900.1"))
    assert (fill.fee, fill.fee_currency, fill.is_maker) == (Decimal("26.37"), "USDT", False)
    assert fill.ts_ns == _MS * 1_000_000


def test_a_page_is_oldest_first() -> None:
    found = executions(
        {"execId": "d", "execTime": str(_MS + 1), "seq": 8},
        {"execId": "c", "seq": 7},
        # The same moment and number: the later one stands first, as everywhere in the answer.
        {"execId": "b", "seq": 6},
        {"execId": "a", "seq": 6},
    )
    assert [fill.execution_id for fill in found.fills] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("kind", ["Trade", "AdlTrade", "BustTrade", "BlockTrade", "Delivery"])
def test_whatever_moves_a_position_is_a_fill(kind: str) -> None:
    assert len(executions({"execType": kind}).fills) == 1


def test_funding_is_no_fill_and_is_positive_when_we_were_paid() -> None:
    found = executions(
        {"execType": "Funding", "execFee": "1.5", "execId": "f"},
        {"execType": "Funding", "execFee": "-0.5", "execId": "g", "feeCurrency": "USDC"},
        {"execType": "Settle"},
    )
    assert found.fills == ()
    assert [(each.execution_id, each.amount, each.currency) for each in found.fundings] == [
        ("g", Decimal("0.5"), "USDC"),
        ("f", Decimal("-1.5"), "USDT"),
    ]


def test_a_maker_rebate_is_a_fee_below_zero_and_a_tax_adds_to_the_fee() -> None:
    assert executions({"execFee": "-0.01"}).fills[0].fee == Decimal("-0.01")
    taxed = {"extraFees": [{"feeCoin": "USDT", "fee": "0.0064"}], "execFee": "26.37"}
    assert executions(taxed).fills[0].fee == Decimal("26.3764")
    assert executions({"extraFees": ""}).fills[0].fee == Decimal("26.37")
    for odd in ([{"feeCoin": "BTC", "fee": "0.1"}], "much"):
        with pytest.raises(Undecodable, match="extraFees"):
            executions({"extraFees": odd})


@pytest.mark.parametrize(
    ("symbol", "coin"),
    [
        ("BTCUSDT", "USDT"),
        ("BTCUSDT-26SEP25", "USDT"),
        ("ETHPERP", "USDC"),
        ("BTC-29DEC23", "USDC"),
    ],
)
def test_the_settle_coin_is_in_the_name(symbol: str, coin: str) -> None:
    assert settle_coin(symbol) == coin
    assert executions({"symbol": symbol}).fills[0].fee_currency == coin


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("execType", "Gift"), ("execQty", "0"), ("execPrice", "-1"), ("execFee", None),
        ("execId", ""), ("execId", None), ("side", None), ("isMaker", None), ("execTime", "0.5"),
        ("symbol", "BTCUSD"), ("orderId", None),
    ],
)  # fmt: skip
def test_an_odd_field_of_an_execution_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(Undecodable, match=field):
        executions({field: value})


# --- positions ----------------------------------------------------------------------------------


def leg(**changes: Any) -> PositionLeg:
    return decode_positions(answer(changed(_POSITION, changes))).rows[0]


@given(
    size=st.decimals(min_value=0, max_value=10**9, places=6),
    is_long=st.booleans(),
    is_hedged=st.booleans(),
)
def test_an_unsigned_size_and_a_side_make_a_signed_quantity(
    size: Decimal, is_long: bool, is_hedged: bool
) -> None:
    index = (1 if is_long else 2) if is_hedged else 0
    side = ("Buy" if is_long else "Sell") if size else ""
    found = leg(side=side, size=plain(size), positionIdx=index)
    assert found.position.quantity == (size if is_long else -size)
    assert found.is_flat == (size == 0)
    assert found.index == index


def test_a_short_is_read_whole() -> None:
    found = leg()
    assert found.position.quantity == Decimal("-0.5")
    assert found.position.entry_price == Decimal(50000)
    assert found.position.mark_price == Decimal(50500)
    assert (found.updated_ns, found.sequence) == (_MS * 1_000_000, 9)


def test_the_stream_calls_the_price_otherwise() -> None:
    assert leg(avgPrice=None, entryPrice="49000").position.entry_price == 49000


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size": "-0.5"}, "size"),
        ({"side": ""}, "side"),
        ({"side": None}, "side"),
        ({"size": None}, "size"),
        ({"positionIdx": None}, "positionIdx"),
        ({"positionIdx": 3}, "positionIdx"),
        ({"positionIdx": 1}, "positionIdx: 1 on side Sell"),
        ({"positionIdx": 2, "side": "Buy"}, "positionIdx: 2 on side Buy"),
        ({"avgPrice": None}, "avgPrice"),
        ({"avgPrice": "0"}, "avgPrice"),
        ({"side": "Up", "size": "0"}, "side"),
    ],
)
def test_a_position_whose_direction_is_not_certain_is_refused(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(Undecodable, match=named):
        leg(**changes)


# --- wallet -------------------------------------------------------------------------------------


def test_a_wallet_is_its_coins_without_unrealised_profit() -> None:
    coins = [
        {"coin": "USDT", "walletBalance": "1000.5", "equity": "1200"},
        {"coin": "BTC", "walletBalance": "-0.1", "equity": "0"},
    ]
    found = decode_wallet(answer({"accountType": "UNIFIED", "coin": coins}))
    assert [(each.currency, each.balance) for each in found] == [
        ("USDT", Decimal("1000.5")),
        ("BTC", Decimal("-0.1")),
    ]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([], "result.list: 0 accounts"),
        ([{"accountType": "SPOT", "coin": []}], "accountType"),
        ([{"accountType": "UNIFIED"}], "coin"),
        ([{"coin": [{"coin": "USDT"}]}], "walletBalance"),
        ([{"coin": [{"coin": "USDT", "walletBalance": ""}]}], "walletBalance"),
    ],
)
def test_a_wallet_that_says_too_little_is_refused(rows: list[Any], named: str) -> None:
    with pytest.raises(Undecodable, match=named):
        decode_wallet(answer(*rows))


@given(st.binary(max_size=200))
def test_whatever_bytes_come_nothing_but_a_refusal_is_raised(body: bytes) -> None:
    for reader in (decode_orders, decode_executions, decode_positions, decode_wallet, decode_ack):
        with pytest.raises(Undecodable):
            reader(body)
