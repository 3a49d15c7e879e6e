"""The simulated Binance answers requests as the venue does: signatures, codes, limits, batches."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.simulators.binance.errors import ERROR_ANSWERS, ApiError
from tests.simulators.binance.parameters import check_signature
from tests.simulators.exchange import Answer, ConnectionLost, Request
from tests.simulators.in_memory import START_NS, BinanceDesk, CallFailed, on_binance

BTC = "BTCUSDT"


def code_of(answer: Answer) -> int:
    code: int = msgspec.json.decode(answer.body)["code"]
    return code


async def refused(desk: BinanceDesk, method: str, path: str, **parameters: object) -> int:
    """The code of a request that must fail."""
    with pytest.raises(CallFailed) as raised:
        await desk.call(method, path, **parameters)
    code: int = raised.value.code
    return code


# --- who may ask --------------------------------------------------------------------------------

_DOCUMENTED_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
_DOCUMENTED_QUERY = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
    "&recvWindow=5000&timestamp=1591702613943"
)
_DOCUMENTED_SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


@pytest.mark.parametrize("cut", [0, 40, len(_DOCUMENTED_QUERY)])
def test_the_documented_signature_is_right_wherever_the_parameters_are(cut: int) -> None:
    signed = f"{_DOCUMENTED_QUERY}&signature={_DOCUMENTED_SIGNATURE.upper()}"
    request = Request(method="POST", path="/", query=signed[:cut], body=signed[cut:].encode())
    check_signature(request, _DOCUMENTED_SECRET)
    with pytest.raises(ApiError, match="-1022"):
        check_signature(request, "another secret")


def test_a_request_is_refused_without_key_signature_or_the_right_time() -> None:
    async def story(desk: BinanceDesk) -> None:
        path = "/fapi/v3/balance"
        bare = Request(method="GET", path=path)
        assert code_of(await desk.exchange.request(bare)) == -2014
        wrong = Request(method="GET", path=path, headers={"x-mbx-apikey": "other"})
        answer = await desk.exchange.request(wrong)
        assert (answer.status, code_of(answer)) == (401, -2015)
        keyed = {"x-mbx-apikey": "test-key"}
        unsigned = Request(method="GET", path=path, query="timestamp=1", headers=keyed)
        assert code_of(await desk.exchange.request(unsigned)) == -1102
        now_ms = desk.clock.now_ns() // 1_000_000
        for timestamp, window, expected in (
            (now_ms + 1000, 5000, -1021),
            (now_ms + 999, 5000, 0),
            (now_ms - 5001, 5000, -1021),
            (now_ms - 5000, 5000, 0),
            (now_ms - 1001, 1000, -1021),
        ):
            answer = await desk.send("GET", "/v3/balance", timestamp=timestamp, recvWindow=window)
            assert (answer.status == 200) == (expected == 0)
            assert expected == 0 or code_of(answer) == expected

    on_binance(story)


def test_a_skewed_clock_is_the_venues_own() -> None:
    async def story(desk: BinanceDesk) -> None:
        desk.inject(kind="clock_skew", seconds=7)
        server_ms = (await desk.ask("/v1/time"))["serverTime"]
        assert server_ms == START_NS // 1_000_000 + 7000
        assert await refused(desk, "GET", "/v3/balance") == -1021
        await desk.call("GET", "/v3/balance", timestamp=server_ms)

    on_binance(story)


# --- what is refused ----------------------------------------------------------------------------

_LIMIT = {"symbol": BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
_ALGO = {"algoType": "CONDITIONAL", "symbol": BTC, "side": "SELL", "type": "STOP_MARKET"}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (-1102, {"quantity": ""}),
        (-1102, {"timeInForce": ""}),
        (-1102, {"price": "abc"}),
        (-1111, {"quantity": "0.1001"}),
        (-1111, {"price": "64000.001"}),
        (-1115, {"timeInForce": "SOON"}),
        (-1116, {"type": "STOPPED"}),
        (-1117, {"side": "HOLD"}),
        (-1121, {"symbol": "NOPEUSDT"}),
        (-1106, {"type": "MARKET"}),
        (-2019, {"quantity": "100"}),
        (-2022, {"reduceOnly": "true"}),
        (-4002, {"price": "2000000"}),
        (-4003, {"quantity": "0"}),
        (-4005, {"quantity": "1001"}),
        (-4013, {"price": "500"}),
        (-4014, {"price": "64000.05"}),
        (-4015, {"newClientOrderId": "no spaces"}),
        (-4015, {"newClientOrderId": "x" * 37}),
        (-4016, {"price": "75000"}),
        (-4024, {"side": "SELL", "price": "55000"}),
        (-4061, {"positionSide": "LONG"}),
        (-4120, {"type": "STOP_MARKET", "stopPrice": "60000"}),
        (-4164, {"symbol": "XRPUSDT", "quantity": "1", "price": "2.1"}),
        (-4188, {"timeInForce": "GTD", "goodTillDate": START_NS // 1_000_000 + 1000}),
        (-5021, {"timeInForce": "FOK"}),
        (-5022, {"timeInForce": "GTX", "price": "66000"}),
    ],
)
def test_each_wrong_order_has_its_code_and_leaves_no_trace(
    code: int, changes: dict[str, object]
) -> None:
    async def story(desk: BinanceDesk) -> None:
        good: dict[str, object] = {**_LIMIT, "quantity": "0.1", "price": "64000"}
        assert await refused(desk, "POST", "/v1/order", **{**good, **changes}) == code
        assert not desk.exchange.venue.books.orders
        await desk.call("POST", "/v1/order", **good)

    on_binance(story)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (-1102, {"triggerPrice": ""}),
        (-1116, {"type": "MARKET"}),
        (-2021, {"triggerPrice": "66000"}),
        (-4137, {"closePosition": "true"}),
        (-4138, {"closePosition": "true", "quantity": "", "reduceOnly": "true"}),
        (-4136, {"closePosition": "true", "quantity": "", "type": "STOP", "price": "60000"}),
        (-2007, {"type": "TRAILING_STOP_MARKET", "callbackRate": "11"}),
    ],
)
def test_each_wrong_conditional_order_has_its_code(code: int, changes: dict[str, object]) -> None:
    async def story(desk: BinanceDesk) -> None:
        good: dict[str, object] = {**_ALGO, "quantity": "0.1", "triggerPrice": "60000"}
        assert await refused(desk, "POST", "/v1/algoOrder", **{**good, **changes}) == code
        assert not desk.exchange.venue.books.conditionals
        await desk.call("POST", "/v1/algoOrder", **good)

    on_binance(story)


def test_changing_what_is_so_already_and_what_may_not_change_have_their_codes() -> None:
    async def story(desk: BinanceDesk) -> None:
        dual, margin = "/v1/positionSide/dual", "/v1/marginType"
        assert await refused(desk, "POST", dual, dualSidePosition=False) == -4059
        assert await refused(desk, "POST", margin, symbol=BTC, marginType="CROSSED") == -4046
        assert await refused(desk, "POST", "/v1/leverage", symbol=BTC, leverage=126) == -4028
        placed = await desk.buy(BTC, "0.1", price="64000")
        same = {"symbol": BTC, "side": "BUY", "orderId": placed["orderId"], "quantity": "0.1"}
        assert await refused(desk, "PUT", "/v1/order", price="64000", **same) == -5027
        assert await refused(desk, "POST", dual, dualSidePosition=True) == -4067
        assert await refused(desk, "POST", margin, symbol=BTC, marginType="ISOLATED") == -4047
        await desk.call("DELETE", "/v1/allOpenOrders", symbol=BTC)
        assert await refused(desk, "DELETE", "/v1/order", symbol=BTC, orderId=1) == -2011
        assert await refused(desk, "GET", "/v1/order", symbol=BTC, orderId=1) == -2013
        assert await refused(desk, "GET", "/v1/openOrder", **_id(placed)) == -2013
        await desk.buy(BTC, "0.1")
        assert await refused(desk, "POST", dual, dualSidePosition=True) == -4068
        assert await refused(desk, "PUT", "/v1/listenKey") == -1125

    on_binance(story)


def _id(order: dict[str, Any]) -> dict[str, Any]:
    return {"symbol": order["symbol"], "orderId": order["orderId"]}


# --- ids and queries ----------------------------------------------------------------------------


def test_a_client_id_is_taken_only_among_open_orders() -> None:
    async def story(desk: BinanceDesk) -> None:
        named = {"newClientOrderId": "once"}
        await desk.buy(BTC, "0.1", price="64000", **named)
        with pytest.raises(CallFailed, match="-4116"):
            await desk.buy(BTC, "0.1", price="63000", **named)
        await desk.call("DELETE", "/v1/order", symbol=BTC, origClientOrderId="once")
        # The trap: what has filled or gone does not stand in the way, and fills again.
        first = await desk.buy(BTC, "0.1", **named)
        second = await desk.buy(BTC, "0.1", **named)
        assert first["status"] == second["status"] == "FILLED"
        assert first["orderId"] != second["orderId"]
        newest = await desk.call("GET", "/v1/order", symbol=BTC, origClientOrderId="once")
        assert newest["orderId"] == second["orderId"]

    on_binance(story)


def test_an_acknowledgement_tells_nothing_of_fills_and_a_result_does() -> None:
    async def story(desk: BinanceDesk) -> None:
        acknowledged = await desk.buy(BTC, "0.1", newOrderRespType="ACK")
        assert (acknowledged["status"], acknowledged["executedQty"]) == ("NEW", "0.000")
        assert (await desk.buy(BTC, "0.1"))["executedQty"] == "0.100"
        queried = await desk.call("GET", "/v1/order", **_id(acknowledged))
        assert (queried["status"], queried["avgPrice"]) == ("FILLED", "65000.10000")

    on_binance(story)


def test_an_unfilled_order_is_forgotten_after_three_days_and_a_filled_one_after_ninety() -> None:
    async def story(desk: BinanceDesk) -> None:
        filled = await desk.buy(BTC, "0.1")
        unfilled = await desk.buy(BTC, "0.1", price="64000")
        await desk.call("DELETE", "/v1/order", **_id(unfilled))
        # The venue's clock is set on, which costs nothing; sleeping so long would take its time.
        _at_day(desk, 3)
        assert await refused(desk, "GET", "/v1/order", **_id(unfilled)) == -2013
        assert (await desk.call("GET", "/v1/order", **_id(filled)))["status"] == "FILLED"
        _at_day(desk, 90)
        assert await refused(desk, "GET", "/v1/order", **_id(filled)) == -2013

    on_binance(story)


def _at_day(desk: BinanceDesk, day: int) -> None:
    seconds = day * 24 * 3600 + 1
    desk.inject(kind="clock_skew", seconds=seconds)
    desk.ahead_ns = seconds * 1_000_000_000


def test_a_hidden_order_cannot_be_found_for_a_while_though_it_is_there() -> None:
    async def story(desk: BinanceDesk) -> None:
        desk.inject(kind="hidden", on="POST /fapi/v1/order", seconds=3)
        placed = await desk.buy(BTC, "0.1", price="64000")
        assert await refused(desk, "GET", "/v1/order", **_id(placed)) == -2013
        assert await refused(desk, "DELETE", "/v1/order", **_id(placed)) == -2011
        assert await desk.call("GET", "/v1/openOrders") == []
        await desk.clock.sleep(3.1)
        assert (await desk.call("GET", "/v1/order", **_id(placed)))["status"] == "NEW"

    on_binance(story)


def test_trades_and_orders_are_paged_by_id_and_by_time() -> None:
    async def story(desk: BinanceDesk) -> None:
        for _ in range(5):
            await desk.buy(BTC, "0.01")
            await desk.clock.sleep(1)
        trades = await desk.call("GET", "/v1/userTrades", symbol=BTC, limit=2)
        everything = await desk.call("GET", "/v1/userTrades", symbol=BTC)
        assert trades == everything[-2:]
        ids = [each["id"] for each in everything]
        page = await desk.call("GET", "/v1/userTrades", symbol=BTC, fromId=ids[1], limit=2)
        assert [each["id"] for each in page] == ids[1:3]
        start = everything[3]["time"]
        since = await desk.call("GET", "/v1/userTrades", symbol=BTC, startTime=start)
        assert since == everything[3:]
        assert (
            await refused(desk, "GET", "/v1/userTrades", symbol=BTC, fromId=ids[1], startTime=start)
            == -1128
        )
        week_ms = 7 * 24 * 3600 * 1000
        window = {"startTime": start - week_ms - 1, "endTime": start}
        assert await refused(desk, "GET", "/v1/allOrders", symbol=BTC, **window) == -4166

    on_binance(story)


# --- batches ------------------------------------------------------------------------------------


def test_a_batch_is_judged_item_by_item() -> None:
    async def story(desk: BinanceDesk) -> None:
        good = {**_LIMIT, "quantity": "0.1", "price": "64000"}
        results = await desk.call(
            "POST", "/v1/batchOrders", batchOrders=[good, {**good, "quantity": "0"}, good]
        )
        assert [each.get("code") for each in results] == [None, -4003, None]
        ids = [results[0]["orderId"], 1, results[2]["orderId"]]
        ended = await desk.call("DELETE", "/v1/batchOrders", symbol=BTC, orderIdList=ids)
        assert [each.get("status") or each["code"] for each in ended] == [
            "CANCELED",
            -2011,
            "CANCELED",
        ]
        many = [good] * 6
        assert await refused(desk, "POST", "/v1/batchOrders", batchOrders=many) == -4082
        desk.inject(kind="batch_item", skip=1)
        partly = await desk.call("POST", "/v1/batchOrders", batchOrders=[good, good])
        assert "orderId" in partly[0]
        assert partly[1]["code"] == -1001
        lower = await desk.call(
            "DELETE", "/v1/batchOrders", symbol=BTC, orderidlist=[partly[0]["orderId"]]
        )
        assert lower[0]["status"] == "CANCELED"

    on_binance(story)


# --- limits -------------------------------------------------------------------------------------


def test_weight_is_counted_limited_and_in_the_end_banned_until_the_time_it_says() -> None:
    async def story(desk: BinanceDesk) -> None:
        # Begin at a full minute, so that all of it is one window.
        await desk.clock.sleep(60 - START_NS / 1_000_000_000 % 60)
        for number in range(1, 61):
            answer = await desk.send("GET", "/v1/openOrders")
            assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(40 * number)
        limited = await desk.send("GET", "/v1/openOrders")
        assert (limited.status, code_of(limited)) == (429, -1003)
        assert limited.headers["Retry-After"] == "60"
        statuses = [(await desk.send("GET", "/v1/time")).status for _ in range(12)]
        assert statuses[:9] == [429] * 9
        assert set(statuses[9:]) == {418}
        await desk.clock.sleep(119)
        assert (await desk.send("GET", "/v1/time")).status == 418
        await desk.clock.sleep(1.1)
        assert (await desk.send("GET", "/v1/time")).status == 200

    on_binance(story)


def test_orders_are_counted_for_ten_seconds_and_a_minute() -> None:
    async def story(desk: BinanceDesk) -> None:
        await desk.clock.sleep(10 - START_NS / 1_000_000_000 % 10)
        for _ in range(300):
            await desk.buy(BTC, "0.001")
        assert desk.last_answer is not None
        assert desk.last_answer.headers["X-MBX-ORDER-COUNT-10S"] == "300"
        with pytest.raises(CallFailed, match="-1015") as raised:
            await desk.buy(BTC, "0.001")
        assert raised.value.answer.status == 429
        await desk.clock.sleep(10)
        await desk.buy(BTC, "0.001")

    on_binance(story)


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", sorted(ERROR_ANSWERS))
@pytest.mark.parametrize("took_effect", [False, True])
def test_an_error_answer_says_nothing_of_the_effect(answer: str, took_effect: bool) -> None:
    async def story(desk: BinanceDesk) -> None:
        desk.inject(kind="error", on="POST /fapi/v1/order", answer=answer, took_effect=took_effect)
        got = await desk.send(
            "POST", "/v1/order", **_LIMIT, quantity="0.1", price="64000", newClientOrderId="x"
        )
        assert got == ERROR_ANSWERS[answer]
        assert len(desk.exchange.venue.books.orders) == int(took_effect)

    on_binance(story)


@pytest.mark.parametrize(
    ("kind", "orders"),
    [("drop_before", 0), ("drop_after", 1), ("timeout_before", 0), ("timeout_after", 1)],
)
def test_a_lost_answer_is_lost_before_or_after_the_effect(kind: str, orders: int) -> None:
    async def story(desk: BinanceDesk) -> None:
        desk.inject(kind=kind, seconds=20)
        began_ns = desk.clock.now_ns()
        with pytest.raises(ConnectionLost):
            await desk.buy(BTC, "0.1")
        waited_s = (desk.clock.now_ns() - began_ns) / 1_000_000_000
        assert waited_s == (20 if kind.startswith("timeout") else 0)
        assert len(desk.exchange.venue.account.executions) == orders
        await desk.buy(BTC, "0.1")

    on_binance(story)


def test_the_auditor_sees_every_request_that_came_to_change_something() -> None:
    async def story(desk: BinanceDesk) -> None:
        desk.inject(kind="drop_before")
        with pytest.raises(ConnectionLost):
            await desk.buy(BTC, "0.1", newClientOrderId="lost")
        await desk.buy(BTC, "0.1", newClientOrderId="came")
        await desk.call("GET", "/v3/balance")
        seen: Any = desk.exchange.books()["requests"]
        assert [(each["request"], each["fault"]) for each in seen] == [
            ("POST /fapi/v1/order", "drop_before"),
            ("POST /fapi/v1/order", ""),
        ]
        assert "newClientOrderId=lost" in seen[0]["parameters"]
        assert "signature" not in seen[0]["parameters"]

    on_binance(story)


def test_slow_malformed_limited_and_late_are_to_be_had() -> None:
    async def story(desk: BinanceDesk) -> None:
        desk.inject(kind="slow", seconds=2)
        began_ns = desk.clock.now_ns()
        await desk.buy(BTC, "0.1")
        assert desk.clock.now_ns() - began_ns == 2_000_000_000
        desk.inject(kind="malformed_answer")
        answer = await desk.send("GET", "/v3/balance")
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(answer.body)
        desk.inject(kind="banned", seconds=5)
        assert (await desk.send("GET", "/v1/time")).headers["Retry-After"] == "5"
        assert (await desk.send("GET", "/v1/time")).status == 418
        await desk.clock.sleep(5)
        desk.inject(kind="late_fill", on="POST /fapi/v1/order", seconds=4)
        late = await desk.buy(BTC, "0.1")
        assert late["status"] == "NEW"
        await desk.clock.sleep(4.1)
        assert (await desk.call("GET", "/v1/order", **_id(late)))["status"] == "FILLED"

    on_binance(story)


def test_the_same_seed_makes_the_same_faults_and_the_same_books() -> None:
    async def story(desk: BinanceDesk) -> dict[str, object]:
        desk.inject(kind="error", answer="unknown_503", probability=0.4, times=None)
        for number in range(20):
            await desk.send("POST", "/v1/order", **_LIMIT, quantity="0.01", price=64000 - number)
        return desk.exchange.books()

    same, again, other = on_binance(story), on_binance(story), on_binance(story, seed=2)
    assert same == again
    assert same["faults_done"] != other["faults_done"]


def test_a_rule_that_cannot_work_is_refused_in_words() -> None:
    async def story(desk: BinanceDesk) -> None:
        for rule, words in (
            ({"kind": "error", "answer": "teapot"}, "no answer 'teapot'"),
            ({"kind": "error"}, "needs the name"),
            ({"kind": "gremlins"}, "gremlins"),
            ({"kind": "gap", "probability": 2}, "probability"),
            ({"kind": "gap", "sometimes": 1}, "sometimes"),
        ):
            with pytest.raises((ValueError, msgspec.ValidationError), match=words):
                desk.inject(**rule)
        assert not desk.exchange.faults.pending

    on_binance(story)
