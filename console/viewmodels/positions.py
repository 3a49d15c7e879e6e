"""The positions table: rows of words, right-aligned numbers, profit neutral in colour (R28).

A row is keyed by symbol and keeps its place, so that a click never lands on a neighbour that just
moved.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from console.viewmodels.appearance import Tone
from console.viewmodels.formatting import (
    DASH,
    age,
    duration,
    percent_points,
    price,
    quantity,
    signed_money,
)
from console.viewmodels.freshness import Engine, Freshness, freshness_of
from engine.model.snapshots import PositionSnapshot

__all__ = ["POSITION_COLUMNS", "Cell", "Column", "PositionsState", "PositionsViewModel"]

_NEAR_CLOSE_S: Final = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A table column: title, width in pixels at 100 %, alignment.

    ``may_elide``: free text of any length; it ends in an ellipsis where there is no room.
    """

    title: str
    width_px: int
    is_number: bool = False
    may_elide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One table cell."""

    text: str
    tone: Tone = Tone.NEUTRAL
    is_dim: bool = False
    is_done: bool = False


POSITION_COLUMNS: Final = (
    Column(title="Symbol", width_px=88),
    Column(title="Side", width_px=68),
    Column(title="Quantity", width_px=84, is_number=True),
    Column(title="Entry", width_px=82, is_number=True),
    Column(title="Mark", width_px=82, is_number=True),
    Column(title="P&L, unrealised", width_px=110, is_number=True),
    Column(title="% of limit", width_px=76, is_number=True),
    Column(title="Stop resting", width_px=152, is_number=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsState:
    """Title, note and rows; ``empty`` is what to say instead of rows."""

    title: str
    note: str
    rows: tuple[tuple[Cell, ...], ...]
    empty: str


class PositionsViewModel:
    """Makes the table from a snapshot, in a stable order of rows."""

    def __init__(self) -> None:
        self._order: list[str] = []

    def present(self, engine: Engine) -> PositionsState:
        """The rows now; new symbols go to the end."""
        snapshot = engine.snapshot
        by_symbol = {str(position.symbol): position for position in snapshot.positions}
        self._order = [symbol for symbol in self._order if symbol in by_symbol]
        self._order += [symbol for symbol in by_symbol if symbol not in self._order]
        count, orders = len(snapshot.positions), len(snapshot.orders)
        total = sum(
            (position.unrealised or Decimal(0) for position in snapshot.positions), Decimal(0)
        )
        return PositionsState(
            title=f"Positions {count} · Orders {orders}",
            note=f"unrealised {signed_money(total)} {snapshot.currency}" if count else "",
            rows=tuple(self._row(by_symbol[symbol], engine) for symbol in self._order),
            empty="NO DATA" if engine.freshness is Freshness.NO_DATA else "No open positions",
        )

    @staticmethod
    def _row(position: PositionSnapshot, engine: Engine) -> tuple[Cell, ...]:
        mark_age = position.mark_age_s
        silence = engine.silent_s if engine.is_silent else 0.0
        freshness = freshness_of(None if mark_age is None else mark_age + silence)
        is_dim = freshness is not Freshness.PLAIN
        mark = price(position.mark_price)
        if freshness is Freshness.NO_DATA:
            mark = "NO DATA"
        elif is_dim:
            mark = f"old {age(mark_age)}"
        unrealised = DASH if position.unrealised is None else signed_money(position.unrealised)
        used = (
            DASH if position.limit_used is None else percent_points(position.limit_used, places=0)
        )
        return (
            Cell(text=str(position.symbol)),
            Cell(text=position.side.upper()),
            Cell(text=quantity(position.quantity)),
            Cell(text=price(_average(position))),
            Cell(text=mark, is_dim=is_dim),
            Cell(text=unrealised, is_dim=is_dim),
            Cell(text=used, tone=_limit_tone(position.limit_used)),
            _protected(position),
        )


def _average(position: PositionSnapshot) -> Decimal:
    """The entry price is an average; one digit more than the mark has says enough of it."""
    if position.mark_price is None:
        return position.entry_price
    exponent = position.mark_price.as_tuple().exponent
    if not isinstance(exponent, int) or position.entry_price.is_nan():
        return position.entry_price
    step = Decimal(1).scaleb(min(0, exponent) - 1)
    rounded = position.entry_price.quantize(step)
    return rounded if rounded != position.entry_price else position.entry_price


def _limit_tone(used: Decimal | None) -> Tone:
    return Tone.HIGH if used is not None and used > 1 else Tone.NEUTRAL


def _protected(position: PositionSnapshot) -> Cell:
    closing = position.force_close_in_s
    if closing is not None and closing <= _NEAR_CLOSE_S:
        return Cell(text=f"CLOSES IN {duration(closing)}", tone=Tone.HIGH)
    if position.protected is None:
        return Cell(text="UNPROTECTED", tone=Tone.HIGH)
    return Cell(text=price(position.protected))
