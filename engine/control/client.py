"""The other end: a command line that asks a running engine, without an event loop.

One connection a call. Fails, each in plain words: `NoEngine` when nobody listens, `NoAnswer` (a
NoEngine, since whoever wants an engine has none) when somebody does and says nothing in time,
`CommandFailed` when the engine answered with an error. Times are real seconds.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.control.address import read_port_file, socket_path
from engine.control.wire import ANSWER_BYTES_MAX, VERSION, Request, decode_answer, encode
from engine.model.errors import EngineError

_BLOCK_BYTES = 64 * 1024


class NoEngine(EngineError):
    """No engine runs on this data directory."""


class NoAnswer(NoEngine):
    """An engine is there and did not answer in time: it may be frozen."""


class CommandFailed(EngineError):
    """The engine answered with an error; `code` is a short word for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ControlClient:
    """Asks the engine of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._numbers = itertools.count(1)

    def call(
        self, verb: str, args: Mapping[str, Any] | None = None, *, timeout_s: float = 1.0
    ) -> Any:
        """Send one command and return its result, as plain JSON values."""
        deadline = time.monotonic() + timeout_s
        identifier = f"{os.getpid()}-{next(self._numbers)}"
        connection, token = self._connect(timeout_s)
        with connection:
            request = Request(
                v=VERSION, id=identifier, verb=verb, args=dict(args or {}), token=token
            )
            try:
                connection.sendall(encode(request))
                line = _read_line(connection, deadline)
            except TimeoutError as error:
                raise NoAnswer(f"the engine did not answer within {timeout_s:g} s") from error
            except OSError as error:
                raise NoAnswer(f"the connection to the engine broke: {error}") from error
        try:
            answer = decode_answer(line)
        except ValueError as error:
            raise NoAnswer(f"what listens here is not an engine we understand: {error}") from error
        if answer.error is not None:
            raise CommandFailed(answer.error.code, answer.error.message)
        if answer.id != identifier:
            raise NoAnswer(f"the answer is to {answer.id!r}, not to {identifier!r}")
        return answer.result

    def _connect(self, timeout_s: float) -> tuple[socket.socket, str]:
        """The socket where there is one, else the port file's port."""
        path = socket_path(self._data_dir)
        try:
            if path is not None and path.exists():
                return _connected(socket.AF_UNIX, str(path), timeout_s), ""
            by_port = read_port_file(self._data_dir)
            if by_port is not None:
                where = ("127.0.0.1", by_port.port)
                return _connected(socket.AF_INET, where, timeout_s), by_port.token
        except (ConnectionRefusedError, FileNotFoundError) as error:
            why = f"no engine runs on {self._data_dir} (its socket is left from an earlier one)"
            raise NoEngine(why) from error
        except TimeoutError as error:
            raise NoAnswer(f"the engine took no connection within {timeout_s:g} s") from error
        except OSError as error:
            raise NoEngine(f"the engine on {self._data_dir} cannot be reached: {error}") from error
        raise NoEngine(f"no engine runs on {self._data_dir}")


def _connected(family: int, address: Any, timeout_s: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(address)
    except BlockingIOError as error:  # A Unix socket whose backlog is full.
        connection.close()
        raise TimeoutError("the engine takes no more connections") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    """One line before the deadline; TimeoutError, or ConnectionError at an early end."""
    received = bytearray()
    while not received.endswith(b"\n"):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        block = connection.recv(_BLOCK_BYTES)
        if not block:
            raise ConnectionError("it was closed before the answer")
        received += block
        if len(received) > ANSWER_BYTES_MAX:
            raise ConnectionError(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
    return bytes(received)


__all__ = ["CommandFailed", "ControlClient", "NoAnswer", "NoEngine"]
