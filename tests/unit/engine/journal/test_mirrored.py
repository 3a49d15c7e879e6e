"""Rows put back from the stream: under their own numbers, once, and never over what is right."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from importlib.resources import files

import pytest

from engine.database import load_migrations
from engine.database.migrations import apply_migrations
from engine.journal import JournalRow, MirroredRow, journal_position, take_back_rows, unknown_rows


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A journal whose rows 1 to 3 a backup held, of which 2 were acknowledged."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        apply_migrations(opened, load_migrations(files("resources") / "migrations"))
        opened.execute("UPDATE journal_cursor SET standalone = 0, acknowledged_seq = 0")
        take_back_rows(opened, [row(1, n, f"own-{n}") for n in (1, 2, 3)], floor_seq=0)
        opened.execute("UPDATE journal_cursor SET acknowledged_seq = 2")
        yield opened


def row(epoch: int, seq: int, event_id: str) -> MirroredRow:
    return MirroredRow(
        epoch,
        JournalRow(seq, event_id, "alarm.raised", seq, "engine", event_id, None, b"{}"),
    )


def kept(connection: sqlite3.Connection) -> dict[int, str]:
    return dict(connection.execute("SELECT seq, event_id FROM outbox ORDER BY seq").fetchall())


def cursor(connection: sqlite3.Connection) -> tuple[int, int]:
    found: tuple[int, int] = connection.execute(
        "SELECT epoch, acknowledged_seq FROM journal_cursor"
    ).fetchone()
    return found


def test_lost_rows_come_back_acknowledged_and_what_is_here_stays(
    connection: sqlite3.Connection,
) -> None:
    rows = [row(1, 3, "own-3"), row(1, 4, "lost-4"), row(2, 6, "lost-6")]
    assert [one.row.seq for one in unknown_rows(connection, rows)] == [4, 6]
    assert take_back_rows(connection, rows, floor_seq=3) == 0
    assert kept(connection) == {1: "own-1", 2: "own-2", 3: "own-3", 4: "lost-4", 6: "lost-6"}
    assert cursor(connection) == (2, 6)
    assert journal_position(connection) == (2, 6)
    assert take_back_rows(connection, rows, floor_seq=3) == 0
    assert cursor(connection) == (2, 6)


def test_of_two_lives_that_gave_the_same_numbers_the_later_one_goes_on(
    connection: sqlite3.Connection,
) -> None:
    """Goal: the journal ends where the stream ends, so nothing of either life is sent again."""
    former = [row(1, n, f"former-{n}") for n in (4, 5, 6)]
    later = [row(2, n, f"later-{n}") for n in (4, 5)]
    assert take_back_rows(connection, [*former, *later], floor_seq=3) == 0
    assert kept(connection) == {
        **{n: f"own-{n}" for n in (1, 2, 3)},
        **{n: f"later-{n}" for n in (4, 5)},
    }
    assert cursor(connection) == (2, 5)


def test_what_the_backup_holds_is_never_given_up(connection: sqlite3.Connection) -> None:
    assert take_back_rows(connection, [row(2, 2, "stranger")], floor_seq=3) == 1
    assert kept(connection) == {n: f"own-{n}" for n in (1, 2, 3)}
    assert cursor(connection) == (1, 2), "what was not taken back acknowledges nothing"
