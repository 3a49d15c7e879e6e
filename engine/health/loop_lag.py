"""Measures how late the event loop is, and says with the stack what froze it.

A watchdog thread posts a question to the loop every 50 ms and takes the time until the loop
answers: that is what any callback waits, whatever the precision of the loop's timers (a ticker on
Qt's coarse timers would measure those). An unanswered question counts as it grows, so the gate is
right in the very callback that ends a freeze. Over 1 s the loop's thread is looked at, once a
freeze, and its stack is logged at once by the watchdog; `on_frozen` hears of it on the loop
afterwards.

Units: milliseconds out, nanoseconds within. Threads: `_watch` runs on its own daemon thread, all
else on the loop; they share single assignments only. Not for simulated clocks: there the feed
pauses instead (do not start it).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable

from engine.model.errors import require
from engine.model.snapshots import LoopLag
from engine.runtime import Stopwatch

_log = logging.getLogger(__name__)
INTERVAL_S = 0.05
_INTERVAL_NS = 50_000_000
# A thread wakes a little late by nature; that much is not held against the loop.
_OVERSLEPT_NS = 20_000_000
FROZEN_AFTER_S = 1.0
_SAMPLES_KEPT = 1_200
# A freeze keeps the gate shut for a moment after it, for what piled up meanwhile.
_RECENT_SAMPLES = 20


class LoopLagMonitor:
    """Start on the loop, stop before it ends. `stopwatch` is read from both threads.

    Not `enabled` (simulated time): starts nothing, and there is no lag.
    """

    def __init__(
        self,
        *,
        stopwatch: Stopwatch,
        on_frozen: Callable[[float, str], object],
        enabled: bool = True,
    ) -> None:
        self._stopwatch = stopwatch
        self._enabled = enabled
        self._on_frozen = on_frozen
        self._samples_ns: deque[int] = deque(maxlen=_SAMPLES_KEPT)
        self._max_ns = 0
        self._asked_ns: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self.freezes = 0

    def start(self) -> None:
        """Begin watching the running loop."""
        if not self._enabled:
            return
        require(self._thread is None, "the loop's watchdog was started twice")
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="loop-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; harmless when it does not run."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def current_ms(self) -> float:
        """The worst lag of the last second, the question still open included."""
        worst = max(tuple(self._samples_ns)[-_RECENT_SAMPLES:], default=0)
        asked_ns = self._asked_ns
        if asked_ns is not None:
            worst = max(worst, self._stopwatch() - asked_ns)
        return worst / 1e6

    def snapshot(self) -> LoopLag:
        """p50 and p99 of the last minute, and the maximum since the start."""
        ordered = sorted(self._samples_ns)
        if not ordered:
            return LoopLag()
        last = len(ordered) - 1
        return LoopLag(
            p50=ordered[last // 2] / 1e6,
            p99=ordered[round(last * 0.99)] / 1e6,
            max=self._max_ns / 1e6,
        )

    def _answer(self, asked_ns: int) -> None:
        lag_ns = max(0, self._stopwatch() - asked_ns)
        self._asked_ns = None
        self._samples_ns.append(lag_ns)
        self._max_ns = max(self._max_ns, lag_ns)

    # --- on the watchdog's thread ---------------------------------------------------------------

    def _watch(self) -> None:
        looked_ns = self._stopwatch()
        frozen = False
        while not self._stop.wait(INTERVAL_S):
            now = self._stopwatch()
            due_ns, looked_ns = looked_ns + _INTERVAL_NS, now
            asked_ns = self._asked_ns
            if asked_ns is None:
                frozen = False
                # When not even this thread ran in time, the loop did not either.
                self._ask(min(now, due_ns + _OVERSLEPT_NS))
            elif not frozen and (now - asked_ns) / 1e9 >= FROZEN_AFTER_S:
                frozen = True
                self._report((now - asked_ns) / 1e9)

    def _ask(self, now: int) -> None:
        self._asked_ns = now
        self._post(self._answer, now)

    def _report(self, lag_s: float) -> None:
        self.freezes += 1
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "no stack\n"
        _log.error("the event loop has been frozen for %.1f s by:\n%s", lag_s, stack)
        self._post(self._on_frozen, lag_s, stack)

    def _post(self, callback: Callable[..., object], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            self._stop.set()  # The loop was closed: there is nothing left to watch.


__all__ = ["FROZEN_AFTER_S", "INTERVAL_S", "LoopLagMonitor"]
