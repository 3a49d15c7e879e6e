"""The limit order that takes the place of a market order which the venue does not take.

Why: a venue refuses market orders whose best counter-price lies outside its price band, or halts
them, while it still takes a limit order inside the band. It is priced at the far end of the band,
so that it meets whatever the book offers on the way; each refusal halves the distance, because the
band itself may have changed. Pure; prices are account currency per base coin.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.instrument import Instrument
from engine.model.values import Side, round_down_to_step, round_up_to_step

# Where the venue has not said how far from the mark a price may be.
BAND_UNKNOWN = Decimal("0.05")


def closing_price(
    side: Side, mark: Decimal, instrument: Instrument | None, *, refusals: int
) -> Decimal | None:
    """The price of a marketable limit order after so many refusals; None without a usable mark or
    tick.
    """
    if instrument is None or mark <= 0:
        return None
    band = instrument.band_up if side is Side.BUY else instrument.band_down
    distance = (BAND_UNKNOWN if band is None else band) / 2**refusals
    price = mark * (1 + distance * side.sign)
    # Rounded into the band, never out of it.
    if side is Side.BUY:
        rounded = round_down_to_step(price, instrument.tick_size)
    else:
        rounded = round_up_to_step(price, instrument.tick_size)
    return rounded if rounded > 0 else None


__all__ = ["BAND_UNKNOWN", "closing_price"]
