"""Live money and time: what moves the wallet beside trades, and a venue whose clock is another.

Stories on simulated time, on a simulated Binance.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.model.events import WalletMoved
from engine.model.reasons import ReasonCode
from engine.model.snapshots import EngineState
from engine.model.venue import VenueBalance
from engine.ports import AccountReads
from tests.desk import BTC
from tests.venue_desk import ExchangeDesk, exchange_story


@exchange_story(venues=("binance", "bybit"))
async def test_funding_and_transfers_are_booked_once_and_outlive_a_restart(
    desk: ExchangeDesk,
) -> None:
    await desk.enter()
    ledger = desk.kernel.parts.ledger
    desk.exchange.venue.settle_funding(BTC, Decimal("0.0001"))
    desk.exchange.venue.transfer(Decimal(50_000))
    await desk.until(lambda: len(desk.heard(WalletMoved)) == 2, timeout_s=130)
    totals = ledger.totals
    assert totals.funding == -desk.quantity() * 60_000 * Decimal("0.0001")
    assert totals.transfers == 50_000
    assert ledger.account().balance == Decimal(desk.books()["balance"])
    # A deposit is no profit: the drawdown is what it was, from a higher peak.
    assert ledger.peak > 149_000
    assert ledger.drawdown < Decimal("0.01")
    (trade,) = ledger.open_trades()
    assert trade.funding == totals.funding
    await desk.restart()
    again = desk.kernel.parts.ledger
    await desk.sleep(130.0)
    assert (again.totals.funding, again.totals.transfers) == (totals.funding, totals.transfers)
    assert again.open_trades()[0].funding == totals.funding


@exchange_story(venues=("binance", "bybit"))
async def test_a_balance_that_nothing_explains_is_an_alarm_with_both_figures(
    desk: ExchangeDesk,
) -> None:
    account = desk.exchange.venue.account
    account.balance -= Decimal("12.5")
    await desk.until(
        lambda: any(
            alarm.code == "LEDGER_DIFFERS" for alarm in desk.kernel.parts.alarms.snapshot()
        ),
        timeout_s=200,
    )
    (alarm,) = [one for one in desk.kernel.parts.alarms.snapshot() if one.code == "LEDGER_DIFFERS"]
    assert "ours 100000" in alarm.text
    assert "the venue's 99987.5" in alarm.text
    account.balance += Decimal("12.5")


class _WithAnotherWallet:
    """The venue's reads, with a wallet in BNB beside the account's own."""

    def __init__(self, reads: AccountReads) -> None:
        self._reads = reads
        self.bnb = Decimal(2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reads, name)

    async def balances(self) -> tuple[VenueBalance, ...]:
        own = await self._reads.balances()
        kept = [each for each in own if each.currency != "BNB"]
        return (*kept, VenueBalance(currency="BNB", balance=self.bnb))


@exchange_story(venues=("binance", "bybit"))
async def test_another_assets_wallet_is_compared_in_that_asset(desk: ExchangeDesk) -> None:
    parts = desk.kernel.parts
    reconciliation, ledger = parts.execution.reconciliation, parts.ledger
    reads = _WithAnotherWallet(reconciliation._reads)
    reconciliation._reads = reads
    await reconciliation.run()
    assert ledger.totals.wallets_elsewhere["BNB"] == 2
    ledger.move_wallet("BNB", Decimal("-0.5"))  # A withdrawal that was listed,
    for _ in range(2):
        await reconciliation.run()
    assert reconciliation.balance_gap == "BNB: ours 1.5, the venue's 2"
    reads.bnb = Decimal("1.5")  # and then seen.
    await reconciliation.run()
    assert reconciliation.balance_gap == ""


@exchange_story(venues=("binance", "bybit"))
async def test_rounding_of_the_venue_is_no_alarm(desk: ExchangeDesk) -> None:
    account = desk.exchange.venue.account
    account.balance -= Decimal("0.004")
    await desk.sleep(200.0)
    assert desk.kernel.parts.execution.reconciliation.balance_gap == ""
    assert (await desk.kernel.summary())["ok"]
    account.balance += Decimal("0.004")


@exchange_story(venues=("binance", "bybit"))
async def test_a_clock_beyond_half_the_receive_window_shuts_the_gate_and_not_the_exits(
    desk: ExchangeDesk,
) -> None:
    await desk.enter()
    desk.inject(kind="clock_skew", seconds=0.7)
    await desk.until(lambda: ReasonCode.CLOCK_OFFSET.value in desk.gate(), timeout_s=70)
    offset_ms = desk.kernel.parts.venue.clock_offset_ms()
    assert offset_ms is not None
    assert 600 < offset_ms < 800
    desk.exit()
    await desk.until(lambda: not desk.quantity())
    assert desk.state() is EngineState.RUNNING
    desk.inject(kind="clock_skew", seconds=0.0)
    await desk.until(lambda: desk.gate() == set(), timeout_s=70)
