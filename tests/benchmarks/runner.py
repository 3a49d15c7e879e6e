"""`seawall bench`: runs benchmarks by name and gives the contract's JSON for each.

Modules are imported when asked for: most need what others do not (Qt, Redis, the kernel).
Fails: `OperatorMessage` for a name nobody knows, or when what a benchmark needs is not here.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from engine.model.errors import OperatorMessage
from tests.benchmarks.figures import Effort, Figure

__all__ = ["BENCHMARKS", "run_benchmark", "run_benchmarks"]

# In the order of design: what is below first. The module has the benchmark's name.
BENCHMARKS: Sequence[str] = (
    "bus_dispatch",
    "bus_fast_path",
    "journal_append",
    "intent_commit",
    "order_round_trip",
    "reconciliation",
    "recover",
    "redis_replay",
    "outage_detect",
    "resume",
    "policy_fresh",
    "breach_to_stop",
    "breach_to_close",
    "burst_stop",
    "flatten_50",
    "press_to_block",
    "feed_decode",
    "loop_lag",
    "window_start",
    "sim_day",
)


def run_benchmarks(names: list[str], *, peers: bool) -> list[dict[str, Any]]:
    """Measure the named benchmarks, or all of them without a name."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        raise OperatorMessage(
            f"bench: there is no benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}"
        )
    effort = Effort(peers=peers)
    return [run_benchmark(name, effort) for name in names or BENCHMARKS]


def run_benchmark(name: str, effort: Effort) -> dict[str, Any]:
    """Measure one benchmark with the given effort."""
    module = importlib.import_module(f"tests.benchmarks.{name}")
    measure: Callable[[Effort], Figure] = module.measure
    gc.collect()  # What the benchmark before left behind is not this one's cost.
    return measure(effort).entry()
