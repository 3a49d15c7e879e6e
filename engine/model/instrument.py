"""What can be traded and on which grid: a venue's filters for one symbol, and the size of an order.

Units: prices in account currency per base coin, quantities in base coin, notional in account
currency.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.model.ids import Symbol
from engine.model.values import round_down_to_step, round_to_tick


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """A linear perpetual with its filters; `quantity_max` is the venue's maximum for one market
    order. A buy may be priced no further above the mark than the fraction `band_up`, a sell no
    further below than `band_down`; None where the venue has not said.
    """

    symbol: Symbol
    tick_size: Decimal
    quantity_step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    notional_min: Decimal
    leverage_max: Decimal = Decimal(125)
    currency: str = "USDT"
    band_up: Decimal | None = None
    band_down: Decimal | None = None

    def notional(self, price: Decimal, quantity: Decimal) -> Decimal:
        """Value of `quantity` at `price`, in account currency."""
        return price * quantity

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Round down to the venue's step; may become zero."""
        return round_down_to_step(quantity, self.quantity_step)

    def round_price(self, price: Decimal) -> Decimal:
        """Round to the nearest tick."""
        return round_to_tick(price, self.tick_size)


# Filters of the simulated and replayed markets on the paper venue; the values are Binance's usual
# ones.
PAPER_INSTRUMENTS: dict[Symbol, Instrument] = {
    instrument.symbol: instrument
    for instrument in (
        Instrument(
            symbol=Symbol("BTCUSDT"),
            tick_size=Decimal("0.10"),
            quantity_step=Decimal("0.001"),
            quantity_min=Decimal("0.001"),
            quantity_max=Decimal(120),
            notional_min=Decimal(5),
        ),
        Instrument(
            symbol=Symbol("ETHUSDT"),
            tick_size=Decimal("0.01"),
            quantity_step=Decimal("0.001"),
            quantity_min=Decimal("0.001"),
            quantity_max=Decimal(2000),
            notional_min=Decimal(5),
        ),
        Instrument(
            symbol=Symbol("SOLUSDT"),
            tick_size=Decimal("0.0100"),
            quantity_step=Decimal("0.01"),
            quantity_min=Decimal("0.01"),
            quantity_max=Decimal(5000),
            notional_min=Decimal(5),
        ),
        Instrument(
            symbol=Symbol("XRPUSDT"),
            tick_size=Decimal("0.0001"),
            quantity_step=Decimal("0.1"),
            quantity_min=Decimal("0.1"),
            quantity_max=Decimal(2_000_000),
            notional_min=Decimal(5),
        ),
    )
}


def paper_instrument(symbol: Symbol) -> Instrument:
    """Filters for a symbol on the paper venue; unlisted ones get a fine grid that fits any
    price.
    """
    return PAPER_INSTRUMENTS.get(symbol) or Instrument(
        symbol=symbol,
        tick_size=Decimal("0.0001"),
        quantity_step=Decimal("0.001"),
        quantity_min=Decimal("0.001"),
        quantity_max=Decimal(1_000_000),
        notional_min=Decimal(5),
    )


__all__ = ["PAPER_INSTRUMENTS", "Instrument", "paper_instrument"]
