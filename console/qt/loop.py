"""The event loop of the process: qasync's, with the two parts replaced that cost the most.

What: ready callbacks wait in one deque that one posted Qt event drains within a time budget;
timers wait in one heap behind one precise Qt timer. Why: plain qasync starts a coarse Qt timer
for every ``call_soon`` and ``call_later``, which is 4-6 times slower, up to 100 ms late (or
early), and keeps cancelled timeouts alive until they are due. Sockets, subprocesses and executors
stay qasync's.
Fairness: after ``DRAIN_BUDGET_S`` the drain posts itself again, so painting, input and sockets
get their turn under any flood of callbacks.
Units: seconds of the monotonic clock, as asyncio has it. Thread: GUI, except
``call_soon_threadsafe``.
"""

import asyncio
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from PySide6.QtCore import QCoreApplication, QEvent, QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication
from qasync import QEventLoop
from shiboken6 import isValid

__all__ = ["DRAIN_BUDGET_S", "ConsoleEventLoop"]

DRAIN_BUDGET_S: Final = 0.004
_LONGEST_WAIT_MS: Final = 24 * 3_600_000  # A Qt interval is a 32-bit count of milliseconds.
_COMPACT_FROM: Final = (
    256  # Cancelled timers are swept out once they are this many and the majority.
)


class _Pump(QObject):
    """Receives the posted event that stands for "there are callbacks to run"."""

    EVENT_TYPE: Final = QEvent.Type(QEvent.registerEventType())

    def __init__(self, *, drain: Callable[[], None]) -> None:
        super().__init__()
        self._drain = drain

    def event(self, event: QEvent) -> bool:
        if event.type() == _Pump.EVENT_TYPE:
            self._drain()
            return True
        return super().event(event)

    def post(self) -> None:
        QCoreApplication.postEvent(self, QEvent(_Pump.EVENT_TYPE))


class ConsoleEventLoop(QEventLoop):  # type: ignore[misc]  # qasync is untyped
    """A qasync loop with batched callbacks and precise, cheap timers.

    Guarantees: callbacks run in the order of ``call_soon``; a timer never runs early; a cancelled
    timer's memory is given back without waiting for its time.
    """

    def __init__(self, application: QApplication) -> None:
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_number = itertools.count()
        self._timers_cancelled = 0
        self._next_wake = math.inf
        self._is_posted = False
        self._pump = _Pump(drain=self._drain)
        self._wake_timer = QTimer(self._pump)
        self._wake_timer.setObjectName("event loop wake-up")
        self._wake_timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._wake_timer.setSingleShot(True)
        self._wake_timer.timeout.connect(self._on_wake)
        super().__init__(application)

    # Ready callbacks.

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run ``callback`` after those already waiting."""
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context=context)
        self._enqueue(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """The same from any thread: appending to a deque and posting a Qt event are both safe."""
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context=context)
        self._enqueue(handle)
        return handle

    def _add_callback(self, handle: asyncio.Handle, delay: float = 0) -> asyncio.Handle:
        # asyncio's own signal handling comes in here.
        self._enqueue(handle)
        return handle

    def _enqueue(self, handle: asyncio.Handle) -> None:
        # Append first, then look at the flag: the drain clears the flag first and looks at the
        # deque then, so between the two no handle can be left behind. A doubled event is
        # harmless.
        self._soon.append(handle)
        if not self._is_posted:
            self._is_posted = True
            self._pump.post()

    def _drain(self) -> None:
        self._is_posted = False
        if not self.is_running():
            return  # What is left runs when the loop does; see _before_run_forever.
        ready = self._soon
        deadline = time.perf_counter() + DRAIN_BUDGET_S
        while ready:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
                if not self.is_running() or time.perf_counter() >= deadline:
                    break
        if ready and not self._is_posted:
            self._is_posted = True
            self._pump.post()

    def _before_run_forever(self) -> None:
        super()._before_run_forever()
        self._is_posted = True
        self._pump.post()
        self._arm()

    # Timers.

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` no earlier than ``delay`` seconds from now."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` no earlier than ``when`` on the loop's clock."""
        self._check_closed()
        handle = asyncio.TimerHandle(when, callback, args, self, context=context)
        handle._scheduled = True  # type: ignore[attr-defined]  # As asyncio's loop marks it: makes cancel() tell us.
        heapq.heappush(self._timers, (when, next(self._timer_number), handle))
        if when < self._next_wake:
            self._arm()
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers_cancelled += 1
        if self._timers_cancelled >= _COMPACT_FROM and self._timers_cancelled * 2 > len(
            self._timers
        ):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._timers_cancelled = 0
            self._arm()

    def _arm(self) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
            self._timers_cancelled = max(0, self._timers_cancelled - 1)
        if not self._timers:
            self._next_wake = math.inf
            self._wake_timer.stop()
            return
        self._next_wake = self._timers[0][0]
        wait_ms = math.ceil((self._next_wake - self.time()) * 1_000)
        self._wake_timer.start(min(max(0, wait_ms), _LONGEST_WAIT_MS))

    def _on_wake(self) -> None:
        now = self.time()
        while self._timers and self._timers[0][0] <= now:
            handle = heapq.heappop(self._timers)[2]
            handle._scheduled = False  # type: ignore[attr-defined]
            if handle.cancelled():
                self._timers_cancelled = max(0, self._timers_cancelled - 1)
            else:
                self._enqueue(handle)
        self._arm()

    def timers_waiting(self) -> int:
        """How many timers the heap holds, cancelled ones included; for the tests and
        diagnostics.
        """
        return len(self._timers)

    def close(self) -> None:
        """Stop the timer and drop what waits; then as qasync."""
        if self.is_closed():
            return
        if isValid(self._wake_timer):  # At interpreter exit Qt may have gone before us.
            self._wake_timer.stop()
        self._timers.clear()
        self._soon.clear()
        super().close()
