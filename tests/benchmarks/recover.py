"""From the start of the process, after a SIGKILL, to an engine that is ready to reconcile.

The data directory has 10,000 open orders and a journal of a million rows; the newest of them are in
a WAL that a killed process left behind. Ours: a process that opens the directory as a start does
(lock, latch, check, recovery of everything open, journal, books) up to the comparison with the
venue. Baseline: a process that asks bare SQLite for `quick_check` of the same file. Each works on a
copy of its own, made before its time runs; both are started in turn.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from engine.model.errors import OperatorMessage
from tests.benchmarks.figures import Bar, Effort, Figure, alternate

__all__ = ["measure"]

_ROOT = Path(__file__).resolve().parents[2]
_LIMIT_S = 300
_ROWS = 1_000_000
_ORDERS = 10_000
_ABOVE_S_MAX = 3.0


def measure(effort: Effort) -> Figure:
    rows, orders = effort.count(_ROWS), effort.count(_ORDERS)
    with TemporaryDirectory(prefix="seawall-bench-") as name:
        folder = Path(name)
        killed = folder / "killed"
        _child("prepare", killed, str(rows), str(orders))
        steps: list[str] = []

        def ours_once() -> float:
            took_s, words = _timed("recover", killed, folder / "copy")
            steps.append(words)
            return took_s

        ours, bare = alternate(
            effort.rounds, ours_once, lambda: _timed("check", killed, folder / "copy")[0]
        )
        size_mb = (killed / "state.db").stat().st_size / 1e6
    above_s = median(ours) - median(bare)
    bars = [Bar(f"{above_s:.2f} s above the check alone, under 3", above_s < _ABOVE_S_MAX)]
    return Figure(
        name="recover",
        unit="s",
        better="lower",
        ours=ours,
        baseline_name="quick_check of the same file by bare SQLite",
        baseline=bare,
        bars=bars if effort.is_full else [],
        notes=[
            f"{orders:,} open orders, {rows:,} journal rows, {size_mb:.0f} MB",
            f"last round: {steps[-1]}",
        ],
    )


def _timed(what: str, killed: Path, copy: Path) -> tuple[float, str]:
    """Seconds until the child says that it is ready, and its words."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(killed, copy)
    began = time.monotonic_ns()
    words, _, ready_ns = _child(what, copy).rpartition(" ")
    return (int(ready_ns) - began) / 1e9, words


def _child(what: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.killed_engine", what, str(folder), *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode not in (0, -9) or (what != "prepare" and not done.stdout):
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise OperatorMessage(f"recover: {what} failed: {last[0]}")
    return done.stdout.strip()
