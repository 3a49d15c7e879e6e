"""A real Redis server for tests: its own process on a Unix socket in a folder of its own.

Why real: what is tested is what happens when a server dies, freezes or forgets, and no imitation
of a server does that the way the kernel and the server do. Without persistence unless asked for,
so a restart forgets everything, as a managed server does.
Signals: `kill` is SIGKILL, `freeze` is SIGSTOP (the socket stays open and silent).
Fails: RuntimeError with the server's own last output when it does not answer within 10 s.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["RealRedis", "find_redis_server", "free_port"]

_START_LIMIT_S = 10.0
_POLL_S = 0.005
_SERVER_NAMES = ("redis-server", "valkey-server")


def find_redis_server() -> str | None:
    """Return the path of a server binary: `$SEAWALL_REDIS_SERVER`, else the first on the path."""
    named = os.environ.get("SEAWALL_REDIS_SERVER")
    if named and Path(named).is_file():
        return named
    return next((path for name in _SERVER_NAMES if (path := shutil.which(name))), None)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealRedis:
    """One server process that a test may kill, freeze, thaw, flush and start again."""

    def __init__(
        self, *, binary: str, persistent: bool = False, options: Sequence[str] = ()
    ) -> None:
        """`options` are the server's own and overrule ours."""
        self._binary = binary
        self._options = tuple(options)
        # Persistent: every write is in the system's hands before it is answered, so a killed server
        # forgets nothing; only a power cut could take it, and a sync each time measures the disk.
        self._persistence = ("yes", "--appendfsync", "no") if persistent else ("no",)
        # Not pytest's tmp_path: a Unix socket's path may be no longer than 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="seawall-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """The server's own, gone after `close`."""
        return self._folder

    @property
    def socket_path(self) -> Path:
        return self._folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}"

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *options: str) -> None:
        """Start the server and return when it answers a PING; `options` for this run only."""
        if self.is_alive:
            raise RuntimeError("the server is running already; kill() it first")
        self.socket_path.unlink(missing_ok=True)
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._binary, "--port", "0", "--unixsocket", str(self.socket_path)),
                    *("--save", "", "--dir", str(self._folder)),
                    *("--appendonly", *self._persistence),
                    *(*self._options, *options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_answers()

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        process = self._running()
        process.kill()
        process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after a freeze."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill the server if it runs and start an empty one on the same socket."""
        if self.is_alive:
            self.kill()
        self.start()

    def flush(self) -> None:
        """FLUSHALL: the server lives and has forgotten everything."""
        answer = self.command("FLUSHALL")
        if answer != b"+OK\r\n":
            raise RuntimeError(f"FLUSHALL was answered with {answer!r}")

    def command(self, *words: str) -> bytes:
        """Send one command over a connection of its own and return the raw answer (≤ 64 KiB)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(self.socket_path))
            encoded = [word.encode() for word in words]
            parts = [b"*%d\r\n" % len(encoded)]
            parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
            connection.sendall(b"".join(parts))
            return connection.recv(65536)

    def close(self) -> None:
        """End the process, frozen or not, and remove the folder."""
        if self.is_alive:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError("the server is not running; start() or restart() it first")
        return self._process

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            if not self.is_alive:
                break
            try:
                if self.command("PING").startswith((b"+PONG", b"-NOAUTH", b"-LOADING")):
                    return
            except OSError:
                pass  # Not listening yet.
            time.sleep(_POLL_S)
        last_words = (self._folder / "server.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self._binary} did not answer; it said:\n{last_words}")
