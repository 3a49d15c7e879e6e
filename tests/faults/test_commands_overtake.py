"""A stop overtakes a replay: 10,000 events wait for Redis behind a slow wire, the trip does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.events import RecoveryStep, SignalReceived
from engine.model.ids import SignalId
from engine.model.snapshots import LinkState
from engine.model.values import Side
from tests.desk import BTC
from tests.faults.byte_proxy import ByteProxy
from tests.faults.command_desk import CommandDesk, command_desk
from tests.real_redis import RealRedis

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.allow_log("Redis is away|Redis stream|frozen|after Redis came back|reached no"),
]
_BACKLOG = 10_000


async def fill_the_buffer(desk: CommandDesk) -> None:
    """Durable events that Redis lacks."""
    parts = desk.kernel.parts
    for number in range(_BACKLOG):
        parts.bus.emit(
            SignalReceived(
                **parts.stamper(),
                signal_id=SignalId(f"backlog-{number}"),
                symbol=BTC,
                side=Side.BUY,
                confidence=0.5,
                strategy="backlog",
            )
        )
        if number % 500 == 0:
            await parts.bus.room()
    await parts.storage.writer.submit(lambda _: None)


async def test_a_trip_is_obeyed_while_ten_thousand_events_are_being_replayed(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        ByteProxy(upstream=redis_server.socket_path, folder=redis_server.folder) as wire,
        command_desk(tmp_path, wire.url, monkeypatch) as desk,
    ):
        await desk.enter()
        wire.go_dark()
        await desk.until(lambda: not desk.kernel.parts.redis.is_up())
        await fill_the_buffer(desk)
        before = len(desk.heard(RecoveryStep))
        wire.heal()
        wire.delay_s, wire.piece_bytes_max = 0.004, 2_048
        redis = desk.kernel.parts.redis
        await desk.until(lambda: redis.snapshot().state is LinkState.REPLAYING, timeout_s=15)
        sender = type(desk.sender)(redis_server.url)
        changed = sender.send("policy.mode", {"name": "defensive"})
        sender.send("emergency.trip", {"reason": "during the replay"}, signed=False)
        took_s = await desk.until(lambda: desk.kernel.parts.stop.is_latched())
        assert redis.snapshot().state is LinkState.REPLAYING, "the replay was over too soon"
        assert redis.snapshot().replay_remaining > _BACKLOG // 4
        assert took_s < 2.0
        assert desk.commands().waiting == "the recovery of the link"
        assert desk.kernel.parts.policy.get_policy().profile != "defensive"
        await desk.until(lambda: desk.venue_positions() == {})
        wire.heal()
        await desk.until(lambda: not redis.recovering, timeout_s=60)
        await desk.until(lambda: desk.commands().accepted == 2, timeout_s=15)
        assert desk.kernel.parts.policy.get_policy().profile == "defensive"
        assert sender.why_dead(changed["id"]) == ""
        steps = [step.step for step in desk.heard(RecoveryStep)[before:]]
        assert steps[0] == "pending_stops"
        sender.close()
