"""The simulated Binance pushes as the venue does: paths, keys, order, pings, and every fault."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.runtime import SimClock, Tasks, run_simulated
from tests.simulators.binance.streams import TIMES, path_of
from tests.simulators.core.timers import Timers
from tests.simulators.exchange import HandshakeRefused
from tests.simulators.faults import Faults
from tests.simulators.in_memory import START_NS, BinanceDesk, heard, on_binance
from tests.simulators.sessions import Close, Ping, Session

BTC = "BTCUSDT"


def named(documents: list[Any], name: str) -> list[Any]:
    return [each for each in documents if isinstance(each, dict) and each.get("e") == name]


def subscribe(session: Session, *streams: str) -> None:
    message = {"method": "SUBSCRIBE", "params": list(streams), "id": "a-text-as-id"}
    session.receive(msgspec.json.encode(message).decode())


# --- paths --------------------------------------------------------------------------------------


def test_each_stream_has_its_path() -> None:
    assert {name: path_of(name) for name in ("btcusdt@aggTrade", "btcusdt@markPrice@1s")} == {
        "btcusdt@aggTrade": "market",
        "btcusdt@markPrice@1s": "market",
    }
    for name in ("btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@depth5", "!bookTicker"):
        assert path_of(name) == "public"
    assert path_of("!markPrice@arr") == "market"


def test_what_is_asked_for_on_the_wrong_path_is_acknowledged_and_silent() -> None:
    async def story(desk: BinanceDesk) -> None:
        wrong = desk.connect("/public/ws")
        right = desk.connect("/market/ws/btcusdt@aggTrade")
        unrouted = desk.connect("/ws/btcusdt@aggTrade")
        subscribe(wrong, "btcusdt@aggTrade")
        desk.price(BTC, "65100")
        assert heard(wrong) == [{"result": None, "id": "a-text-as-id"}]
        assert heard(unrouted) == []
        assert [each["p"] for each in heard(right)] == ["65100.00"]
        with pytest.raises(HandshakeRefused):
            desk.connect("/nowhere")

    on_binance(story)


def test_combined_connections_name_the_stream_and_arrays_hold_every_symbol() -> None:
    async def story(desk: BinanceDesk) -> None:
        combined = desk.connect("/market/stream?streams=btcusdt@markPrice/ethusdt@markPrice@1s")
        everything = desk.connect("/market/ws/!markPrice@arr@1s")
        desk.price(BTC, "65100")
        desk.price("ETHUSDT", "3300")
        first, second = heard(combined)
        assert (first["stream"], first["data"]["p"]) == ("btcusdt@markPrice", "65100.00000000")
        assert second["stream"] == "ethusdt@markPrice@1s"
        assert [each[0]["s"] for each in heard(everything)] == [BTC, "ETHUSDT"]

    on_binance(story)


def test_the_little_language_of_a_connection() -> None:
    async def story(desk: BinanceDesk) -> None:
        session = desk.connect("/market/ws")
        for message in (
            {"method": "SUBSCRIBE", "params": ["a@aggTrade", "b@aggTrade"], "id": 1},
            {"method": "UNSUBSCRIBE", "params": ["a@aggTrade"], "id": 2},
            {"method": "LIST_SUBSCRIPTIONS", "id": 3},
            {"method": "SET_PROPERTY", "params": ["combined", True], "id": 4},
            {"method": "GET_PROPERTY", "params": ["combined"], "id": 5},
            {"method": "DANCE", "id": 6},
        ):
            session.receive(msgspec.json.encode(message).decode())
        session.receive("not JSON")
        answers = heard(session)
        assert [each.get("result") for each in answers[:5]] == [
            None,
            None,
            ["b@aggTrade"],
            None,
            True,
        ]
        assert answers[5]["error"]["code"] == 2
        assert answers[6]["error"]["code"] == 3

    on_binance(story)


def test_more_than_ten_messages_a_second_end_the_connection() -> None:
    async def story(desk: BinanceDesk) -> None:
        polite, rude = desk.connect("/market/ws"), desk.connect("/market/ws")
        for _ in range(20):
            subscribe(polite, "btcusdt@aggTrade")
            await desk.clock.sleep(0.1)
        for _ in range(11):
            subscribe(rude, "btcusdt@aggTrade")
        assert polite.is_open
        assert isinstance(heard(rude)[-1], Close)

    on_binance(story)


# --- the market's -------------------------------------------------------------------------------


def test_a_local_book_can_be_kept_by_the_documented_rules() -> None:
    async def story(desk: BinanceDesk) -> None:
        session = desk.connect("/public/ws/btcusdt@depth@100ms")
        await desk.buy(BTC, "0.1")
        snapshot = await desk.ask("/v1/depth", symbol=BTC, limit=1000)
        for price in ("65100", "65050", "64000"):
            desk.price(BTC, price)
            await desk.sell(BTC, "0.3")
            await desk.clock.sleep(1)
        sides = {name: dict(snapshot[name]) for name in ("bids", "asks")}
        last_id = snapshot["lastUpdateId"]
        changes = [each for each in heard(session) if each["u"] > last_id]
        for change in changes:
            assert change["pu"] == last_id
            assert change["U"] == last_id + 1
            last_id = change["u"]
            for name, key in (("bids", "b"), ("asks", "a")):
                sides[name].update(change[key])
        kept = {
            name: {price: size for price, size in levels.items() if float(size)}
            for name, levels in sides.items()
        }
        final = await desk.ask("/v1/depth", symbol=BTC, limit=1000)
        assert final["lastUpdateId"] == last_id
        assert kept == {name: dict(final[name]) for name in ("bids", "asks")}

    on_binance(story)


def test_a_quiet_market_is_still_heard_every_second() -> None:
    async def story(desk: BinanceDesk) -> None:
        market = desk.connect("/market/ws/btcusdt@aggTrade/btcusdt@markPrice")
        public = desk.connect("/public/ws/btcusdt@bookTicker")
        await desk.clock.sleep(3.5)
        assert len(named(heard(market), "aggTrade")) == 3
        assert len(named(heard(public), "bookTicker")) == 3
        assert (await desk.ask("/v1/ticker/price", symbol=BTC))["price"] == "65000.00"

    on_binance(story)


# --- the user's ---------------------------------------------------------------------------------


def test_a_trade_is_told_lite_then_whole_then_as_account() -> None:
    async def story(desk: BinanceDesk) -> None:
        session = await desk.user_stream()
        await desk.buy(BTC, "0.1", newClientOrderId="mine")
        new, lite, whole, account = heard(session)
        assert (new["o"]["x"], new["o"]["X"], new["o"]["c"]) == ("NEW", "NEW", "mine")
        assert "n" not in new["o"]
        assert lite["e"] == "TRADE_LITE"
        assert lite["t"] == whole["o"]["t"]
        assert (whole["o"]["x"], whole["o"]["X"], whole["o"]["z"]) == ("TRADE", "FILLED", "0.100")
        assert (whole["o"]["N"], whole["o"]["n"]) == ("USDT", "3.25000500")
        position = account["a"]["P"][0]
        assert (account["a"]["m"], position["pa"], position["ps"]) == ("ORDER", "0.100", "BOTH")
        balance = (await desk.call("GET", "/v3/balance"))[0]["balance"]
        assert account["a"]["B"][0]["wb"] == balance

    on_binance(story)


def test_a_conditional_order_tells_its_whole_life() -> None:
    async def story(desk: BinanceDesk) -> None:
        await desk.buy(BTC, "0.1")
        session = await desk.user_stream()
        await desk.call(
            "POST",
            "/v1/algoOrder",
            **{"algoType": "CONDITIONAL", "symbol": BTC, "side": "SELL", "type": "STOP_MARKET"},
            **{"triggerPrice": "64000", "closePosition": True, "clientAlgoId": "stop"},
        )
        desk.price(BTC, "63990")
        told = heard(session)
        algo = [each["o"] for each in named(told, "ALGO_UPDATE")]
        assert [each["X"] for each in algo] == ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]
        assert {each["caid"] for each in algo} == {"stop"}
        order = named(told, "ORDER_TRADE_UPDATE")[-1]["o"]
        assert (algo[-1]["ai"], algo[-1]["aq"]) == (str(order["i"]), "0.100")
        assert (order["X"], order["cp"], order["R"]) == ("FILLED", True, True)

    on_binance(story)


def test_funding_tells_of_the_balance_and_a_liquidation_of_its_own_order() -> None:
    async def story(desk: BinanceDesk) -> None:
        await desk.buy(BTC, "25")
        session = await desk.user_stream()
        forced = desk.connect("/market/ws/btcusdt@forceOrder")
        desk.exchange.venue.settle_funding(desk.exchange.symbol(BTC))
        (funding,) = heard(session)
        assert (funding["a"]["m"], funding["a"]["P"]) == ("FUNDING_FEE", [])
        assert funding["a"]["B"][0]["bc"] == "-162.50000000"
        desk.price(BTC, "60000")
        orders = [each["o"] for each in named(heard(session), "ORDER_TRADE_UPDATE")]
        calculated = [each for each in orders if each["x"] == "CALCULATED"]
        assert calculated[-1]["c"].startswith("autoclose-")
        assert calculated[-1]["X"] == "FILLED"
        assert len(heard(forced)) == len(calculated)

    on_binance(story)


def test_a_listen_key_lives_an_hour_unless_it_is_kept() -> None:
    async def story(desk: BinanceDesk) -> None:
        session = await desk.user_stream()
        key = (await desk.call("POST", "/v1/listenKey"))["listenKey"]
        await _pass_answering(desk, session, 3500)
        assert (await desk.call("PUT", "/v1/listenKey"))["listenKey"] == key
        await _pass_answering(desk, session, 3500)
        await desk.buy(BTC, "0.1")
        assert named(heard(session), "ORDER_TRADE_UPDATE")
        await desk.clock.sleep(200)
        (expired,) = named(heard(session), "listenKeyExpired")
        assert expired["listenKey"] == key
        # The connection stays open and says nothing more.
        await desk.buy(BTC, "0.1")
        assert named(heard(session), "ORDER_TRADE_UPDATE") == []
        assert session.is_open
        assert (await desk.call("POST", "/v1/listenKey"))["listenKey"] != key

    on_binance(story)


async def _pass_answering(desk: BinanceDesk, session: Session, seconds: int) -> None:
    for _ in range(seconds // 500):
        await desk.clock.sleep(500)
        session.pong()


def test_events_can_be_chosen_and_the_key_may_be_subscribed_to() -> None:
    async def story(desk: BinanceDesk) -> None:
        key = (await desk.call("POST", "/v1/listenKey"))["listenKey"]
        chosen = desk.connect(f"/private/ws?listenKey={key}&events=ACCOUNT_UPDATE")
        later = desk.connect("/private/stream")
        subscribe(later, key)
        await desk.buy(BTC, "0.1")
        assert [each["e"] for each in heard(chosen)] == ["ACCOUNT_UPDATE"]
        assert [each["stream"] for each in heard(later)[1:]] == [key] * 4

    on_binance(story)


# --- a connection's life ------------------------------------------------------------------------


def _pings(session: Session) -> int:
    count = 0
    while (frame := session.take_frame()) is not None:
        count += isinstance(frame, Ping)
    return count


class _Deaf(Session):
    """A connection whose peer never says anything but pongs."""

    def receive(self, text: str) -> None:
        raise AssertionError(f"nothing was to be said: {text}")


def test_a_peer_that_answers_pings_lives_a_day_and_one_that_does_not_ten_minutes() -> None:
    async def story(clock: SimClock) -> None:
        tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
        closed: list[Session] = []

        def connection() -> Session:
            return _Deaf(
                clock=clock,
                timers=Timers(clock=clock, tasks=tasks),
                faults=Faults(seed=1),
                times=TIMES,
                on_closed=closed.append,
            )

        answering, silent = connection(), connection()
        for _ in range(5):
            await clock.sleep(181)
            answering.pong()
        assert _pings(answering) == 5
        assert closed == [silent]
        while clock.monotonic_ns() < 86_399 * 1_000_000_000:
            answering.pong()
            await clock.sleep(100)
        assert closed == [silent, answering]
        await tasks.cancel_all()

    run_simulated(story, start_ns=START_NS)


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("duplicate", ["NEW", "CANCELED", "CANCELED", "NEW"]),
        ("gap", ["NEW", "NEW"]),
        ("reorder", ["NEW", "NEW", "CANCELED"]),
        ("malformed_frame", ["NEW", "?", "NEW"]),
        ("cut_on_push", ["NEW", "cut"]),
    ],
)
def test_a_push_goes_wrong_as_asked(kind: str, expected: list[str]) -> None:
    async def story(desk: BinanceDesk) -> None:
        session = await desk.user_stream()
        desk.inject(kind=kind, on="ORDER_TRADE_UPDATE", skip=1)
        first = await desk.buy(BTC, "0.1", price="64000")
        await desk.call("DELETE", "/v1/order", symbol=BTC, orderId=first["orderId"])
        await desk.buy(BTC, "0.1", price="64000")
        told = [
            "cut" if isinstance(each, Close) else "?" if isinstance(each, str) else each["o"]["X"]
            for each in heard(session)
        ]
        assert told == expected
        assert desk.exchange.books()["faults_done"] == {kind: 1}

    on_binance(story)


def test_a_push_held_back_comes_by_itself_when_nothing_follows() -> None:
    async def story(desk: BinanceDesk) -> None:
        session = await desk.user_stream()
        desk.inject(kind="reorder", on="ORDER_TRADE_UPDATE")
        await desk.buy(BTC, "0.1", price="64000")
        assert heard(session) == []
        await desk.clock.sleep(1.1)
        assert [each["o"]["X"] for each in heard(session)] == ["NEW"]

    on_binance(story)


def test_a_push_comes_late_and_a_silence_ends() -> None:
    async def story(desk: BinanceDesk) -> None:
        session = await desk.user_stream()
        desk.inject(kind="delay", on="ORDER_TRADE_UPDATE", seconds=3)
        await desk.buy(BTC, "0.1", price="64000")
        assert heard(session) == []
        await desk.clock.sleep(3.1)
        assert len(heard(session)) == 1
        desk.inject(kind="silence", seconds=2)
        await desk.buy(BTC, "0.1", price="63000")
        await desk.clock.sleep(2.1)
        await desk.buy(BTC, "0.1", price="62000")
        assert [each["o"]["p"] for each in heard(session)] == ["62000.00"]

    on_binance(story)


def test_streams_are_cut_and_keys_expire_on_request() -> None:
    async def story(desk: BinanceDesk) -> None:
        user = await desk.user_stream()
        desk.inject(kind="expire_listen_key")
        assert named(heard(user), "listenKeyExpired")
        market = desk.connect("/market/ws")
        desk.inject(kind="cut_streams")
        for session in (user, market):
            (end,) = heard(session)
            assert end.is_abrupt
        assert not desk.exchange.sessions

    on_binance(story)
