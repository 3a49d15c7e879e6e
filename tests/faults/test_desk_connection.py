"""What the desk shares is heard of at once and never held up by a replay."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from engine.redis_link import CHANGES_KEY, LinkFault
from tests.faults.link_desk import link_desk
from tests.real_redis import RealRedis
from tests.waiting import eventually


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def _say(server: RealRedis, *topics: str) -> None:
    client = redis.Redis.from_url(server.url)
    try:
        for topic in topics:
            client.xadd(CHANGES_KEY, {"topic": topic, "node": "other"})
    finally:
        client.close()


async def test_a_change_reaches_its_listener_and_no_other(
    database: Path, redis_server: RealRedis
) -> None:
    _say(redis_server, "policy")  # Before our time: what is there is found by the recovery.
    async with link_desk(database, url=redis_server.url) as desk:
        heard: list[str] = []
        desk.link.hear("policy", lambda: heard.append("policy"))
        desk.link.hear("emergency", lambda: heard.append("emergency"))
        _say(redis_server, "emergency", "something else")
        await eventually(lambda: heard == ["emergency"])
        _say(redis_server, "policy")
        await eventually(lambda: heard == ["emergency", "policy"])


@pytest.mark.allow_log("Redis is away|Redis stream:")
async def test_changes_are_heard_again_after_the_server_lost_everything(
    database: Path, redis_server: RealRedis
) -> None:
    async with link_desk(database, url=redis_server.url) as desk:
        heard: list[str] = []
        desk.link.hear("policy", lambda: heard.append("policy"))
        _say(redis_server, "policy")
        await eventually(lambda: heard == ["policy"])
        redis_server.restart()
        await eventually(desk.outage_is_over, timeout_s=10)
        _say(redis_server, "policy")
        await eventually(lambda: heard == ["policy", "policy"])


@pytest.mark.allow_log("Redis is away")
async def test_without_redis_the_connection_says_so_at_once(
    database: Path, redis_server: RealRedis
) -> None:
    async with link_desk(database, url=redis_server.url) as desk:
        assert await desk.link.desk("SET", "seawall:test", "1") is True
        redis_server.kill()
        await eventually(lambda: not desk.link.is_up())
        await eventually(lambda: not desk.link.desk.is_there)
        with pytest.raises(LinkFault, match="Redis is away"):
            await desk.link.desk("GET", "seawall:test")
