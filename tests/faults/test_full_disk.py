"""A real file system that fills up while events flow, and is freed: nothing lost, nothing
reordered, nothing waits, and Redis gets each event once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:|slow handler|handler .* took"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Four megabytes of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk of its own cannot be mounted here: needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(disk: Path) -> Path:
    """Take every byte that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 65_536
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    assert os.statvfs(disk).f_bavail == 0
    return filler


async def _emit(desk: LinkDesk, count: int) -> float:
    """Emit at once; the longest that one took, in seconds."""
    worst = 0.0
    for number in range(count):
        began = time.perf_counter()
        desk.bus.emit(desk.event())
        worst = max(worst, time.perf_counter() - began)
        if number % 20 == 0:
            await asyncio.sleep(0.001)
    return worst


@pytest.mark.parametrize("rounds", [1, 3])
async def test_what_was_emitted_on_a_full_disk_is_there_when_it_is_freed(
    disk: Path, redis_server: RealRedis, rounds: int
) -> None:
    async with link_desk(disk / "state.db", url=redis_server.url) as desk:
        await _emit(desk, 200)
        await eventually(desk.is_caught_up)
        for _ in range(rounds):
            filler = _fill(disk)
            worst_s = await _emit(desk, 600)
            await eventually(lambda: not desk.writer.healthy, timeout_s=5)
            await _emit(desk, 200)
            await eventually(lambda: desk.writer.pending == 0)
            held = desk.journal.snapshot().held
            assert held >= 200
            assert worst_s < 0.25, "an emit waited for the disk"
            filler.unlink()
            await eventually(lambda: desk.journal.snapshot().held == 0, timeout_s=5)
            await _emit(desk, 50)
            await eventually(desk.is_caught_up, timeout_s=15)
        desk.assert_mirrored(read_stream(redis_server.url))
        assert desk.journal.snapshot().lost == 0
    async with link_desk(disk / "state.db", url=redis_server.url, start=False) as again:
        assert again.journal.pending <= 1  # The link's own last word at most.


async def test_a_disk_that_fills_and_frees_at_random_keeps_every_event_in_order(
    disk: Path, redis_server: RealRedis
) -> None:
    """Method: full for moments of any length, between and within group commits."""
    async with link_desk(disk / "state.db", url=redis_server.url) as desk:
        for number in range(12):
            filler = _fill(disk)
            await _emit(desk, 30 + number * 7)
            filler.unlink()
            await _emit(desk, number)
        await eventually(lambda: desk.journal.snapshot().held == 0, timeout_s=5)
        await eventually(desk.is_caught_up, timeout_s=15)
        desk.assert_mirrored(read_stream(redis_server.url))
        assert desk.journal.snapshot().lost == 0
