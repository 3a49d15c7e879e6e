"""Waiting in tests: on a condition, never for a length of time.

`eventually` polls until the condition holds and fails with the condition's own words when it does
not. Both clocks are watched: the loop's (which may be simulated) and the real one, so a condition
that never comes true fails within seconds even where simulated time stands still.
Units: seconds.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

__all__ = ["eventually"]

_REAL_LIMIT_FACTOR = 3


async def eventually(
    condition: Callable[[], object] | Callable[[], Awaitable[object]],
    *,
    timeout_s: float = 5.0,
    interval_s: float = 0.005,
    reason: str = "",
) -> object:
    """Return the condition's first true value; AssertionError when `timeout_s` has passed."""
    loop = asyncio.get_running_loop()
    loop_deadline = loop.time() + timeout_s
    real_deadline = time.monotonic() + timeout_s * _REAL_LIMIT_FACTOR
    while True:
        outcome = condition()
        if inspect.isawaitable(outcome):
            outcome = await outcome
        if outcome:
            return outcome
        if loop.time() > loop_deadline or time.monotonic() > real_deadline:
            what = reason or _words_of(condition)
            raise AssertionError(f"not within {timeout_s} s: {what} (last value: {outcome!r})")
        await asyncio.sleep(interval_s)


def _words_of(condition: Callable[[], object]) -> str:
    """Give the condition's source line, or its name where the source cannot be had."""
    try:
        return inspect.getsource(condition).strip().splitlines()[0]
    except (OSError, TypeError, IndexError):
        return getattr(condition, "__name__", repr(condition))
