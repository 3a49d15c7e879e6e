"""Pure parts: how often the stop may read for long, and the price of its limit orders."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.emergency_stop.closing_prices import BAND_UNKNOWN, closing_price
from engine.emergency_stop.pace import Pace
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.values import Side

_S = 1_000_000_000


def _instrument(**fields: Decimal) -> Instrument:
    return Instrument(
        symbol=Symbol("BTCUSDT"),
        tick_size=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        quantity_min=Decimal("0.001"),
        quantity_max=Decimal(10),
        notional_min=Decimal(5),
        **fields,
    )


def test_a_burst_and_then_one_turn_each_interval() -> None:
    pace = Pace(burst=3, refill_s=2.0)
    for _ in range(3):
        assert pace.wait_s(10 * _S) == 0
        pace.take(10 * _S)
    assert pace.wait_s(10 * _S) == 2.0
    assert pace.wait_s(11 * _S) == 1.0
    assert pace.wait_s(12 * _S) == 0
    pace.take(12 * _S)
    assert pace.wait_s(12 * _S) == 2.0
    pace.give_back()
    assert pace.wait_s(12 * _S) == 0
    # A long rest fills the bucket, never beyond its size.
    for _ in range(3):
        assert pace.wait_s(1000 * _S) == 0
        pace.take(1000 * _S)
    assert pace.wait_s(1000 * _S) == 2.0


@given(asked_ms=st.lists(st.integers(0, 3000), max_size=80))
def test_no_minute_has_more_turns_than_the_burst_and_what_refills(asked_ms: list[int]) -> None:
    pace = Pace(burst=6, refill_s=5.0)
    now_ns, taken = 0, []
    for after_ms in asked_ms:
        now_ns += after_ms * 1_000_000
        if not pace.wait_s(now_ns):
            pace.take(now_ns)
            taken.append(now_ns)
    for began_ns in taken:
        assert sum(1 for at_ns in taken if began_ns <= at_ns < began_ns + 60 * _S) <= 6 + 12


@pytest.mark.parametrize(
    ("side", "refusals", "price"),
    [
        (Side.SELL, 0, "51000.1"),  # 60000.1 less 15 %, rounded into the band.
        (Side.BUY, 0, "66000.1"),
        (Side.SELL, 1, "55500.1"),
        (Side.BUY, 2, "61500.1"),
    ],
)
def test_a_limit_order_is_priced_at_the_far_end_of_the_band(
    side: Side, refusals: int, price: str
) -> None:
    instrument = _instrument(band_up=Decimal("0.10"), band_down=Decimal("0.15"))
    found = closing_price(side, Decimal("60000.1"), instrument, refusals=refusals)
    assert found == Decimal(price)


def test_where_the_venue_has_named_no_band_a_cautious_one_holds() -> None:
    found = closing_price(Side.SELL, Decimal(100), _instrument(), refusals=0)
    assert found == Decimal(100) * (1 - BAND_UNKNOWN)


def test_without_filters_or_a_mark_there_is_no_limit_order() -> None:
    assert closing_price(Side.SELL, Decimal(100), None, refusals=0) is None
    assert closing_price(Side.SELL, Decimal(0), _instrument(), refusals=0) is None
    # A price below one tick is none.
    assert closing_price(Side.BUY, Decimal("0.05"), _instrument(), refusals=0) is None
