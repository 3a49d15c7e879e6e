"""Commands over a real Redis to a real engine: carried out once, or refused with words."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from engine.model.events import EmergencyTriggered
from engine.model.snapshots import EngineState
from tests.bus_sender import BusSender
from tests.faults.command_desk import CommandDesk, command_desk
from tests.real_redis import RealRedis
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|group of the commands|Redis stream|cannot be read"),
]


async def test_a_signed_signal_becomes_a_position(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        sent = desk.sender.signal()
        await desk.until(lambda: desk.protected(), timeout_s=10)
        await desk.settled()
        [(trace, _)] = desk.events_of("signal.received")
        assert trace == sent["id"]
        [(trace, payload)] = desk.events_of("signal.executed")
        assert (trace, json.loads(payload)["signal_id"]) == (sent["id"], sent["id"])
        assert desk.commands().accepted == 1
        assert desk.sender.dead() == []
        await desk.assert_sound()


async def test_halt_unsigned_and_resume_signed(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        desk.sender.send("trading.halt", {"reason": "lunch", "origin": "rota"}, signed=False)
        await desk.until(lambda: desk.state() is EngineState.HALTED)
        assert desk.kernel.parts.mode.halted_why == "lunch (bus:rota)"
        unsigned = desk.sender.send("trading.resume", {"reason": "back"}, signed=False)
        assert "must be signed" in await desk.refusal_of(unsigned)
        assert desk.state() is EngineState.HALTED
        desk.sender.send("trading.resume", {"reason": "back", "origin": "rota"})
        await desk.until(lambda: desk.state() is EngineState.RUNNING)
        await desk.settled()
        told = desk.rows("SELECT who, what, why, origin FROM audit WHERE origin = 'redis'")
        assert [(who, why) for who, _, why, _ in told] == [
            ("bus:rota", "lunch"),
            ("bus:rota", "back"),
        ]
        assert [json.loads(body)["result"] for _, body in desk.events_of("command.accepted")] == [
            "entries are held",
            "entries are allowed again",
        ]


async def test_an_unsigned_trip_flattens(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        await desk.enter()
        sent = desk.sender.send("emergency.trip", {"reason": "smoke"}, signed=False)
        await desk.until(lambda: desk.kernel.parts.stop.is_latched())
        await desk.until(lambda: desk.venue_positions() == {})
        await desk.settled()
        [trip] = desk.kernel.parts.stop.trips
        assert (trip.source, trip.reason) == ("bus", "smoke (bus:unsigned)")
        [(identifier,)] = desk.rows("SELECT command_id FROM commands")
        assert identifier == sent["id"]
        refused = desk.sender.send("trading.resume", {"reason": "now"})
        assert "latched" in await desk.refusal_of(refused)
        assert desk.kernel.parts.stop.is_latched()


async def test_policy_by_command_goes_through_the_operators_checks(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        policy = desk.kernel.parts.policy
        base = policy.version
        fields = {"max_open_positions": 3, "price_collar": 0.015}
        desk.sender.send("policy.update", {"base_version": base, "fields": fields})
        await desk.until(lambda: policy.version == base + 1)
        assert (policy.active().max_open_positions, str(policy.active().price_collar)) == (
            3,
            "0.015",
        )
        late = desk.sender.send("policy.update", {"base_version": base, "fields": fields})
        assert f"at version {base + 1}" in await desk.refusal_of(late)
        wrong = desk.sender.send(
            "policy.update", {"base_version": base + 1, "fields": {"max_leverage": 900, "wings": 2}}
        )
        assert "no such field" in await desk.refusal_of(wrong)
        desk.sender.send("policy.mode", {"name": "defensive", "origin": "risk"})
        await desk.until(lambda: policy.get_policy().profile == "defensive")
        assert policy.get_policy().author == "bus:risk"
        same = desk.sender.send("policy.mode", {"name": "defensive"})
        unknown = desk.sender.send("policy.mode", {"name": "reckless"})
        assert "must be one of" in await desk.refusal_of(unknown)
        await desk.settled()
        assert policy.version == base + 2
        assert (same["id"],) in desk.rows("SELECT command_id FROM commands")


async def test_what_this_version_cannot_do_is_refused_in_words(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        for kind, payload in (
            ("model.promote", {"name": "a", "version": "1"}),
            ("strategy.switch", {"to": "conservative"}),
        ):
            refused = desk.sender.send(kind, payload)
            assert await desk.refusal_of(refused) == f"{kind} is not supported by this version"
        assert desk.rows("SELECT * FROM commands") == []


async def test_wrong_key_stale_future_and_replayed_are_refused_with_an_alarm(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        stranger = BusSender(redis_server.url, key="another-key-of-thirty-two-bytes!")
        forged = stranger.signal()
        assert "signature is not this desk's" in await desk.refusal_of(forged)
        await desk.until(lambda: "COMMAND_REFUSED" in alarms(desk))
        assert forged["id"] in alarms(desk)["COMMAND_REFUSED"]
        assert "30 s are allowed" in await desk.refusal_of(desk.sender.signal(age_s=31))
        assert "clock" in await desk.refusal_of(desk.sender.signal(age_s=-6))
        good = desk.sender.signal()
        await desk.until(lambda: desk.commands().accepted == 1)
        captured = {name: good[name] for name in good if name != "entry"}
        desk.sender.put(captured)
        assert "id was used before" in await desk.refusal_of(good)
        second = desk.sender.signal(nonce=good["nonce"])
        assert "nonce was used before" in await desk.refusal_of(second)
        assert len(desk.events_of("signal.received")) == 1
        await eventually(lambda: len(desk.events_of("command.refused")) == 5)
        stranger.close()


async def test_without_a_desk_key_what_needs_one_is_refused_in_words(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch, key="") as desk:
        assert "this node has none" in await desk.refusal_of(desk.sender.signal())
        assert "none in SEAWALL_DESK_KEY" in desk.commands().desk_key
        desk.sender.send("emergency.trip", {"reason": "smoke"}, signed=False)
        await desk.until(lambda: desk.kernel.parts.stop.is_latched())


async def test_strange_but_signed_commands_break_nothing(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        used = desk.sender.signal(symbol="NOSUCHCOIN")
        for fields in ({"max_leverage": None}, {"wings": {"a": [1]}}, {"profile": 5}, {"": ""}):
            payload = {"base_version": desk.kernel.parts.policy.version, "fields": fields}
            assert await desk.refusal_of(desk.sender.send("policy.update", payload))
        old = {"base_version": 2**31 - 1, "fields": {"max_leverage": 1}}
        assert "based on" in await desk.refusal_of(desk.sender.send("policy.update", old))
        desk.sender.send("trading.halt", {"reason": "with a used nonce"}, nonce=used["nonce"])
        await desk.settled()
        assert [trace for trace, _ in desk.events_of("signal.blocked")] == [used["id"]]
        assert desk.kernel.faults == []
        await desk.restart()
        assert desk.state() is EngineState.HALTED, "the halt was not written down"


async def test_a_resume_does_not_lift_a_halt_that_was_sent_after_it(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: order, although halts are obeyed ahead. Method: all in the stream before the start."""
    async with command_desk(tmp_path, redis_server.url, monkeypatch, start=False) as desk:
        first = desk.sender.send("trading.halt", {"reason": "one"}, signed=False)
        resumed = desk.sender.send("trading.resume", {"reason": "go"})
        last = desk.sender.send("trading.halt", {"reason": "two"}, signed=False)
        await desk.open()
        assert "a halt that was sent after it stands" in await desk.refusal_of(resumed)
        await desk.settled()
        assert desk.state() is EngineState.HALTED
        done = {row[0] for row in desk.rows("SELECT command_id FROM commands")}
        assert done == {first["id"], last["id"]}


async def test_the_group_is_made_again_after_flushall_and_after_its_removal(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        desk.sender.send("policy.mode", {"name": "moderate"})
        await desk.until(lambda: desk.commands().accepted == 1)
        desk.sender.redis.xgroup_destroy(desk.sender.stream, "engine")
        desk.sender.send("policy.mode", {"name": "defensive"})
        await desk.until(lambda: desk.commands().accepted == 2)
        assert desk.commands().repeated == 1, "what was done was seen again and not done again"
        redis_server.flush()
        desk.sender.send("policy.mode", {"name": "conservative"})
        await desk.until(lambda: desk.commands().accepted == 3)
        assert desk.kernel.parts.policy.get_policy().profile == "conservative"
        redis_server.flush()
        desk.sender.send("emergency.trip", {"reason": "after the flood"}, signed=False)
        await desk.until(lambda: desk.kernel.parts.stop.is_latched())


async def test_what_another_consumer_left_is_taken_over(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch, start=False) as desk:
        server = desk.sender.redis
        server.xgroup_create(desk.sender.stream, "engine", "0", mkstream=True)
        desk.sender.send("policy.mode", {"name": "defensive"})
        gone = desk.sender.send("policy.mode", {"name": "moderate"})
        trip = desk.sender.send("emergency.trip", {}, signed=False)
        assert len(server.xreadgroup("engine", "somebody", {desk.sender.stream: ">"})[0][1]) == 3
        server.xdel(desk.sender.stream, gone["entry"])
        await desk.open()
        await desk.settled()
        assert desk.kernel.parts.policy.get_policy().profile == "defensive"
        assert desk.kernel.parts.stop.is_latched()
        assert (trip["id"],) in desk.rows("SELECT command_id FROM commands")


async def test_a_stream_of_another_kind_is_said_in_words_and_the_link_goes_on(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        desk.sender.redis.set(desk.sender.stream, "not a stream")
        await desk.until(lambda: "another kind" in desk.commands().fault)
        await desk.until(lambda: "COMMANDS_UNREADABLE" in alarms(desk))
        assert desk.kernel.parts.redis.is_up()
        desk.sender.redis.delete(desk.sender.stream)
        desk.sender.send("trading.halt", {}, signed=False)
        await desk.until(lambda: desk.state() is EngineState.HALTED)
        await desk.until(lambda: desk.commands().fault == "")


async def test_a_frozen_server_costs_no_command(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        redis_server.freeze()
        await desk.until(lambda: not desk.kernel.parts.redis.is_up())
        redis_server.thaw()
        sent = desk.sender.signal()
        await desk.until(lambda: desk.commands().accepted == 1)
        assert [trace for trace, _ in desk.events_of("signal.received")] == [sent["id"]]


def alarms(desk: CommandDesk) -> dict[str, str]:
    return {alarm.code: alarm.text for alarm in desk.kernel.parts.alarms.snapshot()}


def flood(desk: CommandDesk, count: int) -> None:
    """So many signals at once, on the caller's thread."""
    payload = {"symbol": "ETHUSDT", "side": "buy", "confidence": 0.5, "strategy": "flood"}
    pipe = desk.sender.redis.pipeline(transaction=False)
    for _ in range(count):
        pipe.xadd(desk.sender.stream, desk.sender.fields("signal.submit", payload))
    pipe.execute()


async def test_ten_thousand_signals_flow_through_the_queues_own_rules(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        await asyncio.to_thread(flood, desk, 5_000)
        trip = desk.sender.send("emergency.trip", {"reason": "behind the flood"}, signed=False)
        await asyncio.to_thread(flood, desk, 5_000)
        await desk.until(lambda: desk.kernel.parts.stop.is_latched(), timeout_s=2)
        await eventually(lambda: desk.commands().accepted == 10_001, timeout_s=40)
        await desk.settled()
        counts = desk.kernel.parts.execution.signals.counts()
        assert counts.received == 10_000
        assert counts.pending <= 100
        assert desk.sender.why_dead(trip["id"]) == ""
        [(done,)] = desk.rows("SELECT count(*) FROM commands")
        assert done == 10_001


async def test_a_trip_behind_thousands_is_obeyed_before_the_first_of_them(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch, start=False) as desk:
        await asyncio.to_thread(flood, desk, 4_000)
        desk.sender.send("emergency.trip", {"reason": "last in line"}, signed=False)
        await desk.build()
        done_at_trip: list[int] = []
        desk.kernel.parts.bus.subscribe(
            lambda _: done_at_trip.append(desk.commands().accepted),
            types=(EmergencyTriggered,),
            name="test",
        )
        await desk.kernel.start()
        assert desk.state() is EngineState.LATCHED
        assert done_at_trip[0] <= 1, "signals were carried out before the trip"
        await desk.settled()
        assert desk.entries_at_venue() == 0


@pytest.mark.allow_log("")
async def test_a_disk_that_refuses_postpones_and_a_stop_is_in_force_all_the_same(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: SQLite's own authorizer denies every transaction until the disk is well again."""
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        is_sick = True

        def judge(action: int, first: str | None, *_: str | None) -> int:
            begins = action == sqlite3.SQLITE_TRANSACTION and first == "BEGIN"
            return sqlite3.SQLITE_DENY if begins and is_sick else sqlite3.SQLITE_OK

        await desk.kernel.parts.storage.writer.submit(lambda c: c.set_authorizer(judge))
        sent = [
            desk.sender.send("policy.mode", {"name": "defensive"}),
            desk.sender.signal(),
            desk.sender.send("trading.halt", {"reason": "sick"}, signed=False),
        ]
        await desk.until(lambda: desk.kernel.parts.mode.halted_why == "sick (bus:unsigned)")
        await desk.until(lambda: desk.commands().waiting)
        assert not desk.sender.is_worked_off()
        assert desk.kernel.parts.policy.get_policy().profile != "defensive"
        is_sick = False
        await desk.settled()
        assert desk.kernel.parts.policy.get_policy().profile == "defensive"
        assert desk.state() is EngineState.HALTED
        done = {row[0] for row in desk.rows("SELECT command_id FROM commands")}
        assert done == {fields["id"] for fields in sent}
        assert desk.sender.dead() == []
        assert desk.commands().accepted == 3
        await desk.restart()
        assert desk.state() is EngineState.HALTED
