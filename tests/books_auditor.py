"""An independent audit of the books: every figure worked out anew from the fills in `paper.db`,
and from what positions paid at funding times.

Imports nothing of the engine and shares no arithmetic with it. It reads the venue's fills in the
order of their arrival and follows cash: a flat symbol's profit is exactly the cash that came in
less what went out. While a position is open its cost is held as a fraction that loses nothing; a
part that is closed takes its share of it, rounded half-even to 10⁻¹² (the one rounding that the
books document). Compares to the last decimal with the venue's own tables and with the `books` of a
run summary.

    python tests/books_auditor.py paper.db summary.json

Money in account currency, quantities in base coin, signed. Exit 0 balanced, 1 not, 2 bad usage.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

__all__ = ["Audit", "audit", "differences_from", "main", "problems_of"]

_GRID = 10**12
_DIGITS = 60


@dataclass(kw_only=True)
class Audit:
    """The books as the fills prove them."""

    initial: Decimal
    fills: int = 0
    fees: Fraction = Fraction(0)
    realised: Fraction = Fraction(0)
    funding: Fraction = Fraction(0)
    quantity: dict[str, Fraction] = field(default_factory=dict)
    cost: dict[str, Fraction] = field(default_factory=dict)
    closed: int = 0

    @property
    def balance(self) -> Fraction:
        return Fraction(self.initial) + self.realised - self.fees + self.funding

    def open_symbols(self) -> list[str]:
        return sorted(symbol for symbol, quantity in self.quantity.items() if quantity)

    def take(
        self, symbol: str, side: str, quantity: Fraction, price: Fraction, fee: Fraction
    ) -> None:
        """One fill, as the venue wrote it."""
        if side not in {"BUY", "SELL"} or quantity <= 0 or price <= 0:
            raise ValueError(f"no such fill: {side} {quantity} {symbol} @ {price}")
        self.fills += 1
        self.fees += fee
        signed = quantity if side == "BUY" else -quantity
        held = self.quantity.get(symbol, Fraction(0))
        cost = self.cost.get(symbol, Fraction(0))
        if held * signed < 0:
            closing_part = min(abs(signed), abs(held))
            if closing_part == abs(held):
                leaving = cost
                self.closed += 1
            else:
                leaving = _rounded(cost * closing_part / abs(held))
            towards_flat = closing_part if held > 0 else -closing_part
            self.realised += towards_flat * price - leaving
            held -= towards_flat
            cost -= leaving
            signed += towards_flat
        self.quantity[symbol] = held + signed
        self.cost[symbol] = cost + signed * price


def _rounded(amount: Fraction) -> Fraction:
    """To 10⁻¹², half to even."""
    return Fraction(round(amount * _GRID), _GRID)


def _rows(connection: sqlite3.Connection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


def _opened(paper_db: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{paper_db.absolute().as_uri()}?mode=ro", uri=True)


def audit(paper_db: Path) -> Audit:
    """Follow every fill of a paper venue's file."""
    with closing(_opened(paper_db)) as connection:
        books = Audit(initial=Decimal(_rows(connection, "SELECT initial FROM venue")[0][0]))
        for symbol, side, quantity, price, fee in _rows(
            connection, "SELECT symbol, side, quantity, price, fee FROM fills ORDER BY rowid"
        ):
            books.take(symbol, side, Fraction(quantity), Fraction(price), Fraction(fee))
        for (amount,) in _rows(connection, "SELECT amount FROM fundings"):
            books.funding += Fraction(amount)
    return books


def problems_of(paper_db: Path) -> list[str]:
    """Differences between the venue's fills and its own account and positions."""
    books = audit(paper_db)
    with closing(_opened(paper_db)) as connection:
        balance = _rows(connection, "SELECT balance FROM account")
        rows = _rows(connection, "SELECT symbol, quantity, entry_price FROM positions")
        twice = _rows(
            connection, "SELECT execution_id FROM fills GROUP BY execution_id HAVING count(*) > 1"
        )
        fundings = _funding_problems(connection)
    found = [f"execution {row[0]} is there twice" for row in twice] + fundings
    found += _unequal("account.balance", balance[0][0], books.balance)
    found += _position_problems(books, {row[0]: (row[1], row[2]) for row in rows})
    return found


def _funding_problems(connection: sqlite3.Connection) -> list[str]:
    """Fundings whose quantity the fills before them do not make, or whose amount is another than
    minus quantity × price × rate, to 10⁻⁸.
    """
    found = []
    fills = _rows(connection, "SELECT symbol, side, quantity, ts_ns FROM fills")
    for symbol, quantity, price, rate, amount, ts_ns in _rows(
        connection, "SELECT symbol, quantity, price, rate, amount, ts_ns FROM fundings"
    ):
        # Of a fill in the very same nanosecond nobody can say which was first.
        held = {
            sum(
                Fraction(row[2]) * (1 if row[1] == "BUY" else -1)
                for row in fills
                if row[0] == symbol and row[3] < until
            )
            for until in (ts_ns, ts_ns + 1)
        }
        due = -Fraction(quantity) * Fraction(price) * Fraction(rate)
        if Fraction(quantity) not in held:
            found.append(f"funding of {quantity} {symbol}: the fills leave another quantity")
        if Fraction(amount) != Fraction(round(due * 10**8), 10**8):
            found.append(f"funding of {symbol}: {amount}, by the rate {_decimal(due)}")
    return found


def _position_problems(books: Audit, rows: dict[str, tuple[str, str]]) -> list[str]:
    """Symbol → quantity and entry price, as somebody's books have them."""
    found = []
    for symbol in sorted({*rows, *books.open_symbols()}):
        if symbol not in rows:
            found.append(f"{symbol}: fills leave {float(books.quantity[symbol])}, not in the books")
            continue
        quantity, entry_price = rows[symbol]
        held = books.quantity.get(symbol, Fraction(0))
        found += _unequal(f"{symbol} quantity", quantity, held)
        if held:
            found += _close("entry price of " + symbol, entry_price, books.cost[symbol] / held)
    return found


def differences_from(paper_db: Path, summary_books: dict[str, Any]) -> list[str]:
    """Differences between what the fills prove and the `books` of a run summary."""
    books = audit(paper_db)
    found: list[str] = []
    rows = {}
    unrealised = Fraction(0)
    for entry in summary_books["positions"]:
        symbol, size = entry["symbol"], Fraction(entry["quantity"])
        signed = size if entry["side"].upper() in {"LONG", "BUY"} else -size
        rows[symbol] = (str(_decimal(signed)), entry["entry_price"])
        own = signed * Fraction(entry["mark_price"]) - books.cost.get(symbol, Fraction(0))
        unrealised += own
        found += _unequal(f"unrealised of {symbol}", entry["unrealised"], own)
    found += _position_problems(books, rows)
    found += _unequal("initial", summary_books["initial"], Fraction(books.initial))
    found += _unequal("realised", summary_books["realised"], books.realised)
    found += _unequal("fees", summary_books["fees"], books.fees)
    found += _unequal("funding", summary_books["funding"], books.funding)
    found += _unequal("balance", summary_books["balance"], books.balance)
    found += _unequal("unrealised", summary_books["unrealised"], unrealised)
    found += _unequal("equity", summary_books["equity"], books.balance + unrealised)
    return found


def _unequal(what: str, theirs: str, ours: Fraction) -> list[str]:
    return [] if Fraction(theirs) == ours else [f"{what}: {theirs}, by the fills {_decimal(ours)}"]


def _close(what: str, theirs: str, ours: Fraction) -> list[str]:
    """An average has endless digits: equal to a relative 10⁻²⁴."""
    if abs(Fraction(theirs) - ours) <= abs(ours) / 10**24:
        return []
    return [f"{what}: {theirs}, by the fills {_decimal(ours)}"]


def _decimal(amount: Fraction) -> Decimal:
    with localcontext() as context:
        context.prec = _DIGITS
        return Decimal(amount.numerator) / Decimal(amount.denominator)


def main(arguments: list[str]) -> int:
    """Audit from a shell."""
    if len(arguments) not in {1, 2}:
        sys.stderr.write("usage: books_auditor.py paper.db [summary.json]\n")
        return 2
    paper_db = Path(arguments[0])
    found = problems_of(paper_db)
    if len(arguments) == 2:
        found += differences_from(paper_db, json.loads(Path(arguments[1]).read_text())["books"])
    books = audit(paper_db)
    for line in found:
        sys.stdout.write(f"DIFFERENT {line}\n")
    sys.stdout.write(
        f"{'NOT BALANCED' if found else 'balanced'}: {books.fills} fills, {books.closed} closed, "
        f"balance {_decimal(books.balance)}\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
