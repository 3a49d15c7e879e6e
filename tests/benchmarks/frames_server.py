"""Serves recorded frames over a WebSocket as fast as they are taken; a process of its own.

`python -m tests.benchmarks.frames_server FILE`: FILE holds one text a line. Each connection gets
all of them, then silence until it ends. Prints the port. The frames are built beforehand and
written in large pieces, so that the reader is what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

__all__ = ["main"]

_PIECE_BYTES = 64 * 1024
_TEXT = 0x81
_SHORT_MAX, _MEDIUM = 125, 126


def _framed(text: bytes) -> bytes:
    if len(text) <= _SHORT_MAX:
        return bytes((_TEXT, len(text))) + text
    return bytes((_TEXT, _MEDIUM)) + struct.pack("!H", len(text)) + text


def _pieces(path: Path) -> list[bytes]:
    pieces, piece = [], bytearray()
    for line in path.read_bytes().splitlines():
        piece += _framed(line)
        if len(piece) >= _PIECE_BYTES:
            pieces.append(bytes(piece))
            piece.clear()
    return [*pieces, bytes(piece)]


async def _serve(path: Path) -> None:
    pieces = _pieces(path)

    async def serving(connection: ServerConnection) -> None:
        transport = connection.transport
        for piece in pieces:
            transport.write(piece)
            await connection.drain()
        with contextlib.suppress(ConnectionClosed):
            await connection.wait_closed()

    async with serve(serving, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


def main() -> None:
    asyncio.run(_serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
