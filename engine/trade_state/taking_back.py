"""What a restored database is given back of what it had lost: state and journal rows together.

One writer's job a batch, so that a kill in between leaves whole batches, and the place from which
the next start goes on (`standing` keeps it until it is over). Runs before the journal is open. What
the changes are is the caller's business (`engine.kernel.taken_back`); nothing here decides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from engine.journal import MirroredRow, journal_position, take_back_rows
from engine.model.emergency import Clearing, Trip
from engine.model.orders import Fill, Intent, OrderRecord, PositionRecord, TradeRecord
from engine.model.policy import PolicyDocument
from engine.model.records import EquityMark
from engine.trade_state import audit, changes

__all__ = ["TAKE_BACK", "TakeBackFrom", "TakenChanges", "begin", "end", "put_batch"]

# The name in `standing`; there while a restored database has not been given back what Redis has.
TAKE_BACK: Final = "take_back"


class TakeBackFrom(msgspec.Struct, frozen=True, kw_only=True):
    """Where to read on in the stream; `floor` is the newest number that the backup had."""

    epoch: int
    seq: int
    floor: int


@dataclass(slots=True, kw_only=True)
class TakenChanges:
    """State that a batch of events tells of, as it is after the last of them."""

    intents: list[Intent] = field(default_factory=list)
    orders: dict[str, OrderRecord] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    # What is left of inferred fills after true executions took their place.
    replaced: list[Fill] = field(default_factory=list)
    positions: dict[str, PositionRecord] = field(default_factory=dict)
    trades: dict[str, TradeRecord] = field(default_factory=dict)
    marks: list[EquityMark] = field(default_factory=list)
    totals: msgspec.Struct | None = None
    policies: list[PolicyDocument] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)
    clearings: list[Clearing] = field(default_factory=list)
    standing: dict[str, str | None] = field(default_factory=dict)


def begin(connection: sqlite3.Connection) -> None:
    """Remember from where on the stream has what this database lacks."""
    epoch, seq = journal_position(connection)
    _remember(connection, TakeBackFrom(epoch=epoch, seq=seq, floor=seq))


def put_batch(
    connection: sqlite3.Connection,
    batch: TakenChanges,
    rows: Sequence[MirroredRow],
    *,
    node: str,
    begun: TakeBackFrom,
) -> int:
    """Write a batch; returns how many of its rows had no room in the journal."""
    for intent in batch.intents:
        changes.put_intent(connection, intent, node=node)
    for order in batch.orders.values():
        changes.put_order(connection, order)
    for fill in batch.fills:
        changes.put_fill(connection, fill)
    for fill in batch.replaced:
        changes.replace_inferred(connection, fill)
    for position in batch.positions.values():
        changes.put_position(connection, position)
    for trade in batch.trades.values():
        changes.put_trade(connection, trade)
    for mark in batch.marks:
        changes.put_equity_mark(connection, mark)
    if batch.totals is not None:
        changes.put_totals(connection, batch.totals)
    for document in batch.policies:
        changes.put_policy_taken_back(connection, document)
    for trip in batch.trips:
        changes.put_trip(connection, trip)
    for clearing in batch.clearings:
        changes.put_clearing(connection, clearing)
    for name, value in batch.standing.items():
        changes.put_standing(connection, name, value)
    without_room = take_back_rows(connection, rows, floor_seq=begun.floor)
    if rows:
        last = rows[-1]
        _remember(connection, msgspec.structs.replace(begun, epoch=last.epoch, seq=last.row.seq))
    return without_room


def end(
    connection: sqlite3.Connection, *, standing: str, text: str, taken: str, ts_ns: int
) -> None:
    """It is over, whatever came of it: audited where there is anything to say, and said to whoever
    must START."""
    changes.put_standing(connection, TAKE_BACK, None)
    changes.put_standing(connection, standing, text)
    if not taken:
        return
    audit.append(
        connection,
        who="engine",
        what="taken back from Redis",
        why=taken,
        where="start",
        ts_ns=ts_ns,
    )


def _remember(connection: sqlite3.Connection, place: TakeBackFrom) -> None:
    changes.put_standing(connection, TAKE_BACK, msgspec.json.encode(place).decode())
