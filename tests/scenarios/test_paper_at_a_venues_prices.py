"""Paper trading on an exchange's public streams: its contracts, its prices, and what it misses."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.events import AccountEquityUpdated, MarketMark, MarketStreamChanged, MarketTick
from engine.model.snapshots import EngineState, LinkSnapshot, LinkState
from engine.model.values import Side
from tests.desk import BTC
from tests.public_desk import PublicDesk, public_story
from tests.simulators.faults import Fault


@public_story()
async def test_an_entry_fills_at_the_exchanges_quote_in_the_exchanges_contract(
    desk: PublicDesk,
) -> None:
    market = desk.exchange.venue.markets[BTC]
    await desk.enter()
    (fill,) = await desk.kernel.parts.venue.reads.executions(since_ns=0)
    best = market.best(Side.BUY)
    assert best is not None
    ask = best[0]
    # Beyond the quote lies only the impact of this size, which the configuration has.
    assert ask <= fill.price < ask * Decimal("1.0001")
    assert fill.quantity % market.contract.quantity_step == 0
    listed = desk.kernel.parts.venue.instrument(BTC)
    assert listed.tick_size == market.contract.tick_size
    assert listed.quantity_step == market.contract.quantity_step
    assert desk.kernel.parts.feed.name.endswith(" (testnet) public streams")


@public_story()
async def test_ticks_and_marks_carry_the_venues_time_beside_ours(desk: PublicDesk) -> None:
    await desk.sleep(2.0)
    for kind in (MarketTick, MarketMark):
        told = desk.heard(kind)
        assert {each.symbol for each in told} == set(desk.prices)
        assert all(0 < each.venue_ns <= each.ts_ns for each in told)


def _data_link(desk: PublicDesk) -> LinkSnapshot:
    return next(each for each in desk.kernel.client.snapshot().links if each.name == "data")


@public_story()
async def test_lost_streams_shut_the_gate_until_they_are_back_and_each_gap_is_told(
    desk: PublicDesk,
) -> None:
    assert desk.gate() == set()
    desk.inject(kind=Fault.CUT_STREAMS)
    await desk.until(lambda: "market_stream_down" in desk.gate())
    link = _data_link(desk)
    assert link.state is LinkState.DOWN
    assert ": " in link.cause, "which connection, and why"
    await desk.until(lambda: desk.gate() == set())
    link = _data_link(desk)
    assert (link.state, link.cause) == (LinkState.UP, "")
    assert link.detail.startswith("reconnected ")
    lost = [each for each in desk.heard(MarketStreamChanged) if not each.connected]
    back = [each for each in desk.heard(MarketStreamChanged) if each.gap_s]
    assert {each.stream for each in lost} == {each.stream for each in back}
    assert all(each.cause for each in lost)
    assert all(1.0 <= each.gap_s <= 1.3 for each in back)
    desk.signal()
    await desk.until(lambda: desk.protected())


@public_story()
async def test_a_position_whose_stream_is_silent_is_marked_by_request(desk: PublicDesk) -> None:
    await desk.enter()
    desk.inject(kind=Fault.SILENCE, seconds=600)
    desk.events.clear()
    desk.move("59000")
    await desk.sleep(3.5)
    assert not desk.heard(MarketTick), "the streams are silent"
    assert not desk.kernel.parts.mark_watch.blind
    assert desk.heard(AccountEquityUpdated)[-1].unrealised < 0
    assert desk.kernel.parts.venue.last_marks()[BTC] == 59000


@public_story(symbols=("BTCUSDT", "NOSUCHUSDT"), start=False)
@pytest.mark.allow_log("does not trade NOSUCHUSDT")
async def test_a_contract_that_is_not_listed_leaves_the_engine_in_standby_and_says_so(
    desk: PublicDesk,
) -> None:
    await desk.build()
    await desk.kernel.start()
    assert desk.state() is EngineState.STANDBY
    assert "NOSUCHUSDT" in desk.kernel.parts.mode.why


@public_story(start=False)
@pytest.mark.allow_log("refuses connections")
async def test_an_exchange_that_cannot_be_reached_is_waited_for(desk: PublicDesk) -> None:
    desk.line.fail(refuses=True)
    await desk.build()
    await desk.kernel.start()
    assert desk.state() is EngineState.STANDBY
    desk.line.mend()
    await desk.until(lambda: desk.state() is EngineState.RUNNING, timeout_s=30)
    await desk.until(lambda: len(desk.kernel.parts.market.ages_s()) == 2, timeout_s=30)
    await desk.enter()
