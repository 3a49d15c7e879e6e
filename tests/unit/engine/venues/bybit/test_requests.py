"""Requests as bytes: what is asked for as it is, named, never beyond one scope."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import InvariantBroken
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.venues.bybit import requests
from engine.venues.bybit.errors import RequestKind
from engine.venues.bybit.requests import Request

BTC = Symbol("BTCUSDT")
ID = ClientOrderId("desk-g1-7")


def intent(**changes: Any) -> Intent:
    """A market entry of 0.5, unless said otherwise."""
    values: dict[str, Any] = {
        "client_order_id": ID,
        "symbol": BTC,
        "side": Side.BUY,
        "kind": OrderKind.MARKET,
        "purpose": OrderPurpose.ENTRY,
        "quantity": Decimal("0.5"),
    }
    return Intent(**(values | changes))


def reduction(**changes: Any) -> Intent:
    return intent(**({"purpose": OrderPurpose.EXIT, "reduce_only": True} | changes))


def document(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(request.payload)
    return found


def placed(what: Intent, *, is_hedged: bool = False) -> dict[str, Any]:
    return document(requests.place(what, is_hedged=is_hedged))


# --- what an order looks like -------------------------------------------------------------------


def test_a_market_entry() -> None:
    request = requests.place(intent())
    assert (request.method, request.path, request.kind) == (
        "POST", "/v5/order/create", RequestKind.PLACE,
    )  # fmt: skip
    assert (request.target, request.body) == (request.path, request.payload)
    assert document(request) == {
        "category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market",
        "qty": "0.5", "timeInForce": "IOC", "positionIdx": 0, "orderLinkId": "desk-g1-7",
        "reduceOnly": False,
    }  # fmt: skip


def test_a_protective_stop_closes_and_is_triggered_by_the_fall() -> None:
    stop = reduction(
        side=Side.SELL,
        kind=OrderKind.STOP_MARKET,
        purpose=OrderPurpose.PROTECTIVE_STOP,
        trigger_price=Decimal("45000.04"),
    )
    found = placed(stop)
    assert (found["orderType"], found["reduceOnly"], found["closeOnTrigger"]) == (
        "Market", True, True,
    )  # fmt: skip
    assert (found["triggerPrice"], found["triggerDirection"]) == ("45000.04", 2)
    bought_back = placed(msgspec.structs.replace(stop, side=Side.BUY))
    assert (bought_back["triggerPrice"], bought_back["triggerDirection"]) == ("45000.04", 1)


def test_a_limit_order_rests_until_cancelled() -> None:
    found = placed(intent(kind=OrderKind.LIMIT, price=Decimal(30000)))
    assert (found["orderType"], found["price"], found["timeInForce"]) == ("Limit", "30000", "GTC")


@pytest.mark.parametrize(
    ("side", "reduces", "leg"),
    [(Side.BUY, False, 1), (Side.SELL, False, 2), (Side.SELL, True, 1), (Side.BUY, True, 2)],
)
def test_in_hedge_mode_the_leg_is_named(side: Side, reduces: bool, leg: int) -> None:
    order = reduction(side=side) if reduces else intent(side=side)
    assert placed(order, is_hedged=True)["positionIdx"] == leg
    assert placed(order)["positionIdx"] == 0


# --- as it is ------------------------------------------------------------------------------------


@given(
    quantity=st.decimals(min_value=Decimal("0.000001"), max_value=3000, places=6),
    price=st.decimals(min_value=Decimal("0.01"), max_value=3_000_000, places=4),
    side=st.sampled_from(Side),
    kind=st.sampled_from(OrderKind),
    reduces=st.booleans(),
)
def test_what_is_asked_for_is_sent_as_it_is(
    quantity: Decimal, price: Decimal, side: Side, kind: OrderKind, reduces: bool
) -> None:
    """Nothing is rounded in silence: what is written down is what is sent."""
    make = reduction if reduces else intent
    found = placed(
        make(
            side=side,
            kind=kind,
            quantity=quantity,
            price=price if kind is OrderKind.LIMIT else None,
            trigger_price=price if kind.is_conditional else None,
        )
    )
    assert Decimal(found["qty"]) == quantity
    for field, wanted in (
        ("price", kind is OrderKind.LIMIT),
        ("triggerPrice", kind.is_conditional),
    ):
        assert (Decimal(found[field]) == price) if wanted else field not in found
    assert "E" not in found["qty"]


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": OrderPurpose.EXIT},
        {"kind": OrderKind.LIMIT},
        {"kind": OrderKind.STOP_MARKET},
        {"price": Decimal(30000)},
        {"trigger_price": Decimal(30000)},
        {"quantity": Decimal(0)},
        {"quantity": Decimal("-0.5")},
        {"client_order_id": ClientOrderId("")},
        {"client_order_id": ClientOrderId("a" * 37)},
        {"client_order_id": ClientOrderId("desk g1")},
        {"client_order_id": ClientOrderId("@5cf98598")},
        {"client_order_id": ClientOrderId("desk-\u0661")},
        {"client_order_id": ClientOrderId("desk-1\n")},
    ],
)
def test_an_order_that_nobody_may_make_is_a_broken_invariant(changes: dict[str, Any]) -> None:
    with pytest.raises(InvariantBroken):
        requests.place(intent(**changes))


def test_an_id_of_36_characters_fits() -> None:
    longest = ClientOrderId("n" * 36)
    assert placed(intent(client_order_id=longest))["orderLinkId"] == longest


# --- changing, cancelling, batches --------------------------------------------------------------


def test_an_amendment_says_what_the_order_shall_be() -> None:
    request = requests.amend(intent(kind=OrderKind.LIMIT, price=Decimal("30000.1")))
    assert (request.path, request.kind) == ("/v5/order/amend", RequestKind.AMEND)
    assert document(request) == {
        "category": "linear", "symbol": "BTCUSDT", "orderLinkId": "desk-g1-7", "qty": "0.5",
        "price": "30000.1",
    }  # fmt: skip
    moved = reduction(kind=OrderKind.STOP_MARKET, trigger_price=Decimal(44000))
    found = document(requests.amend(moved))
    assert (found["triggerPrice"], found["qty"]) == ("44000", "0.5")
    # One that the venue made and named is changed by that name.
    theirs = msgspec.structs.replace(moved, client_order_id=ClientOrderId("@5cf98598"))
    assert document(requests.amend(theirs))["orderId"] == "5cf98598"


def test_an_order_is_named_by_us_or_by_the_venue() -> None:
    ours = document(requests.cancel(BTC, ID))
    assert ours == {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "desk-g1-7"}
    theirs = document(requests.cancel(BTC, ClientOrderId("@5cf98598")))
    assert theirs == {"category": "linear", "symbol": "BTCUSDT", "orderId": "5cf98598"}


@pytest.mark.parametrize(("conditional", "which"), [(False, "Order"), (True, "StopOrder")])
def test_cancelling_all_always_says_which(conditional: bool, which: str) -> None:
    request = requests.cancel_all(BTC, conditional=conditional)
    assert document(request) == {
        "category": "linear", "symbol": "BTCUSDT", "orderFilter": which,
    }  # fmt: skip
    assert request.kind is RequestKind.CANCEL


def test_a_batch_holds_one_to_ten() -> None:
    orders = [intent(client_order_id=ClientOrderId(f"d-{n}")) for n in range(11)]
    request = requests.place_batch(orders[:10])
    assert request.orders == 10
    batch = document(request)
    assert [row["orderLinkId"] for row in batch["request"]] == [f"d-{n}" for n in range(10)]
    assert batch["category"] == "linear"
    assert "category" not in batch["request"][0]
    for wrong in (orders, []):
        with pytest.raises(InvariantBroken, match="a batch of"):
            requests.place_batch(wrong)
    cancelled = document(requests.cancel_batch([(BTC, ID)]))
    assert cancelled["request"] == [{"symbol": "BTCUSDT", "orderLinkId": "desk-g1-7"}]
    amended = document(requests.amend_batch([intent(quantity=Decimal(1))]))
    assert amended["request"][0]["qty"] == "1"


def test_in_a_batch_each_order_has_the_leg_of_its_own_symbol() -> None:
    eth = intent(symbol=Symbol("ETHUSDT"), side=Side.SELL)
    batch = requests.place_batch([intent(), eth], hedged=frozenset({eth.symbol}))
    assert [row["positionIdx"] for row in document(batch)["request"]] == [0, 2]


# --- stops and settings -------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "leg"), [(Side.BUY, 1), (Side.SELL, 2)])
def test_a_positions_stops_are_sent_as_they_are(side: Side, leg: int) -> None:
    request = requests.trading_stop(
        BTC, position_side=side, stop_loss=Decimal("45000.05"), take_profit=Decimal(55000),
        is_hedged=True,
    )  # fmt: skip
    found = document(request)
    assert (found["stopLoss"], found["takeProfit"], found["positionIdx"]) == (
        "45000.05", "55000", leg,
    )  # fmt: skip
    assert (found["tpslMode"], found["slTriggerBy"]) == ("Full", "LastPrice")


def test_zero_takes_a_stop_away_and_none_leaves_the_other() -> None:
    found = document(requests.trading_stop(BTC, position_side=Side.BUY, stop_loss=Decimal(0)))
    assert (found["stopLoss"], found["positionIdx"]) == ("0", 0)
    assert "takeProfit" not in found
    with pytest.raises(InvariantBroken):
        requests.trading_stop(BTC, position_side=Side.BUY)


def test_a_leverage_is_the_same_for_both_directions() -> None:
    found = document(requests.set_leverage(BTC, Decimal("7.50")))
    assert (found["buyLeverage"], found["sellLeverage"]) == ("7.5", "7.5")


def test_protection_against_disconnection_is_for_futures_and_bounded() -> None:
    """Without a product it would be options that are protected."""
    assert document(requests.set_protection(30)) == {"product": "DERIVATIVES", "timeWindow": 30}
    for seconds in (2, 301):
        with pytest.raises(InvariantBroken, match="are allowed"):
            requests.set_protection(seconds)
    assert requests.protection().target == "/v5/account/query-dcp-info"


def test_a_position_mode_is_set_for_a_coin() -> None:
    modes = [document(requests.set_position_mode("USDT", is_hedged=each)) for each in (False, True)]
    assert [each["mode"] for each in modes] == [0, 3]


# --- reads --------------------------------------------------------------------------------------


def test_a_read_is_signed_over_the_query_it_sends() -> None:
    request = requests.open_orders("USDT", "page_args%3Dfd43%26symbol%3D6%26")
    assert request.target == f"/v5/order/realtime?{request.payload.decode()}"
    assert request.body == b""
    # As it came: encoded once more it would be another cursor.
    assert request.payload.endswith(b"&cursor=page_args%3Dfd43%26symbol%3D6%26")
    assert requests.server_time().target == "/v5/market/time"


def test_a_value_cannot_end_its_parameter() -> None:
    odd = Symbol("币安&openOnly=1")
    parameters = parse_qs(requests.ticker(odd).payload.decode())
    assert parameters == {"category": ["linear"], "symbol": [odd]}


def test_reads_ask_for_whole_pages() -> None:
    asked = {
        request.path: parse_qs(request.payload.decode())
        for request in (
            requests.contracts(),
            requests.positions("USDT"),
            requests.executions(start_ms=1, end_ms=2, cursor="c"),
            requests.wallet(),
        )
    }
    assert asked["/v5/market/instruments-info"]["limit"] == ["1000"]
    assert asked["/v5/position/list"]["settleCoin"] == ["USDT"]
    execution_list = asked["/v5/execution/list"]
    assert (execution_list["startTime"], execution_list["cursor"]) == (["1"], ["c"])
    assert asked["/v5/account/wallet-balance"] == {"accountType": ["UNIFIED"]}
    of_symbol = requests.executions(start_ms=1, end_ms=2, symbol=BTC)
    assert parse_qs(of_symbol.payload.decode())["symbol"] == [BTC]
    of_symbol = requests.open_orders_of(BTC, "c")
    assert "settleCoin" not in parse_qs(of_symbol.payload.decode())
    week_ms = 7 * 24 * 3600 * 1000
    for start, end in ((0, week_ms + 1), (2, 1)):
        with pytest.raises(InvariantBroken):
            requests.executions(start_ms=start, end_ms=end)


def test_an_order_is_asked_for_by_its_name_open_or_ended() -> None:
    for build, path in (
        (requests.order, "/v5/order/realtime"),
        (requests.ended_order, "/v5/order/history"),
        (requests.executions_of, "/v5/execution/list"),
    ):
        request = build(BTC, ID)
        assert request.path == path
        assert parse_qs(request.payload.decode())["orderLinkId"] == [ID]
