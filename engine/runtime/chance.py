"""Chance: the one door to random numbers, always seeded, so that a run can be repeated to the bit.

Each user draws from a stream of its own, named beside the seed: adding a symbol to a simulated
market does not change the prices of the others. Not for secrets.
"""

from __future__ import annotations

import random


class Chance(random.Random):
    """A seeded stream of random numbers; same seed and name, same numbers, on every machine."""

    def __init__(self, *, seed: int, name: str) -> None:
        super().__init__(f"{seed}:{name}")


__all__ = ["Chance"]
