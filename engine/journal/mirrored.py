"""Rows that a lost database had and the node's stream still has: put back where they were.

Why under their own numbers: stream and journal are equal afterwards, so nothing is sent twice,
nothing is skipped, and the link goes on at the stream's end in the same epoch as if nothing had
happened. What the stream holds was acknowledged by being there, and as nothing ever stands there
above a hole, so was every row below it.

Functions of a connection inside a writer's job, for a journal that is not open yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from engine.journal.outbox import acknowledge_standalone
from engine.journal.rows import MirroredRow
from engine.model.events import EVENT_TYPES, Event

__all__ = ["journal_position", "take_back_rows", "unknown_rows"]


def journal_position(connection: sqlite3.Connection) -> tuple[int, int]:
    """Epoch and newest number of the journal."""
    _, tail = acknowledge_standalone(connection)
    return connection.execute("SELECT epoch FROM journal_cursor").fetchone()[0], tail


def unknown_rows(
    connection: sqlite3.Connection, rows: Sequence[MirroredRow]
) -> tuple[MirroredRow, ...]:
    """Those whose event is neither in the journal nor parked."""
    ids = [mirrored.row.event_id for mirrored in rows]
    marks = ", ".join("?" * len(ids))
    known = {
        row[0]
        for row in connection.execute(
            f"SELECT event_id FROM outbox WHERE event_id IN ({marks})"
            f" UNION ALL SELECT event_id FROM dead_letters WHERE event_id IN ({marks})",
            (*ids, *ids),
        )
    }
    found = []
    for mirrored in rows:
        if mirrored.row.event_id not in known:
            known.add(mirrored.row.event_id)
            found.append(mirrored)
    return tuple(found)


def take_back_rows(
    connection: sqlite3.Connection, rows: Sequence[MirroredRow], *, floor_seq: int
) -> int:
    """Put rows of the stream back, in its order, acknowledged; returns how many had no room.

    ``floor_seq`` is the newest number of the database before anything was taken: up to there its
    own rows are right. A number above it that is taken was given twice, because the journal had
    been lost before and its stream could not be read then; the later life is the one that the
    stream goes on with.
    """
    without_room = 0
    unknown = unknown_rows(connection, rows)
    for mirrored in unknown:
        row = mirrored.row
        if row.seq <= floor_seq:
            without_room += 1
            continue
        connection.execute("DELETE FROM outbox WHERE seq >= ?", (row.seq,))
        kind = EVENT_TYPES.get(row.type)
        connection.execute(
            "INSERT INTO outbox (seq, event_id, type, ts_ns, source, trace, class, replaces,"
            " payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(row.seq, row.event_id, row.type, row.ts_ns, row.source, row.trace),
                *(Event.CLASS if kind is None else kind.CLASS, row.replaces, row.payload),
            ),
        )
    if rows and not without_room:
        last = rows[-1]
        connection.execute(
            "UPDATE journal_cursor SET epoch = ?, acknowledged_seq = ?", (last.epoch, last.row.seq)
        )
    return without_room
