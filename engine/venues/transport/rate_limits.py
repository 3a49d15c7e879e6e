"""How much may be asked of a venue, so that it never has to say no, and exits never wait for reads.

A pool is a limit over a window (2,400 weight a minute); a request costs something in one or more
pools. Counting slides: no window of a pool's length, wherever it begins, admits more than the
limit, so none of the venue's own windows does. Entries and reads plan with a share of each limit
(80 %); exits, cancels and the stop may use all of it, which is the emergency lane. Who has to wait
waits by rank (exits, entries, reads), then by arrival; requests without a pool in common never
wait for each other. What the venue's headers say of others behind the same address or account is
counted too. After a refusal a pool rests: as long as the venue says, and 1, 2, 4 … 300 s. The
emergency lane waits only for what the venue says. A ban stops everything until its end.

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
BACK_OFF_FIRST_S = 1.0
BACK_OFF_MAX_S = 300.0
_NS = 1_000_000_000


class Lane(IntEnum):
    """Rank of a request: lower goes first. EXIT is the emergency lane."""

    EXIT = 0
    ENTRY = 1
    READ = 2


class PoolLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as the venue declares it."""

    name: str
    limit: int
    window_s: float


class _Pool:
    """What was admitted within the window, and until when nothing is."""

    def __init__(self, declared: PoolLimit, planned_share: Decimal) -> None:
        self._planned_share = planned_share
        self._admitted: deque[tuple[int, int]] = deque()
        self._aligned_number = -1
        self._aligned = 0
        self.total = 0
        self.failures = 0
        self.rests_until_ns = 0
        self.exits_rest_until_ns = 0
        self.declare(declared)

    def declare(self, declared: PoolLimit) -> None:
        require(declared.limit > 0 and declared.window_s > 0, f"{declared.name} limits nothing")
        self._limit = declared.limit
        self._planned = int(declared.limit * self._planned_share)
        self._window_ns = round(declared.window_s * _NS)

    def allowance(self, lane: Lane) -> int:
        return self._limit if lane is Lane.EXIT else self._planned

    def forget(self, now_ns: int) -> None:
        while self._admitted and now_ns - self._admitted[0][0] >= self._window_ns:
            self.total -= self._admitted.popleft()[1]

    def wait_ns(self, cost: int, lane: Lane, now_ns: int) -> int:
        """How long until this much fits; zero when it does now."""
        self.forget(now_ns)
        until = self.exits_rest_until_ns if lane is Lane.EXIT else self.rests_until_ns
        rest_ns = max(0, until - now_ns)
        if not cost:
            return rest_ns
        too_much = self.total + cost - self.allowance(lane)
        if too_much <= 0:
            return rest_ns
        for admitted_ns, admitted in self._admitted:
            too_much -= admitted
            if too_much <= 0:
                return max(rest_ns, admitted_ns + self._window_ns - now_ns)
        return max(rest_ns, self._window_ns)

    def add(self, cost: int, now_ns: int, utc_ns: int) -> None:
        if cost <= 0:
            return
        self._roll(utc_ns)
        self._admitted.append((now_ns, cost))
        self.total += cost
        self._aligned += cost

    def correct(self, used: int, now_ns: int, utc_ns: int) -> None:
        """Count what the venue has counted and we have not: it was somebody else's."""
        self.forget(now_ns)
        self._roll(utc_ns)
        self.add(used - self._aligned, now_ns, utc_ns)

    def _roll(self, utc_ns: int) -> None:
        """The venue's windows are aligned to its clock, which is about ours."""
        number = utc_ns // self._window_ns
        if number != self._aligned_number:
            self._aligned_number, self._aligned = number, 0


class _Ticket:
    """Somebody in the queue; sorted by rank, then arrival."""

    def __init__(self, *, rank: tuple[int, int], pools: frozenset[str]) -> None:
        self.rank = rank
        self.pools = pools
        self.turn = asyncio.Event()


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

    def used(self, name: str) -> int:
        """What a pool has admitted within its window."""
        pool = self._pools[name]
        pool.forget(self._clock.monotonic_ns())
        return pool.total

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

    def heard(self, name: str, used: int) -> None:
        """A header said how much of a pool is used in the venue's current window."""
        self._pools[name].correct(used, self._clock.monotonic_ns(), self._clock.now_ns())

    def accepted(self, names: Collection[str]) -> None:
        """A request went through: the next rest of these pools is a short one again."""
        now = self._clock.monotonic_ns()
        for name in names:
            pool = self._pools[name]
            if now >= pool.rests_until_ns:
                pool.failures = 0

    def refused(self, names: Collection[str], *, retry_after_s: float | None) -> float:
        """The venue said "too many": let these pools rest; returns for how many seconds."""
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
            longest_ns = max(longest_ns, pool.rests_until_ns - now)
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
    "PLANNED_SHARE",
    "Lane",
    "PoolLimit",
    "RateLimits",
]
