"""A proxy between the engine and a real Redis that delays, splits, truncates and drops bytes.

Two kinds of fault: `delay_s` and `piece_bytes_max` change how bytes travel and lose none;
`truncate_after`, `go_dark`, `go_mute` and `cut` lose some. Bytes that were lost are never followed
by others on the same connection, as TCP never does that either: a truncated connection is cut, and
`heal` cuts those that were dark or mute.

On the test's own loop. Units: seconds, bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

__all__ = ["ByteProxy"]

_CHUNK = 65_536


class ByteProxy:
    """Listens on a Unix socket in `folder` and passes every connection on to `upstream`."""

    def __init__(self, *, upstream: Path, folder: Path) -> None:
        self._upstream = upstream
        self.path = folder / "proxy.sock"
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_dark = self._is_mute = False
        self._clients: set[asyncio.StreamWriter] = set()
        self._lost_in: set[asyncio.StreamWriter] = set()
        self._left: int | None = None
        # Each piece waits so long before it is passed on.
        self.delay_s = 0.0
        # Nothing larger is passed on in one write; 0: as it came.
        self.piece_bytes_max = 0
        self.passed = 0
        self.truncated = 0

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    async def __aenter__(self) -> ByteProxy:
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def redirect(self, upstream: Path) -> None:
        """New connections go to another server."""
        self._upstream = upstream

    def truncate_after(self, size: int) -> None:
        """Let so many bytes through, counted over both ways, then cut in the middle of a word."""
        self._left = size

    def go_dark(self) -> None:
        """Connections stay open, new ones are accepted, and nothing arrives any more."""
        self._is_dark = True

    def go_mute(self) -> None:
        """What the client says arrives, and no answer comes back any more."""
        self._is_mute = True

    def cut(self) -> None:
        """Drop every connection at once, with what is on the way."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def heal(self) -> None:
        """No fault any more; connections that lost bytes end."""
        self._is_dark = self._is_mute = False
        self._left = None
        self.delay_s, self.piece_bytes_max = 0.0, 0
        for writer in tuple(self._lost_in):
            writer.transport.abort()

    async def _accept(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._upstream)
        except OSError:  # The server is not there: neither are we.
            to_client.transport.abort()
            return
        pair = (to_client, to_server)
        self._writers |= set(pair)
        self._clients.add(to_client)
        ways = [
            asyncio.ensure_future(self._pass_on(from_client, to_server)),
            asyncio.ensure_future(self._pass_on(from_server, to_client)),
        ]
        self._tasks |= set(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for writer in pair:
                writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._tasks -= set(ways)
            self._writers -= set(pair)
            self._lost_in -= set(pair)
            self._clients.discard(to_client)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                size = self.piece_bytes_max or len(data)
                for start in range(0, len(data), size):
                    if not await self._pass_piece(data[start : start + size], writer):
                        return

    async def _pass_piece(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        """False when the connection ends here."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self._is_dark or (self._is_mute and writer in self._clients):
            self._lost_in.add(writer)
        if writer in self._lost_in:
            return True
        is_last = self._left is not None and len(piece) >= self._left
        if self._left is not None:
            piece = piece[: self._left]
            self._left = None if is_last else self._left - len(piece)
        writer.write(piece)
        await writer.drain()
        self.passed += len(piece)
        if is_last:
            self.truncated += 1
        return not is_last
