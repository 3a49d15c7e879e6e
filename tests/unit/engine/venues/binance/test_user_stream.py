"""The private stream on the simulated venue: what it tells, and how it comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from engine.model.ids import ClientOrderId
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderState
from engine.model.values import Side
from engine.model.venue import Approved, StreamUpdate
from engine.venues.binance import BinanceVenue
from engine.venues.binance.decoding import Undecodable
from engine.venues.binance.user_stream import read_updates
from tests.contract.binance_under_test import BinanceDesk, binance_desk
from tests.contract.harness import BTC
from tests.waiting import eventually


@pytest.fixture
async def desk() -> AsyncIterator[BinanceDesk]:
    async with binance_desk() as running:
        yield running


def _entry(number: int, *, price: str | None = None) -> Approved:
    intent = Intent(
        client_order_id=ClientOrderId(f"node-g1-{number}"),
        symbol=BTC,
        side=Side.BUY,
        kind=OrderKind.LIMIT if price else OrderKind.MARKET,
        purpose=OrderPurpose.ENTRY,
        quantity=Decimal("0.1"),
        price=Decimal(price) if price else None,
        leverage=Decimal(5),
    )
    return Approved(intent=intent, policy_version=1, approved_ns=0)


def _heard(venue: BinanceVenue) -> list[StreamUpdate]:
    heard: list[StreamUpdate] = []
    venue.subscribe(heard.append)
    return heard


def _states(heard: list[StreamUpdate]) -> list[tuple[bool, str]]:
    return [(each.connected, each.cause) for each in heard if each.connected is not None]


async def test_a_fill_is_the_same_from_stream_and_from_the_list(desk: BinanceDesk) -> None:
    async with desk.adapter() as (venue, _):
        heard = _heard(venue)
        await venue.place(_entry(1, price="59000"))
        desk.exchange.venue.set_price(BTC, Decimal(59000))
        await eventually(lambda: any(each.fill for each in heard))
        told = [each.fill for each in heard if each.fill]
        assert tuple(told) == await venue.executions(since_ns=told[0].ts_ns)
        assert told[0].is_maker
        assert told[0].client_order_id == "node-g1-1"


async def test_a_conditional_order_is_told_of_until_it_becomes_another(desk: BinanceDesk) -> None:
    async with desk.adapter() as (venue, _):
        await venue.place(_entry(1))
        heard = _heard(venue)
        stop = Intent(
            client_order_id=ClientOrderId("node-g1-2"),
            symbol=BTC,
            side=Side.SELL,
            kind=OrderKind.STOP_MARKET,
            purpose=OrderPurpose.PROTECTIVE_STOP,
            quantity=Decimal("0.1"),
            trigger_price=Decimal(58000),
            reduce_only=True,
        )
        await venue.reduce(stop)
        await eventually(lambda: heard)
        first = heard[0].order
        assert first is not None
        assert (first.state, first.trigger_price) == (OrderState.ACCEPTED, Decimal(58000))
        desk.exchange.venue.set_price(BTC, Decimal(57000))
        await eventually(lambda: any(each.fill for each in heard))
        last = [each.order for each in heard if each.order][-1]
        assert (last.client_order_id, last.state) == ("node-g1-2", OrderState.FILLED)
        assert OrderState.CANCELLED not in {each.order.state for each in heard if each.order}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"kind": "cut_streams"}, "ConnectionClosedError"),
        ({"kind": "expire_listen_key"}, "the listen key expired"),
        ({"kind": "malformed_frame"}, "cannot be read"),
        ({"kind": "cut_on_push"}, "ConnectionClosedError"),
    ],
    ids=lambda value: str(value["kind"]) if isinstance(value, dict) else "",
)
async def test_whatever_ends_the_stream_is_said_and_it_comes_back_with_the_gap(
    desk: BinanceDesk, fault: dict[str, str], cause: str
) -> None:
    async with desk.adapter() as (venue, _):
        heard = _heard(venue)
        desk.inject(**fault)
        await venue.place(_entry(1))
        await eventually(lambda: len(_states(heard)) == 2)
        (lost, why), (back, gap) = _states(heard)
        assert (lost, back) == (False, True)
        assert cause in why
        assert gap.startswith("back after ")
        assert float(gap.split()[2]) >= 1.0
        # What it missed is in the list, and it tells again.
        assert len(await venue.executions(since_ns=desk.exchange.clock.now_ns() - 60 * 10**9)) == 1
        await venue.place(_entry(2))
        await eventually(lambda: any(each.fill for each in heard[-3:]))


async def test_the_listen_key_is_extended_and_one_that_cannot_be_is_made_anew(
    desk: BinanceDesk,
) -> None:
    async with desk.adapter(keep_alive_s=0.05) as (venue, _):
        await eventually(lambda: desk.requests().count("PUT /fapi/v1/listenKey") >= 2)
        assert venue.is_connected()
        heard = _heard(venue)
        desk.inject(kind="error", on="PUT /fapi/v1/listenKey", answer="rejected_400")
        await eventually(lambda: len(_states(heard)) == 2)
        assert "could not be extended" in _states(heard)[0][1]
        assert desk.requests().count("POST /fapi/v1/listenKey") == 2


async def test_a_push_that_comes_twice_has_one_execution_id(desk: BinanceDesk) -> None:
    async with desk.adapter() as (venue, _):
        heard = _heard(venue)
        desk.inject(kind="duplicate", on="ORDER_TRADE_UPDATE", times=None)
        await venue.place(_entry(1))
        await eventually(lambda: sum(1 for each in heard if each.fill) == 2)
        assert len({each.fill.execution_id for each in heard if each.fill}) == 1


async def test_who_unsubscribes_hears_no_more(desk: BinanceDesk) -> None:
    async with desk.adapter() as (venue, _):
        heard: list[StreamUpdate] = []
        others = _heard(venue)
        venue.subscribe(heard.append)()
        await venue.place(_entry(1))
        await eventually(lambda: any(each.fill for each in others))
        assert heard == []


def test_a_message_of_no_interest_is_none_and_an_odd_one_is_refused() -> None:
    assert read_updates('{"e":"ACCOUNT_UPDATE","E":1}') == ()
    assert read_updates('{"e":"TRADE_LITE","E":1}') == ()
    for text in ("", "[]", '{"E":1}', '{"e":"ORDER_TRADE_UPDATE","o":{"s":"BTCUSDT"}}'):
        with pytest.raises(Undecodable):
            read_updates(text)
