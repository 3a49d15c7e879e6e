"""A desk that hears commands over a real Redis: the real kernel, and a service that speaks."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from engine.model.snapshots import CommandsSnapshot
from engine.runtime import SystemClock
from tests.bus_sender import KEY, BusSender
from tests.desk import Desk
from tests.waiting import eventually

__all__ = ["CommandDesk", "command_desk"]

_POLICY = {"signal_rate": "50", "max_orders_per_minute": "1000", "signal_ttl_s": "30"}


class CommandDesk(Desk):
    """A desk, and the service."""

    sender: BusSender

    def commands(self) -> CommandsSnapshot:
        found = self.kernel.parts.redis.snapshot().commands
        assert found is not None
        return found

    async def settled(self) -> None:
        """Everything in the stream was worked off and acknowledged."""
        await eventually(self.sender.is_worked_off, timeout_s=25)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Of the state database, read beside the engine."""
        path = self.data_dir / "state.db"
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as found:
            return found.execute(sql).fetchall()

    def events_of(self, kind: str) -> list[tuple[Any, ...]]:
        """(trace, payload) of a type in the journal, oldest first."""
        return self.rows(f"SELECT trace, payload FROM outbox WHERE type = '{kind}' ORDER BY seq")

    async def refusal_of(self, fields: Mapping[str, str]) -> str:
        """The error with which a command came into the dead-letter stream."""
        return str(await eventually(lambda: self.sender.why_dead(fields["id"]), timeout_s=10))


@asynccontextmanager
async def command_desk(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, *, key: str = KEY, start: bool = True
) -> AsyncIterator[CommandDesk]:
    """A running engine with a desk key; closed in order."""
    monkeypatch.setenv("SEAWALL_DESK_KEY", key)
    desk = CommandDesk(clock=SystemClock(), folder=folder, redis_url=url, policy=_POLICY)
    desk.sender = BusSender(url)
    try:
        if start:
            await desk.open()
        yield desk
    finally:
        if hasattr(desk, "kernel"):
            await desk.close()
        desk.sender.close()
