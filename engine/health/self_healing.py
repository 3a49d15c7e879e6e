"""Restarts what failed: after 1, 2, 4, 8, 16 s and a little chance, then it says that it gave up.

A component is a coroutine that is meant to run for ever. When it raises or ends it is made anew
after the pause; 60 s of health forget earlier failures; after the fifth restart has failed too it
stays off until an operator asks for another try. Times in seconds on the injected clock; chance
(0 to 1) is injected. Cancelling `keep_running` cancels the component.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from engine.health.components import ComponentHealth
from engine.ports.clock import Clock
from engine.runtime import Tasks

_log = logging.getLogger(__name__)
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
JITTER_MAX = 0.1
HEALTHY_AFTER_S = 60.0


class SelfHealing:
    """Supervises components by name. `on_gave_up(name, error)` hears that one stays off."""

    def __init__(
        self,
        *,
        clock: Clock,
        tasks: Tasks,
        health: ComponentHealth,
        chance: Callable[[], float],
        on_gave_up: Callable[[str, str], object],
        on_retried: Callable[[str], object],
    ) -> None:
        self._clock = clock
        self._tasks = tasks
        self._health = health
        self._chance = chance
        self._on_gave_up = on_gave_up
        self._on_retried = on_retried
        self._off: dict[str, asyncio.Event] = {}

    @property
    def given_up(self) -> tuple[str, ...]:
        """Components that are off until somebody retries them."""
        return tuple(sorted(self._off))

    def retry(self, name: str) -> bool:
        """Try a component again that was given up; False when it was not."""
        event = self._off.get(name)
        if event is None:
            return False
        event.set()
        return True

    async def keep_running(
        self, name: str, start: Callable[[], Coroutine[Any, Any, object]]
    ) -> None:
        """Run `start()` for ever. `name` is registered in the health tree."""
        failures = 0
        while True:
            begun_ns = self._clock.monotonic_ns()
            error = await self._run_once(name, start)
            if (self._clock.monotonic_ns() - begun_ns) / 1e9 >= HEALTHY_AFTER_S:
                failures = 0
            self._health.failed(name, error)
            if failures < len(PAUSES_S):
                pause_s = PAUSES_S[failures] * (1 + JITTER_MAX * self._chance())
                failures += 1
                _log.warning("%s failed (%s), restart in %.1f s", name, error, pause_s)
                await self._clock.sleep(pause_s)
            else:
                await self._wait_for_retry(name, error)
                failures = 0
            self._health.recovering(name, f"restarted after: {error}")

    async def _run_once(self, name: str, start: Callable[[], Coroutine[Any, Any, object]]) -> str:
        """Run until it fails or ends; what was wrong."""
        healthy = self._tasks.spawn(f"health of {name}", self._call_healthy(name))
        try:
            await start()
        except Exception as error:  # This is the component's guard: any error is its failure.
            _log.debug("%s failed", name, exc_info=True)
            return f"{type(error).__name__}: {error}"
        finally:
            healthy.cancel()
        return "it ended"

    async def _call_healthy(self, name: str) -> None:
        await self._clock.sleep(HEALTHY_AFTER_S)
        self._health.works(name)

    async def _wait_for_retry(self, name: str, error: str) -> None:
        event = self._off[name] = asyncio.Event()
        _log.error("%s failed %d times and stays off: %s", name, len(PAUSES_S) + 1, error)
        self._on_gave_up(name, error)
        try:
            await event.wait()
        finally:
            del self._off[name]
        self._on_retried(name)


__all__ = ["HEALTHY_AFTER_S", "PAUSES_S", "SelfHealing"]
