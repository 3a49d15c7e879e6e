"""The simulated Bybit answers requests as the venue does: codes, one id a life, limits, batches."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.simulators.bybit.errors import ERROR_ANSWERS
from tests.simulators.exchange import Answer, ConnectionLost, Request
from tests.simulators.in_memory import START_NS, BybitDesk, CallFailed, on_bybit

BTC = "BTCUSDT"
_LIMIT = {"symbol": BTC, "side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "64000"}
_STOP = {
    "symbol": BTC,
    "side": "Sell",
    "orderType": "Market",
    "qty": "0.1",
    "triggerPrice": "60000",
    "triggerDirection": 2,
}


def code_of(answer: Answer) -> int:
    code: int = msgspec.json.decode(answer.body)["retCode"]
    return code


async def refused(desk: BybitDesk, path: str, **parameters: object) -> int:
    """The code of a POST that must fail."""
    with pytest.raises(CallFailed) as raised:
        await desk.post(path, **parameters)
    code: int = raised.value.code
    return code


# --- who may ask --------------------------------------------------------------------------------


def test_a_private_request_needs_key_signature_and_time() -> None:
    async def story(desk: BybitDesk) -> None:
        now_ms = START_NS // 1_000_000
        path = "/v5/account/info"
        nobody = await desk.exchange.request(Request(method="GET", path=path))
        assert (nobody.status, code_of(nobody)) == (401, 10003)
        keyed = {"x-bapi-api-key": "test-key", "x-bapi-timestamp": str(now_ms)}
        unsigned = Request(method="GET", path=path, headers=keyed)
        assert code_of(await desk.exchange.request(unsigned)) == 10004
        await desk.get("/account/info")
        # The window is 5 s behind and one second ahead.
        for seconds, expected in ((4.9, 0), (5.1, 10002), (-0.9, 0), (-1.0, 10002)):
            desk.inject(kind="clock_skew", seconds=seconds)
            assert code_of(await desk.send("GET", "/account/info")) == expected
        desk.inject(kind="clock_skew", seconds=0)
        public = Request(method="GET", path="/v5/market/time")
        envelope = msgspec.json.decode((await desk.exchange.request(public)).body)
        assert envelope["result"]["timeNano"] == str(START_NS)
        assert envelope["time"] == now_ms
        missing = await desk.exchange.request(Request(method="GET", path="/v5/nowhere"))
        assert (missing.status, code_of(missing)) == (404, 10017)

    on_bybit(story)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (10001, {"symbol": "NOPEUSDT"}),
        (10001, {"side": "BUY"}),
        (10001, {"orderType": "Stop"}),
        (10001, {"qty": None}),
        (10001, {"qty": "0.0005"}),
        (10001, {"qty": "0.1005"}),
        (10001, {"qty": "many"}),
        (10001, {"price": None}),
        (10001, {"price": "64000.05"}),
        (10001, {"timeInForce": "GTX"}),
        (10001, {"positionIdx": 1}),
        (10001, {"orderLinkId": "no.dots"}),
        (10001, {"category": "spot"}),
        (10001, {"takeProfit": "63000"}),
        (110003, {"price": "90000"}),
        (110007, {"qty": "100"}),
        (110017, {"reduceOnly": True}),
        (110094, {"symbol": "XRPUSDT", "qty": "1", "price": "2.1"}),
    ],
)
def test_each_wrong_order_has_its_code_and_leaves_no_trace(
    code: int, changes: dict[str, object]
) -> None:
    async def story(desk: BybitDesk) -> None:
        good: dict[str, object] = dict(_LIMIT)
        assert await refused(desk, "/order/create", **{**good, **changes}) == code
        assert not desk.exchange.venue.books.orders
        await desk.post("/order/create", **good)

    on_bybit(story)


def test_what_is_so_already_and_what_is_not_there_have_their_codes() -> None:
    async def story(desk: BybitDesk) -> None:
        leverage = {"symbol": BTC, "buyLeverage": "20", "sellLeverage": "20"}
        assert await refused(desk, "/position/set-leverage", **leverage) == 110043
        assert await refused(desk, "/position/switch-mode", coin="USDT", mode=0) == 110025
        placed = await desk.post("/order/create", **_LIMIT)
        assert await refused(desk, "/position/switch-mode", coin="USDT", mode=3) == 110028
        same = {"symbol": BTC, "orderId": placed["orderId"], "price": "64000"}
        assert await refused(desk, "/order/amend", **same) == 10001
        await desk.post("/order/cancel", symbol=BTC, orderId=placed["orderId"])
        gone = {"symbol": BTC, "orderId": placed["orderId"]}
        assert await refused(desk, "/order/cancel", **gone) == 110001
        assert await refused(desk, "/order/amend", **gone, price="63000") == 110001
        stops = {"symbol": BTC, "positionIdx": 0, "tpslMode": "Full", "stopLoss": "60000"}
        assert await refused(desk, "/position/trading-stop", **stops) == 10001
        await desk.order(BTC, "Buy", "0.1")
        assert await refused(desk, "/position/switch-mode", coin="USDT", mode=3) == 110024
        await desk.post("/position/trading-stop", **stops)
        assert await refused(desk, "/position/trading-stop", **stops) == 34040

    on_bybit(story)


# --- orders -------------------------------------------------------------------------------------


def test_a_link_id_is_taken_once_for_ever_by_whatever_order() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.order(BTC, "Buy", "0.1", orderLinkId="once")
        assert await refused(desk, "/order/create", **_LIMIT, orderLinkId="once") == 110072
        assert await refused(desk, "/order/create", **_STOP, orderLinkId="once") == 110072
        await desk.post("/order/create", **_STOP, orderLinkId="stop")
        assert await refused(desk, "/order/create", **_LIMIT, orderLinkId="stop") == 110072

    on_bybit(story)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"price": "66000", "timeInForce": "PostOnly"}, "EC_PostOnlyWillTakeLiquidity"),
        ({"price": "65000.1", "timeInForce": "FOK", "qty": "50"}, "EC_CancelForNoFullFill"),
        ({"price": "64000", "timeInForce": "IOC"}, "EC_NoImmediateQtyToFill"),
    ],
)
def test_what_may_not_rest_is_acknowledged_and_ends(more: dict[str, str], reason: str) -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.post("/position/set-leverage", symbol=BTC, buyLeverage="50", sellLeverage="50")
        placed = await desk.post("/order/create", **{**_LIMIT, **more})
        ended = await desk.known(orderId=placed["orderId"])
        assert (ended["orderStatus"], ended["rejectReason"]) == ("Cancelled", reason)
        assert ended["cumExecQty"] == "0"

    on_bybit(story)


def test_a_conditional_order_is_one_order_with_one_id() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.order(BTC, "Buy", "0.1")
        placed = await desk.post("/order/create", **_STOP, reduceOnly=True, orderLinkId="s")
        waiting = await desk.known(orderLinkId="s")
        assert (waiting["orderStatus"], waiting["stopOrderType"]) == ("Untriggered", "Stop")
        await desk.post("/order/amend", symbol=BTC, orderLinkId="s", triggerPrice="62000")
        desk.price(BTC, "61990")
        done = await desk.known(orderLinkId="s")
        assert done["orderId"] == placed["orderId"]
        assert (done["orderStatus"], done["triggerPrice"]) == ("Filled", "62000")
        history = (await desk.get("/order/history", symbol=BTC))["list"]
        assert [each["orderId"] for each in history].count(placed["orderId"]) == 1

    on_bybit(story)


def test_zero_reduce_only_and_close_on_trigger_close_what_is_there() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.order(BTC, "Buy", "0.3")
        placed = await desk.order(BTC, "Sell", "0", reduceOnly=True, closeOnTrigger=True)
        assert (await desk.known(orderId=placed["orderId"]))["cumExecQty"] == "0.3"
        flat = (await desk.get("/position/list", symbol=BTC))["list"]
        assert [(each["side"], each["size"]) for each in flat] == [("", "0")]

    on_bybit(story)


def test_a_position_is_never_negative_and_its_side_says_which_way() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.post("/position/switch-mode", coin="USDT", mode=3)
        assert await refused(desk, "/order/create", **_LIMIT) == 10001
        await desk.order(BTC, "Buy", "0.2", positionIdx=1)
        await desk.order(BTC, "Sell", "0.3", positionIdx=2)
        rows = (await desk.get("/position/list", symbol=BTC))["list"]
        assert [(row["positionIdx"], row["side"], row["size"]) for row in rows] == [
            (1, "Buy", "0.2"),
            (2, "Sell", "0.3"),
        ]
        await desk.order(BTC, "Sell", "0.5", positionIdx=1, reduceOnly=True)
        held = (await desk.get("/position/list", settleCoin="USDT"))["list"]
        assert [(row["positionIdx"], row["size"]) for row in held] == [(2, "0.3")]

    on_bybit(story)


def test_cancel_all_takes_a_scope_and_a_filter() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.order(BTC, "Buy", "0.1")
        eth = {**_LIMIT, "symbol": "ETHUSDT", "price": "3000"}
        for order in (_LIMIT, eth, _STOP):
            await desk.post("/order/create", **order)
        stops = {"symbol": BTC, "positionIdx": 0, "tpslMode": "Full", "stopLoss": "60000"}
        await desk.post("/position/trading-stop", **stops)
        assert await refused(desk, "/order/cancel-all") == 10001
        spot = {"symbol": BTC, "orderFilter": "tpslOrder"}
        assert await refused(desk, "/order/cancel-all", **spot) == 10001
        waiting = {"symbol": BTC, "orderFilter": "StopOrder"}
        one = await desk.post("/order/cancel-all", **waiting, stopOrderType="Stop")
        assert len(one["list"]) == 1
        await desk.post("/order/create", **_STOP)
        both = await desk.post("/order/cancel-all", **waiting)
        assert len(both["list"]) == 2
        rest = await desk.post("/order/cancel-all", settleCoin="USDT")
        assert (len(rest["list"]), rest["success"]) == (2, "1")
        assert (await desk.get("/order/realtime", settleCoin="USDT"))["list"] == []

    on_bybit(story)


# --- stops of a position ------------------------------------------------------------------------


def test_a_whole_stop_takes_the_old_ones_place_closes_and_ends_with_the_position() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.order(BTC, "Buy", "0.2")
        base = {"symbol": BTC, "positionIdx": 0, "tpslMode": "Full"}
        await desk.post("/position/trading-stop", **base, stopLoss="60000", takeProfit="70000")
        await desk.post("/position/trading-stop", **base, stopLoss="63000")
        row = (await desk.get("/position/list", symbol=BTC))["list"][0]
        assert (row["stopLoss"], row["takeProfit"]) == ("63000", "70000")
        kinds = {
            each["stopOrderType"]
            for each in (await desk.get("/order/realtime", symbol=BTC))["list"]
        }
        assert kinds == {"StopLoss", "TakeProfit"}
        wrong = {**base, "stopLoss": "66000"}
        assert await refused(desk, "/position/trading-stop", **wrong) == 10001
        desk.price(BTC, "62900")
        assert (await desk.get("/position/list", settleCoin="USDT"))["list"] == []
        assert (await desk.get("/order/realtime", symbol=BTC))["list"] == []
        ended = (await desk.get("/order/history", symbol=BTC))["list"]
        states = {(each["triggerPrice"], each["orderStatus"]) for each in ended}
        assert states >= {("60000", "Deactivated"), ("63000", "Filled"), ("70000", "Deactivated")}

    on_bybit(story)


def test_an_orders_own_stops_come_with_its_fill() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.order(BTC, "Buy", "0.2", stopLoss="60000", takeProfit="70000")
        await desk.clock.sleep(0.1)
        row = (await desk.get("/position/list", symbol=BTC))["list"][0]
        assert (row["stopLoss"], row["takeProfit"]) == ("60000", "70000")
        zero = {"symbol": BTC, "positionIdx": 0, "tpslMode": "Full", "takeProfit": "0"}
        await desk.post("/position/trading-stop", **zero)
        row = (await desk.get("/position/list", symbol=BTC))["list"][0]
        assert (row["stopLoss"], row["takeProfit"]) == ("60000", "")

    on_bybit(story)


def test_parts_only_add_and_keep_their_size() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.order(BTC, "Buy", "0.3")
        part = {"symbol": BTC, "positionIdx": 0, "tpslMode": "Partial", "slSize": "0.1"}
        await desk.post("/position/trading-stop", **part, stopLoss="64000")
        await desk.post("/position/trading-stop", **part, stopLoss="63000")
        waiting = (await desk.get("/order/realtime", symbol=BTC))["list"]
        assert [(each["stopOrderType"], each["qty"]) for each in waiting] == [
            ("PartialStopLoss", "0.1")
        ] * 2
        desk.price(BTC, "63900")
        row = (await desk.get("/position/list", symbol=BTC))["list"][0]
        assert row["size"] == "0.2"

    on_bybit(story)


# --- lists --------------------------------------------------------------------------------------


def test_executions_are_newest_first_paged_and_hold_funding_that_is_no_fill() -> None:
    async def story(desk: BybitDesk) -> None:
        for _ in range(3):
            await desk.order(BTC, "Buy", "0.1")
            await desk.clock.sleep(1)
        desk.exchange.venue.settle_funding(desk.exchange.symbol(BTC), Decimal("0.001"))
        first = await desk.get("/execution/list", limit=2)
        second = await desk.get("/execution/list", limit=2, cursor=first["nextPageCursor"])
        rows = first["list"] + second["list"]
        assert [row["execType"] for row in rows] == ["Funding", "Trade", "Trade", "Trade"]
        assert second["nextPageCursor"] == ""
        assert (rows[0]["execFee"], rows[0]["execQty"]) == ("19.5", "0.3")
        times = [int(row["execTime"]) for row in rows]
        assert times == sorted(times, reverse=True)
        trades = await desk.get("/execution/list", execType="Trade")
        assert len(trades["list"]) == 3
        assert len({row["execId"] for row in rows}) == 4
        wallet = (await desk.get("/account/wallet-balance", accountType="UNIFIED"))["list"][0]
        fees = sum(Decimal(row["execFee"]) for row in rows)
        assert Decimal(wallet["totalWalletBalance"]) == 100_000 - fees

    on_bybit(story)


def test_a_cancelled_order_without_fills_is_forgotten_after_a_day() -> None:
    async def story(desk: BybitDesk) -> None:
        placed = await desk.post("/order/create", **_LIMIT)
        await desk.post("/order/cancel", symbol=BTC, orderId=placed["orderId"])
        await desk.order(BTC, "Buy", "0.1")
        assert len((await desk.get("/order/history", symbol=BTC))["list"]) == 2
        # The venue's clock is set on, which costs nothing; sleeping so long would take its time.
        desk.inject(kind="clock_skew", seconds=24 * 3600 + 1)
        desk.ahead_ns = (24 * 3600 + 1) * 1_000_000_000
        (kept,) = (await desk.get("/order/history", symbol=BTC))["list"]
        assert kept["orderStatus"] == "Filled"

    on_bybit(story)


def test_a_hidden_order_cannot_be_found_for_a_while() -> None:
    async def story(desk: BybitDesk) -> None:
        desk.inject(kind="hidden", on="POST /v5/order/create", seconds=3)
        placed = await desk.post("/order/create", **_LIMIT)
        ids = {"symbol": BTC, "orderId": placed["orderId"]}
        assert (await desk.get("/order/realtime", **ids))["list"] == []
        assert await refused(desk, "/order/cancel", **ids) == 110001
        await desk.clock.sleep(3.1)
        assert (await desk.known(orderId=placed["orderId"]))["orderStatus"] == "New"

    on_bybit(story)


# --- limits -------------------------------------------------------------------------------------


def test_an_endpoint_is_limited_by_the_second_and_says_when_it_opens() -> None:
    async def story(desk: BybitDesk) -> None:
        for left in range(9, -1, -1):
            await desk.post("/order/create", **_LIMIT)
            assert desk.last_answer is not None
            assert desk.last_answer.headers["X-Bapi-Limit-Status"] == str(left)
        over = await desk.send("POST", "/order/create", **_LIMIT, category="linear")
        assert (over.status, code_of(over)) == (200, 10006)
        opens_ms = int(over.headers["X-Bapi-Limit-Reset-Timestamp"])
        assert opens_ms == START_NS // 1_000_000 + 1000
        await desk.get("/order/realtime", symbol=BTC)
        await desk.clock.sleep(1)
        await desk.post("/order/create", **_LIMIT)

    on_bybit(story)


def test_a_batch_counts_every_order_and_only_what_is_over_fails() -> None:
    async def story(desk: BybitDesk) -> None:
        document = await desk.call("POST", "/order/create-batch", request=[_LIMIT] * 12)
        codes = [each["code"] for each in document["retExtInfo"]["list"]]
        assert codes == [0] * 10 + [10006] * 2
        assert document["retCode"] == 0
        ids = [{"symbol": BTC, "orderId": each["orderId"]} for each in document["result"]["list"]]
        desk.inject(kind="batch_item", on="POST /v5/order/cancel-batch")
        ended = await desk.call("POST", "/order/cancel-batch", request=[*ids[:2], ids[10]])
        assert [each["code"] for each in ended["retExtInfo"]["list"]] == [10016, 0, 10001]
        assert await refused(desk, "/order/create-batch", request=[_LIMIT] * 21) == 10001

    on_bybit(story)


def test_an_address_that_asks_too_often_is_shut_out_for_ten_minutes() -> None:
    async def story(desk: BybitDesk) -> None:
        statuses = [
            (await desk.exchange.request(Request(method="GET", path="/v5/market/time"))).status
            for _ in range(601)
        ]
        assert statuses == [200] * 600 + [403]
        await desk.clock.sleep(599)
        assert (await desk.send("GET", "/market/time")).status == 403
        await desk.clock.sleep(1.1)
        assert (await desk.send("GET", "/market/time")).status == 200

    on_bybit(story)


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", sorted(ERROR_ANSWERS))
@pytest.mark.parametrize("took_effect", [False, True])
def test_an_error_answer_says_nothing_of_the_effect(answer: str, took_effect: bool) -> None:
    async def story(desk: BybitDesk) -> None:
        desk.inject(kind="error", on="POST *", answer=answer, took_effect=took_effect)
        got = await desk.send("POST", "/order/create", category="linear", **_LIMIT)
        assert got == ERROR_ANSWERS[answer]
        assert len(desk.exchange.venue.books.orders) == int(took_effect)

    on_bybit(story)


@pytest.mark.parametrize(("kind", "fills"), [("drop_before", 0), ("timeout_after", 1)])
def test_a_lost_answer_is_lost_before_or_after_the_effect(kind: str, fills: int) -> None:
    async def story(desk: BybitDesk) -> None:
        desk.inject(kind=kind, seconds=20)
        with pytest.raises(ConnectionLost):
            await desk.order(BTC, "Buy", "0.1")
        assert len(desk.exchange.venue.account.executions) == fills
        desk.inject(kind="rate_limited")
        assert code_of(await desk.send("GET", "/account/info")) == 10006
        desk.inject(kind="banned", seconds=3)
        assert (await desk.send("GET", "/account/info")).status == 403

    on_bybit(story)


def test_the_auditors_orders_have_the_ids_of_the_wire() -> None:
    async def story(desk: BybitDesk) -> None:
        placed = await desk.order(BTC, "Buy", "0.1", orderLinkId="mine")
        orders: Any = desk.exchange.books()["orders"]
        assert [(each["client_id"], each["wire_id"]) for each in orders] == [
            ("mine", placed["orderId"])
        ]

    on_bybit(story)
