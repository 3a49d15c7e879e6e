"""Faults on request: what tests and drills make the paper venue do wrong.

A fault is scripted for the next calls of an operation (`place`, `reduce`, `cancel`, `cancel_all`,
`positions`, `open_orders`, `order`, `executions`, `balance`) and used up one call at a time. None
is ever active by itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from enum import StrEnum

OPERATIONS = frozenset(
    {
        "place",
        "reduce",
        "cancel",
        "cancel_all",
        "positions",
        "open_orders",
        "order",
        "executions",
        "balance",
    }
)


class Fault(StrEnum):
    """What happens to a call.

    LOST_REQUEST never arrives and LOST_ANSWER had its effect: the caller cannot tell them apart and
    gets OutcomeUnknown for both. HANG arrives late: it waits for `release` and then goes on.
    """

    REFUSE = "refuse"
    NOT_EXECUTED = "not_executed"
    LOST_REQUEST = "lost_request"
    LOST_ANSWER = "lost_answer"
    HANG = "hang"


class PaperFaults:
    """What is to go wrong next. On the loop only."""

    def __init__(self, *, timeout_s: float = 1.0) -> None:
        # How long a caller waits before it gives up on a lost request or answer.
        self.timeout_s = timeout_s
        # Executions that a market order is split into.
        self.split_fills = 1
        # The next stream updates to lose, as a gap nobody notices.
        self.lose_updates = 0
        # While set, stream updates are kept and delivered in order when it is cleared.
        self.hold_updates = False
        self._scripts: dict[str, deque[Fault]] = defaultdict(deque)
        self._released = asyncio.Event()
        self.hanging = 0

    def script(self, operation: str, *faults: Fault) -> None:
        """Let the next calls of an operation meet these faults, one each."""
        if operation not in OPERATIONS:
            raise ValueError(f"{operation!r} is not one of {', '.join(sorted(OPERATIONS))}")
        self._scripts[operation].extend(faults)

    def take(self, operation: str) -> Fault | None:
        """The fault that this call meets, if any."""
        script = self._scripts.get(operation)
        return script.popleft() if script else None

    async def hang(self) -> None:
        """Wait for `release`."""
        self.hanging += 1
        try:
            await self._released.wait()
        finally:
            self.hanging -= 1

    def release(self) -> None:
        """Let everything that hangs go on; later ones hang anew."""
        self._released.set()
        self._released = asyncio.Event()

    def clear(self) -> None:
        """Behave again; what hangs goes on."""
        self._scripts.clear()
        self.split_fills = 1
        self.lose_updates = 0
        self.release()


__all__ = ["OPERATIONS", "Fault", "PaperFaults"]
