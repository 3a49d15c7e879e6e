"""Reads one JSON value of Bybit: the envelope of an answer, and numbers, times, sides, names.

Strict about what is needed, blind to what is not: structs name only the fields we use, unknown ones
are passed over (the venue adds some each month), and what is missing or odd is refused with
`Undecodable`, which names the field. Numbers come as texts and become `Decimal`, times come as
milliseconds and become UTC nanoseconds. Pure; nothing else than `Undecodable` is ever raised.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

from engine.model.ids import ClientOrderId
from engine.model.values import ZERO, Side

T = TypeVar("T")
LINEAR = "linear"
_NS_PER_MS = 1_000_000
# Our name for an order that has none of its own: no id that anybody may choose starts so (B3).
_VENUE_NAMED = "@"
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,2})?", re.ASCII)
_MILLISECONDS = re.compile(r"[0-9]{1,16}", re.ASCII)
_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}


class Undecodable(ValueError):
    """It is not what the documentation says; the message names the field."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; the last one has an empty cursor."""

    rows: tuple[T, ...]
    next_cursor: str = ""

    @property
    def count(self) -> int:
        """How many rows the venue sent."""
        return len(self.rows)


class _Envelope(msgspec.Struct, Generic[T], frozen=True):
    retCode: int
    result: T


class ListResult(msgspec.Struct, Generic[T], frozen=True):
    """The `result` of every list."""

    rows: list[T] = msgspec.field(name="list")
    category: str | None = None
    nextPageCursor: str | None = None


def decode(body: bytes | msgspec.Raw, type_: type[T]) -> T:
    """JSON into a struct; the refusal names the field and where it stands."""
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(str(error)) from error


def decode_result(body: bytes, type_: type[T]) -> T:
    """The `result` of an answer that says it was done."""
    envelope = decode(body, _Envelope[type_])  # type: ignore[valid-type]
    if envelope.retCode:
        raise Undecodable(f"retCode: {envelope.retCode} is not an answer of success")
    return envelope.result


def decode_list(body: bytes, type_: type[T]) -> ListResult[T]:
    """The `result` of a list, which must not be of another category."""
    result = decode_result(body, ListResult[type_])  # type: ignore[valid-type]
    if result.category not in (None, LINEAR):
        raise Undecodable(f"category: {result.category!r} is not {LINEAR}")
    return result


# --- values -------------------------------------------------------------------------------------


def number(text: str, field: str) -> Decimal:
    """A finite decimal of a size that money can have."""
    if not _NUMBER.fullmatch(text):
        raise Undecodable(f"{field}: {text[:60]!r} is not a number")
    return Decimal(text)


def number_or_none(text: str | None, field: str) -> Decimal | None:
    """The venue writes "nothing" as an empty text or null."""
    return number(text, field) if text else None


def positive_or_none(text: str | None, field: str) -> Decimal | None:
    """A price; the venue writes "none" as zero too."""
    value = number_or_none(text, field)
    if value is not None and value < 0:
        raise Undecodable(f"{field}: {value} is below zero")
    return value or None


def quantity(text: str, field: str) -> Decimal:
    """Never negative: the venue gives direction by `side`."""
    value = number(text, field)
    if value < 0:
        raise Undecodable(f"{field}: {value} is below zero")
    return value


def above_zero(text: str, field: str) -> Decimal:
    value = number(text, field)
    if value <= ZERO:
        raise Undecodable(f"{field}: {value} is not above zero")
    return value


def time_ns(text: str | int, field: str) -> int:
    """Milliseconds as text or number into UTC nanoseconds."""
    if not _MILLISECONDS.fullmatch(str(text)):
        raise Undecodable(f"{field}: {str(text)[:60]!r} is not a time in milliseconds")
    return int(text) * _NS_PER_MS


def side(text: str, field: str = "side") -> Side:
    found = _SIDES.get(text)
    if found is None:
        raise Undecodable(f"{field}: {text[:60]!r} is neither Buy nor Sell")
    return found


def name(text: str, field: str) -> str:
    """An identifier, which cannot be empty."""
    if not text:
        raise Undecodable(f"{field}: is empty")
    return text


# --- names of orders ----------------------------------------------------------------------------


def client_order_id(order_link_id: str, order_id: str) -> ClientOrderId:
    """The id that an order was given, or one made of the venue's own: the same each time."""
    return ClientOrderId(order_link_id or f"{_VENUE_NAMED}{name(order_id, 'orderId')}")


def venue_name_of(client_id: ClientOrderId) -> str | None:
    """The venue's own id, if that is all the order has (`client_order_id`)."""
    return client_id[1:] if client_id.startswith(_VENUE_NAMED) else None


__all__ = [
    "LINEAR",
    "ListResult",
    "Page",
    "Undecodable",
    "above_zero",
    "client_order_id",
    "decode",
    "decode_list",
    "decode_result",
    "name",
    "number",
    "number_or_none",
    "positive_or_none",
    "quantity",
    "side",
    "time_ns",
    "venue_name_of",
]
