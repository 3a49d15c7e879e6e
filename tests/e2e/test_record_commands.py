"""The commands about records as an operator types them: real processes on a real data directory."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.control import ControlClient, NoEngine
from engine.database import check_integrity
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(90)
_OPEN_WHY = "a position is read from the venue at the start, not from here"
_ROOT = Path(__file__).resolve().parents[2]


def seawall_raw(data_dir: Path, *words: str, status: int) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, which must be with this status."""
    done = subprocess.run(
        [sys.executable, "-m", "console", *words, "--data-dir", str(data_dir)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def seawall(data_dir: Path, *words: str, status: int = 0) -> str:
    """Run one command; returns what it printed on standard output, or on error when refused."""
    done = seawall_raw(data_dir, *words, status=status)
    return done.stderr if status else done.stdout


def answer(data_dir: Path, *words: str) -> Any:
    return json.loads(seawall(data_dir, *words, "--json"))


@contextmanager
def running(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An engine in a process of its own, ended in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "console", "run", "--headless", "--data-dir", str(data_dir)],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)


async def is_up(data_dir: Path) -> None:
    def answers() -> bool:
        try:
            status: dict[str, Any] = ControlClient(data_dir).call("status")
        except NoEngine:
            return False
        return bool(status["state"] == "running")

    await eventually(answers, timeout_s=30)


async def test_backup_with_and_without_an_engine(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    assert "there is no state database" in seawall(data_dir, "backup", status=1)
    with running(data_dir):
        await is_up(data_dir)
        online = answer(data_dir, "backup", "--reason", "a test")
    offline = answer(data_dir, "backup")
    for made in (online, offline):
        assert made["ok"]
        assert check_integrity(Path(made["path"])) == []
    assert offline["made_ns"] > online["made_ns"]
    assert "backup made and checked" in seawall(data_dir, "backup")


async def test_the_audit_trail_is_proved_exported_and_its_first_broken_link_named(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    assert "there is no state database" in seawall(data_dir, "audit", "verify", status=1)
    with running(data_dir):
        await is_up(data_dir)
        for number in (1, 2, 3):
            seawall(data_dir, "halt", "--reason", f'number {number}, "quoted"')
        beside = answer(data_dir, "audit", "verify")
        assert beside["ok"]
        assert "no dead letters" in seawall(data_dir, "journal", "list-dead")
        refusal = seawall(data_dir, "journal", "requeue", "7", status=1)
        assert "there is no dead letter 7 to be requeued" in refusal
    assert "no engine runs here" in seawall(data_dir, "journal", "list-dead", status=1)
    entries = answer(data_dir, "audit", "export")
    assert [entry["seq"] for entry in entries] == list(range(1, beside["entries"] + 1))
    rows = list(csv.DictReader(io.StringIO(seawall(data_dir, "audit", "export"))))
    assert [row["why"] for row in rows] == [entry["why"] for entry in entries]
    assert 'number 2, "quoted"' in {row["why"] for row in rows}
    assert list(rows[0]) == ["seq", "ts_ns", "who", "what", "why", "where", "digest"]
    tampered = next(entry["seq"] for entry in entries if "number 2" in entry["why"])
    with closing(sqlite3.connect(data_dir / "state.db")) as connection:
        connection.execute("UPDATE audit SET why = 'nothing' WHERE seq = ?", (tampered,))
        connection.commit()
    broken = json.loads(seawall_raw(data_dir, "audit", "verify", "--json", status=1).stdout)
    assert (broken["ok"], broken["first_broken"]) == (False, tampered)
    assert f"entry {tampered} " in broken["why"]


async def test_reduce_only_is_switched_from_a_shell(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    assert "no engine" in seawall(data_dir, "reduce-only", "on", status=1)
    with running(data_dir):
        await is_up(data_dir)
        assert answer(data_dir, "reduce-only", "on", "--reason", "a test")["state"] == "reduce_only"
        again = answer(data_dir, "reduce-only", "off")
    assert (again["ok"], again["state"]) == (True, "running")
    whys = [entry["what"] for entry in answer(data_dir, "audit", "export")]
    assert whys[-2:] == ["reduce only on", "reduce only off"]


async def test_old_trades_and_events_are_imported_once_and_an_engine_starts_on_them(
    tmp_path: Path,
) -> None:
    data_dir, state, buffer = tmp_path / "data", tmp_path / "trade_state.json", tmp_path / "buffer"
    trade = {
        "symbol": "BTCUSDT",
        "side": "buy",
        "quantity": "0.1",
        "entry_price": 60000,
        "exit_price": 59000,
        "pnl": -100,
        "opened_at": 1_722_945_600,
        "closed_at": 1_722_949_200,
        "mood": "bad",
    }
    state.write_text(json.dumps({f"old-{n}": trade for n in range(8)} | {"broken": {}}))
    buffer.write_text(
        '{"event_type": "trade.closed", "event_id": "b", "timestamp": 20, "event_data": {"n": 2}}\n'
        '{"event_type": "trade.opened", "event_id": "a", "timestamp": 10, "event_data": {"n": 1}}\n'
        "half a li"
    )
    report = answer(data_dir, "import-state", str(state), "--reason", "moving in")
    assert report["taken"] == [f"old-{n}" for n in range(8)]
    assert report["refused"] == {"broken": "it is open: " + _OPEN_WHY}
    assert report["unknown_keys"]["old-0"] == ["mood"]
    again = answer(data_dir, "import-state", str(state))
    assert again["taken"] == []
    assert again["refused"]["old-3"] == "a trade of this id is here already"
    report = answer(data_dir, "import-buffer", str(buffer))
    assert (report["imported"], report["duplicates"]) == (2, 0)
    assert [bad["line"] for bad in report["bad_lines"]] == [3]
    assert answer(data_dir, "import-buffer", str(buffer))["duplicates"] == 2
    with closing(sqlite3.connect(data_dir / "state.db")) as connection:
        rows = connection.execute("SELECT event_id, payload FROM outbox ORDER BY seq").fetchall()
    assert rows == [("a", b'{"n": 1}'), ("b", b'{"n": 2}')]
    assert "cannot read" in seawall(data_dir, "import-state", str(tmp_path / "none"), status=1)
    with running(data_dir):
        await is_up(data_dir)
        refusal = seawall(data_dir, "import-state", str(state), status=1)
        assert "another Seawall uses" in refusal
        # A lost streak of long ago is history, not a reason to stop today.
        assert ControlClient(data_dir).call("status")["risk"]["loss_streak"] == 0
    assert answer(data_dir, "audit", "verify")["ok"]
    whats = [entry["what"] for entry in answer(data_dir, "audit", "export")]
    assert whats[0] == "import of trades from trade_state.json"
    assert "import of 2 events from buffer" in whats
