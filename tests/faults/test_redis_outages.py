"""A trading engine loses its Redis three ways in one run: killed, frozen, flushed.

Real: the engine's process, the Redis server, its death. Compared from outside: the stream is read
over a connection of the test's own, the outbox and the venue's books straight from their files.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import books_auditor
from tests.faults.link_desk import read_stream
from tests.real_redis import RealRedis

_ROOT = Path(__file__).resolve().parents[2]
_OUTAGE_S = 10.0
_WAIT_S = 20.0


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


class _Engine:
    """The engine's process and its files."""

    def __init__(self, folder: Path, url: str) -> None:
        self.state = folder / "data" / "state.db"
        self.paper = folder / "data" / "paper.db"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.busy_engine", str(folder), url, "120"],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def events(self, kind: str) -> list[int]:
        """Times of the durable events of a type, by the file."""
        if not self.state.exists():
            return []
        try:
            rows = _rows(self.state, f"SELECT ts_ns FROM outbox WHERE type = '{kind}' ORDER BY seq")
        except sqlite3.OperationalError:
            return []  # Its tables are being made.
        return [row[0] for row in rows]

    def wait_for(self, what: str, reached: Any) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not reached():
            assert self._process.poll() is None, "the engine ended by itself"
            assert time.monotonic() < deadline, f"not within {_WAIT_S} s: {what}"
            time.sleep(0.05)

    def entries_since(self, ns: int) -> int:
        sql = f"SELECT count(*) FROM orders WHERE reduce_only = 0 AND ts_ns > {ns}"
        return int(_rows(self.paper, sql)[0][0])

    def trade(self, *, entries: int) -> None:
        """Wait until so many entries more have reached the venue."""
        before = time.time_ns()
        self.wait_for(f"{entries} entries", lambda: self.entries_since(before) >= entries)

    def end(self) -> dict[str, Any]:
        """End it in order; its summary."""
        self._process.send_signal(signal.SIGTERM)
        out, err = self._process.communicate(timeout=30)
        assert self._process.returncode == 0, err[-4000:]
        summary: dict[str, Any] = json.loads(out)
        return summary

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.mark.timeout(150)
def test_redis_killed_frozen_and_flushed_while_trading(
    redis_server: RealRedis, tmp_path: Path
) -> None:
    """Goal: afterwards every durable event is there once and in order; no entry in an outage."""
    engine = _Engine(tmp_path, redis_server.url)
    try:
        engine.wait_for("the first fill", lambda: engine.events("order.filled"))
        engine.trade(entries=10)
        redis_server.kill()
        time.sleep(_OUTAGE_S)  # The length of the outage is what is tested.
        redis_server.start()
        engine.wait_for("recovery", lambda: len(engine.events("system.redis_recovered")) == 1)
        engine.trade(entries=5)
        redis_server.freeze()
        time.sleep(_OUTAGE_S)
        redis_server.thaw()
        engine.wait_for("recovery", lambda: len(engine.events("system.redis_recovered")) == 2)
        engine.trade(entries=5)
        redis_server.flush()
        engine.trade(entries=10)
        summary = engine.end()
    finally:
        engine.close()

    entries = read_stream(redis_server.url)
    outbox = _rows(engine.state, "SELECT seq, event_id, type FROM outbox ORDER BY seq")
    told = [(entry, fields) for entry, fields in entries if "id" in fields]
    assert len(outbox) > 500
    assert [(fields["id"], fields["type"]) for _, fields in told] == [
        (event_id, kind) for _, event_id, kind in outbox
    ]
    epochs = {int(entry.split("-")[0]) for entry, _ in told}
    assert len(epochs) == 1, epochs
    assert [int(entry.split("-")[1]) for entry, _ in told] == [seq for seq, _, _ in outbox]

    assert summary["ok"], summary
    assert summary["journal"]["pending"] == 0
    outages = summary["redis"]["outages"]
    assert len(outages) >= 2
    long = [one for one in outages if one["to_ns"] - one["from_ns"] > 7_000_000_000]
    assert len(long) == 2
    for outage in outages:
        assert outage["entries_sent"] == 0, outage
        # By the venue's own book, whatever the engine says; 2 ms are the way there.
        late = _rows(
            engine.paper,
            "SELECT count(*) FROM orders WHERE reduce_only = 0 AND ts_ns > "
            f"{outage['from_ns'] + 50_000_000} AND ts_ns < {outage['to_ns']}",
        )
        assert late == [(0,)], outage
    assert books_auditor.problems_of(engine.paper) == []
    assert books_auditor.differences_from(engine.paper, summary["books"]) == []
