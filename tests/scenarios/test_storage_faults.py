"""Stories of a disk that fails and of two engines on one folder."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.kernel import build_kernel
from engine.model import events as ev
from engine.model.emergency import EmergencyState, TripSource
from engine.model.errors import DataDirectoryInUse
from engine.model.values import Side
from engine.runtime import SystemClock
from tests.desk import ETH, Desk, story

_WRITES = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)
_ROOT = Path(__file__).resolve().parents[2]


class _SickDisk:
    """The state database begins no transaction until it is well again, whatever is written.

    SQLite itself refuses, by its authorizer: a page count limit would let through what fits into
    the room left on old pages, and `query_only` could not be lifted by the writer any more.
    """

    def __init__(self, desk: Desk) -> None:
        self._writer = desk.kernel.parts.storage.writer
        self._is_sick = False

    async def fall_sick(self) -> None:
        self._is_sick = True
        await self._writer.submit(lambda connection: connection.set_authorizer(self._judge))

    def recover(self) -> None:
        self._is_sick = False

    def _judge(self, action: int, first: str | None, *_: str | None) -> int:
        # A statement may be a transaction of its own.
        begins = action in _WRITES or (action == sqlite3.SQLITE_TRANSACTION and first == "BEGIN")
        return sqlite3.SQLITE_DENY if begins and self._is_sick else sqlite3.SQLITE_OK


@story()
@pytest.mark.allow_log("")
async def test_a_sick_disk_shuts_the_gate_and_exits_still_work(desk: Desk) -> None:
    """Goal: no entry without a durable intent; positions can be closed; afterwards all is saved."""
    await desk.enter()
    await desk.enter(Side.SELL, ETH)
    disk, recorder = _SickDisk(desk), desk.kernel.parts.execution.recorder
    await disk.fall_sick()
    desk.exit()
    await desk.until(lambda: "BTCUSDT" not in desk.venue_positions())
    await desk.until(lambda: desk.quantity() == 0)
    await desk.until(lambda: not recorder.is_healthy)
    assert "store_unhealthy" in desk.gate()
    sent = desk.entries_at_venue()
    desk.signal(Side.BUY)
    await desk.sleep(5)
    assert desk.entries_at_venue() == sent
    assert "store_unhealthy" in desk.heard(ev.SignalBlocked)[-1].reason_codes
    assert any(a.code == "DATABASE_DOWN" for a in desk.kernel.parts.alarms.snapshot())
    disk.recover()
    await desk.until(lambda: recorder.is_healthy)
    await desk.until(lambda: not desk.gate())
    await desk.sleep(1)
    await desk.restart()  # What was kept in memory meanwhile is on the disk.
    assert desk.quantity() == 0
    assert desk.quantity(ETH) < 0
    await desk.enter()


@story()
@pytest.mark.allow_log("")
async def test_the_stop_works_on_a_sick_disk(desk: Desk) -> None:
    await desk.enter()
    disk = _SickDisk(desk)
    await disk.fall_sick()
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story")
    await desk.until(
        lambda: desk.kernel.parts.stop.snapshot().state is EmergencyState.FLAT, timeout_s=30
    )
    assert desk.venue_positions() == {}
    assert desk.open_at_venue() == []
    disk.recover()
    await desk.until(lambda: desk.kernel.parts.execution.recorder.is_healthy)
    await desk.restart()
    assert desk.kernel.parts.stop.is_latched()


@story()
async def test_a_second_engine_on_the_same_folder_is_refused(desk: Desk) -> None:
    """Goal: in the same process and from another one, in plain words, and nothing is touched."""
    with pytest.raises(DataDirectoryInUse):
        await build_kernel(desk.kernel.parts.options, clock=SystemClock())
    finished = _start_another(desk.data_dir)
    assert finished.returncode == 1, finished.stderr
    assert "another Seawall uses" in finished.stderr
    assert "Traceback" not in finished.stderr
    await desk.enter()


def _start_another(data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "console", "run", "--headless", "--for", "1s"),
            *("--data-dir", str(data_dir), "--json"),
        ],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@story()
@pytest.mark.allow_log("")
async def test_a_damaged_file_shuts_the_gate_for_good_and_exits_still_work(desk: Desk) -> None:
    """Goal: damage does not pass by itself, is said in words of its own, and holds entries."""
    await desk.enter()
    desk.kernel.parts.storage.writer.note_damage("cannot read state.db: malformed")
    assert "store_unhealthy" in desk.gate()
    await desk.sleep(60)
    assert "store_unhealthy" in desk.gate()
    alarms = {a.code: a for a in desk.kernel.parts.alarms.snapshot() if a.state == "new"}
    assert "cannot read state.db: malformed" in alarms["DATABASE_DAMAGED"].text
    assert "Restart" in alarms["DATABASE_DAMAGED"].action
    assert "DATABASE_DOWN" not in alarms
    desk.exit()
    await desk.until(lambda: desk.quantity() == 0)
    await desk.restart()
    assert "store_unhealthy" not in desk.gate()


@story()
@pytest.mark.allow_log("could not be written to the journal")
async def test_an_event_that_can_never_be_written_is_an_alarm(desk: Desk) -> None:
    parts = desk.kernel.parts
    odd: Any = object()
    parts.bus.emit(ev.RedisLost(**parts.stamper(), cause=odd))
    await desk.until(lambda: parts.storage.journal.lost == 1)
    await desk.sleep(4)
    alarms = {a.code: a for a in parts.alarms.snapshot() if a.state == "new"}
    assert "1 of them" in alarms["EVENTS_LOST"].text
    await desk.enter()
