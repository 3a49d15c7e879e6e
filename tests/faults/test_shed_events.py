"""What reaches a real Redis after the journal had to give events up: all but those, once, in order.

The list of what was given up is the difference between what the journal was handed (noted outside
the engine) and what is on the disk, and must equal what the journal says of it.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model.events import EVENT_TYPES, AccountEquityUpdated, Event, OrderIntended
from engine.model.ids import ClientOrderId, Symbol
from engine.model.values import ZERO, Side
from tests.faults.byte_proxy import ByteProxy
from tests.faults.link_desk import LinkDesk, StreamEntry, link_desk, read_stream
from tests.real_redis import RealRedis
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]
_CAP = 150_000


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="sw-") as folder:
        yield Path(folder)


def _order(desk: LinkDesk) -> Event:
    return OrderIntended(
        **desk.stamp(),
        client_order_id=ClientOrderId("desk-g1-1"),
        symbol=Symbol("BTCUSDT"),
        side=Side.BUY,
        quantity=ZERO,
    )


def _equity(desk: LinkDesk) -> Event:
    return AccountEquityUpdated(
        **desk.stamp(), equity=ZERO, balance=ZERO, unrealised=ZERO, peak=ZERO, drawdown=ZERO
    )


async def _write(desk: LinkDesk, rounds: int) -> None:
    """Money, notes and telemetry, one after the other."""
    for _ in range(rounds):
        for event in (_order(desk), desk.event(), _equity(desk)):
            desk.bus.emit(event, durable=True)
        await desk.bus.room()
    await desk.committed()


async def _shed(desk: LinkDesk) -> None:
    """Give up what must go now, as retention does; its events are in the journal by themselves."""
    for _ in range(2):
        await desk.journal.shed(desk.stamp)


@pytest.fixture
def age_shed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing needs to have waited: real time does not pass in a test."""
    monkeypatch.setattr("engine.journal._shedding.JOURNAL_SHED_AFTER_S", 0.0)


def _gone(desk: LinkDesk) -> list[str]:
    """Ids that were handed to the journal and are not on the disk, in order."""
    there = set(desk.journal_ids())
    return [identifier for identifier in desk.ledger.ids if identifier not in there]


def _told(entries: list[StreamEntry]) -> Counter[str]:
    """What the stream itself says is missing in it."""
    told: Counter[str] = Counter()
    for _, fields in entries:
        if fields["type"] == "journal.shed":
            told.update(json.loads(fields["payload"])["types"])
    return told


async def _assert_all_but_the_gone(desk: LinkDesk, server: RealRedis, gone: list[str]) -> None:
    await eventually(desk.is_caught_up, timeout_s=15)
    entries = read_stream(server.url)
    assert [fields["id"] for _, fields in entries] == desk.journal_ids()
    missing = set(gone)
    of_ours = [fields["id"] for _, fields in entries if fields["type"] != "journal.shed"]
    assert of_ours == [one for one in desk.ledger.ids if one not in missing]
    assert len(of_ours) == len(set(of_ours)), "an event is there twice"
    assert not desk.faults
    assert desk.journal.epoch == 1  # Nobody was taken for somebody else.
    assert _told(entries) == Counter(desk.journal.snapshot().shed_types)
    assert desk.journal.snapshot().shed == len(gone)


async def test_what_was_given_up_is_all_that_is_missing(
    tmp_path: Path, redis_server: RealRedis, age_shed: None
) -> None:
    async with link_desk(tmp_path / "state.db", url=redis_server.url, bytes_max=_CAP) as desk:
        await _write(desk, 30)
        await eventually(desk.is_caught_up)
        redis_server.kill()
        await eventually(lambda: not desk.link.is_up())
        for _ in range(6):
            await _write(desk, 100)
            await _shed(desk)
        gone = _gone(desk)
        types = desk.journal.snapshot().shed_types
        assert types["account.equity.updated"] > 500
        assert types["signal.received"] > 100
        assert {EVENT_TYPES[name].CLASS for name in types} == {1, 2}
        assert desk.journal.snapshot().bytes > _CAP  # The orders stay, whatever the cap.
        redis_server.start()
        await _write(desk, 20)
        await _assert_all_but_the_gone(desk, redis_server, gone)


async def test_a_batch_that_arrived_without_an_answer_is_not_given_up(
    tmp_path: Path, socket_folder: Path, redis_server: RealRedis, age_shed: None
) -> None:
    """Goal: the comparison after the outage meets no hole in what had been sent.

    Method: answers are lost while batches arrive, then events are given up, then all is well.
    """
    async with (
        ByteProxy(upstream=redis_server.socket_path, folder=socket_folder) as proxy,
        link_desk(tmp_path / "state.db", url=proxy.url, bytes_max=_CAP) as desk,
    ):
        for _ in range(4):
            in_stream = len(read_stream(redis_server.url))
            proxy.go_mute()
            await _write(desk, 20)
            await eventually(lambda n=in_stream: len(read_stream(redis_server.url)) > n)
            position = desk.link.snapshot().replayed
            assert position < len(read_stream(redis_server.url)), "no batch is without its answer"
            proxy.cut()
            await _write(desk, 150)
            await _shed(desk)
            proxy.heal()
            await eventually(desk.is_caught_up, timeout_s=15)
        await _assert_all_but_the_gone(desk, redis_server, _gone(desk))
        assert desk.journal.snapshot().shed > 100


async def test_after_a_restart_in_the_outage_it_is_still_exactly_once(
    tmp_path: Path, redis_server: RealRedis, age_shed: None
) -> None:
    path = tmp_path / "state.db"
    async with link_desk(path, url=redis_server.url, bytes_max=_CAP) as desk:
        await _write(desk, 30)
        await eventually(desk.is_caught_up)
        redis_server.kill()
        await eventually(lambda: not desk.link.is_up())
        await _write(desk, 400)
        await _shed(desk)
        handed = desk.ledger.ids
    async with link_desk(path, url=redis_server.url, bytes_max=_CAP, start=False) as desk:
        desk.ledger.ids[:] = handed
        await _write(desk, 100)
        before = desk.journal.snapshot().shed
        await _shed(desk)
        assert desk.journal.snapshot().shed > before
        gone = _gone(desk)
        redis_server.start()
        await desk.link.start()
        await _assert_all_but_the_gone(desk, redis_server, gone)
