"""Bytes are delayed, split, truncated and dropped while 2,000 events a second flow.

Afterwards every durable event is in the stream once and in order, against a list kept outside the
engine, and the memory has not grown with the outages.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.events import RedisLost, SignalReceived
from tests.faults.byte_proxy import ByteProxy
from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis
from tests.waiting import eventually

_PER_TURN, _TURN_S = 20, 0.01
_MEMORY_GROWTH_MAX = 24_000_000
pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A short path: a Unix socket's may be no longer than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="seawall-proxy-") as folder:
        yield Path(folder)


async def _flow(desk: LinkDesk, stop: asyncio.Event) -> None:
    """2,000 events a second, whatever happens to Redis."""
    began, turns = time.monotonic(), 0
    while not stop.is_set():
        for _ in range(_PER_TURN):
            desk.bus.emit(desk.event())
        turns += 1
        # What the test's own subscriber noted is no memory of the engine.
        desk.heard[:] = [event for event in desk.heard if not isinstance(event, SignalReceived)]
        await asyncio.sleep(max(0.0, began + turns * _TURN_S - time.monotonic()))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _healthy(desk: LinkDesk) -> None:
    await eventually(
        lambda: desk.link.is_up() and not desk.link.recovering and desk.journal.pending < 1_000,
        timeout_s=20,
    )


async def test_delayed_and_split_bytes_are_no_outage(
    tmp_path: Path, redis_server: RealRedis, socket_folder: Path
) -> None:
    async with (
        ByteProxy(upstream=redis_server.socket_path, folder=socket_folder) as proxy,
        link_desk(tmp_path / "state.db", url=proxy.url) as desk,
    ):
        stop = asyncio.Event()
        flowing = asyncio.ensure_future(_flow(desk, stop))
        proxy.piece_bytes_max = 7
        await asyncio.sleep(0.7)
        proxy.heal()
        proxy.delay_s = 0.1
        await asyncio.sleep(1.0)
        proxy.heal()
        stop.set()
        await flowing
        await eventually(desk.is_caught_up, timeout_s=20)
        assert not desk.heard_of(RedisLost)
        desk.assert_mirrored(read_stream(redis_server.url))


async def test_truncated_cut_and_dark_connections_lose_and_repeat_nothing(
    tmp_path: Path, redis_server: RealRedis, socket_folder: Path
) -> None:
    async with (
        ByteProxy(upstream=redis_server.socket_path, folder=socket_folder) as proxy,
        link_desk(tmp_path / "state.db", url=proxy.url) as desk,
    ):
        stop = asyncio.Event()
        began = time.monotonic()
        flowing = asyncio.ensure_future(_flow(desk, stop))
        await asyncio.sleep(1.0)
        await _healthy(desk)
        memory_before = _resident_bytes()
        for size in (1, 37, 5_000, 50_001, 200_003):
            seen, lost = proxy.truncated, len(desk.heard_of(RedisLost))
            proxy.truncate_after(size)
            await eventually(lambda seen=seen: proxy.truncated > seen, timeout_s=10)
            # Until the link has noticed it still looks healthy, and the next truncation would hit
            # its reconnect instead of an outage of its own.
            await eventually(lambda lost=lost: len(desk.heard_of(RedisLost)) > lost)
            await _healthy(desk)
        for _ in range(3):
            lost = len(desk.heard_of(RedisLost))
            proxy.cut()
            await eventually(lambda lost=lost: len(desk.heard_of(RedisLost)) > lost)
            assert desk.link.recovering
            await _healthy(desk)
        proxy.go_dark()
        await eventually(lambda: not desk.link.is_up(), timeout_s=4, interval_s=0.02)
        assert desk.link.recovering
        await asyncio.sleep(1.0)
        proxy.heal()
        await _healthy(desk)
        stop.set()
        await flowing
        rate = len(desk.ledger.ids) / (time.monotonic() - began)
        await eventually(desk.is_caught_up, timeout_s=20)
        grown = _resident_bytes() - memory_before
        assert len(desk.heard_of(RedisLost)) >= 9
        assert rate > 1_000, f"{rate:.0f} events a second: this was no load"
        assert grown < _MEMORY_GROWTH_MAX, f"{grown / 1e6:.1f} MB more"
        assert not desk.foreign()
        desk.assert_mirrored(read_stream(redis_server.url))
