"""Pages of the outbox that are not what they were, met while the engine runs, and a WAL whose end
was torn off by a power loss: said, never guessed, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from engine.database import DatabaseWriter, load_migrations
from engine.model.errors import DatabaseCorrupt
from engine.model.snapshots import LinkState
from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:|not rolled"),
]
_PAGE = 4_096
_LEAF_OF_A_TABLE = 0x0D


async def _settle_on_disk(desk: LinkDesk) -> None:
    """Everything in the file itself, and in no page cache."""

    def settle(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA shrink_memory").fetchall()

    with closing(sqlite3.connect(desk.path)) as beside:
        assert beside.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    await desk.writer.submit(settle)
    await desk.reader.fetch_all("PRAGMA shrink_memory")
    with closing(sqlite3.connect(desk.path)) as beside:
        beside.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _ruin_rows(path: Path, *, of: bytes, pages_max: int = 10_000) -> int:
    """Noise over the first pages that hold rows with these words; how many they were."""
    noise = random.Random(1)
    ruined = 0
    with path.open("r+b") as file:
        content = file.read()
        for start in range(_PAGE, len(content), _PAGE):
            page = content[start : start + _PAGE]
            if page[0] == _LEAF_OF_A_TABLE and of in page and ruined < pages_max:
                file.seek(start)
                file.write(bytes([0x77]) + noise.randbytes(_PAGE - 1))
                ruined += 1
    return ruined


async def test_a_damaged_outbox_stops_the_mirror_with_words_and_nothing_hangs(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await desk.write(20)
        await eventually(desk.is_caught_up)
        redis_server.kill()
        await eventually(lambda: not desk.link.is_up())
        await desk.write(3_000)
        await _settle_on_disk(desk)
        assert _ruin_rows(desk.path, of=b"signal.received", pages_max=50) == 50
        redis_server.start()
        await eventually(lambda: desk.writer.damage, timeout_s=10)
        assert not desk.writer.healthy
        assert desk.writer.last_error.startswith("damaged: ")
        await eventually(
            lambda: (
                desk.link.snapshot().state is LinkState.DOWN
                and "malformed" in desk.link.snapshot().cause
            ),
            timeout_s=10,
        )
        # Whoever emits does not wait, and a write that meets no bad page is still taken.
        async with asyncio.timeout(5):
            desk.bus.emit(desk.event())
            await desk.writer.submit(lambda c: c.execute("SELECT 1").fetchall())
        assert not desk.writer.healthy, "damage does not pass by itself"
        # What is in the stream is what was sent before, or a beginning of the rest: no hole.
        sent = [fields["id"] for _, fields in read_stream(redis_server.url)]
        assert sent == [one for one in desk.ledger.ids if one in set(sent)]
        assert not desk.faults
    with pytest.raises(DatabaseCorrupt, match="damaged"):
        await DatabaseWriter(
            path=desk.path, migrations=load_migrations(files("resources") / "migrations")
        ).open()


async def test_a_damaged_page_met_by_the_writer_is_said_and_stays_said(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    """Method: a reader meets it first, then the writer; neither forgets."""
    async with link_desk(tmp_path / "state.db", url=redis_server.url, bytes_max=1) as desk:
        await desk.write(3_000)
        await eventually(desk.is_caught_up, timeout_s=15)
        await desk.link.close()
        await _settle_on_disk(desk)
        assert _ruin_rows(desk.path, of=b"signal.received") > 100
        with pytest.raises(DatabaseCorrupt):
            await desk.reader.fetch_all("SELECT sum(length(payload)) FROM outbox")
        assert desk.writer.last_error.startswith("damaged: cannot read state.db: ")
        job = desk.writer.submit(lambda c: c.execute("DELETE FROM outbox").fetchall())
        await asyncio.wait([job])
        assert job.exception() is not None
        assert not desk.writer.healthy
        await asyncio.sleep(1.2)  # Longer than the writer waits before it tries a small write.
        assert "damaged" in desk.writer.last_error


@pytest.mark.parametrize("seed", range(6))
async def test_a_torn_end_of_the_wal_costs_the_newest_commits_only(
    tmp_path: Path, redis_server: RealRedis, seed: int
) -> None:
    """Goal: what a power loss leaves of the WAL is a beginning of what was written, never a mix.

    Method: the files as they are while the engine runs, with the WAL's end cut off or overwritten
    somewhere in a page; the stream then holds more than the journal, and each event once.
    """
    chance = random.Random(seed)
    (tmp_path / "a").mkdir()
    async with link_desk(tmp_path / "a" / "state.db", url=redis_server.url, start=False) as desk:
        for _ in range(40):
            await desk.write(chance.randint(1, 30))
        expected = desk.journal_ids()
        folder = tmp_path / "b"
        folder.mkdir()
        for name in ("state.db", "state.db-wal"):
            shutil.copyfile(desk.path.parent / name, folder / name)
    wal = folder / "state.db-wal"
    size = wal.stat().st_size
    cut = chance.randrange(size // 3, size)
    with wal.open("r+b") as file:
        if seed % 2:
            file.truncate(cut)
        else:  # Sectors of the last writes that never reached the disk hold something else.
            file.seek(cut)
            file.write(chance.randbytes(min(512, size - cut)))
    async with link_desk(folder / "state.db", url=redis_server.url) as again:
        left = again.journal_ids()
        kept = left[: len(expected)] if len(left) > len(expected) else left
        own = [one for one in kept if one in set(expected)]
        assert own == expected[: len(own)]
        assert 0 < len(own) < len(expected)
        await again.write(25)
        await eventually(again.is_caught_up, timeout_s=15)
        in_stream = [fields["id"] for _, fields in read_stream(redis_server.url)]
        assert in_stream == again.journal_ids()
        assert len(set(in_stream)) == len(in_stream)
