"""From `emit` to the handler of a fast-path event, while 200,000 ticks wait and are drained.

Emits come from outside the drain and, as a breach would, from inside a tick's handler. Baseline:
the bare call of the same handler. Durable fast events of the engine are in the journal already when
they are emitted (`journaled`), and so here.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

from engine.bus import EventBus
from engine.model.events import MarketTick, OrderAccepted
from engine.runtime import IdSource, Stamper, SystemClock, read_stopwatch_ns
from tests.benchmarks.figures import Bar, Effort, Figure, percentile
from tests.benchmarks.sample_events import accepted, ticks

__all__ = ["measure"]

_TICKS = 200_000
_EMITS = 4_000
_EMITS_A_TURN = 20


class _Listener:
    """Hears the fast event and remembers how long ago it was emitted."""

    def __init__(self) -> None:
        self.emitted_ns = 0
        self.waits_us: list[float] = []

    def __call__(self, event: OrderAccepted) -> None:
        self.waits_us.append((perf_counter_ns() - self.emitted_ns) / 1_000)


def measure(effort: Effort) -> Figure:
    rounds = [asyncio.run(_flooded(effort)) for _ in range(effort.rounds)]
    bare = [_bare(effort) for _ in range(effort.rounds)]
    ours = [percentile(waits, 0.99) for waits in rounds]
    worst_us = max(max(waits) for waits in rounds)
    p99_us = sorted(ours)[len(ours) // 2]
    return Figure(
        name="bus_fast_path",
        unit="µs p99",
        better="lower",
        ours=ours,
        baseline_name="bare call of the handler",
        baseline=[percentile(waits, 0.99) for waits in bare],
        bars=[Bar(f"p99 {p99_us / 1000:.4f} ms, under 1 ms", p99_us < 1_000)]
        if effort.is_full
        else [],
        notes=[f"worst of all {worst_us:.0f} µs, {effort.count(_TICKS):,} ticks queued"],
    )


async def _flooded(effort: Effort) -> list[float]:
    clock = SystemClock()
    queued = effort.count(_TICKS)
    bus = EventBus(
        clock=clock,
        stopwatch=read_stopwatch_ns,
        log=None,
        stamper=Stamper(clock=clock, ids=IdSource(), source="bench"),
        capacity=queued * 2 + 2,  # At half the capacity ticks begin to give way.
    )
    listener = _Listener()
    fast = accepted(1)
    due = 0

    def emit_now() -> None:
        listener.emitted_ns = perf_counter_ns()
        bus.emit(fast, journaled=True)

    def on_tick(_: MarketTick) -> None:
        nonlocal due
        if due:
            due -= 1
            emit_now()

    bus.subscribe(on_tick, types=(MarketTick,), name="a tick's handler")
    bus.subscribe(listener, types=(OrderAccepted,), name="listener")
    flood = ticks(min(queued, 10_000))
    wanted = effort.count(_EMITS)
    while len(listener.waits_us) < wanted:
        for number in range(queued - bus.snapshot().size):
            bus.emit(flood[number % len(flood)])
        for _ in range(_EMITS_A_TURN):
            emit_now()
        due = _EMITS_A_TURN
        await asyncio.sleep(0)
    await bus.drain(timeout_s=30)
    return listener.waits_us


def _bare(effort: Effort) -> list[float]:
    listener = _Listener()
    fast = accepted(1)
    for _ in range(effort.count(_EMITS)):
        listener.emitted_ns = perf_counter_ns()
        listener(fast)
    return listener.waits_us
