"""The venue's own dead-man's switch, kept wound by a live engine: orders only, and never a stop's.

Stories on simulated time, on simulated exchanges.
"""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from engine.kernel.dead_man import COUNTDOWN_S, RENEW_S
from engine.model.ids import Symbol
from engine.model.ticket import Ticket
from engine.model.values import Side
from tests.desk import BTC, ETH
from tests.venue_desk import ExchangeDesk, exchange_story

_COUNTDOWN = "POST /fapi/v1/countdownCancelAll"


async def _rest(desk: ExchangeDesk, price: str, symbol: Symbol = BTC) -> str:
    """An entry that waits in the book; its id at the venue."""
    before = set(desk.open_at_venue())
    ticket = Ticket(symbol=symbol, side=Side.BUY, quantity=Decimal("0.1"), price=Decimal(price))
    result = await desk.kernel.client.submit(ticket, author="story", reason="rest")
    assert result.ok, (result.message, result.reasons)
    await desk.until(lambda: set(desk.open_at_venue()) - before)
    (identifier,) = set(desk.open_at_venue()) - before
    return identifier


def _counted(desk: ExchangeDesk) -> list[str]:
    """What was asked of the countdown, in order."""
    return [str(row["parameters"]) for row in desk.sent(_COUNTDOWN)]


@pytest.mark.allow_log("no answer within")  # Of the engine whose line is dead.
@exchange_story()
async def test_an_entry_that_rests_is_watched_and_cancelled_when_the_engine_is_gone(
    desk: ExchangeDesk,
) -> None:
    entry = await _rest(desk, "59500")
    await desk.until(lambda: len(_counted(desk)) == 1)
    await desk.sleep(3 * RENEW_S)
    assert len(_counted(desk)) >= 3
    assert desk.open_at_venue() == [entry]
    safeguard = desk.kernel.client.safeguards()["dead_man_switch"]
    assert safeguard.state == "ACTIVE"
    assert safeguard.proof == "orders only, wound for BTCUSDT"
    assert safeguard.proof_age_s is not None
    assert safeguard.proof_age_s <= RENEW_S + 1
    desk.line.die()  # The process is gone: nothing leaves any more.
    await desk.sleep(COUNTDOWN_S + 1)
    assert desk.open_at_venue() == []
    desk.new_line()
    await desk.restart()
    await desk.until(lambda: not desk.orders())


@exchange_story()
async def test_a_fill_stops_the_count_before_it_could_take_the_stop_along(
    desk: ExchangeDesk,
) -> None:
    await _rest(desk, "59500")
    await desk.until(lambda: len(_counted(desk)) == 1)
    desk.market.move(BTC, "59400")
    await desk.until(lambda: desk.protected(BTC))
    await desk.until(lambda: "countdownTime=0" in _counted(desk)[-1])
    asked = len(_counted(desk))
    await desk.sleep(COUNTDOWN_S + 5)
    assert len(desk.stops_at_venue()) >= 1
    assert len(_counted(desk)) == asked
    assert desk.kernel.parts.dead_man.state().armed == ()


@exchange_story(policy={"max_position_notional": "20000"})
async def test_an_entry_beside_a_position_is_not_watched_and_it_is_said(desk: ExchangeDesk) -> None:
    await desk.enter(Side.BUY, ETH)
    await _rest(desk, "2450", ETH)
    await desk.sleep(5.0)
    assert _counted(desk) == []
    state = desk.kernel.parts.dead_man.state()
    assert state.held_off == (ETH,)
    proof = desk.kernel.client.safeguards()["dead_man_switch"].proof
    assert proof == "orders only; not for ETHUSDT: it could take a stop along"
    assert desk.kernel.client.snapshot().dead_man == state


@pytest.mark.allow_log("dead-man")
@exchange_story()
async def test_a_count_that_cannot_be_begun_is_said_and_tried_again(desk: ExchangeDesk) -> None:
    desk.inject(on=_COUNTDOWN, kind="error", answer="unavailable_503", times=3)
    await _rest(desk, "59500")
    await desk.until(lambda: desk.kernel.parts.dead_man.state().failed)
    assert desk.kernel.client.safeguards()["dead_man_switch"].state == "INACTIVE"
    await desk.until(lambda: desk.kernel.parts.dead_man.state().armed, timeout_s=20)
    assert desk.kernel.client.safeguards()["dead_man_switch"].state == "ACTIVE"


@exchange_story(venues=("binance", "bybit"))
async def test_the_status_says_how_near_the_rate_limits_are(desk: ExchangeDesk) -> None:
    await desk.enter()
    safeguard = desk.kernel.client.safeguards()["rate_limits"]
    assert safeguard.state == "ACTIVE"
    assert re.fullmatch(r"\d+ of \d+ in \S.*, 0 wait", safeguard.proof)


@exchange_story(venue="bybit")
async def test_where_it_is_not_to_be_had_it_is_said(desk: ExchangeDesk) -> None:
    safeguard = desk.kernel.client.safeguards()["dead_man_switch"]
    assert safeguard.state == "UNAVAILABLE"
    assert safeguard.why.startswith("not to be had: Bybit")
