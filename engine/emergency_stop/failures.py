"""What a port's failure means to the stop, and how long to wait before the next try.

Pure, but for `attempt`, which is the one place where the stop calls a port: whatever comes out of
one, a venue's error, a programmer's error or silence, becomes a `Failure` here and the stop goes
on. Durations are seconds on the injected clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from engine.model.errors import NotExecuted, Refused
from engine.model.limits import STOP_RETRY_S
from engine.ports.clock import Clock
from engine.runtime import within

_log = logging.getLogger(__name__)
T = TypeVar("T")


class FailureKind(StrEnum):
    """What is known after a call that did not succeed."""

    UNKNOWN = "unknown"
    NOT_EXECUTED = "not_executed"
    REFUSED = "refused"
    BLOCKED_BY_ORDERS = "blocked_by_orders"
    MARKET_HALTED = "market_halted"
    TOO_LARGE = "too_large"
    NOTHING_TO_REDUCE = "nothing_to_reduce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed call; `text` is what the operator reads in the Answer column."""

    kind: FailureKind
    text: str
    retry_after_s: float = 0.0

    @property
    def is_refusal(self) -> bool:
        """Whether the venue has proved that it did not happen, for a reason in the order."""
        return self.kind not in {FailureKind.UNKNOWN, FailureKind.NOT_EXECUTED}


# Refusals of a reduce-only close because other orders rest on the symbol.
_BLOCKED_BY_ORDERS = frozenset({"-4118", "blocked_by_orders"})
# Market orders are not taken just now, or not at this price; a resting stop is worth keeping.
_MARKET_HALTED = frozenset(
    {"-2020", "-4131", "-4016", "-4024", "110003", "110120", "110121", "market_halted"}
)
# There is no such position any more, or other orders are already to reduce all of it.
_NOTHING_TO_REDUCE = frozenset({"-2022", "110017"})
# One order may not be so large: our filters are older than the venue's.
_TOO_LARGE = frozenset({"-4005"})


def classify(error: Exception) -> Failure:
    """Sort an exception; what is not understood may have happened, so it is UNKNOWN."""
    if isinstance(error, NotExecuted):
        return Failure(
            kind=FailureKind.NOT_EXECUTED, text=str(error), retry_after_s=error.retry_after_s
        )
    if isinstance(error, Refused):
        kind = FailureKind.REFUSED
        if error.code in _BLOCKED_BY_ORDERS:
            kind = FailureKind.BLOCKED_BY_ORDERS
        elif error.code in _MARKET_HALTED:
            kind = FailureKind.MARKET_HALTED
        elif error.code in _NOTHING_TO_REDUCE:
            kind = FailureKind.NOTHING_TO_REDUCE
        elif error.code in _TOO_LARGE:
            kind = FailureKind.TOO_LARGE
        return Failure(kind=kind, text=str(error))
    return Failure(kind=FailureKind.UNKNOWN, text=str(error) or type(error).__name__)


def retry_delay_s(failures: int, failure: Failure | None = None) -> float:
    """Back-off after so many failures in a row, never shorter than the venue asked for."""
    delay = STOP_RETRY_S[min(max(failures, 1), len(STOP_RETRY_S)) - 1]
    return delay if failure is None else max(delay, failure.retry_after_s)


async def attempt(
    clock: Clock, wait_s: float, call: Callable[[], Coroutine[Any, Any, T]]
) -> T | Failure:
    """Call a port and wait at most `wait_s`; every failure comes back as a value."""
    try:
        return await within(clock, wait_s, call())
    except TimeoutError:
        return Failure(kind=FailureKind.UNKNOWN, text=f"no answer in {wait_s:.1f} s")
    except Exception as error:  # Supervised place: nothing a venue does may end the stop.
        failure = classify(error)
        if failure.kind is FailureKind.UNKNOWN:
            _log.info("a venue call of the emergency stop failed: %r", error)
        return failure


__all__ = ["Failure", "FailureKind", "attempt", "classify", "retry_delay_s"]
