"""The engine's end of the control socket.

Runs on the engine's loop. A connection is served one request after another; every line gets
exactly one answer. A line that is too long, is not JSON, has an unknown verb or makes the verb
raise gets an error as its answer. At most 32 connections at a time; a silent one is closed after a
minute.

A socket file left by an engine that crashed is replaced, but only when nobody listens on it;
otherwise `start` raises DataDirectoryInUse.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from engine.control.address import (
    OWNER_ONLY,
    PortFile,
    socket_path,
    write_port_file,
)
from engine.control.wire import (
    REQUEST_BYTES_MAX,
    VERSION,
    Answer,
    Failure,
    decode_request,
    encode,
    request_id,
)
from engine.model.errors import DataDirectoryInUse, EngineError, OperatorMessage

_log = logging.getLogger(__name__)
Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]
CONNECTIONS_MAX = 32
IDLE_S = 60.0
_PROBE_S = 0.25


class ControlServer:
    """Serves `verbs`: name → coroutine function that takes the arguments and returns the result.

    Results may be anything msgspec encodes. `by_port` takes the loopback port also where a Unix
    socket could be had.
    """

    def __init__(self, *, verbs: Mapping[str, Verb], data_dir: Path, by_port: bool = False) -> None:
        self._verbs = dict(verbs)
        self._data_dir = data_dir
        self._path = None if by_port else socket_path(data_dir)
        self._token = ""
        self._server: asyncio.Server | None = None
        self._file: Path | None = None
        self._inode = 0
        self._connections: set[asyncio.Task[Any]] = set()

    @property
    def where(self) -> str:
        """The address in words."""
        return str(self._file) if self._file is not None else "not listening"

    async def start(self) -> None:
        """Listen. Raises DataDirectoryInUse when another engine listens here."""
        if self._path is not None:
            await self._listen_on_socket(self._path)
        else:
            await self._listen_on_port()
        assert self._file is not None
        self._inode = self._file.stat().st_ino

    async def aclose(self) -> None:
        """Stop listening, end every connection, and remove the file if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._file is not None:
            with contextlib.suppress(OSError):
                if self._file.stat().st_ino == self._inode:
                    self._file.unlink()
            self._file = None

    # --- Listening ------------------------------------------------------------------------------

    async def _listen_on_socket(self, path: Path) -> None:
        _refuse_if_answered(path)
        # Bound beside its name and moved there with its rights already set: nobody can reach it
        # while it is open to others, and a stale file is replaced in one step.
        beside = path.with_name("engine.new")
        beside.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(str(beside))
            os.chmod(beside, OWNER_ONLY)
            self._server = await asyncio.start_unix_server(
                self._serve, sock=listener, limit=REQUEST_BYTES_MAX
            )
            os.replace(beside, path)
        except BaseException:
            listener.close()
            raise
        self._file = path

    async def _listen_on_port(self) -> None:
        self._token = secrets.token_hex(32)
        self._server = await asyncio.start_server(
            self._serve, host="127.0.0.1", port=0, limit=REQUEST_BYTES_MAX
        )
        port = self._server.sockets[0].getsockname()[1]
        self._file = write_port_file(self._data_dir, PortFile(port=port, token=self._token))

    # --- Serving --------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > CONNECTIONS_MAX:
                await _send(writer, _error(None, "busy", "too many connections"))
                return
            while (line := await self._next_line(reader, writer)) is not None:
                await _send(writer, await self._answer(line))
        except (ConnectionError, TimeoutError):
            _log.debug("a control connection ended early")
        except asyncio.CancelledError:
            # Our own `aclose` ends here: asyncio 3.11 reports a cancelled connection as an error.
            if self._server is not None:
                raise
        finally:
            self._connections.discard(task)
            writer.close()

    async def _next_line(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """The next line; None at the end, and after a line that is too long to be one of ours."""
        try:
            async with asyncio.timeout(IDLE_S):
                line = await reader.readline()
        except ValueError:
            most = f"a request has at most {REQUEST_BYTES_MAX} bytes"
            await _send(writer, _error(None, "too_long", most))
            return None
        return line if line.endswith(b"\n") else None

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = decode_request(line)
        except ValueError as error:
            return _error(request_id(line), "bad_request", str(error))
        if self._token and not hmac.compare_digest(
            request.token.encode(errors="replace"), self._token.encode()
        ):
            return _error(request.id, "not_allowed", "the token is not that of engine.json")
        verb = self._verbs.get(request.verb)
        if verb is None:
            known = ", ".join(sorted(self._verbs))
            return _error(request.id, "unknown_verb", f"{request.verb!r} is not one of: {known}")
        try:
            result = await verb(request.args)
            return encode(Answer(v=VERSION, id=request.id, ok=True, result=result))
        except (EngineError, OperatorMessage) as error:
            return _error(request.id, type(error).__name__, str(error))
        except Exception as error:  # Supervised place: the door to other processes.
            _log.exception("control verb %s failed", request.verb)
            return _error(request.id, "failed", f"{request.verb} failed: {error!r}")


def _error(identifier: str | int | None, code: str, message: str) -> bytes:
    failure = Failure(code=code, message=message)
    return encode(Answer(v=VERSION, id=identifier, ok=False, error=failure))


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    await writer.drain()


def _refuse_if_answered(path: Path) -> None:
    """Raise when somebody listens on the socket; a file that nobody answers is left from a
    crash.
    """
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(_PROBE_S)
    try:
        probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except OSError as error:  # A full backlog is somebody, too; anything odd is not ours to remove.
        raise DataDirectoryInUse(f"cannot tell whether an engine uses {path}: {error}") from error
    else:
        raise DataDirectoryInUse(f"another engine listens on {path}")
    finally:
        probe.close()


__all__ = ["CONNECTIONS_MAX", "ControlServer", "Verb"]
