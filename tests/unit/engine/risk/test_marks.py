"""Not fooled by one wild price, not late for a real crash, not blind in silence."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.errors import NotExecuted
from engine.model.ids import Symbol
from engine.risk import MarkFilter, MarkWatch
from engine.runtime import SimClock, run_simulated
from tests.fakes.risk_facts import BTC, ETH, NOW_NS, PROFILE

D = Decimal
MS = 1_000_000


class HandClock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.elapsed_ns = 0

    def now_ns(self) -> int:
        return NOW_NS + self.elapsed_ns

    def monotonic_ns(self) -> int:
        return self.elapsed_ns

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def made() -> tuple[HandClock, MarkFilter]:
    clock = HandClock()
    return clock, MarkFilter(clock=clock, profile=lambda: PROFILE)


def test_ordinary_marks_count_at_once() -> None:
    clock, marks = made()
    for price in ("100", "102", "99.96", "100"):
        assert marks.offer(BTC, D(price), clock.now_ns()) == D(price)


def test_one_wild_mark_never_counts() -> None:
    clock, marks = made()
    marks.offer(BTC, D(100), clock.now_ns())
    assert marks.offer(BTC, D(80), clock.now_ns()) is None
    assert marks.offer(BTC, D(100), clock.now_ns()) == D(100)
    clock.elapsed_ns += 600 * MS
    assert marks.due() == ()
    assert (marks.held_back, marks.refuted) == (1, 1)


def test_a_jump_counts_with_the_next_price_near_it() -> None:
    clock, marks = made()
    marks.offer(BTC, D(100), clock.now_ns())
    assert marks.offer(BTC, D(88), clock.now_ns()) is None
    assert marks.offer(BTC, D("87.5"), clock.now_ns()) == D("87.5")


def test_a_jump_counts_after_half_a_second_by_itself() -> None:
    clock, marks = made()
    marks.offer(BTC, D(100), clock.now_ns())
    marks.offer(BTC, D(88), clock.now_ns())
    clock.elapsed_ns = 499 * MS
    assert marks.due() == ()
    clock.elapsed_ns = 500 * MS
    assert marks.due() == ((BTC, D(88)),)
    assert marks.due() == ()


def test_a_crash_without_two_alike_prices_is_not_put_off() -> None:
    """Every price far from the one before: the first one's half second is enough for all."""
    clock, marks = made()
    marks.offer(BTC, D(100), clock.now_ns())
    counted = []
    for price in (95, 90, 85, 80, 75, 70):
        clock.elapsed_ns += 100 * MS
        counted.append(marks.offer(BTC, D(price), clock.now_ns()))
    assert counted == [None, None, None, None, None, D(70)]


def test_a_stale_mark_waits_to_be_confirmed() -> None:
    clock, marks = made()
    marks.offer(BTC, D(100), clock.now_ns())
    clock.elapsed_ns = 10_000 * MS
    assert marks.offer(BTC, D("99.9"), NOW_NS) is None
    assert marks.offer(BTC, D("99.8"), clock.now_ns()) == D("99.8")


def test_nonsense_never_counts() -> None:
    clock, marks = made()
    assert marks.offer(BTC, D(0), clock.now_ns()) is None
    assert marks.offer(BTC, D(-5), clock.now_ns()) is None
    assert marks.last_counted_ns(BTC) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 400)), min_size=2, max_size=40))
def test_no_mark_waits_longer_than_half_a_second(steps: list[tuple[int, int]]) -> None:
    """What is offered counts, is refuted or replaced within 500 ms, however prices jump."""
    clock, marks = made()
    waiting_since: int | None = None
    for price, wait_ms in steps:
        clock.elapsed_ns += wait_ms * MS
        for _ in marks.due():
            waiting_since = None
        if waiting_since is not None:
            assert clock.elapsed_ns - waiting_since < 500 * MS
        counted = marks.offer(BTC, D(price), clock.now_ns())
        if counted is not None:
            waiting_since = None
        elif waiting_since is None:
            waiting_since = clock.elapsed_ns


class Venue:
    """Gives a mark, says that it cannot, or says nothing."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.price: Decimal | None = D(100)
        self.silent = False
        self.reads: list[int] = []

    async def mark(self, symbol: Symbol) -> Decimal | None:
        self.reads.append(self.clock.monotonic_ns() // MS)
        if self.silent:
            await self.clock.sleep(3_600)
        if self.price is None:
            raise NotExecuted(f"no mark of {symbol}")
        return self.price


class Watched:
    def __init__(self, clock: SimClock) -> None:
        self.open: set[Symbol] = {BTC}
        self.counted: list[tuple[Symbol, Decimal]] = []
        self.changes: list[frozenset[Symbol]] = []
        self.venue = Venue(clock)
        self.marks = MarkFilter(clock=clock, profile=lambda: PROFILE)
        self.watch = MarkWatch(
            clock=clock,
            marks=self.marks,
            open_symbols=lambda: self.open,
            read_mark=self.venue.mark,
            count=lambda symbol, price: self.counted.append((symbol, price)),
            on_blind=self.changes.append,
        )


async def run_for(clock: SimClock, watched: Watched, seconds: float) -> None:
    task = asyncio.get_running_loop().create_task(watched.watch.run())
    await clock.sleep(seconds)
    task.cancel()
    await asyncio.wait({task})


def test_the_venue_is_asked_after_two_seconds_of_silence() -> None:
    async def story(clock: SimClock) -> None:
        watched = Watched(clock)
        await run_for(clock, watched, 6.1)
        assert watched.counted[:2] == [(BTC, D(100)), (BTC, D(100))]
        assert watched.changes == []
        assert 2_000 <= watched.venue.reads[0] <= 2_500

    run_simulated(story, start_ns=NOW_NS)


def test_no_answer_makes_the_drawdown_unknown_until_there_is_one() -> None:
    async def story(clock: SimClock) -> None:
        watched = Watched(clock)
        watched.venue.silent = True
        await run_for(clock, watched, 6.1)
        assert watched.changes == [frozenset({BTC})]
        assert len(watched.venue.reads) >= 3
        watched.venue.silent, watched.venue.price = False, None
        await run_for(clock, watched, 2.0)
        assert watched.watch.blind == {BTC}
        watched.venue.price = D(90)
        await run_for(clock, watched, 2.0)
        assert watched.changes == [frozenset({BTC}), frozenset()]
        assert watched.counted[-1] == (BTC, D(90))

    run_simulated(story, start_ns=NOW_NS)


def test_a_mark_of_the_feed_ends_blindness_and_a_closed_position_needs_none() -> None:
    async def story(clock: SimClock) -> None:
        watched = Watched(clock)
        watched.open = {BTC, ETH}
        watched.venue.price = None
        await run_for(clock, watched, 4.0)
        assert watched.watch.blind == {BTC, ETH}
        watched.marks.offer(BTC, D(100), clock.now_ns())
        watched.open = {BTC}
        await watched.watch.look()
        assert watched.watch.blind == frozenset()

    run_simulated(story, start_ns=NOW_NS)


def test_the_watch_counts_a_jump_that_nobody_confirmed() -> None:
    async def story(clock: SimClock) -> None:
        watched = Watched(clock)
        watched.marks.offer(BTC, D(100), clock.now_ns())
        task = asyncio.get_running_loop().create_task(watched.watch.run())
        await clock.sleep(1.3)
        assert watched.marks.offer(BTC, D(80), clock.now_ns()) is None
        await clock.sleep(0.499)
        assert watched.counted == []
        await clock.sleep(0.002)
        assert watched.counted == [(BTC, D(80))]
        task.cancel()
        await asyncio.wait({task})

    run_simulated(story, start_ns=NOW_NS)
