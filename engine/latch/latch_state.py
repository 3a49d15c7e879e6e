"""What the latch file says, as values, and how that is written as JSON.

Why here: the record must be readable by a process that has nothing but the standard library, so it
is a dataclass with its own strict decoder rather than one of the engine's message structs. Units:
every time is integer UTC nanoseconds, given by the caller. Fails closed: a body that is not exactly
what the encoder writes is a ``ValueError``, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

__all__ = ["DAMAGED_OWNER", "LatchState", "LatchTrip", "StopState", "decode", "encode"]

DAMAGED_OWNER = ""
"""Owner of a reading that had to be made up: nobody, so every takeover is allowed."""


_TRIPS_MAX: Final = 32


class StopState(StrEnum):
    """The words of the contract for the emergency stop."""

    ARMED = "armed"
    FLATTENING = "flattening"
    FLAT = "flat"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatchTrip:
    """One cause of a stop, by the name that a reset clears it with."""

    trip_id: str
    source: str
    reason: str
    ts_ns: int
    scope: str = "node"
    # The node it was raised at; empty: this one.
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatchState:
    """The whole content of the latch file.

    ``damage`` is never written. It is set by the reader when the file was missing or not sound, and
    says why; such a state is always latched and never ``armed`` or ``flat``, since nobody can vouch
    for either.
    """

    state: StopState
    latched: bool
    generation: int
    owner: str
    written_ns: int
    fence: int = 0
    paused: bool = False
    trips: tuple[LatchTrip, ...] = ()
    trips_omitted: int = 0
    damage: str = ""

    def as_damaged(self, why: str) -> LatchState:
        """This state as the last thing known before the damage: latched, and nothing claimed to be
        flat."""
        state = self.state if self.state is StopState.FLATTENING else StopState.INCOMPLETE
        return replace(self, state=state, latched=True, damage=why)

    @classmethod
    def unknown(cls, why: str) -> LatchState:
        """What to believe when nothing could be read at all."""
        return cls(
            state=StopState.INCOMPLETE,
            latched=True,
            generation=0,
            owner=DAMAGED_OWNER,
            written_ns=0,
            damage=why,
        )


def encode(state: LatchState, *, size_max: int) -> bytes:
    """The JSON body, at most ``size_max`` bytes.

    A stop must be recorded however many trips came together: when they do not fit, the first trip
    and the newest ones stay, and the number left out is written down.
    """
    trips = state.trips
    if len(trips) > _TRIPS_MAX:
        trips = (trips[0], *trips[1 - _TRIPS_MAX :])
    omitted = state.trips_omitted + len(state.trips) - len(trips)
    body = _dump(state, trips, omitted)
    while len(body) > size_max and len(trips) > 1:
        trips = (trips[0], *trips[2:])
        omitted += 1
        body = _dump(state, trips, omitted)
    if len(body) > size_max:
        trips = tuple(replace(trip, reason=trip.reason[:200]) for trip in trips)
        body = _dump(state, trips, omitted)
    if len(body) > size_max:
        raise ValueError(f"latch record of {len(body)} bytes does not fit in {size_max}")
    return body


def decode(body: bytes) -> LatchState:
    """The state in a body that passed its checksum. Raises ``ValueError`` for anything
    unexpected."""
    try:
        raw: object = json.loads(body)
        record = _mapping(raw)
        return LatchState(
            state=StopState(_text(record, "state")),
            latched=_flag(record, "latched"),
            generation=_whole(record, "generation"),
            owner=_text(record, "owner"),
            written_ns=_whole(record, "written_ns"),
            fence=_whole(record, "fence"),
            paused=_flag(record, "paused"),
            trips=tuple(_trip(_mapping(trip)) for trip in _listed(record, "trips")),
            trips_omitted=_whole(record, "trips_omitted"),
        )
    except (KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"latch record is not understood: {error!r}") from error


def _dump(state: LatchState, trips: tuple[LatchTrip, ...], omitted: int) -> bytes:
    record = {
        "state": state.state.value,
        "latched": state.latched,
        "generation": state.generation,
        "owner": state.owner,
        "written_ns": state.written_ns,
        "fence": state.fence,
        "paused": state.paused,
        "trips": [
            {
                "id": trip.trip_id,
                "source": trip.source,
                "reason": trip.reason,
                "ts_ns": trip.ts_ns,
                "scope": trip.scope,
                "node": trip.node,
            }
            for trip in trips
        ],
        "trips_omitted": omitted,
    }
    return json.dumps(record, separators=(",", ":")).encode()


def _trip(record: Mapping[str, object]) -> LatchTrip:
    return LatchTrip(
        trip_id=_text(record, "id"),
        source=_text(record, "source"),
        reason=_text(record, "reason"),
        ts_ns=_whole(record, "ts_ns"),
        scope=_text(record, "scope"),
        # Files written before there was a desk do not have it.
        node=_text(record, "node") if "node" in record else "",
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _listed(record: Mapping[str, object], key: str) -> list[object]:
    value = record[key]
    if not isinstance(value, list):
        raise TypeError(f"{key} is not a list")
    return value


def _text(record: Mapping[str, object], key: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is not text")
    return value


def _whole(record: Mapping[str, object], key: str) -> int:
    value = record[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{key} is not a whole number")
    return value


def _flag(record: Mapping[str, object], key: str) -> bool:
    value = record[key]
    if not isinstance(value, bool):
        raise TypeError(f"{key} is not true or false")
    return value
