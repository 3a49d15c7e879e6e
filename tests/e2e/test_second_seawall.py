"""A second `seawall` on a data directory that is in use: real processes, a real display."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_record_commands import is_up, running, seawall
from tests.real_display import RealDisplay
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(120)
_ROOT = Path(__file__).resolve().parents[2]


def _command(data_dir: Path) -> list[str]:
    return [sys.executable, "-m", "console", "--data-dir", str(data_dir)]


@contextmanager
def _window(data_dir: Path, environment: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        _command(data_dir),
        cwd=_ROOT,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)


def _second(data_dir: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(data_dir),
        cwd=_ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _name_in_front(display: RealDisplay) -> str:
    try:
        return display.xdotool("getactivewindow", "getwindowname")
    except RuntimeError:
        return ""  # Nothing is active while the window is away.


async def test_it_brings_the_first_window_to_the_front(
    display: RealDisplay, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    environment = display.environment()
    with _window(data_dir, environment):
        await is_up(data_dir)
        await eventually(lambda: _name_in_front(display) == "Seawall", timeout_s=30)
        window = display.xdotool("getactivewindow")
        display.xdotool("windowminimize", window)
        await eventually(lambda: _name_in_front(display) != "Seawall", timeout_s=10)
        second = _second(data_dir, environment)
        assert second.returncode == 0, second.stderr
        assert "its window was asked forward" in second.stderr
        await eventually(lambda: _name_in_front(display) == "Seawall", timeout_s=10)
        assert display.xdotool("getactivewindow") == window


async def test_an_engine_without_a_window_is_named_as_what_it_is(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir):
        await is_up(data_dir)
        second = _second(data_dir, {**os.environ, "QT_QPA_PLATFORM": "offscreen"})
        assert second.returncode == 1
        assert "an engine without a window runs with this data directory" in second.stderr


async def test_whoever_writes_without_an_engine_takes_the_same_lock(tmp_path: Path) -> None:
    """Goal: no import and no backup beside an engine that starts, and none that is half done."""
    data_dir = tmp_path / "data"
    state = tmp_path / "state.json"
    state.write_text("{}")
    with running(data_dir):
        await is_up(data_dir)
        refused = seawall(data_dir, "import-state", str(state), status=1)
        assert "another Seawall uses" in refused
        buffer = tmp_path / "buffer"
        buffer.write_text("")
        assert "another Seawall uses" in seawall(data_dir, "import-buffer", str(buffer), status=1)
