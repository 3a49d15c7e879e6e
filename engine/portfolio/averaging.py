"""The arithmetic of a position: cost, volume-weighted entry price, and what a fill realises.

Pure. A position's truth is its signed cost (Σ signed quantity × price of what is still open),
because costs add up exactly and averages do not. Whatever must be divided is rounded to `GRID`
once, on the way out, and the rest stays in the cost: when a position is flat its realised profit is
exactly the cash that came in less what went out. The entry price is kept at full precision, so that
the cost can be had back from it to the last digit of the grid.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.values import ZERO

# Finer than any venue's price × quantity; money below 10¹⁶ keeps all its digits in 28.
GRID = Decimal("1E-12")


def cost_of(quantity: Decimal, entry_price: Decimal) -> Decimal:
    """Signed cost of a position from its average; exact for an average made by `entry_price_of`."""
    return (quantity * entry_price).quantize(GRID)


def entry_price_of(quantity: Decimal, cost: Decimal) -> Decimal:
    """Volume-weighted entry price; zero when flat."""
    return cost / quantity if quantity else ZERO


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """`part / whole` of an amount, rounded to the grid; all of it when the part is the whole."""
    return amount if part == whole else (amount * part / whole).quantize(GRID)


def reduced(
    quantity: Decimal, cost: Decimal, signed: Decimal, price: Decimal
) -> tuple[Decimal, Decimal]:
    """(realised, cost that leaves) of a fill of `signed` against a position at least as large."""
    leaving = share(cost, -signed, quantity)
    return -signed * price - leaving, leaving


__all__ = ["GRID", "cost_of", "entry_price_of", "reduced", "share"]
