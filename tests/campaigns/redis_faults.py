"""Campaign: Redis and the way to it fail in every manner, in an order and at moments of the seed.

One link on a real journal writes 2,000 durable events a second through a byte proxy to a real
server, with persistence or without. Meanwhile several of: SIGKILL and restart, SIGSTOP, FLUSHALL,
CLIENT PAUSE, CLIENT KILL, maxmemory reached and relieved, read-only, and the proxy's faults.

Invariants: while a fault lasts that ends the link, `recovering` holds the gate shut; after the last
one every event of a list kept outside the engine is in the stream exactly once and in order, on the
disk too; no alarm of a foreign writer; nothing failed in a task. Which fault comes when and how
long it lasts is repeatable from the seed; how many events flow meanwhile is not.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from engine.model.events import AlarmRaised, RedisLost, RedisRecovered, SignalReceived
from tests.faults.byte_proxy import ByteProxy
from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis, find_redis_server
from tests.waiting import eventually

SEED_LIMIT_S = 30
_PER_TURN, _TURN_S = 20, 0.01
_STEPS = 3
_RECOVERY_S = 12.0
_CATCH_UP_S = 15.0


def run_seed(seed: int, workdir: Path) -> dict[str, object]:
    """One schedule of faults; see the module."""
    binary = find_redis_server()
    if binary is None:
        raise RuntimeError("no redis-server or valkey-server here; packaging/test.py installs one")
    chance = random.Random(seed)
    server = RealRedis(binary=binary, persistent=chance.random() < 0.5)
    try:
        server.start()
        with tempfile.TemporaryDirectory(prefix="seawall-proxy-") as sockets:
            return asyncio.run(_Trial(chance, server).run(workdir, Path(sockets), seed))
    finally:
        server.close()


class _Trial:
    """One link under one schedule."""

    def __init__(self, chance: random.Random, server: RealRedis) -> None:
        self._chance = chance
        self._server = server
        self._desk: LinkDesk
        self._proxy: ByteProxy
        self._faults: dict[str, Callable[[], Awaitable[None]]] = {
            "killed": self._killed,
            "frozen": self._frozen,
            "flushed": self._flushed,
            "paused": self._paused,
            "connections killed": self._connections_killed,
            "out of memory": self._out_of_memory,
            "read-only": self._read_only,
            "cut": self._cut,
            "truncated": self._truncated,
            "dark": self._dark,
            "slow and split": self._slow_and_split,
        }

    async def run(self, workdir: Path, sockets: Path, seed: int) -> dict[str, object]:
        async with (
            ByteProxy(upstream=self._server.socket_path, folder=sockets) as self._proxy,
            link_desk(workdir / "state.db", url=self._proxy.url, seed=seed) as self._desk,
        ):
            schedule = self._chance.sample(sorted(self._faults), _STEPS)
            stop = asyncio.Event()
            flowing = asyncio.ensure_future(self._flow(stop))
            try:
                for step, name in enumerate(schedule):
                    await asyncio.sleep(self._chance.uniform(0.0, 0.3))
                    await self._one(step, name)
            finally:
                stop.set()
                await flowing
            await eventually(self._desk.is_caught_up, timeout_s=_CATCH_UP_S)
            return self._judge(schedule)

    async def _flow(self, stop: asyncio.Event) -> None:
        began, turns = time.monotonic(), 0
        desk = self._desk
        while not stop.is_set():
            for _ in range(_PER_TURN):
                desk.bus.emit(desk.event())
            turns += 1
            desk.heard[:] = [event for event in desk.heard if not isinstance(event, SignalReceived)]
            await asyncio.sleep(max(0.0, began + turns * _TURN_S - time.monotonic()))

    async def _one(self, step: int, name: str) -> None:
        where = f"step {step}, {name}"
        try:
            await self._faults[name]()
            await eventually(self._is_well, timeout_s=_RECOVERY_S)
        except AssertionError as error:
            cause = self._desk.link.snapshot().cause
            raise AssertionError(f"{where}: {error}; the link says: {cause}") from error

    def _is_well(self) -> bool:
        return self._desk.link.is_up() and not self._desk.link.recovering

    def _judge(self, schedule: list[str]) -> dict[str, object]:
        desk = self._desk
        desk.assert_mirrored(read_stream(self._server.url))
        alarms = desk.heard_of(AlarmRaised)
        assert not alarms, f"after {schedule}: {alarms[0].text}"
        lost, recovered = desk.heard_of(RedisLost), desk.heard_of(RedisRecovered)
        assert len(recovered) <= len(lost)
        assert bool(lost) == bool(recovered), f"{len(lost)} outages, {len(recovered)} recoveries"
        return {
            "schedule": schedule,
            "events": len(desk.ledger.ids),
            "outages": len(lost),
            "truncated": self._proxy.truncated,
        }

    # --- faults: each ends when it is relieved ----------------------------------------------------

    async def _until_lost(self) -> None:
        """The link has noticed; from then on the gate is shut until the end of the recovery."""
        await eventually(lambda: not self._desk.link.is_up(), timeout_s=4.0, interval_s=0.002)
        assert self._desk.link.recovering, "down, and the gate is not shut"

    async def _a_while(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 0.5))

    async def _killed(self) -> None:
        self._server.kill()
        await self._until_lost()
        await self._a_while()
        self._server.start()

    async def _frozen(self) -> None:
        self._server.freeze()
        if self._chance.random() < 0.7:
            await self._until_lost()
        await self._a_while()
        self._server.thaw()

    async def _flushed(self) -> None:
        """Nothing is disconnected: the next append or heartbeat must notice, and send all again."""
        await asyncio.to_thread(self._server.flush)
        await eventually(self._stream_exists, timeout_s=2.0)

    async def _stream_exists(self) -> bool:
        key = "seawall:desk:events"
        return await asyncio.to_thread(self._server.command, "EXISTS", key) == b":1\r\n"

    async def _paused(self) -> None:
        length_ms = self._chance.choice((200, 700, 1_900))
        which = self._chance.choice(("ALL", "WRITE"))
        await self._command("CLIENT", "PAUSE", str(length_ms), which)
        await asyncio.sleep(length_ms / 1_000)

    async def _connections_killed(self) -> None:
        for _ in range(self._chance.randint(1, 3)):
            await self._command("CLIENT", "KILL", "TYPE", "normal")
            await self._until_lost()
            await eventually(self._desk.link.is_up)

    async def _out_of_memory(self) -> None:
        await self._command("CONFIG", "SET", "maxmemory", "1")
        await self._until_lost()
        await self._a_while()
        await self._command("CONFIG", "SET", "maxmemory", "0")

    async def _read_only(self) -> None:
        await self._command("REPLICAOF", "127.0.0.1", "1")
        await self._until_lost()
        await self._a_while()
        await self._command("REPLICAOF", "NO", "ONE")

    async def _cut(self) -> None:
        for _ in range(self._chance.randint(1, 4)):
            self._proxy.cut()
            await asyncio.sleep(self._chance.uniform(0.0, 0.15))

    async def _truncated(self) -> None:
        for _ in range(self._chance.randint(1, 3)):
            seen = self._proxy.truncated
            self._proxy.truncate_after(self._chance.randint(1, 100_000))
            await eventually(lambda seen=seen: self._proxy.truncated > seen)

    async def _dark(self) -> None:
        self._proxy.go_dark()
        await self._until_lost()
        await self._a_while()
        self._proxy.heal()

    async def _slow_and_split(self) -> None:
        self._proxy.piece_bytes_max = self._chance.randint(20, 3_000)
        await self._a_while()
        self._proxy.piece_bytes_max = 0
        self._proxy.delay_s = self._chance.uniform(0.0, 0.05)
        await self._a_while()
        self._proxy.heal()

    async def _command(self, *words: str) -> None:
        answer = await asyncio.to_thread(self._server.command, *words)
        assert not answer.startswith(b"-"), f"{' '.join(words)}: {answer!r}"
