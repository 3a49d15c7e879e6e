"""Notices when time jumped: the wall clock was set, or the machine slept.

Three readings are compared from one check to the next. The wall clock against the monotonic one
shows that somebody set the time. The monotonic clock, which counts through suspend, against the
loop's, which does not (Linux), shows a sleep; there the market went on without us. Either is a gap:
the gate shuts until the books are reconciled. Units: seconds and nanoseconds. On a simulated clock
`loop_ns` is None: simulated time and the loop's have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.ports.clock import Clock

JUMP_S_MAX = 2.0
CHECK_INTERVAL_S = 1.0


class ClockJumpDetector:
    """Tells of each jump once through `on_jump`, and holds its reason until `settle`."""

    def __init__(
        self,
        *,
        clock: Clock,
        loop_ns: Callable[[], int] | None,
        on_jump: Callable[[str], object],
    ) -> None:
        self._clock = clock
        self._loop_ns = loop_ns
        self._on_jump = on_jump
        self._last: tuple[int, int, int | None] | None = None
        self._gap = ""
        self.jumps = 0

    def reason(self) -> str:
        """What happened, until the books were reconciled after it; empty when nothing did."""
        return self._gap

    async def run(self) -> None:
        """Check each second, for ever."""
        while True:
            self.check()
            await self._clock.sleep(CHECK_INTERVAL_S)

    def check(self) -> str:
        """Compare with the last check; what happened since, or empty."""
        now = (
            self._clock.now_ns(),
            self._clock.monotonic_ns(),
            None if self._loop_ns is None else self._loop_ns(),
        )
        last, self._last = self._last, now
        if last is None:
            return ""
        monotonic_s = (now[1] - last[1]) / 1e9
        wall_s = (now[0] - last[0]) / 1e9 - monotonic_s
        slept_s = 0.0
        if now[2] is not None and last[2] is not None:
            slept_s = monotonic_s - (now[2] - last[2]) / 1e9
        found = ""
        if abs(wall_s) > JUMP_S_MAX:
            way = "forward" if wall_s > 0 else "back"
            found = f"the clock was set {way} by {abs(wall_s):.1f} s"
        elif slept_s > JUMP_S_MAX:
            found = f"the machine slept for {slept_s:.1f} s"
        if found:
            self.jumps += 1
            self._gap = found
            self._on_jump(found)
        return found

    def settle(self) -> None:
        """The books were reconciled after the gap."""
        self._gap = ""


__all__ = ["CHECK_INTERVAL_S", "JUMP_S_MAX", "ClockJumpDetector"]
