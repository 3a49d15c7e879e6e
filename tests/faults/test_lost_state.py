"""Real engines killed by SIGKILL whose files are then damaged: what the next start makes of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.control import ControlClient, NoEngine
from engine.database import check_integrity
from tests import books_auditor
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(120)
_ROOT = Path(__file__).resolve().parents[2]
_CONFIGURATION = """
[redis]
mode = "standalone"
[market]
scenario = "volatile"
"""


class _Engine:
    """`seawall run --headless` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        configuration = folder / "seawall.toml"
        configuration.write_text(_CONFIGURATION)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "console", "run", "--headless"),
                *("--data-dir", str(self.data_dir), "--config", str(configuration)),
            ],
            cwd=_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def status(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = ControlClient(self.data_dir).call("status", timeout_s=5.0)
        except NoEngine:
            return {"state": "off", "safeguards": {}, "positions": []}
        return answer

    async def until(self, *states: str) -> dict[str, Any]:
        await eventually(lambda: self.status()["state"] in states, timeout_s=30, interval_s=0.1)
        return self.status()

    def end(self, number: int) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        self._process.wait(30)


def _venue_positions(data_dir: Path) -> dict[str, Decimal]:
    with closing(sqlite3.connect(data_dir / "paper.db")) as connection:
        rows = connection.execute("SELECT symbol, quantity FROM positions").fetchall()
    return {symbol: Decimal(text) for symbol, text in rows if Decimal(text)}


@pytest.mark.parametrize("lost", ["wal", "torn wal and pages"])
async def test_what_a_kill_and_a_bad_disk_leave_is_won_back(tmp_path: Path, lost: str) -> None:
    """Goal: the venue's truth and ours agree again, under a new generation, and trading waits."""
    engine = _Engine(tmp_path)
    data_dir = engine.data_dir
    try:
        await engine.until("running")
        await eventually(lambda: engine.status()["positions"], timeout_s=60, interval_s=0.2)
        ControlClient(data_dir).call("backup", {"reason": "a test"}, timeout_s=30)
    finally:
        engine.end(signal.SIGKILL)
    wal, database = data_dir / "state.db-wal", data_dir / "state.db"
    assert wal.exists()
    if lost == "wal":
        wal.unlink()
        (data_dir / "state.db-shm").unlink()
    else:
        content = bytearray(database.read_bytes())
        content[8_192:] = os.urandom(len(content) - 8_192)
        database.write_bytes(content)
        wal.write_bytes(wal.read_bytes()[: 4_096 * 3])
    second = _Engine(tmp_path)
    try:
        status = await second.until("ready")
        assert "START" in status["why"]
        assert "DATABASE_RESTORED" in {alarm["code"] for alarm in status["alarms"]}
        ours = {
            entry["symbol"]: Decimal(entry["quantity"]) * (1 if entry["side"] == "LONG" else -1)
            for entry in status["positions"]
        }
        assert ours == _venue_positions(data_dir)
        started = ControlClient(data_dir).call("start", {"reason": "compared"}, timeout_s=10)
        assert started["ok"], started
        await second.until("running")
    finally:
        second.end(signal.SIGTERM)
    assert check_integrity(database) == []
    assert books_auditor.problems_of(data_dir / "paper.db") == []
