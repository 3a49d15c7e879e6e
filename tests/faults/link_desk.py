"""A desk for the tests of the Redis link: real SQLite, journal and bus, and independent books.

The books: `ledger.ids` is what was handed to the journal, in order, noted outside the engine; the
stream is read over a connection of the test's own; `assert_mirrored` compares all three.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import redis

from engine.bus import EventBus
from engine.database import DatabaseReader, DatabaseWriter, load_migrations
from engine.journal import Journal
from engine.model.config import RedisSection
from engine.model.events import Event, RedisLost, RedisRecovered, SignalReceived
from engine.model.ids import SignalId, Symbol
from engine.model.limits import JOURNAL_BYTES_MAX
from engine.model.values import Side
from engine.redis_link import LinkSettings, RecoveryPart, RedisLink, choose
from engine.runtime import Chance, IdSource, Stamper, SystemClock, read_stopwatch_ns

__all__ = ["LinkDesk", "flush", "link_desk", "read_stream"]

StreamEntry = tuple[str, dict[str, str]]


def read_stream(url: str, node: str = "desk") -> list[StreamEntry]:
    """The whole stream, over a connection that has nothing to do with the engine."""
    client = redis.Redis.from_url(url, decode_responses=True, protocol=2)
    try:
        entries: Any = client.xrange(f"seawall:{node}:events")
        return [(entry[0], entry[1]) for entry in entries]
    finally:
        client.close()


def flush(url: str) -> None:
    """FLUSHALL, by somebody else."""
    client = redis.Redis.from_url(url)
    try:
        client.flushall()
    finally:
        client.close()


class _Ledger:
    """Notes what the journal is given, outside the engine."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.ids: list[str] = []

    def append(self, event: Event) -> asyncio.Future[None]:
        self.ids.append(event.id)
        return self._journal.append(event)

    def keep(self, event: Event) -> None:
        self.ids.append(event.id)
        self._journal.keep(event)


class LinkDesk:
    """Everything around one link."""

    def __init__(
        self,
        *,
        path: Path,
        settings: LinkSettings,
        seed: int,
        bytes_max: int = JOURNAL_BYTES_MAX,
    ) -> None:
        self.clock = SystemClock()
        self.path = path
        self.settings = settings
        self.writer = DatabaseWriter(
            path=path, migrations=load_migrations(files("resources") / "migrations")
        )
        self.reader = DatabaseReader(path=path, on_damage=self.writer.note_damage)
        self.journal = Journal(
            writer=self.writer, reader=self.reader, clock=self.clock, bytes_max=bytes_max
        )
        self.ledger = _Ledger(self.journal)
        self.stamp = Stamper(clock=self.clock, ids=IdSource(), source="test")
        self.bus = EventBus(
            clock=self.clock, stopwatch=read_stopwatch_ns, log=self.ledger, stamper=self.stamp
        )
        self.heard: list[Event] = []
        self.bus.subscribe(self.heard.append)
        self.faults: list[str] = []
        self.parts_before_replay: tuple[RecoveryPart, ...] = ()
        self.on_recovered: Callable[[], Awaitable[bool]] = self._recovered
        self.link = RedisLink(
            settings=settings,
            journal=self.journal,
            bus=self.bus,
            stamper=self.stamp,
            io_clock=self.clock,
            chance=Chance(seed=seed, name="redis link"),
            on_fault=lambda name, error: self.faults.append(f"{name}: {error!r}"),
            recovery=self._recovery,
        )
        self._number = 0

    def _recovery(self) -> tuple[RecoveryPart, ...]:
        return (
            *self.parts_before_replay,
            RecoveryPart(name="replay", run=self.link.replay),
            RecoveryPart(name="reconcile", run=lambda: self.on_recovered(), after_outage=True),
        )

    async def _recovered(self) -> bool:
        return True

    def event(self, *, strategy: str = "breakout") -> SignalReceived:
        self._number += 1
        return SignalReceived(
            **self.stamp(),
            signal_id=SignalId(f"s-{self._number}"),
            symbol=Symbol("BTCUSDT"),
            side=Side.BUY,
            confidence=0.5,
            strategy=strategy,
        )

    async def write(self, count: int) -> None:
        """Publish durable events and wait until they are committed."""
        for _ in range(count):
            self.bus.emit(self.event())
            if self._number % 1_000 == 0:
                await self.bus.room()
        await self.committed()

    async def committed(self) -> None:
        await self.writer.submit(lambda _: None)

    def is_caught_up(self) -> bool:
        """Up, recovered, and nothing committed that is not in the stream."""
        return (
            self.link.is_up()
            and not self.link.recovering
            and self.link.snapshot().replay_remaining == 0
            and self.writer.pending == 0
            and self.journal.pending == 0
        )

    def heard_of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]

    def foreign(self) -> str:
        """What the link has found in the stream within a minute that it did not write."""
        return self.link.snapshot().foreign

    def outage_is_over(self) -> bool:
        lost, recovered = self.heard_of(RedisLost), self.heard_of(RedisRecovered)
        return bool(lost) and len(recovered) >= 1 and self.is_caught_up()

    def journal_ids(self) -> list[str]:
        """Event ids on the disk in order, read beside the engine."""
        connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return [
                row[0] for row in connection.execute("SELECT event_id FROM outbox ORDER BY seq")
            ]
        finally:
            connection.close()

    def assert_mirrored(self, entries: list[StreamEntry], *, ids: list[str] | None = None) -> None:
        """Every durable event exactly once and in order: our list, the disk and the stream."""
        expected = self.ledger.ids if ids is None else ids
        in_stream = [fields["id"] for _, fields in entries if "id" in fields]
        assert len(in_stream) == len(set(in_stream)), "an event is there twice"
        assert in_stream == expected
        assert self.journal_ids()[-len(expected) :] == expected
        assert not self.faults


@asynccontextmanager
async def link_desk(
    path: Path,
    *,
    url: str = "",
    section: RedisSection | None = None,
    seed: int = 1,
    start: bool = True,
    search_path: str | None = None,
    bytes_max: int = JOURNAL_BYTES_MAX,
) -> AsyncIterator[LinkDesk]:
    """A desk on a database file with its link started; closed in order at the end."""
    settings = choose(
        section or RedisSection(mode="url", url=url),
        node="desk",
        run_folder=path.parent / "run",
        was_linked=False,
        search_path=search_path,
    )
    desk = LinkDesk(path=path, settings=settings, seed=seed, bytes_max=bytes_max)
    await desk.writer.open()
    await desk.reader.open()
    await desk.journal.open(standalone=settings.is_standalone)
    try:
        if start:
            await desk.link.start()
        yield desk
    finally:
        await desk.link.close()
        await desk.bus.drain(5.0)
        await desk.reader.close()
        await desk.writer.close()
