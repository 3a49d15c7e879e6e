"""A process that writes intents and fills is killed at random moments; what it acknowledged is
there.

Method: a real process with the real store; it prints the number of each change after its future was
resolved. SIGKILL while it is busy, reopen, compare: the database is sound, every acknowledged
change is there, and state and outbox tell the same story. Then the next process goes on in the same
file.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.database import check_integrity

WRITER = Path(__file__).with_name("killed_writer_program.py")
ROOT = Path(__file__).resolve().parents[2]
KILLS = 24


@pytest.mark.timeout(120)
def test_every_acknowledged_write_survives_sigkill(tmp_path: Path) -> None:
    database = tmp_path / "state.db"
    chance = random.Random(20240808)
    acknowledged: set[str] = set()
    for round_number in range(KILLS):
        acknowledged |= killed_run(database, round_number, after=chance.randint(1, 400))
        assert check_integrity(database) == []
        with contextlib.closing(sqlite3.connect(database)) as connection:
            check_books(connection, acknowledged)
    assert len(acknowledged) > KILLS * 10


def killed_run(database: Path, round_number: int, *, after: int) -> set[str]:
    """Start the program, kill it after so many acknowledgements, return what it had
    acknowledged."""
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(database), str(round_number)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    said: list[str] = []
    with process.stdout as output:
        for line in output:
            said.append(line)
            if len(said) == after:
                process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    return {line.strip() for line in said if line.endswith("\n")}


def check_books(connection: sqlite3.Connection, acknowledged: set[str]) -> None:
    intents = {row[0] for row in connection.execute("SELECT client_order_id FROM intents")}
    fills = {row[0] for row in connection.execute("SELECT execution_id FROM fills")}
    assert acknowledged <= intents | fills
    events = connection.execute("SELECT seq, type, payload FROM outbox ORDER BY seq").fetchall()
    assert [row[0] for row in events] == list(range(1, len(events) + 1))
    told = [(kind, json.loads(payload)) for _, kind, payload in events]
    assert {body["client_order_id"] for kind, body in told if kind == "order.intended"} == intents
    assert {body["execution_id"] for kind, body in told if kind == "order.filled"} == fills
    filled_orders = {
        row[0] for row in connection.execute("SELECT client_order_id FROM orders WHERE is_open = 0")
    }
    assert filled_orders == {
        row[0] for row in connection.execute("SELECT client_order_id FROM fills")
    }
    position = connection.execute("SELECT quantity FROM positions").fetchone()
    assert (position[0] if position else "0") == str(len(fills))
