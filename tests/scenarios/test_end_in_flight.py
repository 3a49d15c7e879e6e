"""An engine that is ended while an entry is on its way leaves nothing running behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.events import OrderSubmitted
from engine.model.orders import OrderPurpose
from engine.runtime import SystemClock
from tests import books_auditor
from tests.desk import Desk
from tests.waiting import eventually


@pytest.mark.parametrize("latency_ms", [5, 60, 400])
async def test_what_an_answer_begins_late_is_ended_too(tmp_path: Path, latency_ms: int) -> None:
    """That no task is left is checked for every test; here there is one to be left."""
    desk = Desk(clock=SystemClock(), folder=tmp_path, latency_ms=latency_ms)
    await desk.open()
    try:
        desk.signal()
        await eventually(lambda: desk.heard(OrderSubmitted))
    finally:
        await desk.close()
    assert desk.kernel.parts.tasks.names() == ()


@pytest.mark.parametrize("latency_ms", [5, 60, 400])
async def test_a_summary_is_of_the_end(tmp_path: Path, latency_ms: int) -> None:
    """An exit that was on its way when the end was asked for is in the summary, and no market
    comes after it: the venue's own book says the same when everything is over.
    """
    desk = Desk(clock=SystemClock(), folder=tmp_path, latency_ms=latency_ms)
    await desk.open()
    try:
        await desk.enter()
        desk.exit()
        await eventually(lambda: desk.orders(OrderPurpose.EXIT), interval_s=0.001)
        await desk.kernel.end_trading()
        assert desk.orders(OrderPurpose.EXIT) == []
        assert "feed" not in desk.kernel.parts.tasks.names()
        desk.signal()
        summary = await desk.kernel.summary()
    finally:
        await desk.close()
    assert summary["ok"]
    assert summary["fills"] == 2
    assert desk.entries_at_venue() == 1
    assert books_auditor.differences_from(desk.data_dir / "paper.db", summary["books"]) == []
