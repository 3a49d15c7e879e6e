"""The stop's own supervised places: what others do wrong must not end it.

`quietly` calls a callback that only records; `restarting` runs a loop that must never end and
starts it again when it raises. Both log, neither hides a cancellation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from engine.emergency_stop.failures import retry_delay_s
from engine.ports.clock import Clock

_log = logging.getLogger(__name__)
T = TypeVar("T")


def quietly(what: str, call: Callable[[], T]) -> T | None:
    """Call it; whatever it raises is logged and None is returned."""
    try:
        return call()
    except Exception:  # Supervised place: a broken recorder must not hurt the stop.
        _log.exception("emergency stop goes on without: %s", what)
        return None


async def restarting(
    name: str, clock: Clock, loop: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Run a loop for ever; should it raise, start it again after a back-off."""
    faults = 0
    while True:
        try:
            return await loop()
        except Exception:  # Supervised place: the stop outlives its own programmer's errors.
            faults += 1
            _log.exception("part of the emergency stop failed and starts again: %s", name)
        await clock.sleep(retry_delay_s(faults))


__all__ = ["quietly", "restarting"]
