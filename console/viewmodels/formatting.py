"""How numbers, ages and times are written: true minus, thin-space thousands, UTC, units last.

Pure. Money and quantities come as ``Decimal``, fractions are positive, times are UTC nanoseconds,
ages seconds.
"""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

__all__ = [
    "DASH",
    "MINUS",
    "THIN_SPACE",
    "age",
    "clock",
    "clock_tenths",
    "duration",
    "grouped",
    "milliseconds",
    "moment",
    "money",
    "percent",
    "percent_points",
    "price",
    "quantity",
    "signed_money",
    "size",
    "split_size",
    "whole",
]

THIN_SPACE: Final = "\u2009"
MINUS: Final = "\u2212"
DASH: Final = "\u2014"
_SECONDS_NS: Final = 1_000_000_000


def grouped(text: str) -> str:
    """Put thin spaces into the whole part of a plain decimal text, and a true minus before it."""
    sign = MINUS if text.startswith("-") else ""
    whole, dot, rest = text.lstrip("-+").partition(".")
    groups = f"{int(whole or '0'):,}".replace(",", THIN_SPACE)
    return f"{sign}{groups}{dot}{rest}"


def money(value: Decimal, *, places: int = 2) -> str:
    """``12 345.60``, rounded half to even."""
    step = Decimal(1).scaleb(-places)
    rounded = value.quantize(step, rounding=ROUND_HALF_EVEN)
    return grouped(format(abs(rounded) if rounded == 0 else rounded, "f"))


def signed_money(value: Decimal, *, places: int = 2) -> str:
    """``+118.20`` or ``−41.75``; zero has no sign. Neutral in colour everywhere (R28)."""
    text = money(value, places=places)
    return f"+{text}" if value > 0 and any(digit in text for digit in "123456789") else text


def quantity(value: Decimal) -> str:
    """As many places as the venue gave, no exponent."""
    return grouped(format(value, "f"))


def price(value: Decimal | None) -> str:
    """A price without trailing zeros of its exponent; a dash when not known."""
    return DASH if value is None else grouped(format(value, "f"))


def percent(fraction: Decimal | float, *, places: int = 2) -> str:
    """``0.0082`` as ``0.82 %``."""
    return f"{percent_points(fraction, places=places)} %"


def percent_points(fraction: Decimal | float, *, places: int = 2) -> str:
    """``0.0082`` as ``0.82``."""
    if isinstance(fraction, Decimal):
        return money(fraction * 100, places=places)
    return grouped(f"{fraction * 100:.{places}f}")


def age(seconds: float | None) -> str:
    """``0.2 s``, ``14 s``, ``3 min``, ``5 h``; a dash when there is none."""
    if seconds is None:
        return DASH
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    return duration(seconds)


def duration(seconds: float) -> str:
    """Whole units only: ``40 s``, ``3 min``, ``5 h``, ``2 d``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5_970:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def whole(count: int) -> str:
    """``48 211``."""
    return grouped(str(count))


def split_size(count: int) -> tuple[str, str]:
    """``("1.2", "MB")``: decimal units, as disks are sold and caps are configured."""
    for factor, unit in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")):
        # Rounded up into the next unit rather than shown as 1000 of this one.
        if count >= factor * 0.9995:
            value = count / factor
            return grouped(f"{value:.1f}" if value < 9.95 else f"{value:.0f}"), unit
    return grouped(str(count)), "B"


def size(count: int) -> str:
    """``1.2 MB``."""
    return " ".join(split_size(count))


def clock(ts_ns: int) -> str:
    """``14:32:07`` UTC."""
    return datetime.fromtimestamp(ts_ns // _SECONDS_NS, tz=UTC).strftime("%H:%M:%S")


def clock_tenths(ts_ns: int) -> str:
    """``14:32:07.4`` UTC."""
    return f"{clock(ts_ns)}.{ts_ns % _SECONDS_NS // 100_000_000}"


def moment(ts_ns: int, now_ns: int) -> str:
    """``14:32:07`` of the same UTC day, ``11-20 14:32`` of another."""
    then = datetime.fromtimestamp(ts_ns // _SECONDS_NS, tz=UTC)
    now = datetime.fromtimestamp(now_ns // _SECONDS_NS, tz=UTC)
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%m-%d %H:%M")


def milliseconds(value: float) -> str:
    """``3.1 ms``, ``41 ms``, ``0.81 s``, ``12 s``."""
    if value < 9.95:
        return f"{value:.1f} ms"
    if value < 999.5:
        return f"{value:.0f} ms"
    return f"{value / 1000:.2f} s" if value < 9_995 else duration(value / 1000)
