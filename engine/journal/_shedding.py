"""Gives up rows that wait for the other side, when the journal has reached its cap (R-JRN-6).

Which: the lowest class first (telemetry, then notes; records never), the oldest first, and only
what has waited for 10 s, so that a link that is up loses nothing. Never a row that may have been
sent: reading rows to be sent and shedding exclude each other, and what an earlier process left
counts as sent until the other side has said otherwise. So a hole in the numbers is always one that
the other side has never seen, and whoever compares event ids never meets it. Never the newest row
either, so that its number is remembered.

Each time a `journal.shed` event is written in the same transaction, so that who misses events is
told how many. Because that costs a row, less than a handful is given up once a minute. Loop, but
for what is named a job. Units: bytes, monotonic nanoseconds. Fails: `StoreError`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from engine.database import DatabaseReader, DatabaseWriter
from engine.journal import outbox
from engine.journal.outbox import Shed
from engine.model.events import SHED_ORDER, Common, Event, JournalShed
from engine.model.limits import (
    JOURNAL_SHED_AFTER_S,
    JOURNAL_SHED_HANDFUL,
    JOURNAL_SHED_HANDFUL_EVERY_S,
)
from engine.ports import Clock
from engine.runtime import Stamper

__all__ = ["GivenUp", "Shedding"]

_SLICE: Final = 1_000
# What the event that says so takes of the room it makes.
_EVENT_BYTES: Final = 600
Append = Callable[[sqlite3.Connection, Sequence[Event]], None]


class GivenUp(NamedTuple):
    """What one slice did: the rows, the event that says so, and the oldest row that still waits."""

    rows: Shed
    event: JournalShed
    oldest_pending_ns: int | None


class Shedding:
    """Chooses and deletes; what it did is for the journal to count."""

    def __init__(
        self, *, writer: DatabaseWriter, reader: DatabaseReader, clock: Clock, append: Append
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._append = append
        # Held while rows are read to be sent, and while rows are given up.
        self.reading = asyncio.Lock()
        # Rows up to here may have reached the other side.
        self.offered_seq = 0
        # Where the tail was, when it was looked at.
        self._tails: deque[tuple[int, int]] = deque()
        # Up to here nothing of the class is left.
        self._floor = dict.fromkeys(SHED_ORDER, 0)
        self._handful_ns: int | None = None

    def look(self, tail_seq: int) -> int:
        """Note where the tail is; returns the newest row known to have waited for 10 s."""
        now_ns = self._clock.monotonic_ns()
        since_ns = now_ns - round(JOURNAL_SHED_AFTER_S * 1e9)
        self._tails.append((now_ns, tail_seq))
        while len(self._tails) > 1 and self._tails[1][0] <= since_ns:
            self._tails.popleft()
        noted_ns, noted_seq = self._tails[0]
        return noted_seq if noted_ns <= since_ns else 0

    async def slice(
        self, *, waited_seq: int, tail_seq: int, wanted_bytes: float, stamp: Stamper
    ) -> GivenUp | None:
        """Give up about so many bytes, at most a thousand rows; None when nothing may go."""
        async with self.reading:
            seqs = await self._choose(min(waited_seq, tail_seq - 1), wanted_bytes + _EVENT_BYTES)
            if not seqs or self._is_too_few(len(seqs)):
                return None
            job = self._writer.submit(partial(self._shed, seqs, stamp()))
            try:
                return await asyncio.shield(job)
            except asyncio.CancelledError:
                await asyncio.wait([job])  # Nothing may be read to be sent before it is decided.
                raise

    async def _choose(self, up_to_seq: int, wanted_bytes: float) -> list[int]:
        seqs: list[int] = []
        for kind in SHED_ORDER:
            floor = max(self.offered_seq, self._floor[kind])
            rows = await self._reader.fetch_all(
                "SELECT seq, length(payload) FROM outbox WHERE seq > ? AND seq <= ? AND class = ?"
                " ORDER BY seq LIMIT ?",
                (floor, up_to_seq, kind, _SLICE - len(seqs)),
            )
            if not rows:
                self._floor[kind] = max(floor, up_to_seq)
            for seq, length in rows:
                if wanted_bytes <= 0:
                    return seqs
                seqs.append(seq)
                wanted_bytes -= outbox.ROW_OVERHEAD_BYTES + length
            if len(seqs) == _SLICE:
                break
        return seqs

    def _is_too_few(self, count: int) -> bool:
        if count >= JOURNAL_SHED_HANDFUL:
            return False
        now_ns = self._clock.monotonic_ns()
        every_ns = round(JOURNAL_SHED_HANDFUL_EVERY_S * 1e9)
        if self._handful_ns is not None and now_ns - self._handful_ns < every_ns:
            return True
        self._handful_ns = now_ns
        return False

    def _shed(self, seqs: list[int], common: Common, connection: sqlite3.Connection) -> GivenUp:
        """The writer's job."""
        rows = outbox.shed(connection, seqs)
        event = JournalShed(
            **common,
            events=sum(rows.types.values()),
            types=rows.types,
            first_seq=rows.first_seq,
            last_seq=rows.last_seq,
            first_ns=rows.first_ns,
            last_ns=rows.last_ns,
        )
        self._append(connection, [event])
        return GivenUp(rows, event, outbox.oldest_pending(connection))
