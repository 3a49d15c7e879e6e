"""The drawdown breaker: at the limit and not before, once a crossing, trip first."""

from __future__ import annotations

import timeit
from decimal import Decimal

import pytest

from engine.model.emergency import TripSource
from engine.model.events import CircuitBreakerTriggered, DrawdownHardBreach, DrawdownSoftBreach
from engine.model.policy import Profile, replace_value
from engine.risk import DrawdownBreaker, DrawdownState
from engine.runtime import IdSource, SimClock, Stamper
from tests.fakes.risk_facts import BTC, NOW_NS, PROFILE, Recorder

D = Decimal
PEAK = D(100_000)
# The daily loss has its own tests; here the day is wide open.
WIDE = replace_value(PROFILE, "max_daily_loss", D("0.5"))


class Desk:
    def __init__(self, profile: Profile = WIDE) -> None:
        self.profile = profile
        self.seen = Recorder()
        clock = SimClock(start_ns=NOW_NS)
        self.breaker = DrawdownBreaker(
            profile=lambda: self.profile,
            trip=self.seen.trip,
            emit=self.seen.emit,
            stamp=Stamper(clock=clock, ids=IdSource(seed=1), source="risk"),
        )

    def equity(self, equity: str, *, peak: Decimal = PEAK, day_start: Decimal = PEAK) -> None:
        self.breaker.on_equity(D(equity), peak, day_start)


def test_drawdown_is_unknown_until_an_equity_was_seen() -> None:
    desk = Desk()
    assert (desk.breaker.state, desk.breaker.drawdown) == (DrawdownState.UNKNOWN, None)
    desk.equity("100000")
    assert (desk.breaker.state, desk.breaker.drawdown) == (DrawdownState.NORMAL, D(0))


def test_hard_limit_trips_exactly_at_it_once_and_trips_first() -> None:
    desk = Desk()
    desk.equity("90000.01")
    assert desk.seen.trips == []
    desk.equity("90000")
    desk.equity("89000")
    assert [source for source, _ in desk.seen.trips] == [TripSource.DRAWDOWN]
    assert "10.00 %" in desk.seen.trips[0][1]
    assert desk.seen.order == [
        "risk.drawdown.soft_breach",
        "trip",
        "risk.circuit_breaker.triggered",
        "risk.drawdown.hard_breach",
    ]
    breach = desk.seen.events[-1]
    assert isinstance(breach, DrawdownHardBreach)
    assert (breach.drawdown, breach.threshold) == (D("0.1"), D("0.1"))
    assert desk.breaker.state is DrawdownState.HARD


def test_a_subscriber_that_raises_does_not_prevent_the_trip() -> None:
    desk = Desk()

    def broken(_event: object) -> None:
        raise RuntimeError("a broken subscriber")

    desk.breaker._emit = broken
    with pytest.raises(RuntimeError):
        desk.equity("80000")
    assert len(desk.seen.trips) == 1


def test_soft_limit_is_told_once_and_ends_half_a_percent_below() -> None:
    desk = Desk()
    for equity in ("95000", "95400", "94900", "95500"):  # 5 %, 4.6, 5.1, 4.5: not below 4.5.
        desk.equity(equity)
        assert desk.breaker.state is DrawdownState.SOFT
    assert [type(event) for event in desk.seen.events] == [DrawdownSoftBreach]
    desk.equity("95500.01")
    assert desk.breaker.state is DrawdownState.NORMAL
    desk.equity("95000")
    assert len(desk.seen.events) == 2


def test_soft_breach_ends_by_a_rebase_of_the_peak() -> None:
    desk = Desk()
    desk.equity("94000")
    desk.equity("94000", peak=D(94_000))
    assert desk.breaker.state is DrawdownState.NORMAL


def test_after_a_reset_what_is_still_beyond_its_limit_trips_again() -> None:
    desk = Desk()
    desk.equity("89000")
    desk.breaker.rearm()
    desk.equity("89000")
    assert len(desk.seen.trips) == 2


def test_the_limit_is_the_policys_at_the_moment_of_the_check() -> None:
    desk = Desk()
    desk.equity("97000")
    assert desk.seen.events == []
    desk.profile = replace_value(
        replace_value(WIDE, "drawdown_soft", D("0.01")), "drawdown_hard", D("0.03")
    )
    desk.equity("97000")
    assert [source for source, _ in desk.seen.trips] == [TripSource.DRAWDOWN]


def test_daily_loss_trips_from_the_days_start() -> None:
    desk = Desk(PROFILE)
    desk.equity("104500.01", peak=D(110_000), day_start=D(110_000))
    assert desk.seen.trips == []
    desk.equity("104500", peak=D(110_000), day_start=D(110_000))
    assert [source for source, _ in desk.seen.trips] == [TripSource.DAILY_LOSS]
    assert desk.breaker.daily_loss == D("0.05")
    event = desk.seen.events[-1]
    assert isinstance(event, DrawdownSoftBreach | CircuitBreakerTriggered)


def test_minimum_balance_trips_below_it() -> None:
    desk = Desk()
    desk.equity("50000", peak=D(50_000), day_start=D(50_000))
    assert desk.seen.trips == []
    desk.equity("49999.99", peak=D(50_000), day_start=D(50_000))
    assert [source for source, _ in desk.seen.trips] == [TripSource.MIN_BALANCE]


def test_loss_streak_trips_once_and_zero_is_off() -> None:
    desk = Desk()
    desk.breaker.on_loss_streak(50)
    assert desk.seen.trips == []
    desk.profile = replace_value(WIDE, "max_consecutive_losses", 5)
    for losses in (4, 5, 6, 0, 5):
        desk.breaker.on_loss_streak(losses)
    assert [source for source, _ in desk.seen.trips] == [TripSource.LOSS_STREAK] * 2


def test_lost_capital_is_a_drawdown_of_one() -> None:
    desk = Desk()
    desk.equity("-5", peak=D(0), day_start=D(0))
    assert desk.breaker.drawdown == D(1)
    assert {source for source, _ in desk.seen.trips} == {
        TripSource.DRAWDOWN,
        TripSource.DAILY_LOSS,
        TripSource.MIN_BALANCE,
    }


def test_blind_means_unknown_and_ends_with_a_price() -> None:
    desk = Desk()
    desk.equity("99000")
    desk.breaker.set_blind(frozenset({BTC}))
    assert (desk.breaker.state, desk.breaker.drawdown) == (DrawdownState.UNKNOWN, None)
    desk.breaker.set_blind(frozenset())
    assert desk.breaker.state is DrawdownState.NORMAL


def test_what_would_trip_again_is_named() -> None:
    desk = Desk(replace_value(PROFILE, "max_consecutive_losses", 3))
    named = desk.breaker.would_trip(equity=D(49_000), peak=PEAK, day_start=D(100_000), losses=3)
    assert named == ("peak", "day", "streak", "min_balance")
    assert desk.breaker.would_trip(equity=PEAK, peak=PEAK, day_start=PEAK, losses=0) == ()


def test_a_check_costs_less_than_eight_microseconds() -> None:
    """Or, on a machine that is busy elsewhere, not much more than its arithmetic done bare."""
    desk = Desk()
    equities = [D("99123.456789") - D(number % 97) / 7 for number in range(200)]
    rounds = range(4_000)

    def check() -> None:
        for number in rounds:
            desk.breaker.on_equity(equities[number % 200], PEAK, PEAK)

    def bare() -> None:
        for number in rounds:
            loss = (PEAK - equities[number % 200]) / PEAK
            assert loss < WIDE.drawdown_soft
            assert (PEAK - equities[number % 200]) / PEAK < WIDE.max_daily_loss

    checked_us, bare_us = (
        min(timeit.repeat(work, number=1, repeat=5)) / len(rounds) * 1e6 for work in (check, bare)
    )
    assert desk.seen.trips == []
    assert checked_us < max(8.0, 8 * bare_us), f"{checked_us:.2f} µs, bare {bare_us:.2f} µs"
