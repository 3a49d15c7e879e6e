"""The health tree: worst below shows above, and silence is noticed."""

from __future__ import annotations

import pytest

from engine.health import ComponentHealth, ComponentState
from engine.runtime import SimClock
from tests.fakes.risk_facts import NOW_NS

S = ComponentState


def made() -> tuple[SimClock, ComponentHealth]:
    clock = SimClock(start_ns=NOW_NS)
    tree = ComponentHealth(clock=clock)
    tree.register("engine", "Engine")
    tree.register("feed", "Market feed", parent="engine", heartbeat_s_max=5.0)
    tree.register("redis", "Redis link", parent="engine")
    return clock, tree


def test_a_parent_is_as_bad_as_its_worst_child() -> None:
    _, tree = made()
    assert tree.state("engine") is S.OK
    tree.degraded("redis", "replaying")
    assert tree.state("engine") is S.DEGRADED
    tree.failed("feed", "ConnectionError: gone")
    assert tree.state("engine") is S.FAILED
    tree.recovering("feed", "restarted")
    tree.works("redis")
    assert tree.state("engine") is S.RECOVERING
    tree.works("feed")
    assert tree.state("engine") is S.OK
    row = {entry.name: entry for entry in tree.snapshot()}["feed"]
    assert (row.last_error, row.restarts) == ("ConnectionError: gone", 1)


def test_silence_is_noticed_and_ends_with_a_beat() -> None:
    clock, tree = made()
    clock._elapsed_ns += 5_100_000_000
    row = {entry.name: entry for entry in tree.snapshot()}["feed"]
    assert (row.state, row.why) == (S.DEGRADED, "no sign of life for 5.1 s")
    tree.beat("feed")
    assert tree.state("engine") is S.OK


def test_what_failed_is_not_merely_limited_before_it_was_restarted() -> None:
    _, tree = made()
    tree.failed("redis", "broken")
    tree.degraded("redis", "slow")
    assert tree.state("redis") is S.FAILED


def test_registered_once_and_parents_first() -> None:
    _, tree = made()
    with pytest.raises(ValueError, match="twice"):
        tree.register("feed", "again")
    with pytest.raises(ValueError, match="parent"):
        tree.register("orphan", "Orphan", parent="nobody")
