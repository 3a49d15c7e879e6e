"""One attempt at a time, whose end counts for everybody who waited for it.

Why: after a start, or when a venue refuses the time of our requests, many want the clocks compared
at once. Asked once each, they would cost of a limit that is nearly used up, and earn a ban. On the
loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.model.errors import NotExecuted, VenueError


class SharedAttempt:
    """Runs an attempt, or takes over the end of the one that is under way."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._ended = 0
        self._failed: VenueError | None = None

    async def run(self, attempt: Callable[[], Awaitable[object]]) -> None:
        """Attempt it. Raises what it raises; whoever waited for another's attempt that failed has
        NotExecuted, with the same pause.
        """
        before = self._ended
        async with self._turn:
            if self._ended != before:
                if self._failed is not None:
                    raise NotExecuted(
                        f"not sent: {self._failed}", retry_after_s=_pause_s(self._failed)
                    ) from self._failed
                return
            self._failed = None
            try:
                await attempt()
            except VenueError as error:
                self._failed = error
                raise
            finally:
                self._ended += 1


def _pause_s(error: VenueError) -> float:
    return error.retry_after_s if isinstance(error, NotExecuted) else 1.0


__all__ = ["SharedAttempt"]
