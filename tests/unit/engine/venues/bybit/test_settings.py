"""Leverage, a position's own stops, protection against disconnection."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.errors import NotExecuted, Refused
from engine.model.values import Side
from tests.contract.bybit_in_memory import (
    PLACE,
    Adapter,
    approved,
    intent,
    limit,
    on_bybit_adapter,
)
from tests.contract.harness import BTC

_LEVERAGE = "POST /v5/position/set-leverage"


def test_the_leverage_is_set_once_and_an_unknown_one_sends_no_entry() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="timeout_after", on=_LEVERAGE)
        with pytest.raises(NotExecuted, match="leverage"):
            await adapter.venue.place(approved(limit(1)))
        assert PLACE not in adapter.requests()
        # The venue says that nothing is modified, for it has heard the first.
        await adapter.venue.place(approved(limit(1)))
        await adapter.venue.place(approved(limit(2)))
        assert adapter.requests().count(_LEVERAGE) == 2
        await adapter.venue.place(approved(limit(3, leverage=Decimal(7))))
        assert adapter.desk.exchange.venue.account.leverage[BTC] == 7

    on_bybit_adapter(story)


def test_a_positions_stops_are_set_left_and_taken_away() -> None:
    async def story(adapter: Adapter) -> None:
        settings = adapter.venue.settings

        async def triggers() -> set[Decimal | None]:
            return {order.trigger_price for order in await adapter.venue.open_orders()}

        with pytest.raises(Refused, match="zero position"):
            await settings.set_stops(BTC, position_side=Side.BUY, stop_loss=Decimal(58000))
        await adapter.venue.place(approved(intent(1)))
        await settings.set_stops(
            BTC, position_side=Side.BUY, stop_loss=Decimal(58000), take_profit=Decimal(65000)
        )
        assert await triggers() == {Decimal(58000), Decimal(65000)}
        await settings.set_stops(BTC, position_side=Side.BUY, stop_loss=Decimal(59000))
        await settings.set_stops(BTC, position_side=Side.BUY, stop_loss=Decimal(59000))
        assert await triggers() == {Decimal(59000), Decimal(65000)}
        await settings.set_stops(BTC, position_side=Side.BUY, take_profit=Decimal(0))
        assert await triggers() == {Decimal(59000)}
        adapter.desk.price(BTC, "58999")
        assert await adapter.legs() == {}

    on_bybit_adapter(story)


def test_protection_against_disconnection_is_what_bybit_has_enabled() -> None:
    async def story(adapter: Adapter) -> None:
        settings = adapter.venue.settings
        assert await settings.protection_s() is None
        with pytest.raises(Refused, match="10005"):
            await settings.set_protection(30)
        assert not adapter.stream.is_watched

    on_bybit_adapter(story)


def test_orders_are_cancelled_when_the_watched_stream_is_gone_for_the_window() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.desk.exchange.desk.protection.is_enabled = True
        await adapter.venue.settings.set_protection(15)
        assert await adapter.venue.settings.protection_s() == 15
        assert adapter.stream.is_watched
        await adapter.venue.place(approved(limit(1)))
        # Back before the window is over, it is watched again.
        adapter.inject(kind="cut_streams")
        await adapter.desk.clock.sleep(20)
        assert adapter.stream.is_connected()
        assert len(await adapter.venue.open_orders()) == 1
        adapter.line.fail(refuses=True)
        await adapter.desk.clock.sleep(20)
        adapter.line.mend()
        assert await adapter.venue.open_orders() == ()

    on_bybit_adapter(story, is_dead_mans_switch=True)
