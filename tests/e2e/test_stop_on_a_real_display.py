"""The stop with a real mouse and keyboard: X server, window manager, Qt, all of it real."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from tests.real_display import RealDisplay

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(90)


class Console:
    """The program under test; `next_line` waits for what it says."""

    def __init__(self, display: RealDisplay) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.console_on_a_script"],
            cwd=ROOT,
            env=display.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lines: Queue[dict[str, Any]] = Queue()
        self._reader = Thread(target=self._read, name="console reader")
        self._reader.start()
        self.places = self.next_line()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def next_line(self, *, timeout_s: float = 30.0) -> dict[str, Any]:
        return self._lines.get(timeout=timeout_s)

    def is_quiet(self, *, for_s: float) -> bool:
        try:
            self._lines.get(timeout=for_s)
        except Empty:
            return True
        return False

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def console(display: RealDisplay) -> Iterator[Console]:
    console = Console(display)
    try:
        yield console
    finally:
        console.close()


def test_the_first_click_counts_while_a_combo_list_is_open(
    display: RealDisplay, console: Console
) -> None:
    """Goal: an open list does not swallow the press (R07). Method: real clicks by xdotool."""
    display.press(*console.places["combo"])
    assert console.next_line() == {"there": "popup"}
    display.press(*console.places["stop"])
    assert console.next_line() == {"trip": "button"}
    assert console.is_quiet(for_s=0.5), "one press is one trip"


def test_a_press_stops_before_the_button_is_let_go(display: RealDisplay, console: Console) -> None:
    x, y = console.places["stop"]
    display.xdotool("mousemove", "--sync", str(x), str(y), "mousedown", "1")
    assert console.next_line() == {"trip": "button"}
    display.xdotool("mousemove", "--sync", "300", "400", "mouseup", "1")
    assert console.is_quiet(for_s=0.3)


@pytest.mark.parametrize("chord", ["ctrl+shift+F12", "ctrl+Pause"])
def test_the_chord_works_while_a_text_field_has_the_focus(
    display: RealDisplay, console: Console, chord: str
) -> None:
    display.press(*console.places["field"])
    assert console.next_line() == {"there": "field"}
    display.xdotool("key", chord)
    assert console.next_line() == {"trip": "chord"}
