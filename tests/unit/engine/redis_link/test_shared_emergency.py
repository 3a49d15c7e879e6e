"""Trips and clearings on a real server: what is read, what is written, by whose word."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import redis.asyncio

from engine.model.desk_key import DeskKey
from engine.model.emergency import Clearing, Scope, Trip, TripSource
from engine.model.emergency_sets import UNKNOWN_NODE, EmergencySets
from engine.model.ids import TripId
from engine.redis_link import CHANGES_KEY, EMERGENCY_KEY, SharedEmergency
from tests.real_redis import RealRedis

KEY = DeskKey("0123456789abcdef0123456789abcdef")
OTHER_KEY = DeskKey("fedcba9876543210fedcba9876543210")
NO_KEY = DeskKey("")


@pytest.fixture
async def client(redis_server: RealRedis) -> AsyncIterator[redis.asyncio.Redis]:
    found = redis.asyncio.Redis.from_url(redis_server.url, protocol=2)
    yield found
    await found.aclose()


def _shared(
    client: redis.asyncio.Redis, key: DeskKey = KEY, node: str = "alpha"
) -> SharedEmergency:
    return SharedEmergency(command=client.execute_command, node=node, desk_key=key)


def _trip(name: str = "x1", node: str = "alpha", scope: Scope = Scope.NODE) -> Trip:
    return Trip(
        id=TripId(name),
        source=TripSource.BUTTON,
        reason="a test",
        ts_ns=7,
        scope=scope,
        node=node,
    )


def _clearing(*trips: str, name: str = "c1", reason: str = "a\ntest") -> Clearing:
    return Clearing(
        id=name,
        trips=tuple(TripId(trip) for trip in trips),
        author="operator",
        cause="drill",
        reason=reason,
        ts_ns=8,
        node="alpha",
    )


async def _changes(client: redis.asyncio.Redis) -> list[tuple[bytes, bytes]]:
    entries: Any = await client.xrange(CHANGES_KEY)
    return [(fields[b"topic"], fields[b"node"]) for _, fields in entries]


async def test_what_is_written_is_read_again_and_told_once(client: redis.asyncio.Redis) -> None:
    shared = _shared(client)
    clearing = shared.signed(_clearing("x1"))
    ours = EmergencySets.of((_trip(), _trip("x2", scope=Scope.DESK)), (clearing,))
    assert await shared.write(ours, await shared.read()) == 3
    found = await _shared(client, node="beta").read()
    assert found.sets == ours
    assert not found.refused
    assert not found.unreadable
    assert await _changes(client) == [(b"emergency", b"alpha")]
    # Sent again, as after an answer that was lost: nothing happens and nobody is woken.
    assert await shared.write(ours, await shared.read()) == 0
    assert await shared.write(ours, await _shared(client).read()) == 0
    assert len(await _changes(client)) == 1


async def test_the_same_answer_is_the_same_object(client: redis.asyncio.Redis) -> None:
    shared = _shared(client)
    first = await shared.read()
    assert await shared.read() is first
    await client.hset(EMERGENCY_KEY, "trip:x9", "{}")
    assert await shared.read() is not first


async def test_what_somebody_wrote_meanwhile_is_not_written_over(
    client: redis.asyncio.Redis,
) -> None:
    shared = _shared(client)
    before = await shared.read()
    stricter = msgspec.json.encode(_trip(scope=Scope.DESK))
    await client.hset(EMERGENCY_KEY, "trip:x1", stricter)
    assert await shared.write(EmergencySets.of((_trip(),)), before) == 0
    assert await client.hget(EMERGENCY_KEY, "trip:x1") == stricter


async def test_a_weaker_text_gives_way_and_other_words_do_not_matter(
    client: redis.asyncio.Redis,
) -> None:
    shared = _shared(client)
    ours = EmergencySets.of((_trip(scope=Scope.DESK), _trip("x2")))
    reworded = msgspec.structs.replace(_trip("x2"), reason="other words")
    await client.hset(EMERGENCY_KEY, "trip:x1", msgspec.json.encode(_trip()))
    await client.hset(EMERGENCY_KEY, "trip:x2", msgspec.json.encode(reworded))
    found = await shared.read()
    assert shared.weakened(ours, found) == ("trip:x1",)
    assert await shared.write(ours, found) == 1
    assert (await shared.read()).sets.stopping("beta")[0].id == "x1"


async def test_an_unsigned_clearing_is_not_written(client: redis.asyncio.Redis) -> None:
    shared = _shared(client, NO_KEY)
    assert not shared.can_sign
    clearing = shared.signed(_clearing("x1"))
    assert clearing.signed == ""
    ours = EmergencySets.of((_trip(),), (clearing,))
    assert await shared.write(ours, await shared.read()) == 1
    assert await client.hkeys(EMERGENCY_KEY) == [b"trip:x1"]


@pytest.mark.parametrize(
    ("key", "why"),
    [(OTHER_KEY, "not of this desk's key"), (NO_KEY, "no desk key")],
    ids=["other key", "no key"],
)
async def test_a_clearing_counts_only_with_the_key(
    client: redis.asyncio.Redis, key: DeskKey, why: str
) -> None:
    shared = _shared(client)
    ours = EmergencySets.of((_trip(),), (shared.signed(_clearing("x1")),))
    await shared.write(ours, await shared.read())
    found = await _shared(client, key, "beta").read()
    [refused] = found.refused
    assert why in refused.why
    assert refused.origin == "node alpha (by operator)"
    assert refused.trips == ("x1",)
    assert [trip.id for trip in found.sets.uncleared()] == ["x1"]


def _changed(value: str, **fields: Any) -> str:
    envelope = json.loads(value)
    text = json.loads(envelope["text"]) | fields
    return json.dumps({"text": json.dumps(text), "sig": envelope["sig"]})


@pytest.mark.parametrize(
    ("field", "change", "why"),
    [
        ("clear:c1", lambda v: _changed(v, trips=["x1", "x2"]), "not of this desk's key"),
        ("clear:c1", lambda v: v.replace('"sig":"', '"sig":"0'), "not of this desk's key"),
        ("clear:c1", lambda v: v[:-20], "cannot be read"),
        ("clear:c1", lambda _: '{"text": "[]", "sig": ""}', "cannot be read"),
        ("clear:c1", _changed, "not of this desk's key"),
        ("clear:c7", lambda v: v, "signed under another name, c1"),
    ],
    ids=["more trips", "other signature", "cut", "other shape", "white space", "other name"],
)
async def test_a_changed_clearing_is_refused(
    client: redis.asyncio.Redis, field: str, change: Any, why: str
) -> None:
    shared = _shared(client)
    value = change(shared.signed(_clearing("x1")).signed)
    await client.hset(EMERGENCY_KEY, field, value)
    await client.hset(EMERGENCY_KEY, "trip:x1", msgspec.json.encode(_trip()))
    found = await shared.read()
    assert [why in one.why for one in found.refused] == [True]
    assert not found.sets.cleared


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"not JSON", ("?", Scope.NODE, TripSource.BUS)),
        (b"\xff\xfe", ("?", Scope.NODE, TripSource.BUS)),
        (b"[1, 2]", ("?", Scope.NODE, TripSource.BUS)),
        (b"{}", ("?", Scope.NODE, TripSource.BUS)),
        (b'{"scope": "desk"}', ("?", Scope.DESK, TripSource.BUS)),
        (b'{"scope": "planet", "node": "beta"}', ("beta", Scope.NODE, TripSource.BUS)),
        (b'{"node": 5, "source": "chord"}', ("5", Scope.NODE, TripSource.CHORD)),
        (b'{"node": "beta", "ts_ns": 1e300}', ("beta", Scope.NODE, TripSource.BUS)),
        (b'{"node": "beta", "ts_ns": -1}', ("beta", Scope.NODE, TripSource.BUS)),
        (
            b'{"node": "beta", "ts_ns": 99999999999999999999}',
            ("beta", Scope.NODE, TripSource.BUS),
        ),
    ],
)
async def test_a_trip_counts_as_far_as_it_can_be_read(
    client: redis.asyncio.Redis, value: bytes, expected: tuple[str, Scope, TripSource]
) -> None:
    await client.hset(EMERGENCY_KEY, "trip:strange", value)
    found = await _shared(client).read()
    [trip] = found.sets.uncleared()
    assert (trip.id, trip.node, trip.scope, trip.source) == ("strange", *expected)
    assert trip.ts_ns == 0
    assert (trip.id in found.unreadable) is (not value.startswith(b"{"))
    if trip.node == UNKNOWN_NODE and trip.scope is Scope.NODE:
        assert found.sets.holding("alpha") == found.sets.holding("beta") == (trip,)


async def test_a_name_that_is_no_id_gets_one_and_can_be_cleared(
    client: redis.asyncio.Redis,
) -> None:
    shared = _shared(client)
    await client.hset(EMERGENCY_KEY, "trip:two words\n" + "x" * 9_000, "{}")
    await client.hset(EMERGENCY_KEY, "something else", "1")
    found = await shared.read()
    [trip] = found.sets.uncleared()
    assert len(trip.id) < 30
    cleared = found.sets.plus((), (shared.signed(_clearing(trip.id)),))
    await shared.write(cleared, found)
    assert (await _shared(client, node="beta").read()).sets.uncleared() == ()


async def test_only_what_still_is_as_it_was_is_forgotten(client: redis.asyncio.Redis) -> None:
    shared = _shared(client)
    ours = EmergencySets.of((_trip(), _trip("x2")), (shared.signed(_clearing("x1")),))
    await shared.write(ours, await shared.read())
    found = await shared.read()
    settled = ours.settled_before(100)
    assert settled.ids == {"x1"}
    await client.hset(EMERGENCY_KEY, "trip:x1", msgspec.json.encode(_trip(scope=Scope.DESK)))
    assert await shared.forget(settled, found) == 0
    assert await shared.forget(settled, await shared.read()) == 2
    assert await client.hkeys(EMERGENCY_KEY) == [b"trip:x2"]
    assert await shared.forget(EmergencySets(), await shared.read()) == 0
