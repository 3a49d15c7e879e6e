"""Proves that the checks around every test can fail: each is run against a test that sins.

Each sinner is written to a folder of its own and run by a pytest in a process of its own, with
the project's real conftest and configuration.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.real_display import RealDisplay
from tests.real_redis import RealRedis
from tests.waiting import eventually

_ROOT = Path(__file__).resolve().parents[1]


def _run(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    sinner = folder / "test_sinner.py"
    sinner.write_text(textwrap.dedent(body))
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-c", str(_ROOT / "pyproject.toml"), "--rootdir", str(_ROOT)),
            *("-p", "tests.conftest", str(sinner)),
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("complaint", "body"),
    [
        (
            "tasks left running",
            """
            import asyncio
            kept = []
            async def test_sin():
                kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(60)))
                assert kept
            """,
        ),
        (
            "threads left behind",
            """
            import threading
            def test_sin():
                threading.Thread(target=threading.Event().wait, args=(4,), daemon=True).start()
                assert threading.active_count() > 1
            """,
        ),
        (
            "child processes left behind",
            """
            import subprocess
            kept = []
            def test_sin():
                kept.append(subprocess.Popen(["sleep", "4"]))
                assert kept
            """,
        ),
        (
            "unexpected log records",
            """
            import logging
            def test_sin():
                assert logging.getLogger("engine").warning("the sky fell") is None
            """,
        ),
        (
            # Speed is the machine's; that a handler raised is not.
            "handler crasher raised on x",
            """
            import logging
            def test_sin():
                log = logging.getLogger("engine.bus._channel")
                log.warning("handler story took 504 ms on x (trace 1; 0 more)")
                assert log.error("handler crasher raised on x") is None
            """,
        ),
        (
            "DeprecationWarning",
            """
            import warnings
            def test_sin():
                assert warnings.warn("old", DeprecationWarning) is None
            """,
        ),
    ],
)
def test_a_test_that_leaves_something_behind_fails(
    tmp_path: Path, complaint: str, body: str
) -> None:
    finished = _run(tmp_path, body)
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert complaint in finished.stdout


@pytest.mark.timeout(60)
def test_an_announced_log_record_is_fine_and_so_is_a_slow_machine(tmp_path: Path) -> None:
    finished = _run(
        tmp_path,
        """
        import logging, pytest
        def test_slow_machine():
            log = logging.getLogger("engine.bus._channel")
            assert log.warning("handler story took 504 ms on x (trace 1; 0 more)") is None
            assert log.warning("800 events took 90 ms: a slow handler is being looked for") is None
        @pytest.mark.allow_log("the sky")
        async def test_announced():
            assert logging.getLogger("engine").warning("the sky fell") is None
        """,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


async def test_eventually_returns_the_first_true_value_and_names_what_never_came() -> None:
    answers = iter([0, 0, 7])
    assert await eventually(lambda: next(answers)) == 7
    with pytest.raises(AssertionError, match="the ship"):
        await eventually(lambda: False, timeout_s=0.02, reason="the ship came in")


def test_the_redis_server_dies_freezes_and_forgets_on_command(redis_server: RealRedis) -> None:
    assert redis_server.command("SET", "key", "value") == b"+OK\r\n"
    redis_server.freeze()
    with pytest.raises(TimeoutError):
        redis_server.command("PING")
    redis_server.thaw()
    assert redis_server.command("GET", "key") == b"$5\r\nvalue\r\n"
    redis_server.flush()
    assert redis_server.command("GET", "key") == b"$-1\r\n"
    redis_server.kill()
    assert not redis_server.is_alive
    redis_server.restart()
    assert redis_server.command("PING") == b"+PONG\r\n"


def test_the_display_carries_a_real_press_to_a_real_window(display: RealDisplay) -> None:
    window = """
from PySide6.QtWidgets import QApplication, QPushButton
app = QApplication([])
button = QPushButton("press")
button.pressed.connect(lambda: (print("pressed", app.platformName(), flush=True), app.quit()))
button.setWindowTitle("canary")
button.showMaximized()
app.exec()
"""
    with subprocess.Popen(
        [sys.executable, "-c", window],
        env=display.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert display.xdotool("search", "--sync", "--onlyvisible", "--name", "^canary$")
            for _ in range(100):  # The window may not be maximised under the pointer at once.
                display.press(600, 400)
                try:
                    program.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
                break
            assert program.returncode == 0
            assert program.stdout is not None
            assert program.stdout.read() == "pressed xcb\n"
        finally:
            program.kill()
