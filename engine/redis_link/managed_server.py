"""A private Redis server: a child process on a Unix socket, without persistence, ours alone.

It ends with us even when we crash: the kernel kills it when the thread that started it (the loop's)
is gone, however that came about. `setpriv --pdeathsig` sets that up after the fork, where no Python
runs; without setpriv a `preexec_fn` does it through prctl, at the price of a slower fork. Who dies
before it is set up is not noticed by the kernel, so the child then looks once whether its parent is
still there. Where neither exists (not Linux) only an orderly stop ends it. A session of its own
keeps Ctrl-C of the terminal away from it, so that the orderly stop can drain into it.

Empty after each start by design. Starting it blocks the loop for the few milliseconds of a fork.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.ports.clock import Clock
from engine.redis_link.faults import LinkFault

# The system's limit is 108 bytes with the closing zero, 104 on some.
_SOCKET_PATH_BYTES_MAX = 100
_PR_SET_PDEATHSIG = 1
_STOP_WAIT_S = 2.0
_POLL_S = 0.01


class ManagedServer:
    """Starts, watches and ends the child. Its log and socket are in `folder`, or in a temporary
    one."""

    def __init__(self, *, program: str, folder: Path, io_clock: Clock) -> None:
        self._program = program
        self._wanted_folder = folder
        self._io_clock = io_clock
        self._folder: Path | None = None
        self._is_temporary = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket()}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def is_running(self) -> bool:
        """Whether the child lives; collects it when it has died."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the child; it answers a little later. LinkFault when there is no program to
        start."""
        if not self._program:
            raise LinkFault("no redis-server or valkey-server is installed")
        folder = self._make_folder()
        self._socket().unlink(missing_ok=True)
        command, preexec = _dying_with_us(
            [
                *(self._program, "--port", "0"),
                *("--unixsocket", str(self._socket()), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
                *("--dir", str(folder), "--logfile", str(folder / "redis.log")),
            ]
        )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=preexec,
                env=_without_secrets(os.environ),
            )
        except OSError as error:
            raise LinkFault(f"{self._program} cannot be started: {error}") from error

    async def stop(self) -> None:
        """End the child and remove what it left."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            deadline_ns = self._io_clock.monotonic_ns() + round(_STOP_WAIT_S * 1e9)
            while process.poll() is None and self._io_clock.monotonic_ns() < deadline_ns:
                await self._io_clock.sleep(_POLL_S)
            if process.poll() is None:
                process.kill()
                process.wait()
        if self._folder is not None and self._is_temporary:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _make_folder(self) -> Path:
        if self._folder is None:
            wanted = self._wanted_folder.absolute()
            if len(bytes(wanted / "redis.sock")) <= _SOCKET_PATH_BYTES_MAX:
                wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._folder = wanted
            else:
                self._folder = Path(tempfile.mkdtemp(prefix="seawall-"))
                self._is_temporary = True
        return self._folder

    def _socket(self) -> Path:
        return self._make_folder() / "redis.sock"


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What the child may know of our environment: not our own variables, keys among them."""
    return {name: text for name, text in environment.items() if not name.startswith("SEAWALL_")}


def _dying_with_us(command: list[str]) -> tuple[list[str], Callable[[], None] | None]:
    """The command, and what to run in the child, so that the kernel kills it when we are gone."""
    if sys.platform != "linux":
        return command, None
    parent = os.getpid()
    setpriv, shell = shutil.which("setpriv"), shutil.which("sh")
    if setpriv and shell:
        look = f'[ "$PPID" = {parent} ] && exec "$@"'
        return [setpriv, "--pdeathsig", "KILL", "--", shell, "-c", look, "sh", *command], None
    libc = ctypes.CDLL(None)  # Loaded here: in the child, after a fork with threads, it may hang.

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return command, die_with_parent


__all__ = ["ManagedServer"]
