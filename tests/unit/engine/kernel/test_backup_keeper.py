"""Backups of a running engine: one a day of trading time, on demand, and told when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from engine.database import BackupFolder, DatabaseWriter, Migration, write_generation
from engine.kernel.backup_keeper import EVERY_S, BackupKeeper
from engine.model.errors import StoreError
from engine.runtime import SimClock, run_simulated

_START_NS = 1_767_225_600_000_000_000
_DAY_NS = 86_400_000_000_000
_META = (Migration(1, "meta", "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);"),)


class _Rig:
    """A real database, and a keeper of its backups."""

    def __init__(self, clock: SimClock, folder: Path, *, keep: int = 3) -> None:
        self.clock = clock
        self.database = folder / "state.db"
        self.folder = BackupFolder(folder / "backups", keep=keep)
        self.told: list[str] = []
        self.keeper = BackupKeeper(
            folder=self.folder, database=self.database, clock=clock, on_failed=self.told.append
        )
        clock.add_busy_probe(lambda: self.keeper.pending)

    def ages_days(self) -> list[int]:
        return [(self.folder.made_ns(path) - _START_NS) // _DAY_NS for path in self.folder.paths()]


def _with_rig(folder: Path, tell: Callable[[_Rig], Awaitable[None]]) -> None:
    async def play(clock: SimClock) -> None:
        rig = _Rig(clock, folder)
        writer = DatabaseWriter(path=rig.database, migrations=_META)
        clock.add_busy_probe(lambda: writer.pending)
        await writer.open()
        try:
            await writer.submit(lambda c: write_generation(c, 1, created_ns=1))
            await tell(rig)
        finally:
            await rig.keeper.aclose()
            await writer.close()

    run_simulated(play, start_ns=_START_NS)


def test_one_a_day_and_the_newest_three_are_kept(tmp_path: Path) -> None:
    async def tell(rig: _Rig) -> None:
        assert rig.keeper.keep_since_ns == 0  # Without a backup nothing may be pruned.
        assert rig.keeper.why_not() == "there is no good backup yet"
        running = asyncio.ensure_future(rig.keeper.run())
        await rig.clock.sleep(4.5 * EVERY_S)
        assert rig.ages_days() == [4, 3, 2]
        assert rig.keeper.keep_since_ns == _START_NS + 4 * _DAY_NS
        assert rig.keeper.age_s() == pytest.approx(EVERY_S / 2)
        assert rig.keeper.why_not() == ""
        running.cancel()
        await asyncio.wait([running])
        await rig.clock.sleep(2 * EVERY_S)
        assert rig.keeper.why_not() == "the newest backup is 60 h old"

    _with_rig(tmp_path, tell)


def test_a_restart_goes_on_with_the_day_and_ignores_a_backup_that_rotted(tmp_path: Path) -> None:
    async def tell(rig: _Rig) -> None:
        good = await rig.keeper.back_up()
        await rig.clock.sleep(3_600)
        rotten = await rig.keeper.back_up()
        rotten.path.write_bytes(b"no database")
        again = BackupKeeper(
            folder=rig.folder, database=rig.database, clock=rig.clock, on_failed=rig.told.append
        )
        rig.clock.add_busy_probe(lambda: again.pending)
        running = asyncio.ensure_future(again.run())
        await rig.clock.sleep(3_600)
        assert again.newest == good
        await rig.clock.sleep(EVERY_S - 7_200 + 1)
        assert again.newest is not None
        assert again.newest.made_ns == _START_NS + _DAY_NS
        running.cancel()
        await asyncio.wait([running])

    _with_rig(tmp_path, tell)


@pytest.mark.allow_log("backup: cannot back up")
def test_a_failed_one_is_told_tried_again_and_leaves_the_older_alone(tmp_path: Path) -> None:
    async def tell(rig: _Rig) -> None:
        first = await rig.keeper.back_up()
        kept = first.path.rename(tmp_path / "kept.db")
        rig.folder.paths()
        (tmp_path / "backups").rmdir()
        (tmp_path / "backups").write_text("a file where the folder was")
        with pytest.raises(StoreError):
            await rig.keeper.back_up()
        running = asyncio.ensure_future(rig.keeper.run())
        await rig.clock.sleep(1)
        assert "cannot back up state.db" in rig.keeper.why_not()
        (tmp_path / "backups").unlink()
        (tmp_path / "backups").mkdir()
        kept.rename(first.path)
        await rig.clock.sleep(301)
        assert rig.keeper.why_not() == ""
        assert rig.told[-1] == ""
        assert [path.name for path in rig.folder.paths()][1:] == [first.path.name]
        running.cancel()
        await asyncio.wait([running])

    _with_rig(tmp_path, tell)


def test_two_asked_for_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    async def tell(rig: _Rig) -> None:
        one, two = await asyncio.gather(rig.keeper.back_up(), rig.keeper.back_up())
        assert rig.folder.paths() == [two.path, one.path]
        assert rig.keeper.newest == two

    _with_rig(tmp_path, tell)
