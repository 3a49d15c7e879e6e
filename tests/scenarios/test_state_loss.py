"""Stories of a state database that is damaged, gone or older than it was (R-STA-4).

The real kernel trades on real files; then bytes are destroyed where the seed says. Whatever was
destroyed, the next start either finds everything, or restores the newest good backup and books what
it lacks from the venue, or refuses: it never begins with an empty state.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from engine.latch import LatchFile
from engine.model.errors import DatabaseCorrupt, StoreError
from engine.model.snapshots import EngineState
from engine.model.values import Side
from engine.runtime import SimClock, run_simulated
from tests.desk import BTC, ETH, START_NS, Desk, story, venue_rows

pytestmark = [
    pytest.mark.allow_log("divergence"),
    # Orders younger than the backup are strangers until the venue has told of them.
    pytest.mark.allow_log("adopted order desk-g"),
    pytest.mark.allow_log("is not an open order of"),
    pytest.mark.timeout(60),
]
_PAGE = 4_096


def _aside(desk: Desk) -> list[str]:
    return sorted(path.name for path in desk.data_dir.glob("state.db.corrupt-*"))


def _generation(desk: Desk) -> int:
    return desk.kernel.parts.storage.generation


async def _trade(desk: Desk) -> None:
    """A backup in the middle of a day: what came after it is what a restore must win back."""
    backups = desk.kernel.parts.backups
    await desk.until(lambda: backups.newest is not None)
    await desk.enter(Side.BUY, BTC)
    await backups.back_up()
    desk.exit(BTC)
    await desk.until(lambda: desk.quantity(BTC) == 0)
    await desk.enter(Side.SELL, ETH)


async def _assert_restored(desk: Desk, *, generation: int, held: Decimal) -> None:
    parts = desk.kernel.parts
    assert parts.mode.state is EngineState.READY
    assert "START" in parts.mode.why
    assert parts.storage.loss is not None
    assert _generation(desk) > generation
    await desk.until(
        lambda: LatchFile(desk.data_dir / "latch").read().generation == _generation(desk)
    )
    assert desk.quantity(ETH) == held
    assert desk.quantity(BTC) == 0
    assert "DATABASE_RESTORED" in {alarm.code for alarm in parts.alarms.snapshot()}
    history = parts.storage.store.history
    assert await history.verify_audit() is None
    entry = [one for one in await history.audit() if one.what == "state database recovered"][-1]
    assert entry.why == parts.storage.loss.text
    await desk.assert_sound()


@pytest.mark.parametrize("how", ["truncated", "emptied", "gone", "scribbled", "no database"])
def test_a_destroyed_database_is_restored_and_the_venue_tells_the_rest(
    tmp_path: Path, how: str
) -> None:
    async def play(clock: SimClock) -> None:
        desk = Desk(clock=clock, folder=tmp_path)
        await desk.open()
        await _trade(desk)
        generation, held = _generation(desk), desk.quantity(ETH)
        await desk.close()
        database = desk.data_dir / "state.db"
        content = database.read_bytes()
        damaged = {
            "truncated": content[: len(content) // 3 // _PAGE * _PAGE],
            "emptied": b"",
            "scribbled": b"\0" * 512 + content[512:],
            "no database": b"this is a text file\n" * 500,
        }
        if how == "gone":
            database.unlink()
        else:
            database.write_bytes(damaged[how])
        await desk.open()
        await _assert_restored(desk, generation=generation, held=held)
        assert bool(_aside(desk)) == (how != "gone")
        started = await desk.kernel.client.start(reason="compared")
        assert started.ok, started
        entered = desk.entries_at_venue()
        await desk.enter(Side.BUY, BTC)
        assert desk.entries_at_venue() == entered + 1
        assert "DATABASE_RESTORED" not in {
            alarm.code for alarm in desk.kernel.parts.alarms.snapshot() if alarm.state == "new"
        }
        ids = [row[0] for row in venue_rows(desk.data_dir, "SELECT client_order_id FROM orders")]
        assert len(ids) == len(set(ids))
        await desk.close()

    run_simulated(play, start_ns=START_NS)


@pytest.mark.timeout(240)
def test_pages_corrupted_anywhere_never_lose_a_position(tmp_path: Path, seeds: range) -> None:
    """Goal: no silent wrong start. Method: random bytes over random pages, then a real start."""
    outcomes: dict[str, int] = {}

    async def play(clock: SimClock, seed: int, folder: Path) -> None:
        chance = random.Random(seed)
        desk = Desk(clock=clock, folder=folder)
        await desk.open()
        await _trade(desk)
        generation, held = _generation(desk), desk.quantity(ETH)
        await desk.close()
        database = desk.data_dir / "state.db"
        content = bytearray(database.read_bytes())
        for _ in range(chance.randint(1, 12)):
            start = chance.randrange(len(content) // _PAGE) * _PAGE
            content[start : start + _PAGE] = chance.randbytes(_PAGE)
        database.write_bytes(content)
        await desk.open()
        if desk.kernel.parts.storage.loss is not None:
            outcomes["restored"] = outcomes.get("restored", 0) + 1
            await _assert_restored(desk, generation=generation, held=held)
        else:
            outcomes["sound"] = outcomes.get("sound", 0) + 1
            assert desk.quantity(ETH) == held
            await desk.assert_sound()
        await desk.close()

    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        print(f"seed {seed}")  # noqa: T201 - Shown when it fails.
        run_simulated(lambda clock, s=seed, f=folder: play(clock, s, f), start_ns=START_NS)  # type: ignore[misc]
    assert outcomes.get("restored", 0) > len(seeds) // 2


def test_a_record_that_is_no_record_any_more_counts_as_damage(tmp_path: Path) -> None:
    """Goal: SQLite's check sees pages, not words. Method: an order's JSON made unreadable."""

    async def play(clock: SimClock) -> None:
        desk = Desk(clock=clock, folder=tmp_path)
        await desk.open()
        await _trade(desk)
        generation, held = _generation(desk), desk.quantity(ETH)
        await desk.close()
        with closing(sqlite3.connect(desk.data_dir / "state.db")) as connection:
            connection.execute("UPDATE positions SET record = CAST('{\"symb' AS BLOB)")
            connection.commit()
        await desk.open()
        await _assert_restored(desk, generation=generation, held=held)
        await desk.close()

    run_simulated(play, start_ns=START_NS)


def test_without_a_backup_the_start_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    async def play(clock: SimClock) -> None:
        desk = Desk(clock=clock, folder=tmp_path)
        await desk.open()
        await _trade(desk)
        await desk.close()
        backups = sorted((desk.data_dir / "backups").iterdir())
        assert len(backups) == 2
        for path in backups:
            path.write_bytes(b"rotten")
        database = desk.data_dir / "state.db"
        damaged = database.read_bytes()[: 5 * _PAGE]
        database.write_bytes(damaged)
        with pytest.raises(DatabaseCorrupt, match=r"no good backup in .* `seawall panic`"):
            await desk.build()
        assert database.read_bytes() == damaged
        assert _aside(desk) == []
        database.unlink()
        with pytest.raises(StoreError, match=r"state\.db is missing, and there is no good backup"):
            await desk.build()
        assert not database.exists()

    run_simulated(play, start_ns=START_NS)


@story(start=False)
async def test_an_older_copy_and_a_lost_wal_get_a_new_generation(desk: Desk) -> None:
    """Goal: no client order id twice. Method: an old copy put back by hand; a WAL removed."""
    await desk.open()
    await _trade(desk)
    newest = desk.kernel.parts.backups.newest
    assert newest is not None
    held, first = desk.quantity(ETH), _generation(desk)
    await desk.close()
    database, lock = desk.data_dir / "state.db", desk.data_dir / "lock"
    # As after a SIGKILL: the lock's note was never taken back, and somebody removed the WAL.
    lock.write_text('{"pid": 1, "purpose": "engine"}')
    await desk.open()
    await _assert_restored(desk, generation=first, held=held)
    assert "-wal is missing" in desk.kernel.parts.mode.why
    second = _generation(desk)
    await desk.close()
    database.write_bytes(newest.path.read_bytes())
    await desk.open()
    await _assert_restored(desk, generation=second, held=held)
    assert "an older copy was put in its place" in desk.kernel.parts.mode.why
    assert _aside(desk) == []
    await desk.restart()
    assert desk.kernel.parts.storage.loss is None
    assert desk.kernel.parts.mode.state is EngineState.READY
