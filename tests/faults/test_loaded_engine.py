"""A trading engine under 2,000 durable events a second meets every fault of Redis, one by one.

After each: the gate was shut meanwhile (no entry in the venue's book), it is open again within 10
s, and every durable event is in the stream once and in order, by a list kept outside the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.byte_proxy import ByteProxy
from tests.faults.conftest import StartServer
from tests.faults.loaded_engine import LoadedEngine, loaded_engine
from tests.real_redis import RealRedis, free_port
from tests.waiting import eventually

_GATE_S = 10.0
_NOTICED_AT_ONCE_S, _NOTICED_S = 0.5, 2.5
_GROWTH_MAX_BYTES = 18_000_000
_KEY = "seawall:desk:events"
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
    # What a lost Redis leads to elsewhere.
    pytest.mark.allow_log("divergence|order .*: redis_down|commands stream"),
]
Step = Callable[[], Awaitable[None]]


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A short path: a Unix socket's may be no longer than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="seawall-proxy-") as folder:
        yield Path(folder)


async def _after_each(engine: LoadedEngine, url: Callable[[], str], steps: dict[str, Step]) -> None:
    """Trade, one fault, the gate open again in time, and the books compared."""
    for name, step in steps.items():
        try:
            await engine.trades(2)
            await step()
            relieved = time.monotonic()
            await eventually(engine.is_open, timeout_s=_GATE_S)
            assert time.monotonic() - relieved < _GATE_S
            await engine.compare(url())
        except AssertionError as error:
            cause = engine.desk.kernel.parts.redis.snapshot().cause
            raise AssertionError(f"{name}: {error}; the link says: {cause}") from error
    await engine.trades(2)


async def _outage(
    engine: LoadedEngine,
    begin: Callable[[], object],
    end: Callable[[], object],
    *,
    noticed_s: float = _NOTICED_AT_ONCE_S,
    for_s: float = 0.3,
) -> None:
    """An outage that is noticed in time and lets no entry through until it is relieved."""
    await asyncio.to_thread(begin)
    noticed_ns = await engine.is_lost(noticed_s)
    await asyncio.sleep(for_s)
    assert engine.entries_between(noticed_ns + 50_000_000, time.time_ns()) == 0
    await asyncio.to_thread(end)


async def test_a_server_that_forgets_refuses_and_pauses(
    tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server("--requirepass", "right")
    url = f"unix://:right@{server.socket_path}"
    operator: Any = redis.Redis.from_url(server.url, password="right")

    async def flushed() -> None:
        before = len(engine.told)
        await asyncio.to_thread(operator.flushall)
        await eventually(
            lambda: "replaying" in {what for _, what in engine.told[before:]}, timeout_s=2
        )
        assert "down" not in {what for _, what in engine.told[before:]}

    def full() -> None:
        used = operator.info("memory")["used_memory"]
        operator.config_set("maxmemory", used + 300_000)
        with contextlib.suppress(redis.exceptions.OutOfMemoryError):
            # In small pieces: a large one is refused long before our small writes are.
            for number in range(1_000):
                operator.set(f"other:{number}", "x" * 2_000)
            raise AssertionError("it was not full")

    def relieved() -> None:
        operator.config_set("maxmemory", 0)
        operator.delete(*operator.keys("other:*"))

    def password_changed() -> None:
        operator.config_set("requirepass", "another")
        operator.client_kill_filter(_type="normal", skipme=True)

    def disconnected() -> None:
        operator.client_kill_filter(_type="normal", skipme=True)

    async with loaded_engine(tmp_path, url) as engine:
        await _after_each(
            engine,
            lambda: url,
            {
                "killed, and empty when it comes back": lambda: _outage(
                    engine, server.kill, server.start
                ),
                "FLUSHALL without a disconnect": flushed,
                "CLIENT PAUSE": lambda: _outage(
                    engine,
                    lambda: operator.client_pause(2_200),
                    lambda: operator.ping(),
                    noticed_s=_NOTICED_S,
                    for_s=0.0,
                ),
                "CLIENT KILL": lambda: _outage(engine, disconnected, lambda: None, for_s=0.0),
                "maxmemory reached and relieved": lambda: _outage(
                    engine, full, relieved, noticed_s=_NOTICED_S
                ),
                "password changed and changed back": lambda: _outage(
                    engine, password_changed, lambda: operator.config_set("requirepass", "right")
                ),
            },
        )
    operator.close()


async def test_a_server_that_keeps_all_and_a_way_that_breaks(
    tmp_path: Path, start_server: StartServer, socket_folder: Path
) -> None:
    server = start_server(persistent=True)
    async with (
        ByteProxy(upstream=server.socket_path, folder=socket_folder) as proxy,
        loaded_engine(tmp_path, proxy.url) as engine,
    ):

        async def truncated() -> None:
            proxy.truncate_after(50_001)
            await engine.is_lost(5.0)

        async def slow_and_split() -> None:
            proxy.piece_bytes_max = 7
            await asyncio.sleep(0.5)
            proxy.heal()
            proxy.delay_s = 0.1
            await asyncio.sleep(0.5)
            proxy.heal()

        async def dark() -> None:
            proxy.go_dark()
            await engine.is_lost(_NOTICED_S)
            proxy.heal()

        async def cut() -> None:
            proxy.cut()
            await engine.is_lost(_NOTICED_AT_ONCE_S)

        await _after_each(
            engine,
            lambda: server.url,
            {
                "killed, with all there when it comes back": lambda: _outage(
                    engine, server.kill, server.start
                ),
                "cut": cut,
                "truncated": truncated,
                "delayed and split": slow_and_split,
                "dropped": dark,
            },
        )


async def test_an_older_copy_and_a_replica_that_lacks_the_newest(
    tmp_path: Path, start_server: StartServer, socket_folder: Path
) -> None:
    port = free_port()
    master = start_server("--port", str(port), "--repl-diskless-sync-delay", "0")
    replica = start_server()
    async with (
        ByteProxy(upstream=master.socket_path, folder=socket_folder) as proxy,
        loaded_engine(tmp_path, proxy.url) as engine,
    ):
        now = master

        async def restored() -> None:
            await asyncio.to_thread(master.command, "SAVE")
            await asyncio.sleep(0.3)
            await _outage(engine, master.kill, master.start)  # From the file of before.

        async def promoted() -> None:
            nonlocal now
            replica.command("REPLICAOF", "127.0.0.1", str(port))
            await eventually(lambda: _length(replica) > engine.sent, timeout_s=10)
            replica.freeze()
            master.command("CLIENT", "KILL", "TYPE", "replica")
            sent = engine.sent
            await eventually(lambda: _length(master) > sent + 400, timeout_s=5)
            had = _length(master)
            await asyncio.to_thread(master.kill)
            noticed_ns = await engine.is_lost(_NOTICED_AT_ONCE_S)
            replica.thaw()
            replica.command("REPLICAOF", "NO", "ONE")
            assert _length(replica) < had, "nothing was lost: this tests something else"
            assert engine.entries_between(noticed_ns + 50_000_000, time.time_ns()) == 0
            proxy.redirect(replica.socket_path)
            now = replica

        await _after_each(
            engine,
            lambda: now.url,
            {"restored from an older copy": restored, "replica promoted": promoted},
        )


def _length(server: RealRedis) -> int:
    answer = server.command("XLEN", _KEY)
    return int(answer[1:]) if answer.startswith(b":") else 0


@pytest.mark.timeout(90)
async def test_frozen_for_twenty_seconds(tmp_path: Path, redis_server: RealRedis) -> None:
    """40,000 events wait meanwhile. The gate is open within 10 s, and their 60 MB as objects, or
    20 MB as rows, are nowhere in memory: what grows is the engine's own trading.
    """
    async with loaded_engine(tmp_path, redis_server.url) as engine:
        await engine.trades(5)
        before = _resident_bytes()
        redis_server.freeze()
        frozen, frozen_ns = time.monotonic(), time.time_ns()
        await engine.is_lost(_NOTICED_S)
        await asyncio.sleep(20.0 - (time.monotonic() - frozen))  # Its length is what is tested.
        pending = engine.pending()
        assert pending > 10_000
        assert engine.entries_between(frozen_ns + 2_500_000_000, time.time_ns()) == 0
        redis_server.thaw()
        thawed = time.monotonic()
        await eventually(engine.is_open, timeout_s=_GATE_S)
        took_s = time.monotonic() - thawed
        await engine.trades(2)
        grown = _resident_bytes() - before
        await engine.compare(redis_server.url)
        assert took_s < _GATE_S
        assert grown < _GROWTH_MAX_BYTES, f"{grown / 1e6:.1f} MB more after {pending} events"


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
