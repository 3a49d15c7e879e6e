"""Campaign: Redis and the way to it fail in every manner, in an order and at moments of the seed.

One link on a real journal writes 2,000 durable events a second through a byte proxy to a real
server, with persistence or without. Meanwhile two to four of: SIGKILL and restart, SIGKILL and an
older copy, SIGSTOP, FLUSHALL with and without a disconnect, CLIENT PAUSE, CLIENT KILL, maxmemory
reached and relieved, read-only, a changed password, a promoted replica that lacks the newest
writes, entries of somebody else, and the proxy's faults (cut, truncated, dark, mute, slow, split).

Invariants: whenever the link is not up, and while a fault lasts that ends it, `recovering` holds
the gate shut; each fault is recovered from within 10 s of its relief; after the last one every
event of a list kept outside the engine is in the stream exactly once and in order, on the disk too;
a foreign writer is told of when there was one and never else; nothing failed in a task. Which fault
comes when and how long it lasts is repeatable from the seed; how many events flow meanwhile is not.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from engine.model.events import RecoveryStep, RedisLost, RedisRecovered, SignalReceived
from tests.faults.byte_proxy import ByteProxy
from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis, find_redis_server, free_port
from tests.waiting import eventually

SEED_LIMIT_S = 40
_PER_TURN, _TURN_S = 20, 0.01
_STEPS_MIN, _STEPS_MAX = 2, 4
_RECOVERY_S = 10.0
_CATCH_UP_S = 15.0
_KEY = "seawall:desk:events"
_FOREIGN, _PROMOTED = "somebody else's entry", "replica promoted"
_USER = ("--user", "engine", "on", ">right", "~*", "+@all")


def run_seed(seed: int, workdir: Path) -> dict[str, object]:
    """One schedule of faults; see the module."""
    binary = find_redis_server()
    if binary is None:
        raise RuntimeError("no redis-server or valkey-server here; packaging/test.py installs one")
    chance = random.Random(seed)
    is_persistent = chance.random() < 0.5
    schedule = chance.sample(FAULTS, chance.randint(_STEPS_MIN, _STEPS_MAX))
    port = free_port()
    options = (*_USER, "--repl-diskless-sync-delay", "0")
    server = RealRedis(
        binary=binary, persistent=is_persistent, options=(*options, "--port", str(port))
    )
    replica = RealRedis(binary=binary, persistent=is_persistent, options=options)
    try:
        server.start()
        if _PROMOTED in schedule:
            replica.start()
        trial = _Trial(chance, schedule, server, replica, port)
        with tempfile.TemporaryDirectory(prefix="seawall-proxy-") as sockets:
            counted = asyncio.run(trial.run(workdir, Path(sockets), seed))
    except AssertionError as error:
        kind = "persistent" if is_persistent else "forgetful"
        raise AssertionError(f"seed {seed}, {kind} server, {schedule}: {error}") from error
    finally:
        server.close()
        replica.close()
    return {"persistent": is_persistent, **counted}


class _Trial:
    """One link under one schedule."""

    def __init__(
        self,
        chance: random.Random,
        schedule: list[str],
        server: RealRedis,
        replica: RealRedis,
        port: int,
    ) -> None:
        self._chance = chance
        self._schedule = schedule
        self._server = server
        self._replica = replica
        self._port = port
        self._desk: LinkDesk
        self._proxy: ByteProxy

    async def run(self, workdir: Path, sockets: Path, seed: int) -> dict[str, object]:
        async with ByteProxy(upstream=self._server.socket_path, folder=sockets) as self._proxy:
            url = f"unix://engine:right@{self._proxy.path}"
            async with link_desk(workdir / "state.db", url=url, seed=seed) as self._desk:
                stop = asyncio.Event()
                flowing = asyncio.ensure_future(self._flow(stop))
                try:
                    for step, name in enumerate(self._schedule):
                        await asyncio.sleep(self._chance.uniform(0.0, 0.3))
                        await self._one(step, name)
                finally:
                    stop.set()
                    await flowing
                await eventually(self._desk.is_caught_up, timeout_s=_CATCH_UP_S)
                return self._judge()

    async def _flow(self, stop: asyncio.Event) -> None:
        began, turns = time.monotonic(), 0
        desk = self._desk
        while not stop.is_set():
            for _ in range(_PER_TURN):
                desk.bus.emit(desk.event())
            turns += 1
            assert desk.link.is_up() or desk.link.recovering, "away, and the gate is not shut"
            desk.heard[:] = [event for event in desk.heard if not isinstance(event, SignalReceived)]
            await asyncio.sleep(max(0.0, began + turns * _TURN_S - time.monotonic()))

    async def _one(self, step: int, name: str) -> None:
        where = f"step {step}, {name}"
        began, in_line = time.monotonic(), _in_line_s()
        try:
            await getattr(self, FAULTS_BY_NAME[name])()
            await eventually(self._is_well, timeout_s=_RECOVERY_S)
        except AssertionError as error:
            waited = f"{_in_line_s() - in_line:.1f} of {time.monotonic() - began:.1f} s"
            raise AssertionError(
                f"{where}: {error}; {self._standing()}; this thread stood in line for a processor"
                f" for {waited}"
            ) from error

    def _standing(self) -> str:
        desk, link = self._desk, self._desk.link.snapshot()
        steps = [f"{step.step} {step.ok}" for step in desk.heard_of(RecoveryStep)]
        return (
            f"the link is {link.state.value} ({link.cause}), {link.replay_remaining} to replay,"
            f" {desk.journal.pending} of {desk.journal.tail_seq()} pending,"
            f" {desk.writer.pending} not committed, last answer {link.last_answer_age_s} s ago,"
            f" {len(desk.heard_of(RedisLost))} losses, steps {steps[-4:]}"
        )

    def _is_well(self) -> bool:
        return self._desk.link.is_up() and not self._desk.link.recovering

    def _judge(self) -> dict[str, object]:
        desk = self._desk
        entries = read_stream(self._server.url)
        desk.assert_mirrored(entries)
        assert bool(desk.foreign()) == (_FOREIGN in self._schedule), desk.foreign()
        lost, recovered = desk.heard_of(RedisLost), desk.heard_of(RedisRecovered)
        assert len(recovered) <= len(lost)
        assert bool(lost) == bool(recovered), f"{len(lost)} outages, {len(recovered)} recoveries"
        return {
            "schedule": self._schedule,
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
        await asyncio.to_thread(self._server.kill)
        await self._until_lost()
        await self._a_while()
        await asyncio.to_thread(self._server.start)

    async def _restored(self) -> None:
        """An older copy, unless the server keeps every write."""
        await self._command("SAVE")
        await self._a_while()
        await self._killed()

    async def _promoted(self) -> None:
        """The replica becomes the master, and lacks what it was not sent."""
        replica = self._replica
        await asyncio.to_thread(replica.command, "REPLICAOF", "127.0.0.1", str(self._port))
        await eventually(self._is_replicated, timeout_s=10)
        replica.freeze()
        await self._command("CLIENT", "KILL", "TYPE", "replica")
        await self._a_while()
        await asyncio.to_thread(self._server.kill)
        await self._until_lost()
        await self._a_while()
        replica.thaw()
        await asyncio.to_thread(replica.command, "REPLICAOF", "NO", "ONE")
        self._proxy.redirect(replica.socket_path)
        self._server = replica

    async def _is_replicated(self) -> bool:
        said = await asyncio.to_thread(self._replica.command, "INFO", "replication")
        return b"master_link_status:up" in said

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
        return await asyncio.to_thread(self._server.command, "EXISTS", _KEY) == b":1\r\n"

    async def _flushed_unseen(self) -> None:
        """Nobody was connected when it forgot."""
        self._proxy.cut()
        await asyncio.to_thread(self._server.flush)
        await self._until_lost()

    async def _entry_of_somebody_else(self) -> None:
        epoch = self._desk.journal.epoch + self._chance.randint(0, 3)
        seq = self._desk.journal.tail_seq() + self._chance.randint(1_000, 100_000)
        await self._command("XADD", _KEY, f"{epoch}-{seq}", "who", "somebody else")
        await eventually(self._desk.foreign, timeout_s=4)

    async def _password_changed(self) -> None:
        await self._command("ACL", "SETUSER", "engine", "resetpass", ">another")
        await self._command("CLIENT", "KILL", "USER", "engine")
        await self._until_lost()
        await self._a_while()
        await self._command("ACL", "SETUSER", "engine", "resetpass", ">right")

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
        """Somebody else fills the memory up to its limit."""
        said = await asyncio.to_thread(self._server.command, "INFO", "memory")
        used = int(said.split(b"used_memory:")[1].split(b"\r\n")[0])
        await self._command("CONFIG", "SET", "maxmemory", str(used + 400_000))
        keys = [f"other:{number}" for number in range(40)]
        for key in keys:
            answer = await asyncio.to_thread(self._server.command, "SET", key, "x" * 50_000)
            if answer.startswith(b"-OOM"):
                break
        await self._until_lost()
        await self._a_while()
        await self._command("CONFIG", "SET", "maxmemory", "0")
        await self._command("DEL", *keys)

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

    async def _mute(self) -> None:
        """What we send arrives, and no answer comes back."""
        self._proxy.go_mute()
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


def _in_line_s() -> float:
    """How long the main thread was ready to run and had no processor, since it began; 0 where the
    system does not say. For telling a machine that is too busy from a link that is too slow."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


FAULTS_BY_NAME: Mapping[str, str] = {
    "killed": "_killed",
    "restored from an older copy": "_restored",
    "frozen": "_frozen",
    "flushed": "_flushed",
    "flushed unseen": "_flushed_unseen",
    "paused": "_paused",
    "connections killed": "_connections_killed",
    "out of memory": "_out_of_memory",
    "read-only": "_read_only",
    "password changed": "_password_changed",
    _PROMOTED: "_promoted",
    _FOREIGN: "_entry_of_somebody_else",
    "cut": "_cut",
    "truncated": "_truncated",
    "dark": "_dark",
    "mute": "_mute",
    "slow and split": "_slow_and_split",
}
FAULTS = sorted(FAULTS_BY_NAME)
