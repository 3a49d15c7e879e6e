"""How far the stream and the journal agree (R-JRN 4): every case is answered, none is guessed.

The stream's last id is compared with the position of this node, and whose entries are in it is
decided by event ids:

    last id                                       answer
    none                                          Redis lost all: back to `base`
    ours, older than the position                 Redis lost data: back to it
    ours, at the position                         nothing to do
    ours, newer, every event id equal             they arrived: forward to it
    ours, newer, some event id different          forward as far as equal, new epoch, alarm
    not ours, or above our journal                back or forward to the newest of ours below it,
                                                  new epoch above both, alarm

An entry is ours when its epoch is not above ours and the journal has its event under its number;
one whose row was pruned is ours when it is not above the position. Going back ends where the
journal's rows end.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.journal import Journal
from engine.model.limits import REPLAY_BATCH_MAX
from engine.redis_link.node_stream import NOTHING, Entry, NodeStream, StreamId

# Foreign entries looked through for the newest of ours; beyond it the position is kept.
_SEARCH_MAX = 2_000


class Alignment(NamedTuple):
    """Where things stand after it. `what` is empty when nothing had happened.

    `is_foreign`: somebody else writes under this node's name, or this node's journal was lost.
    """

    last: StreamId
    position: int
    what: str
    is_foreign: bool = False


async def align(stream: NodeStream, journal: Journal, *, position: int, base: int) -> Alignment:
    """Compare, move the journal's cursor where it must move, and say what happened."""
    last = await stream.last_id()
    if last == NOTHING:
        return await _go_back(journal, last, position, base, "Redis has lost the whole stream")
    if last == StreamId(journal.epoch, position):
        entries = await stream.between(last, last, 1)
        if not entries or await _is_ours(journal, entries[0], position):
            return Alignment(last, position, "")  # Ours, or ours and trimmed since.
    ours, has_seen_all = await _newest_of_ours(stream, journal, position)
    if ours is None and not has_seen_all:
        return await _not_ours(journal, last, position)
    if ours is None:
        back = await _go_back(journal, last, position, base, "")
        return await _not_ours(journal, last, back.position)
    equal = position
    if ours.seq > position:
        equal = await _equal_up_to(stream, journal, position, ours)
    is_top = ours == last
    if is_top and ours.seq == position:
        return Alignment(last, position, "")
    if ours.seq < position:
        back = await _go_back(journal, last, position, max(base, ours.seq), "Redis has lost events")
        return back if is_top else await _not_ours(journal, last, back.position)
    if is_top and equal == ours.seq:
        return Alignment(last, equal, f"{equal - position} events had arrived already")
    return await _not_ours(journal, last, equal)


async def _go_back(
    journal: Journal, last: StreamId, position: int, seq: int, what: str
) -> Alignment:
    if seq >= position:
        return Alignment(last, position, "")
    reached = await journal.rewind(seq)
    return Alignment(last, reached, f"{what}: sending {position - reached} again")


async def _not_ours(journal: Journal, last: StreamId, position: int) -> Alignment:
    if last.epoch >= journal.epoch:
        await journal.new_epoch(above=last.epoch)
    what = f"the stream ends at {last}, which this node did not write"
    return Alignment(last, position, what, is_foreign=True)


async def _newest_of_ours(
    stream: NodeStream, journal: Journal, position: int
) -> tuple[StreamId | None, bool]:
    """The newest entry that is ours, and whether the stream was looked through to its beginning."""
    below: StreamId | None = None
    for _ in range(0, _SEARCH_MAX, REPLAY_BATCH_MAX):
        # Nearly always the very last entry is ours.
        entries = await stream.newest(below, 1 if below is None else REPLAY_BATCH_MAX)
        for entry in entries:
            if await _is_ours(journal, entry, position):
                return entry.id, False
        if not entries:
            return None, True
        below = entries[-1].id
    return None, False


async def _is_ours(journal: Journal, entry: Entry, position: int) -> bool:
    if entry.id.epoch > journal.epoch or entry.id.seq > journal.tail_seq():
        return False
    rows = await journal.read_batch(entry.id.seq - 1, 1)
    if rows and rows[0].seq == entry.id.seq:
        return rows[0].event_id == entry.event_id
    return entry.id.seq <= position  # Pruned, so it was acknowledged once.


async def _equal_up_to(stream: NodeStream, journal: Journal, position: int, ours: StreamId) -> int:
    """The newest row up to which stream and journal hold the same events after `position`."""
    equal = position
    while equal < ours.seq:
        rows = await journal.read_batch(equal)
        rows = [row for row in rows if row.seq <= ours.seq]
        first = StreamId(ours.epoch, equal + 1)
        entries = await stream.between(first, ours, len(rows))
        for row, entry in zip(rows, entries, strict=False):
            if (row.seq, row.event_id) != (entry.id.seq, entry.event_id):
                return equal
            equal = row.seq
        if not rows or len(entries) < len(rows):
            return equal
    return equal


__all__ = ["Alignment", "align"]
