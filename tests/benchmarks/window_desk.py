"""The console's window on a real kernel, in a process of its own, for what is measured in it.

Why a process of its own: there is one QApplication a process, its platform is chosen before it is
made, and a benchmark must not leave its loop to the next. `in_a_window("press_to_block", effort)`
runs that module's coroutine `in_window(session, effort)` in a child and returns the lists of
numbers it gives. Drawn offscreen, which paints everything that a screen would show.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.kernel import Kernel, KernelOptions, build_kernel, load_configuration
from engine.model.config import Configuration
from engine.model.errors import OperatorMessage
from engine.model.ids import Symbol
from engine.model.instrument import paper_instrument
from engine.model.values import Side
from engine.runtime import SystemClock, Tasks
from tests.benchmarks.figures import Effort

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from console.theme import LiveTheme
    from console.window import MainWindow

__all__ = ["Desk", "Flood", "Numbers", "Session", "configuration", "in_a_window"]

_LIMIT_S = 600
_ROOT = Path(__file__).resolve().parents[2]
_BURST_S = 0.004
_LATE_S_MAX = 1.0
_SIZE = (1440, 900)
Numbers = dict[str, list[float]]
Measurement = Callable[["Session", Effort], Awaitable[Numbers]]


def in_a_window(name: str, effort: Effort) -> Numbers:
    """Run the part of a benchmark that needs a window, in a child; what it measured."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", __name__, name, msgspec.json.encode(effort).decode()],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise OperatorMessage(f"{name}: the window's process failed: {last[0]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Numbers)


def configuration(*, symbols: Sequence[str] = (), policy_file: str = "") -> Configuration:
    """Paper without latency and without Redis: what is measured is this process alone."""
    plain = load_configuration(None)
    names = tuple(symbols) or plain.market.symbols
    return msgspec.structs.replace(
        plain,
        market=msgspec.structs.replace(plain.market, symbols=names),
        paper=msgspec.structs.replace(plain.paper, latency_ms=0),
        policy=msgspec.structs.replace(plain.policy, file=policy_file),
        redis=msgspec.structs.replace(plain.redis, mode="standalone"),
    )


@dataclass(frozen=True, slots=True)
class Desk:
    """A started kernel and the window on it."""

    kernel: Kernel
    window: MainWindow

    @contextlib.asynccontextmanager
    async def flooded(self, per_s: int) -> AsyncIterator[Flood]:
        """Trades at this rate, beside the market's own, while the block runs."""
        flood = Flood(kernel=self.kernel, per_s=per_s)
        tasks = Tasks(on_fault=lambda name, error: None)
        tasks.spawn("flood", flood.run(), forever=True)
        try:
            yield flood
        finally:
            await tasks.cancel_all()


class Session:
    """The application of this process, and desks in it."""

    def __init__(self, *, application: QApplication, theme: LiveTheme) -> None:
        self._application = application
        self._theme = theme

    @contextlib.asynccontextmanager
    async def desk(self, data_dir: Path, settings: Configuration) -> AsyncIterator[Desk]:
        """Build, show, start; and the way back, in the order in which the program does it."""
        from console.window import MainWindow

        options = KernelOptions(configuration=settings, data_dir=data_dir)
        async with contextlib.AsyncExitStack() as undo:
            kernel = await build_kernel(options, clock=SystemClock())
            undo.push_async_callback(kernel.stop)
            window = MainWindow(
                client=kernel.client,
                theme=self._theme,
                application=self._application,
                loop=asyncio.get_running_loop(),
            )
            undo.callback(window.deleteLater)
            undo.callback(window.hide)
            window.resize(*_SIZE)
            window.show()
            window.begin()
            undo.push_async_callback(window.end)
            await kernel.start()
            yield Desk(kernel, window)


class Flood:
    """Trades at a steady rate, pushed into the kernel's market in small bursts, a tick up and down
    around the last price, so that each one moves the account.
    """

    def __init__(self, *, kernel: Kernel, per_s: int) -> None:
        self._market = kernel.parts.market
        self._clock = kernel.parts.clock
        self._symbols = tuple(Symbol(name) for name in kernel.parts.feed.symbols)
        self._steps = [paper_instrument(symbol).tick_size for symbol in self._symbols]
        self._burst = max(1, round(per_s * _BURST_S))
        self._number = 0
        self.pushed = 0

    async def run(self) -> None:
        """Push for ever; a delay beyond a second is not made up for."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for _ in range(self._burst):
                self._push()
            due = max(due + _BURST_S, loop.time() - _LATE_S_MAX)
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _push(self) -> None:
        self._number += 1
        turn, index = divmod(self._number, len(self._symbols))
        price = self._market.last_price(self._symbols[index])
        if price is not None:
            step = self._steps[index] if turn % 2 else -self._steps[index]
            self.pushed += 1
            self._market.on_trade(
                self._symbols[index], price + step, Decimal(1), Side.BUY, self._clock.now_ns()
            )


def _main(name: str, effort: Effort) -> None:
    from console.bootstrap import make_application
    from console.qt import ConsoleEventLoop
    from console.theme import DUSK, LiveTheme

    measurement: Measurement = importlib.import_module(f"tests.benchmarks.{name}").in_window
    application = make_application()
    session = Session(application=application, theme=LiveTheme(application=application, theme=DUSK))
    loop = ConsoleEventLoop(application)
    asyncio.set_event_loop(loop)

    async def body() -> Numbers:
        return await measurement(session, effort)

    try:
        numbers = loop.run_until_complete(body())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    print(msgspec.json.encode(numbers).decode(), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Effort))
