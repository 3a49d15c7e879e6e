"""How soon the gate knows that Redis is gone: killed (SIGKILL), and frozen (SIGSTOP).

The figure is the frozen one, the hard one; the killed one is in the notes, and both have a bar. The
gate asks `RedisLink.is_up` at each check, so the moment that turns false is the moment it is shut.
Baseline: a bare redis-py connection with the same socket timeout, asked at the moment of the
freeze.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from engine.model.errors import OperatorMessage
from engine.model.events import Event, RedisLost
from engine.model.limits import REDIS_TIMEOUT_S
from tests.benchmarks.figures import Bar, Effort, Figure
from tests.faults.link_desk import LinkDesk, link_desk
from tests.real_redis import RealRedis, find_redis_server
from tests.waiting import eventually

__all__ = ["measure"]

_KILLED_MS_MAX = 50.0
_FROZEN_MS_MAX = 2_500.0


def measure(effort: Effort) -> Figure:
    binary = find_redis_server()
    if binary is None:
        raise OperatorMessage("outage_detect: no redis-server or valkey-server was found here")
    server = RealRedis(binary=binary)
    killed: list[float] = []
    frozen: list[float] = []
    bare: list[float] = []
    try:
        for number in range(effort.rounds):
            server.restart()
            # At different moments of the link's own half-second beat.
            pause_s = 0.1 + 0.5 * number / effort.rounds
            killed.append(asyncio.run(_detect(server, pause_s, kill=True)))
            server.restart()
            frozen.append(asyncio.run(_detect(server, pause_s, kill=False)))
            server.restart()
            bare.append(asyncio.run(_bare(server)))
    finally:
        server.close()
    return Figure(
        name="outage_detect",
        unit="ms to gate shut, frozen server",
        better="lower",
        ours=frozen,
        baseline_name=f"bare redis-py request, socket timeout {REDIS_TIMEOUT_S:g} s",
        baseline=bare,
        # A bar on a limit is judged by the worst, not by the median.
        bars=[
            Bar(
                f"SIGKILL noticed after {max(killed):.1f} ms at worst, under 50",
                max(killed) < _KILLED_MS_MAX,
            ),
            Bar(
                f"SIGSTOP after {max(frozen):.0f} ms at worst, under 2,500",
                max(frozen) < _FROZEN_MS_MAX,
            ),
        ],
        notes=[f"SIGKILL median {median(killed):.1f} ms"],
    )


async def _detect(server: RealRedis, pause_s: float, *, kill: bool) -> float:
    """Milliseconds from the signal until the link is down."""
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        async with link_desk(Path(folder) / "state.db", url=server.url) as desk:
            await eventually(lambda: not desk.link.recovering)
            await asyncio.sleep(pause_s)
            shut = _when_shut(desk)
            began = perf_counter()
            if kill:
                server.kill()
            else:
                server.freeze()
            return (await shut - began) * 1_000


def _when_shut(desk: LinkDesk) -> asyncio.Future[float]:
    """The moment of the loss: the event is emitted in the turn that makes `is_up` false."""
    moment: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def lost(_: Event) -> None:
        if desk.link.is_up():
            raise RuntimeError("lost, and up: this measures something else")
        if not moment.done():
            moment.set_result(perf_counter())

    desk.bus.subscribe(lost, types=(RedisLost,), name="loss")
    return moment


async def _bare(server: RealRedis) -> float:
    client = redis.asyncio.Redis.from_url(
        server.url, socket_timeout=REDIS_TIMEOUT_S, retry=Retry(NoBackoff(), 0), protocol=2
    )
    try:
        await client.ping()
        server.freeze()
        began = perf_counter()
        with suppress(RedisError):
            await client.ping()
        return (perf_counter() - began) * 1_000
    finally:
        server.thaw()
        await client.aclose()
