"""One part of the recovery after an outage (R-RED-4); their order is the kernel's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPart:
    """`run` says whether it succeeded and is asked again each second until it has; the gate stays
    shut meanwhile. An EngineError that is not a fault of the link counts as not succeeded.

    `after_outage`: only when there was an outage, not at the first connection of a start.
    """

    name: str
    run: Callable[[], Awaitable[bool]]
    after_outage: bool = False


__all__ = ["RecoveryPart"]
