"""The SQL of the outbox. Every function runs inside a writer's job, in the caller's transaction.

Why rows are inserted many at a time: SQLite gives up the interpreter lock at each statement, and
with a busy loop each return of it can cost milliseconds; one statement for a hundred rows waits
once.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.journal.importing import BufferedEvent
from engine.model.errors import StoreError
from engine.model.events import EVENT_TYPES, Event, payloads
from engine.model.limits import WRITER_GROUP_ROWS_MAX

__all__ = [
    "EXACT_ROWS_MAX",
    "PRUNE_SLICE",
    "ROW_OVERHEAD_BYTES",
    "Appended",
    "Cursor",
    "Shed",
    "acknowledge",
    "acknowledge_standalone",
    "insert",
    "insert_imported",
    "load_cursor",
    "oldest_pending",
    "park",
    "prune_acknowledged",
    "requeue",
    "rewind",
    "row_bytes",
    "set_epoch",
    "set_standalone",
    "shed",
]

PRUNE_SLICE: Final = 500
EXACT_ROWS_MAX: Final = 20_000
# A whole group is one statement.
_ROWS_MAX: Final = WRITER_GROUP_ROWS_MAX
# What a row costs beside its payload, with both indexes: measured, good enough for a cap.
ROW_OVERHEAD_BYTES: Final = 150
_COLUMNS: Final = "event_id, type, ts_ns, source, trace, class, payload"
_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT: Final = f"INSERT INTO outbox (seq, {_COLUMNS}) VALUES "
_INSERT_FULL: Final = _INSERT + ", ".join((_ROW,) * _ROWS_MAX)


@dataclass(frozen=True, slots=True)
class Appended:
    """One statement's worth of events, the last sequence number, and their size on the disk."""

    events: Sequence[Event]
    last_seq: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """Rows that were given up, and the bytes that became free."""

    types: dict[str, int]
    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where the journal stands, as read from the disk."""

    epoch: int
    acknowledged_seq: int
    tail_seq: int
    pending: int
    dead_lettered: int
    size_bytes: int
    # A long journal is not read through at the start: its size is an estimate then.
    is_size_exact: bool
    oldest_pending_ns: int | None
    standalone: bool
    shed_types: dict[str, int]


def row_bytes(body: bytes) -> int:
    return len(body) + ROW_OVERHEAD_BYTES


def insert(
    connection: sqlite3.Connection, events: Sequence[Event], *, after_seq: int
) -> list[Appended]:
    """Append in order, numbered from ``after_seq`` + 1.

    An event id that is there already is an ``IntegrityError``.
    """
    return [
        _insert_some(connection, events[start : start + _ROWS_MAX], after_seq + start)
        for start in range(0, len(events), _ROWS_MAX)
    ]


def _insert_some(
    connection: sqlite3.Connection, events: Sequence[Event], after_seq: int
) -> Appended:
    values: list[Any] = []
    seq = after_seq
    size = len(events) * ROW_OVERHEAD_BYTES
    for event, body in zip(events, payloads(events), strict=True):
        seq += 1
        size += len(body)
        values += (
            seq,
            event.id,
            event.TYPE,
            event.ts_ns,
            event.source,
            event.trace,
            event.CLASS,
            body,
        )
    full = len(events) == _ROWS_MAX
    connection.execute(_INSERT_FULL if full else _INSERT + ", ".join((_ROW,) * len(events)), values)
    return Appended(events, seq, size)


def insert_imported(
    connection: sqlite3.Connection, events: Sequence[BufferedEvent], *, source: str, after_seq: int
) -> list[Appended]:
    """Append what another program had buffered, one after the other; an id that is here already,
    parked or not, is left out."""
    added = []
    seq = after_seq
    for event in events:
        known = connection.execute(
            "SELECT 1 FROM outbox WHERE event_id = ?1"
            " UNION ALL SELECT 1 FROM dead_letters WHERE event_id = ?1 LIMIT 1",
            (event.event_id,),
        ).fetchone()
        if known is not None:
            continue
        seq += 1
        kind = EVENT_TYPES.get(event.type)
        connection.execute(
            _INSERT + _ROW,
            (
                seq,
                event.event_id,
                event.type,
                event.ts_ns,
                source,
                event.trace,
                Event.CLASS if kind is None else kind.CLASS,
                event.payload,
            ),
        )
        added.append(Appended((), seq, row_bytes(event.payload)))
    return added


def acknowledge_standalone(connection: sqlite3.Connection) -> tuple[int, int]:
    """Under standalone make everything committed count as acknowledged; (acknowledged, newest)."""
    acknowledged, standalone = connection.execute(
        "SELECT acknowledged_seq, standalone FROM journal_cursor"
    ).fetchone()
    # The newest number ever given, wherever its row is now.
    tail = connection.execute(
        "SELECT max(?, (SELECT coalesce(max(seq), 0) FROM outbox),"
        " (SELECT coalesce(max(seq), 0) FROM dead_letters))",
        (acknowledged,),
    ).fetchone()[0]
    if standalone and acknowledged != tail:
        connection.execute("UPDATE journal_cursor SET acknowledged_seq = ?", (tail,))
        acknowledged = tail
    return acknowledged, tail


def load_cursor(connection: sqlite3.Connection) -> Cursor:
    """Where we stand, after `acknowledge_standalone`."""
    acknowledged, tail = acknowledge_standalone(connection)
    epoch, standalone = connection.execute(
        "SELECT epoch, standalone FROM journal_cursor"
    ).fetchone()
    size, is_exact = _size(connection)
    dead = connection.execute(
        "SELECT count(*) FROM dead_letters WHERE requeued_seq IS NULL"
    ).fetchone()[0]
    return Cursor(
        epoch=epoch,
        acknowledged_seq=acknowledged,
        tail_seq=tail,
        pending=_count(connection, acknowledged, tail),
        dead_lettered=dead,
        size_bytes=size,
        is_size_exact=is_exact,
        oldest_pending_ns=_oldest_after(connection, acknowledged),
        standalone=bool(standalone),
        shed_types=dict(connection.execute("SELECT type, events FROM shed_events ORDER BY type")),
    )


def acknowledge(connection: sqlite3.Connection, seq: int) -> tuple[int, int | None]:
    """Move the cursor up to ``seq``; returns the rows newly acknowledged and the time of the next
    one."""
    before = connection.execute("SELECT acknowledged_seq FROM journal_cursor").fetchone()[0]
    if seq > before:
        connection.execute("UPDATE journal_cursor SET acknowledged_seq = ?", (seq,))
    now = max(seq, before)
    return _count(connection, before, now), _oldest_after(connection, now)


def rewind(connection: sqlite3.Connection, seq: int) -> tuple[int, int, int | None]:
    """Move the cursor back, as far as rows reach; returns cursor, rows pending again, oldest
    time."""
    first = connection.execute("SELECT min(seq) FROM outbox").fetchone()[0]
    before = connection.execute("SELECT acknowledged_seq FROM journal_cursor").fetchone()[0]
    target = min(before, max(seq, first - 1)) if first is not None else before
    connection.execute("UPDATE journal_cursor SET acknowledged_seq = ?", (target,))
    return target, _count(connection, target, before), _oldest_after(connection, target)


def set_epoch(connection: sqlite3.Connection, above: int) -> int:
    """Begin an epoch above ours and above ``above``."""
    ours = connection.execute("SELECT epoch FROM journal_cursor").fetchone()[0]
    epoch = int(max(ours, above)) + 1
    connection.execute("UPDATE journal_cursor SET epoch = ?", (epoch,))
    return epoch


def _size(connection: sqlite3.Connection) -> tuple[int, bool]:
    """Bytes of the rows, and whether each was looked at: a start must not wait for a million."""
    # Two queries in one: SQLite finds either end at once, but not both.
    first, last = connection.execute(
        "SELECT (SELECT min(seq) FROM outbox), (SELECT max(seq) FROM outbox)"
    ).fetchone()
    if first is None:
        return 0, True
    rows = last - first + 1
    newest, looked_at = connection.execute(
        "SELECT sum(length(payload)), count(*) FROM"
        " (SELECT payload FROM outbox ORDER BY seq DESC LIMIT ?)",
        (EXACT_ROWS_MAX,),
    ).fetchone()
    if looked_at < EXACT_ROWS_MAX:
        return newest + looked_at * ROW_OVERHEAD_BYTES, True
    return round(newest / looked_at * rows) + rows * ROW_OVERHEAD_BYTES, False


def set_standalone(connection: sqlite3.Connection, standalone: bool) -> Cursor:
    """Whether a commit acknowledges. Leaving standalone, what was committed until now stays so."""
    acknowledge_standalone(connection)
    connection.execute("UPDATE journal_cursor SET standalone = ?", (int(standalone),))
    if not standalone:
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('was_linked', '1')")
    return load_cursor(connection)


def park(connection: sqlite3.Connection, seq: int, error: str, parked_ns: int) -> int:
    """Move a row to the dead letters; returns its size, raises ``StoreError`` when it is not
    there."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE seq = ?",
        (seq,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no journal row {seq}")
    connection.execute(
        f"INSERT INTO dead_letters (seq, {_COLUMNS}, error, parked_ns)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (seq, *row, error, parked_ns),
    )
    connection.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
    return row_bytes(row[-1])


def requeue(connection: sqlite3.Connection, seq: int, *, new_seq: int) -> int:
    """Give a dead letter another try as ``new_seq``, at the tail; returns its size."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE seq = ? AND requeued_seq IS NULL",
        (seq,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no dead letter {seq} to be requeued")
    connection.execute(
        f"INSERT INTO outbox (seq, {_COLUMNS}, replaces) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (new_seq, *row, seq),
    )
    connection.execute("UPDATE dead_letters SET requeued_seq = ? WHERE seq = ?", (new_seq, seq))
    return row_bytes(row[-1])


def prune_acknowledged(
    connection: sqlite3.Connection, *, older_than_ns: int, up_to_seq: int
) -> tuple[int, int]:
    """Delete at most a slice of the oldest rows that are old enough; returns rows and bytes
    freed."""
    doomed = connection.execute(
        "SELECT seq, length(payload) FROM outbox WHERE seq <= ? ORDER BY seq LIMIT ?",
        (up_to_seq, PRUNE_SLICE),
    ).fetchall()
    if not doomed:
        return 0, 0
    gone = connection.execute(
        "DELETE FROM outbox WHERE seq <= ? AND ts_ns < ? RETURNING length(payload)",
        (doomed[-1][0], older_than_ns),
    ).fetchall()
    return len(gone), sum(row[0] + ROW_OVERHEAD_BYTES for row in gone)


def shed(connection: sqlite3.Connection, seqs: Sequence[int]) -> Shed:
    """Delete these rows, at least one of which is there, and count them."""
    gone = connection.execute(
        "DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each(?))"
        " RETURNING seq, type, ts_ns, length(payload)",
        (json.dumps(seqs),),
    ).fetchall()
    types = Counter(row[1] for row in gone)
    connection.executemany(
        "INSERT INTO shed_events VALUES (?, ?)"
        " ON CONFLICT (type) DO UPDATE SET events = events + excluded.events",
        types.items(),
    )
    return Shed(
        types=dict(sorted(types.items())),
        first_seq=min(row[0] for row in gone),
        last_seq=max(row[0] for row in gone),
        first_ns=min(row[2] for row in gone),
        last_ns=max(row[2] for row in gone),
        size_bytes=sum(row[3] + ROW_OVERHEAD_BYTES for row in gone),
    )


def oldest_pending(connection: sqlite3.Connection) -> int | None:
    """The time of the oldest row above the cursor; None when none waits."""
    acknowledged = connection.execute("SELECT acknowledged_seq FROM journal_cursor").fetchone()[0]
    return _oldest_after(connection, acknowledged)


def _count(connection: sqlite3.Connection, after: int, up_to: int) -> int:
    row = connection.execute(
        "SELECT count(*) FROM outbox WHERE seq > ? AND seq <= ?", (after, up_to)
    ).fetchone()
    return int(row[0])


def _oldest_after(connection: sqlite3.Connection, seq: int) -> int | None:
    row = connection.execute(
        "SELECT ts_ns FROM outbox WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)
    ).fetchone()
    return int(row[0]) if row else None
