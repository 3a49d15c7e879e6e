"""What a benchmark says: our figure, its baseline's, their ratio and whether the bar is met.

Why rounds that alternate: a machine's speed drifts with its neighbours by a factor of two, but a
ratio of two things measured in turn does not. So ours and the baseline take turns, each round's
values are kept, and medians are compared.
Units: each figure names its own; `ratio` is always ours over baseline, and `better` says which way
is good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

__all__ = ["Bar", "Effort", "Figure", "alternate", "alternate_async", "percentile"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to do. `share` scales every count (1 is the size the bar speaks of)."""

    rounds: int = 5
    share: float = 1.0
    peers: bool = False

    def count(self, full: int, *, least: int = 20) -> int:
        return max(least, round(full * self.share))

    @property
    def is_full(self) -> bool:
        return self.share >= 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One limit of the benchmark and what was measured against it, in words and as a verdict."""

    what: str
    is_met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One benchmark's outcome. A value that was not measured is None, never 0."""

    name: str
    unit: str
    better: Literal["higher", "lower"]
    ours: Sequence[float]
    baseline_name: str
    baseline: Sequence[float] = ()
    bars: Sequence[Bar] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    def entry(self) -> dict[str, Any]:
        """The contract's JSON object."""
        ours = median(self.ours)
        baseline = median(self.baseline) if self.baseline else None
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": _rounded(ours),
            "baseline": {
                "name": self.baseline_name,
                "value": None if baseline is None else _rounded(baseline),
            },
            "ratio": None if not baseline else _rounded(ours / baseline),
            "better": self.better,
            "runs": len(self.ours),
            "notes": "; ".join((self._verdict(), *self.notes)),
        }

    def _verdict(self) -> str:
        if not self.bars:
            return "no bar judged at this size"
        judged = ", ".join(f"{bar.what}: {'met' if bar.is_met else 'MISSED'}" for bar in self.bars)
        whole = "bar met" if all(bar.is_met for bar in self.bars) else "bar MISSED"
        return f"{whole} ({judged})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie; the largest for 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def alternate(rounds: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Run the sides in turn, once unmeasured and then `rounds` times; one list of values a side."""
    values: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for kept, side in zip(values, sides, strict=True):
            value = side()
            if number:
                kept.append(value)
    return values


async def alternate_async(rounds: int, *sides: Callable[[], Awaitable[float]]) -> list[list[float]]:
    """The same for sides that wait."""
    values: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for kept, side in zip(values, sides, strict=True):
            value = await side()
            if number:
                kept.append(value)
    return values


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
