"""What every test gets: a real Redis, waiting on conditions, seeds, and a check for leftovers.

A test fails when it leaves a task, a thread or a child process behind, or when it logged a
WARNING or worse that it did not announce with `@pytest.mark.allow_log("pattern")`. Only how long
this machine took is nobody's fault (`_OF_THE_MACHINE`). Qt is drawn offscreen here; tests of the
real window start the program as a process of its own.
Qt's own warnings fail a test too (pytest-qt, `qt_log_level_fail`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.real_display import RealDisplay, missing_display_programs
from tests.real_redis import RealRedis, find_redis_server
from tests.waiting import eventually as wait_until

os.environ.setdefault("QT_API", "pyside6")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# No test, and no engine that one starts, asks the keyring of whoever runs the tests.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

_GRACE_S = 2.0
_POLL_S = 0.01
_test_failed = pytest.StashKey[bool]()
# What the bus says of a handler that stood in line for a processor. Neighbours of the machine stall
# any of them: speed is measured by `seawall bench`, slow handlers are tested by their counts.
_OF_THE_MACHINE = re.compile(
    r"^engine\.bus\._channel: (handler .+ took \d+ ms on |\d+ events took \d+ ms: a slow handler)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("seawall")
    group.addoption("--seeds", type=int, default=20, help="seeds of each campaign (default 20)")
    group.addoption(
        "--peers",
        action="store_true",
        help="let benchmarks install the peers they are measured against",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[_test_failed] = True
    return report


@pytest.fixture
def eventually() -> Callable[..., object]:
    """`await eventually(lambda: condition)`; also importable from `tests.waiting`."""
    return wait_until


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    """Give the seeds that `--seeds` asks for."""
    return range(request.config.getoption("--seeds"))


@pytest.fixture
def redis_server() -> Iterator[RealRedis]:
    """A real, empty Redis server on a Unix socket; the test skips where there is none."""
    binary = find_redis_server()
    if binary is None:
        pytest.skip("no redis-server or valkey-server here; packaging/test.py installs one")
    server = RealRedis(binary=binary)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def display() -> Iterator[RealDisplay]:
    """A real X display with a window manager; the test skips where the programs are missing."""
    missing = missing_display_programs()
    if missing:
        pytest.skip(f"no {', '.join(missing)} here; packaging/test.py installs them where it may")
    real = RealDisplay()
    try:
        real.start()
        yield real
    finally:
        real.close()


@pytest.fixture
def recorded_data() -> Path:
    """The folder of recorded data: `$SEAWALL_TEST_DATA`, by default `../shared`."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SEAWALL_TEST_DATA", str(root.parent / "shared")))
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}; set SEAWALL_TEST_DATA to where it is")
    return folder


# --- Nothing may be left behind -----------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_leftover_threads_or_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    threads_before = set(threading.enumerate())
    children_before = _child_processes()
    yield
    if request.node.get_closest_marker("allow_leftovers"):
        return
    _fail_unless_gone(lambda: _names(set(threading.enumerate()) - threads_before), "threads")
    _fail_unless_gone(lambda: sorted(_child_processes() - children_before), "child processes")


@pytest.fixture(autouse=True)
def _no_leftover_tasks(
    request: pytest.FixtureRequest, _no_leftover_threads_or_processes: None
) -> None:
    """Only coroutine tests pay for the check: it needs their loop, still open."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_tasks_end_with_the_test")


@pytest.fixture
async def _tasks_end_with_the_test(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    if request.node.get_closest_marker("allow_leftovers"):
        return
    here = asyncio.current_task()

    def lingering() -> list[str]:
        left = (task for task in asyncio.all_tasks() - before if task is not here)
        return sorted(f"{task.get_name()}: {task.get_coro()!r}" for task in left)

    for _ in range(10):  # A task that was just cancelled needs a turn or two to end.
        if not lingering():
            return
        await asyncio.sleep(0)
    pytest.fail(f"tasks left running after the test: {'; '.join(lingering())}")


@pytest.fixture(autouse=True)
def _no_unexpected_log(request: pytest.FixtureRequest) -> Iterator[None]:
    expected = [
        re.compile(marker.args[0]) for marker in request.node.iter_markers(name="allow_log")
    ]
    unexpected: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = f"{record.name}: {record.getMessage()}"
            if not _OF_THE_MACHINE.match(text) and not any(
                pattern.search(text) for pattern in expected
            ):
                unexpected.append(f"{record.levelname} {text}")

    watch = Watch(level=logging.WARNING)
    logging.getLogger().addHandler(watch)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(watch)
    if unexpected and not request.node.stash.get(_test_failed, False):
        lines = "\n  ".join(unexpected[:20])
        pytest.fail(f"unexpected log records (announce with @pytest.mark.allow_log):\n  {lines}")


def _fail_unless_gone(leftovers: Callable[[], list[str]], kind: str) -> None:
    deadline = time.monotonic() + _GRACE_S
    while (left := leftovers()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if left:
        pytest.fail(f"{kind} left behind by the test: {', '.join(left)}")


def _names(threads: set[threading.Thread]) -> list[str]:
    return sorted(thread.name for thread in threads if thread.is_alive())


def _child_processes() -> set[str]:
    """Return our direct children as `pid name`, on systems with /proc; elsewhere nothing."""
    children: set[str] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids = listing.read_text().split()
        except OSError:
            continue  # That thread has just ended.
        for pid in pids:
            try:
                children.add(f"{pid} {Path(f'/proc/{pid}/comm').read_text().strip()}")
            except OSError:
                continue  # That child has just ended.
    return children
