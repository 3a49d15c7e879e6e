"""A long backlog costs no memory, and a stream of limited length loses only what has arrived."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.model.config import RedisSection
from tests.faults.conftest import StartServer
from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis
from tests.waiting import eventually

_KEY = "seawall:desk:events"
# 100,000 events are 20 MB as bytes of JSON and 100 MB as objects; SQLite's page caches may fill.
_GROWTH_MAX_BYTES = 4_000_000
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _fill(desk: LinkDesk, count: int) -> None:
    """Into the journal and no list: a list of the test's own would be what grows."""
    for number in range(count):
        commit = desk.journal.append(desk.event())
        if number % 1_000 == 0:
            await commit
    await desk.committed()


async def test_memory_does_not_grow_with_the_backlog(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Goal: replaying 80,000 events, and 20,000 before them again, leaves the process as large as
    it was. Method: its resident set right before Redis answers, and when all is in the stream.
    """
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        for count in (20_000, 80_000):
            redis_server.kill()
            await eventually(lambda: not desk.link.is_up())
            await _fill(desk, count)
            assert desk.journal.pending >= count
            before = _resident_bytes()
            redis_server.start()
            await eventually(lambda: desk.link.is_up() and not desk.link.recovering, timeout_s=30)
            await eventually(desk.is_caught_up, timeout_s=5)
            grown = _resident_bytes() - before
            assert grown < _GROWTH_MAX_BYTES, f"{grown / 1e6:.1f} MB more for {count} events"
        # Empty after the restart, so all that was ever written was sent again.
        in_stream = [fields["id"] for _, fields in read_stream(redis_server.url)]
        assert len(in_stream) == desk.journal.tail_seq() >= 100_000
        assert in_stream == desk.journal_ids()


async def test_only_what_was_acknowledged_is_trimmed_over_an_outage(
    tmp_path: Path, start_server: StartServer
) -> None:
    """Goal: whoever reads may rely on the newest 500; nothing goes before the journal's cursor has
    it. Method: outage, backlog and replay, with the stream and the cursor looked at all the time.
    """
    server = start_server("--stream-node-max-entries", "10", persistent=True)
    section = RedisSection(mode="url", url=server.url, stream_max_events=500)
    async with link_desk(tmp_path / "state.db", section=section) as desk:
        await desk.write(1_500)
        await eventually(desk.is_caught_up, timeout_s=10)
        await eventually(lambda: len(read_stream(server.url)) < 600)
        server.kill()
        await desk.write(20_000)
        watch = _TrimWatch(desk.path, server)
        watching = asyncio.create_task(asyncio.to_thread(watch.look))
        try:
            server.start()
            await eventually(desk.outage_is_over, timeout_s=15)
            await eventually(lambda: len(read_stream(server.url)) < 600)
        finally:
            watch.is_over = True
            await watching
        assert watch.too_early == []
        assert watch.trims >= 2, "nothing was trimmed meanwhile: this tests something else"
        entries = read_stream(server.url)
        assert len(entries) >= 500
        desk.assert_mirrored(entries, ids=desk.ledger.ids[-len(entries) :])


class _TrimWatch:
    """Compares the oldest entry with the journal's cursor on the disk, all the time; a thread's."""

    def __init__(self, database: Path, server: RealRedis) -> None:
        self._database = database
        self._server = server
        self.is_over = False
        self.trims = 0
        self.too_early: list[tuple[int, int]] = []

    def look(self) -> None:
        oldest = 0
        with closing(sqlite3.connect(self._database)) as journal:
            while not self.is_over:
                if (seq := self._oldest()) > oldest:
                    self.trims += oldest > 0
                    oldest = seq
                    # The cursor was there before the entries below went.
                    (acknowledged,) = journal.execute(
                        "SELECT acknowledged_seq FROM journal_cursor"
                    ).fetchone()
                    if seq - 1 > acknowledged:
                        self.too_early.append((seq, acknowledged))

    def _oldest(self) -> int:
        with contextlib.suppress(OSError):
            answer = self._server.command("XRANGE", _KEY, "-", "+", "COUNT", "1")
            if found := re.search(rb"\r\n\d+-(\d+)\r\n", answer):
                return int(found.group(1))
        return 0  # Not there yet.
