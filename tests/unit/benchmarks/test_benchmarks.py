"""Benchmarks are no timed tests: here each only runs in a tiny size and says what it must."""

from __future__ import annotations

import math
from statistics import median

import pytest

from engine.model.errors import OperatorMessage
from tests.benchmarks.figures import Bar, Effort, Figure, alternate, percentile
from tests.benchmarks.runner import BENCHMARKS, run_benchmark, run_benchmarks
from tests.real_redis import find_redis_server

_TINY = Effort(rounds=2, share=0.004)
_NEEDS_REDIS = frozenset({"redis_replay", "outage_detect", "resume"})


@pytest.mark.timeout(120)
@pytest.mark.allow_log("Redis is away|Redis stream:")
@pytest.mark.allow_log("divergence|adopted order")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_runs_and_says_what_the_contract_asks(name: str) -> None:
    if name in _NEEDS_REDIS and find_redis_server() is None:
        pytest.skip("no redis-server or valkey-server here; packaging/test.py installs one")
    entry = run_benchmark(name, _TINY)
    assert list(entry) == ["name", "unit", "ours", "baseline", "ratio", "better", "runs", "notes"]
    assert entry["name"] == name
    assert entry["better"] in {"higher", "lower"}
    assert entry["runs"] >= 1
    assert list(entry["baseline"]) == ["name", "value"]
    assert entry["ours"] > 0
    assert entry["baseline"]["value"] > 0
    assert math.isclose(entry["ratio"], entry["ours"] / entry["baseline"]["value"], rel_tol=0.01)
    assert entry["unit"]
    assert "bar" in entry["notes"]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OperatorMessage, match="no benchmark nonsense; known: bus_dispatch, "):
        run_benchmarks(["bus_dispatch", "nonsense"], peers=False)


def test_a_missed_bar_is_said_first() -> None:
    figure = Figure(
        name="x",
        unit="ms",
        better="lower",
        ours=[3.0, 1.0, 2.0],
        baseline_name="bare",
        baseline=[4.0],
        bars=[Bar("2 ms, under 1", False), Bar("half of bare", True)],
        notes=["a note"],
    )
    entry = figure.entry()
    assert entry["ours"] == 2.0
    assert entry["ratio"] == 0.5
    assert entry["runs"] == 3
    assert entry["notes"] == "bar MISSED (2 ms, under 1: MISSED, half of bare: met); a note"


def test_what_was_not_measured_is_none() -> None:
    figure = Figure(name="x", unit="ms", better="lower", ours=[3.0], baseline_name="none")
    assert figure.entry()["baseline"] == {"name": "none", "value": None}
    assert figure.entry()["ratio"] is None


def test_sides_take_turns_and_the_first_turn_only_warms_up() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    ours, bare = alternate(2, lambda: side("ours"), lambda: side("bare"))
    assert order == ["ours", "bare"] * 3
    assert (ours, bare) == ([3.0, 5.0], [4.0, 6.0])


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.99) == 100.0
    assert percentile(values, 0.5) == 51.0
    assert percentile([7.0], 0.99) == 7.0
    assert median(values) < percentile(values, 0.9)
