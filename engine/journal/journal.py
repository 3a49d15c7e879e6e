"""The journal: appends durable events, knows how far the other side has come, prunes what is
acknowledged.

Why an outbox: an event and the state it tells of are committed together or not at all. Redis being
away needs no special case: the rows above the cursor *are* the buffer. In standalone mode the
commit acknowledges.

Order: a sequence number is given inside the transaction, so numbers follow the order in which
things happened, and a rolled back job leaves no gap. Dead letters do leave one, and so does what is
shed at the cap (`_shedding`). Loop and threads:
everything public is for the loop, except ``append_in``, which runs inside a writer's job. Memory
(ring, counts, tail) follows commits through ``CommitParticipant``: what is not committed is never
counted. Units: UTC nanoseconds; sizes in bytes; durations in seconds. Fails: ``StoreError`` from
the futures; an event that cannot be encoded fails alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from engine.database import DatabaseReader, DatabaseWriter, Job, one_statement
from engine.journal import outbox
from engine.journal._held_back import HeldBack, Unwritten
from engine.journal._shedding import Shedding
from engine.journal.importing import BufferedEvent
from engine.journal.outbox import Appended, Cursor
from engine.journal.rows import DeadLetter, JournalRow, PruneResult
from engine.model.events import Event, JournalShed
from engine.model.limits import (
    JOURNAL_BYTES_MAX,
    JOURNAL_MEMORY_EVENTS,
    JOURNAL_SHED_TO,
    REPLAY_BATCH_MAX,
)
from engine.model.snapshots import JournalSnapshot
from engine.ports import Clock
from engine.runtime import Stamper

__all__ = ["Journal"]


class Journal:
    """The outbox of one database. Construct before the writer is opened, then ``open``.

    Implements the port ``EventLog`` for the bus.
    """

    def __init__(
        self,
        *,
        writer: DatabaseWriter,
        reader: DatabaseReader,
        clock: Clock,
        bytes_max: int = JOURNAL_BYTES_MAX,
        age_max_s: float | None = None,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._bytes_max = bytes_max
        self._age_max_s = age_max_s
        self._wake: Callable[[], None] | None = None
        self._recent: deque[Event] = deque(maxlen=JOURNAL_MEMORY_EVENTS)
        self._epoch = 1
        self._acknowledged_seq = self._tail_seq = 0
        self._pending = self._dead_lettered = self._bytes = 0
        self._oldest_pending_ns: int | None = None
        # Up to which row the size is an estimate, and what was estimated for those rows.
        self._estimate: tuple[int, int] | None = None
        self._standalone = True
        self._shed_types: dict[str, int] = {}
        self._shedding = Shedding(writer=writer, reader=reader, clock=clock, append=self.append_in)
        self._replay: tuple[float, float] | None = None
        # Belongs to the writer's thread: what the running transaction has appended.
        self._uncommitted: list[Appended] = []
        self._committed_seq = 0
        self._held = HeldBack(self.append_in)
        self._unwritten = Unwritten()
        writer.join(self)

    async def open(self, *, standalone: bool) -> None:
        """Learn where the journal stands. ``standalone``: whether a commit acknowledges from now
        on.

        What was committed under standalone stays acknowledged when a link is used later.
        """
        self._adopt(await self._writer.submit(partial(self._open, standalone=standalone)))
        # All that an earlier process left may have been sent.
        self._shedding.offered_seq = self._tail_seq

    def _open(self, connection: sqlite3.Connection, *, standalone: bool) -> Cursor:
        cursor = outbox.set_standalone(connection, standalone)
        self._committed_seq = cursor.tail_seq
        return cursor

    async def was_linked(self) -> bool:
        """Whether this database has ever been opened for a link, and not only standalone."""
        return bool(await self._reader.fetch_all("SELECT 1 FROM meta WHERE key = 'was_linked'"))

    # --- writing -------------------------------------------------------------------------------

    def append(self, event: Event) -> asyncio.Future[None]:
        """Queue a durable event that changes no state; done when it is on the disk."""
        return self._writer.submit_batched(self._append_batch, event)

    def keep(self, event: Event) -> None:
        """Queue a durable event for one who does not wait. What the disk refuses is held back and
        written first as soon as it takes it; ``StoreError`` when the database is closed."""
        self._writer.hand_over(self._held.write, event, self._unwritten)

    def append_in(self, connection: sqlite3.Connection, events: Sequence[Event]) -> None:
        """Append within the transaction of the running job. Writer's thread only."""
        if events:
            self._uncommitted += outbox.insert(connection, events, after_seq=self._last_seq())

    def _last_seq(self) -> int:
        """The newest number given, committed or in the running transaction. Writer's thread
        only."""
        return self._uncommitted[-1].last_seq if self._uncommitted else self._committed_seq

    @one_statement
    def _append_batch(self, connection: sqlite3.Connection, events: list[Event]) -> list[None]:
        self.append_in(connection, events)
        return [None] * len(events)

    # --- following the transactions (CommitParticipant) ------------------------------------------

    def is_behind(self) -> bool:
        return bool(self._held)

    def begin(self, connection: sqlite3.Connection) -> None:
        self._held.begin(connection)

    def failed(self, group: Sequence[Job]) -> None:
        kept = (job[1] for job in group if job[0] == self._held.write)
        self._held.add([items[0] for items in kept if items is not None])

    def mark(self) -> int:
        return len(self._uncommitted)

    def rollback(self, mark: int) -> None:
        del self._uncommitted[mark:]
        if not mark:
            self._held.rolled_back()

    def take(self) -> list[Appended]:
        self._held.committed()
        self._committed_seq = self._last_seq()
        taken, self._uncommitted = self._uncommitted, []
        return taken

    def committed(self, taken: Any) -> None:
        """Count and remember what is now on the disk, then wake whoever sends it on."""
        appended: list[Appended] = taken
        if not appended:
            return
        for some in appended:
            self._recent.extend(some.events)
            self._bytes += some.size_bytes
            if not self._standalone:
                # A requeued dead letter comes without its event.
                self._pending += max(1, len(some.events))
        self._tail_seq = appended[-1].last_seq
        if self._standalone:
            self._acknowledged_seq = self._tail_seq
        elif self._oldest_pending_ns is None:
            first = appended[0].events
            self._oldest_pending_ns = first[0].ts_ns if first else self._clock.now_ns()
        if self._wake is not None:
            self._wake()

    # --- the other side's progress ---------------------------------------------------------------

    def set_wake(self, wake: Callable[[], None] | None) -> None:
        """Whom to call on the loop after each commit that appended something."""
        self._wake = wake

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def acknowledged_seq(self) -> int:
        return self._acknowledged_seq

    @property
    def pending(self) -> int:
        """Committed events that the other side has not acknowledged."""
        return self._pending

    @property
    def dead_lettered(self) -> int:
        """Events that were refused for good and are parked."""
        return self._dead_lettered

    @property
    def bytes(self) -> int:
        """Size of the rows that are kept."""
        return self._bytes

    @property
    def is_over_cap(self) -> bool:
        """Whether more is kept than may be."""
        return self._bytes > self._bytes_max

    @property
    def shed_count(self) -> int:
        """Events that were given up at the cap, ever."""
        return sum(self._shed_types.values())

    @property
    def lost(self) -> int:
        """Durable events of this process that could not be written and will not be."""
        return self._held.lost + self._unwritten.lost

    def tail_seq(self) -> int:
        """The newest committed sequence number; 0 when nothing was ever written."""
        return self._tail_seq

    async def read_batch(self, after_seq: int, limit: int = REPLAY_BATCH_MAX) -> list[JournalRow]:
        """The next committed rows in order, at most ``limit`` and never more than 200."""
        rows = await self._reader.fetch_all(
            "SELECT seq, event_id, type, ts_ns, source, trace, replaces, payload FROM outbox"
            " WHERE seq > ? ORDER BY seq LIMIT ?",
            (after_seq, min(limit, REPLAY_BATCH_MAX)),
        )
        return [JournalRow(*row) for row in rows]

    async def read_to_send(self, after_seq: int, limit: int) -> list[JournalRow]:
        """Like ``read_batch``, for rows that will be sent: they are not given up any more."""
        shedding = self._shedding
        async with shedding.reading:
            rows = await self.read_batch(after_seq, limit)
            if rows:
                shedding.offered_seq = max(shedding.offered_seq, rows[-1].seq)
            return rows

    async def acknowledge(self, seq: int) -> None:
        """Everything up to ``seq`` has arrived. Going back is ``rewind``; a smaller one changes
        nothing."""
        count, oldest_ns = await self._writer.submit(lambda c: outbox.acknowledge(c, seq))
        self._acknowledged_seq = max(self._acknowledged_seq, seq)
        self._pending -= count
        if oldest_ns is None and self._pending:
            # Appended in the group of this very job, after it.
            oldest_ns = self._clock.now_ns()
        self._oldest_pending_ns = oldest_ns

    async def rewind(self, seq: int) -> int:
        """The other side lost what is above ``seq``: go back as far as rows reach; returns the
        cursor."""
        target, again, oldest_ns = await self._writer.submit(lambda c: outbox.rewind(c, seq))
        self._acknowledged_seq = target
        self._pending += again
        if again:
            self._oldest_pending_ns = oldest_ns
        return target

    async def new_epoch(self, *, above: int = 0) -> int:
        """Begin a new epoch, above ours and above ``above``; the cursor stays."""
        self._epoch = await self._writer.submit(lambda c: outbox.set_epoch(c, above))
        return self._epoch

    def note_replay(self, *, events: int, duration_s: float) -> None:
        """What the last replay took, for the statistics."""
        self._replay = (duration_s, events / duration_s if duration_s > 0 else 0.0)

    # --- dead letters ----------------------------------------------------------------------------

    async def park(self, seq: int, error: str) -> None:
        """Take a row that is refused for good out of the way, with its error."""
        now_ns = self._clock.now_ns()
        size = await self._writer.submit(lambda c: outbox.park(c, seq, error, now_ns))
        self._bytes -= size
        if self._estimate is not None:
            self._estimate = (self._estimate[0], self._estimate[1] - size)
        self._dead_lettered += 1
        if seq > self._acknowledged_seq:
            self._pending -= 1

    async def requeue(self, seq: int) -> int:
        """Give a dead letter another try at the tail; returns its new sequence number."""
        new_seq = await self._writer.submit(partial(self._requeue, seq))
        self._dead_lettered -= 1
        return new_seq

    def _requeue(self, seq: int, connection: sqlite3.Connection) -> int:
        new_seq = self._last_seq() + 1
        size = outbox.requeue(connection, seq, new_seq=new_seq)
        self._uncommitted.append(Appended((), new_seq, size))
        return new_seq

    async def dead_letters(self, limit: int = REPLAY_BATCH_MAX) -> list[DeadLetter]:
        """The newest dead letters."""
        rows = await self._reader.fetch_all(
            "SELECT seq, event_id, type, ts_ns, error, parked_ns, requeued_seq FROM dead_letters"
            " ORDER BY seq DESC LIMIT ?",
            (limit,),
        )
        return [DeadLetter(*row) for row in rows]

    # --- imports ---------------------------------------------------------------------------------

    async def import_events(self, events: Sequence[BufferedEvent], *, source: str) -> int:
        """Append events of another program in one transaction; returns how many were new here."""
        return await self._writer.submit(partial(self._import_events, events, source))

    def _import_events(
        self, events: Sequence[BufferedEvent], source: str, connection: sqlite3.Connection
    ) -> int:
        added = outbox.insert_imported(
            connection, events, source=source, after_seq=self._last_seq()
        )
        self._uncommitted += added
        return len(added)

    # --- retention and figures
    # ---------------------------------------------------------------------

    async def _measure(self) -> None:
        """Learn the true size of what an earlier process left, before anything is removed for it.

        In slices, so that no other read waits long.
        """
        if self._estimate is None:
            return
        last, size, at = self._estimate[0], 0, 0
        while at < last:
            rows = await self._reader.fetch_all(
                "SELECT max(seq), sum(length(payload)), count(*) FROM (SELECT seq, payload"
                " FROM outbox WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?)",
                (at, last, outbox.EXACT_ROWS_MAX),
            )
            if not rows or rows[0][0] is None:
                break
            at = rows[0][0]
            size += rows[0][1] + rows[0][2] * outbox.ROW_OVERHEAD_BYTES
        if self._estimate is not None:  # Nobody else has measured meanwhile.
            self._bytes += size - self._estimate[1]
            self._estimate = None

    async def prune(self, *, keep_since_ns: int | None = None) -> PruneResult:
        """Remove acknowledged rows that are too old, and the oldest ones while over the size cap.

        Rows younger than ``keep_since_ns`` (the newest good backup) stay, and so does whatever is
        not acknowledged. In slices, so that no commit waits long behind a pruning.
        """
        await self._measure()
        never_ns = self._clock.now_ns() if keep_since_ns is None else keep_since_ns
        too_old_ns = 0
        if self._age_max_s is not None:
            too_old_ns = self._clock.now_ns() - round(self._age_max_s * 1e9)
        removed = 0
        while True:
            over_cap = self._bytes > self._bytes_max
            limit_ns = never_ns if over_cap else min(never_ns, too_old_ns)
            prune = partial(
                outbox.prune_acknowledged,
                older_than_ns=limit_ns,
                # The newest row stays, so that its number is remembered.
                up_to_seq=min(self._acknowledged_seq, self._tail_seq - 1),
            )
            rows, freed = await self._writer.submit(prune)
            removed += rows
            self._bytes -= freed
            if not rows:
                break
        return PruneResult(removed, self._bytes / self._bytes_max)

    async def has_acknowledged_since(self, since_ns: int) -> bool:
        """Whether a newer backup would let something be pruned."""
        rows = await self._reader.fetch_all(
            "SELECT 1 FROM outbox WHERE seq <= ? AND ts_ns >= ? LIMIT 1",
            (min(self._acknowledged_seq, self._tail_seq - 1), since_ns),
        )
        return bool(rows)

    async def shed(self, stamp: Stamper) -> list[JournalShed]:
        """Over the cap, give up what has waited long enough; returns the events that say so,
        already in the journal.

        To be called every few seconds while over the cap: how long rows have waited is known from
        the calls before. In standalone nothing waits.
        """
        events: list[JournalShed] = []
        if self._standalone or self._bytes <= self._bytes_max:
            return events
        await self._measure()
        waited_seq = self._shedding.look(self._tail_seq)
        while (wanted := self._bytes - self._bytes_max * JOURNAL_SHED_TO) > 0:
            given_up = await self._shedding.slice(
                waited_seq=waited_seq, tail_seq=self._tail_seq, wanted_bytes=wanted, stamp=stamp
            )
            if given_up is None:
                break
            rows, event, self._oldest_pending_ns = given_up
            self._bytes -= rows.size_bytes
            self._pending -= event.events
            for name, count in rows.types.items():
                self._shed_types[name] = self._shed_types.get(name, 0) + count
            events.append(event)
        return events

    def recent(self) -> list[Event]:
        """The last 1,000 committed events of this process, oldest first."""
        return list(self._recent)

    def snapshot(self) -> JournalSnapshot:
        """Figures for console and status."""
        age_s = None
        if self._pending and self._oldest_pending_ns is not None:
            age_s = max(0.0, (self._clock.now_ns() - self._oldest_pending_ns) / 1e9)
        duration_s, rate = self._replay or (None, None)
        shed = self.shed_count
        return JournalSnapshot(
            written=self._tail_seq,
            acknowledged=self._tail_seq - self._pending - self._dead_lettered - shed,
            pending=self._pending,
            dead_lettered=self._dead_lettered,
            shed=shed,
            shed_types=dict(self._shed_types),
            held=len(self._held),
            lost=self.lost,
            bytes=self._bytes,
            bytes_max=self._bytes_max,
            oldest_pending_age_s=age_s,
            last_replay_duration_s=duration_s,
            last_replay_rate_per_s=rate,
        )

    def _adopt(self, cursor: Cursor) -> None:
        self._epoch = cursor.epoch
        self._acknowledged_seq = cursor.acknowledged_seq
        self._tail_seq = cursor.tail_seq
        self._pending = cursor.pending
        self._dead_lettered = cursor.dead_lettered
        self._bytes = cursor.size_bytes
        self._estimate = None if cursor.is_size_exact else (cursor.tail_seq, cursor.size_bytes)
        self._oldest_pending_ns = cursor.oldest_pending_ns
        self._standalone = cursor.standalone
        self._shed_types = dict(cursor.shed_types)
