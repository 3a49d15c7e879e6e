"""Time, ids, chance and guarded tasks: the only place of the engine that touches the real ones.

Rule: nothing else in `engine/` reads a clock, draws a random number or creates a task.
"""

from engine.runtime.chance import Chance
from engine.runtime.clock import SystemClock
from engine.runtime.ids import IdSource, OrderIds, Stamper
from engine.runtime.simulation import SimClock, run_simulated
from engine.runtime.spawn import Tasks, cancel_and_wait, within
from engine.runtime.stopwatch import CountingStopwatch, Stopwatch, read_stopwatch_ns

__all__ = [
    "Chance",
    "CountingStopwatch",
    "IdSource",
    "OrderIds",
    "SimClock",
    "Stamper",
    "Stopwatch",
    "SystemClock",
    "Tasks",
    "cancel_and_wait",
    "read_stopwatch_ns",
    "run_simulated",
    "within",
]
