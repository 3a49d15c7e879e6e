"""From the mouse press on the stop to "no risk can leave", in a window under 5,000 ticks a second.

The press is posted to Qt's event queue from another thread, as a window system's is, so that the
wait in the queue counts, behind painting and the drain. The end is the return of the engine's own
`trip`, with the latch shut. Each press has a desk of its own: only the first one blocks anything.
Baseline: the same press posted to a bare button on the same loop while nothing else runs.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns, sleep
from typing import TYPE_CHECKING, Any

from engine.model.emergency import Trip
from tests.benchmarks.figures import Bar, Effort, Figure, percentile
from tests.benchmarks.window_desk import Desk, Numbers, Session, configuration, in_a_window
from tests.waiting import eventually

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

__all__ = ["in_window", "measure"]

_PRESSES = 40
_TICKS_PER_S = 5_000
_LIMIT_MS = 20.0


def measure(effort: Effort) -> Figure:
    numbers = in_a_window("press_to_block", effort)
    pressed, bare = numbers["pressed"], numbers["bare"]
    p99 = percentile(pressed, 0.99)
    return Figure(
        name="press_to_block",
        unit="ms p99",
        better="lower",
        ours=[p99],
        baseline_name="press to the slot of a bare button, idle loop",
        baseline=[percentile(bare, 0.99)],
        bars=[Bar(f"p99 {p99:.1f} ms, under 20 ms", p99 < _LIMIT_MS)] if effort.is_full else [],
        notes=[
            f"p50 {median(pressed):.2f} ms over {len(pressed)} presses at"
            f" {numbers['ticks_per_s'][0]:,.0f} ticks/s"
        ],
    )


async def in_window(session: Session, effort: Effort) -> Numbers:
    bare = [await _press_a_bare_button() for _ in range(effort.count(_PRESSES, least=3))]
    pressed: list[float] = []
    rates: list[float] = []
    for number in range(effort.count(_PRESSES, least=2)):
        with TemporaryDirectory(prefix="seawall-bench-") as folder:
            async with session.desk(Path(folder), configuration()) as desk:
                took_ms, per_s = await _press_the_stop(desk, pause_s=0.2 + 0.007 * number)
                pressed.append(took_ms)
                rates.append(per_s)
    return {"pressed": pressed, "bare": bare, "ticks_per_s": [median(rates)]}


async def _press_the_stop(desk: Desk, *, pause_s: float) -> tuple[float, float]:
    parts = desk.kernel.parts
    blocked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    trip = parts.stop.trip

    def timed_trip(**what: Any) -> Trip:
        made = trip(**what)
        if not blocked.done() and parts.stop.is_latched():
            blocked.set_result(perf_counter_ns())
        return made

    parts.stop.trip = timed_trip  # type: ignore[method-assign]  # A stopwatch on the one door.
    await eventually(lambda: len(parts.market.last_prices()) > 0)
    async with desk.flooded(_TICKS_PER_S) as flood:
        began = perf_counter_ns()
        await asyncio.sleep(pause_s)
        per_s = flood.pushed / (perf_counter_ns() - began) * 1e9
        posted = _post_press(desk.window.stop_button)
        took_ms = (await asyncio.wait_for(blocked, 10) - posted[0]) / 1e6
    return took_ms, per_s


async def _press_a_bare_button() -> float:
    from PySide6.QtWidgets import QPushButton

    button = QPushButton("bare")
    button.show()
    arrived: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    button.pressed.connect(lambda: arrived.set_result(perf_counter_ns()))
    await asyncio.sleep(0.01)
    posted = _post_press(button)
    took_ms = (await asyncio.wait_for(arrived, 10) - posted[0]) / 1e6
    button.hide()
    button.deleteLater()
    return took_ms


def _post_press(widget: QWidget) -> list[int]:
    """Post a left press on the middle from another thread; when it was posted, filled in there."""
    from PySide6.QtCore import QCoreApplication, QEvent, QPointF, Qt
    from PySide6.QtGui import QMouseEvent

    local = QPointF(widget.rect().center())
    event = QMouseEvent(
        QEvent.Type.MouseButtonPress,
        local,
        QPointF(widget.mapToGlobal(local.toPoint())),
        Qt.MouseButton.LeftButton,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    posted: list[int] = []

    def post() -> None:
        sleep(0.003)  # Away from whatever the loop is doing at this moment.
        posted.append(perf_counter_ns())
        QCoreApplication.postEvent(widget, event)

    threading.Thread(target=post, name="press").start()
    return posted
