"""The clock port. Trading time and waiting are injected, so that a day can pass in seconds."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two readings and a way to wait."""

    def now_ns(self) -> int:
        """UTC nanoseconds; the feed's time in a replay."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back and count through suspend; for ages and durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less yields once."""
        ...


__all__ = ["Clock"]
