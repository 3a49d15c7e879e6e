"""How much may be asked of a venue, so that it never has to say no, and exits never wait for reads.

A pool is a limit over a window (2,400 weight a minute); a request costs something in one or more
pools. Counting slides: no window of a pool's length, wherever it begins, admits more than the
limit, so none of the venue's own windows does. Entries and reads plan with a share of each limit
(80 %). The rest is the emergency lane's: exits and cancels may use all of a limit, the reads of a
stop leave the last twentieth to them, for a stop that reads must not keep itself from cancelling.
Who has to wait waits by rank, then by arrival; requests without a pool in common never wait for
each other. What the venue's headers say of others behind the same address or account is counted
until the window that they speak of is over. After a refusal a pool rests: as long as the venue
says, and 1, 2, 4 … 300 s. The emergency lane waits only for what the venue says. A ban stops
everything until its end.

Only the head of the queue sleeps, until the moment when it fits; whoever would wait for longer
than its patience is told at once (`NotExecuted`, with the time). Times are the injected clock's.
On the loop only.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from enum import IntEnum

import msgspec

from engine.model.errors import NotExecuted, require
from engine.ports import Clock

PLANNED_SHARE = Decimal("0.8")
EXIT_READ_SHARE = Decimal("0.95")
BACK_OFF_FIRST_S = 1.0
BACK_OFF_MAX_S = 300.0
_NS = 1_000_000_000
# How far the venue's clock may be from ours before no entry leaves any more, and a little.
_CLOCK_DOUBT_NS = _NS
# By so much later than we sent it the venue may count a request, its clock's error included.
_ON_THE_WAY_NS = 2 * _NS


class Lane(IntEnum):
    """Rank of a request: lower goes first. The first two are the emergency lane: what reduces or
    cancels, and what a stop has to read for it.
    """

    EXIT = 0
    EXIT_READ = 1
    ENTRY = 2
    READ = 3

    @property
    def is_emergency(self) -> bool:
        return self <= Lane.EXIT_READ


class PoolLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as the venue declares it. Its windows begin at whole multiples of their length, or,
    where `is_rolling`, at any time.
    """

    name: str
    limit: int
    window_s: float
    is_rolling: bool = False


class _Pool:
    """What was admitted within the window, and until when nothing is."""

    def __init__(self, declared: PoolLimit, planned_share: Decimal) -> None:
        self._planned_share = planned_share
        self._admitted: deque[tuple[int, int]] = deque()
        self._ours = 0
        # What we sent in the venue's present window, or so shortly before it that it may have come
        # to the venue in it.
        self._in_window: deque[tuple[int, int]] = deque()
        self._others = 0
        self._others_until_ns = 0
        self.failures = 0
        self.rests_until_ns = 0
        self.exits_rest_until_ns = 0
        self.declare(declared)

    def declare(self, declared: PoolLimit) -> None:
        require(declared.limit > 0 and declared.window_s > 0, f"{declared.name} limits nothing")
        self._limit = declared.limit
        # Where a share is less than one, one is what there is.
        planned = max(int(declared.limit * self._planned_share), 1)
        # A small pool keeps at least one place for exits.
        exit_reads = min(int(declared.limit * EXIT_READ_SHARE), max(declared.limit - 1, 1))
        self._allowances = {
            Lane.EXIT: declared.limit,
            Lane.EXIT_READ: max(exit_reads, planned),
            Lane.ENTRY: planned,
            Lane.READ: planned,
        }
        self._window_ns = round(declared.window_s * _NS)
        self._is_rolling = declared.is_rolling

    def allowance(self, lane: Lane) -> int:
        return self._allowances[lane]

    def total(self, now_ns: int) -> int:
        """What counts now, ours and others'."""
        while self._admitted and now_ns - self._admitted[0][0] >= self._window_ns:
            self._ours -= self._admitted.popleft()[1]
        if now_ns >= self._others_until_ns:
            self._others = 0
        return self._ours + self._others

    def wait_ns(self, cost: int, lane: Lane, now_ns: int) -> int:
        """How long until this much fits; zero when it does now."""
        until = self.exits_rest_until_ns if lane.is_emergency else self.rests_until_ns
        rest_ns = max(0, until - now_ns)
        if not cost:
            return rest_ns
        too_much = self.total(now_ns) + cost - self.allowance(lane)
        if too_much <= 0:
            return rest_ns
        # Few of the oldest are enough, most times: whoever waits in a burst asks this.
        others = self._others
        for at_ns, admitted in self._admitted:
            end_ns = at_ns + self._window_ns
            if others and self._others_until_ns <= end_ns:
                too_much, others = too_much - others, 0
                if too_much <= 0:
                    return max(rest_ns, self._others_until_ns - now_ns)
            too_much -= admitted
            if too_much <= 0:
                return max(rest_ns, end_ns - now_ns)
        if others and too_much <= others:
            return max(rest_ns, self._others_until_ns - now_ns)
        return max(rest_ns, self._window_ns)

    def add(self, cost: int, now_ns: int, utc_ns: int) -> None:
        if cost <= 0:
            return
        self._admitted.append((now_ns, cost))
        self._ours += cost
        if not self._is_rolling:
            self._in_window.append((utc_ns, cost))
            self._forget_before(utc_ns - utc_ns % self._window_ns)

    def correct(self, used: int, *, asked_ns: int, now_ns: int, utc_ns: int) -> None:
        """Count what the venue has counted and we have not: it was somebody else's.

        An answer may be of the window in which it was asked for or of the one in which it came;
        where those are two it is compared with neither, for what was ours in the one would be
        taken for another's in the other, and exits would wait for it.
        """
        self.total(now_ns)
        if self._is_rolling:
            found, until_ns = used - self._ours, now_ns + self._window_ns
        else:
            asked_utc_ns = utc_ns - (now_ns - asked_ns)
            number = (asked_utc_ns - _CLOCK_DOUBT_NS) // self._window_ns
            if number != (utc_ns + _CLOCK_DOUBT_NS) // self._window_ns:
                return
            self._forget_before(number * self._window_ns)
            ours = sum(cost for _, cost in self._in_window)
            end_ns = (number + 1) * self._window_ns - utc_ns + _CLOCK_DOUBT_NS
            found, until_ns = used - ours, now_ns + end_ns
        if found > 0 and found >= self._others:
            self._others, self._others_until_ns = found, until_ns

    def _forget_before(self, window_began_utc_ns: int) -> None:
        while self._in_window and self._in_window[0][0] < window_began_utc_ns - _ON_THE_WAY_NS:
            self._in_window.popleft()


class _Ticket:
    """Somebody in the queue; sorted by rank, then arrival."""

    def __init__(self, *, rank: tuple[int, int], pools: frozenset[str]) -> None:
        self.rank = rank
        self.pools = pools
        self.turn = asyncio.Event()


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """How near the limits are: the fullest pool, how long the longest rest is, and who waits."""

    fullest: str
    used: int
    limit: int
    rests_s: float
    waiting: int


class RateLimits:
    """The pools of one address and account."""

    def __init__(
        self,
        *,
        clock: Clock,
        pools: Iterable[PoolLimit],
        planned_share: Decimal = PLANNED_SHARE,
        patience_s: float = 5.0,
    ) -> None:
        """`patience_s` is how long a request may wait here before it is given back."""
        require(0 < planned_share <= 1, "the planned share is a fraction")
        self._clock = clock
        self._share = planned_share
        self._patience_ns = round(patience_s * _NS)
        self._pools = {pool.name: _Pool(pool, planned_share) for pool in pools}
        self._queue: list[_Ticket] = []
        self._arrivals = itertools.count()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def state(self) -> LimitState:
        """For status: everything as it is now."""
        now_ns = self._clock.monotonic_ns()
        totals = {name: pool.total(now_ns) for name, pool in self._pools.items()}
        limits = {name: pool.allowance(Lane.EXIT) for name, pool in self._pools.items()}
        fullest = max(totals, key=lambda name: totals[name] / limits[name], default="")
        rests_until_ns = max((pool.rests_until_ns for pool in self._pools.values()), default=0)
        return LimitState(
            fullest=fullest,
            used=totals.get(fullest, 0),
            limit=limits.get(fullest, 0),
            rests_s=max(0, rests_until_ns - now_ns) / _NS,
            waiting=self.waiting,
        )

    def used(self, name: str) -> int:
        """What a pool has admitted within its window."""
        return self._pools[name].total(self._clock.monotonic_ns())

    def allowance(self, name: str, lane: Lane) -> int:
        """The most that one request of a lane may cost of a pool."""
        return self._pools[name].allowance(lane)

    def declare(self, declared: PoolLimit) -> None:
        """Take over a limit as the venue has just declared it."""
        known = self._pools.get(declared.name)
        if known is None:
            self._pools[declared.name] = _Pool(declared, self._share)
        else:
            known.declare(declared)
        self._next_turns()

    # --- asking ----------------------------------------------------------------------------------

    async def admit(self, costs: Mapping[str, int], lane: Lane) -> None:
        """Return when the request may leave, its costs counted; NotExecuted when it would wait
        for too long.
        """
        for name, cost in costs.items():
            allowance = self._pools[name].allowance(lane)
            require(cost <= allowance, f"{cost} never fits into {allowance} of {name}")
        # What costs nothing of a pool rests with it, and stands in nobody's way there.
        pools = frozenset(name for name, cost in costs.items() if cost)
        arrived_ns = self._clock.monotonic_ns()
        ticket = _Ticket(rank=(lane, next(self._arrivals)), pools=pools)
        if not self._is_blocked(ticket) and not self._wait_ns(costs, lane):
            self._take(costs)
            return
        bisect.insort(self._queue, ticket, key=lambda each: each.rank)
        try:
            await self._queued(ticket, costs, lane, arrived_ns + self._patience_ns)
        finally:
            self._queue.remove(ticket)
            self._next_turns()

    async def _queued(
        self, ticket: _Ticket, costs: Mapping[str, int], lane: Lane, give_up_ns: int
    ) -> None:
        while True:
            if self._is_blocked(ticket):
                ticket.turn.clear()
                await ticket.turn.wait()
                continue
            wait_ns = self._wait_ns(costs, lane)
            if not wait_ns:
                self._take(costs)
                return
            if self._clock.monotonic_ns() + wait_ns > give_up_ns:
                wait_s = wait_ns / _NS
                raise NotExecuted(
                    f"the venue's limit of {', '.join(sorted(costs))} leaves no room"
                    f" for {wait_s:.1f} s",
                    retry_after_s=wait_s,
                )
            await self._clock.sleep(wait_ns / _NS)

    def _is_blocked(self, ticket: _Ticket) -> bool:
        """Whether somebody of a better rank waits for one of the same pools."""
        for other in self._queue:
            if other.rank >= ticket.rank:
                return False
            if other.pools & ticket.pools:
                return True
        return False

    def _next_turns(self) -> None:
        """Wake whoever has nobody before it now."""
        taken: set[str] = set()
        for ticket in self._queue:
            if not ticket.pools & taken:
                ticket.turn.set()
            taken |= ticket.pools
            if len(taken) == len(self._pools):
                return

    def _wait_ns(self, costs: Mapping[str, int], lane: Lane) -> int:
        now = self._clock.monotonic_ns()
        return max(
            (self._pools[name].wait_ns(cost, lane, now) for name, cost in costs.items()), default=0
        )

    def _take(self, costs: Mapping[str, int]) -> None:
        now, utc = self._clock.monotonic_ns(), self._clock.now_ns()
        for name, cost in costs.items():
            self._pools[name].add(cost, now, utc)

    # --- what the venue says ---------------------------------------------------------------------

    def heard(self, name: str, used: int, *, asked_ns: int | None = None) -> None:
        """A header said how much of a pool is used in the venue's window; `asked_ns` is when the
        request left, by the monotonic clock.
        """
        now_ns = self._clock.monotonic_ns()
        self._pools[name].correct(
            used,
            asked_ns=now_ns if asked_ns is None else asked_ns,
            now_ns=now_ns,
            utc_ns=self._clock.now_ns(),
        )

    def accepted(self, names: Collection[str]) -> None:
        """A request went through: the next rest of these pools is a short one again."""
        now = self._clock.monotonic_ns()
        for name in names:
            pool = self._pools[name]
            if now >= pool.rests_until_ns:
                pool.failures = 0

    def refused(
        self, names: Collection[str], *, retry_after_s: float | None, lane: Lane = Lane.READ
    ) -> float:
        """The venue said "too many": let these pools rest; returns for how many seconds this lane
        does.
        """
        now = self._clock.monotonic_ns()
        longest_ns = 0
        for name in names:
            pool = self._pools[name]
            if now >= pool.rests_until_ns:  # Answers to one burst are one refusal.
                pool.failures += 1
            step_s = min(BACK_OFF_FIRST_S * 2.0 ** min(pool.failures - 1, 16), BACK_OFF_MAX_S)
            rest_ns = round(max(step_s, retry_after_s or 0.0) * _NS)
            said_ns = round((BACK_OFF_FIRST_S if retry_after_s is None else retry_after_s) * _NS)
            pool.rests_until_ns = max(pool.rests_until_ns, now + rest_ns)
            pool.exits_rest_until_ns = max(pool.exits_rest_until_ns, now + said_ns)
            until_ns = pool.exits_rest_until_ns if lane.is_emergency else pool.rests_until_ns
            longest_ns = max(longest_ns, until_ns - now)
        return longest_ns / _NS

    def banned(self, seconds: float) -> None:
        """Nothing leaves until the ban is over, exits neither: each attempt would lengthen it."""
        until_ns = self._clock.monotonic_ns() + round(seconds * _NS)
        for pool in self._pools.values():
            pool.rests_until_ns = max(pool.rests_until_ns, until_ns)
            pool.exits_rest_until_ns = max(pool.exits_rest_until_ns, until_ns)


__all__ = [
    "BACK_OFF_FIRST_S",
    "BACK_OFF_MAX_S",
    "EXIT_READ_SHARE",
    "PLANNED_SHARE",
    "Lane",
    "LimitState",
    "PoolLimit",
    "RateLimits",
]
