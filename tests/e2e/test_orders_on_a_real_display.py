"""Orders with a real mouse and keyboard on a real paper engine: place, cancel, close in parts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from tests.real_display import RealDisplay

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(120)
_LINE_S = 30.0


class Console:
    """The program under test; `until` waits for what it tells."""

    def __init__(self, display: RealDisplay, data_dir: Path) -> None:
        self._display = display
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.console_on_paper", str(data_dir)],
            cwd=ROOT,
            env=display.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lines: Queue[dict[str, Any]] = Queue()
        self._reader = Thread(target=self._read, name="console reader")
        self._reader.start()
        self.places = self._lines.get(timeout=60.0)
        self.now: dict[str, Any] = {}

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def until(self, is_so: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Read on until the console tells of it."""
        while not (self.now and is_so(self.now)):
            try:
                self.now = self._lines.get(timeout=_LINE_S)
            except Empty:
                raise AssertionError(f"the console last told {self.now}") from None
        return self.now

    def press(self, place: str) -> None:
        # Not waited for: the pointer may be there already, and then nothing would move.
        x, y = self.places[place]
        self._display.xdotool("mousemove", str(x), str(y), "click", "1")

    def keys(self, *keys: str) -> None:
        self._display.xdotool("key", *keys)

    def write(self, text: str) -> None:
        self._display.xdotool("type", "--delay", "20", text)

    def hold(self, place: str, *, until: Callable[[dict[str, Any]], object]) -> None:
        """Press, and let go once it has had its effect."""
        x, y = self.places[place]
        self._display.xdotool("mousemove", str(x), str(y), "mousedown", "1")
        self.until(until)
        self._display.xdotool("mouseup", "1")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def console(display: RealDisplay, tmp_path: Path) -> Iterator[Console]:
    console = Console(display, tmp_path / "desk")
    try:
        yield console
    finally:
        console.close()


def test_place_cancel_and_close_in_parts_by_mouse_and_keyboard(
    display: RealDisplay, console: Console
) -> None:
    # By mouse: an entry at market, held.
    console.press("symbol")
    console.until(lambda now: now["focus"] == "Symbol")
    console.write("btcusdt")
    console.press("amount")
    console.until(lambda now: now["focus"] == "Amount")
    console.write("0.02")
    console.until(lambda now: now["verdict"] == "WOULD BE SENT")
    console.press("send")  # A click adds no risk.
    console.hold("send", until=lambda now: now["positions"] == {"BTCUSDT": "0.02"})
    console.until(lambda now: now["protected"] == [True])
    # The button waited for the engine; who works by keyboard is still in the ticket.
    console.until(lambda now: now["focus"] in ("Buy", "Place: BUY 0.02 BTCUSDT at market"))

    # By keyboard: a limit order below the market, then cancelled.
    console.press("price")
    console.until(lambda now: now["focus"] == "Limit price")
    console.write("59500")
    console.until(lambda now: now["verdict"] == "WOULD BE SENT")
    console.keys(*["Tab"] * 6)
    console.until(lambda now: now["focus"].startswith("Place: BUY 0.02"))
    display.xdotool("keydown", "space")
    console.until(lambda now: len(now["resting"]) == 1)
    display.xdotool("keyup", "space")
    console.press("orders")
    console.keys("Down")  # The newest working order is the last one.
    console.until(lambda now: now["can_cancel"])
    console.press("cancel")
    console.until(lambda now: now["resting"] == [])

    # A part by keyboard, the rest by mouse; escape keeps it.
    console.press("held")
    console.until(lambda now: now["can_close"])
    console.press("open_close")
    console.until(lambda now: now["asking"])
    console.keys("Escape")
    console.until(lambda now: not now["asking"])
    console.press("open_close")
    console.until(lambda now: now["focus"] == "Quantity to close")
    console.write("0.005")
    console.keys("Return")
    console.until(lambda now: now["positions"] == {"BTCUSDT": "0.015"})
    console.until(lambda now: now["protected"] == [True] and now["can_close"])
    console.press("open_close")
    console.until(lambda now: now["asking"])
    console.keys("Return")
    console.until(lambda now: now["positions"] == {})


def test_the_stop_counts_while_a_close_is_being_asked_for(
    display: RealDisplay, console: Console
) -> None:
    console.press("symbol")
    console.write("BTCUSDT")
    console.press("amount")
    console.write("0.01")
    console.until(lambda now: now["verdict"] == "WOULD BE SENT")
    console.hold("send", until=lambda now: now["positions"] == {"BTCUSDT": "0.01"})
    console.press("held")
    console.until(lambda now: now["can_close"])
    console.press("open_close")
    console.until(lambda now: now["asking"])
    console.press("stop")
    console.until(lambda now: now["latched"] and now["positions"] == {})
