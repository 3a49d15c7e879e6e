"""What the engine's conditions of a reset and a start are called on the screen.

A name that is not in the table is shown as it is: a new condition is never hidden.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["condition_words"]

_WORDS: Final[Mapping[str, str]] = {
    "positions_zero": "Every position is zero, two reads",
    "orders_zero": "No order is open, two reads",
    "trips_named": "Every cause cleared by name",
    "measures": "Nothing would trip again",
    "links_up": "Order link, data link and engine up",
    "queue_calm": "Event queue calm",
    "alarms_acknowledged": "P1 alarms acknowledged",
    "cause": "Cause and one sentence given",
    "database": "Database writes",
    "latch_file": "Latch file sound",
    "not_latched": "The stop is not latched",
    "trips_cleared": "Every cause cleared",
    "engine_ready": "The engine is ready",
    "redis": "Redis up, or standalone",
    "venue": "The venue's stream is up",
    "reconciled": "Books compared with the venue",
    "market_data": "Fresh prices",
    "policy": "Policy confirmed",
    "queue": "Event queue has room",
    "drawdown": "Drawdown known and within limits",
}


def condition_words(name: str) -> str:
    """The sentence for one condition."""
    return _WORDS.get(name, name)
