"""Stories of the emergency stop on the real kernel: trips, restarts, reset, START."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from engine.api import CommandResult
from engine.model import events as ev
from engine.model.emergency import EmergencyState, ResetRequest, TripSource
from engine.model.orders import OrderPurpose
from engine.model.snapshots import EngineState
from engine.model.values import Side
from engine.venues.paper.faults import Fault
from tests.desk import BTC, ETH, Desk, story

# A position of twice the equity, with its stop out of the way: five per cent of price are ten of
# equity.
_BOLD = {
    "profile": "aggressive",
    "aggressive.max_gross_exposure": "4",
    "aggressive.protective_stop": "0.2",
    "aggressive.allow_naked": "true",
    "aggressive.max_daily_loss": "0.5",
    "aggressive.governor.soft": "0.3",
    "aggressive.governor.quarantine": "0.35",
    "aggressive.governor.hard": "0.4",
}


def _stop(desk: Desk) -> EmergencyState:
    return desk.kernel.parts.stop.snapshot().state


async def _flat(desk: Desk) -> None:
    await desk.until(lambda: _stop(desk) is EmergencyState.FLAT, timeout_s=60)
    assert desk.venue_positions() == {}
    assert desk.open_at_venue() == []


def _acknowledge_all(desk: Desk) -> list[str]:
    return [a.id for a in desk.kernel.parts.alarms.snapshot() if a.state == "new"]


async def _request(desk: Desk, **changes: object) -> ResetRequest:
    """A reset that has everything."""
    for alarm in _acknowledge_all(desk):
        await desk.kernel.client.acknowledge_alarm(alarm)
    stop = desk.kernel.parts.stop
    request = ResetRequest(
        cause="drill",
        reason="the story goes on",
        clear=tuple(trip.id for trip in stop.trips),
        rebase=desk.kernel.client._reset.would_trip_again(),
    )
    return msgspec.structs.replace(request, **changes)


@story(policy=_BOLD)
@pytest.mark.allow_log("")
async def test_the_soft_limit_holds_entries_until_the_loss_is_less(desk: Desk) -> None:
    """Goal: told once, positions kept, entries held, and released below the line less 0.5 %."""
    await desk.enter()
    ledger = desk.kernel.parts.ledger
    price = desk.market.prices[BTC]
    while not desk.heard(ev.DrawdownSoftBreach):
        price -= 60
        desk.market.move(BTC, price)
        assert ledger.account().drawdown < Decimal("0.06")
        await desk.sleep(0.2)
    assert not desk.kernel.parts.stop.is_latched()
    await desk.until(lambda: "drawdown_soft" in desk.gate())
    desk.signal(Side.BUY, ETH)
    await desk.until(lambda: desk.heard(ev.SignalBlocked))
    # Back above the line less half a per cent: entries are allowed again, and a new fall is told.
    desk.market.move(BTC, price + 600)
    await desk.until(lambda: not desk.gate())
    (soft,) = desk.heard(ev.DrawdownSoftBreach)
    assert soft.threshold == Decimal("0.05") <= soft.drawdown
    assert desk.quantity() > 0


@story(policy=_BOLD)
@pytest.mark.allow_log("")
async def test_the_hard_limit_flattens_and_latches(desk: Desk) -> None:
    await desk.enter()
    price = desk.market.prices[BTC]
    worst = Decimal(0)
    while not desk.kernel.parts.stop.is_latched():
        assert worst < Decimal("0.10"), "beyond the limit and not tripped"
        price -= 60
        desk.market.move(BTC, price)
        await desk.sleep(0)
        await desk.sleep(0.1)
        worst = desk.kernel.parts.ledger.account().drawdown
        assert price > 50_000
    await _flat(desk)
    await desk.sleep(120)
    (hard,) = desk.heard(ev.DrawdownHardBreach)
    assert hard.drawdown >= hard.threshold == Decimal("0.10")
    assert len(desk.heard(ev.DrawdownSoftBreach)) == 1
    assert [t.source for t in desk.kernel.parts.stop.trips] == [TripSource.DRAWDOWN]
    tripped = [e for e in desk.heard(ev.CircuitBreakerTriggered) if e.metric == "drawdown"]
    assert len(tripped) == 1
    assert desk.state() is EngineState.LATCHED


@story()
@pytest.mark.allow_log("")
async def test_a_pressed_stop_survives_restarts_and_a_reset_starts_nothing(desk: Desk) -> None:
    """Goal: latched over restarts; reset needs its conditions; then READY until START."""
    await desk.enter()
    await desk.enter(Side.SELL, ETH)
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story")
    desk.signal(Side.BUY)
    await _flat(desk)
    sent = desk.entries_at_venue()
    for _ in range(2):
        await desk.restart()
        assert desk.kernel.parts.stop.is_latched()
        assert desk.state() is EngineState.LATCHED
        desk.signal(Side.BUY)
        await desk.sleep(20)
        assert desk.entries_at_venue() == sent
    assert (await desk.kernel.client.start(reason="story")).ok is False
    assert (await desk.kernel.client.resume(reason="story")).ok is False
    await _flat(desk)
    answer = await desk.kernel.client.reset(await _request(desk))
    assert answer.ok, answer
    assert not desk.kernel.parts.stop.is_latched()
    assert desk.state() is EngineState.READY
    for _ in range(60):
        desk.signal(Side.BUY)
        await desk.sleep(10)
    assert desk.entries_at_venue() == sent, "a reset must start nothing"
    assert {"not_running"} <= set(desk.heard(ev.SignalBlocked)[-1].reason_codes)
    await desk.restart()
    assert desk.state() is EngineState.READY, "START is needed after a restart too"
    desk.signal(Side.BUY)
    await desk.sleep(10)
    assert desk.entries_at_venue() == sent
    assert (await desk.kernel.client.start(reason="story")).ok
    await desk.enter()
    assert desk.entries_at_venue() == sent + 1
    await desk.restart()
    assert desk.state() is EngineState.RUNNING


def _unmet(answer: CommandResult) -> set[str]:
    assert not answer.ok
    return {entry.condition for entry in answer.unmet}


@story()
@pytest.mark.allow_log("")
async def test_each_condition_of_a_reset_is_needed(desk: Desk) -> None:
    """Goal: each condition unmet once, alone; the latch stays shut every time."""
    await desk.enter()
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story")
    client, parts = desk.kernel.client, desk.kernel.parts
    unmet = _unmet(await client.reset(await _request(desk)))
    assert {"positions_zero", "orders_zero"} <= unmet
    await _flat(desk)
    assert "links_up" in _unmet(await client.reset(await _request(desk)))  # Not yet 5 s.
    await desk.sleep(6)
    good = await _request(desk)
    cases: dict[str, Callable[[], ResetRequest]] = {
        "trips_named": lambda: msgspec.structs.replace(good, clear=()),
        "cause": lambda: msgspec.structs.replace(good, reason=" "),
    }
    for condition, request in cases.items():
        assert _unmet(await client.reset(request())) == {condition}
        assert parts.stop.is_latched()
    desk.market.silent = True
    await desk.sleep(6)
    assert _unmet(await client.reset(await _request(desk))) == {"links_up"}
    desk.market.silent = False
    await desk.sleep(2)
    parts.venue.disconnect_stream("story")
    assert "links_up" in _unmet(await client.reset(await _request(desk)))
    parts.venue.reconnect_stream()
    assert "links_up" in _unmet(await client.reset(good)), "it must have been up for a while"
    await desk.sleep(6)
    parts.alarms.raise_alarm("INVARIANT_BROKEN", "story", key="story")
    assert _unmet(await client.reset(good)) == {"alarms_acknowledged"}
    assert parts.stop.is_latched()
    parts.alarms.clear_alarm("INVARIANT_BROKEN", key="story")
    parts.storage.writer._set_health("disk full, says the story")
    assert _unmet(await client.reset(await _request(desk))) == {"database"}
    parts.storage.writer._set_health("")
    assert (await client.reset(await _request(desk))).ok


@story(policy=_BOLD)
@pytest.mark.allow_log("")
async def test_a_measure_that_would_trip_again_is_rebased_by_name(desk: Desk) -> None:
    await desk.enter()
    price = desk.market.prices[BTC]
    while not desk.kernel.parts.stop.is_latched():
        price -= 60
        desk.market.move(BTC, price)
        await desk.sleep(0.2)
    await _flat(desk)
    await desk.sleep(5)
    without = await _request(desk, rebase=())
    assert _unmet(await desk.kernel.client.reset(without)) == {"measures"}
    answer = await desk.kernel.client.reset(await _request(desk))
    assert answer.ok
    assert "peak" in answer.rebased
    account = desk.kernel.parts.ledger.account()
    assert account.drawdown == 0
    assert account.peak == account.equity
    await desk.sleep(60)
    assert not desk.kernel.parts.stop.is_latched(), "it tripped again by itself"


@story()
@pytest.mark.allow_log("")
async def test_held_entries_stay_held_over_a_restart(desk: Desk) -> None:
    await desk.enter()
    assert (await desk.kernel.client.halt(reason="lunch")).ok
    await desk.restart()
    assert desk.state() is EngineState.HALTED
    assert desk.kernel.parts.mode.halted_why == "lunch"
    assert desk.protected(), "the position keeps its stop"
    desk.signal(Side.BUY, ETH)
    await desk.sleep(10)
    assert desk.entries_at_venue() == 1
    assert (await desk.kernel.client.resume(reason="back")).ok
    await desk.enter(Side.BUY, ETH)
    await desk.restart()
    assert desk.state() is EngineState.RUNNING


@story()
@pytest.mark.allow_log("")
async def test_a_stop_while_an_entry_is_on_its_way_ends_flat(desk: Desk) -> None:
    """Goal: the late fill of an entry that was on the wire at the press is closed too."""
    desk.kernel.parts.venue.faults.script("place", Fault.HANG)
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.kernel.parts.venue.faults.hanging == 1)
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story")
    await desk.sleep(0.5)
    desk.kernel.parts.venue.faults.release()
    await desk.until(lambda: desk.order_of(signal) is not None)
    await desk.sleep(8)
    await _flat(desk)
    assert not desk.orders(OrderPurpose.PROTECTIVE_STOP)
