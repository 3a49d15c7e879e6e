"""What to do next for one symbol during a stop: a table, first row that fits wins.

Pure: facts in, step out. Quantities are base coin; `position` is signed and None while it has to be
read from the venue (before the first close, and again before every next one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from engine.model.instrument import Instrument
from engine.model.values import ZERO


class Step(StrEnum):
    """The closing side of a symbol. Cancelling what can add risk goes on beside it."""

    PAUSED = "paused"
    READ = "read"
    CANCEL_PROTECTIVE = "cancel_protective"
    RESIDUAL = "residual"
    CLOSE = "close"
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingFacts:
    """All that decides. `protective` is whether protective stops rest, None while not known.

    `is_blocked`: the venue refused the close because of them. `closable` is how much of the
    position is on the venue's grid and not below its minimum. `is_alone`: no other leg of the
    symbol is open, which its stops may be for.
    """

    position: Decimal | None
    closable: Decimal = ZERO
    protective: bool | None = None
    is_blocked: bool = False
    is_paused: bool = False
    is_alone: bool = True

    @property
    def protective_may_rest(self) -> bool:
        return self.protective is not False

    @property
    def stops_protect_nothing(self) -> bool:
        return self.protective_may_rest and self.is_alone


STEPS: tuple[tuple[str, Callable[[ClosingFacts], bool], Step], ...] = (
    ("the position is not known", lambda f: f.position is None, Step.READ),
    # Nothing to protect any more, and a stop that still rests could open a position.
    (
        "zero, stops may rest",
        lambda f: f.position == 0 and f.stops_protect_nothing,
        Step.CANCEL_PROTECTIVE,
    ),
    ("zero, nothing rests", lambda f: f.position == 0, Step.REST),
    # A wrong press: what is open stays open and stays protected.
    ("the operator paused closing", lambda f: f.is_paused, Step.PAUSED),
    (
        "the venue refuses the close because of stops",
        lambda f: f.is_blocked and f.protective_may_rest,
        Step.CANCEL_PROTECTIVE,
    ),
    # Dust: no order can take it; a stop on it could not be executed either, and would be an open
    # order for ever.
    (
        "below the venue's minimum, stops may rest",
        lambda f: f.closable == 0 and f.stops_protect_nothing,
        Step.CANCEL_PROTECTIVE,
    ),
    ("below the venue's minimum", lambda f: f.closable == 0, Step.RESIDUAL),
    ("open", lambda _: True, Step.CLOSE),
)


def next_step(facts: ClosingFacts) -> Step:
    """The step of the first row that fits."""
    return next(step for _, fits, step in STEPS if fits(facts))


def closable_quantity(position: Decimal, instrument: Instrument) -> Decimal:
    """How much of a position one reduce-only order after another can take.

    Reduce-only orders are exempt from the minimum notional, so only the quantity counts.
    """
    quantity = instrument.round_quantity(abs(position))
    return quantity if quantity >= instrument.quantity_min else ZERO


def clips(quantity: Decimal, instrument: Instrument) -> tuple[Decimal, ...]:
    """Split by the venue's maximum for one order; the last one never falls below its minimum."""
    maximum = instrument.round_quantity(instrument.quantity_max) or quantity
    sizes: list[Decimal] = []
    left = quantity
    while left > 0:
        size = min(left, maximum)
        if 0 < left - size < instrument.quantity_min:
            size = instrument.round_quantity(left / 2)
        sizes.append(size)
        left -= size
    return tuple(sizes)


__all__ = ["STEPS", "ClosingFacts", "Step", "clips", "closable_quantity", "next_step"]
