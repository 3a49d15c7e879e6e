"""A journal older than the stream: a disk lied when the power went, or a backup was restored.

Goal: what the former life wrote stays as it is; the new one goes on in an epoch above both; nothing
that both hold is there twice, nothing new is left out; and a person is told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.model.snapshots import AlarmSnapshot
from engine.runtime import SystemClock
from tests.desk import Desk
from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis
from tests.waiting import eventually

_KEY = "seawall:desk:events"
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]


def _copy(state: Path, to: Path) -> Path:
    """The database as it is now, as a backup would hold it."""
    with closing(sqlite3.connect(state)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
    return to


def _epoch(identifier: str) -> int:
    return int(identifier.split("-")[0])


async def _lives_again(
    copy: Path, server: RealRedis, *, written_before_it_connects: int
) -> tuple[LinkDesk, str]:
    """Another life on the older database; what it told of the stream."""
    async with link_desk(copy, url=server.url, start=False) as desk:
        await desk.write(written_before_it_connects)
        await desk.link.start()
        await desk.write(50)
        await eventually(desk.is_caught_up, timeout_s=20)
        return desk, desk.foreign()


def _assert_goes_on(
    former: list[tuple[str, dict[str, str]]],
    now: list[tuple[str, dict[str, str]]],
    desk: LinkDesk,
) -> None:
    assert now[: len(former)] == former, "what had been written was touched"
    ids = [fields["id"] for _, fields in now if "id" in fields]
    assert len(ids) == len(set(ids)), "an event is there twice"
    added = now[len(former) :]
    assert [fields["id"] for _, fields in added] == desk.ledger.ids
    assert {_epoch(identifier) for identifier, _ in added} == {desk.journal.epoch}
    assert desk.journal.epoch > max(_epoch(identifier) for identifier, _ in former)


@pytest.mark.parametrize(
    "written_before", [0, 60, 3_000], ids=["at once", "fewer than before", "more than before"]
)
async def test_older_by_some_hundred_events(
    tmp_path: Path, redis_server: RealRedis, written_before: int
) -> None:
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await desk.write(300)
        await eventually(desk.is_caught_up)
        copy = _copy(desk.path, tmp_path / "copy.db")
        await desk.write(2_500)
        await eventually(desk.is_caught_up)
    former = read_stream(redis_server.url)
    again, told = await _lives_again(copy, redis_server, written_before_it_connects=written_before)
    assert told == f"the stream ends at {former[-1][0]}, which this node did not write"
    _assert_goes_on(former, read_stream(redis_server.url), again)


async def test_older_and_with_events_that_have_arrived_since(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """What was pending in the copy is in the stream by now, and must not come a second time."""
    async with link_desk(tmp_path / "state.db", url=redis_server.url, start=False) as desk:
        await desk.write(450)
        copy = _copy(desk.path, tmp_path / "copy.db")
        await desk.link.start()
        await desk.write(2_500)
        await eventually(desk.is_caught_up)
    former = read_stream(redis_server.url)
    again, told = await _lives_again(copy, redis_server, written_before_it_connects=3_000)
    assert told
    _assert_goes_on(former, read_stream(redis_server.url), again)


@pytest.mark.parametrize("written_since", [0, 40])
async def test_older_than_the_epoch_in_which_its_events_arrived(
    tmp_path: Path, redis_server: RealRedis, written_since: int
) -> None:
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await desk.write(100)
        await eventually(desk.is_caught_up)
        await desk.link.close()
        await desk.write(100)
        copy = _copy(desk.path, tmp_path / "copy.db")
    redis_server.command("XADD", _KEY, "7-1", "who", "somebody else")
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await eventually(desk.is_caught_up)
        assert desk.journal.epoch == 8
        await desk.write(written_since)
        await eventually(desk.is_caught_up)
    former = read_stream(redis_server.url)
    again, told = await _lives_again(copy, redis_server, written_before_it_connects=0)
    assert told
    _assert_goes_on(former, read_stream(redis_server.url), again)


async def test_a_crash_behind_a_foreign_write_repeats_nothing(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """The cursor is behind the stream, and what is between was written in two epochs."""
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await desk.write(200)
        await eventually(desk.is_caught_up)
        redis_server.command("XADD", _KEY, "7-1", "who", "somebody else")
        await eventually(desk.foreign)
        await desk.write(100)
        await eventually(desk.is_caught_up)
        ids = list(desk.ledger.ids)
        await desk.link.close()
        await desk.journal.rewind(150)
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await eventually(desk.is_caught_up)
        await desk.write(10)
        await eventually(desk.is_caught_up)
        assert not desk.foreign(), "it was all ours"
        desk.assert_mirrored(read_stream(redis_server.url), ids=ids + desk.ledger.ids)


async def test_a_person_is_told_and_the_desk_goes_on(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """A whole engine: the alarm sounds with its action, and entries wait only for the recovery."""
    desk = Desk(clock=SystemClock(), folder=tmp_path, redis_url=redis_server.url)
    await desk.open()
    await eventually(lambda: not desk.gate())
    epoch = desk.kernel.parts.storage.journal.epoch
    redis_server.command("XADD", _KEY, f"{epoch + 4}-7", "who", "somebody else")
    alarms = _alarms(desk)
    await eventually(lambda: "STREAM_NOT_OURS" in alarms(), timeout_s=5)
    alarm = alarms()["STREAM_NOT_OURS"]
    assert (alarm.priority, alarm.state) == (1, "new")
    assert f"the stream ends at {epoch + 4}-7, which this node did not write" in alarm.text
    assert "Find out who else runs under this name" in alarm.action
    await eventually(lambda: not desk.gate(), timeout_s=5)
    assert desk.kernel.parts.storage.journal.epoch == epoch + 5
    desk.kernel.parts.alarms.acknowledge(alarm.id)
    assert alarms()["STREAM_NOT_OURS"].state == "acknowledged"
    desk.kernel.parts.redis._foreign_ns -= 60_000_000_000  # A minute later.
    await eventually(lambda: "STREAM_NOT_OURS" not in alarms(), timeout_s=5)
    await desk.assert_sound()
    await desk.close()


def _alarms(desk: Desk) -> Callable[[], dict[str, AlarmSnapshot]]:
    return lambda: {alarm.code: alarm for alarm in desk.kernel.client.snapshot().alarms}
