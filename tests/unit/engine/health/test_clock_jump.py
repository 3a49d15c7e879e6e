"""Jumps of the wall clock and sleeps of the machine are gaps; slow drift and waiting are not."""

from __future__ import annotations

import pytest

from engine.health import ClockJumpDetector

S = 1_000_000_000


class Clocks:
    def __init__(self) -> None:
        self.wall = self.monotonic = self.loop = 0

    def now_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.monotonic

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def move(self, *, wall: float, monotonic: float, loop: float) -> None:
        self.wall += round(wall * S)
        self.monotonic += round(monotonic * S)
        self.loop += round(loop * S)


@pytest.mark.parametrize(
    ("wall", "monotonic", "loop", "found"),
    [
        (1.0, 1.0, 1.0, ""),
        (2.9, 1.0, 1.0, ""),
        (-0.9, 1.0, 1.0, ""),
        (60.0, 60.0, 60.0, ""),  # Nobody checked for a minute; no clock jumped.
        (3.1, 1.0, 1.0, "the clock was set forward by 2.1 s"),
        (-1.1, 1.0, 1.0, "the clock was set back by 2.1 s"),
        (3600.0, 3600.0, 1.0, "the machine slept for 3599.0 s"),
    ],
)
def test_jump(wall: float, monotonic: float, loop: float, found: str) -> None:
    clocks = Clocks()
    heard: list[str] = []
    detector = ClockJumpDetector(clock=clocks, loop_ns=lambda: clocks.loop, on_jump=heard.append)
    assert detector.check() == ""
    clocks.move(wall=wall, monotonic=monotonic, loop=loop)
    assert detector.check() == found
    assert detector.reason() == found
    assert heard == ([found] if found else [])


def test_the_gap_lasts_until_the_books_are_reconciled() -> None:
    clocks = Clocks()
    heard: list[str] = []
    detector = ClockJumpDetector(clock=clocks, loop_ns=lambda: clocks.loop, on_jump=heard.append)
    detector.check()
    clocks.move(wall=9.0, monotonic=1.0, loop=1.0)
    detector.check()
    clocks.move(wall=1.0, monotonic=1.0, loop=1.0)
    assert detector.check() == ""
    assert detector.reason() == "the clock was set forward by 8.0 s"
    detector.settle()
    assert detector.reason() == ""
    assert len(heard) == 1


def test_simulated_time_has_no_sleep_of_the_machine() -> None:
    clocks = Clocks()
    detector = ClockJumpDetector(clock=clocks, loop_ns=None, on_jump=pytest.fail)
    detector.check()
    clocks.move(wall=86_400.0, monotonic=86_400.0, loop=0.0)
    assert detector.check() == ""
