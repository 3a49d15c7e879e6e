"""Sets up a checkout and runs every check: `python3 packaging/test.py [pytest arguments]`.

In this order, each under its heading, all of them even when one fails: format, lint, types,
import contracts, tests (with 20 seeds of each campaign). pytest arguments narrow the tests; the
static checks, which take seconds, run all the same.

    --campaign NAME --seeds N   a whole campaign instead, resumable; writes campaign-NAME.json
    --seeds N                   seeds of each campaign within the tests (20)
    --peers                     benchmarks may install the peers they are measured against

Exit status: 0 when everything passed, 1 when something failed, 2 when the set-up could not be
completed, with a sentence that says why.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from environment import (
    PROJECT_ROOT,
    SetupProblem,
    child_environment,
    ensure_dependencies,
    ensure_programs,
    ensure_qt_libraries,
    ensure_redis_server,
    say,
)

_FAILED_EXIT = 1
_USAGE_EXIT = 2
_INTERRUPTED_EXIT = 130
_ALL_CHECKS_LIMIT_S = 14 * 60  # The promise is 15 minutes; a run that hangs must end and say so.
_INTERRUPT_GRACE_S = 20
_CAMPAIGN_SEEDS = 1000
# What tests of the real window need beside Qt, and Debian's package of each.
_WINDOW_PROGRAMS: Mapping[str, str] = {"Xvfb": "xvfb", "openbox": "openbox", "xdotool": "xdotool"}


@dataclass(frozen=True)
class Check:
    """One thing to run: its name, its command, and how long it may take."""

    name: str
    command: Sequence[str]
    limit_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a check."""

    name: str
    exit_status: int
    duration_s: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.exit_status == 0


def main() -> int:
    """Set up, run what was asked for, sum up."""
    chosen, pytest_arguments = _parse(sys.argv[1:])
    try:
        python = ensure_dependencies(["run", "dev"])
        environment = _prepare_system(python)
        if chosen.campaign:
            return _run_campaign(python, chosen, environment)
        return _run_all(_checks(python, chosen, pytest_arguments), environment)
    except SetupProblem as problem:
        say(str(problem))
        return _USAGE_EXIT
    except OSError as error:
        say(f"Set-up stopped: {error}. Check that {PROJECT_ROOT} is writable and not full.")
        return _USAGE_EXIT
    except KeyboardInterrupt:
        say("Interrupted.")
        return _INTERRUPTED_EXIT


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="packaging/test.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [--campaign NAME] [--seeds N] [--peers] [pytest arguments]",
        allow_abbrev=False,
    )
    parser.add_argument("--campaign", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--seeds", metavar="N", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--peers", action="store_true", help=argparse.SUPPRESS)
    chosen, pytest_arguments = parser.parse_known_args(arguments)
    if chosen.campaign and pytest_arguments:
        parser.error(f"a campaign takes no pytest arguments ({' '.join(pytest_arguments)})")
    if chosen.seeds is not None and chosen.seeds < 1:
        parser.error("--seeds: a campaign needs at least one seed")
    return chosen, pytest_arguments


def _prepare_system(python: Path) -> dict[str, str]:
    """Find or install what tests need from the system; return the environment to run them in."""
    environment = child_environment()
    # The tools of the environment first, as if it were activated.
    folders = [str(python.parent)]
    if ensure_qt_libraries():
        raise SetupProblem("The tests draw real windows and cannot run without these packages.")
    server = ensure_redis_server(python)
    if server is None:
        say("No Redis server to be had here: the tests that need one will skip and say so.")
    else:
        environment["SEAWALL_REDIS_SERVER"] = str(server)
        folders.append(str(server.parent))
    if sys.platform.startswith("linux"):
        absent = ensure_programs(_WINDOW_PROGRAMS)
        if absent:
            say(f"Not here: {', '.join(absent)}. Tests of the real window will skip and say so.")
    environment["PATH"] = os.pathsep.join([*folders, environment.get("PATH", os.defpath)])
    return environment


# Much of the suite waits for real servers, processes and windows, so four workers fit two cores.
_WORKERS = ("-n", "4", "--dist", "worksteal")


def _checks(
    python: Path, chosen: argparse.Namespace, pytest_arguments: Sequence[str]
) -> list[Check]:
    run = [str(python), "-m"]
    tests = [*run, "pytest"]
    if chosen.seeds is not None:
        tests += ["--seeds", str(chosen.seeds)]
    if chosen.peers:
        tests.append("--peers")
    # A narrowed run is somebody's own experiment and may take its time.
    limit_s = None if pytest_arguments else _ALL_CHECKS_LIMIT_S
    import_contracts = (
        "from importlinter.cli import lint_imports_command as run; run(['--no-logo'])"
    )
    return [
        Check("format", [*run, "ruff", "format", "--check", "."]),
        Check("lint", [*run, "ruff", "check", "."]),
        Check("types", [*run, "mypy", "--strict", "engine", "console", "desk_client"]),
        Check("imports", [str(python), "-c", import_contracts]),
        Check("tests", [*tests, *_WORKERS, *pytest_arguments], limit_s=limit_s),
    ]


def _run_all(checks: Sequence[Check], environment: Mapping[str, str]) -> int:
    started = time.monotonic()
    outcomes = [_run(check, environment, started) for check in checks]
    print(f"\n==== summary ({time.monotonic() - started:.0f} s)")
    for outcome in outcomes:
        verdict = "ok" if outcome.passed else f"FAILED (exit {outcome.exit_status})"
        print(f"{outcome.name:8} {outcome.duration_s:7.1f} s  {verdict}{outcome.note}")
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    print(f"Failed: {', '.join(failed)}." if failed else "Every check passed.", flush=True)
    return _FAILED_EXIT if failed else 0


def _run(check: Check, environment: Mapping[str, str], all_started: float) -> Outcome:
    print(f"\n==== {check.name}: {_readable(check.command)}", flush=True)
    started = time.monotonic()
    limit_s = None if check.limit_s is None else check.limit_s - (started - all_started)
    process = subprocess.Popen(
        check.command, cwd=PROJECT_ROOT, env=dict(environment), stdin=subprocess.DEVNULL
    )
    note = ""
    try:
        exit_status = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        note = f", stopped: all checks together may take {check.limit_s:.0f} s"
        exit_status = _stop(process) or _FAILED_EXIT
    except KeyboardInterrupt:
        _stop(process)
        raise
    return Outcome(check.name, exit_status, time.monotonic() - started, note)


def _readable(command: Sequence[str]) -> str:
    """Return the command as a person would type it, without the path of the interpreter."""
    if command[1] == "-c":
        return "lint-imports"
    return " ".join(command[2:])


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Interrupt, so that pytest still reports; kill what does not end."""
    process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
    try:
        return process.wait(timeout=_INTERRUPT_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _run_campaign(python: Path, chosen: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run a whole campaign; its module says what counts (`tests/campaigns/__init__.py`)."""
    name = chosen.campaign
    output = PROJECT_ROOT / f"campaign-{name}.json"
    seeds = ["--seeds", str(chosen.seeds or _CAMPAIGN_SEEDS), "--output", str(output)]
    command = [str(python), "-m", "tests.campaigns.runner", name, *seeds]
    return subprocess.run(
        command, cwd=PROJECT_ROOT, env=dict(environment), stdin=subprocess.DEVNULL, check=False
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
