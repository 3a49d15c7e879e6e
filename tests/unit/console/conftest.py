"""A console window on a scripted engine, offscreen, on the console's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication

from console.bootstrap import make_application
from console.qt import ConsoleEventLoop
from console.theme import DUSK, LiveTheme, Theme
from console.window import MainWindow
from engine.model.snapshots import EngineSnapshot
from tests.fakes.engine_client import FakeEngineClient

SIZES = ((1366, 700), (1920, 1080))


class Desk:
    """One window, its engine and its loop; `run` runs a coroutine to its end."""

    def __init__(self, application: QApplication) -> None:
        self.application = application
        self.theme = LiveTheme(application=application)
        self.loop = ConsoleEventLoop(application)
        self.client = FakeEngineClient()
        self.now_ns = 0
        self._window: MainWindow | None = None

    @property
    def window(self) -> MainWindow:
        assert self._window is not None
        return self._window

    def open(
        self,
        snapshot: EngineSnapshot | None = None,
        *,
        size: tuple[int, int] = SIZES[0],
        theme: Theme = DUSK,
    ) -> MainWindow:
        """Open the window on this snapshot."""
        self.close_window()
        self.theme.switch(theme)
        self.client = FakeEngineClient(snapshot)
        self._window = MainWindow(
            client=self.client,
            theme=self.theme,
            application=self.application,
            loop=self.loop,
            monotonic_ns=lambda: self.now_ns,
        )
        self._window.resize(*size)
        self._window.show()

        async def begin() -> None:
            self.window.begin()

        self.run(begin())
        self.settle()
        return self._window

    def run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self.loop.run_until_complete(coroutine)

    def settle(self) -> None:
        """Let tasks and layouts finish, and paint the newest snapshot."""
        self.run(self._turns())
        if self._window is not None and self._window.pacer is not None:
            self._window.pacer.refresh_now()
        self.run(self._turns())

    async def _turns(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    def until(self, is_there: Callable[[], bool], *, limit_s: float = 5.0) -> None:
        """Run the loop until a condition holds."""

        async def wait() -> None:
            deadline = self.loop.time() + limit_s
            while not is_there():
                assert self.loop.time() < deadline, "the condition did not come true in time"
                await asyncio.sleep(0.01)

        self.run(wait())

    def close_window(self) -> None:
        if self._window is None:
            return
        window, self._window = self._window, None
        self.run(window.end())
        window.hide()
        window.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

    def close(self) -> None:
        self.close_window()
        self.theme.switch(DUSK)
        self.loop.close()


@pytest.fixture
def desk(qapp: QApplication) -> Iterator[Desk]:
    """A console that closes with the test."""
    make_application()
    desk = Desk(qapp)
    yield desk
    desk.close()


@pytest.fixture
def theme(qapp: QApplication) -> LiveTheme:
    """The live theme alone, for widget tests."""
    make_application()
    return LiveTheme(application=qapp)
