"""Requests as bytes: fitted to the filters to our safe side, named, never beyond one scope."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import Denied, InvariantBroken
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.venues.bybit import requests
from engine.venues.bybit.errors import RequestKind
from engine.venues.bybit.instruments import Contract
from engine.venues.bybit.requests import Amendment, Request

BTC = Symbol("BTCUSDT")
ID = ClientOrderId("desk-g1-7")
CONTRACT = Contract(
    instrument=Instrument(
        symbol=BTC,
        tick_size=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        quantity_min=Decimal("0.001"),
        quantity_max=Decimal(500),
        notional_min=Decimal(5),
        leverage_max=Decimal(100),
    ),
    is_trading=True,
    price_min=Decimal("0.1"),
    price_max=Decimal("1999999.8"),
    limit_quantity_max=Decimal(1190),
    leverage_min=Decimal(1),
    leverage_step=Decimal("0.01"),
    funding_interval_min=480,
)


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
    return document(requests.place(what, CONTRACT, is_hedged=is_hedged))


# --- what an order looks like -------------------------------------------------------------------


def test_a_market_entry() -> None:
    request = requests.place(intent(), CONTRACT)
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
    # A little earlier than asked for, never later.
    assert (found["triggerPrice"], found["triggerDirection"]) == ("45000.1", 2)
    bought_back = placed(msgspec.structs.replace(stop, side=Side.BUY))
    assert (bought_back["triggerPrice"], bought_back["triggerDirection"]) == ("45000", 1)


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "30000"), (Side.SELL, "30000.1")])
def test_a_limit_price_is_never_worse_than_asked_for(side: Side, price: str) -> None:
    found = placed(intent(side=side, kind=OrderKind.LIMIT, price=Decimal("30000.05")))
    assert (found["orderType"], found["price"], found["timeInForce"]) == ("Limit", price, "GTC")


@pytest.mark.parametrize(
    ("side", "reduces", "leg"),
    [(Side.BUY, False, 1), (Side.SELL, False, 2), (Side.SELL, True, 1), (Side.BUY, True, 2)],
)
def test_in_hedge_mode_the_leg_is_named(side: Side, reduces: bool, leg: int) -> None:
    order = reduction(side=side) if reduces else intent(side=side)
    assert placed(order, is_hedged=True)["positionIdx"] == leg
    assert placed(order)["positionIdx"] == 0


# --- fitting ------------------------------------------------------------------------------------

_AMOUNTS = st.decimals(min_value=Decimal("0.000001"), max_value=3000, places=6)
_PRICES = st.decimals(min_value=Decimal("0.01"), max_value=3_000_000, places=4)


@given(
    quantity=_AMOUNTS,
    price=_PRICES,
    side=st.sampled_from(Side),
    kind=st.sampled_from(OrderKind),
    reduces=st.booleans(),
)
def test_whatever_is_sent_fits_the_filters_and_never_grew(
    quantity: Decimal, price: Decimal, side: Side, kind: OrderKind, reduces: bool
) -> None:
    make = reduction if reduces else intent
    order = make(
        side=side,
        kind=kind,
        quantity=quantity,
        price=price if kind is OrderKind.LIMIT else None,
        trigger_price=price if kind is OrderKind.STOP_MARKET else None,
    )
    instrument = CONTRACT.instrument
    is_limit = kind is OrderKind.LIMIT
    most = CONTRACT.limit_quantity_max if is_limit else instrument.quantity_max
    step, tick = instrument.quantity_step, instrument.tick_size
    is_odd_price = kind is not OrderKind.MARKET and not (
        CONTRACT.price_min + tick <= price <= CONTRACT.price_max - tick
    )
    is_worthless = is_limit and not reduces and (quantity - step) * (price - tick) < 5
    if quantity > most or quantity < instrument.quantity_min or is_odd_price or is_worthless:
        try:
            found = placed(order)
        except Denied:
            return
    else:
        found = placed(order)  # What fits is never denied.
    sent = Decimal(found["qty"])
    assert sent <= quantity
    assert quantity - sent < instrument.quantity_step
    assert instrument.quantity_min <= sent <= most
    assert sent % instrument.quantity_step == 0
    for field in ("price", "triggerPrice"):
        if field not in found:
            continue
        level = Decimal(found[field])
        assert level % instrument.tick_size == 0
        assert CONTRACT.price_min <= level <= CONTRACT.price_max
        assert abs(level - price) < instrument.tick_size
        # Worse for a limit order is paying more; for a stop it is waiting longer.
        assert level <= price if side is Side.BUY else level >= price
    if is_limit and not reduces:
        assert sent * Decimal(found["price"]) >= instrument.notional_min


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"quantity": Decimal("0.0009")}, "below_venue_minimum", "quantity 0.0009"),
        ({"quantity": Decimal(0)}, "below_venue_minimum", "at least 0.001"),
        ({"quantity": Decimal("-0.5")}, "below_venue_minimum", "quantity -0.5"),
        ({"quantity": Decimal("500.001")}, "off_venue_grid", "at most 500"),
        (
            {"quantity": Decimal(1191), "kind": OrderKind.LIMIT, "price": Decimal(30000)},
            "off_venue_grid",
            "at most 1190",
        ),
        ({"kind": OrderKind.LIMIT, "price": Decimal(2000000)}, "off_venue_grid", "price 2000000"),
        ({"kind": OrderKind.LIMIT, "price": Decimal("0.05")}, "off_venue_grid", "0.1 to"),
        ({"kind": OrderKind.LIMIT, "price": Decimal("9.9")}, "below_venue_minimum", "at least 5"),
    ],
)
def test_what_does_not_fit_is_denied_with_its_figures(
    changes: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(Denied, match=words) as raised:
        requests.place(intent(**changes), CONTRACT)
    assert raised.value.reason_codes == (code,)


def test_a_reduction_may_be_worth_less_than_the_least_value() -> None:
    dust = reduction(side=Side.SELL, kind=OrderKind.LIMIT, price=Decimal("9.9"))
    assert placed(dust)["reduceOnly"] is True


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": OrderPurpose.EXIT},
        {"kind": OrderKind.LIMIT},
        {"kind": OrderKind.STOP_MARKET},
        {"price": Decimal(30000)},
        {"trigger_price": Decimal(30000)},
        {"symbol": Symbol("ETHUSDT")},
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
        requests.place(intent(**changes), CONTRACT)


def test_an_id_of_36_characters_fits() -> None:
    longest = ClientOrderId("n" * 36)
    assert placed(intent(client_order_id=longest))["orderLinkId"] == longest


# --- changing, cancelling, batches --------------------------------------------------------------


def test_an_amendment_holds_what_changes() -> None:
    change = Amendment(symbol=BTC, client_order_id=ID, side=Side.SELL, price=Decimal("30000.05"))
    request = requests.amend(change, CONTRACT)
    assert (request.path, request.kind) == ("/v5/order/amend", RequestKind.AMEND)
    assert document(request) == {
        "category": "linear", "symbol": "BTCUSDT", "orderLinkId": "desk-g1-7", "price": "30000.1",
    }  # fmt: skip
    moved = Amendment(
        symbol=BTC, client_order_id=ID, side=Side.SELL, trigger_price=Decimal("44000.01"),
        quantity=Decimal("0.2509"),
    )  # fmt: skip
    found = document(requests.amend(moved, CONTRACT))
    assert (found["triggerPrice"], found["qty"]) == ("44000.1", "0.25")
    with pytest.raises(InvariantBroken, match="changes nothing"):
        requests.amend(Amendment(symbol=BTC, client_order_id=ID, side=Side.BUY), CONTRACT)


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
    batch = document(requests.place_batch(orders[:10], {BTC: CONTRACT}))
    assert [row["orderLinkId"] for row in batch["request"]] == [f"d-{n}" for n in range(10)]
    assert batch["category"] == "linear"
    assert "category" not in batch["request"][0]
    for wrong in (orders, []):
        with pytest.raises(InvariantBroken, match="a batch of"):
            requests.place_batch(wrong, {BTC: CONTRACT})
    cancelled = document(requests.cancel_batch([(BTC, ID)]))
    assert cancelled["request"] == [{"symbol": "BTCUSDT", "orderLinkId": "desk-g1-7"}]
    change = Amendment(symbol=BTC, client_order_id=ID, side=Side.BUY, quantity=Decimal(1))
    amended = document(requests.amend_batch([change], {BTC: CONTRACT}))
    assert amended["request"][0]["qty"] == "1"


# --- stops and settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "stop", "profit", "leg"),
    [(Side.BUY, "45000.1", "55000", 1), (Side.SELL, "45000", "55000.1", 2)],
)
def test_a_positions_stops_trigger_no_later_than_asked_for(
    side: Side, stop: str, profit: str, leg: int
) -> None:
    request = requests.trading_stop(
        CONTRACT, position_side=side, stop_loss=Decimal("45000.05"),
        take_profit=Decimal("55000.05"), is_hedged=True,
    )  # fmt: skip
    found = document(request)
    assert (found["stopLoss"], found["takeProfit"], found["positionIdx"]) == (stop, profit, leg)
    assert (found["tpslMode"], found["slTriggerBy"]) == ("Full", "LastPrice")


def test_zero_takes_a_stop_away_and_none_leaves_the_other() -> None:
    found = document(requests.trading_stop(CONTRACT, position_side=Side.BUY, stop_loss=Decimal(0)))
    assert (found["stopLoss"], found["positionIdx"]) == ("0", 0)
    assert "takeProfit" not in found
    with pytest.raises(InvariantBroken):
        requests.trading_stop(CONTRACT, position_side=Side.BUY)


@given(st.decimals(min_value=0, max_value=200, places=4))
def test_a_leverage_is_rounded_down_within_its_bounds(leverage: Decimal) -> None:
    if not 1 <= leverage < Decimal("100.01"):
        with pytest.raises(Denied, match="leverage") as raised:
            requests.set_leverage(leverage, CONTRACT)
        assert raised.value.reason_codes == ("max_leverage",)
        return
    found = document(requests.set_leverage(leverage, CONTRACT))
    sent = Decimal(found["buyLeverage"])
    assert found["sellLeverage"] == found["buyLeverage"]
    assert 1 <= sent <= 100
    assert 0 <= leverage - sent < Decimal("0.01")


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
    week_ms = 7 * 24 * 3600 * 1000
    for start, end in ((0, week_ms + 1), (2, 1)):
        with pytest.raises(InvariantBroken):
            requests.executions(start_ms=start, end_ms=end)


def test_an_order_is_asked_for_by_its_name_open_or_ended() -> None:
    for build, path in (
        (requests.order, "/v5/order/realtime"),
        (requests.ended_order, "/v5/order/history"),
    ):
        request = build(BTC, ID)
        assert request.path == path
        assert parse_qs(request.payload.decode())["orderLinkId"] == [ID]
