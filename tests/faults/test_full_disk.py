"""A disk that is really full under the whole engine: no new risk, an alarm, and a stop that works.

Method: the data directory is a file system of its own of a few megabytes, filled by somebody else.
Only the paper venue's books lie elsewhere, as a real venue's do.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from engine.latch import LatchFile
from engine.model.emergency import EmergencyState, TripSource
from engine.model.snapshots import EngineState
from engine.model.values import Side
from engine.runtime import SystemClock
from tests.desk import BTC, ETH, Desk

_FREE_BYTES = 24 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "desk"
    data = folder / "data"
    data.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(data)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk of its own cannot be mounted here: needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


def _fill(disk: Path) -> Path:
    """Until not a byte is left."""
    filler = disk / "filler"
    with pytest.raises(OSError, match="space"):
        filler.write_bytes(bytes(_FREE_BYTES))
    with filler.open("ab", buffering=0) as rest, pytest.raises(OSError, match="space"):
        _write_for_ever(rest)
    return filler


def _write_for_ever(rest: FileIO) -> None:
    while True:
        rest.write(bytes(64))


@pytest.mark.timeout(90)
@pytest.mark.allow_log("")
async def test_no_risk_an_alarm_and_a_stop_that_works(small_disk: Path, tmp_path: Path) -> None:
    desk = Desk(clock=SystemClock(), folder=small_disk, latency_ms=1)
    await desk.open()
    await desk.until(lambda: desk.kernel.parts.backups.newest is not None)
    await desk.close()
    books = tmp_path / "paper.db"
    shutil.move(desk.data_dir / "paper.db", books)
    (desk.data_dir / "paper.db").symlink_to(books)
    await desk.open()
    try:
        await desk.until(lambda: desk.state() is EngineState.RUNNING)
        await desk.enter(Side.BUY, BTC)
        await desk.enter(Side.SELL, ETH)
        filler = _fill(desk.data_dir)
        parts = desk.kernel.parts
        # Room left on old pages takes some changes; what asks for a new page does not fit.
        desk.exit(ETH)
        await desk.until(lambda: ETH not in desk.venue_positions())
        for number in range(200):
            desk.market.move(BTC, f"{60_000 + number}")
            desk.signal(Side.BUY, ETH)
            if "store_unhealthy" in desk.gate():
                break
            await desk.sleep(0.1)
        assert "store_unhealthy" in desk.gate()
        await desk.until(
            lambda: "DATABASE_DOWN" in {alarm.code for alarm in parts.alarms.snapshot()},
            timeout_s=15,
        )
        sent = desk.entries_at_venue()
        desk.kernel.client.trip(source=TripSource.BUTTON, reason="the disk is full")
        await desk.until(lambda: parts.stop.snapshot().state is EmergencyState.FLAT, timeout_s=30)
        assert desk.venue_positions() == {}
        assert desk.open_at_venue() == []
        assert desk.entries_at_venue() == sent
        await desk.until(lambda: not parts.stop.pending_writes())
        latch = LatchFile(desk.data_dir / "latch").read()
        assert latch.latched, "the latch file needs no free space"
        assert not latch.damage
        filler.unlink()
        await desk.until(lambda: parts.execution.recorder.is_healthy, timeout_s=15)
        await desk.until(lambda: "store_unhealthy" not in desk.gate(), timeout_s=15)
        desk.faults_expected = True
        await desk.assert_sound()
    finally:
        await desk.close()
    await desk.open()  # What was kept in memory meanwhile is on the disk.
    try:
        assert desk.kernel.parts.stop.is_latched()
        assert desk.quantity(BTC) == desk.quantity(ETH) == 0
        assert desk.kernel.parts.storage.loss is None
    finally:
        await desk.close()
