"""The mirror: carries the journal's rows into the node's stream, each exactly once and in order.

It knows `position`, the newest row that is in the stream, and `expected`, the stream's last id as
this node left it. Both are only ever learned from Redis' answers. Whenever the stream's last id is
another one, the mirror stops appending and aligns (`_alignment`), then goes on from where the
stream really ends. Reading the next batch overlaps with sending the current one; the cursor in the
journal follows 50 ms behind, because each move of it is a commit, and a restart finds out by
itself what arrived meanwhile. One batch is at most 200 rows, so memory does not grow with the
backlog.

A row that Redis refuses for good is parked as a dead letter and the rest goes on. Refused is: an
error for this row twice, or a connection cut at this row again and again by a server that lives on
(so Redis treats a request beyond its protocol limits).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.journal import Journal, JournalRow
from engine.model.errors import StoreError
from engine.model.ids import EventId
from engine.model.limits import REPLAY_BATCH_MAX
from engine.ports.clock import Clock
from engine.redis_link._alignment import Alignment, align
from engine.redis_link.faults import LINK_FAULTS, LinkFault, refusal_words, was_cut
from engine.redis_link.node_stream import NOTHING, NodeStream, StreamId

_ACKNOWLEDGE_PAUSE_S = 0.05
_TRIM_EVERY = 1_000
_CUTS_ALONE_MAX = 2
DeadLettered = Callable[[EventId, str], None]


class Mirror:
    """One node's position in its stream, over all sessions of the link."""

    def __init__(
        self,
        *,
        journal: Journal,
        io_clock: Clock,
        stream_max_events: int,
        on_aligned: Callable[[Alignment], None],
        on_dead_letter: DeadLettered,
    ) -> None:
        self._journal = journal
        self._io_clock = io_clock
        self._stream_max_events = stream_max_events
        self._on_aligned = on_aligned
        self._on_dead_letter = on_dead_letter
        self._work = asyncio.Event()
        self._arrived = asyncio.Event()
        self._acknowledgeable = asyncio.Event()
        self._cursor = asyncio.Lock()
        self._expected = NOTHING
        self._position = 0
        # Everything up to here is in the stream or a dead letter.
        self._settled = 0
        # Rows up to here are none of this server's business: it was empty by design when they were
        # sent.
        self._base = 0
        self._batch_max = REPLAY_BATCH_MAX
        self._cuts_alone = 0
        self._cut_at: tuple[int, str] | None = None
        self._refused_seq = 0
        self._untrimmed = 0
        self.appended = 0

    @property
    def position(self) -> int:
        """Sequence number of the newest row known to be in the stream."""
        return self._position

    def open(self) -> None:
        """Start from the journal's cursor, before the first session."""
        self._position = self._journal.acknowledged_seq

    def wake(self) -> None:
        """There may be something to send, or it is time to look whether the stream is still
        ours."""
        self._work.set()

    async def arrived(self, seq: int) -> None:
        """Wait until every row up to `seq` is in the stream (or a dead letter)."""
        while max(self._position, self._settled) < seq:
            self._arrived.clear()
            await self._arrived.wait()

    async def keep_acknowledging(self) -> None:
        """Let the journal's cursor follow; runs for ever."""
        while True:
            await self._acknowledgeable.wait()
            await self.acknowledge()
            await self._io_clock.sleep(_ACKNOWLEDGE_PAUSE_S)

    async def acknowledge(self) -> None:
        """Move the journal's cursor to the position now. The disk may refuse; it is tried again."""
        async with self._cursor:
            self._acknowledgeable.clear()
            try:
                await self._journal.acknowledge(self._position)
            except StoreError:
                self._acknowledgeable.set()

    async def begin(self, stream: NodeStream, *, run_id: str, is_new_server: bool) -> None:
        """Find out how far the stream really goes; everything else waits for this."""
        if is_new_server:
            # Empty by design: what the server before it had is not sent again.
            self._base = self._position
            await self._journal.new_epoch()
        await self._judge_cut(run_id)
        await self._align(stream, is_first=True)

    async def run(self, stream: NodeStream, run_id: str) -> None:
        """Send what there is, and look at the stream when there is nothing; until a fault."""
        rows: list[JournalRow] = []
        tail = 0
        while True:
            if not rows:
                tail = self._journal.tail_seq()
                rows = await self._journal.read_to_send(self._position, self._batch_max)
            if not rows:
                self._settled = tail
                self._arrived.set()
                await self._look(stream)
                continue
            try:
                rows = await self._send(stream, rows)
            except LINK_FAULTS as error:
                if was_cut(error):
                    self._cut_at = (self._position, run_id)
                raise

    async def _look(self, stream: NodeStream) -> None:
        await self._work.wait()
        self._work.clear()
        if self._journal.tail_seq() <= self._settled:
            answer = await stream.append(self._expected, self._journal.epoch, ())
            _raise_if_refused(answer.error)
            if answer.last != self._expected:
                await self._align(stream)
            if self._untrimmed:
                await self._trim(stream)

    async def _send(self, stream: NodeStream, rows: list[JournalRow]) -> list[JournalRow]:
        """Append a batch while the next one is read; returns the next one."""
        epoch = self._journal.epoch
        answer, following = await asyncio.gather(
            stream.append(self._expected, epoch, rows),
            self._journal.read_to_send(rows[-1].seq, self._batch_max),
        )
        if answer.written:
            self._advance(StreamId(epoch, rows[answer.written - 1].seq), answer.written)
            if self._untrimmed >= _TRIM_EVERY:
                await self._trim(stream)
        if answer.error:
            _raise_if_refused(answer.error)
            await self._park_when_refused_again(rows[answer.written], answer.error)
            return []
        if answer.written < len(rows):
            await self._align(stream)
            return []
        return following

    def _advance(self, last: StreamId, count: int) -> None:
        self._expected = last
        self._position = last.seq
        self.appended += count
        self._untrimmed += count
        self._batch_max = min(REPLAY_BATCH_MAX, self._batch_max * 2)
        self._cuts_alone = 0
        self._cut_at = None
        self._tell_position()

    def _tell_position(self) -> None:
        self._acknowledgeable.set()
        self._arrived.set()

    async def _align(self, stream: NodeStream, *, is_first: bool = False) -> None:
        async with self._cursor:
            found = await align(stream, self._journal, position=self._position, base=self._base)
            self._expected = found.last
            self._position = self._settled = found.position
        self._tell_position()
        if not is_first or found.what:
            self._on_aligned(found)

    async def _trim(self, stream: NodeStream) -> None:
        unacknowledged = self._position - self._journal.acknowledged_seq
        if unacknowledged < self._stream_max_events:
            # What is not acknowledged is the newest, and fewer than what is kept. Redis drops a
            # limited number at a time, so it is done when nothing was left to drop.
            if not await stream.trim(self._stream_max_events):
                self._untrimmed = 0

    # --- rows that Redis will not have -----------------------------------------------------------

    async def _park_when_refused_again(self, row: JournalRow, error: str) -> None:
        if self._refused_seq != row.seq:
            self._refused_seq = row.seq
            return
        await self._park(row, error)

    async def _park(self, row: JournalRow, error: str) -> None:
        await self._journal.park(row.seq, error)
        self._on_dead_letter(EventId(row.event_id), error)

    async def _judge_cut(self, run_id: str) -> None:
        """A cut by a server that lives on, at the same row again, narrows the suspicion to one
        row."""
        cut_at, self._cut_at = self._cut_at, None
        if cut_at != (self._position, run_id):
            self._cuts_alone = 0
            self._batch_max = REPLAY_BATCH_MAX
            return
        if self._batch_max > 1:
            self._batch_max = max(1, self._batch_max // 8)
            return
        self._cuts_alone += 1
        if self._cuts_alone >= _CUTS_ALONE_MAX:
            for row in await self._journal.read_batch(self._position, 1):
                await self._park(row, "Redis cuts the connection when it is sent this event")
            self._cuts_alone = 0
            self._batch_max = REPLAY_BATCH_MAX


def _raise_if_refused(error: str) -> None:
    """An error that says something of the server, and not of the event, ends the session."""
    if words := refusal_words(error):
        raise LinkFault(words)


__all__ = ["Mirror"]
