"""Funding on paper: paid by the venue's own books, booked by ours as funding, equal to the last
decimal.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.model.config import PaperSection
from engine.model.events import TradeClosed, WalletMoved
from engine.model.values import Side
from engine.runtime import SimClock, run_simulated
from tests.desk import BTC, START_NS, Desk, venue_rows
from tests.public_desk import PublicDesk, public_story

# Half a minute before the first funding time of the day.
_LATE_NS = START_NS + (8 * 3600 - 30) * 1_000_000_000
_PRICE = Decimal(60_000)


def _late_story(tell: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A story that begins shortly before a funding time, at a configured rate."""

    async def play(clock: SimClock, folder: Path, **arguments: object) -> None:
        desk = Desk(clock=clock, folder=folder)
        configuration = desk.options.configuration
        paper = replace(configuration.paper, funding=Decimal("0.0003"))
        desk.options = dataclasses.replace(
            desk.options, configuration=replace(configuration, paper=paper)
        )
        await desk.open()
        try:
            await tell(desk, **arguments)
            await desk.assert_sound()
        finally:
            await desk.close()

    @functools.wraps(tell)
    def test(tmp_path: Path, **arguments: object) -> None:
        run_simulated(lambda clock: play(clock, tmp_path, **arguments), start_ns=_LATE_NS)

    # What pytest asks for is what the story asks for, but for the desk.
    asked = inspect.signature(tell).parameters.values()
    own = [inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        own + [each for each in asked if each.name != "desk"]
    )
    return test


def _booked(desk: Desk) -> Decimal:
    return desk.kernel.parts.ledger.account().funding


def test_nothing_is_paid_unless_configured() -> None:
    assert PaperSection().funding == 0


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@_late_story
async def test_longs_pay_and_shorts_get_and_both_books_say_the_same(desk: Desk, side: Side) -> None:
    await desk.enter(side)
    quantity = desk.quantity()
    before = desk.kernel.parts.ledger.account().balance
    await desk.sleep(100.0)  # Over the time, and over the next look at the wallet.
    paid = -(quantity * _PRICE * Decimal("0.0003")).quantize(Decimal("1E-8"))
    assert paid * side.sign < 0
    assert _booked(desk) == paid
    assert desk.kernel.parts.ledger.account().balance == before + paid
    (moved,) = desk.heard(WalletMoved)
    assert (moved.kind, moved.symbol, moved.amount) == ("funding", BTC, paid)
    assert len(venue_rows(desk.data_dir, "SELECT * FROM fills")) == 1, "funding is not a fill"
    desk.exit()
    await desk.until(lambda: not desk.quantity())
    (closed,) = desk.heard(TradeClosed)
    assert closed.funding == paid, "it stays with its trade"


@_late_story
async def test_funding_paid_while_nobody_looked_is_booked_once_by_the_next_engine(
    desk: Desk,
) -> None:
    await desk.enter()
    sql = "SELECT amount FROM fundings"
    await desk.until(lambda: venue_rows(desk.data_dir, sql), timeout_s=40)
    assert _booked(desk) == 0, "the wallet is looked at each minute"
    await desk.restart()
    ((amount,),) = venue_rows(desk.data_dir, sql)
    assert _booked(desk) == Decimal(amount) < 0
    await desk.sleep(70.0)
    await desk.restart()
    assert _booked(desk) == Decimal(amount)


@_late_story
async def test_a_summary_right_after_a_funding_time_is_balanced(desk: Desk) -> None:
    await desk.enter()
    await desk.until(lambda: venue_rows(desk.data_dir, "SELECT * FROM fundings"), timeout_s=40)
    summary = await desk.kernel.summary()
    assert summary["ok"]
    assert Decimal(summary["books"]["funding"]) < 0


@public_story(policy={"max_hold_s": "0"})
async def test_at_an_exchanges_prices_its_rate_is_paid_at_its_time(desk: PublicDesk) -> None:
    market = desk.exchange.venue.markets[BTC]
    market.funding_rate = Decimal("-0.00021")
    await desk.enter()
    wait_s = (desk.exchange.venue.next_funding_ns(BTC) - desk.clock.now_ns()) / 1e9
    # The venue's own hours would take a while to play: its next time is told to be soon.
    assert wait_s > 60
    due_ns = desk.clock.now_ns() + 3_000_000_000
    desk.kernel.parts.market.on_funding(BTC, Decimal("-0.00021"), due_ns)
    await desk.sleep(70.0)
    ((rate, told_ns, amount),) = venue_rows(
        desk.data_dir, "SELECT rate, due_ns, amount FROM fundings"
    )
    assert (Decimal(rate), told_ns) == (Decimal("-0.00021"), due_ns)
    assert _booked(desk) == Decimal(amount) > 0, "at a negative rate longs get"
