"""The loop's watchdog on a real loop: it measures a stall and names the code that made it."""

from __future__ import annotations

import asyncio
import time

import pytest

from engine.health import LoopLagMonitor
from engine.runtime import read_stopwatch_ns
from tests.waiting import eventually


class Watched:
    def __init__(self, *, enabled: bool = True) -> None:
        self.heard: list[tuple[float, str]] = []
        self.monitor = LoopLagMonitor(
            stopwatch=read_stopwatch_ns,
            on_frozen=lambda lag_s, stack: self.heard.append((lag_s, stack)),
            enabled=enabled,
        )


def stall_for(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_stall_is_measured_and_seen_in_the_callback_that_ends_it() -> None:
    watched = Watched()
    watched.monitor.start()
    try:
        await eventually(lambda: watched.monitor.snapshot().max > 0)
        stall_for(0.4)
        assert watched.monitor.current_ms() > 250
        await eventually(lambda: watched.monitor.snapshot().max > 250)
        assert watched.monitor.current_ms() > 250, "it stays shut for a moment"
        await eventually(lambda: watched.monitor.current_ms() < 250)
        snapshot = watched.monitor.snapshot()
        assert 0 < snapshot.p50 <= snapshot.p99 <= snapshot.max
        assert watched.heard == []
    finally:
        watched.monitor.stop()


@pytest.mark.allow_log("frozen")
async def test_a_frozen_loop_is_reported_once_with_the_stack_that_froze_it() -> None:
    watched = Watched()
    watched.monitor.start()
    try:
        await eventually(lambda: watched.monitor.snapshot().max > 0)
        stall_for(1.6)
        await eventually(lambda: watched.heard)
        assert len(watched.heard) == watched.monitor.freezes == 1
        lag_s, stack = watched.heard[0]
        assert lag_s >= 1.0
        assert "stall_for" in stack
        assert "test_loop_lag.py" in stack
    finally:
        watched.monitor.stop()


async def test_nothing_is_measured_when_it_is_not_enabled() -> None:
    watched = Watched(enabled=False)
    watched.monitor.start()
    await asyncio.sleep(0)
    assert watched.monitor.current_ms() == 0
    assert watched.monitor.snapshot().max == 0
    watched.monitor.stop()
    watched.monitor.stop()
