"""An engine that is ended while an entry is on its way leaves nothing running behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.events import OrderSubmitted
from engine.runtime import SystemClock
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
