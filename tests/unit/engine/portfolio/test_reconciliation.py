"""Differences between our positions and the venue's, each with its kind."""

from __future__ import annotations

from decimal import Decimal

from engine.model.ids import ExecutionId, Symbol
from engine.model.orders import PositionRecord
from engine.model.values import Side
from engine.model.venue import VenuePosition
from engine.portfolio import Difference, DifferenceKind, reconcile
from tests.unit.engine.portfolio.test_ledger import BTC, ETH, make_fill

SOL = Symbol("SOLUSDT")


def ours(symbol: Symbol, quantity: str) -> PositionRecord:
    return PositionRecord(symbol=symbol, quantity=Decimal(quantity), entry_price=Decimal(1))


def theirs(symbol: Symbol, quantity: str) -> VenuePosition:
    return VenuePosition(symbol=symbol, quantity=Decimal(quantity), entry_price=Decimal(1))


def test_equal_books_have_no_differences() -> None:
    assert reconcile(ours=[ours(BTC, "1.0")], venue=[theirs(BTC, "1.00")]) == []


def test_kinds_are_told_apart_and_sorted_by_symbol() -> None:
    found = reconcile(
        ours=[ours(SOL, "2"), ours(BTC, "1")], venue=[theirs(ETH, "-3"), theirs(SOL, "-2")]
    )
    assert found == [
        Difference(kind=DifferenceKind.PHANTOM, symbol=BTC, ours=Decimal(1), venue=Decimal(0)),
        Difference(kind=DifferenceKind.ORPHAN, symbol=ETH, ours=Decimal(0), venue=Decimal(-3)),
        Difference(
            kind=DifferenceKind.SIZE_MISMATCH, symbol=SOL, ours=Decimal(2), venue=Decimal(-2)
        ),
    ]


def test_a_missed_fill_explains_a_difference_instead_of_two() -> None:
    known = make_fill(Side.BUY, "1", "100", ts_ns=1)
    missed = make_fill(Side.BUY, "2", "100", ts_ns=2)
    found = reconcile(
        ours=[ours(BTC, "1")],
        venue=[theirs(BTC, "3")],
        executions=[missed, known],
        booked={known.execution_id},
    )
    assert [(d.kind, d.fill) for d in found] == [(DifferenceKind.MISSED_FILL, missed)]


def test_what_missed_fills_do_not_explain_remains() -> None:
    missed = make_fill(Side.BUY, "2", "100")
    found = reconcile(
        ours=[], venue=[theirs(BTC, "5")], executions=[missed], booked={ExecutionId("other")}
    )
    assert [d.kind for d in found] == [DifferenceKind.MISSED_FILL, DifferenceKind.SIZE_MISMATCH]
    assert found[1].ours == 2
    assert found[1].venue == 5
