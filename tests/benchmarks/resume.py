"""How soon entries may leave again once Redis answers, with 10,000 events pending.

A whole engine: its Redis is killed, 10,000 durable events wait in the journal, the server comes
back. Ours: from its first answer (to the benchmark's own PING) to the open gate, so the link's
waiting between two attempts, the replay and every other step of the recovery are in it. Outages of
several lengths, as the link waits longer the longer Redis was away; the worst is what the bar
judges. Baseline: bare redis-py, the same number of rows, from a connection that stands already.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from engine.journal import JournalRow
from engine.model.errors import OperatorMessage
from engine.model.events import payload
from engine.runtime import SystemClock
from tests.benchmarks.figures import Bar, Effort, Figure
from tests.benchmarks.redis_replay import pipelined
from tests.benchmarks.sample_events import intended
from tests.desk import Desk
from tests.real_redis import RealRedis, find_redis_server
from tests.waiting import eventually

__all__ = ["measure"]

_EVENTS = 10_000
_LIMIT_S = 5.0
_AWAY_S = (0.0, 1.0, 3.0, 6.0, 10.0)


def measure(effort: Effort) -> Figure:
    binary = find_redis_server()
    if binary is None:
        raise OperatorMessage("resume: no redis-server or valkey-server was found here")
    count = effort.count(_EVENTS)
    ours: list[float] = []
    bare: list[float] = []
    server = RealRedis(binary=binary)
    try:
        server.start()
        for number in range(effort.rounds):
            away_s = _AWAY_S[number % len(_AWAY_S)] * effort.share
            ours.append(asyncio.run(_resume(server, count, away_s)))
            server.restart()
            bare.append(asyncio.run(pipelined(server.url, _rows(count))))
            server.restart()
    finally:
        server.close()
    worst = max(ours)
    return Figure(
        name="resume",
        unit=f"s to an open gate, {count:,} events pending",
        better="lower",
        ours=ours,
        baseline_name="bare redis-py, XADD in pipelines of 100, as many rows from memory",
        baseline=bare,
        bars=[Bar(f"{worst:.2f} s at worst, under 5", worst < _LIMIT_S)] if effort.is_full else [],
        notes=[f"outages of {', '.join(f'{away:g}' for away in _AWAY_S)} s before the events"],
    )


def _rows(count: int) -> list[JournalRow]:
    events = [intended(number) for number in range(1, count + 1)]
    return [
        JournalRow(seq, e.id, e.TYPE, e.ts_ns, e.source, e.trace, None, payload(e))
        for seq, e in enumerate(events, 1)
    ]


async def _resume(server: RealRedis, count: int, away_s: float) -> float:
    """Seconds from the server's first answer to the open gate."""
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        desk = Desk(clock=SystemClock(), folder=Path(folder), redis_url=server.url)
        await desk.open()
        try:
            parts = desk.kernel.parts
            await eventually(lambda: _is_open(desk), timeout_s=10)
            await asyncio.to_thread(server.kill)
            await eventually(lambda: not parts.redis.is_up())
            await asyncio.sleep(away_s)
            for number in range(1, count + 1):
                parts.storage.journal.append(intended(number, run="r"))
            await parts.storage.writer.submit(lambda _: None)
            if parts.storage.journal.pending < count or _is_open(desk):
                raise RuntimeError("nothing waits: this measures something else")
            await asyncio.to_thread(server.start)
            began = perf_counter()
            await eventually(lambda: _is_open(desk), timeout_s=30, interval_s=0.001)
            return perf_counter() - began
        finally:
            await desk.close()


def _is_open(desk: Desk) -> bool:
    return not desk.kernel.parts.redis.recovering and not desk.gate()
