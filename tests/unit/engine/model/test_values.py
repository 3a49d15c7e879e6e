"""Money as decimals: what is refused at the door, and rounding that never grows a quantity."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.values import (
    PositionSide,
    Side,
    decimal,
    plain,
    price,
    quantity,
    round_down_to_step,
    round_to_tick,
    round_up_to_step,
)

amounts = st.decimals(
    min_value=Decimal("-1e9"), max_value=Decimal("1e9"), allow_nan=False, places=6
)
steps = st.sampled_from([Decimal(text) for text in ("0.001", "0.1", "1", "0.25", "5")])


def test_a_float_is_refused_because_it_cannot_hold_money() -> None:
    with pytest.raises(TypeError, match="price: a float"):
        price(0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "abc", "NaN", "Infinity", "-Infinity"])
def test_nonsense_is_refused_with_the_fields_name(text: str) -> None:
    with pytest.raises(ValueError, match="equity"):
        decimal(text, field="equity")


def test_a_price_is_above_zero_and_a_quantity_never_negative() -> None:
    assert price("0.5") == Decimal("0.5")
    assert quantity("0") == 0
    with pytest.raises(ValueError, match="above zero"):
        price("0")
    with pytest.raises(ValueError, match="never negative"):
        quantity("-1")


@given(amounts, steps)
def test_rounding_down_never_grows_and_stays_on_the_grid(value: Decimal, step: Decimal) -> None:
    rounded = round_down_to_step(value, step)
    assert abs(rounded) <= abs(value)
    assert abs(value) - abs(rounded) < step
    assert rounded % step == 0


@given(amounts, steps)
def test_rounding_up_never_shrinks(value: Decimal, step: Decimal) -> None:
    assert abs(round_up_to_step(value, step)) >= abs(value)


def test_a_tick_is_rounded_to_the_nearest_and_half_to_even() -> None:
    assert round_to_tick(Decimal("10.04"), Decimal("0.1")) == Decimal("10.0")
    assert round_to_tick(Decimal("10.05"), Decimal("0.1")) == Decimal("10.0")
    assert round_to_tick(Decimal("10.15"), Decimal("0.1")) == Decimal("10.2")


@given(amounts)
def test_plain_text_has_no_exponent_and_reads_back_equal(value: Decimal) -> None:
    text = plain(value)
    assert "E" not in text
    assert Decimal(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1234567890123456789012345678.90123456", "1234567890123456789012345678.90123456"),
        ("1E+3", "1000"),
        ("100", "100"),
        ("-0.00", "0"),
        ("-1.50", "-1.5"),
        ("0E-8", "0"),
    ],
)
def test_plain_text_keeps_every_digit(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


def test_directions() -> None:
    assert Side.BUY.opposite is Side.SELL
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert [PositionSide.of(Decimal(n)) for n in (-1, 0, 1)] == [
        PositionSide.SHORT,
        PositionSide.FLAT,
        PositionSide.LONG,
    ]
