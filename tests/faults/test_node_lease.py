"""A node's name is a lease: a second engine is refused in words, and takes over when the first is
gone.

Real engines on one real Redis; the first is a process of its own that is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.model.redis_url import parse_redis_url
from engine.model.snapshots import EngineSnapshot
from engine.redis_link.faults import NameInUse
from engine.redis_link.lease import Lease
from engine.redis_link.session import Session
from engine.runtime import SystemClock
from tests.desk import Desk
from tests.faults.link_desk import link_desk, read_stream
from tests.real_redis import RealRedis
from tests.waiting import eventually

_ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]


def _lease(server: RealRedis) -> dict[str, Any]:
    with redis.Redis.from_url(server.url) as client:
        held: Any = client.get("seawall:desk:lease")
    lease: dict[str, Any] = json.loads(held or b"{}")
    return lease


def _heartbeat(server: RealRedis) -> dict[str, Any]:
    with redis.Redis.from_url(server.url) as client:
        said: Any = client.hget("seawall:nodes", "desk")
    heartbeat: dict[str, Any] = json.loads(said or b"{}")
    return heartbeat


@contextmanager
def _engine_process(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """`seawall run --headless` on a folder of its own."""
    folder.mkdir()
    configuration = folder / "seawall.toml"
    configuration.write_text(f'[redis]\nmode = "url"\nurl = "{url}"\n')
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "console", "run", "--headless"),
                *("--config", str(configuration), "--data-dir", str(folder / "data")),
            ],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdout=said,
            stderr=said,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def test_a_second_engine_of_the_name_is_refused_and_takes_over_when_the_first_is_killed(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    desk = Desk(clock=SystemClock(), folder=folder, redis_url=redis_server.url)

    def snapshot() -> EngineSnapshot:
        return desk.kernel.client.snapshot()

    with _engine_process(tmp_path / "first", redis_server.url) as first:
        await eventually(lambda: _heartbeat(redis_server).get("link") == "up", timeout_s=20)
        lease = _lease(redis_server)
        assert lease["fence"] == 1
        await desk.open()
        link = snapshot().redis
        assert (link.state.value, link.name_in_use) == ("down", True)
        assert "the node name 'desk' is in use by another engine" in link.cause
        assert f"{tmp_path / 'first' / 'data'}, process {first.pid}" in link.cause
        assert snapshot().gate
        assert desk.kernel.parts.redis.recovering
        await eventually(lambda: "NODE_NAME_IN_USE" in _alarms(snapshot()), timeout_s=5)
        assert link.cause in _alarms(snapshot())["NODE_NAME_IN_USE"]
        assert "REDIS_DOWN" not in _alarms(snapshot())
        before = read_stream(redis_server.url)
        assert _lease(redis_server)["session"] == lease["session"]
        first.kill()
        first.wait()
        await eventually(lambda: snapshot().redis.state.value == "up", timeout_s=15)
    assert not snapshot().redis.name_in_use
    assert snapshot().redis.fence == _lease(redis_server)["fence"] == 2
    assert str(os.getpid()) in _lease(redis_server)["session"]
    await eventually(lambda: "NODE_NAME_IN_USE" not in _alarms(snapshot()), timeout_s=5)
    await eventually(lambda: not desk.kernel.parts.redis.recovering, timeout_s=5)
    await desk.close()
    entries = read_stream(redis_server.url)
    assert entries[: len(before)] == before
    ids = [fields["id"] for _, fields in entries]
    assert len(ids) == len(set(ids))
    assert _heartbeat(redis_server)["link"] == "stopped"


def _alarms(snapshot: EngineSnapshot) -> dict[str, str]:
    return {
        alarm.code: alarm.text
        for alarm in snapshot.alarms
        if alarm.state in {"new", "acknowledged"}
    }


async def test_an_orderly_end_gives_the_name_to_the_next_at_once(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    for number, name in enumerate(("one", "two", "three"), start=1):
        folder = tmp_path / name
        folder.mkdir()
        async with link_desk(folder / "state.db", url=redis_server.url) as desk:
            await eventually(desk.link.is_up)
            assert _lease(redis_server)["fence"] == desk.link.snapshot().fence == number


async def test_the_same_data_directory_takes_its_name_back_at_once(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """After a crash: the operating system's lock says that the one before is gone."""
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        session, desk.link._held = desk.link._held, None
        await desk.link._tasks.cancel_all()
        assert session is not None
        await session.close()  # Gone without a word.
        async with link_desk(tmp_path / "again.db", url=redis_server.url) as again:
            await eventually(again.link.is_up)
            assert again.link.snapshot().fence == 2


def _session(server: RealRedis, lease: Lease) -> Session:
    return Session(address=parse_redis_url(server.url), ca_file="", node="desk", lease=lease)


async def test_who_slept_through_the_loss_of_the_lease_writes_nothing(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    one = Lease(node="desk", owner="one", number="1")
    two = Lease(node="desk", owner="two", number="2")
    asleep = _session(redis_server, one)
    awake = _session(redis_server, two)
    await asleep.open()
    with pytest.raises(NameInUse, match="in use by another engine \\(one, process"):
        await awake.open()
    await asyncio.sleep(3.1)  # The length of the lease is what is tested.
    await awake.open()
    assert (one.fence, two.fence) == (1, 2)
    with pytest.raises(NameInUse, match=r"\(two, process"):
        await asleep.stream.last_id()
    with pytest.raises(NameInUse):
        await asleep.beat("{}")
    assert not _heartbeat(redis_server)
    await asleep.close()
    await awake.close()


async def test_a_flushed_server_forgets_the_lease_and_the_number_still_goes_up(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await desk.write(50)
        redis_server.flush()
        await eventually(lambda: _lease(redis_server).get("fence") == 2)
        await eventually(desk.is_caught_up)
        desk.assert_mirrored(read_stream(redis_server.url))
        heartbeat = _heartbeat(redis_server)
        assert (heartbeat["node"], heartbeat["pending"]) == ("desk", 0)


@pytest.mark.parametrize("nonsense", ["", "{", "[]", '{"owner":7,"until_ms":"soon"}'])
async def test_nonsense_in_the_key_is_no_lease(
    tmp_path: Path, redis_server: RealRedis, nonsense: str
) -> None:
    redis_server.command("SET", "seawall:desk:lease", nonsense)
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await eventually(desk.link.is_up)
        assert _lease(redis_server)["fence"] == 1
