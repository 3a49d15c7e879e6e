"""Peers in an environment of their own: NautilusTrader's message bus and vnpy's event engine.

Why apart: their dependencies are not ours, and a measurement must not change what is measured. The
environment is made by `venv` and `pip` in a temporary folder and removed afterwards; each peer runs
as a process of its own with the same number of handlers, and prints one number.
Fails: softly. A peer that cannot be installed or run is reported with the reason.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PeerFigure", "measure_peers"]

_INSTALL_LIMIT_S = 600
_RUN_LIMIT_S = 120

_HANDLER = """
class Counter:
    def __init__(self):
        self.seen = 0
        self.last = None
    def __call__(self, event):
        self.seen += 1
        self.last = event
handlers = [Counter() for _ in range(5)]
"""

_NAUTILUS = (
    _HANDLER
    + """
from time import perf_counter
from nautilus_trader.common.component import MessageBus, TestClock
from nautilus_trader.model.identifiers import TraderId
bus = MessageBus(trader_id=TraderId("BENCH-001"), clock=TestClock())
for handler in handlers:
    bus.subscribe("data.ticks.BTCUSDT", handler)
event, count, best = object(), 200_000, []
for _ in range(5):
    began = perf_counter()
    for _ in range(count):
        bus.publish("data.ticks.BTCUSDT", event)
    best.append(count / (perf_counter() - began))
assert all(handler.seen == 5 * count for handler in handlers)
print(sorted(best)[2])
"""
)

_VNPY = (
    _HANDLER
    + """
from time import perf_counter, sleep
from vnpy.event import Event, EventEngine
engine = EventEngine()
for handler in handlers:
    engine.register("eTick.", handler.__call__)
engine.start()
event, count, best = Event("eTick.", object()), 100_000, []
for number in range(1, 6):
    began = perf_counter()
    for _ in range(count):
        engine.put(event)
    while handlers[-1].seen < number * count:
        sleep(0.001)
    best.append(count / (perf_counter() - began))
engine.stop()
print(sorted(best)[2])
"""
)


@dataclass(frozen=True, slots=True)
class PeerFigure:
    """A peer's events a second, or why there is none; `times_least` is the bar against it."""

    name: str
    times_least: int
    events_per_s: float | None
    why: str = ""


def measure_peers() -> list[PeerFigure]:
    """Install and measure each peer in turn."""
    return [
        _measure("nautilus_trader MessageBus", 3, "nautilus_trader", _NAUTILUS),
        _measure("vnpy EventEngine", 10, "vnpy", _VNPY),
    ]


def _measure(name: str, times_least: int, package: str, program: str) -> PeerFigure:
    with tempfile.TemporaryDirectory(prefix="seawall-peer-") as folder:
        python = Path(folder) / "bin" / "python"
        try:
            _run([sys.executable, "-m", "venv", folder], _RUN_LIMIT_S)
            _run([str(python), "-m", "pip", "install", "--quiet", package], _INSTALL_LIMIT_S)
            printed = _run([str(python), "-c", program], _RUN_LIMIT_S)
            return PeerFigure(name, times_least, float(printed.split()[-1]))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            return PeerFigure(name, times_least, None, _last_words(error))


def _run(command: list[str], limit_s: float) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=limit_s, check=True, cwd="/"
    )
    return done.stdout


def _last_words(error: Exception) -> str:
    stderr = getattr(error, "stderr", None)
    lines = str(stderr).strip().splitlines() if stderr else []
    return lines[-1] if lines else str(error)
