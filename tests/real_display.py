"""A real X display for tests of the real window: Xvfb with a window manager, driven by xdotool.

Why real: a stop button must be proved by a press that travels through the X server, the window
manager and Qt's own event delivery, not by a call of its slot. The program under test runs as a
process of its own in `environment()`; the test's own Qt stays offscreen.
Fails: RuntimeError with the last output when the server does not come up within 10 s.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from select import select

__all__ = ["RealDisplay", "missing_display_programs"]

_START_LIMIT_S = 10.0
_COMMAND_LIMIT_S = 10.0
_PROGRAMS = ("Xvfb", "openbox", "xdotool")


def missing_display_programs() -> list[str]:
    """Return what a real display needs and this system lacks."""
    return [name for name in _PROGRAMS if shutil.which(name) is None]


class RealDisplay:
    """One X server of the given size, with a window manager, on a display number of its own."""

    def __init__(self, *, width: int = 1366, height: int = 768) -> None:
        self._size = f"{width}x{height}x24"
        self._folder = Path(tempfile.mkdtemp(prefix="seawall-display-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self.name = ""

    def start(self) -> None:
        """Start the server on the first free number, then the window manager."""
        readable, writable = os.pipe()
        try:
            self._spawn(
                [
                    *("Xvfb", "-displayfd", str(writable), "-screen", "0", self._size),
                    *("-nolisten", "tcp", "-noreset"),
                ],
                pass_fds=(writable,),
            )
            os.close(writable)
            writable = -1
            number = _read_line(readable)
        finally:
            os.close(readable)
            if writable >= 0:
                os.close(writable)
        if not number:
            words = (self._folder / "display.log").read_text(errors="replace")[-1000:]
            raise RuntimeError(f"Xvfb did not come up; it said:\n{words}")
        self.name = f":{number}"
        # The window manager's own cache would be in the person's home.
        at_home = {"XDG_CACHE_HOME": str(self._folder), "XDG_CONFIG_HOME": str(self._folder)}
        self._spawn(["openbox", "--sm-disable"], environment={**self.environment(), **at_home})
        self.xdotool("getdisplaygeometry")

    def environment(self) -> dict[str, str]:
        """Return the environment for a program that shall open its window here."""
        environment = {**os.environ, "DISPLAY": self.name, "QT_API": "pyside6"}
        for other in ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY", "XAUTHORITY"):
            environment.pop(other, None)
        return environment

    def xdotool(self, *words: str) -> str:
        """Run xdotool, for example `xdotool("mousemove", "10", "20", "click", "1")`."""
        finished = subprocess.run(
            ["xdotool", *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=_COMMAND_LIMIT_S,
            check=False,
        )
        if finished.returncode != 0:
            raise RuntimeError(f"xdotool {' '.join(words)}: {finished.stderr.strip()}")
        return finished.stdout.strip()

    def press(self, x: int, y: int) -> None:
        """Move the pointer there and press and release the left button."""
        self.xdotool("mousemove", "--sync", str(x), str(y), "click", "1")

    def close(self) -> None:
        """End window manager and server, in that order, and remove the folder."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _spawn(
        self,
        command: list[str],
        *,
        environment: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        with (self._folder / "display.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )
        self._processes.append(process)


def _read_line(readable: int) -> str:
    """Read what the server writes in pieces, up to the line's end; what came in time otherwise."""
    deadline = time.monotonic() + _START_LIMIT_S
    line = b""
    while not line.endswith(b"\n"):
        answered, _, _ = select([readable], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(readable, 16) if answered else b""
        if not piece:
            return ""
        line += piece
    return line.decode().strip()
