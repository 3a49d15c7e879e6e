"""A dry run trades on simulated books with a real venue's contracts, and touches nothing there."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from engine.kernel import KernelOptions, build_kernel
from engine.kernel.verbs import Verbs
from engine.model.config import Configuration, EngineSection, RedisSection
from engine.model.emergency import EmergencyState, Scope, TripSource
from engine.model.errors import ConfigurationError
from engine.model.orders import OrderPurpose
from engine.model.snapshots import EngineState
from engine.model.values import Side
from engine.runtime import SystemClock
from tests.desk import BTC, ETH
from tests.dry_run_desk import REAL_QUANTITY, DryRunStory, dry_run_story
from tests.simulators.bybit import BybitExchange


@dry_run_story
async def test_entries_and_their_stops_live_in_the_simulated_books(desk: DryRunStory) -> None:
    assert desk.state() is EngineState.RUNNING
    await desk.enter()
    await desk.enter(Side.SELL, ETH)
    assert desk.venue_positions() == {BTC: desk.quantity(), ETH: desk.quantity(ETH)}
    assert len(desk.orders(OrderPurpose.PROTECTIVE_STOP)) == 2
    trigger = desk.kernel.parts.execution.protection.trigger_price(BTC)
    assert trigger is not None
    desk.market.move(BTC, trigger - 10)
    await desk.until(lambda: not desk.quantity())
    desk.exit(ETH)
    await desk.until(lambda: not desk.quantity(ETH))
    assert desk.kernel.parts.ledger.totals.realised < 0


@dry_run_story
async def test_the_contracts_are_the_venues_own(desk: DryRunStory) -> None:
    listed = desk.kernel.parts.venue.instrument(BTC)
    assert listed.quantity_max != desk.exchange.venue.contract("ETHUSDT").market_quantity_max
    assert listed.tick_size == desk.exchange.venue.contract("BTCUSDT").tick_size
    await desk.enter()
    assert desk.quantity() % listed.quantity_step == 0


@dry_run_story
async def test_the_stop_acts_on_the_simulated_books_and_verifies_them(desk: DryRunStory) -> None:
    await desk.enter()
    await desk.enter(Side.SELL, ETH)
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story", scope=Scope.NODE)
    stop = desk.kernel.parts.stop
    await desk.until(lambda: stop.snapshot().state is EmergencyState.FLAT, timeout_s=30)
    assert desk.venue_positions() == {}
    assert desk.open_at_venue() == []
    await desk.sleep(70.0)  # The stop goes on looking, and so does the dry run at the account.


@dry_run_story
async def test_the_real_account_is_shown_and_never_mixed_with_ours(desk: DryRunStory) -> None:
    watched = desk.kernel.parts.venue.watched_account
    assert watched is not None
    (position,) = watched.positions
    assert (position.symbol, position.quantity) == ("SOLUSDT", REAL_QUANTITY)
    assert 99_000 < watched.balance.balance < 100_000
    status = await Verbs(client=desk.kernel.client).table()["status"]({})
    assert status["mode"] == "dry_run"
    assert status["venue_account"]["positions"][0]["quantity"] == "25"
    assert status["positions"] == []
    assert desk.kernel.parts.ledger.totals.initial == Decimal(80_000)
    assert [row.symbol for row in desk.kernel.parts.ledger.positions()] == []
    await desk.sleep(61.0)
    again = desk.kernel.parts.venue.watched_account
    assert again is not None
    assert again.read_ns > watched.read_ns


@dry_run_story
async def test_a_restart_goes_on_with_the_simulated_books(desk: DryRunStory) -> None:
    await desk.enter()
    held = desk.quantity()
    await desk.restart()
    assert desk.quantity() == held == desk.venue_positions()[BTC]
    desk.exit()
    await desk.until(lambda: not desk.quantity())


@dry_run_story
async def test_a_key_that_may_withdraw_is_warned_of_where_the_venue_tells(
    desk: DryRunStory,
) -> None:
    def is_warned() -> bool:
        alarms = desk.kernel.parts.alarms.snapshot()
        return any(alarm.code == "KEY_CAN_WITHDRAW" for alarm in alarms)

    await desk.sleep(3.0)
    assert not is_warned()
    if not isinstance(desk.exchange, BybitExchange):
        return  # Binance tells it at another host only.
    desk.exchange.desk.key_may_withdraw = True
    await desk.restart()
    await desk.until(is_warned)


async def test_without_a_key_there_is_no_dry_run_and_the_error_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEAWALL_API_KEY", raising=False)
    configuration = Configuration(
        engine=EngineSection(mode="dry_run"), redis=RedisSection(mode="standalone")
    )
    options = KernelOptions(configuration=configuration, data_dir=tmp_path / "data")
    with pytest.raises(ConfigurationError, match="no API key for binance, account desk"):
        await build_kernel(options, clock=SystemClock(), vault=_EmptyVault())


class _EmptyVault:
    name = "the test's vault"

    def read(self, entry: str) -> str | None:
        return None
