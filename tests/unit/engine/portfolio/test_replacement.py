"""A true execution in the place of an inferred one: the cash is exact, whatever happened since."""

from __future__ import annotations

from decimal import Decimal
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from engine.model.ids import ClientOrderId, ExecutionId, Symbol
from engine.model.orders import Fill
from engine.model.values import Side
from engine.portfolio import Ledger
from engine.runtime import IdSource

BTC = Symbol("BTCUSDT")
_numbers = count(1)


def fill(side: Side, quantity: Decimal, price: Decimal, *, ts_ns: int, fee: str = "0") -> Fill:
    number = next(_numbers)
    return Fill(
        execution_id=ExecutionId(f"x{number}"),
        client_order_id=ClientOrderId(f"desk-g1-{number}"),
        venue_order_id=None,
        symbol=BTC,
        side=side,
        quantity=quantity,
        price=price,
        fee=Decimal(fee),
        fee_currency="USDT",
        ts_ns=ts_ns,
    )


def ledger() -> Ledger:
    return Ledger(initial=Decimal(100_000), ids=IdSource(seed=1), now_ns=0, currency="USDT")


def book(books: Ledger, one: Fill) -> None:
    books.apply(books.plan_fill(one))


def put_right(books: Ledger, true: Fill, inferred: Fill) -> None:
    books.apply_replacement(
        books.plan_replacement(true, price_before=inferred.price, inferred_ns=inferred.ts_ns)
    )


def test_an_open_position_costs_what_was_truly_paid() -> None:
    books = ledger()
    inferred = fill(Side.BUY, Decimal(2), Decimal(100), ts_ns=5)
    book(books, inferred)
    put_right(books, fill(Side.BUY, Decimal(2), Decimal(103), ts_ns=4, fee="0.5"), inferred)
    position = books.position(BTC)
    assert position is not None
    assert (position.quantity, position.entry_price, position.fees) == (2, 103, Decimal("0.5"))
    (trade,) = books.open_trades()
    assert (trade.entry_price, trade.fees) == (103, Decimal("0.5"))
    assert books.totals.realised == 0
    assert books.account().balance == Decimal("99999.5")


def test_a_part_that_was_closed_realises_the_difference() -> None:
    books = ledger()
    book(books, fill(Side.BUY, Decimal(2), Decimal(100), ts_ns=1))
    inferred = fill(Side.SELL, Decimal(1), Decimal(110), ts_ns=5)
    book(books, inferred)
    put_right(books, fill(Side.SELL, Decimal(1), Decimal(108), ts_ns=4), inferred)
    assert books.totals.realised == 8
    position = books.position(BTC)
    assert position is not None
    assert (position.quantity, position.entry_price, position.realised) == (1, 100, 8)


def test_a_trade_that_began_later_is_not_touched() -> None:
    books = ledger()
    inferred = fill(Side.BUY, Decimal(1), Decimal(100), ts_ns=5)
    book(books, inferred)
    book(books, fill(Side.SELL, Decimal(1), Decimal(105), ts_ns=6))
    book(books, fill(Side.BUY, Decimal(1), Decimal(200), ts_ns=9))
    put_right(books, fill(Side.BUY, Decimal(1), Decimal(101), ts_ns=4), inferred)
    position = books.position(BTC)
    assert position is not None
    assert position.entry_price == 200
    assert books.totals.realised == 4


_PRICES = st.integers(min_value=1, max_value=500).map(Decimal)
_PARTS = st.lists(st.integers(min_value=1, max_value=9), min_size=0, max_size=4)


@given(
    inferred_price=_PRICES,
    true_price=_PRICES,
    adds=_PARTS,
    cuts=_PARTS,
    side=st.sampled_from(Side),
    mark=_PRICES,
)
def test_equity_is_that_of_books_that_never_had_to_infer(
    inferred_price: Decimal,
    true_price: Decimal,
    adds: list[int],
    cuts: list[int],
    side: Side,
    mark: Decimal,
) -> None:
    """Whatever was added or closed between: the same money, and once flat the same realised."""
    other = Side.SELL if side is Side.BUY else Side.BUY
    inferred = fill(side, Decimal(5), inferred_price, ts_ns=5)
    later = [fill(side, Decimal(size), Decimal(90 + size), ts_ns=6) for size in adds]
    later += [fill(other, Decimal(size), Decimal(80 + size), ts_ns=7) for size in cuts]
    true = fill(side, Decimal(5), true_price, ts_ns=4, fee="0.25")
    ours, never = ledger(), ledger()
    for books, first in ((ours, inferred), (never, true)):
        book(books, first)
        for one in later:
            book(books, one)
    put_right(ours, true, inferred)
    for books in (ours, never):
        books.mark(BTC, mark, 8)
    assert ours.quantity(BTC) == never.quantity(BTC)
    assert abs(ours.equity - never.equity) < Decimal("1E-9")
    held = never.quantity(BTC)
    if held:
        last = fill(Side.SELL if held > 0 else Side.BUY, abs(held), mark, ts_ns=9)
        book(ours, last)
        book(never, last)
    assert abs(ours.totals.realised - never.totals.realised) < Decimal("1E-9")
    assert ours.totals.fees == never.totals.fees
