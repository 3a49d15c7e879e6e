"""The desk's trips and clearings in Redis: hash `seawall:emergency`, a field each (R-POL-5).

`trip:ID` holds a trip as JSON; `clear:ID` holds `{"text", "sig"}`: the clearing's own JSON as text,
to the byte, and its signature with the desk key. Whoever may write to the hash may trip; only who
has the key may clear. So a trip counts as far as it can be read at all, and what cannot be read is
a trip of an unknown node, which holds entries everywhere; a clearing counts only when its signature
holds, and never without a key on this side.

A field is written where none was, or in place of exactly what was found there, so that no script
can undo what somebody else wrote meanwhile, and each may be sent again. What was written is told in
`seawall:changes` by the same script. On the loop; raises LINK_FAULTS.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from engine.model.desk_key import DeskKey
from engine.model.emergency import Clearing, Scope, Trip, TripSource
from engine.model.emergency_sets import UNKNOWN_NODE, EmergencySets
from engine.model.ids import TripId
from engine.redis_link.desk_connection import CHANGES_KEY, CHANGES_MAX

EMERGENCY_KEY: Final = "seawall:emergency"
EMERGENCY_TOPIC: Final = "emergency"
_TRIP, _CLEAR = "trip:", "clear:"
_LABEL = "seawall.clearing"
_TEXT_MAX = 500
_TIME_MAX_NS = 2**63
_ID = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
_ENCODER = msgspec.json.Encoder()
# Triples of field, what is expected there ("" for nothing) and the new value.
_WRITE: Final = """
local written = 0
for i = 3, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if held == ARGV[i + 1] or (not held) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    written = written + 1
  end
end
if written > 0 then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'topic', 'emergency', 'node', ARGV[1])
end
return written
"""
# Nothing is deleted unless all of it still is what was judged to be settled.
_FORGET: Final = """
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
for i = 1, #ARGV, 2 do redis.call('HDEL', KEYS[1], ARGV[i]) end
return #ARGV / 2
"""


class _Envelope(msgspec.Struct, frozen=True):
    text: str
    sig: str


class _Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature is over; its JSON is never made a second time from the struct."""

    id: str
    node: str
    trips: tuple[TripId, ...]
    author: str
    cause: str
    reason: str
    ts_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedClearing:
    """One that is not obeyed: whose it says it is, what it would clear, and why not."""

    id: str
    origin: str
    trips: tuple[TripId, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEmergency:
    """The hash as read at one moment.

    `sets` holds every trip and the clearings that count. `unreadable` are the ids of trips of which
    nothing but the id could be read.
    """

    fields: Mapping[str, bytes] = field(default_factory=dict)
    sets: EmergencySets = field(default_factory=EmergencySets)
    refused: tuple[RefusedClearing, ...] = ()
    unreadable: frozenset[TripId] = frozenset()


class SharedEmergency:
    """Reads and writes the hash for one node."""

    def __init__(
        self, *, command: Callable[..., Awaitable[Any]], node: str, desk_key: DeskKey
    ) -> None:
        self._command = command
        self._node = node
        self._key = desk_key
        self._last = FoundEmergency()

    @property
    def node(self) -> str:
        """Whose hands these are."""
        return self._node

    @property
    def can_sign(self) -> bool:
        """Whether this node has the desk key."""
        return bool(self._key)

    def signed(self, clearing: Clearing) -> Clearing:
        """The clearing with its text and signature; unchanged without a key."""
        if not self._key or clearing.signed:
            return clearing
        fields = {name: getattr(clearing, name) for name in _Signed.__struct_fields__}
        text = _ENCODER.encode(_Signed(**fields)).decode()
        envelope = _Envelope(text, self._key.sign(_LABEL, text))
        return msgspec.structs.replace(clearing, signed=_ENCODER.encode(envelope).decode())

    async def read(self) -> FoundEmergency:
        """The whole hash; the very same object as last time while nothing in it has changed."""
        answer: Any = await self._command("HGETALL", EMERGENCY_KEY)
        fields: dict[str, bytes] = {
            name.decode(errors="replace"): value for name, value in answer.items()
        }
        if fields != self._last.fields:
            self._last = self._understand(fields)
        return self._last

    async def write(self, ours: EmergencySets, found: FoundEmergency) -> int:
        """Write what is not there, or is there in a weaker form; returns how many fields.

        A clearing without a signature is not written: nobody could obey it.
        """
        weakened = self.weakened(ours, found)
        arguments: list[str | bytes] = []
        for name, value in _fields_of(ours).items():
            if name not in found.fields or name in weakened:
                arguments += (name, found.fields.get(name, b""), value)
        if not arguments:
            return 0
        head = (2, EMERGENCY_KEY, CHANGES_KEY, self._node, CHANGES_MAX)
        return int(await self._command("EVAL", _WRITE, *head, *arguments))

    def weakened(self, ours: EmergencySets, found: FoundEmergency) -> tuple[str, ...]:
        """Fields of ours that hold something weaker than what we know."""
        return tuple(
            name
            for name, value in _fields_of(ours).items()
            if name in found.fields and _is_weaker(name, found.fields[name], value)
        )

    def names(self, sets: EmergencySets) -> frozenset[str]:
        """The fields that these would have."""
        names = {f"{_TRIP}{id}" for id in sets.ids}
        return frozenset(names | {f"{_CLEAR}{one.id}" for one in sets.clearings.values()})

    async def forget(self, settled: EmergencySets, found: FoundEmergency) -> int:
        """Delete what is settled, all of it or nothing; returns how many fields."""
        arguments: list[str | bytes] = []
        for name in sorted(self.names(settled) & found.fields.keys()):
            arguments += (name, found.fields[name])
        if not arguments:
            return 0
        return int(await self._command("EVAL", _FORGET, 1, EMERGENCY_KEY, *arguments))

    def _understand(self, fields: Mapping[str, bytes]) -> FoundEmergency:
        trips, clearings = [], []
        refused: list[RefusedClearing] = []
        unreadable: set[TripId] = set()
        for name, value in fields.items():
            if name.startswith(_TRIP):
                trip, is_read = read_trip(name.removeprefix(_TRIP), value)
                trips.append(trip)
                if not is_read:
                    unreadable.add(trip.id)
            elif name.startswith(_CLEAR):
                outcome = self._read_clearing(name.removeprefix(_CLEAR), value)
                if isinstance(outcome, Clearing):
                    clearings.append(outcome)
                else:
                    refused.append(outcome)
        return FoundEmergency(
            fields=dict(fields),
            sets=EmergencySets.of(trips, clearings),
            refused=tuple(refused),
            unreadable=frozenset(unreadable),
        )

    def _read_clearing(self, identifier: str, value: bytes) -> Clearing | RefusedClearing:
        try:
            envelope = msgspec.json.decode(value, type=_Envelope)
            read = msgspec.json.decode(envelope.text, type=_Signed)
        except msgspec.MsgspecError:
            return RefusedClearing(
                id=identifier, origin="an unknown node", trips=(), why="it cannot be read"
            )
        origin = f"node {read.node[:_TEXT_MAX]} (by {read.author[:_TEXT_MAX]})"
        why = ""
        if not self._key:
            why = "this node has no desk key to check its signature with"
        elif not self._key.verifies(envelope.sig, _LABEL, envelope.text):
            why = "its signature is not of this desk's key"
        elif read.id != identifier:
            why = f"it was signed under another name, {read.id[:_TEXT_MAX]}"
        if why:
            return RefusedClearing(id=identifier, origin=origin, trips=read.trips, why=why)
        return Clearing(signed=value.decode(), **msgspec.structs.asdict(read))


def read_trip(name: str, value: bytes) -> tuple[Trip, bool]:
    """The trip as far as it can be read, and whether it can be at all.

    A name that is no id gets one made of it, the same on every node, so that it can be cleared.
    """
    is_id = _ID.match(name) is not None
    identifier = TripId(name if is_id else f"x-{hashlib.sha256(name.encode()).hexdigest()[:16]}")
    try:
        raw: Any = msgspec.json.decode(value)
    except msgspec.MsgspecError:
        raw = None
    if not isinstance(raw, dict):
        reason = "a trip in Redis that cannot be read"
        unread = Trip(
            id=identifier, source=TripSource.BUS, reason=reason, ts_ns=0, node=UNKNOWN_NODE
        )
        return unread, False
    source, reason = str(raw.get("source", "")), str(raw.get("reason", ""))[:_TEXT_MAX]
    if source not in {known.value for known in TripSource}:
        reason = f"{source[:_TEXT_MAX]}: {reason}" if source else reason
        source = TripSource.BUS.value
    ts_ns = raw.get("ts_ns")
    trip = Trip(
        id=identifier,
        source=TripSource(source),
        reason=reason,
        ts_ns=ts_ns if isinstance(ts_ns, int) and 0 <= ts_ns < _TIME_MAX_NS else 0,
        scope=Scope.DESK if raw.get("scope") == Scope.DESK.value else Scope.NODE,
        node=str(raw.get("node") or UNKNOWN_NODE)[:_TEXT_MAX],
    )
    return trip, True


def _fields_of(sets: EmergencySets) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    for trip in sets.by_id().values():
        fields[f"{_TRIP}{trip.id}"] = _ENCODER.encode(trip)
    for clearing in sets.clearings.values():
        if clearing.signed:
            fields.setdefault(f"{_CLEAR}{clearing.id}", clearing.signed.encode())
    return fields


def _is_weaker(name: str, held: bytes, value: bytes) -> bool:
    """Whether what is held has to give way to ours."""
    if held == value:
        return False
    if name.startswith(_CLEAR):
        return True  # Ours is known to be signed; what is there instead is not the same.
    identifier = name.removeprefix(_TRIP)
    (theirs, _), (ours, _) = read_trip(identifier, held), read_trip(identifier, value)
    return theirs.scope is Scope.NODE and (theirs.scope, theirs.node) != (ours.scope, ours.node)


__all__ = [
    "EMERGENCY_KEY",
    "EMERGENCY_TOPIC",
    "FoundEmergency",
    "RefusedClearing",
    "SharedEmergency",
    "read_trip",
]
