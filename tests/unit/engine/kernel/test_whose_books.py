"""A data directory keeps the books of one mode at one venue."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from console.cli import _other_books
from engine.kernel.data_directory import DataDirectory
from engine.kernel.from_disk import status_from_disk
from engine.kernel.storage import open_storage
from engine.kernel.whose_books import claim_books, mode_on_disk, whose_books
from engine.model.config import Configuration, EngineSection, Mode, VenueSection
from engine.model.errors import ConfigurationError
from engine.runtime import SimClock, SystemClock, run_simulated
from tests.desk import START_NS, Desk


def _configuration(mode: Mode, *, is_live: bool = False) -> Configuration:
    environment = VenueSection(environment="live" if is_live else "testnet")
    return Configuration(engine=EngineSection(mode=mode), venue=environment)


async def _claim(folder: Path, configuration: Configuration) -> None:
    storage = await open_storage(
        DataDirectory(folder), configuration=configuration, clock=SystemClock()
    )
    try:
        await claim_books(storage, configuration)
    finally:
        await storage.close()


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (_configuration("paper"), "paper"),
        (_configuration("paper", is_live=True), "paper"),
        (_configuration("dry_run"), "dry_run binance testnet"),
        (_configuration("live", is_live=True), "live binance live"),
    ],
)
def test_books_are_of_a_mode_and_where_an_exchange_is_meant_of_its_account(
    configuration: Configuration, words: str
) -> None:
    assert whose_books(configuration) == words


def test_the_first_start_decides_and_the_same_may_come_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    asyncio.run(_claim(folder, _configuration("dry_run")))
    asyncio.run(_claim(folder, _configuration("dry_run")))
    for other in (
        _configuration("paper"),
        _configuration("live"),
        _configuration("dry_run", is_live=True),
    ):
        with pytest.raises(ConfigurationError, match="books of 'dry_run binance testnet'") as said:
            asyncio.run(_claim(folder, other))
        assert said.value.field == "engine.mode"
    assert status_from_disk(folder)["mode"] == "dry_run"
    assert mode_on_disk(folder) == "dry_run"


def test_a_panic_in_the_books_of_another_mode_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    asyncio.run(_claim(folder, _configuration("live")))
    said = _other_books(_configuration("paper"), folder)
    assert "holds the books of mode 'live', and the configuration says 'paper'" in said
    assert _other_books(_configuration("live"), folder) == ""
    assert _other_books(_configuration("live"), tmp_path / "nothing") == ""


def test_what_nobody_wrote_down_is_not_guessed(tmp_path: Path) -> None:
    assert mode_on_disk(tmp_path) == ""
    (tmp_path / "state.db").write_bytes(b"no database at all")
    assert mode_on_disk(tmp_path) == ""


def test_books_of_an_older_version_are_papers(tmp_path: Path) -> None:
    async def trade(clock: SimClock) -> None:
        desk = Desk(clock=clock, folder=tmp_path)
        await desk.open()
        await desk.enter()
        await desk.close()
        with closing(sqlite3.connect(desk.data_dir / "state.db")) as connection:
            connection.execute("DELETE FROM standing WHERE name = 'books_of'")
            connection.commit()
        with pytest.raises(ConfigurationError, match="holds the books of 'paper'"):
            await _claim(desk.data_dir, _configuration("live"))
        await _claim(desk.data_dir, _configuration("paper"))

    run_simulated(trade, start_ns=START_NS)
