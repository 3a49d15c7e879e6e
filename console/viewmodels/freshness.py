"""How old what we show is: plain, old, or no data (R32).

What: a value older than twice its period is dim with its age in words, after ten seconds it is
hatched "NO DATA". Why a tracker: a frozen engine hands out the same snapshot for ever, so its own
time stamp proves nothing; what counts is when it last *changed*, on the window's clock.
Units: seconds; the window's monotonic clock in nanoseconds. Pure: the time is handed in.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from console.viewmodels.formatting import duration
from engine.model.snapshots import EngineSnapshot

__all__ = [
    "ENGINE_SILENT_AFTER_S",
    "NO_DATA_AFTER_S",
    "Engine",
    "Freshness",
    "FreshnessTracker",
    "age_words",
    "freshness_of",
]

NO_DATA_AFTER_S: Final = 10.0
ENGINE_SILENT_AFTER_S: Final = 1.5
MARKET_PERIOD_S: Final = 1.0


class Freshness(Enum):
    """Whether a value may be shown as current."""

    PLAIN = "plain"
    OLD = "old"
    NO_DATA = "no data"


def freshness_of(age_s: float | None, *, period_s: float = MARKET_PERIOD_S) -> Freshness:
    """Judge an age against the period the value should come in."""
    if age_s is None or age_s >= NO_DATA_AFTER_S:
        return Freshness.NO_DATA
    return Freshness.OLD if age_s > 2 * period_s else Freshness.PLAIN


def age_words(age_s: float | None, freshness: Freshness) -> str:
    """``""``, ``old 4 s`` or ``NO DATA``."""
    if freshness is Freshness.NO_DATA:
        return "NO DATA"
    return f"old {duration(age_s or 0.0)}" if freshness is Freshness.OLD else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The newest snapshot and how long the engine has been silent."""

    snapshot: EngineSnapshot
    silent_s: float

    @property
    def is_silent(self) -> bool:
        """No new snapshot for so long that nothing on the screen may be believed."""
        return self.silent_s >= ENGINE_SILENT_AFTER_S

    @property
    def market_age_s(self) -> float | None:
        """Age of the newest market data, the engine's silence counted in."""
        age_s = self.snapshot.market_age_s
        return None if age_s is None else age_s + (self.silent_s if self.is_silent else 0.0)

    @property
    def freshness(self) -> Freshness:
        """Freshness of everything that follows the market."""
        if self.silent_s >= NO_DATA_AFTER_S:
            return Freshness.NO_DATA
        if self.is_silent:
            return Freshness.OLD
        return freshness_of(self.market_age_s)


class FreshnessTracker:
    """Keeps the last snapshot and when it last moved."""

    def __init__(self) -> None:
        self._last: EngineSnapshot | None = None
        self._moved_ns = 0

    def see(self, snapshot: EngineSnapshot | None, *, now_ns: int) -> Engine | None:
        """Take what the pacer got (None when the engine gave nothing); None before the first
        snapshot.
        """
        if snapshot is not None and (
            self._last is None or snapshot.monotonic_ns != self._last.monotonic_ns
        ):
            self._last = snapshot
            self._moved_ns = now_ns
        elif snapshot is not None:
            self._last = snapshot
        if self._last is None:
            return None
        return Engine(snapshot=self._last, silent_s=max(0, now_ns - self._moved_ns) / 1e9)
