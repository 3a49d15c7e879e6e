"""Points in time as other programs write them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.model.instants import instant_ns

_NS = 1_722_945_600_123_456_000  # 2024-08-06 12:00:00.123456 UTC


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1722945600.123456"),
        "1722945600.123456",
        1_722_945_600_123_456,
        _NS,
        "2024-08-06T12:00:00.123456",
        "2024-08-06T12:00:00.123456Z",
        "2024-08-06T14:00:00.123456+02:00",
    ],
)
def test_every_unit_is_told_by_its_size(value: Any) -> None:
    assert instant_ns(value) == _NS


def test_milliseconds_have_no_more() -> None:
    assert instant_ns(1_722_945_600_123) == 1_722_945_600_123_000_000


@pytest.mark.parametrize("value", [True, None, 1.5, "", "soon", -1, "NaN", "1960-01-01", 10**21])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"point in time|before 1970"):
        instant_ns(value)
