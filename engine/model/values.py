"""Money, prices and quantities as `Decimal`, and the only ways to make, round and print them.

Why no wrapper classes: see docs/adr (Decimal as plain values). A price is account currency per unit
of base coin, a quantity is in base coin and never negative, a signed position is positive when
long. Rounding is always named. Floats are refused at the door.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Decimal, InvalidOperation
from enum import StrEnum

ZERO = Decimal(0)
ONE = Decimal(1)


class Side(StrEnum):
    """Direction of an order or a trade, seen from us."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class PositionSide(StrEnum):
    """Direction of a position in one-way mode; FLAT is a direction of its own."""

    LONG = "LONG"
    SHORT = "SHORT"
    FLAT = "FLAT"

    @classmethod
    def of(cls, signed_quantity: Decimal) -> PositionSide:
        if signed_quantity > 0:
            return cls.LONG
        return cls.SHORT if signed_quantity < 0 else cls.FLAT


def decimal(text: str | int | Decimal, *, field: str = "value") -> Decimal:
    """Parse a finite decimal; floats and nonsense are refused with the field's name
    (ValueError).
    """
    if isinstance(text, float):
        raise TypeError(f"{field}: a float cannot hold money exactly; give it as text")
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{field}: {text!r} is not a number") from error
    if not value.is_finite():
        raise ValueError(f"{field}: {text!r} is not a finite number")
    return value


def price(text: str | int | Decimal, *, field: str = "price") -> Decimal:
    """Parse a price; must be above zero."""
    value = decimal(text, field=field)
    if value <= 0:
        raise ValueError(f"{field}: a price must be above zero, not {value}")
    return value


def quantity(text: str | int | Decimal, *, field: str = "quantity") -> Decimal:
    """Parse a quantity; never negative (direction is a `Side`)."""
    value = decimal(text, field=field)
    if value < 0:
        raise ValueError(f"{field}: a quantity is never negative, not {value}")
    return value


def _to_step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    if step <= 0:
        raise ValueError(f"step must be above zero, not {step}")
    return (value / step).to_integral_value(rounding=rounding) * step


def round_down_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Round towards zero to a multiple of `step`; for quantities, so that nothing grows by
    rounding.
    """
    return _to_step(value, step, ROUND_DOWN)


def round_up_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Round away from zero to a multiple of `step`."""
    return _to_step(value, step, ROUND_UP)


def round_to_tick(value: Decimal, tick: Decimal) -> Decimal:
    """Round a price to the nearest tick, half to even."""
    return _to_step(value, tick, ROUND_HALF_EVEN)


def plain(value: Decimal) -> str:
    """Print a decimal without exponent and without trailing zeros, as the contract's JSON
    wants it.
    """
    # Not `normalize`, which rounds to the digits of the context.
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


__all__ = [
    "ONE",
    "ZERO",
    "PositionSide",
    "Side",
    "decimal",
    "plain",
    "price",
    "quantity",
    "round_down_to_step",
    "round_to_tick",
    "round_up_to_step",
]
