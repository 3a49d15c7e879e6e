"""A desk of two engines on one real Redis: a stop for the desk, a stop of one, resets, outages.

Both engines are real kernels with their own folders, paper venues, latch files and clocks of real
time; they know of each other only through the server. What a test believes of an engine it reads
from the venue's own file, the latch file, the hash in Redis and the engine's status.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from engine.api import CommandResult
from engine.kernel import desk_emergency
from engine.kernel.keys import DESK_KEY_VARIABLE
from engine.kernel.status import emergency_json
from engine.model import events as ev
from engine.model.config import RedisSection
from engine.model.emergency import (
    Clearing,
    EmergencyState,
    ResetRequest,
    Scope,
    Trip,
    TripSource,
)
from engine.model.ids import TripId
from engine.model.snapshots import EngineState
from engine.model.values import Side
from engine.redis_link import EMERGENCY_KEY
from engine.runtime import SystemClock
from tests.desk import ETH, Desk
from tests.faults.byte_proxy import ByteProxy
from tests.faults.link_desk import flush
from tests.real_redis import RealRedis
from tests.waiting import eventually

KEY = "0123456789abcdef0123456789abcdef"
pytestmark = [pytest.mark.timeout(90), pytest.mark.allow_log("")]


@pytest.fixture(autouse=True)
def _desk_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DESK_KEY_VARIABLE, KEY)


@asynccontextmanager
async def _engine(folder: Path, node: str, url: str, *, wait: bool = True) -> AsyncIterator[Desk]:
    """One engine of the desk, on its own folder; ended in order."""
    folder.mkdir(exist_ok=True)
    desk = Desk(clock=SystemClock(), folder=folder, redis_url=url, node=node)
    await desk.open()
    try:
        if wait:
            await eventually(lambda: not desk.gate(), timeout_s=20)
        yield desk
    finally:
        await desk.close()


@asynccontextmanager
async def _two(tmp_path: Path, server: RealRedis) -> AsyncIterator[tuple[Desk, Desk]]:
    async with (
        _engine(tmp_path / "a", "alpha", server.url) as alpha,
        _engine(tmp_path / "b", "beta", server.url) as beta,
    ):
        yield alpha, beta


def _hash(server: RealRedis) -> dict[str, str]:
    client = redis.Redis.from_url(server.url, decode_responses=True, protocol=2)
    try:
        found: Any = client.hgetall(EMERGENCY_KEY)
    finally:
        client.close()
    return dict(found)


def _write(server: RealRedis, name: str, value: str) -> None:
    """By somebody's hand, past every script of ours."""
    client = redis.Redis.from_url(server.url)
    try:
        client.hset(EMERGENCY_KEY, name, value)
    finally:
        client.close()


def _delete(server: RealRedis, name: str) -> None:
    client = redis.Redis.from_url(server.url)
    try:
        client.hdel(EMERGENCY_KEY, name)
    finally:
        client.close()


def _stop(desk: Desk) -> EmergencyState:
    return desk.kernel.parts.stop.snapshot().state


async def _flat(*desks: Desk) -> None:
    for desk in desks:
        await eventually(lambda desk=desk: _stop(desk) is EmergencyState.FLAT, timeout_s=30)
        assert desk.venue_positions() == {}
        assert desk.open_at_venue() == []


def _uncleared(desk: Desk) -> set[str]:
    return {trip.id for trip in desk.kernel.parts.desk_emergency.sets.uncleared()}


def _latched(desk: Desk) -> bool:
    return desk.kernel.parts.stop.is_latched()


def _codes(desk: Desk) -> set[str]:
    return {
        alarm.code
        for alarm in desk.kernel.parts.alarms.snapshot()
        if alarm.state in {"new", "acknowledged"}
    }


async def _reset(desk: Desk, **changes: Any) -> CommandResult:
    """Everything a person can give; asked again until time alone is no condition any more."""

    async def answer() -> CommandResult:
        client = desk.kernel.client
        await client.acknowledge_all(priority=1)
        request = ResetRequest(
            cause="drill",
            reason="the test goes on",
            clear=tuple(trip.id for trip in desk.kernel.parts.stop.trips),
            rebase=client._reset.would_trip_again(),
        )
        return await client.reset(msgspec.structs.replace(request, **changes))

    while True:
        result = await answer()
        waits = {entry.condition for entry in result.unmet}
        if result.ok or not waits <= {"links_up", "positions_zero", "orders_zero", "queue_calm"}:
            return result
        await asyncio.sleep(0.2)


async def test_a_stop_for_the_desk_flattens_both_within_a_second(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the hash is not read by itself during the test, so only the pushed change counts."""
    monkeypatch.setattr(desk_emergency, "EMERGENCY_READ_INTERVAL_S", 60.0)
    monkeypatch.setattr(desk_emergency, "EMERGENCY_READ_AGE_GATE_S", 120.0)
    async with _two(tmp_path, redis_server) as (alpha, beta):
        await alpha.enter()
        await beta.enter(Side.SELL, ETH)
        trip = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="the test", scope=Scope.DESK
        )
        await _flat(alpha, beta)
        # One trip, under one id, at both; by the engines' own events, each with its clock's time.
        [theirs] = beta.kernel.parts.stop.trips
        assert theirs == trip
        closes = [
            event.ts_ns
            for event in beta.heard(ev.OrderIntended)
            if event.purpose == "emergency_close"
        ]
        assert closes, "beta closed nothing"
        assert 0 < min(closes) - trip.ts_ns < 1_000_000_000
        tripped = [e for e in beta.heard(ev.EmergencyTriggered) if e.phase == "tripped"]
        assert [(e.trip_id, e.node, e.scope) for e in tripped] == [(trip.id, "alpha", "desk")]
        await eventually(lambda: "STOP_BY_DESK" in _codes(beta))
        told = [e for e in beta.heard(ev.DeskEmergencyChanged) if e.phase == "tripped"]
        assert [(e.trip_ids, e.node) for e in told] == [((trip.id,), "alpha")]
        assert beta.state() is alpha.state() is EngineState.LATCHED
        [shown] = emergency_json(beta.kernel.client.snapshot().emergency)["trips"]
        assert (shown["node"], shown["scope"]) == ("alpha", "desk")
        # The latch file of beta names it with its node, over a restart too.
        assert [(t.trip_id, t.node) for t in beta.kernel.parts.storage.latch.read().trips] == [
            (trip.id, "alpha")
        ]


async def test_a_stop_of_one_node_holds_only_the_entries_of_the_other(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with _two(tmp_path, redis_server) as (alpha, beta):
        await alpha.enter()
        await beta.enter()
        trip = alpha.kernel.client.trip(source=TripSource.BUTTON, reason="the test")
        await eventually(lambda: "trip_uncleared" in beta.gate(), timeout_s=2)
        await _flat(alpha)
        [reason] = [
            r for r in beta.kernel.parts.gatekeeper.standing() if r.code == "trip_uncleared"
        ]
        assert trip.id in reason.detail
        assert "node alpha" in reason.detail
        assert not _latched(beta)
        assert beta.state() is EngineState.RUNNING
        sent = beta.entries_at_venue()
        refused = beta.signal(Side.BUY, ETH)
        await eventually(lambda: beta.heard(ev.SignalBlocked))
        assert "trip_uncleared" in beta.heard(ev.SignalBlocked)[-1].reason_codes
        assert beta.order_of(refused) is None
        assert beta.quantity() > 0
        # An exit runs.
        beta.exit()
        await eventually(lambda: beta.quantity() == 0)
        [shown] = emergency_json(beta.kernel.client.snapshot().emergency)["trips"]
        assert (shown["id"], shown["node"], shown["scope"]) == (trip.id, "alpha", "node")
        await eventually(lambda: "DESK_TRIP_UNCLEARED" in _codes(beta))
        assert (await _reset(alpha)).ok
        await eventually(lambda: not beta.gate(), timeout_s=5)
        assert beta.entries_at_venue() == sent
        await beta.enter(Side.BUY, ETH)
        assert alpha.state() is EngineState.READY
        cleared = [e for e in beta.heard(ev.DeskEmergencyChanged) if e.phase == "cleared"]
        assert [(e.trip_ids, e.node) for e in cleared] == [((trip.id,), "alpha")]


async def test_a_clearing_for_the_desk_leaves_each_latch_to_its_own_person(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Goal: a second press of the same kind is never swallowed by a reset made elsewhere."""
    async with _two(tmp_path, redis_server) as (alpha, beta):
        first = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="the test", scope=Scope.DESK
        )
        await _flat(alpha, beta)
        assert (await _reset(beta)).ok
        await eventually(lambda: first.id not in _uncleared(alpha))
        assert _latched(alpha)
        assert not _latched(beta)
        # Alpha is still latched and its person presses again: that is news for the desk.
        second = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="again", scope=Scope.DESK
        )
        assert second.id != first.id
        await eventually(lambda: _latched(beta))
        await _flat(beta)
        refused = await _reset(alpha, clear=(first.id,))
        assert [entry.condition for entry in refused.unmet] == ["trips_named"]
        assert (await _reset(alpha)).ok
        assert _latched(beta)
        assert (await _reset(beta)).ok
        assert _uncleared(alpha) == _uncleared(beta) == set()


async def test_what_both_sides_did_during_an_outage_counts(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Goal: a reset made meanwhile is not undone, a trip that it was not shown survives it."""
    async with _two(tmp_path, redis_server) as (alpha, beta):
        first = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="the test", scope=Scope.DESK
        )
        await _flat(alpha, beta)
        redis_server.kill()
        for desk in (alpha, beta):
            await eventually(lambda desk=desk: not desk.kernel.parts.redis.is_up(), timeout_s=5)
        assert (await _reset(beta)).ok
        unseen = alpha.kernel.client.trip(
            source=TripSource.COMMAND_LINE, reason="not shown to beta", scope=Scope.DESK
        )
        redis_server.restart()  # And it has forgotten everything.
        await eventually(lambda: _latched(beta), timeout_s=15)
        assert [trip.id for trip in beta.kernel.parts.stop.trips] == [unseen.id]
        await eventually(lambda: _uncleared(alpha) == {unseen.id}, timeout_s=10)
        assert _uncleared(beta) == {unseen.id}
        fields = _hash(redis_server)
        assert {f"trip:{first.id}", f"trip:{unseen.id}"} <= fields.keys()
        assert any(first.id in value for name, value in fields.items() if name[:6] == "clear:")


async def test_a_flushed_server_is_given_everything_back_and_trips_nobody(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with _two(tmp_path, redis_server) as (alpha, beta):
        alpha.kernel.client.trip(source=TripSource.BUTTON, reason="the test")
        await _flat(alpha)
        assert (await _reset(alpha)).ok
        held = alpha.kernel.client.trip(source=TripSource.CHORD, reason="the test")
        await eventually(lambda: held.id in _uncleared(beta))
        before = _hash(redis_server)
        assert len(before) == 3
        flush(redis_server.url)
        await eventually(lambda: _hash(redis_server) == before, timeout_s=10)
        assert not _latched(beta)
        assert _uncleared(alpha) == _uncleared(beta) == {held.id}


async def test_a_field_taken_out_or_weakened_by_hand_is_put_back_and_said(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with _two(tmp_path, redis_server) as (alpha, beta):
        trip = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="the test", scope=Scope.DESK
        )
        name = f"trip:{trip.id}"
        await eventually(lambda: name in _hash(redis_server) and _latched(beta))
        await _flat(alpha, beta)
        before = _hash(redis_server)
        _delete(redis_server, name)
        await eventually(lambda: _hash(redis_server) == before, timeout_s=5)
        for desk in (alpha, beta):
            assert _latched(desk)
        known = {
            alarm.text
            for desk in (alpha, beta)
            for alarm in desk.kernel.parts.alarms.snapshot()
            if alarm.code == "LATCH_DISAGREES"
        }
        assert any(name in text for text in known)
        weaker = json.loads(before[name]) | {"scope": "node", "node": "gamma"}
        _write(redis_server, name, json.dumps(weaker))
        await eventually(lambda: _hash(redis_server) == before, timeout_s=5)
        assert trip.id in _uncleared(beta)


def _forged(trip_id: str, *, sig: str = "00" * 32) -> str:
    text = json.dumps(
        {
            "id": "c-forged",
            "node": "alpha",
            "trips": [trip_id],
            "author": "mallory",
            "cause": "none",
            "reason": "none",
            "ts_ns": 1,
        }
    )
    return json.dumps({"text": text, "sig": sig})


async def test_a_forged_clearing_is_refused_and_names_its_origin(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with _two(tmp_path, redis_server) as (alpha, beta):
        trip = alpha.kernel.client.trip(source=TripSource.BUTTON, reason="the test")
        await eventually(lambda: trip.id in _uncleared(beta))
        _write(redis_server, "clear:c-forged", _forged(trip.id))
        _write(redis_server, "clear:c-nonsense", "not JSON")
        await eventually(lambda: "CLEARING_REFUSED" in _codes(beta), timeout_s=10)
        texts = [
            alarm.text
            for alarm in beta.kernel.parts.alarms.snapshot()
            if alarm.code == "CLEARING_REFUSED"
        ]
        assert any("node alpha (by mallory)" in text for text in texts)
        for desk in (alpha, beta):
            assert _uncleared(desk) == {trip.id}
        assert "trip_uncleared" in beta.gate()


async def test_a_trip_that_cannot_be_read_holds_entries_until_somebody_clears_it(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with _two(tmp_path, redis_server) as (alpha, beta):
        await alpha.enter()
        _write(redis_server, "trip:strange", "{not JSON")
        for desk in (alpha, beta):
            await eventually(lambda desk=desk: "trip_uncleared" in desk.gate(), timeout_s=5)
            assert not _latched(desk)
        assert alpha.quantity() > 0
        answer = await _reset(alpha, clear=("strange",))
        assert answer.ok, answer
        assert alpha.state() is EngineState.RUNNING
        for desk in (alpha, beta):
            await eventually(lambda desk=desk: not desk.gate(), timeout_s=5)
        assert alpha.quantity() > 0


async def test_without_a_key_a_reset_counts_only_where_it_was_made(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DESK_KEY_VARIABLE)
    async with _two(tmp_path, redis_server) as (alpha, beta):
        trip = alpha.kernel.client.trip(source=TripSource.BUTTON, reason="the test")
        await eventually(lambda: "trip_uncleared" in beta.gate())
        await _flat(alpha)
        answer = await _reset(alpha)
        assert answer.ok
        assert "no desk key" in answer.message
        assert "stay blocked" in emergency_json(answer.emergency)["desk_why"]
        assert not _latched(alpha)
        assert [name for name in _hash(redis_server) if name.startswith("clear:")] == []
        assert "trip_uncleared" in beta.gate()
        nothing = await _reset(beta, clear=())
        assert [entry.condition for entry in nothing.unmet] == ["trips_named"]
        assert (await _reset(beta, clear=(trip.id,))).ok
        await eventually(lambda: not beta.gate(), timeout_s=5)


async def test_a_signed_reset_is_not_obeyed_by_a_node_without_the_key(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _engine(tmp_path / "a", "alpha", redis_server.url) as alpha:
        monkeypatch.delenv(DESK_KEY_VARIABLE)
        async with _engine(tmp_path / "b", "beta", redis_server.url) as beta:
            trip = alpha.kernel.client.trip(source=TripSource.BUTTON, reason="the test")
            await _flat(alpha)
            await eventually(lambda: trip.id in _uncleared(beta))
            assert (await _reset(alpha)).ok
            await eventually(lambda: "CLEARING_REFUSED" in _codes(beta), timeout_s=10)
            assert _uncleared(beta) == {trip.id}
            assert "no desk key" in beta.kernel.parts.desk_emergency.desk_why


async def test_a_node_that_was_away_obeys_what_it_missed_before_it_trades(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Goal: no entry between the start of an engine and the trip that waits for it."""
    async with _engine(tmp_path / "b", "beta", redis_server.url) as beta:
        await beta.enter()
    async with _engine(tmp_path / "a", "alpha", redis_server.url) as alpha:
        trip = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="while beta was away", scope=Scope.DESK
        )
        await eventually(lambda: f"trip:{trip.id}" in _hash(redis_server))
        async with _engine(tmp_path / "b", "beta", redis_server.url, wait=False) as beta:
            assert _latched(beta), "it was open for a moment"
            await _flat(beta)
            assert [t.id for t in beta.kernel.parts.stop.trips] == [trip.id]
            assert beta.entries_at_venue() == 1


async def test_a_stop_pressed_as_redis_dies_waits_for_nobody_and_reaches_the_desk(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with _two(tmp_path, redis_server) as (alpha, beta):
        await alpha.enter()
        await beta.enter()
        redis_server.kill()
        trip = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="as it died", scope=Scope.DESK
        )
        await _flat(alpha)
        assert not _latched(beta)
        assert trip.id in emergency_json(alpha.kernel.client.snapshot().emergency)["untold"]
        redis_server.restart()
        await eventually(lambda: _latched(beta), timeout_s=15)
        await _flat(beta)
        assert [one.id for one in beta.kernel.parts.stop.trips] == [trip.id]
        await eventually(lambda: not alpha.kernel.client.snapshot().emergency.untold)


async def test_a_frozen_server_holds_up_neither_a_stop_nor_a_reset(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Goal: flat and reset while Redis does not answer; both count for the desk when it does."""
    async with _two(tmp_path, redis_server) as (alpha, beta):
        await alpha.enter()
        redis_server.freeze()
        trip = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="nobody answers", scope=Scope.DESK
        )
        await _flat(alpha)
        closed = min(
            event.ts_ns
            for event in alpha.heard(ev.OrderIntended)
            if event.purpose == "emergency_close"
        )
        assert closed - trip.ts_ns < 500_000_000
        assert (await _reset(alpha)).ok
        later = beta.kernel.client.trip(source=TripSource.CHORD, reason="not shown to alpha")
        await eventually(lambda: not alpha.kernel.parts.redis.is_up(), timeout_s=5)
        redis_server.thaw()
        for desk in (alpha, beta):
            await eventually(lambda desk=desk: _uncleared(desk) == {later.id}, timeout_s=15)
        # The cleared trip of the desk came with its clearing: it stopped nobody any more.
        assert [one.id for one in beta.kernel.parts.stop.trips] == [later.id]
        assert not _latched(alpha)
        assert alpha.state() is EngineState.READY
        await eventually(lambda: "trip_uncleared" in alpha.gate(), timeout_s=5)


async def test_a_trip_overtakes_a_long_replay(tmp_path: Path, redis_server: RealRedis) -> None:
    """Goal: 12,000 events are pending, the way to Redis is slow, and the stop is at once."""
    (tmp_path / "proxy").mkdir()
    proxy = ByteProxy(upstream=redis_server.socket_path, folder=tmp_path / "proxy")
    async with (
        proxy,
        _engine(tmp_path / "a", "alpha", redis_server.url) as alpha,
        _engine(tmp_path / "b", "beta", proxy.url) as beta,
    ):
        await beta.enter()
        redis_server.kill()
        await eventually(lambda: not beta.kernel.parts.redis.is_up())
        parts = beta.kernel.parts
        for number in range(12_000):
            parts.bus.emit(
                ev.EngineStateChanged(**parts.stamper(), state="running", why=f"pending {number}")
            )
            if number % 500 == 0:
                await parts.bus.room()
        trip = alpha.kernel.client.trip(
            source=TripSource.BUTTON, reason="not shown to beta", scope=Scope.DESK
        )
        # 4 kB in 4 ms: a replay of some megabytes takes seconds.
        proxy.delay_s, proxy.piece_bytes_max = 0.004, 4_096
        redis_server.restart()
        await eventually(lambda: _latched(beta), timeout_s=20)
        assert [one.id for one in parts.stop.trips] == [trip.id]
        left = parts.storage.journal.pending
        assert left > 8_000, "the replay had nearly ended: this proves nothing"
        await _flat(beta)
        proxy.heal()
        await eventually(lambda: parts.storage.journal.pending == 0, timeout_s=30)
        # Of the start, then of the recovery.
        order = [e.step for e in beta.heard(ev.RecoveryStep) if e.step in {"trips", "replay"}]
        assert order == ["trips", "replay", "trips", "replay"]


async def test_what_is_long_settled_is_forgotten_and_comes_back_only_to_clear(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Goal: the hash does not grow for ever, and an old trip that turns up again stays cleared."""
    async with _engine(tmp_path / "a", "alpha", redis_server.url) as alpha:
        emergency = alpha.kernel.parts.desk_emergency
        old_ns = alpha.clock.now_ns() - 31 * 86_400 * 1_000_000_000
        trip = Trip(
            id=TripId("x-old"), source=TripSource.BUTTON, reason="old", ts_ns=old_ns, node="alpha"
        )
        clearing = Clearing(
            id="c-old",
            trips=(trip.id,),
            author="operator",
            cause="drill",
            reason="old",
            ts_ns=old_ns,
            node="alpha",
        )
        with emergency.resetting(clearing):
            emergency.on_trip(trip)
            await emergency.clear(clearing)
        await emergency.exchange()
        assert _hash(redis_server) == {}
        # A node that was away for longer than that still has it.
        _write(redis_server, "trip:x-old", msgspec.json.encode(trip).decode())
        await eventually(lambda: "clear:c-old" in _hash(redis_server), timeout_s=5)
        assert not _latched(alpha)
        emergency._forget_ns = 0
        await eventually(lambda: _hash(redis_server) == {}, timeout_s=5)
        assert _uncleared(alpha) == set()
        assert not alpha.gate()


async def test_a_key_of_another_kind_shuts_the_gate(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Goal: an engine that cannot read the desk's trips does not trade as if there were none."""
    async with _engine(tmp_path / "a", "alpha", redis_server.url) as alpha:
        client = redis.Redis.from_url(redis_server.url)
        try:
            client.set(EMERGENCY_KEY, "not a hash")
            await eventually(lambda: alpha.gate() & {"recovering", "redis_down"}, timeout_s=6)
            client.delete(EMERGENCY_KEY)
        finally:
            client.close()
        await eventually(lambda: not alpha.gate(), timeout_s=10)


async def test_a_stop_pressed_as_its_engine_ends_reaches_the_desk(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Goal: the last word of an engine; and no word of others is obeyed by one that has ended."""
    async with _engine(tmp_path / "b", "beta", redis_server.url) as beta:
        await beta.enter()
        async with _engine(tmp_path / "a", "alpha", redis_server.url) as alpha:
            parts = alpha.kernel.parts
            # As if the loop had not come round to it.
            parts.desk_emergency._wake.set = lambda: None  # type: ignore[method-assign]
            trip = alpha.kernel.client.trip(
                source=TripSource.QUIT, reason="stop and close", scope=Scope.DESK
            )
        assert f"trip:{trip.id}" in _hash(redis_server)
        await eventually(lambda: _latched(beta), timeout_s=2)
        await _flat(beta)


async def test_a_private_server_is_no_desk(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: who is alone is told nothing of other nodes, except that a stop for them reached none.

    `redis_server` is there to skip where there is no server to start.
    """
    monkeypatch.delenv(DESK_KEY_VARIABLE)
    desk = Desk(clock=SystemClock(), folder=tmp_path)
    configuration = msgspec.structs.replace(
        desk.options.configuration, redis=RedisSection(mode="managed")
    )
    desk.options = replace(desk.options, configuration=configuration)
    await desk.open()
    try:
        await eventually(lambda: not desk.gate(), timeout_s=20)
        desk.kernel.client.trip(source=TripSource.BUTTON, reason="alone")
        await _flat(desk)
        answer = await _reset(desk)
        assert answer.ok
        assert answer.message == "reset; START is needed to trade"
        trip = desk.kernel.client.trip(
            source=TripSource.BUTTON, reason="for nobody", scope=Scope.DESK
        )
        shown = emergency_json(desk.kernel.client.snapshot().emergency)
        assert shown["untold"] == [trip.id]
        assert "only this node was stopped" in shown["desk_why"]
        await _flat(desk)
    finally:
        await desk.close()
