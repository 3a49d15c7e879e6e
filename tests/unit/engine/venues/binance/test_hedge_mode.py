"""Hedge mode: a symbol has a long and a short position, and every order is of one of them."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from engine.model.errors import NotExecuted, Refused
from engine.model.ids import ClientOrderId
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.model.venue import Approved, Leg
from tests.contract.binance_in_memory import Adapter, on_binance_adapter
from tests.contract.harness import BTC


def _intent(number: int, side: Side, quantity: str, **fields: object) -> Intent:
    given = {
        "client_order_id": ClientOrderId(f"node-g1-{number}"),
        "symbol": BTC,
        "side": side,
        "kind": OrderKind.MARKET,
        "purpose": OrderPurpose.ENTRY,
        "quantity": Decimal(quantity),
        "leverage": Decimal(5),
        **fields,
    }
    return msgspec.convert(given, Intent)


def _entry(number: int, side: Side, quantity: str) -> Approved:
    return Approved(intent=_intent(number, side, quantity), policy_version=1, approved_ns=0)


def _exit(number: int, side: Side, quantity: str, **fields: object) -> Intent:
    return _intent(number, side, quantity, reduce_only=True, purpose=OrderPurpose.EXIT, **fields)


def _stop(number: int, side: Side, quantity: str, trigger: str) -> Intent:
    return _exit(number, side, quantity, kind=OrderKind.STOP_MARKET, trigger_price=Decimal(trigger))


async def _legs(adapter: Adapter) -> dict[Leg | None, Decimal]:
    return {each.leg: each.quantity for each in await adapter.venue.positions()}


def test_both_legs_are_opened_read_and_closed_apart() -> None:
    async def story(adapter: Adapter) -> None:
        venue = adapter.venue
        await venue.place(_entry(1, Side.BUY, "0.3"))
        await venue.place(_entry(2, Side.SELL, "0.2"))
        assert await _legs(adapter) == {Leg.LONG: Decimal("0.3"), Leg.SHORT: Decimal("-0.2")}
        await venue.reduce(_exit(3, Side.SELL, "0.3"))
        assert await _legs(adapter) == {Leg.SHORT: Decimal("-0.2")}
        await venue.reduce(_exit(4, Side.BUY, "0.2"))
        assert await _legs(adapter) == {}
        fills = await venue.executions(since_ns=0)
        assert [fill.client_order_id for fill in fills] == [f"node-g1-{n}" for n in (1, 2, 3, 4)]

    on_binance_adapter(story, hedged=True)


def test_a_stop_of_a_leg_rests_and_is_known_to_only_reduce() -> None:
    async def story(adapter: Adapter) -> None:
        venue = adapter.venue
        await venue.place(_entry(1, Side.BUY, "0.3"))
        await venue.place(_entry(2, Side.SELL, "0.2"))
        await venue.reduce(_stop(3, Side.SELL, "0.3", "58000"))
        await venue.reduce(_stop(4, Side.BUY, "0.2", "62000"))
        orders = {order.client_order_id: order for order in await venue.open_orders()}
        assert {str(name) for name in orders} == {"node-g1-3", "node-g1-4"}
        assert all(order.reduce_only and order.is_conditional for order in orders.values())
        adapter.desk.price("BTCUSDT", "57999")
        await adapter.desk.clock.sleep(1)
        assert await _legs(adapter) == {Leg.SHORT: Decimal("-0.2")}
        told = [update.order for update in adapter.heard if update.order is not None]
        assert {o.client_order_id: o.reduce_only for o in told} == {
            ClientOrderId("node-g1-1"): False,
            ClientOrderId("node-g1-2"): False,
            ClientOrderId("node-g1-3"): True,
            ClientOrderId("node-g1-4"): True,
        }

    on_binance_adapter(story, hedged=True)


def test_an_exit_larger_than_its_leg_opens_nothing() -> None:
    """What hedge mode has instead of reduce-only: the venue refuses it."""

    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(_entry(1, Side.BUY, "0.1"))
        with pytest.raises(Refused):
            await adapter.venue.reduce(_exit(2, Side.SELL, "0.4"))
        assert await _legs(adapter) == {Leg.LONG: Decimal("0.1")}

    on_binance_adapter(story, hedged=True)


@pytest.mark.parametrize("hedged", [True, False])
def test_a_mode_that_changed_behind_our_back_is_read_again_and_the_order_goes(
    hedged: bool,
) -> None:
    async def story(adapter: Adapter) -> None:
        adapter.desk.exchange.venue.set_hedged(hedged)
        await adapter.venue.place(_entry(1, Side.BUY, "0.1"))
        legs = await _legs(adapter)
        assert legs == {Leg.LONG if hedged else None: Decimal("0.1")}
        await adapter.venue.reduce(_exit(2, Side.SELL, "0.1"))
        assert await _legs(adapter) == {}

    on_binance_adapter(story, hedged=not hedged)


def test_without_a_start_the_positions_themselves_say_the_mode() -> None:
    """The way of a stop without an engine: it reads, and then it closes."""

    async def story(adapter: Adapter) -> None:
        await adapter.desk.buy("BTCUSDT", "0.2", positionSide="LONG")
        (position,) = await adapter.venue.emergency_reads.positions()
        assert position.leg is Leg.LONG
        before = len(adapter.desk.exchange.arrivals)
        await adapter.venue.reduce(_exit(1, Side.SELL, "0.2"))
        assert len(adapter.desk.exchange.arrivals) == before + 1
        assert await _legs(adapter) == {}

    on_binance_adapter(story, hedged=True, is_started=False)


def test_the_mode_can_be_set_and_no_change_is_no_error() -> None:
    async def story(adapter: Adapter) -> None:
        settings = adapter.venue.settings
        for _ in range(2):
            await settings.use_mode(hedged=True)
            assert await settings.read_mode()
        await adapter.venue.place(_entry(1, Side.BUY, "0.1"))
        with pytest.raises(Refused):
            await settings.use_mode(hedged=False)

    on_binance_adapter(story)


def test_an_exit_leaves_although_the_clocks_cannot_be_compared() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(_entry(1, Side.BUY, "0.1"))
        adapter.desk.inject(
            on="POST /fapi/v1/order", kind="error", answer="matching_window_400", times=1
        )
        with pytest.raises(NotExecuted):
            await adapter.venue.reduce(_exit(2, Side.SELL, "0.1"))
        adapter.desk.inject(on="GET /fapi/v1/time", kind="error", answer="unavailable_503", times=2)
        with pytest.raises(NotExecuted):
            await adapter.venue.place(_entry(3, Side.BUY, "0.1"))
        await adapter.venue.reduce(_exit(2, Side.SELL, "0.1"))
        assert await _legs(adapter) == {}

    on_binance_adapter(story)
