"""Durable events that the disk has refused: kept in memory, in order, until it takes them.

Why: whoever emits an event does not wait for the disk and cannot try again. A full disk must not
punch a hole into the record (R-JRN-1); only the end of the process may. They are written first in
the first transaction that succeeds, so they stay in front of what was emitted after them.

Writer's thread, but for the counts. Bounded: beyond 10,000 a note or a piece of telemetry is lost
and counted; a record never is.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from engine.database import is_disk_fault, one_statement
from engine.model.errors import StoreError
from engine.model.events import Event
from engine.model.limits import JOURNAL_HELD_MAX

__all__ = ["HeldBack", "Unwritten"]

_log = logging.getLogger(__name__)
# What SQLite has against an event, and not what the disk has against all.
_ITS_OWN_FAULT: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
Append = Callable[[sqlite3.Connection, Sequence[Event]], None]


class HeldBack:
    """The events, oldest first, each once; `append` writes some into the running transaction."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._events: dict[str, Event] = {}
        # How many of them the running transaction has written.
        self._rewritten = 0
        self.lost = 0

    def __len__(self) -> int:
        return len(self._events)

    @one_statement
    def write(self, connection: sqlite3.Connection, events: list[Event]) -> list[None]:
        """A job of the writer: write them, or hold them behind those that wait already."""
        if len(self._events) > self._rewritten:
            self.add(events)
        else:
            try:
                self._append(connection, events)
            except sqlite3.Error as error:
                if is_disk_fault(error):
                    self.add(events)
                raise
        return [None] * len(events)

    def add(self, events: Sequence[Event]) -> None:
        """Behind those that are here; one that is here already stays where it is."""
        for event in events:
            if event.CLASS and len(self._events) >= JOURNAL_HELD_MAX:
                self.lost += event.id not in self._events
            else:
                self._events.setdefault(event.id, event)

    def begin(self, connection: sqlite3.Connection) -> None:
        """A transaction begins: they are the first in it."""
        self._rewritten = 0
        events = list(self._events.values())
        if not events:
            return
        connection.execute("SAVEPOINT held_back")
        try:
            self._append(connection, events)
        except Exception as error:  # One may be beyond encoding; it must not stop the others.
            self._raise_if_disk(error)
            connection.execute("ROLLBACK TO held_back")
            for event in events:
                self._append_alone(connection, event)
        connection.execute("RELEASE held_back")
        self._rewritten = len(self._events)

    def rolled_back(self) -> None:
        """Nothing of the transaction is left."""
        self._rewritten = 0

    def committed(self) -> None:
        """What was written is on the disk."""
        for identifier in list(itertools.islice(self._events, self._rewritten)):
            del self._events[identifier]
        self._rewritten = 0

    def _append_alone(self, connection: sqlite3.Connection, event: Event) -> None:
        try:
            self._append(connection, [event])
        except Exception as error:  # It can never be written.
            self._raise_if_disk(error)
            del self._events[event.id]
            self.lost += 1
            _log.error("%s %s cannot be written to the journal: %s", event.TYPE, event.id, error)

    def _raise_if_disk(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error) and not isinstance(error, _ITS_OWN_FAULT):
            raise error


class Unwritten:
    """Hears on the loop what became of each event that nobody waits for."""

    def __init__(self) -> None:
        self.lost = 0

    def done(self) -> bool:
        return False

    def set_result(self, _: object) -> None:
        """On the disk, or held back."""

    def set_exception(self, error: BaseException) -> None:
        cause = error.__cause__
        refused = isinstance(cause, sqlite3.Error) and not isinstance(cause, _ITS_OWN_FAULT)
        if isinstance(error, StoreError) and refused:
            return  # By the disk: held back.
        self.lost += 1
        if self.lost == 1:
            _log.error("a durable event could not be written to the journal: %s", error)
