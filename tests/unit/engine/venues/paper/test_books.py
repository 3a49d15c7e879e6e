"""The venue's own books against an independent recomputation, and against our ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal, localcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.config import PaperSection
from engine.model.errors import Refused
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import paper_instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.portfolio import Ledger
from engine.runtime import IdSource
from engine.venues.paper.books import Books, LoadedBooks
from engine.venues.paper.matching import Matching
from engine.venues.paper.pricing import Prices
from engine.venues.paper.storage import PAPER_MIGRATIONS, loading, saving

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
INITIAL = Decimal(100_000)
SETTINGS = PaperSection(initial_balance=INITIAL)

_steps = st.lists(
    st.tuples(
        st.sampled_from([BTC, ETH]),
        st.sampled_from([Side.BUY, Side.SELL]),
        st.integers(1, 400),
        st.integers(9_000, 11_000),
        st.sampled_from(["market", "limit", "reduce", "stop"]),
    ),
    min_size=1,
    max_size=40,
)


def make_intent(
    number: int, symbol: Symbol, side: Side, size: int, what: str, price: Decimal
) -> Intent:
    kinds = {"limit": OrderKind.LIMIT, "stop": OrderKind.STOP_MARKET}
    level = paper_instrument(symbol).round_price(price * (1 - side.sign * Decimal("0.01")))
    stop = paper_instrument(symbol).round_price(price * (1 + side.sign * Decimal("0.01")))
    return Intent(
        client_order_id=ClientOrderId(f"c{number}"),
        symbol=symbol,
        side=side,
        kind=kinds.get(what, OrderKind.MARKET),
        purpose=OrderPurpose.ENTRY,
        quantity=Decimal(size) / 1000,
        price=level if what == "limit" else None,
        trigger_price=stop if what == "stop" else None,
        reduce_only=what in {"reduce", "stop"},
        leverage=Decimal(20),
    )


@settings(max_examples=40, deadline=None)
@given(steps=_steps)
def test_books_are_the_sum_of_their_fills_to_the_last_decimal(
    steps: list[tuple[Symbol, Side, int, int, str]],
) -> None:
    """Σ fills = positions; balance from cash flows; the disk and our ledger say the same."""
    with TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "p.db")) as disk:
        disk.execute("PRAGMA synchronous=OFF")  # What is proved here is arithmetic, not durability.
        disk.executescript("".join(step.sql for step in PAPER_MIGRATIONS))
        books = Books(loading(initial=INITIAL, now_ns=1)(disk), currency="USDT")
        prices = Prices(settings=SETTINGS)
        prices.last = {BTC: Decimal(60_000), ETH: Decimal(3_000)}
        matching = Matching(
            books=books,
            prices=prices,
            settings=SETTINGS,
            instrument=paper_instrument,
            parts=lambda: 2,
        )
        ledger = Ledger(initial=INITIAL, ids=IdSource(seed=1), now_ns=0, currency="USDT")
        base = dict(prices.last)
        for number, (symbol, side, size, permille, what) in enumerate(steps):
            price = paper_instrument(symbol).round_price(base[symbol] * permille / 10_000)
            prices.last[symbol] = price
            band = matching.bands.get(symbol)
            updates = []
            if band is not None and not band[0] < price < band[1]:
                updates += matching.on_price(symbol, price, number)
            try:
                intent = make_intent(number, symbol, side, size, what, price)
                updates += matching.accept(intent, number)[1]
            except Refused:
                pass
            saving(books.take_changes())(disk)
            for update in updates:
                if update.fill is not None:
                    ledger.apply(ledger.plan_fill(update.fill))
        _check(disk, books, ledger)


def _check(disk: sqlite3.Connection, books: Books, ledger: Ledger) -> None:
    held: dict[str, Decimal] = {}
    cash = INITIAL
    with localcontext() as context:
        context.prec = 60
        for symbol, side, quantity, price, fee in disk.execute(
            "SELECT symbol, side, quantity, price, fee FROM fills ORDER BY rowid"
        ):
            signed = Decimal(quantity) * (1 if side == "BUY" else -1)
            held[symbol] = held.get(symbol, Decimal(0)) + signed
            cash -= signed * Decimal(price) + Decimal(fee)
        positions = disk.execute("SELECT symbol, quantity, entry_price FROM positions").fetchall()
        assert {s: q for s, q in held.items() if q} == {s: Decimal(q) for s, q, _ in positions}
        cost = sum(
            ((Decimal(q) * Decimal(e)).quantize(Decimal("1E-12")) for _, q, e in positions),
            Decimal(0),
        )
        (balance,) = disk.execute("SELECT balance FROM account").fetchone()
        assert Decimal(balance) == cash + cost
    assert books.balance == Decimal(balance) == ledger.account().balance
    loaded: LoadedBooks = loading(initial=Decimal(1), now_ns=9)(disk)
    assert loaded.balance == books.balance
    assert loaded.positions == books.positions
    assert {o.client_order_id for o in loaded.open_orders} == {
        order.client_order_id for order in books.open_orders()
    }
    assert {p.symbol: p.entry_price for p in ledger.positions()} == {
        symbol: position.entry_price for symbol, position in books.positions.items()
    }
