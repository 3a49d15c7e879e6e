"""The real clock: UTC from the system, ages from a clock that counts through suspend.

`offset_ns` shifts UTC only, so that a replay at its own pace lives in the recording's time. Raises
InvariantBroken should the monotonic clock ever step back.
"""

from __future__ import annotations

import asyncio
import time

from engine.model.errors import require

# CLOCK_BOOTTIME counts through suspend (Linux); elsewhere the ordinary monotonic clock must do.
_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """Implements `engine.ports.Clock` on the operating system's clocks."""

    def __init__(self, *, offset_ns: int = 0) -> None:
        self._offset_ns = offset_ns
        self._last_ns = 0

    def now_ns(self) -> int:
        return time.time_ns() + self._offset_ns

    def monotonic_ns(self) -> int:
        now = time.monotonic_ns() if _BOOTTIME is None else time.clock_gettime_ns(_BOOTTIME)
        require(now >= self._last_ns, "the monotonic clock went back")
        self._last_ns = now
        return now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


__all__ = ["SystemClock"]
