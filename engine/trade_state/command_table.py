"""Which commands from the bus had their effect: the table `commands`, port `CommandLedger`.

`put` runs inside the transaction of the effect, so that neither can exist without the other; a
command that is there already makes the whole transaction fail with `CommandKnown`, so that nothing
can be done twice even by a caller who forgot to ask. A command that must be fresh is forgotten an
hour after it came, long after it would be refused as stale; a halt or a trip, which is obeyed at
any age, after thirty days, long after its entry has left the stream. Fails with `StoreError`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from engine.database import DatabaseReader, DatabaseWriter
from engine.model.commands import BusCommand, CommandRecord, CommandType
from engine.model.errors import CommandKnown

__all__ = ["CommandTable", "put"]

_SIGNED_KEPT_NS: Final = 3_600 * 1_000_000_000
_STOPS_KEPT_NS: Final = 30 * 86_400 * 1_000_000_000
_STOPS: Final = tuple(kind.value for kind in CommandType if kind.is_stop)
_COLUMNS: Final = "type, command_id, stream_id, nonce, received_ns"


def put(connection: sqlite3.Connection, record: CommandRecord) -> None:
    """Remember a command; `CommandKnown` when its id or its nonce is there."""
    try:
        connection.execute(
            f"INSERT INTO commands ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
            (record.type.value, record.id, record.stream_id, record.nonce, record.received_ns),
        )
    except sqlite3.IntegrityError as error:
        raise CommandKnown(f"{record.type} {record.id} was carried out before") from error


class CommandTable:
    """Implements `CommandLedger`."""

    def __init__(self, *, writer: DatabaseWriter, reader: DatabaseReader) -> None:
        self._writer = writer
        self._reader = reader

    async def known(self, commands: Sequence[BusCommand]) -> list[CommandRecord | None]:
        """For each command what had its id, else its nonce, else None."""
        if not commands:
            return []
        ids = [command.id for command in commands]
        nonces = [command.nonce for command in commands if command.nonce is not None]
        by_id = await self._records(f"command_id IN ({_marks(ids)})", ids)
        by_nonce = await self._records(f"nonce IN ({_marks(nonces)})", nonces) if nonces else []
        of_id = {(record.type, record.id): record for record in by_id}
        of_nonce = {record.nonce: record for record in by_nonce}
        return [
            of_id.get((command.type, command.id))
            or (of_nonce.get(command.nonce) if command.nonce is not None else None)
            for command in commands
        ]

    async def stops_done(self, *, limit: int) -> list[CommandRecord]:
        """The newest halts and trips that were obeyed, oldest first."""
        where = f"type IN ({_marks(_STOPS)}) ORDER BY received_ns DESC LIMIT ?"
        return list(reversed(await self._records(where, [*_STOPS, limit])))

    async def prune(self, *, now_ns: int) -> None:
        """Forget what can no longer come again."""

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(
                f"DELETE FROM commands WHERE received_ns < ? AND type NOT IN ({_marks(_STOPS)})",
                (now_ns - _SIGNED_KEPT_NS, *_STOPS),
            )
            connection.execute(
                "DELETE FROM commands WHERE received_ns < ?", (now_ns - _STOPS_KEPT_NS,)
            )

        await self._writer.submit(job)

    async def _records(self, where: str, values: Sequence[Any]) -> list[CommandRecord]:
        rows = await self._reader.fetch_all(
            f"SELECT {_COLUMNS} FROM commands WHERE {where}", tuple(values)
        )
        return [
            CommandRecord(
                type=CommandType(kind),
                id=identifier,
                stream_id=stream_id,
                nonce=nonce,
                received_ns=received_ns,
            )
            for kind, identifier, stream_id, nonce, received_ns in rows
        ]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
