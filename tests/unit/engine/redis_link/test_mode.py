"""Which Redis a node uses, and why."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from engine.database import DatabaseReader, DatabaseWriter, load_migrations
from engine.journal import Journal
from engine.model.config import RedisSection
from engine.redis_link import LinkSettings, choose
from engine.runtime import SystemClock


def _choose(
    section: RedisSection, search_path: Path | None, *, was_linked: bool = False
) -> LinkSettings:
    return choose(
        section,
        node="desk",
        run_folder=Path("run"),
        was_linked=was_linked,
        search_path="" if search_path is None else str(search_path),
    )


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a valkey-server and nothing else."""
    server = tmp_path / "valkey-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    return tmp_path


def test_auto_takes_the_url_before_a_server_that_was_found(programs: Path) -> None:
    chosen = _choose(RedisSection(url="redis://127.0.0.1:6379/0"), programs)
    assert (chosen.mode, chosen.url) == ("url", "redis://127.0.0.1:6379/0")


def test_auto_without_url_is_managed_where_a_server_is_found(programs: Path) -> None:
    chosen = _choose(RedisSection(), programs)
    assert (chosen.mode, chosen.server) == ("managed", str(programs / "valkey-server"))
    assert "valkey-server found" in chosen.why


def test_auto_is_standalone_where_there_is_nothing_and_says_so() -> None:
    chosen = _choose(RedisSection(), None)
    assert chosen.is_standalone
    assert "no redis-server or valkey-server found" in chosen.why


def test_auto_never_falls_back_to_standalone_once_it_ran_with_redis() -> None:
    chosen = _choose(RedisSection(), None, was_linked=True)
    assert (chosen.mode, chosen.server) == ("managed", "")
    assert "not standalone" in chosen.why


@pytest.mark.parametrize("mode", ["standalone", "managed", "url"])
def test_a_mode_that_was_asked_for_is_taken(mode: str, programs: Path) -> None:
    section = RedisSection(mode=mode, url="unix:///run/redis.sock")  # type: ignore[arg-type]
    chosen = _choose(section, programs, was_linked=True)
    assert chosen.mode == mode
    assert bool(chosen.url) is (mode == "url")


async def test_the_database_remembers_that_it_ran_with_redis(tmp_path: Path) -> None:
    remembered = []
    for standalone in (True, False, True):
        path = tmp_path / "state.db"
        writer = DatabaseWriter(
            path=path, migrations=load_migrations(files("resources") / "migrations")
        )
        reader = DatabaseReader(path=path)
        journal = Journal(writer=writer, reader=reader, clock=SystemClock())
        await writer.open()
        await reader.open()
        remembered.append(await journal.was_linked())
        await journal.open(standalone=standalone)
        await reader.close()
        await writer.close()
    assert remembered == [False, False, True]
