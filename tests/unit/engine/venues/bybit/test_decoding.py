"""Numbers, times and names of Bybit's JSON: read exactly, or refused with the field's name."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.ids import ClientOrderId
from engine.model.values import Side
from engine.venues.bybit import decoding
from engine.venues.bybit.decoding import Undecodable


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, max_value=10**20))
def test_a_number_is_read_exactly(value: Decimal) -> None:
    assert decoding.number(f"{value:f}", "qty") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "NaN",
        "Infinity",
        "-Infinity",
        "1_000",
        "0x1",
        "1e999",
        "\uff11",
        "+1",
        "1,5",
        ".",
    ],
)
def test_what_is_no_number_is_refused_by_name(text: str) -> None:
    with pytest.raises(Undecodable, match=r"^execFee: "):
        decoding.number(text, "execFee")


@given(st.text(max_size=30))
def test_a_text_is_a_finite_number_or_refused(text: str) -> None:
    try:
        value = decoding.number(text, "qty")
    except Undecodable:
        return
    assert value.is_finite()


def test_nothing_and_zero_are_no_price() -> None:
    assert [decoding.positive_or_none(text, "price") for text in (None, "", "0", "0.00")] == [
        None
    ] * 4
    assert decoding.positive_or_none("0.5", "price") == Decimal("0.5")
    with pytest.raises(Undecodable, match="price: -1 is below zero"):
        decoding.positive_or_none("-1", "price")


def test_a_time_is_milliseconds_as_text_or_number() -> None:
    assert decoding.time_ns("1672364262457", "execTime") == 1672364262457000000
    assert decoding.time_ns(1672364262457, "ts") == 1672364262457000000
    for text in ("", "-1", "1672364262457.5", "now", "²", "1" * 17):
        with pytest.raises(Undecodable, match="execTime"):
            decoding.time_ns(text, "execTime")


def test_a_side_is_one_of_two() -> None:
    assert (decoding.side("Buy"), decoding.side("Sell")) == (Side.BUY, Side.SELL)
    with pytest.raises(Undecodable, match="side: 'BUY'"):
        decoding.side("BUY")


def test_an_order_without_a_name_of_ours_gets_the_same_one_each_time() -> None:
    named = decoding.client_order_id("desk-g1-7", "5cf98598")
    unnamed = decoding.client_order_id("", "5cf98598")
    assert (named, unnamed) == ("desk-g1-7", "@5cf98598")
    assert decoding.venue_name_of(unnamed) == "5cf98598"
    assert decoding.venue_name_of(ClientOrderId("5cf98598")) is None
    with pytest.raises(Undecodable, match="orderId: is empty"):
        decoding.client_order_id("", "")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"result":{"list":[]}}', "retCode"),
        (b'{"retCode":10001,"result":{"list":[]}}', "retCode: 10001"),
        (b'{"retCode":0}', "result"),
        (b'{"retCode":0,"result":{}}', "list"),
        (b'{"retCode":0,"result":{"list":[],"category":"spot"}}', "category: 'spot'"),
        (b"", "truncated"),
        (b"\xff", "malformed"),
        (b'{"x":' + b"[" * 100_000, "recursion"),
    ],
)
def test_an_answer_that_is_not_a_list_of_ours_names_what_is_wrong(body: bytes, named: str) -> None:
    with pytest.raises(Undecodable, match=named):
        decoding.decode_list(body, dict[str, str])
