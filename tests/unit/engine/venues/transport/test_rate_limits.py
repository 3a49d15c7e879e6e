"""Limits on simulated time: nothing is over-admitted, exits pass, nobody waits in a busy loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.errors import InvariantBroken, NotExecuted
from engine.runtime import SimClock, run_simulated
from engine.venues.transport.rate_limits import Lane, PoolLimit, RateLimits

_NS = 1_000_000_000
_START_NS = 1_700_000_000 * _NS
_WEIGHT = PoolLimit(name="weight", limit=2400, window_s=60)
_ORDERS = PoolLimit(name="orders", limit=300, window_s=10)


def _on_limits(
    story: Callable[[SimClock, RateLimits], Awaitable[None]],
    *,
    pools: tuple[PoolLimit, ...] = (_WEIGHT, _ORDERS),
    patience_s: float = 5.0,
) -> None:
    async def body(clock: SimClock) -> None:
        await story(clock, RateLimits(clock=clock, pools=pools, patience_s=patience_s))

    run_simulated(body, start_ns=_START_NS)


def _most_in_a_window(admitted: list[tuple[int, int]], window_ns: int) -> int:
    """The largest cost in any half-open window; one of them begins at an admission."""
    return max(
        (
            sum(cost for at_ns, cost in admitted if start_ns <= at_ns < start_ns + window_ns)
            for start_ns, _ in admitted
        ),
        default=0,
    )


_REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 3_000),  # Milliseconds after the one before.
        st.sampled_from(list(Lane)),
        st.integers(1, 8),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(requests=_REQUESTS, heard=st.lists(st.integers(0, 15), max_size=5))
def test_no_window_ever_admits_more_than_the_limit(
    requests: list[tuple[int, Lane, int]], heard: list[int]
) -> None:
    pool = PoolLimit(name="weight", limit=10, window_s=7)
    admitted: list[tuple[int, int, Lane]] = []

    async def story(clock: SimClock, limits: RateLimits) -> None:
        async def ask(lane: Lane, cost: int) -> None:
            await limits.admit({"weight": cost}, lane)
            admitted.append((clock.monotonic_ns(), cost, lane))

        asking = []
        for number, (after_ms, lane, cost) in enumerate(requests):
            await clock.sleep(after_ms / 1000)
            asking.append(asyncio.ensure_future(ask(lane, cost)))
            if number < len(heard):
                limits.heard("weight", heard[number])
        await asyncio.gather(*asking)
        assert limits.waiting == 0

    _on_limits(story, pools=(pool,), patience_s=1e6)
    assert len(admitted) == len(requests)
    everything = [(at_ns, cost) for at_ns, cost, _ in admitted]
    assert _most_in_a_window(everything, 7 * _NS) <= 10
    planned = [(at_ns, cost) for at_ns, cost, lane in admitted if not lane.is_emergency]
    assert _most_in_a_window(planned, 7 * _NS) <= 8
    but_exits = [(at_ns, cost) for at_ns, cost, lane in admitted if lane is not Lane.EXIT]
    assert _most_in_a_window(but_exits, 7 * _NS) <= 9


@settings(max_examples=100, deadline=None)
@given(
    requests=_REQUESTS,
    exits=st.lists(st.tuples(st.integers(0, 8_000), st.integers(1, 3)), min_size=1, max_size=12),
)
def test_an_exit_never_waits_behind_entries_and_reads(
    requests: list[tuple[int, Lane, int]], exits: list[tuple[int, int]]
) -> None:
    """Whatever else waits, an exit leaves in the moment in which the limit itself has room."""
    pool = PoolLimit(name="weight", limit=10, window_s=7)
    others = [each for each in requests if each[1] is not Lane.EXIT]

    async def story(clock: SimClock, limits: RateLimits) -> None:
        asking = []
        waiting_exits = 0

        async def ask_for_others() -> None:
            for after_ms, lane, cost in others:
                await clock.sleep(after_ms / 1000)
                asking.append(asyncio.ensure_future(limits.admit({"weight": cost}, lane)))

        async def ask_for_exit(cost: int) -> None:
            nonlocal waiting_exits
            asked_ns, has_room = clock.monotonic_ns(), limits.used("weight") + cost <= 10
            is_first = not waiting_exits
            waiting_exits += 1
            await limits.admit({"weight": cost}, Lane.EXIT)
            waiting_exits -= 1
            if has_room and is_first:
                assert clock.monotonic_ns() == asked_ns
            # However full: a window ends, and nobody else takes its room. Each takes at least
            # eight of what exits want, for none of them wants more than three.
            wanted = sum(each for _, each in exits)
            assert clock.monotonic_ns() - asked_ns <= 7 * _NS * (wanted // 8 + 2)

        asking.append(asyncio.ensure_future(ask_for_others()))
        for after_ms, cost in exits:
            await clock.sleep(after_ms / 1000)
            asking.append(asyncio.ensure_future(ask_for_exit(cost)))
        while not all(each.done() for each in asking):
            await asyncio.gather(*asking)

    _on_limits(story, pools=(pool,), patience_s=1e6)


class _Counter:
    """The venue's own count, in windows that begin when its clock says so."""

    def __init__(self, window_s: int, ahead_ns: int) -> None:
        self._window_ns = window_s * _NS
        self._ahead_ns = ahead_ns
        self._number = -1
        self.used = 0

    def count(self, cost: int, utc_ns: int) -> int:
        number = (utc_ns + self._ahead_ns) // self._window_ns
        if number != self._number:
            self._number, self.used = number, 0
        self.used += cost
        return self.used


@settings(max_examples=150, deadline=None)
@given(
    requests=st.lists(
        st.tuples(
            st.integers(0, 4_000), st.integers(1, 5), st.integers(0, 900), st.integers(0, 900)
        ),
        max_size=50,
    ),
    ahead_ms=st.integers(-900, 900),
)
def test_our_own_requests_are_never_taken_for_another_s(
    requests: list[tuple[int, int, int, int]], ahead_ms: int
) -> None:
    """Alone at the address, no header of a venue whose clock is a little wrong adds anything, not
    at the turn of its window either: what was counted twice would be room that an exit lacks.
    """
    pool = PoolLimit(name="weight", limit=10_000, window_s=10)
    venue = _Counter(10, ahead_ms * 1_000_000)
    sent: list[tuple[int, int]] = []

    async def story(clock: SimClock, limits: RateLimits) -> None:
        async def ask(cost: int, there_ms: int, back_ms: int) -> None:
            await limits.admit({"weight": cost}, Lane.READ)
            asked_ns = clock.monotonic_ns()
            sent.append((asked_ns, cost))
            await clock.sleep(there_ms / 1000)
            used = venue.count(cost, clock.now_ns())
            await clock.sleep(back_ms / 1000)
            limits.heard("weight", used, asked_ns=asked_ns)
            now_ns = clock.monotonic_ns()
            ours = sum(cost for at_ns, cost in sent if now_ns - at_ns < 10 * _NS)
            assert limits.used("weight") == ours

        asking = []
        for after_ms, cost, there_ms, back_ms in requests:
            await clock.sleep(after_ms / 1000)
            asking.append(asyncio.ensure_future(ask(cost, there_ms, back_ms)))
        await asyncio.gather(*asking)

    _on_limits(story, pools=(pool,))


def test_what_others_used_is_over_when_the_venue_s_window_is() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        # The story begins 20 s into the venue's minute.
        limits.heard("weight", 2390)
        with pytest.raises(NotExecuted):
            await limits.admit({"weight": 40}, Lane.EXIT)
        await clock.sleep(41)
        assert limits.used("weight") == 0
        await limits.admit({"weight": 40}, Lane.EXIT)

    _on_limits(story)


def test_a_rolling_limit_counts_others_for_one_window() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        for _ in range(3):
            await limits.admit({"order.create": 1}, Lane.ENTRY)
        limits.heard("order.create", 8)
        assert limits.used("order.create") == 8
        with pytest.raises(NotExecuted):
            await limits.admit({"order.create": 1}, Lane.ENTRY)
        for _ in range(2):
            await limits.admit({"order.create": 1}, Lane.EXIT)
        await limits.admit({"order.cancel": 1}, Lane.ENTRY)
        await clock.sleep(1)
        assert limits.used("order.create") == 0

    pools = tuple(
        PoolLimit(name=name, limit=10, window_s=1, is_rolling=True)
        for name in ("order.create", "order.cancel")
    )
    _on_limits(story, pools=pools, patience_s=0.5)


def test_a_stop_s_reads_leave_the_last_of_a_limit_to_its_cancels() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        await limits.admit({"weight": 2280}, Lane.EXIT_READ)
        with pytest.raises(NotExecuted):
            await limits.admit({"weight": 1}, Lane.EXIT_READ)
        for _ in range(120):
            await limits.admit({"weight": 1}, Lane.EXIT)
        assert clock.monotonic_ns() == 0
        # A small limit keeps one place.
        await limits.admit({"small": 9}, Lane.EXIT_READ)
        await limits.admit({"small": 1}, Lane.EXIT)
        assert clock.monotonic_ns() == 0

    _on_limits(story, pools=(_WEIGHT, PoolLimit(name="small", limit=10, window_s=1)))


def test_an_exit_passes_at_once_in_the_middle_of_a_burst_of_2000_reads() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        admitted: list[int] = []

        async def read() -> None:
            await limits.admit({"weight": 1}, Lane.READ)
            admitted.append(clock.monotonic_ns())

        reads = [asyncio.ensure_future(read()) for _ in range(2000)]
        await asyncio.sleep(0)
        assert (len(admitted), limits.waiting) == (1920, 80)
        for _ in range(480):
            await limits.admit({"weight": 1}, Lane.EXIT)
        assert clock.monotonic_ns() == 0
        assert limits.used("weight") == 2400
        wakeups = clock.wakeups
        await asyncio.gather(*reads)
        assert {at_ns for at_ns in admitted} == {0, 60 * _NS}
        # One sleep of the head for all of them: nobody looks again and again.
        assert clock.wakeups - wakeups <= 2

    _on_limits(story, patience_s=60)


def test_those_who_wait_go_by_rank_and_then_by_arrival() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        await limits.admit({"orders": 300}, Lane.EXIT)
        went: list[str] = []

        async def ask(name: str, lane: Lane) -> None:
            await limits.admit({"orders": 240}, lane)
            went.append(name)

        names = [
            ("read 1", Lane.READ),
            ("entry 1", Lane.ENTRY),
            ("read 2", Lane.READ),
            ("exit", Lane.EXIT),
            ("entry 2", Lane.ENTRY),
        ]
        await asyncio.gather(*(ask(name, lane) for name, lane in names))
        assert went == ["exit", "entry 1", "entry 2", "read 1", "read 2"]
        assert clock.monotonic_ns() == 50 * _NS

    _on_limits(story, patience_s=1000)


def test_requests_without_a_pool_in_common_do_not_wait_for_each_other() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        await limits.admit({"orders": 240}, Lane.ENTRY)
        entry = asyncio.ensure_future(limits.admit({"orders": 1}, Lane.ENTRY))
        await asyncio.sleep(0)
        await limits.admit({"weight": 1}, Lane.READ)
        assert clock.monotonic_ns() == 0
        assert not entry.done()
        await entry
        assert clock.monotonic_ns() == 10 * _NS

    _on_limits(story, patience_s=1000)


def test_who_would_wait_for_too_long_is_told_at_once_for_how_long() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        await limits.admit({"weight": 1920}, Lane.READ)
        with pytest.raises(NotExecuted) as told:
            await limits.admit({"weight": 1}, Lane.READ)
        assert told.value.retry_after_s == 60
        assert clock.monotonic_ns() == 0
        assert limits.waiting == 0

    _on_limits(story)


def test_one_who_is_cancelled_leaves_the_queue_to_the_next() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        await limits.admit({"orders": 240}, Lane.ENTRY)
        first, second = (
            asyncio.ensure_future(limits.admit({"orders": 240}, Lane.ENTRY)) for _ in range(2)
        )
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert clock.monotonic_ns() == 10 * _NS

    _on_limits(story, patience_s=1000)


def test_what_others_use_behind_the_same_address_is_counted() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        await limits.admit({"weight": 20}, Lane.READ)
        limits.heard("weight", 1900)
        assert limits.used("weight") == 1900
        limits.heard("weight", 1900)
        limits.heard("weight", 1890)
        assert limits.used("weight") == 1900
        with pytest.raises(NotExecuted):
            await limits.admit({"weight": 40}, Lane.READ)
        await limits.admit({"weight": 40}, Lane.EXIT)

    _on_limits(story)


def test_a_limit_that_the_venue_changes_is_in_force_at_once() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        limits.declare(PoolLimit(name="weight", limit=100, window_s=60))
        await limits.admit({"weight": 80}, Lane.READ)
        with pytest.raises(NotExecuted):
            await limits.admit({"weight": 1}, Lane.READ)
        limits.declare(PoolLimit(name="weight", limit=200, window_s=60))
        await limits.admit({"weight": 80}, Lane.READ)
        limits.declare(PoolLimit(name="of tomorrow", limit=10, window_s=1))
        await limits.admit({"of tomorrow": 8}, Lane.READ)
        with pytest.raises(InvariantBroken, match="never fits"):
            await limits.admit({"of tomorrow": 9}, Lane.READ)

    _on_limits(story)


def test_rests_double_from_one_second_to_three_hundred_and_begin_anew_after_success() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        rests = []
        for _ in range(11):
            rest_s = limits.refused(["weight"], retry_after_s=None)
            # Twenty answers to one burst are one refusal.
            assert limits.refused(["weight"], retry_after_s=None) == rest_s
            rests.append(rest_s)
            await clock.sleep(rest_s)
        assert rests == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
        limits.accepted(["weight"])
        assert limits.refused(["weight"], retry_after_s=None) == 1

    _on_limits(story)


def test_a_success_from_before_the_refusal_proves_nothing() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        limits.refused(["weight"], retry_after_s=None)
        limits.accepted(["weight"])
        await clock.sleep(1)
        assert limits.refused(["weight"], retry_after_s=None) == 2

    _on_limits(story)


def test_a_rest_is_as_long_as_the_venue_says_and_exits_wait_only_for_that() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        for _ in range(5):
            await clock.sleep(limits.refused(["weight"], retry_after_s=None))
        assert limits.refused(["weight"], retry_after_s=3) == 32
        # An exit that heard the same is told its own time, not the back-off of all others.
        assert limits.refused(["weight"], retry_after_s=3, lane=Lane.EXIT) == 3
        began_ns = clock.monotonic_ns()
        await limits.admit({"weight": 1}, Lane.EXIT)
        assert clock.monotonic_ns() - began_ns == 3 * _NS
        await limits.admit({"weight": 1}, Lane.READ)
        assert clock.monotonic_ns() - began_ns == 32 * _NS
        # The other pool never rested.
        await limits.admit({"orders": 1}, Lane.ENTRY)
        assert clock.monotonic_ns() - began_ns == 32 * _NS

    _on_limits(story, patience_s=1000)


def test_a_ban_stops_everything_until_it_ends() -> None:
    async def story(clock: SimClock, limits: RateLimits) -> None:
        limits.banned(120)
        for lane in Lane:
            with pytest.raises(NotExecuted) as told:
                await limits.admit({"orders": 1}, lane)
            assert told.value.retry_after_s == 120
        await clock.sleep(120)
        await limits.admit({"orders": 1, "weight": 1}, Lane.READ)

    _on_limits(story)


def test_a_share_that_is_no_share_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="fraction"):
        RateLimits(clock=SimClock(start_ns=0), pools=(), planned_share=Decimal("1.1"))
    with pytest.raises(InvariantBroken, match="limits nothing"):
        RateLimits(clock=SimClock(start_ns=0), pools=(PoolLimit(name="x", limit=0, window_s=1),))
