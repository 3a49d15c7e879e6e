"""Points in time as other programs write them, made into integer UTC nanoseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

# The unit of a plain number is told by its size: each of these is the year 5138 in its unit, and
# 1973 in the next.
_UNITS: tuple[tuple[int, int], ...] = (
    (10**11, 1_000_000_000),
    (10**14, 1_000_000),
    (10**17, 1_000),
    (10**20, 1),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_ns(value: Any) -> int:
    """From ISO 8601 (without a zone: UTC), or seconds, ms, µs or ns since 1970.

    Numbers as int, Decimal or text, never a float. Raises ValueError that says what is wrong.
    """
    number: Decimal | None = None
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
    elif isinstance(value, str):
        try:
            number = Decimal(value)
        except InvalidOperation:
            return _from_words(value)
    if number is None or not number.is_finite() or number < 0:
        raise ValueError(f"{value!r} is not a point in time")
    for below, factor in _UNITS:
        if number < below:
            return int(number * factor)
    raise ValueError(f"{value!r} is too late to be a point in time")


def _from_words(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a point in time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    if since < timedelta(0):
        raise ValueError(f"{text!r} is before 1970")
    return (since // timedelta(microseconds=1)) * 1_000


__all__ = ["instant_ns"]
