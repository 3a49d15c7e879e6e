"""Sets up a checkout and starts Seawall: `python3 packaging/run.py [seawall arguments]`.

The first start installs the locked dependencies into `.venv`; later ones start at once. Set-up
speaks on standard error only, so `run.py status --json | …` works.
Exit status: Seawall's own; 2 when the set-up cannot be completed, with a sentence that says why.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from environment import (
    SetupProblem,
    child_environment,
    ensure_dependencies,
    ensure_qt_libraries,
    say,
)

_USAGE_EXIT = 2
_INTERRUPTED_EXIT = 130
# Options that take a value, so that the value is not mistaken for the command's name.
_OPTIONS_WITH_VALUE = frozenset({"--config", "--data-dir", "--reason"})


def main() -> int:
    """Set up, then become Seawall."""
    arguments = sys.argv[1:]
    try:
        python = ensure_dependencies(["run"])
        _check_that_a_window_can_open(arguments)
        return _become(python, arguments)
    except SetupProblem as problem:
        say(str(problem))
        return _USAGE_EXIT
    except OSError as error:
        say(f"Set-up stopped: {error}. Check that {Path.cwd()} and the checkout are writable.")
        return _USAGE_EXIT
    except KeyboardInterrupt:
        say("Interrupted.")
        return _INTERRUPTED_EXIT


def _check_that_a_window_can_open(arguments: list[str]) -> None:
    """Say in words what Qt would say by aborting; commands without a window need none of it."""
    command = _command_of(arguments)
    draws = command in {None, "screenshot", "selftest"} and not {"-h", "--help"} & set(arguments)
    if not draws:
        return
    missing = ensure_qt_libraries()
    if missing:
        raise SetupProblem(
            "The window cannot open without them. Without a window: "
            "python3 packaging/run.py run --headless"
        )
    display = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    on_linux = sys.platform.startswith("linux")
    if command is None and on_linux and not any(os.environ.get(name) for name in display):
        raise SetupProblem(
            "There is no display here to open the console on (neither DISPLAY nor WAYLAND_DISPLAY "
            "is set). Start it from a desktop session, or without a window: "
            "python3 packaging/run.py run --headless"
        )


def _command_of(arguments: list[str]) -> str | None:
    """Return the first word that is a command; None means the console itself."""
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in _OPTIONS_WITH_VALUE
        else:
            return word
    return None


def _become(python: Path, arguments: list[str]) -> int:
    # -P: the working directory is the person's, and not a place to import from.
    command = [str(python), "-P", "-m", "console", *arguments]
    if os.name == "nt":  # There, exec gives the terminal back before the program ends.
        return subprocess.run(command, env=child_environment(), check=False).returncode
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, child_environment())


if __name__ == "__main__":
    raise SystemExit(main())
