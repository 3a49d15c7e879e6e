"""Panic without an engine: real files, a real process that is killed or frozen, the venue's own
books.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.emergency_stop import is_closing_order
from engine.latch import LatchFile, StopState
from engine.model.ids import ClientOrderId
from engine.stop_guard import offline_panic


@contextmanager
def paper_process(data_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    module = "tests.unit.engine.stop_guard.paper_process"
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(data_dir), *arguments], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def books(data_dir: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The venue's own books, read by nobody's code but SQLite's."""
    with closing(sqlite3.connect(data_dir / "paper.db")) as connection:
        return {
            "positions": connection.execute("SELECT symbol, quantity FROM positions").fetchall(),
            "open": connection.execute(
                "SELECT client_order_id FROM orders WHERE is_open = 1"
            ).fetchall(),
            "fills": connection.execute(
                "SELECT client_order_id, symbol, side, quantity FROM fills ORDER BY rowid"
            ).fetchall(),
        }


def killed_desk(data_dir: Path) -> None:
    """An account left open by a process that was killed."""
    with paper_process(data_dir) as process:
        process.kill()
        process.wait()
    assert len(books(data_dir)["positions"]) == 2
    assert len(books(data_dir)["open"]) == 2


def test_a_killed_engines_account_is_flattened(tmp_path: Path) -> None:
    killed_desk(tmp_path)
    answer = offline_panic(tmp_path, reason="from another shell", wait_s=15)
    assert answer["ok"], answer
    assert answer["unmet"] == []
    assert answer["state"] == "latched"
    assert answer["emergency"]["state"] == "flat"
    assert answer["emergency"]["positions_open"] == answer["emergency"]["orders_open"] == 0
    after = books(tmp_path)
    assert after["positions"] == after["open"] == []
    closing_fills = [row for row in after["fills"] if is_closing_order(ClientOrderId(row[0]))]
    assert [row[1:] for row in sorted(closing_fills, key=lambda row: row[1])] == [
        ("BTCUSDT", "SELL", "0.5"),
        ("ETHUSDT", "BUY", "4"),
    ]
    latch = LatchFile(tmp_path / "latch").read()
    assert (latch.latched, latch.state, latch.damage) == (True, StopState.FLAT, "")
    assert [(trip.source, trip.reason) for trip in latch.trips] == [
        ("command_line", "from another shell")
    ]
    assert latch.fence == 1


def test_a_second_panic_changes_nothing_but_the_list_of_trips(tmp_path: Path) -> None:
    killed_desk(tmp_path)
    assert offline_panic(tmp_path, reason="first", wait_s=15)["ok"]
    fills = books(tmp_path)["fills"]
    answer = offline_panic(tmp_path, reason="second", wait_s=15)
    assert answer["ok"]
    assert [trip["reason"] for trip in answer["emergency"]["trips"]] == ["first", "second"]
    assert books(tmp_path)["fills"] == fills


def test_a_pause_is_honoured_and_said(tmp_path: Path) -> None:
    killed_desk(tmp_path)
    LatchFile(tmp_path / "latch").update(
        lambda old: replace(old, latched=True, paused=True, state=StopState.FLATTENING)
    )
    answer = offline_panic(tmp_path, reason="panic", wait_s=1)
    assert not answer["ok"]
    assert any("BTCUSDT LONG 0.5: PAUSED" in entry["why"] for entry in answer["unmet"])
    assert len(books(tmp_path)["positions"]) == 2


def test_an_engine_that_does_not_answer_trips_by_the_file(tmp_path: Path) -> None:
    """Goal: the file alone is enough. Method: a living engine without a control socket."""
    with paper_process(tmp_path, "engine"):
        started = time.monotonic()
        answer = offline_panic(tmp_path, reason="no answer", wait_s=15)
        took_s = time.monotonic() - started
        assert answer["ok"], answer
        assert took_s < 5.0
        assert books(tmp_path)["positions"] == []


def test_a_frozen_engine_is_latched_and_named_and_stops_when_it_wakes(tmp_path: Path) -> None:
    with paper_process(tmp_path, "engine") as process:
        os.kill(process.pid, signal.SIGSTOP)
        answer = offline_panic(tmp_path, reason="frozen", wait_s=0.5)
        assert not answer["ok"]
        assert answer["state"] == "latched"
        assert answer["emergency"]["positions_open"] is None
        assert f"process {process.pid} (engine)" in answer["unmet"][0]["why"]
        os.kill(process.pid, signal.SIGCONT)
        deadline = time.monotonic() + 10
        while books(tmp_path)["positions"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert books(tmp_path)["positions"] == []


def test_an_engine_that_dies_meanwhile_is_taken_over_from(tmp_path: Path) -> None:
    with paper_process(tmp_path, "engine") as process:
        os.kill(process.pid, signal.SIGSTOP)
        timer = threading.Timer(0.5, process.kill)
        timer.start()
        answer = offline_panic(tmp_path, reason="dies", wait_s=15)
        timer.join()
        assert answer["ok"], answer
        assert books(tmp_path)["positions"] == []


def test_killed_in_the_middle_of_a_panic_the_next_one_goes_on(tmp_path: Path) -> None:
    killed_desk(tmp_path)
    command = (
        "from pathlib import Path; from engine.stop_guard import offline_panic; import sys;"
        "offline_panic(Path(sys.argv[1]), reason='killed', wait_s=15)"
    )
    for delay_s in (0.3, 0.45, 0.6):
        process = subprocess.Popen([sys.executable, "-c", command, str(tmp_path)])
        time.sleep(delay_s)
        process.kill()
        process.wait()
    answer = offline_panic(tmp_path, reason="again", wait_s=15)
    assert answer["ok"], answer
    after = books(tmp_path)
    assert after["positions"] == after["open"] == []
    identifiers = [row[0] for row in after["fills"]]
    assert len(identifiers) == len(set(identifiers))


def test_without_anything_there_it_still_latches(tmp_path: Path) -> None:
    data_dir = tmp_path / "never" / "used"
    answer = offline_panic(data_dir, reason="panic", wait_s=1)
    assert answer["ok"]
    assert answer["emergency"]["state"] == "flat"
    assert LatchFile(data_dir / "latch").read().latched


def test_missing_and_broken_books_are_never_flat(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"")
    answer = offline_panic(tmp_path, reason="panic", wait_s=1)
    assert not answer["ok"]
    assert "cannot be known" in answer["unmet"][0]["why"]
    (tmp_path / "paper.db").write_bytes(b"this is no database, " * 500)
    answer = offline_panic(tmp_path, reason="panic", wait_s=1)
    assert not answer["ok"]
    assert "cannot be opened" in answer["unmet"][0]["why"]
    assert LatchFile(tmp_path / "latch").read().latched


def test_a_damaged_latch_becomes_a_trip_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "latch").write_bytes(b"torn")
    answer = offline_panic(tmp_path, reason="panic", wait_s=1)
    assert [trip["source"] for trip in answer["emergency"]["trips"]] == [
        "latch_file",
        "command_line",
    ]


@pytest.mark.allow_log("latch file could not be written")
def test_a_latch_that_cannot_be_written_is_said_and_closing_goes_on(tmp_path: Path) -> None:
    killed_desk(tmp_path)
    (tmp_path / "latch").unlink()
    (tmp_path / "latch").mkdir()
    (tmp_path / "latch" / "in-the-way").touch()
    answer = offline_panic(tmp_path, reason="panic", wait_s=15)
    assert not answer["ok"]
    assert [entry["condition"] for entry in answer["unmet"]] == ["latch_file"]
    assert answer["emergency"]["state"] == "flat"
    assert books(tmp_path)["positions"] == []
