"""Events a second through the bounded queue to five handlers, statistics on.

Baseline: the least that could be done with the same events and handlers, a dict from type to
handlers. With `--peers` also NautilusTrader's message bus and vnpy's event engine, each in its own
environment, with five handlers that do the same.
Bursts stay below the pressure mark, so that nothing is conflated and every event is delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

from engine.bus import EventBus
from engine.model.events import Event, MarketTick
from engine.runtime import IdSource, Stamper, SystemClock, read_stopwatch_ns
from tests.benchmarks.figures import Bar, Effort, Figure, alternate_async
from tests.benchmarks.peers import PeerFigure, measure_peers
from tests.benchmarks.sample_events import ticks

__all__ = ["measure"]

_BURST = 4_900  # Half the capacity of 10,000 is where ticks begin to give way.
_BURSTS = 40
_HANDLERS = 5


class _Counter:
    """A handler that does a little: looks at the event and counts."""

    def __init__(self) -> None:
        self.seen = 0
        self.last_ns = 0

    def __call__(self, event: MarketTick) -> None:
        self.seen += 1
        self.last_ns = event.ts_ns


def measure(effort: Effort) -> Figure:
    events = ticks(effort.count(_BURST))
    bursts = effort.count(_BURSTS, least=2)
    ours, plain = asyncio.run(_both(events, bursts, effort.rounds))
    peers = measure_peers() if effort.peers else []
    return _figure(ours, plain, peers, effort)


async def _both(events: Sequence[MarketTick], bursts: int, rounds: int) -> list[list[float]]:
    async def bus_side() -> float:
        return await _through_the_bus(events, bursts)

    async def plain_side() -> float:
        return _through_a_dict(events, bursts)

    return await alternate_async(rounds, bus_side, plain_side)


async def _through_the_bus(events: Sequence[MarketTick], bursts: int) -> float:
    clock = SystemClock()
    bus = EventBus(
        clock=clock,
        stopwatch=read_stopwatch_ns,
        log=None,
        stamper=Stamper(clock=clock, ids=IdSource(), source="bench"),
    )
    handlers = [_Counter() for _ in range(_HANDLERS)]
    for number, handler in enumerate(handlers):
        bus.subscribe(handler, types=(MarketTick,), name=f"counter {number}")
    emit = bus.emit
    began = perf_counter()
    for number in range(1, bursts + 1):
        for event in events:
            emit(event)
        await _delivered(handlers[-1], number * len(events))
    took = perf_counter() - began
    _check(handlers, len(events) * bursts)
    if bus.snapshot().conflated or bus.snapshot().dropped:
        raise RuntimeError("the bus let go of events: this measures something else")
    return len(events) * bursts / took


async def _delivered(handler: _Counter, count: int) -> None:
    """Give the loop back, turn by turn, until the drain has come so far."""
    while handler.seen < count:  # noqa: ASYNC110 - an Event would be set in the handler measured
        await asyncio.sleep(0)


def _through_a_dict(events: Sequence[MarketTick], bursts: int) -> float:
    counters = [_Counter() for _ in range(_HANDLERS)]
    handlers: dict[type[Event], list[Callable[[MarketTick], None]]] = {MarketTick: [*counters]}
    began = perf_counter()
    for _ in range(bursts):
        for event in events:
            for handler in handlers[type(event)]:
                handler(event)
    took = perf_counter() - began
    _check(counters, len(events) * bursts)
    return len(events) * bursts / took


def _check(handlers: Sequence[_Counter], count: int) -> None:
    if any(handler.seen != count for handler in handlers):
        raise RuntimeError("a handler missed events: this measures something else")


def _figure(
    ours: list[float], plain: list[float], peers: list[PeerFigure], effort: Effort
) -> Figure:
    own = sorted(ours)[len(ours) // 2]
    ratio = own / sorted(plain)[len(plain) // 2]
    bars = [Bar(f"{ratio:.0%} of plain dict dispatch, at least 50 %", ratio >= 0.5)]
    notes = []
    for peer in peers:
        if peer.events_per_s is None:
            notes.append(f"{peer.name} could not be measured: {peer.why}")
        else:
            times = own / peer.events_per_s
            bars.append(
                Bar(
                    f"{times:.1f} × {peer.name} ({peer.events_per_s:,.0f}/s),"
                    f" at least {peer.times_least} ×",
                    times >= peer.times_least,
                )
            )
    if not peers:
        notes.append("peers (nautilus ≥ 3 ×, vnpy ≥ 10 ×) are measured with --peers")
    return Figure(
        name="bus_dispatch",
        unit="events/s",
        better="higher",
        ours=ours,
        baseline_name=f"plain dict dispatch, {_HANDLERS} handlers",
        baseline=plain,
        bars=bars if effort.is_full else [],
        notes=notes,
    )
