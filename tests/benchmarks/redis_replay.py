"""How fast a backlog of durable events reaches Redis once it answers.

Ours: the link of the engine, from its start until everything is in the stream, alignment, reading
the rows from the disk and compare-and-append included. Baseline: bare redis-py, the same rows from
memory, XADD in pipelines of 100. Both against one real server on a Unix socket.
`SEAWALL_BENCH_REPLAY_EVENTS=1000000` (or `--peers`) also replays 100,000 and then that many, and
compares the resident memory at both.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import redis.asyncio

from engine.journal import JournalRow
from engine.model.errors import OperatorMessage
from engine.model.events import Event, payload
from tests.benchmarks.figures import Bar, Effort, Figure, alternate_async
from tests.benchmarks.sample_events import intended
from tests.faults.link_desk import link_desk
from tests.real_redis import RealRedis, find_redis_server
from tests.waiting import eventually

__all__ = ["measure", "pipelined"]

_EVENTS = 10_000
_PIPELINE = 100
_GROWTH_FROM = 100_000
_GROWTH_TO = 1_000_000
_GROWTH_MB_MAX = 10.0


def measure(effort: Effort) -> Figure:
    binary = find_redis_server()
    if binary is None:
        raise OperatorMessage("redis_replay: no redis-server or valkey-server was found here")
    server = RealRedis(binary=binary)
    try:
        server.start()
        events = [intended(number) for number in range(1, effort.count(_EVENTS) + 1)]
        ours, bare = asyncio.run(_both(server, events, effort.rounds))
        large = _large(server, effort)
    finally:
        server.close()
    rate, ratio = median(ours), median(ours) / median(bare)
    took_s = len(events) / rate
    bars = [
        Bar(f"{ratio:.0%} of a bare pipeline, at least 80 %", ratio >= 0.8),
        Bar(f"{len(events):,} events in {took_s:.2f} s, under 0.5 s", took_s < 0.5),
    ]
    notes = []
    if large is None:
        notes.append("1,000,000 events, and the growth up to them, are measured with --peers")
    else:
        growth, share = large.growth_mb, large.rate / median(bare)
        bars.append(Bar(f"grew {growth:.1f} MB, at most 10", growth <= _GROWTH_MB_MAX))
        what = f"{large.events:,} events at {large.rate:,.0f} a second, {share:.0%} of the pipeline"
        bars.append(Bar(f"{what}, at least 80 %", share >= 0.8))
    return Figure(
        name="redis_replay",
        unit="events/s",
        better="higher",
        ours=ours,
        baseline_name="bare redis-py, XADD in pipelines of 100, the same rows from memory",
        baseline=bare,
        bars=bars if effort.is_full else [],
        notes=notes,
    )


async def _both(server: RealRedis, events: Sequence[Event], rounds: int) -> list[list[float]]:
    rows = [
        JournalRow(seq, e.id, e.TYPE, e.ts_ns, e.source, e.trace, None, payload(e))
        for seq, e in enumerate(events, 1)
    ]

    async def link_side() -> float:
        server.flush()
        return len(events) / await _replay(server.url, events)

    async def bare_side() -> float:
        server.flush()
        return len(rows) / await pipelined(server.url, rows)

    return await alternate_async(rounds, link_side, bare_side)


async def _replay(url: str, events: Sequence[Event]) -> float:
    """Seconds from the start of the link until all is in the stream."""
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        async with link_desk(Path(folder) / "state.db", url=url, start=False) as desk:
            for event in events:
                desk.journal.append(event)
            await desk.committed()
            began = perf_counter()
            await desk.link.start()
            await eventually(
                lambda: not desk.link.recovering and desk.link.snapshot().replay_remaining == 0,
                timeout_s=300,
                interval_s=0.001,
            )
            took = perf_counter() - began
            if desk.link.snapshot().replayed != len(events):
                raise RuntimeError("the stream is not complete: this measures something else")
    return took


async def pipelined(url: str, rows: Sequence[JournalRow]) -> float:
    """Seconds of bare redis-py for these rows."""
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    try:
        await client.ping()
        began = perf_counter()
        for start in range(0, len(rows), _PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for row in rows[start : start + _PIPELINE]:
                pipeline.xadd(
                    "seawall:bare:events",
                    {
                        "type": row.type,
                        "id": row.event_id,
                        "ts": row.ts_ns,
                        "source": row.source,
                        "trace": row.trace,
                        "payload": row.payload,
                    },
                    id=f"1-{row.seq}",
                )
            await pipeline.execute()
        return perf_counter() - began
    finally:
        await client.aclose()


@dataclass(frozen=True, slots=True)
class _Large:
    """A backlog of a million: megabytes from 100,000 of it to its end, and events a second."""

    events: int
    growth_mb: float
    rate: float


def _large(server: RealRedis, effort: Effort) -> _Large | None:
    wanted = int(os.environ.get("SEAWALL_BENCH_REPLAY_EVENTS", "0"))
    if not wanted and not (effort.peers and effort.is_full):
        return None
    return asyncio.run(_replay_large(server, wanted or _GROWTH_TO))


async def _replay_large(server: RealRedis, wanted: int) -> _Large:
    """One backlog, looked at when 100,000 of it have arrived and at its end."""
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        async with link_desk(Path(folder) / "state.db", url=server.url, start=False) as desk:
            server.flush()
            for number in range(1, wanted + 1):
                commit = desk.journal.append(intended(number, run="g"))
                if number % 2_000 == 0:
                    await commit
            await desk.committed()
            began = perf_counter()
            await desk.link.start()
            first = min(_GROWTH_FROM, wanted // 2)
            await eventually(lambda: desk.link.snapshot().replayed >= first, timeout_s=600)
            at_first = _resident_mb()
            await eventually(lambda: desk.link.snapshot().replayed >= wanted, timeout_s=600)
            took = perf_counter() - began
            return _Large(wanted, _resident_mb() - at_first, wanted / took)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
