"""The node's stream read from a point on: what a lost database had told Redis (R-STA-4).

Before the link lives, over two connections of its own, and with the lease of the name, so that
nobody else writes to the stream meanwhile and another engine's name is not read as ours. Batches
of at most 200 entries, so memory does not grow with the stream. Only reads. Fails with `LinkFault`
in plain words: a server that does not answer within the time given, one that goes away while it is
read, a name in use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.journal import JournalRow, MirroredRow
from engine.model.limits import REPLAY_BATCH_MAX
from engine.model.redis_url import parse_redis_url
from engine.ports.clock import Clock
from engine.redis_link.connection import find_server
from engine.redis_link.faults import LINK_FAULTS, LinkFault, NameInUse, cause_of, is_loading
from engine.redis_link.lease import Lease
from engine.redis_link.mode import LinkSettings
from engine.redis_link.node_stream import Fields, StreamId
from engine.redis_link.session import Session

_RETRY_S = 0.2


class PastEvents:
    """A reader of one node's stream; `unreadable` counts entries that are no events of ours."""

    def __init__(self, *, settings: LinkSettings, io_clock: Clock, number: str) -> None:
        """`number` is of this run of the engine only (`Lease`)."""
        self._settings = settings
        self._io_clock = io_clock
        self._lease = Lease(node=settings.node, owner=settings.owner, number=number)
        self._address = parse_redis_url(settings.url)
        self._session: Session | None = None
        self.unreadable = 0

    async def open(self, *, timeout_s: float, loading_s: float) -> None:
        """Connect and take the name; a server that is not there yet is tried until the time is up.

        One that is still reading its data, as after the power was cut for both of us, is worth
        more: `loading_s`.
        """
        began_ns = self._io_clock.monotonic_ns()
        while True:
            try:
                await self._connect()
            except NameInUse:
                raise
            except LINK_FAULTS as error:
                patience_s = loading_s if is_loading(error) else timeout_s
                if self._io_clock.monotonic_ns() - began_ns >= patience_s * 1e9:
                    raise LinkFault(self._words(error)) from error
                await self._io_clock.sleep(_RETRY_S)
            else:
                return

    async def _connect(self) -> None:
        settings = self._settings
        session = Session(
            address=await find_server(self._address, settings.ca_file),
            ca_file=settings.ca_file,
            node=settings.node,
            lease=self._lease,
        )
        try:
            await session.open()
        except LINK_FAULTS:
            await session.close()
            raise
        self._session = session

    async def after(self, epoch: int, seq: int) -> AsyncIterator[list[MirroredRow]]:
        """Batches of events behind `EPOCH-SEQ`, in the stream's order."""
        assert self._session is not None, "not open"
        position = StreamId(epoch, seq)
        while True:
            try:
                await self._session.beat("")
                entries = await self._session.stream.after(position, REPLAY_BATCH_MAX)
            except LINK_FAULTS as error:
                raise LinkFault(self._words(error)) from error
            if not entries:
                return
            position = entries[-1][0]
            yield [row for entry in entries if (row := self._row(*entry)) is not None]

    async def close(self) -> None:
        """Let go of the connections. The name stays ours for the link that follows."""
        if self._session is not None:
            await self._session.close()

    def _row(self, identifier: StreamId, fields: Fields) -> MirroredRow | None:
        try:
            replaces = fields.get(b"replaces")
            row = JournalRow(
                seq=identifier.seq,
                event_id=fields[b"id"].decode(),
                type=fields[b"type"].decode(),
                ts_ns=int(fields[b"ts"]),
                source=fields[b"source"].decode(),
                trace=fields[b"trace"].decode(),
                replaces=None if replaces is None else int(replaces),
                payload=fields[b"payload"],
            )
        except (KeyError, ValueError):
            self.unreadable += 1
            return None
        return MirroredRow(identifier.epoch, row)

    def _words(self, error: BaseException) -> str:
        words = cause_of(error)
        secret = self._address.password
        return words.replace(secret, "***") if secret else words


__all__ = ["PastEvents"]
