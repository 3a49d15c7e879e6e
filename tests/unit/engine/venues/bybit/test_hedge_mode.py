"""Hedge mode: an order is of the leg that its side says, whichever mode the account is found in."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.errors import NotExecuted, Refused
from engine.model.values import Side
from engine.model.venue import OrderAck
from tests.contract.bybit_in_memory import (
    Adapter,
    approved,
    exit_of,
    intent,
    limit,
    on_bybit_adapter,
    stop,
)
from tests.contract.harness import BTC


def test_both_legs_are_opened_read_and_closed_apart() -> None:
    async def story(adapter: Adapter) -> None:
        venue = adapter.venue
        await venue.place(approved(intent(1, quantity="0.3")))
        await venue.place(approved(intent(2, Side.SELL, quantity="0.2")))
        assert await adapter.legs() == {"long": Decimal("0.3"), "short": Decimal("-0.2")}
        await venue.reduce(exit_of(3, Side.SELL, quantity="0.1"))
        await venue.reduce(exit_of(4, Side.BUY, quantity="0.2"))
        assert await adapter.legs() == {"long": Decimal("0.2")}
        with pytest.raises(Refused, match="110017"):
            await venue.reduce(exit_of(5, Side.BUY))

    on_bybit_adapter(story, hedged=True)


def test_a_stop_of_a_leg_closes_that_leg_alone() -> None:
    async def story(adapter: Adapter) -> None:
        venue = adapter.venue
        await venue.place(approved(intent(1)))
        await venue.place(approved(intent(2, Side.SELL)))
        await venue.reduce(stop(3, "58000", Side.SELL))
        await venue.settings.set_stops(BTC, position_side=Side.SELL, stop_loss=Decimal(65000))
        adapter.desk.price(BTC, "57999")
        assert await adapter.legs() == {"short": Decimal("-0.1")}
        adapter.desk.price(BTC, "65001")
        assert await adapter.legs() == {}

    on_bybit_adapter(story, hedged=True)


@pytest.mark.parametrize("hedged", [False, True])
def test_a_mode_that_was_changed_elsewhere_keeps_no_exit_back(hedged: bool) -> None:
    async def story(adapter: Adapter) -> None:
        venue = adapter.venue
        await adapter.desk.post("/position/switch-mode", coin="USDT", mode=0 if hedged else 3)
        index = 0 if hedged else 1
        await adapter.desk.order(BTC, "Buy", "0.3", positionIdx=index)
        await venue.reduce(exit_of(1))
        # Batches learn it too; the item that was refused for it was not executed.
        assert isinstance((await venue.batches.reduce([exit_of(2)]))[0], OrderAck)
        await venue.place(approved(intent(3)))
        assert await adapter.legs() == {"one" if hedged else "long": Decimal("0.2")}

    on_bybit_adapter(story, hedged=hedged)


def test_an_entry_in_the_wrong_mode_is_refused_and_the_next_one_is_right() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.settings.use_leverage(BTC, Decimal(5))
        await adapter.desk.post("/position/switch-mode", coin="USDT", mode=3)
        with pytest.raises(Refused, match="position idx"):
            await adapter.venue.place(approved(intent(1)))
        await adapter.venue.place(approved(intent(2)))
        assert await adapter.legs() == {"long": Decimal("0.1")}

    on_bybit_adapter(story)


def test_without_a_start_the_positions_themselves_say_the_mode() -> None:
    """A stop may have to act before anything else of the adapter was ready."""

    async def story(adapter: Adapter) -> None:
        await adapter.desk.order(BTC, "Sell", "0.1", positionIdx=2)
        await adapter.venue.emergency_reads.positions()
        sent = len(adapter.requests())
        await adapter.venue.reduce(exit_of(1, Side.BUY))
        assert len(adapter.requests()) == sent + 1
        assert await adapter.legs() == {}

    on_bybit_adapter(story, hedged=True, is_started=False)


def test_the_mode_can_be_set_and_no_change_is_no_error() -> None:
    async def story(adapter: Adapter) -> None:
        settings = adapter.venue.settings
        await settings.use_mode(hedged=True)
        await settings.use_mode(hedged=True)
        await adapter.venue.place(approved(intent(1)))
        assert await adapter.legs() == {"long": Decimal("0.1")}
        with pytest.raises(Refused, match="110024"):
            await settings.use_mode(hedged=False)
        await adapter.venue.reduce(exit_of(2))
        await settings.use_mode(hedged=False)
        await adapter.venue.place(approved(limit(3)))
        assert len(await adapter.venue.open_orders()) == 1

    on_bybit_adapter(story)


def test_a_mode_that_the_venue_does_not_say_fails_the_start() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="error", on="GET /v5/position/list", answer="server_10016")
        with pytest.raises(NotExecuted):
            await adapter.venue.start()
        await adapter.venue.start()

    on_bybit_adapter(story, is_started=False)
