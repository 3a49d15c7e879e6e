"""The simulated Bybit pushes as the venue does: three kinds of connection, topics, and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.simulators.exchange import HandshakeRefused
from tests.simulators.in_memory import BybitDesk, heard, on_bybit, tell
from tests.simulators.sessions import Close, Session

BTC = "BTCUSDT"
_PUBLIC = "/v5/public/linear"


def rows(documents: list[Any], topic: str) -> list[Any]:
    """All rows of a private topic, in the order they came."""
    return [row for each in documents if each.get("topic") == topic for row in each["data"]]


async def subscribe(desk: BybitDesk, *topics: str) -> Session:
    """A public connection that has its snapshots."""
    session = desk.connect(_PUBLIC)
    tell(session, op="subscribe", args=list(topics), req_id="r")
    await desk.clock.sleep(0.1)
    return session


# --- connections --------------------------------------------------------------------------------


def test_each_connection_answers_a_ping_in_its_own_way() -> None:
    async def story(desk: BybitDesk) -> None:
        said = {}
        for target in (_PUBLIC, "/v5/private", "/v5/trade"):
            session = desk.connect(target)
            tell(session, op="ping", req_id="7")
            said[target] = heard(session)[0]
        assert (said[_PUBLIC]["ret_msg"], said[_PUBLIC]["op"]) == ("pong", "ping")
        assert (said["/v5/private"]["op"], len(said["/v5/private"]["args"])) == ("pong", 1)
        assert (said["/v5/trade"]["op"], said["/v5/trade"]["retCode"]) == ("pong", 0)
        with pytest.raises(HandshakeRefused):
            desk.connect("/v5/public/spot")

    on_bybit(story)


def test_a_private_connection_says_nothing_before_it_is_known() -> None:
    async def story(desk: BybitDesk) -> None:
        session = desk.connect("/v5/private", known=False)
        tell(session, op="subscribe", args=["order"])
        for wrong in (["other", 1, "x"], ["test-key", 1, "x"], ["test-key", 10**15, "x"], []):
            tell(session, op="auth", args=wrong)
        await desk.clock.sleep(0.1)
        assert [each["success"] for each in heard(session)] == [False] * 5
        await desk.order(BTC, "Buy", "0.1")
        assert heard(session) == []
        trade = desk.connect("/v5/trade", known=False)
        tell(trade, op="auth", args=["other", 1, "x"])
        tell(trade, op="order.create", args=[{}], header={})
        assert [each["retCode"] for each in heard(trade)] == [10003, 10003]

    on_bybit(story)


def test_a_wrong_topic_fails_in_words() -> None:
    async def story(desk: BybitDesk) -> None:
        public = await subscribe(desk, "orderbook.7.BTCUSDT")
        (failed,) = heard(public)
        assert (failed["success"], failed["req_id"]) == (False, "r")
        assert "orderbook.7.BTCUSDT" in failed["ret_msg"]
        private = desk.connect("/v5/private")
        tell(private, op="subscribe", args=["order", "order.linear"])
        await desk.clock.sleep(0.1)
        assert heard(private)[0]["success"] is False

    on_bybit(story)


def test_who_is_silent_is_cut_and_may_say_how_soon() -> None:
    async def story(desk: BybitDesk) -> None:
        usual = desk.connect("/v5/private")
        short = desk.connect("/v5/private?max_active_time=1m")
        talking = desk.connect(_PUBLIC)
        for _ in range(8):
            await desk.clock.sleep(100)
            tell(talking, op="ping")
        assert [each.is_open for each in (usual, short, talking)] == [False, False, True]
        assert isinstance(heard(usual)[-1], Close)

    on_bybit(story)


# --- private topics -----------------------------------------------------------------------------


def test_a_fill_is_told_on_every_topic() -> None:
    async def story(desk: BybitDesk) -> None:
        session = await desk.private_stream("order", "execution", "position", "wallet")
        await desk.order(BTC, "Buy", "0.1", orderLinkId="mine")
        told = heard(session)
        assert [row["orderStatus"] for row in rows(told, "order")] == ["New", "Filled"]
        (execution,) = rows(told, "execution")
        assert (execution["orderLinkId"], execution["leavesQty"]) == ("mine", "0")
        assert execution["execFee"] == "3.5750055"
        # Pushed with the acceptance already, though nothing of it had changed.
        positions = rows(told, "position")
        assert [(row["side"], row["size"]) for row in positions] == [("", "0"), ("Buy", "0.1")]
        assert rows(told, "wallet")[0]["totalWalletBalance"] == "99996.4249945"

    on_bybit(story)


def test_a_conditional_orders_life_is_told_under_one_id() -> None:
    async def story(desk: BybitDesk) -> None:
        await desk.order(BTC, "Buy", "0.1")
        session = await desk.private_stream("order.linear")
        await desk.order(BTC, "Sell", "0.1", triggerPrice="64000", triggerDirection=2)
        desk.price(BTC, "63990")
        told = rows(heard(session), "order.linear")
        assert [row["orderStatus"] for row in told] == [
            "Untriggered",
            "Triggered",
            "New",
            "Filled",
        ]
        assert len({row["orderId"] for row in told}) == 1

    on_bybit(story)


def test_orders_go_in_by_socket_too() -> None:
    async def story(desk: BybitDesk) -> None:
        trade = desk.connect("/v5/trade")
        header = {"X-BAPI-TIMESTAMP": desk.clock.now_ns() // 1_000_000}
        order = {
            "category": "linear",
            "symbol": BTC,
            "side": "Buy",
            "orderType": "Limit",
            "qty": "0.1",
            "price": "64000",
        }
        tell(trade, op="order.create", reqId="1", header=header, args=[order])
        tell(trade, op="order.create", reqId="2", header=header, args=[{**order, "qty": "0"}])
        tell(trade, op="order.create", reqId="3", header={"X-BAPI-TIMESTAMP": "1"}, args=[order])
        tell(trade, op="order.dance", reqId="4", header=header, args=[order])
        tell(
            trade,
            op="order.create-batch",
            reqId="5",
            header=header,
            args=[{"category": "linear", "request": [order, {**order, "price": "1"}]}],
        )
        answers = heard(trade)
        assert [(each["reqId"], each["retCode"]) for each in answers] == [
            ("1", 0),
            ("2", 10001),
            ("3", 10002),
            ("4", 10404),
            ("5", 0),
        ]
        assert [each["code"] for each in answers[4]["retExtInfo"]["list"]] == [0, 110003]
        assert len(desk.exchange.venue.books.open_orders()) == 2
        assert answers[0]["header"]["X-Bapi-Limit-Status"] == "9"

    on_bybit(story)


def test_protection_cancels_when_the_last_watched_connection_is_gone_if_it_is_enabled() -> None:
    async def story(desk: BybitDesk) -> None:
        window = {"product": "DERIVATIVES", "timeWindow": 5}
        answer = await desk.send("POST", "/order/disconnected-cancel-all", **window)
        assert msgspec.json.decode(answer.body)["retCode"] == 10005
        desk.exchange.desk.protection.is_enabled = True
        await desk.post("/order/disconnected-cancel-all", **window)
        await desk.order(BTC, "Buy", "0.1", price="64000")
        stop = {"triggerPrice": "60000", "triggerDirection": 2}
        await desk.order(BTC, "Sell", "0.1", **stop)
        for _ in range(2):
            watched = await desk.private_stream("dcp.future")
            watched.close(is_abrupt=True)
            await desk.clock.sleep(4)
        # The second connection came in time for the first; nobody came for the second.
        assert len(desk.exchange.venue.books.open_orders()) == 1
        await desk.clock.sleep(1.1)
        assert desk.exchange.venue.books.open_orders() == []
        assert len(list(desk.exchange.venue.books.waiting())) == 1

    on_bybit(story)


# --- public topics ------------------------------------------------------------------------------


def test_a_book_is_a_snapshot_and_then_differences() -> None:
    async def story(desk: BybitDesk) -> None:
        session = await subscribe(desk, "orderbook.50.BTCUSDT", "orderbook.1.BTCUSDT")
        for price in ("65100", "64900"):
            desk.price(BTC, price)
            await desk.order(BTC, "Sell", "0.2")
        await desk.clock.sleep(1)
        told = [each for each in heard(session) if "topic" in each]
        deep = [each for each in told if each["topic"] == "orderbook.50.BTCUSDT"]
        assert [each["type"] for each in deep[:2]] == ["snapshot", "delta"]
        sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
        for message in deep:
            for key, levels in sides.items():
                levels.update(message["data"][key])
        kept = {
            key: {price: size for price, size in levels.items() if size != "0"}
            for key, levels in sides.items()
        }
        final = await desk.get("/market/orderbook", symbol=BTC, limit=50)
        assert kept == {key: dict(final[key]) for key in ("b", "a")}
        assert [each["data"]["u"] for each in deep] == sorted(each["data"]["u"] for each in deep)
        best = [each for each in told if each["topic"] == "orderbook.1.BTCUSDT"]
        assert {each["type"] for each in best} == {"snapshot"}
        assert best[-1]["data"]["b"] == final["b"][:1]

    on_bybit(story)


def test_tickers_are_whole_once_and_then_what_changed() -> None:
    async def story(desk: BybitDesk) -> None:
        session = await subscribe(desk, "tickers.BTCUSDT", "publicTrade.BTCUSDT")
        desk.price(BTC, "65100")
        told = [each for each in heard(session) if "topic" in each]
        tickers = [each for each in told if each["topic"] == "tickers.BTCUSDT"]
        assert [each["type"] for each in tickers] == ["snapshot", "delta"]
        assert tickers[1]["data"]["lastPrice"] == "65100"
        assert "fundingRate" not in tickers[1]["data"]
        trades = [each for each in told if each["topic"] == "publicTrade.BTCUSDT"]
        assert [row["p"] for each in trades for row in each["data"]] == ["65100"]

    on_bybit(story)


# --- documented shapes --------------------------------------------------------------------------

# Option fields, another unit's name, or what only an account with discounts has.
_NOT_OURS = {
    "cumFeeDetail",
    "rpiTakerAccess",
    "rpiMatchedQty",
    "marketUnit",
    "slippageToleranceType",
    "slippageTolerance",
    "extraFees",
}
_PUSHES = {
    "websocket__private__order": "order",
    "websocket__private__execution": "execution",
    "websocket__private__position": "position",
    "websocket__private__wallet": "wallet",
}


def _example(recorded_data: Path, name: str) -> Any:
    folder = recorded_data / "fixtures" / "docs_examples" / "bybit_v5"
    if not folder.is_dir():
        pytest.skip(f"no documented examples at {folder}")
    return msgspec.json.decode((folder / f"{name}.1.json").read_bytes())


def _missing(example: dict[str, Any], ours: dict[str, Any]) -> set[str]:
    return example.keys() - ours.keys() - _NOT_OURS


@pytest.mark.parametrize("name", sorted(_PUSHES))
def test_a_push_has_the_documented_keys(name: str, recorded_data: Path) -> None:
    async def story(desk: BybitDesk) -> list[Any]:
        session = await desk.private_stream("order", "execution", "position", "wallet")
        await desk.order(BTC, "Buy", "0.1")
        return heard(session)

    example = _example(recorded_data, name)
    pushed = [each for each in on_bybit(story) if each["topic"] == _PUSHES[name]][-1]
    assert _missing(example, pushed) == set()
    assert _missing(example["data"][0], pushed["data"][0]) == set()
    if "coin" in example["data"][0]:
        ours = pushed["data"][0]["coin"][0]
        assert _missing(example["data"][0]["coin"][0], ours) == set()


@pytest.mark.parametrize(
    ("name", "path", "parameters"),
    [
        ("order__open-order", "/order/realtime", {"symbol": BTC}),
        ("order__order-list", "/order/history", {"symbol": BTC}),
        ("order__execution", "/execution/list", {}),
        ("position__position", "/position/list", {"symbol": BTC}),
        ("position__close-pnl", "/position/closed-pnl", {"symbol": BTC}),
        ("account__wallet-balance", "/account/wallet-balance", {"accountType": "UNIFIED"}),
        ("account__fee-rate", "/account/fee-rate", {"symbol": BTC}),
    ],
)
def test_a_list_has_the_documented_keys(
    name: str, path: str, parameters: dict[str, str], recorded_data: Path
) -> None:
    async def story(desk: BybitDesk) -> Any:
        await desk.order(BTC, "Buy", "0.2")
        await desk.order(BTC, "Sell", "0.1")
        await desk.order(BTC, "Buy", "0.1", price="64000")
        return await desk.get(path, **parameters)

    example, ours = _example(recorded_data, name)["result"], on_bybit(story)
    assert _missing(example["list"][0], ours["list"][0]) == set()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("gap", ["New"]), ("duplicate", ["New", "Filled", "Filled"]), ("delay", ["New"])],
)
def test_a_push_goes_wrong_as_asked(kind: str, expected: list[str]) -> None:
    async def story(desk: BybitDesk) -> None:
        session = await desk.private_stream("order")
        desk.inject(kind=kind, on="order", skip=1, seconds=2)
        await desk.order(BTC, "Buy", "0.1")
        assert [row["orderStatus"] for row in rows(heard(session), "order")] == expected
        desk.inject(kind="expire_listen_key")
        assert not session.is_open

    on_bybit(story)
