"""The node's stream `seawall:NODE:events` and the one script that writes to it.

Append is compare-and-append: the script writes a batch only if the stream's last id is the one this
node last saw, and stops at the first failure, so that nothing ever comes to stand above a hole.
With no events it is the heartbeat: it answers the last id, so a stream that was flushed or written
to by somebody else is noticed. The last id is the one last *generated*: trimming does not change
it. While another engine holds the lease of the name nothing is written (`lease`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import NoScriptError

from engine.journal import JournalRow
from engine.redis_link.faults import LinkFault, name_in_use, refusal_words

_SCRIPT = """
local last = '0-0'
local lease = redis.call('GET', KEYS[2])
if lease and not string.find(lease, ARGV[3], 1, true) then return {0, last, '', lease} end
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if info.err then
  if not string.find(info.err, 'no such key', 1, true) then return {0, last, info.err, ''} end
else
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
if last ~= ARGV[1] then return {0, last, '', ''} end
local done = 0
for _, row in ipairs(cmsgpack.unpack(ARGV[2])) do
  local command = {'XADD', KEYS[1], row[1], 'type', row[2], 'id', row[3], 'ts', row[4],
    'source', row[5], 'trace', row[6], 'payload', row[7]}
  if row[8] then
    command[#command + 1] = 'replaces'
    command[#command + 1] = row[8]
  end
  local added = redis.pcall(unpack(command))
  if type(added) == 'table' and added.err then return {done, last, added.err, ''} end
  done = done + 1
  last = row[1]
end
return {done, last, '', ''}
"""
# One packed argument instead of 1,600: redis-py packs arguments one by one, in Python, on our loop.
_PACK = msgspec.msgpack.Encoder().encode
_DIGEST = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


# The fields of an entry, as Redis has them.
Fields = dict[bytes, bytes]
# One command to Redis, as words; redis-py's is not typed.
Command = Callable[..., Awaitable[Any]]


class StreamId(NamedTuple):
    """`EPOCH-SEQ`; compares as Redis compares."""

    epoch: int
    seq: int

    @classmethod
    def parse(cls, text: bytes) -> StreamId:
        epoch, _, seq = text.partition(b"-")
        return cls(int(epoch), int(seq))

    @property
    def following(self) -> StreamId:
        """The smallest id above it."""
        return StreamId(self.epoch, self.seq + 1)

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


NOTHING = StreamId(0, 0)


class Appended(NamedTuple):
    """What the script answered: events written, the stream's last id now, and why it stopped."""

    written: int
    last: StreamId
    error: str


class Entry(NamedTuple):
    """An entry's id and the id of the event in it (empty when it has none)."""

    id: StreamId
    event_id: str


class NodeStream:
    """One node's stream on one connection."""

    def __init__(self, *, execute: Command, node: str, lease_key: str, session: str) -> None:
        self._execute = execute
        self._node = node
        self._lease_key = lease_key
        self._holder = f'"session":"{session}"'
        self.key = f"seawall:{node}:events"

    async def append(self, expected: StreamId, epoch: int, rows: Sequence[JournalRow]) -> Appended:
        """Append rows if the stream's last id is `expected`; with none, only look."""
        batch = [_fields(epoch, row) for row in rows]
        arguments = (2, self.key, self._lease_key, str(expected), _PACK(batch), self._holder)
        try:
            answer = await self._execute("EVALSHA", _DIGEST, *arguments)
        except NoScriptError:
            answer = await self._execute("EVAL", _SCRIPT, *arguments)
        if answer[3]:
            raise name_in_use(self._node, answer[3])
        return Appended(int(answer[0]), StreamId.parse(answer[1]), answer[2].decode())

    async def last_id(self) -> StreamId:
        """The last id ever generated in the stream; 0-0 when there is no stream."""
        answer = await self.append(NOTHING, 0, ())
        if answer.error:
            words = refusal_words(answer.error) or f"Redis answered: {answer.error}"
            raise LinkFault(f"{self.key} cannot be used: {words}")
        return answer.last

    async def newest(self, below: StreamId, count: int) -> list[Entry]:
        """Entries from under `below` downwards."""
        return _entries(
            await self._execute("XREVRANGE", self.key, f"({below}", "-", "COUNT", count)
        )

    async def between(self, first: StreamId, last: StreamId, count: int) -> list[Entry]:
        """Entries from `first` to `last`, both included, upwards."""
        return _entries(
            await self._execute("XRANGE", self.key, str(first), str(last), "COUNT", count)
        )

    async def after(self, position: StreamId, count: int) -> list[tuple[StreamId, Fields]]:
        """Whole entries above `position`, upwards."""
        answer = await self._execute("XRANGE", self.key, f"({position}", "+", "COUNT", count)
        return [(StreamId.parse(identifier), _pairs(fields)) for identifier, fields in answer]

    async def trim(self, length: int) -> int:
        """Drop some of the oldest entries above about `length` (never fewer are kept); how many."""
        return int(await self._execute("XTRIM", self.key, "MAXLEN", "~", length))


def _fields(epoch: int, row: JournalRow) -> list[str]:
    """What the script takes for one row; strings only, as nanoseconds do not fit Lua's numbers."""
    fields = [
        f"{epoch}-{row.seq}",
        row.type,
        row.event_id,
        str(row.ts_ns),
        row.source,
        row.trace,
        row.payload.decode(),
    ]
    if row.replaces is not None:
        fields.append(str(row.replaces))
    return fields


def _entries(answer: Any) -> list[Entry]:
    entries = []
    for identifier, fields in answer:
        event_id = _pairs(fields).get(b"id", b"")
        entries.append(Entry(StreamId.parse(identifier), event_id.decode(errors="replace")))
    return entries


def _pairs(fields: Any) -> Fields:
    """redis-py gives the fields as a dict or as a flat list, depending on the command's name."""
    if isinstance(fields, dict):
        return fields
    return dict(zip(*[iter(fields)] * 2, strict=True))


__all__ = ["NOTHING", "Appended", "Command", "Entry", "Fields", "NodeStream", "StreamId"]
