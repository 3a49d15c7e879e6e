"""The ledger of commands: written with the effect or not at all, found again, forgotten in time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from engine.database import DatabaseReader, DatabaseWriter, load_migrations
from engine.journal import Journal
from engine.model.commands import (
    BusCommand,
    CommandNote,
    CommandRecord,
    CommandType,
    Hold,
    PolicyMode,
)
from engine.model.emergency import Trip, TripSource
from engine.model.errors import CommandKnown
from engine.model.events import CommandAccepted
from engine.model.ids import EventId, TraceId, TripId
from engine.model.records import AuditWords
from engine.runtime.simulation import SimClock
from engine.trade_state import TradeStore

HOUR_NS = 3_600 * 1_000_000_000


@dataclass
class Desk:
    writer: DatabaseWriter
    reader: DatabaseReader
    store: TradeStore

    async def count(self, table: str) -> int:
        return int((await self.reader.fetch_all(f"SELECT count(*) FROM {table}"))[0][0])


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    path = tmp_path / "state.db"
    writer = DatabaseWriter(
        path=path, migrations=load_migrations(files("resources") / "migrations")
    )
    reader = DatabaseReader(path=path)
    journal = Journal(writer=writer, reader=reader, clock=SimClock(start_ns=1))
    await writer.open()
    await reader.open()
    await journal.open(standalone=False)
    yield Desk(
        writer, reader, TradeStore(writer=writer, reader=reader, journal=journal, node="desk")
    )
    await reader.close()
    await writer.close()


def note(
    identifier: str,
    *,
    kind: CommandType = CommandType.TRADING_RESUME,
    nonce: str | None = "",
    received_ns: int = 5,
    entry: str = "1-0",
) -> CommandNote:
    """`nonce` empty: one of its own."""
    return CommandNote(
        record=CommandRecord(
            type=kind,
            id=identifier,
            stream_id=entry,
            nonce=f"n-{identifier}" if nonce == "" else nonce,
            received_ns=received_ns,
        ),
        event=CommandAccepted(
            id=EventId(f"e-{identifier}-{kind}-{entry}"),
            ts_ns=1,
            source="test",
            trace=TraceId(identifier),
            command_id=identifier,
            command_type=kind.value,
            stream_id=entry,
            origin="test",
            signed=True,
            result="done",
        ),
    )


def command(
    identifier: str, *, kind: CommandType = CommandType.TRADING_RESUME, nonce: str | None = None
) -> BusCommand:
    payload = PolicyMode(name="a") if kind is CommandType.POLICY_MODE else Hold()
    return BusCommand(type=kind, id=identifier, stream_id="9-0", payload=payload, nonce=nonce)


WORDS = AuditWords(ts_ns=1, who="bus:test", what="resume", why="", where="redis")


async def test_effect_record_event_and_audit_are_one(desk: Desk) -> None:
    await desk.store.record_standing("halted", "why", audited=WORDS, command=note("a"))
    assert [await desk.count(table) for table in ("commands", "standing", "outbox", "audit")] == [
        *(1, 1, 1, 1)
    ]
    [known] = await desk.store.commands.known([command("a")])
    assert known == note("a").record


@pytest.mark.parametrize(
    "again",
    [note("a", entry="2-0"), note("b", nonce="n-a", entry="2-0")],
    ids=["the same id", "the same nonce"],
)
async def test_a_second_one_changes_nothing_at_all(desk: Desk, again: CommandNote) -> None:
    await desk.store.record_standing("halted", None, command=note("a"))
    with pytest.raises(CommandKnown, match="was carried out before"):
        await desk.store.record_standing("halted", "again", audited=WORDS, command=again)
    assert [await desk.count(table) for table in ("commands", "standing", "outbox", "audit")] == [
        *(1, 0, 1, 0)
    ]


async def test_neighbours_in_a_commit_are_not_touched_by_one_that_is_known(desk: Desk) -> None:
    futures = [desk.store.record_command(note(one)) for one in ("a", "b")]
    futures.append(desk.store.record_command(note("a", entry="2-0")))
    futures.append(desk.store.record_command(note("c")))
    for number, future in enumerate(futures):
        if number == 2:
            with pytest.raises(CommandKnown):
                await future
        else:
            await future
    assert await desk.count("commands") == 3


async def test_a_trip_that_is_known_still_records_its_command(desk: Desk) -> None:
    trip = Trip(id=TripId("x-1"), source=TripSource.BUS, reason="r", ts_ns=1)
    assert await desk.store.record_trip(trip)
    kind = CommandType.EMERGENCY_TRIP
    await desk.store.record_trip_of_command(trip, note("t", kind=kind, nonce=None), audited=WORDS)
    assert await desk.count("trips") == 1
    assert [found.id for found in await desk.store.commands.stops_done(limit=10)] == ["t"]


async def test_the_same_id_of_another_type_is_another_command(desk: Desk) -> None:
    """Nobody can use up somebody's id with a halt that needs no signature."""
    halt = note("a", kind=CommandType.TRADING_HALT, nonce=None)
    await desk.store.record_command(halt)
    found = await desk.store.commands.known(
        [command("a"), command("a", kind=CommandType.TRADING_HALT)]
    )
    assert found == [None, halt.record]


async def test_a_nonce_is_found_under_another_id(desk: Desk) -> None:
    await desk.store.record_command(note("a"))
    [found, unsigned] = await desk.store.commands.known(
        [command("b", nonce="n-a"), command("c", nonce=None)]
    )
    assert found is not None
    assert found.id == "a"
    assert unsigned is None
    assert await desk.store.commands.known([]) == []


async def test_what_can_no_longer_come_again_is_forgotten(desk: Desk) -> None:
    halt = CommandType.TRADING_HALT
    for made in (
        note("old", received_ns=1),
        note("young", received_ns=HOUR_NS),
        note("old-halt", kind=halt, nonce=None, received_ns=1),
    ):
        await desk.store.record_command(made)
    await desk.store.commands.prune(now_ns=HOUR_NS + 2)
    assert await known(desk, "old", "young") == [False, True]
    assert await desk.store.commands.known([command("old-halt", kind=halt)]) != [None]
    await desk.store.commands.prune(now_ns=31 * 24 * HOUR_NS)
    assert await desk.count("commands") == 0


async def known(desk: Desk, *ids: str) -> list[bool]:
    found = await desk.store.commands.known([command(one) for one in ids])
    return [record is not None for record in found]


async def test_the_newest_stops_are_given_oldest_first(desk: Desk) -> None:
    for number in range(5):
        made = note(f"h{number}", kind=CommandType.TRADING_HALT, nonce=None, received_ns=number)
        await desk.store.record_command(made)
    await desk.store.record_command(note("signed", received_ns=9))
    found = await desk.store.commands.stops_done(limit=3)
    assert [record.id for record in found] == ["h2", "h3", "h4"]
    assert msgspec.json.decode(msgspec.json.encode(found[0]), type=CommandRecord) == found[0]
