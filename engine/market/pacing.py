"""Waiting until a moment of trading time, on whatever clock there is.

A simulated clock can sleep until an exact nanosecond; a real one sleeps for what is left. Times are
UTC nanoseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from engine.ports.clock import Clock

_NS = 1_000_000_000


@runtime_checkable
class SleepsUntil(Protocol):
    """What a simulated clock can do beside the `Clock` port."""

    async def sleep_until_ns(self, ts_ns: int) -> None: ...


def sleeper(clock: Clock) -> Callable[[int], Awaitable[None]]:
    """A function that waits until `clock` reads a time; when it has passed, it only yields."""
    # Asked once: a check of a protocol at run time costs more than a tick may.
    if isinstance(clock, SleepsUntil):
        return clock.sleep_until_ns

    async def sleep_until(ts_ns: int) -> None:
        await clock.sleep((ts_ns - clock.now_ns()) / _NS)

    return sleep_until


__all__ = ["SleepsUntil", "sleeper"]
