"""The contracts the simulated venues list, with their filters and margin brackets.

Grids and market-order sizes are those of the engine's own table of instruments
(`PAPER_INSTRUMENTS`, the venue's usual ones); price bounds, lot sizes and the minimum notional are
as recorded from the venue, the brackets are approximations of a large and a small coin. Units:
account currency per base coin, base coin, account currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise

import msgspec

from engine.model.ids import Symbol
from engine.model.instrument import PAPER_INSTRUMENTS, Instrument
from engine.model.values import ZERO


class Bracket(msgspec.Struct, frozen=True, kw_only=True):
    """Up to `notional_max` a position may have this leverage; `deduction` makes maintenance
    continuous.
    """

    number: int
    leverage_max: int
    notional_min: Decimal
    notional_max: Decimal
    maintenance_ratio: Decimal
    deduction: Decimal


def _brackets(rows: tuple[tuple[int, int, str], ...]) -> tuple[Bracket, ...]:
    made: list[Bracket] = []
    deduction = floor = ratio_before = ZERO
    for number, (leverage, ceiling, ratio_text) in enumerate(rows, 1):
        ratio = Decimal(ratio_text)
        deduction += floor * (ratio - ratio_before)
        made.append(
            Bracket(
                number=number,
                leverage_max=leverage,
                notional_min=floor,
                notional_max=Decimal(ceiling),
                maintenance_ratio=ratio,
                deduction=deduction,
            )
        )
        floor, ratio_before = Decimal(ceiling), ratio
    for lower, upper in pairwise(made):
        assert lower.notional_max == upper.notional_min
        assert lower.leverage_max > upper.leverage_max
    return tuple(made)


_LARGE = _brackets(
    (
        (125, 300_000, "0.004"),
        (100, 800_000, "0.005"),
        (75, 3_000_000, "0.0065"),
        (50, 12_000_000, "0.01"),
        (25, 70_000_000, "0.02"),
        (20, 100_000_000, "0.025"),
        (10, 230_000_000, "0.05"),
        (5, 480_000_000, "0.1"),
        (2, 1_200_000_000, "0.25"),
        (1, 1_800_000_000, "0.5"),
    )
)
_SMALL = _brackets(
    (
        (100, 50_000, "0.005"),
        (75, 200_000, "0.0065"),
        (50, 1_000_000, "0.01"),
        (25, 5_000_000, "0.02"),
        (20, 10_000_000, "0.025"),
        (10, 25_000_000, "0.05"),
        (5, 50_000_000, "0.1"),
        (2, 100_000_000, "0.25"),
        (1, 200_000_000, "0.5"),
    )
)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A linear perpetual, its filters and its first price."""

    symbol: Symbol
    base: str
    tick_size: Decimal
    price_min: Decimal
    price_max: Decimal
    quantity_step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    market_quantity_max: Decimal
    notional_min: Decimal
    brackets: tuple[Bracket, ...]
    first_price: Decimal
    quote: str = "USDT"
    percent_up: Decimal = Decimal("1.15")
    percent_down: Decimal = Decimal("0.85")
    market_take_bound: Decimal = Decimal("0.30")
    orders_max: int = 200
    funding_interval_h: int = 8
    leverage_first: int = 20

    def bracket(self, notional: Decimal) -> Bracket:
        """The bracket that a position of this notional is in; the last one beyond all."""
        size = abs(notional)
        return next(
            (each for each in self.brackets if size <= each.notional_max), self.brackets[-1]
        )

    def notional_max(self, leverage: int) -> Decimal:
        """The largest position that may have this leverage; zero when none may."""
        allowed = (each.notional_max for each in self.brackets if leverage <= each.leverage_max)
        return max(allowed, default=ZERO)

    def maintenance(self, notional: Decimal) -> Decimal:
        """Margin below which a position of this notional is liquidated."""
        bracket = self.bracket(notional)
        return abs(notional) * bracket.maintenance_ratio - bracket.deduction


def _contract(
    instrument: Instrument,
    *,
    prices: tuple[str, str],
    quantity_max: int,
    first_price: str,
    brackets: tuple[Bracket, ...],
) -> Contract:
    return Contract(
        symbol=instrument.symbol,
        base=instrument.symbol.removesuffix("USDT"),
        tick_size=instrument.tick_size,
        price_min=Decimal(prices[0]),
        price_max=Decimal(prices[1]),
        quantity_step=instrument.quantity_step,
        quantity_min=instrument.quantity_min,
        quantity_max=Decimal(quantity_max),
        market_quantity_max=instrument.quantity_max,
        notional_min=instrument.notional_min,
        brackets=brackets,
        first_price=Decimal(first_price),
    )


def listed_contracts(more: int = 0) -> Mapping[Symbol, Contract]:
    """Every contract of a fresh simulator; `more` small coins beside the usual ones."""
    paper = PAPER_INSTRUMENTS
    listed = (
        _contract(
            paper[Symbol("BTCUSDT")],
            prices=("556.80", "1000000"),
            quantity_max=1000,
            first_price="65000.00",
            brackets=_LARGE,
        ),
        _contract(
            paper[Symbol("ETHUSDT")],
            prices=("39.86", "100000"),
            quantity_max=10_000,
            first_price="3200.00",
            brackets=_LARGE,
        ),
        _contract(
            paper[Symbol("SOLUSDT")],
            prices=("0.42", "100000"),
            quantity_max=1_000_000,
            first_price="150.00",
            brackets=_SMALL,
        ),
        _contract(
            paper[Symbol("XRPUSDT")],
            prices=("0.0143", "100000"),
            quantity_max=10_000_000,
            first_price="2.2000",
            brackets=_SMALL,
        ),
    )
    small = listed[-1]
    further = (
        msgspec.structs.replace(small, symbol=Symbol(f"S{number:02d}USDT"), base=f"S{number:02d}")
        for number in range(more)
    )
    return {contract.symbol: contract for contract in (*listed, *further)}


__all__ = ["Bracket", "Contract", "listed_contracts"]
