"""Our positions against the venue's: every difference with its kind. Pure; repairs nothing itself.

Executions that we have not booked are explained first (missed fills); what still differs after
booking them is a phantom (ours alone), an orphan (theirs alone) or a size mismatch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from engine.model.ids import ExecutionId, Symbol
from engine.model.orders import Fill, PositionRecord
from engine.model.values import ZERO
from engine.model.venue import VenuePosition


class DifferenceKind(StrEnum):
    """What is different."""

    MISSED_FILL = "missed_fill"
    PHANTOM = "phantom"
    ORPHAN = "orphan"
    SIZE_MISMATCH = "size_mismatch"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One difference, quantities signed. `fill` is the missed one, to be booked."""

    kind: DifferenceKind
    symbol: Symbol
    ours: Decimal
    venue: Decimal
    fill: Fill | None = None


def net_of(positions: Iterable[VenuePosition]) -> tuple[VenuePosition, ...]:
    """One row a symbol: in hedge mode the net of its two legs, at the entry price of the larger.

    Our books know one position a symbol; a symbol whose legs cancel each other out is flat in them.
    """
    rows: dict[Symbol, VenuePosition] = {}
    for row in positions:
        other = rows.get(row.symbol)
        if other is None:
            rows[row.symbol] = replace(row, leg=None)
            continue
        larger = max(row, other, key=lambda one: abs(one.quantity))
        rows[row.symbol] = replace(larger, quantity=row.quantity + other.quantity, leg=None)
    return tuple(row for row in rows.values() if row.quantity)


def reconcile(
    *,
    ours: Iterable[PositionRecord],
    venue: Iterable[VenuePosition],
    executions: Iterable[Fill] = (),
    booked: Collection[ExecutionId] = frozenset(),
) -> list[Difference]:
    """Differences in a fixed order: missed fills oldest first, then positions by symbol.

    `executions` must reach back at least to the oldest fill that may be missing.
    """
    quantities = {position.symbol: position.quantity for position in ours}
    theirs = {position.symbol: position.quantity for position in net_of(venue)}
    found: list[Difference] = []
    for fill in sorted(executions, key=lambda fill: fill.ts_ns):
        if fill.execution_id in booked:
            continue
        before = quantities.get(fill.symbol, ZERO)
        found.append(
            Difference(
                kind=DifferenceKind.MISSED_FILL,
                symbol=fill.symbol,
                ours=before,
                venue=theirs.get(fill.symbol, ZERO),
                fill=fill,
            )
        )
        quantities[fill.symbol] = before + fill.side.sign * fill.quantity
    for symbol in sorted(quantities.keys() | theirs.keys()):
        mine, other = quantities.get(symbol, ZERO), theirs.get(symbol, ZERO)
        if mine != other:
            found.append(Difference(kind=_kind(mine, other), symbol=symbol, ours=mine, venue=other))
    return found


def _kind(ours: Decimal, venue: Decimal) -> DifferenceKind:
    if not venue:
        return DifferenceKind.PHANTOM
    return DifferenceKind.SIZE_MISMATCH if ours else DifferenceKind.ORPHAN


__all__ = ["Difference", "DifferenceKind", "net_of", "reconcile"]
