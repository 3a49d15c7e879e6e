"""Runs the first seeds of every campaign (`--seeds N`, 20 by default).

See `tests/campaigns/__init__.py` for what a campaign is and how to run a whole one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns import runner


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if {"campaign", "seed"} <= set(metafunc.fixturenames):
        wanted = metafunc.config.getoption("--seeds")
        cases = [
            pytest.param(name, seed, marks=pytest.mark.timeout(runner.seed_limit_s(name)))
            for name in runner.campaign_names()
            for seed in range(min(wanted, runner.seeds_in_tests(name)))
        ]
        metafunc.parametrize(("campaign", "seed"), cases)


@pytest.mark.campaign
@pytest.mark.allow_log(r"")  # A campaign injects faults; its own invariants judge the outcome.
def test_seed_holds(campaign: str, seed: int, tmp_path: Path) -> None:
    """Goal: every invariant of the campaign holds for this seed; a failure prints the seed."""
    assert runner.run_one_seed(runner.load_campaign(campaign), seed, tmp_path) is not None
