"""From the start of the process to the painted overview, warm.

Ours: the program as an operator starts it, its imports, the engine built on a data directory that
has been used before, the window shown and its overview painted. Baseline: a process that shows a
bare window of PySide6 and pyqtgraph, with one plot and one table. Both are started in turn.
"""

from __future__ import annotations

import os
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
_LIMIT_S = 60
_START_S_MAX = 1.5
_RATIO_MAX = 2.5


def measure(effort: Effort) -> Figure:
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        ours, bare = alternate(
            effort.rounds,
            lambda: _painted_after("console", folder),
            lambda: _painted_after("bare", folder),
        )
    took, ratio = median(ours), median(ours) / median(bare)
    bars = [
        Bar(f"{took:.2f} s, under 1.5", took < _START_S_MAX),
        Bar(f"{ratio:.2f} × a bare window, at most 2.5", ratio <= _RATIO_MAX),
    ]
    return Figure(
        name="window_start",
        unit="s",
        better="lower",
        ours=ours,
        baseline_name="bare PySide6 + pyqtgraph window",
        baseline=bare,
        bars=bars if effort.is_full else [],
    )


def _painted_after(which: str, folder: str) -> float:
    """Seconds until the child says that it has painted."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(_ROOT)}
    began = time.monotonic_ns()
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.first_paint", which, folder],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode != 0 or not done.stdout:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise OperatorMessage(f"window_start: the {which} window failed: {last[0]}")
    return (int(done.stdout.split()[-1]) - began) / 1e9
