"""The console on a real engine whose real Redis is killed and comes back, photographed on the way.

    python -m tests.e2e.console_in_an_outage FOLDER [--outage-s 12] [--size 1366x700] [--theme dusk]

Real: the window (on whatever display Qt finds), the engine with its files, the Redis server, its
SIGKILL. The test's own: a market that asks for many entries and exits, so that durable events are
written all the time, and a slow road to Redis after its return, so that a replay can be seen.
Writes the pictures to FOLDER and prints one JSON line a picture: what stood on the window then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication, QWidget

from console.bootstrap import make_application
from console.qt import ConsoleEventLoop
from console.theme import THEMES, LiveTheme
from console.widgets import Chip, IndicatorBar, Paragraph, ProgressLine, TextLabel
from console.window import MainWindow
from engine.model.ids import Symbol
from engine.model.snapshots import EngineSnapshot, LinkState
from engine.model.values import Side
from engine.runtime import SystemClock
from tests.desk import Desk, with_feed
from tests.faults.busy_engine import POLICY, PRICES, BusyMarket
from tests.faults.byte_proxy import ByteProxy
from tests.real_redis import RealRedis, find_redis_server

__all__ = ["Outage"]

_LIMIT_S = 60.0
_SETTLE_S = 0.4
_SLOW_ROAD_S = 0.07


class CrowdedMarket(BusyMarket):
    """Asks for an entry or an exit in every symbol at every turn: what the gate refuses is written
    too."""

    def _stir(self, symbol: Symbol) -> None:
        super()._stir(symbol)
        if self._chance.random() < 0.5:
            self._desk.signal(self._chance.choice((Side.BUY, Side.SELL)), symbol)


class Outage:
    """One window on one engine, from a calm desk to a recovered one."""

    def __init__(self, window: MainWindow, desk: Desk, folder: Path, name: str) -> None:
        self._window = window
        self._desk = desk
        self._folder = folder
        self._name = name

    @property
    def now(self) -> EngineSnapshot:
        return self._desk.kernel.client.snapshot()

    async def until(self, is_there: Callable[[EngineSnapshot], bool]) -> None:
        """Wait for the engine to be in a state."""
        deadline = asyncio.get_running_loop().time() + _LIMIT_S
        while not is_there(self.now):
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not within {_LIMIT_S} s; redis is {self.now.redis}")
            await asyncio.sleep(0.02)

    async def keep(self, stage: str, *pages: str) -> None:
        """Photograph these pages now, and say what stands on each."""
        for page in pages:
            name, _, part = page.partition("-")
            self._window.show_page(name)
            if part:
                self._window.health_view.show_part(part)
            await asyncio.sleep(_SETTLE_S)
            self._window.pacer.refresh_now()
            await asyncio.sleep(0)
            path = self._folder / f"{stage}_{page}_{self._name}.png"
            # Written on a thread: the engine shares this loop, and would see it stand still.
            if not await asyncio.to_thread(_picture(self._window).toImage().save, str(path)):
                raise OSError(f"cannot write {path}")
            sys.stdout.write(json.dumps(self._words(stage, page, path)) + "\n")
            sys.stdout.flush()

    def _words(self, stage: str, page: str, path: Path) -> dict[str, Any]:
        now = self.now
        shown = [one for one in self._window.findChildren(QWidget) if one.isVisible()]
        return {
            "stage": stage,
            "page": page,
            "picture": str(path),
            "state": now.redis.state.value,
            "pending": now.journal.pending,
            "gate": [reason.code.value for reason in now.gate],
            "chips": [one.text for one in shown if isinstance(one, Chip)],
            "texts": [one.text for one in shown if isinstance(one, TextLabel | Paragraph)],
            "notes": [one.state.note for one in shown if isinstance(one, IndicatorBar)],
            "progress": [one.fraction for one in shown if isinstance(one, ProgressLine)],
        }


def _picture(window: MainWindow) -> Any:
    """The window as the display has it; offscreen there is no display to ask."""
    if QApplication.platformName() == "offscreen":
        return window.grab()
    return window.screen().grabWindow(window.winId())


def _is_recovered(now: EngineSnapshot) -> bool:
    recovery = now.link_history.recovery
    return recovery is not None and recovery.finished_ns is not None


async def _go_through(outage: Outage, server: RealRedis, road: ByteProxy, outage_s: float) -> None:
    await outage.until(lambda now: now.redis.state is LinkState.UP and bool(now.positions))
    await outage.until(lambda now: now.journal.written > 300)
    await outage.keep("1_up", "overview", "health-links")
    server.kill()
    await outage.until(lambda now: now.redis.state is LinkState.DOWN)
    await outage.until(lambda now: (now.redis.down_s or 0.0) > outage_s / 3)
    await outage.keep("2_down", "overview")
    await outage.until(lambda now: (now.redis.down_s or 0.0) > outage_s)
    await outage.keep("3_down_longer", "overview", "health-links")
    road.delay_s = _SLOW_ROAD_S
    server.start()
    await outage.until(lambda now: now.redis.state is LinkState.REPLAYING)
    await outage.until(lambda now: now.redis.replay_remaining < 0.7 * now.redis.replay_total)
    await outage.keep("4_replaying", "overview", "health-links")
    road.delay_s = 0.0
    await outage.until(lambda now: now.redis.state is LinkState.UP and now.journal.pending < 200)
    await outage.until(_is_recovered)
    await outage.keep("5_recovered", "overview", "health-links", "health-events")


async def _run(arguments: argparse.Namespace, application: QApplication, folder: Path) -> None:
    binary = find_redis_server()
    assert binary is not None, "no redis-server or valkey-server here"
    server = RealRedis(binary=binary, persistent=True)
    server.start()
    try:
        async with ByteProxy(upstream=server.socket_path, folder=server.folder) as road:
            clock = SystemClock()
            desk = Desk(
                clock=clock,
                folder=folder,
                policy=POLICY,
                latency_ms=2,
                prices={Symbol(symbol): price for symbol, price in PRICES.items()},
                redis_url=road.url,
            )
            await desk.build()
            desk.kernel = with_feed(desk.kernel, CrowdedMarket(desk, seed=1))
            theme = LiveTheme(application=application, theme=THEMES[arguments.theme])
            window = MainWindow(
                client=desk.kernel.client,
                theme=theme,
                application=application,
                loop=asyncio.get_running_loop(),
            )
            window.resize(*arguments.size)
            window.show()
            window.begin()
            name = f"{arguments.theme}_{arguments.size[0]}x{arguments.size[1]}"
            try:
                await desk.kernel.start()
                outage = Outage(window, desk, Path(arguments.folder), name)
                await _go_through(outage, server, road, arguments.outage_s)
            finally:
                await window.end()
                await desk.kernel.stop()
                window.hide()
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--outage-s", type=float, default=12.0)
    parser.add_argument("--theme", choices=sorted(THEMES), default="dusk")
    parser.add_argument("--size", type=_size, default=(1366, 700))
    arguments = parser.parse_args()
    Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    application = make_application()
    loop = ConsoleEventLoop(application)
    try:
        with tempfile.TemporaryDirectory(prefix="seawall-outage-") as folder:
            loop.run_until_complete(_run(arguments, application, Path(folder)))
    finally:
        loop.close()


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


if __name__ == "__main__":
    main()
