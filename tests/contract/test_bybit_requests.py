"""Our requests to Bybit, signed by us, over real HTTP to the simulated venue; its answers read.

The simulator is a process of its own, on which pybit has traded unmodified
(`test_third_party_clients.py`): it checks our signature, parameters and filters, and what we read
is compared with its own books. Times are the venue's, asked for first.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from engine.model.errors import NotExecuted, OutcomeUnknown, Refused, VenueError
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderState
from engine.model.values import Side
from engine.model.venue import OrderAck, VenueOrder
from engine.venues.bybit import requests
from engine.venues.bybit.accounts import (
    PositionLeg,
    decode_ack,
    decode_batch,
    decode_cancel_all,
    decode_executions,
    decode_orders,
    decode_positions,
    decode_wallet,
)
from engine.venues.bybit.errors import refusal
from engine.venues.bybit.instruments import Contract, decode_contracts
from engine.venues.bybit.market_stream import BybitMarketReader
from engine.venues.bybit.requests import Request
from engine.venues.bybit.rules import check_entry
from engine.venues.bybit.signing import Signer
from engine.venues.bybit.streams import (
    PING,
    PRIVATE_TOPICS,
    ControlAnswer,
    PrivateMessage,
    decode_private,
    decode_server_time,
    decode_tickers,
)
from tests.fakes.market_sink import RecordingSink
from tests.simulators.exchange import Request as WireRequest
from tests.simulators.in_memory import BybitDesk, heard, on_bybit, tell

BTC = Symbol("BTCUSDT")
_ROOT = Path(__file__).resolve().parents[2]
_ANSWER_LIMIT_S = 10.0


class Desk:
    """A caller with a key, and the venue's control."""

    def __init__(self, *, rest_url: str, control_url: str, secret: str = "test-secret") -> None:
        self._address = urlsplit(rest_url).netloc
        self._control_url = control_url
        self._signer = Signer(api_key="test-key", api_secret=secret)

    def _exchange(
        self, request: Request, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(self._address, timeout=_ANSWER_LIMIT_S)
        try:
            given = {"Content-Type": "application/json", **headers}
            connection.request(request.method, request.target, request.body, given)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def now_ms(self) -> int:
        _, _, body = self._exchange(requests.server_time(), {})
        return decode_server_time(body) // 1_000_000

    def ask(self, request: Request, *, late_ms: int = 0) -> bytes:
        """The body of an answer that says "done"; else what `refusal` makes of it is raised."""
        now_ms = self.now_ms()
        signed = self._signer.headers(
            request.payload, timestamp_ms=now_ms - late_ms, receive_window_ms=1000
        )
        status, headers, body = self._exchange(request, signed)
        error = refusal(status, body, request.kind, headers=headers, now_ms=now_ms)
        if error is not None:
            raise error
        return body

    def control(self, what: str, document: object) -> None:
        body = json.dumps(document).encode()
        target = urllib.request.Request(f"{self._control_url}/{what}", body)
        with urllib.request.urlopen(target, timeout=_ANSWER_LIMIT_S):
            pass

    def books(self) -> Any:
        with urllib.request.urlopen(f"{self._control_url}/books", timeout=_ANSWER_LIMIT_S) as read:
            return json.load(read)

    # --- shorthand ---------------------------------------------------------------------------

    def contract(self) -> Contract:
        page = decode_contracts(self.ask(requests.contracts()))
        assert page.refused == ()
        return next(each for each in page.contracts if each.instrument.symbol == BTC)

    def place(self, what: Intent, *, is_hedged: bool = False) -> OrderAck:
        return decode_ack(self.ask(requests.place(what, is_hedged=is_hedged)))

    def order(self, client_id: str) -> VenueOrder:
        body = self.ask(requests.order(BTC, ClientOrderId(client_id)))
        (found,) = decode_orders(body).rows
        return found

    def legs(self) -> tuple[PositionLeg, ...]:
        return decode_positions(self.ask(requests.positions("USDT"))).rows

    def open_orders(self) -> tuple[VenueOrder, ...]:
        return decode_orders(self.ask(requests.open_orders("USDT"))).rows


@pytest.fixture
def addresses() -> Iterator[Mapping[str, str]]:
    command = [sys.executable, "-m", "tests.simulators", "bybit", "--port", "0"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE) as venue:
        try:
            assert venue.stdout is not None
            yield json.loads(venue.stdout.readline())
        finally:
            venue.terminate()


@pytest.fixture
def desk(addresses: Mapping[str, str]) -> Desk:
    return Desk(rest_url=addresses["rest_url"], control_url=addresses["control_url"])


def entry(client_id: str, **changes: Any) -> Intent:
    values: dict[str, Any] = {
        "client_order_id": ClientOrderId(client_id),
        "symbol": BTC,
        "side": Side.BUY,
        "kind": OrderKind.MARKET,
        "purpose": OrderPurpose.ENTRY,
        "quantity": Decimal("0.3"),
    }
    return Intent(**(values | changes))


def resting(client_id: str, price: str = "60000") -> Intent:
    return entry(client_id, kind=OrderKind.LIMIT, price=Decimal(price))


def closing(client_id: str, **changes: Any) -> Intent:
    values = {"side": Side.SELL, "purpose": OrderPurpose.EXIT, "reduce_only": True}
    return entry(client_id, **(values | changes))


def stop(client_id: str, trigger: str = "50000") -> Intent:
    return closing(
        client_id,
        kind=OrderKind.STOP_MARKET,
        purpose=OrderPurpose.PROTECTIVE_STOP,
        trigger_price=Decimal(trigger),
    )


def test_a_whole_cycle_of_orders_is_what_the_venues_books_say(desk: Desk) -> None:
    desk.ask(requests.set_leverage(BTC, Decimal(10)))
    # The second time nothing changes, which is success all the same.
    desk.ask(requests.set_leverage(BTC, Decimal(10)))
    ack = desk.place(resting("d-g1-1"))
    placed = desk.order("d-g1-1")
    assert placed.venue_order_id == ack.venue_order_id
    assert (placed.state, placed.kind, placed.price) == (
        OrderState.ACCEPTED, OrderKind.LIMIT, Decimal(60000),
    )  # fmt: skip
    change = msgspec.structs.replace(resting("d-g1-1", "60100"), quantity=Decimal("0.2"))
    decode_ack(desk.ask(requests.amend(change)))
    amended = desk.order("d-g1-1")
    assert (amended.price, amended.quantity) == (Decimal(60100), Decimal("0.2"))
    decode_ack(desk.ask(requests.cancel(BTC, amended.client_order_id)))
    gone = desk.order("d-g1-1")
    assert (gone.state, gone.reason) == (OrderState.CANCELLED, "CancelByUser")
    check_entry(entry("d-g1-2"), desk.contract())
    desk.place(entry("d-g1-2"))
    filled = desk.order("d-g1-2")
    assert (filled.state, filled.filled) == (OrderState.FILLED, Decimal("0.3"))
    (leg,) = desk.legs()
    assert (leg.position.symbol, leg.position.quantity) == (BTC, Decimal("0.3"))
    now_ms = desk.now_ms()
    body = desk.ask(requests.executions(start_ms=now_ms - 60_000, end_ms=now_ms + 1000))
    ours = {
        (fill.client_order_id, fill.quantity, fill.price, fill.fee)
        for fill in decode_executions(body).fills
    }
    theirs = {
        (each["client_id"], *(Decimal(each[name]) for name in ("quantity", "price", "fee")))
        for each in desk.books()["fills"]
    }
    assert ours == theirs
    (balance,) = decode_wallet(desk.ask(requests.wallet()))
    assert (balance.currency, balance.balance) == ("USDT", Decimal(desk.books()["balance"]))
    (ticker,) = decode_tickers(desk.ask(requests.ticker(BTC)))
    assert ticker.mark_price == leg.position.mark_price


def test_a_stop_waits_apart_from_ordinary_orders_and_closes_the_position(desk: Desk) -> None:
    desk.place(entry("d-g1-1"))
    desk.place(resting("d-g1-2"))
    desk.place(stop("d-g1-3"))
    waiting = {order.client_order_id: order.is_conditional for order in desk.open_orders()}
    assert waiting == {"d-g1-2": False, "d-g1-3": True}
    assert decode_cancel_all(desk.ask(requests.cancel_all(BTC, conditional=False))) == 1
    assert [order.client_order_id for order in desk.open_orders()] == ["d-g1-3"]
    desk.control("price", {"symbol": BTC, "price": "49900"})
    assert desk.order("d-g1-3").state is OrderState.FILLED
    assert desk.legs() == ()
    with pytest.raises(Refused) as raised:
        desk.place(closing("d-g1-4"))
    assert raised.value.code == "110017"


def test_a_positions_own_stop_is_an_order_that_the_venue_names(desk: Desk) -> None:
    desk.place(entry("d-g1-1"))
    desk.ask(requests.trading_stop(BTC, position_side=Side.BUY, stop_loss=Decimal("50000.1")))
    (found,) = desk.open_orders()
    assert (found.client_order_id, found.trigger_price) == (
        f"@{found.venue_order_id}",
        Decimal("50000.1"),
    )
    assert (found.kind, found.reduce_only) == (OrderKind.STOP_MARKET, True)
    desk.ask(requests.cancel(BTC, found.client_order_id))
    assert desk.open_orders() == ()


def test_in_hedge_mode_both_legs_live_side_by_side(desk: Desk) -> None:
    desk.ask(requests.set_position_mode("USDT", is_hedged=True))
    desk.place(entry("d-g1-1"), is_hedged=True)
    desk.place(entry("d-g1-2", side=Side.SELL, quantity=Decimal("0.1")), is_hedged=True)
    assert {leg.index: leg.position.quantity for leg in desk.legs()} == {
        1: Decimal("0.3"),
        2: Decimal("-0.1"),
    }
    desk.place(closing("d-g1-3"), is_hedged=True)
    assert {leg.index: leg.position.quantity for leg in desk.legs()} == {2: Decimal("-0.1")}


def test_a_batch_is_judged_order_by_order(desk: Desk) -> None:
    too_dear = resting("d-g1-2", "64000")
    orders = [
        resting("d-g1-1"),
        msgspec.structs.replace(too_dear, quantity=Decimal(100)),
        resting("d-g1-3", "60200"),
    ]
    request = requests.place_batch(orders)
    first, second, third = decode_batch(desk.ask(request), request.kind, count=3)
    assert isinstance(first, OrderAck)
    assert isinstance(second, Refused)
    assert isinstance(third, OrderAck)
    assert {order.client_order_id for order in desk.open_orders()} == {"d-g1-1", "d-g1-3"}
    request = requests.cancel_batch([(BTC, ClientOrderId(f"d-g1-{n}")) for n in (1, 2, 3)])
    answers = decode_batch(desk.ask(request), request.kind, count=3)
    assert [type(each) for each in answers] == [OrderAck, Refused, OrderAck]
    assert desk.open_orders() == ()


def test_pages_are_followed_to_their_end() -> None:
    """On simulated time, since so many orders are more than a second's limit."""

    async def story(desk: BybitDesk) -> None:
        signer = Signer(api_key="test-key", api_secret="test-secret")

        async def ask(request: Request) -> bytes:
            headers = signer.headers(request.payload, timestamp_ms=desk.clock.now_ns() // 1_000_000)
            answer = await desk.exchange.request(
                WireRequest(
                    method=request.method,
                    path=request.path,
                    query=request.target.partition("?")[2],
                    body=request.body,
                    headers={name.lower(): value for name, value in headers.items()},
                )
            )
            assert refusal(answer.status, answer.body, request.kind) is None
            return answer.body

        for start in range(0, 60, 10):
            orders = [resting(f"d-g1-{start + n}") for n in range(10)]
            request = requests.place_batch(orders)
            answers = decode_batch(await ask(request), request.kind, count=10)
            assert all(isinstance(each, OrderAck) for each in answers), answers
            await desk.clock.sleep(1.1)
        first = decode_orders(await ask(requests.open_orders("USDT")))
        assert (len(first.rows), bool(first.next_cursor)) == (50, True)
        second = decode_orders(await ask(requests.open_orders("USDT", first.next_cursor)))
        assert (len(second.rows), second.next_cursor) == (10, "")
        assert len({order.client_order_id for order in (*first.rows, *second.rows)}) == 60

    on_bybit(story)


def test_the_streams_say_what_the_requests_did() -> None:
    async def story(desk: BybitDesk) -> None:
        signer = Signer(api_key="test-key", api_secret="test-secret")
        private = desk.connect("/v5/private", known=False)
        now_ms = desk.clock.now_ns() // 1_000_000
        private.receive(signer.stream_login(expires_ms=now_ms + 1000).decode())
        tell(private, op="subscribe", args=list(PRIVATE_TOPICS))
        private.receive(PING.decode())
        public = desk.connect("/v5/public/linear")
        tell(public, op="subscribe", args=["publicTrade.BTCUSDT", "tickers.BTCUSDT"])
        await desk.clock.sleep(0.1)
        answers = [decode_private(msgspec.json.encode(each)) for each in heard(private)]
        assert {
            (each.operation, each.is_success) for each in answers if isinstance(each, ControlAnswer)
        } == {("auth", True), ("subscribe", True), ("pong", True)}
        order = {"side": "Buy", "orderType": "Market", "qty": "0.3", "orderLinkId": "d-g1-1"}
        await desk.post("/order/create", symbol=BTC, **order)
        desk.price(BTC, "65100")
        await desk.clock.sleep(1.0)
        pushed = [decode_private(msgspec.json.encode(each)) for each in heard(private)]
        messages = [each for each in pushed if isinstance(each, PrivateMessage)]
        assert len(messages) == len(pushed)
        updates = [update for each in messages for update in each.updates]
        fills = [update.fill for update in updates if update.fill is not None]
        assert sum(fill.quantity for fill in fills) == Decimal("0.3")
        assert {fill.client_order_id for fill in fills} == {"d-g1-1"}
        orders = [update.order for update in updates if update.order is not None]
        assert orders[-1].state is OrderState.FILLED
        assert [leg.position.quantity for each in messages for leg in each.legs][-1] == Decimal(
            "0.3"
        )
        balances = [balance for each in messages for balance in each.balances]
        assert balances[-1].balance == desk.exchange.venue.account.balance
        sink = RecordingSink()
        reader = BybitMarketReader(sink=sink, clock=desk.clock, symbols=(BTC,))
        for each in heard(public):
            reader.read(msgspec.json.encode(each).decode())
        assert sink.trades[-1][1] == Decimal(65100)
        assert sink.marks[-1][1] == Decimal(65100)

    on_bybit(story)


def test_what_goes_wrong_is_classed_by_what_it_proves(
    desk: Desk, addresses: Mapping[str, str]
) -> None:
    desk.place(resting("d-g1-1"))
    with pytest.raises(Refused, match="110072"):
        desk.place(resting("d-g1-1"))
    with pytest.raises(Refused, match="110001"):
        desk.ask(requests.cancel(BTC, ClientOrderId("d-g1-99")))
    with pytest.raises(NotExecuted, match="10002"):
        desk.ask(requests.wallet(), late_ms=5000)
    stranger = Desk(**{name: addresses[name] for name in ("rest_url", "control_url")}, secret="no")
    with pytest.raises(Refused, match="10004"):
        stranger.ask(requests.wallet())
    create = "POST /v5/order/create"
    faults: tuple[tuple[dict[str, object], type[VenueError]], ...] = (
        ({"kind": "error", "answer": "server_10016", "took_effect": True}, OutcomeUnknown),
        ({"kind": "error", "answer": "gateway_502"}, OutcomeUnknown),
        ({"kind": "malformed_answer"}, OutcomeUnknown),
        ({"kind": "rate_limited"}, NotExecuted),
    )
    for number, (rule, error) in enumerate(faults):
        desk.control("faults", {"clear": True})
        desk.control("faults", {"on": create, **rule})
        with pytest.raises(error):
            desk.ask(requests.place(resting(f"d-g1-{number + 10}")))
    desk.control("faults", {"clear": True})
    # Unknown was right: one of them is there, one is not.
    assert desk.order("d-g1-10").state is OrderState.ACCEPTED
    assert decode_orders(desk.ask(requests.order(BTC, ClientOrderId("d-g1-11")))).rows == ()
