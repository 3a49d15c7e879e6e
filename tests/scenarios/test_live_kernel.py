"""The whole kernel live on a simulated Binance: entries, stops, restarts, and a venue that is away.

Stories on simulated time; the adapter, the requests and the streams are the real ones.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.kernel import KernelOptions, run_headless
from engine.kernel.headless import start_live
from engine.model.config import Configuration, EngineSection, NodeSection
from engine.model.emergency import EmergencyState, Scope, TripSource
from engine.model.errors import ConfigurationError
from engine.model.orders import OrderPurpose
from engine.model.snapshots import EngineState
from engine.model.values import Side
from tests.desk import BTC, ETH
from tests.simulators.in_memory import BinanceDesk
from tests.venue_desk import ACCOUNT, ExchangeDesk, exchange_story

BOTH = ("binance", "bybit")
_ORDERS = frozenset({"POST /fapi/v1/order", "POST /v5/order/create"})


def _orders_sent(desk: ExchangeDesk) -> int:
    return sum(row["request"] in _ORDERS for row in desk.books()["requests"])


@exchange_story(venues=BOTH)
async def test_an_entry_fills_and_its_stop_rests_at_the_venue(desk: ExchangeDesk) -> None:
    await desk.enter()
    assert desk.quantity() > 0
    assert desk.venue_positions() == {BTC: desk.quantity()}
    (stop,) = desk.stops_at_venue()
    ours = [record.client_order_id for record in desk.orders(OrderPurpose.PROTECTIVE_STOP)]
    assert ours == [stop]


@exchange_story(venues=BOTH)
async def test_an_exit_closes_at_the_venue_and_takes_the_stop_away(desk: ExchangeDesk) -> None:
    await desk.enter(Side.SELL, ETH)
    assert desk.quantity(ETH) < 0
    desk.exit(ETH)
    await desk.until(lambda: not desk.quantity(ETH))
    await desk.until(lambda: not desk.stops_at_venue())
    assert desk.venue_positions() == {}
    realised = desk.kernel.parts.ledger.totals.realised
    fees = desk.kernel.parts.ledger.totals.fees
    assert Decimal(desk.books()["balance"]) == 100_000 + realised - fees


@exchange_story(venues=BOTH)
async def test_a_stop_that_triggers_at_the_venue_is_booked(desk: ExchangeDesk) -> None:
    await desk.enter()
    trigger = desk.kernel.parts.execution.protection.trigger_price(BTC)
    assert trigger is not None
    desk.market.move(BTC, trigger - 10)
    await desk.until(lambda: not desk.quantity())
    assert desk.venue_positions() == {}
    assert desk.kernel.parts.ledger.totals.realised < 0


@exchange_story(venues=BOTH)
async def test_a_restart_adopts_what_is_open_and_waits_for_start_live(desk: ExchangeDesk) -> None:
    await desk.enter()
    held, stops = desk.quantity(), desk.stops_at_venue()
    before = desk.kernel.parts.ledger.totals
    await desk.restart()
    assert desk.state() is EngineState.READY
    assert desk.quantity() == held
    assert desk.kernel.parts.ledger.totals.initial == before.initial
    await desk.sleep(10.0)
    assert desk.stops_at_venue() == stops
    sent = _orders_sent(desk)
    desk.signal(symbol=ETH)
    await desk.sleep(3.0)
    assert desk.quantity(ETH) == 0
    assert _orders_sent(desk) == sent


@exchange_story(venues=BOTH)
async def test_the_stop_closes_everything_at_the_venue(desk: ExchangeDesk) -> None:
    await desk.enter()
    await desk.enter(Side.SELL, ETH)
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story", scope=Scope.NODE)
    stop = desk.kernel.parts.stop
    await desk.until(lambda: stop.snapshot().state is EmergencyState.FLAT, timeout_s=30)
    assert desk.venue_positions() == {}
    assert desk.open_at_venue() == []
    await desk.until(lambda: not desk.kernel.parts.ledger.positions())


@pytest.mark.allow_log("step venue: not sent")
@exchange_story(start=False, venues=BOTH)
async def test_a_venue_that_is_away_leaves_standby_with_its_reason_and_is_tried_again(
    desk: ExchangeDesk,
) -> None:
    desk.new_line().fail(refuses=True)
    await desk.open()
    assert desk.state() is EngineState.STANDBY
    assert "is not ready: not sent" in desk.kernel.parts.mode.why
    snapshot = desk.kernel.client.snapshot()
    assert snapshot.risk.drawdown is None
    refused = await desk.kernel.client.start(reason="story", confirm_live=ACCOUNT)
    assert not refused.ok
    desk.line.mend()
    await desk.until(lambda: desk.state() is EngineState.READY, timeout_s=60)
    assert desk.kernel.parts.ledger.totals.initial == 100_000
    await desk.go_live()
    await desk.enter()


@pytest.mark.allow_log("leaves no room|step venue: not sent|missed_fill")
@exchange_story(start=False, venues=BOTH)
async def test_the_stop_works_in_standby_and_goes_on_when_the_venue_is_back(
    desk: ExchangeDesk,
) -> None:
    await desk.open()
    await desk.go_live()
    await desk.enter()
    await desk.close()
    desk.new_line().fail(refuses=True)
    await desk.open()
    assert desk.state() is EngineState.STANDBY
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story", scope=Scope.NODE)
    await desk.sleep(40.0)
    stop = desk.kernel.parts.stop
    assert stop.snapshot().state is EmergencyState.INCOMPLETE
    assert desk.venue_positions() != {}
    desk.line.mend()
    await desk.until(lambda: stop.snapshot().state is EmergencyState.FLAT, timeout_s=90)
    assert desk.venue_positions() == {}
    await desk.until(lambda: not desk.kernel.parts.ledger.positions(), timeout_s=90)
    # The looks of an outage cost of the venue's limits; the next minute has room for the summary.
    await desk.sleep(61.0)


@pytest.mark.allow_log("step venue: not sent|not compared with the venue")
@exchange_story(start=False)
async def test_a_run_that_never_met_its_venue_has_a_summary_that_is_not_ok(
    desk: ExchangeDesk,
) -> None:
    desk.new_line().fail(refuses=True)
    await desk.open()
    summary = await desk.kernel.summary()
    assert not summary["ok"]
    assert summary["books"]["positions"] == []
    desk.line.mend()
    await desk.until(lambda: desk.state() is EngineState.READY, timeout_s=60)


@exchange_story(live=False)
async def test_live_waits_for_its_confirmation(desk: ExchangeDesk) -> None:
    assert desk.state() is EngineState.READY
    for said in ("", "desk"):
        refused = await desk.kernel.client.start(reason="story", confirm_live=said)
        assert not refused.ok
        assert [entry.condition for entry in refused.unmet] == ["live_confirmed"]
        assert ACCOUNT in refused.unmet[0].why
    assert desk.state() is EngineState.READY
    await desk.go_live()
    assert desk.state() is EngineState.RUNNING


@exchange_story(live=False)
async def test_a_confirmation_from_the_command_line_waits_for_its_conditions(
    desk: ExchangeDesk,
) -> None:
    """Prices are too old at first: START LIVE is given when they are not."""
    desk.market.silent = True
    await desk.sleep(6.0)
    desk.confirm_live(ACCOUNT)
    parts = desk.kernel.parts
    starting = parts.tasks.spawn("start live", start_live(desk.kernel, desk.clock))
    await desk.sleep(5.0)
    assert desk.state() is EngineState.READY
    desk.market.silent = False
    await desk.until(starting.done)
    assert desk.state() is EngineState.RUNNING


@exchange_story(live=False)
async def test_the_stop_withdraws_a_confirmation_from_the_command_line(
    desk: ExchangeDesk,
) -> None:
    desk.confirm_live(ACCOUNT)
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story", scope=Scope.NODE)
    await start_live(desk.kernel, desk.clock)
    assert desk.state() is EngineState.LATCHED


@pytest.mark.parametrize(
    ("mode", "typed", "words"),
    [
        ("live", "another", "the account is 'px-01', not 'another'"),
        ("paper", "px-01", "nothing to confirm"),
    ],
)
def test_a_wrong_confirmation_opens_nothing(
    mode: Literal["live", "paper"], typed: str, words: str, tmp_path: Path
) -> None:
    configuration = Configuration(engine=EngineSection(mode=mode), node=NodeSection(name=ACCOUNT))
    options = KernelOptions(
        configuration=configuration, data_dir=tmp_path / "data", confirm_live=typed
    )
    with pytest.raises(ConfigurationError, match=words):
        run_headless(options, duration_s=1.0)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("further", [{"simulated": True}, {"replay": Path("recording.csv")}])
def test_a_recording_is_never_traded_live(further: dict[str, Any], tmp_path: Path) -> None:
    configuration = Configuration(engine=EngineSection(mode="live"))
    options = KernelOptions(configuration=configuration, data_dir=tmp_path / "data", **further)
    with pytest.raises(ConfigurationError, match="traded on paper"):
        options.check()


@pytest.mark.allow_log("opened elsewhere|divergence")
@exchange_story(start=False, policy={"max_hold_s": "60"})
async def test_an_account_that_nobody_confirmed_is_read_and_not_touched(
    desk: ExchangeDesk,
) -> None:
    """By hand: a position without a stop, held for too long, and an order that rests."""
    hand = BinanceDesk(exchange=desk.exchange, clock=desk.clock)
    await hand.buy("BTCUSDT", "0.05")
    await hand.buy("ETHUSDT", "1", price="2300")
    before = len(desk.books()["requests"])
    await desk.open()
    await desk.sleep(120.0)
    assert desk.quantity() == Decimal("0.05")
    sent = [str(row["request"]) for row in desk.books()["requests"][before:]]
    assert not [one for one in sent if "listenKey" not in one]
    await desk.go_live()
    # Now it is looked after like any other: here, closed for its age.
    await desk.until(lambda: not desk.quantity(), timeout_s=30)
    await desk.restart()
    assert desk.kernel.parts.mode.is_confirmed


@exchange_story(seeded_policy=True, venues=BOTH)
async def test_the_first_start_takes_its_capital_from_the_wallet(desk: ExchangeDesk) -> None:
    policy = desk.kernel.parts.policy.get_policy()
    assert policy.version == 2
    assert not policy.allow_new_trades
    assert policy.active.min_balance == 50_000
    assert policy.active.max_order_notional == 10_000
    assert policy.active.max_consecutive_losses == 5
    totals = desk.kernel.parts.ledger.totals
    assert (totals.initial, totals.peak, totals.capital) == (100_000, 100_000, 100_000)
    assert desk.gate() == {"new_trades_not_allowed"}
    await desk.restart()
    assert desk.kernel.parts.policy.version == 2


@pytest.mark.allow_log("opened elsewhere|divergence")
@exchange_story(start=False, venues=BOTH)
async def test_what_happened_before_the_first_start_is_in_the_wallet_and_not_booked_again(
    desk: ExchangeDesk,
) -> None:
    """An account with a past: a loss is behind it, a position with its own profit stands."""
    await desk.open()
    await desk.go_live()
    await desk.enter()
    desk.exit()
    await desk.until(lambda: not desk.quantity())
    await desk.enter(Side.BUY, ETH)
    held, stops = desk.quantity(ETH), desk.stops_at_venue()
    await desk.close()
    desk.forget_everything()
    await desk.sleep(120.0)
    desk.prices[ETH] = Decimal(2450)
    desk.exchange.venue.set_price(ETH, Decimal(2450))
    await desk.open()
    totals = desk.kernel.parts.ledger.totals
    assert totals.initial == Decimal(desk.books()["balance"])
    assert (totals.realised, totals.fees) == (0, 0)
    assert desk.quantity(ETH) == held
    assert desk.kernel.parts.ledger.drawdown == 0
    assert desk.kernel.parts.stop.is_latched() is False
    # The stop of the last engine protects it, and its id is none that this one would use.
    assert desk.stops_at_venue() == stops
    await desk.go_live()
    await desk.enter(Side.BUY, BTC)
    ids = [row["client_id"] for row in desk.books()["orders"]]
    assert len(ids) == len(set(ids))
