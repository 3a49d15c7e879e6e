"""What a start needs to know: everything open, where the account stood, and what must not be used
again.

Runs as one writer's job, so that all of it is from one moment. Bounded: what is open is small, and
of the executions the newest 50,000 are kept in memory (older ones are still refused by the
database).
"""

from __future__ import annotations

import sqlite3
from typing import Final, TypeVar

import msgspec

from engine.model.emergency import Clearing, Trip
from engine.model.emergency_sets import EmergencySets
from engine.model.ids import ExecutionId
from engine.model.orders import Fill, Intent, OrderRecord, OrderState, PositionRecord, TradeRecord
from engine.model.policy import PolicyDocument
from engine.model.records import AlarmRecord, EquityMark

__all__ = ["EXECUTIONS_MAX", "OpenState", "load_open"]

EXECUTIONS_MAX: Final = 50_000
_STREAK_MAX: Final = 1_000
_INTENTS_MAX: Final = 10_000
_INFERRED_MAX: Final = 1_000
# A range of the primary key: "inferred:" and "inferred-", as older versions wrote it.
_INFERRED: Final = "execution_id >= 'inferred' AND execution_id < 'inferree'"
T = TypeVar("T")


class OpenState(msgspec.Struct, frozen=True, kw_only=True):
    """The open state of one database.

    `orders` are all that are not final, oldest first; `positions` the symbols that are not flat.
    `totals_json` is the ledger's totals as it last gave them. `loss_streak` counts the losing
    trades since the last that was not. `highest_number` is the highest client order number of
    `generation`.
    """

    generation: int
    orders: tuple[OrderRecord, ...]
    positions: tuple[PositionRecord, ...]
    trades: tuple[TradeRecord, ...]
    last_mark: EquityMark | None
    totals_json: bytes | None
    loss_streak: int
    highest_number: int
    executions: tuple[ExecutionId, ...]
    last_fill_ns: int
    # The highest `updated_ns` of any position, flat ones too.
    positions_stamp_ns: int = 0
    # Fills that we inferred and no execution has replaced yet, and how many were ever inferred.
    inferred: tuple[Fill, ...] = ()
    inferred_count: int = 0
    policy: PolicyDocument | None
    trips: tuple[Trip, ...]
    clearings: tuple[Clearing, ...]
    alarms: tuple[AlarmRecord, ...]
    # What an operator said that outlives a restart, by name.
    standing: dict[str, str]

    @property
    def trips_uncleared(self) -> tuple[Trip, ...]:
        """In emergency = some trip without a clearing."""
        return EmergencySets.of(self.trips, self.clearings).uncleared()


def load_open(connection: sqlite3.Connection, *, generation: int) -> OpenState:
    """Everything open, as of the last commit."""
    mark = _one(connection, "SELECT record FROM equity_marks ORDER BY ts_ns DESC LIMIT 1")
    policy = _one(connection, "SELECT record FROM policy_versions ORDER BY version DESC LIMIT 1")
    executions = connection.execute(
        "SELECT execution_id, ts_ns FROM fills ORDER BY ts_ns DESC LIMIT ?", (EXECUTIONS_MAX,)
    ).fetchall()
    positions = _all(connection, PositionRecord, "SELECT record FROM positions ORDER BY symbol")
    return OpenState(
        generation=generation,
        orders=_open_orders(connection),
        positions=tuple(position for position in positions if position.quantity),
        positions_stamp_ns=max((position.updated_ns for position in positions), default=0),
        trades=_all(
            connection,
            TradeRecord,
            "SELECT record FROM trades WHERE closed_ns IS NULL ORDER BY opened_ns, trade_id",
        ),
        last_mark=msgspec.json.decode(mark, type=EquityMark) if mark else None,
        totals_json=_one(connection, "SELECT record FROM account_totals"),
        loss_streak=_loss_streak(connection),
        highest_number=connection.execute(
            "SELECT coalesce(max(number), 0) FROM intents WHERE generation = ?", (generation,)
        ).fetchone()[0],
        executions=tuple(row[0] for row in executions),
        # What we inferred has the time of the inference, not of an execution.
        last_fill_ns=next((ts for name, ts in executions if not name.startswith("inferred")), 0),
        inferred=tuple(fill for fill in _inferred(connection) if fill.quantity),
        inferred_count=connection.execute(
            f"SELECT count(*) FROM fills WHERE {_INFERRED}"
        ).fetchone()[0],
        policy=msgspec.json.decode(policy, type=PolicyDocument) if policy else None,
        trips=_all(connection, Trip, "SELECT record FROM trips ORDER BY ts_ns, trip_id"),
        clearings=_all(connection, Clearing, "SELECT record FROM clearings ORDER BY ts_ns"),
        alarms=_all(
            connection,
            AlarmRecord,
            "SELECT record FROM alarms WHERE cleared_ns IS NULL ORDER BY raised_ns",
        ),
        standing=dict(connection.execute("SELECT name, value FROM standing").fetchall()),
    )


def _open_orders(connection: sqlite3.Connection) -> tuple[OrderRecord, ...]:
    """Orders that are not final, and intents whose order never made its first transition.

    The latter can only be among the newest: each start resolves all it finds.
    """
    moved = _all(connection, OrderRecord, "SELECT record FROM orders WHERE is_open = 1")
    intents = _all(
        connection,
        Intent,
        "SELECT record FROM (SELECT client_order_id, record FROM intents"
        f" ORDER BY generation DESC, number DESC LIMIT {_INTENTS_MAX}) AS newest"
        " WHERE NOT EXISTS (SELECT 1 FROM orders"
        " WHERE orders.client_order_id = newest.client_order_id)",
    )
    intended = (
        OrderRecord(intent=intent, state=OrderState.INTENDED, updated_ns=intent.created_ns)
        for intent in intents
    )
    return tuple(
        sorted((*moved, *intended), key=lambda order: (order.updated_ns, order.client_order_id))
    )


def _inferred(connection: sqlite3.Connection) -> tuple[Fill, ...]:
    """The newest of them; a true execution that comes for an older one is booked beside it."""
    return _all(
        connection,
        Fill,
        f"SELECT record FROM fills WHERE {_INFERRED} ORDER BY ts_ns DESC LIMIT {_INFERRED_MAX}",
    )


def _loss_streak(connection: sqlite3.Connection) -> int:
    closed = _all(
        connection,
        TradeRecord,
        "SELECT record FROM trades WHERE closed_ns IS NOT NULL"
        f" ORDER BY closed_ns DESC, opened_ns DESC LIMIT {_STREAK_MAX}",
    )
    streak = 0
    for trade in closed:
        if trade.realised - trade.fees + trade.funding >= 0:
            break
        streak += 1
    return streak


def _all(connection: sqlite3.Connection, kind: type[T], sql: str) -> tuple[T, ...]:
    decoder = msgspec.json.Decoder(kind)
    return tuple(decoder.decode(row[0]) for row in connection.execute(sql))


def _one(connection: sqlite3.Connection, sql: str) -> bytes | None:
    row = connection.execute(sql).fetchone()
    return row[0] if row else None
