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

An entry is ours when the journal has its event under its number; one whose row was pruned is ours
when neither its epoch nor its number is above ours. A journal that went back in time (a restored
backup, a disk that had lied about its syncs) finds its former life's entries under numbers that it
has given to other events, or has not given yet: "not ours"; what it still holds of them is not sent
again, in whatever epoch it arrived. Numbers above our newest are not looked at, so it costs no time
how far a former life had come. Going back ends where the journal's rows end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.journal import Journal
from engine.model.limits import REPLAY_BATCH_MAX
from engine.redis_link.node_stream import NOTHING, Entry, NodeStream, StreamId


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
        if not entries or await _ours_among(journal, entries, position):
            return Alignment(last, position, "")  # Ours, or ours and trimmed since.
    ours = await _newest_of_ours(stream, journal, last, position)
    if ours is None:
        back = await _go_back(journal, last, position, base, "")
        return await _not_ours(journal, last, back.position)
    equal = position
    if ours.seq > position:
        equal = await _equal_up_to(stream, journal, position, ours)
    # Ours in an epoch that we do not know of is a former life's: it ends there all the same.
    is_top = ours == last and ours.epoch <= journal.epoch
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
    stream: NodeStream, journal: Journal, last: StreamId, position: int
) -> StreamId | None:
    below = StreamId(max(last.epoch, journal.epoch), journal.tail_seq() + 1)
    count = 1  # Nearly always the very last entry is ours.
    while entries := await stream.newest(below, count):
        for entry in await _ours_among(journal, entries, position):
            return entry.id
        below, count = entries[-1].id, REPLAY_BATCH_MAX
    return None


async def _ours_among(journal: Journal, entries: Sequence[Entry], position: int) -> list[Entry]:
    """Those of the entries that are ours, in their order."""
    tail = journal.tail_seq()
    known: dict[int, str] = {}
    looked_up = 0
    ours = []
    for entry in sorted(entries, key=lambda one: one.id.seq):
        seq = entry.id.seq
        if seq > tail:
            continue
        if seq > looked_up:
            rows = await journal.read_batch(seq - 1, REPLAY_BATCH_MAX)
            known |= {row.seq: row.event_id for row in rows}
            looked_up = rows[-1].seq if rows else tail
        # One that was pruned was acknowledged once.
        was_pruned = seq <= position and entry.id.epoch <= journal.epoch
        if known.get(seq, entry.event_id if was_pruned else None) == entry.event_id:
            ours.append(entry)
    return [entry for entry in entries if entry in ours]


async def _equal_up_to(stream: NodeStream, journal: Journal, position: int, ours: StreamId) -> int:
    """The newest row up to which all after `position` are in the stream, up to `ours`."""
    equal, at = position, await _at_or_before(stream, journal, position, ours)
    while entries := await stream.between(at.following, ours, REPLAY_BATCH_MAX):
        rows = iter(await journal.read_batch(equal))
        row = next(rows, None)
        for entry in entries:
            if row is not None and (row.seq, row.event_id) == (entry.id.seq, entry.event_id):
                equal, row = row.seq, next(rows, None)
        at = entries[-1].id
    return equal


async def _at_or_before(
    stream: NodeStream, journal: Journal, position: int, ours: StreamId
) -> StreamId:
    """The newest of our entries that is not after `position`, in whatever epoch it was written."""
    below = ours
    while position and (entries := await stream.newest(below, REPLAY_BATCH_MAX)):
        for entry in await _ours_among(journal, entries, position):
            if entry.id.seq <= position:
                return entry.id
        below = entries[-1].id
    return NOTHING


__all__ = ["Alignment", "align"]
