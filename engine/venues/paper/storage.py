"""`paper.db`: the schema, the jobs that write the venue's books, and the one that reads them back.

`fills`, `positions` and `account` are a contract with exactly these columns, decimals as text; the
other tables are the venue's own affair. All functions here are jobs for the writer's thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from engine.database import Migration
from engine.model.ids import ClientOrderId, ExecutionId, Symbol, VenueOrderId
from engine.model.orders import Fill, OrderKind, OrderState
from engine.model.values import Side, plain
from engine.model.venue import MovementKind, VenueOrder, WalletMovement
from engine.venues.paper.books import Changes, Funding, LoadedBooks, Position

PAPER_MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        number=1,
        name="books",
        sql="""
CREATE TABLE fills (
    execution_id TEXT PRIMARY KEY,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity TEXT NOT NULL,
    price TEXT NOT NULL,
    fee TEXT NOT NULL,
    ts_ns INTEGER NOT NULL
);
CREATE INDEX fills_by_time ON fills (ts_ns);
CREATE TABLE positions (
    symbol TEXT PRIMARY KEY,
    quantity TEXT NOT NULL,
    entry_price TEXT NOT NULL
);
CREATE TABLE account (balance TEXT NOT NULL);
-- What a fill's row has no column for.
CREATE TABLE executions (
    execution_id TEXT PRIMARY KEY,
    venue_order_id TEXT NOT NULL,
    is_maker INTEGER NOT NULL,
    fee_currency TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE orders (
    venue_order_id TEXT PRIMARY KEY,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    kind TEXT NOT NULL,
    quantity TEXT NOT NULL,
    filled TEXT NOT NULL,
    state TEXT NOT NULL,
    price TEXT,
    trigger_price TEXT,
    reduce_only INTEGER NOT NULL,
    ts_ns INTEGER NOT NULL,
    reason TEXT NOT NULL,
    is_open INTEGER NOT NULL
);
CREATE INDEX orders_by_client_order_id ON orders (client_order_id);
CREATE INDEX orders_open ON orders (is_open) WHERE is_open = 1;
CREATE TABLE leverages (symbol TEXT PRIMARY KEY, leverage TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (
    symbol TEXT PRIMARY KEY, price TEXT NOT NULL, ts_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE venue (epoch TEXT NOT NULL, initial TEXT NOT NULL);
""",
    ),
    Migration(
        number=2,
        name="fundings",
        sql="""
CREATE TABLE fundings (
    movement_id TEXT PRIMARY KEY,
    symbol TEXT NOT NULL,
    quantity TEXT NOT NULL,
    price TEXT NOT NULL,
    rate TEXT NOT NULL,
    amount TEXT NOT NULL,
    due_ns INTEGER NOT NULL,
    ts_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX fundings_by_time ON fundings (ts_ns);
""",
    ),
)

_ORDER_COLUMNS = (
    "venue_order_id, client_order_id, symbol, side, kind, quantity, filled, state, price,"
    " trigger_price, reduce_only, ts_ns, reason"
)
_FILL_COLUMNS = (
    "fills.execution_id, client_order_id, symbol, side, quantity, price, fee, ts_ns,"
    " venue_order_id, is_maker, fee_currency"
)


def loading(*, initial: Decimal, now_ns: int) -> Callable[[sqlite3.Connection], LoadedBooks]:
    """A job that reads the books; in a new file it opens the account with `initial` first."""

    def job(connection: sqlite3.Connection) -> LoadedBooks:
        row = connection.execute("SELECT epoch FROM venue").fetchone()
        if row is None:
            # Seconds in base 36: short, and different for each file, so that ids never come twice.
            row = (_base36(now_ns // 1_000_000_000),)
            connection.execute("INSERT INTO venue VALUES (?, ?)", (row[0], plain(initial)))
            connection.execute("INSERT INTO account VALUES (?)", (plain(initial),))
        return _load(connection, epoch=str(row[0]))

    return job


def _load(connection: sqlite3.Connection, *, epoch: str) -> LoadedBooks:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    positions = {}
    for symbol, quantity, entry_price in rows("SELECT * FROM positions"):
        size = Decimal(quantity)
        cost = (size * Decimal(entry_price)).quantize(Decimal("1E-12"))
        positions[Symbol(symbol)] = Position(size, cost)
    return LoadedBooks(
        epoch=epoch,
        balance=Decimal(rows("SELECT balance FROM account")[0][0]),
        positions=positions,
        open_orders=[
            _order(row)
            for row in rows(f"SELECT {_ORDER_COLUMNS} FROM orders WHERE is_open = 1 ORDER BY rowid")
        ],
        leverages={Symbol(s): Decimal(lev) for s, lev in rows("SELECT * FROM leverages")},
        marks={
            Symbol(symbol): (Decimal(price), int(ts_ns))
            for symbol, price, ts_ns in rows("SELECT symbol, price, ts_ns FROM marks")
        },
        order_number=int(rows("SELECT count(*) FROM orders")[0][0]),
        execution_number=int(rows("SELECT count(*) FROM fills")[0][0]),
        funded_ns={
            Symbol(symbol): int(due_ns)
            for symbol, due_ns in rows("SELECT symbol, max(due_ns) FROM fundings GROUP BY symbol")
        },
    )


def _funding_row(funding: Funding) -> tuple[str | int, ...]:
    return (
        funding.movement_id,
        funding.symbol,
        plain(funding.quantity),
        plain(funding.price),
        plain(funding.rate),
        plain(funding.amount),
        funding.due_ns,
        funding.ts_ns,
    )


def saving(changes: Changes) -> Callable[[sqlite3.Connection], None]:
    """A job that writes what one step changed."""

    def job(connection: sqlite3.Connection) -> None:
        many = connection.executemany
        connection.execute("UPDATE account SET balance = ?", (plain(changes.balance),))
        many(
            # Not REPLACE: the row number is the order of arrival and must stay.
            f"INSERT INTO orders ({_ORDER_COLUMNS}, is_open)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (venue_order_id) DO UPDATE SET"
            " filled = excluded.filled, state = excluded.state, ts_ns = excluded.ts_ns,"
            " reason = excluded.reason, is_open = excluded.is_open",
            [_order_row(order) for order in changes.orders.values()],
        )
        many(
            "INSERT INTO fills VALUES (?,?,?,?,?,?,?,?)",
            [
                (
                    fill.execution_id,
                    fill.client_order_id,
                    fill.symbol,
                    fill.side.value,
                    plain(fill.quantity),
                    plain(fill.price),
                    plain(fill.fee),
                    fill.ts_ns,
                )
                for fill in changes.fills
            ],
        )
        many(
            "INSERT INTO executions VALUES (?,?,?,?)",
            [
                (fill.execution_id, fill.venue_order_id, fill.is_maker, fill.fee_currency)
                for fill in changes.fills
            ],
        )
        many("INSERT INTO fundings VALUES (?,?,?,?,?,?,?,?)", map(_funding_row, changes.fundings))
        for symbol, position in changes.positions.items():
            if position.quantity:
                connection.execute(
                    "INSERT OR REPLACE INTO positions VALUES (?,?,?)",
                    (symbol, plain(position.quantity), plain(position.entry_price)),
                )
            else:
                connection.execute("DELETE FROM positions WHERE symbol = ?", (symbol,))
        many(
            "INSERT OR REPLACE INTO leverages VALUES (?,?)",
            [(symbol, plain(leverage)) for symbol, leverage in changes.leverages.items()],
        )
        many(
            "INSERT OR REPLACE INTO marks VALUES (?,?,?)",
            [(symbol, plain(price), at) for symbol, (price, at) in changes.marks.items()],
        )

    return job


def finding_order(
    symbol: Symbol, client_order_id: ClientOrderId
) -> Callable[[sqlite3.Connection], VenueOrder | None]:
    """A job that finds the newest order with this client order id."""

    def job(connection: sqlite3.Connection) -> VenueOrder | None:
        row = connection.execute(
            f"SELECT {_ORDER_COLUMNS} FROM orders WHERE client_order_id = ? AND symbol = ?"
            " ORDER BY rowid DESC LIMIT 1",
            (client_order_id, symbol),
        ).fetchone()
        return _order(row) if row else None

    return job


def listing_fills(
    since_ns: int, symbol: Symbol | None = None
) -> Callable[[sqlite3.Connection], tuple[Fill, ...]]:
    """A job that reads executions since a time, oldest first; of one symbol, or all."""

    def job(connection: sqlite3.Connection) -> tuple[Fill, ...]:
        return tuple(
            Fill(
                execution_id=ExecutionId(row[0]),
                client_order_id=ClientOrderId(row[1]),
                symbol=Symbol(row[2]),
                side=Side(row[3]),
                quantity=Decimal(row[4]),
                price=Decimal(row[5]),
                fee=Decimal(row[6]),
                ts_ns=row[7],
                venue_order_id=VenueOrderId(row[8]),
                is_maker=bool(row[9]),
                fee_currency=row[10],
            )
            for row in connection.execute(
                f"SELECT {_FILL_COLUMNS} FROM fills JOIN executions"
                " ON executions.execution_id = fills.execution_id"
                " WHERE ts_ns >= ? AND (? IS NULL OR symbol = ?) ORDER BY fills.rowid",
                (since_ns, symbol, symbol),
            )
        )

    return job


def listing_movements(
    since_ns: int, *, currency: str
) -> Callable[[sqlite3.Connection], tuple[WalletMovement, ...]]:
    """A job that reads what changed the wallet beside trades since a time, oldest first."""

    def job(connection: sqlite3.Connection) -> tuple[WalletMovement, ...]:
        return tuple(
            WalletMovement(
                movement_id=str(movement_id),
                kind=MovementKind.FUNDING,
                currency=currency,
                amount=Decimal(amount),
                ts_ns=int(ts_ns),
                symbol=Symbol(symbol),
                detail="funding",
            )
            for movement_id, symbol, amount, ts_ns in connection.execute(
                "SELECT movement_id, symbol, amount, ts_ns FROM fundings WHERE ts_ns >= ?"
                " ORDER BY ts_ns, movement_id",
                (since_ns,),
            )
        )

    return job


def _order_row(order: VenueOrder) -> tuple[object, ...]:
    return (
        order.venue_order_id,
        order.client_order_id,
        order.symbol,
        order.side.value,
        order.kind.value,
        plain(order.quantity),
        plain(order.filled),
        order.state.value,
        None if order.price is None else plain(order.price),
        None if order.trigger_price is None else plain(order.trigger_price),
        order.reduce_only,
        order.ts_ns,
        order.reason,
        not order.state.is_final,
    )


def _order(row: tuple[Any, ...]) -> VenueOrder:
    price, trigger_price = row[8], row[9]
    return VenueOrder(
        venue_order_id=VenueOrderId(str(row[0])),
        client_order_id=ClientOrderId(str(row[1])),
        symbol=Symbol(str(row[2])),
        side=Side(row[3]),
        kind=OrderKind(row[4]),
        quantity=Decimal(str(row[5])),
        filled=Decimal(str(row[6])),
        state=OrderState(row[7]),
        price=None if price is None else Decimal(str(price)),
        trigger_price=None if trigger_price is None else Decimal(str(trigger_price)),
        reduce_only=bool(row[10]),
        ts_ns=int(str(row[11])),
        reason=str(row[12]),
    )


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, rest = divmod(number, 36)
        text = digits[rest] + text
    return text or "0"


__all__ = [
    "PAPER_MIGRATIONS",
    "finding_order",
    "listing_fills",
    "listing_movements",
    "loading",
    "saving",
]
