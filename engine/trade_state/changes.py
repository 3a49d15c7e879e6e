"""The SQL of every change, one function each. They run inside a writer's job, in its transaction.

Why apart from the store: a change is plain synchronous code on a connection, and several of them
make one transaction (a fill changes fill, order, position, trade and totals, or nothing).
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from engine.database import read_generation
from engine.model.emergency import Clearing, Trip
from engine.model.errors import PolicyConflict, StoreError
from engine.model.ids import client_order_number
from engine.model.orders import Fill, Intent, OrderRecord, PositionRecord, TradeRecord
from engine.model.policy import PolicyDocument
from engine.model.records import AlarmRecord, EquityMark

__all__ = [
    "POLICY_HEADS",
    "delete_clearing",
    "delete_trade",
    "get_order",
    "put_alarm",
    "put_clearing",
    "put_equity_mark",
    "put_fill",
    "put_intent",
    "put_new_trade",
    "put_order",
    "put_policy",
    "put_policy_heads",
    "put_policy_taken_back",
    "put_position",
    "put_standing",
    "put_totals",
    "put_trade",
    "put_trip",
    "replace_inferred",
    "settle_policy_line",
]

# In `meta`.
POLICY_HEADS = "policy_heads"
_POLICY_LINE = "policy_line"
_ENCODER = msgspec.json.Encoder()


def put_intent(connection: sqlite3.Connection, intent: Intent, *, node: str) -> None:
    """A client order id that is there already is refused: an intent is made once."""
    numbered = client_order_number(intent.client_order_id, node) or (0, 0)
    connection.execute(
        "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *numbered,
            intent.client_order_id,
            intent.symbol,
            intent.purpose.value,
            intent.created_ns,
            _ENCODER.encode(intent),
        ),
    )


def put_order(connection: sqlite3.Connection, order: OrderRecord) -> None:
    """Replace what is known, unless something newer is known: a change that was kept back by a sick
    disk must not undo one that got through.
    """
    connection.execute(
        "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (client_order_id) DO UPDATE SET venue_order_id = excluded.venue_order_id,"
        " state = excluded.state, is_open = excluded.is_open, updated_ns = excluded.updated_ns,"
        " record = excluded.record WHERE excluded.updated_ns >= orders.updated_ns",
        (
            order.client_order_id,
            order.venue_order_id,
            order.intent.symbol,
            order.state.value,
            int(not order.state.is_final),
            order.updated_ns,
            _ENCODER.encode(order),
        ),
    )


def get_order(connection: sqlite3.Connection, client_order_id: str) -> OrderRecord | None:
    """An order by its id, open or not."""
    row = connection.execute(
        "SELECT record FROM orders WHERE client_order_id = ?", (client_order_id,)
    ).fetchone()
    return msgspec.json.decode(row[0], type=OrderRecord) if row else None


def put_fill(connection: sqlite3.Connection, fill: Fill) -> bool:
    """False when the execution is known, and then nothing was written."""
    return _is_new(
        connection,
        "INSERT OR IGNORE INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        fill.execution_id,
        fill.client_order_id,
        fill.symbol,
        fill.side.value,
        format(fill.quantity, "f"),
        format(fill.price, "f"),
        format(fill.fee, "f"),
        fill.ts_ns,
        _ENCODER.encode(fill),
    )


def replace_inferred(connection: sqlite3.Connection, fill: Fill) -> None:
    """What is left of an inferred fill after a true execution took the place of a part of it; with
    nothing left it stays as a row of quantity zero, so that its id is not used again.
    """
    connection.execute(
        "UPDATE fills SET quantity = ?, record = ? WHERE execution_id = ?",
        (format(fill.quantity, "f"), _ENCODER.encode(fill), fill.execution_id),
    )


def put_position(connection: sqlite3.Connection, position: PositionRecord) -> None:
    """Replace what is known, unless something newer is known (see `put_order`)."""
    connection.execute(
        "INSERT INTO positions VALUES (?, ?, ?, ?)"
        " ON CONFLICT (symbol) DO UPDATE SET quantity = excluded.quantity,"
        " updated_ns = excluded.updated_ns, record = excluded.record"
        " WHERE excluded.updated_ns >= positions.updated_ns",
        (
            position.symbol,
            format(position.quantity, "f"),
            position.updated_ns,
            _ENCODER.encode(position),
        ),
    )


def put_trade(connection: sqlite3.Connection, trade: TradeRecord) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO trades VALUES (?, ?, ?, ?, ?)",
        (trade.trade_id, trade.symbol, trade.opened_ns, trade.closed_ns, _ENCODER.encode(trade)),
    )


def put_new_trade(connection: sqlite3.Connection, trade: TradeRecord) -> bool:
    """False when there is one of this id, which stays as it is."""
    return _is_new(
        connection,
        "INSERT OR IGNORE INTO trades VALUES (?, ?, ?, ?, ?)",
        trade.trade_id,
        trade.symbol,
        trade.opened_ns,
        trade.closed_ns,
        _ENCODER.encode(trade),
    )


def delete_trade(connection: sqlite3.Connection, trade_id: str) -> bool:
    """False when there was none."""
    return _is_new(connection, "DELETE FROM trades WHERE trade_id = ?", trade_id)


def put_standing(connection: sqlite3.Connection, name: str, value: str | None) -> None:
    """Remember a word of the operator, or with None forget it."""
    if value is None:
        connection.execute("DELETE FROM standing WHERE name = ?", (name,))
    else:
        connection.execute("INSERT OR REPLACE INTO standing VALUES (?, ?)", (name, value))


def put_equity_mark(connection: sqlite3.Connection, mark: EquityMark) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO equity_marks VALUES (?, ?)", (mark.ts_ns, _ENCODER.encode(mark))
    )


def put_totals(connection: sqlite3.Connection, totals: msgspec.Struct) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO account_totals VALUES (1, ?)", (_ENCODER.encode(totals),)
    )


def put_policy(
    connection: sqlite3.Connection, document: PolicyDocument, *, expected_version: int
) -> None:
    """Compare and set: `expected_version` is the one this document was based on, 0 for the
    first."""
    current = connection.execute("SELECT max(version) FROM policy_versions").fetchone()[0] or 0
    if current != expected_version:
        raise PolicyConflict(expected_version, current)
    if document.version <= current:
        raise StoreError(f"policy version {document.version} is not above {current}")
    connection.execute(
        "INSERT INTO policy_versions VALUES (?, ?, ?, ?, ?)",
        (
            document.version,
            document.author,
            document.ts_ns,
            document.reason,
            _ENCODER.encode(document),
        ),
    )


def put_policy_taken_back(connection: sqlite3.Connection, document: PolicyDocument) -> None:
    """A version that was in force once and was lost; one that is here stays as it is."""
    connection.execute(
        "INSERT OR IGNORE INTO policy_versions VALUES (?, ?, ?, ?, ?)",
        (
            document.version,
            document.author,
            document.ts_ns,
            document.reason,
            _ENCODER.encode(document),
        ),
    )


def put_policy_heads(connection: sqlite3.Connection, heads: str, *, version: int) -> None:
    """The newest revisions of the policy, as JSON, which the document in force, `version`, follows
    from."""
    _put_meta(connection, POLICY_HEADS, f"{version} {heads}")


def settle_policy_line(connection: sqlite3.Connection, *, node: str, new_line: str) -> str:
    """Under which name this database counts its changes of the policy.

    `new_line` when it has none, is another node's copy, or was restored: what was counted after
    the backup must not be counted again.
    """
    belongs_to = f"{node} {read_generation(connection)} "
    known = _meta(connection, _POLICY_LINE)
    if known is not None and known.startswith(belongs_to):
        return known.removeprefix(belongs_to)
    _put_meta(connection, _POLICY_LINE, belongs_to + new_line)
    return new_line


def _meta(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _put_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def put_trip(connection: sqlite3.Connection, trip: Trip, *, in_place: bool = False) -> bool:
    """False when it is known; `in_place` writes over what is there."""
    verb = "REPLACE" if in_place else "IGNORE"
    return _is_new(
        connection,
        f"INSERT OR {verb} INTO trips VALUES (?, ?, ?)",
        trip.id,
        trip.ts_ns,
        _ENCODER.encode(trip),
    )


def put_clearing(
    connection: sqlite3.Connection, clearing: Clearing, *, in_place: bool = False
) -> bool:
    """False when it is known; `in_place` writes over what is there."""
    verb = "REPLACE" if in_place else "IGNORE"
    return _is_new(
        connection,
        f"INSERT OR {verb} INTO clearings VALUES (?, ?, ?)",
        clearing.id,
        clearing.ts_ns,
        _ENCODER.encode(clearing),
    )


def delete_clearing(connection: sqlite3.Connection, clearing: Clearing) -> None:
    connection.execute("DELETE FROM clearings WHERE clearing_id = ?", (clearing.id,))


def put_alarm(connection: sqlite3.Connection, alarm: AlarmRecord) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?, ?)",
        (alarm.id, alarm.code, alarm.raised_ns, alarm.cleared_ns, _ENCODER.encode(alarm)),
    )


def _is_new(connection: sqlite3.Connection, sql: str, *values: Any) -> bool:
    return connection.execute(sql, values).rowcount > 0
