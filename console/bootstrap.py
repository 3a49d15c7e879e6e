"""The console's composition root: application, loop, theme, window, and an engine handed in.

What: `run_console` opens the window on an engine that a coroutine builds, shows the first picture
before the engine has started (so a latched stop is on the screen at once), starts the engine beside
it, and stops it when the window has closed.
Thread: the GUI thread, which becomes the loop's. Fails: an engine that cannot be built ends the
program with its error; one that cannot start leaves the window open and says why.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from PySide6.QtWidgets import QApplication

from console.qt import ConsoleEventLoop
from console.theme import DUSK, THEMES, LiveTheme, load_fonts
from console.window import MainWindow
from engine.api import EngineClient

__all__ = ["BuildEngine", "HostedEngine", "make_application", "run_console"]

_log = logging.getLogger(__name__)
_FIRST_SIZE = (1440, 900)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedEngine:
    """A built engine: its door, and how to start and stop it."""

    client: EngineClient
    start: Callable[[], Awaitable[object]]
    stop: Callable[[], Awaitable[object]]
    # Told how to bring the window forward, for a second `seawall` on the same data directory.
    on_window: Callable[[Callable[[], None]], object] = lambda _: None


BuildEngine = Callable[[], Awaitable[HostedEngine]]


def make_application() -> QApplication:
    """The one QApplication, with the bundled typeface; the existing one where there is one."""
    existing = QApplication.instance()
    application = existing if isinstance(existing, QApplication) else QApplication(["seawall"])
    application.setApplicationName("Seawall")
    application.setQuitOnLastWindowClosed(False)
    load_fonts()
    return application


def run_console(build: BuildEngine, *, theme_name: str = "dusk", author: str = "operator") -> int:
    """Open the console and run until the window has closed and the engine has stopped."""
    application = make_application()
    theme = LiveTheme(application=application, theme=THEMES.get(theme_name, DUSK))
    loop = ConsoleEventLoop(application)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_host(build, application=application, theme=theme, author=author))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return 0


async def _host(
    build: BuildEngine, *, application: QApplication, theme: LiveTheme, author: str
) -> None:
    engine = await build()
    closed = asyncio.Event()
    window = MainWindow(
        client=engine.client,
        theme=theme,
        application=application,
        loop=asyncio.get_running_loop(),
        author=author,
    )
    window.closed.connect(closed.set)
    _resize_to_screen(window, application)
    window.show()
    engine.on_window(lambda: _bring_forward(window))
    window.begin()
    _close_on_signals(window)
    starting = window.tasks.spawn("engine start", _start(engine, window))
    try:
        await closed.wait()
    finally:
        starting.cancel()
        await window.end()
        await engine.stop()
        window.deleteLater()


async def _start(engine: HostedEngine, window: MainWindow) -> None:
    try:
        await engine.start()
    except Exception as error:
        # Main is one of the supervised places: the window stays, tells why, and can still stop.
        _log.exception("the engine did not start")
        window.messages.fail(f"The engine did not start: {error}")


def _bring_forward(window: MainWindow) -> None:
    window.showNormal() if window.isMinimized() else window.show()
    window.raise_()
    window.activateWindow()


def _resize_to_screen(window: MainWindow, application: QApplication) -> None:
    screen = application.primaryScreen()
    room = screen.availableGeometry()
    width, height = _FIRST_SIZE
    window.resize(min(width, room.width()), min(height, room.height()))


def _close_on_signals(window: MainWindow) -> None:
    """SIGINT and SIGTERM ask like the window's close button does."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, window.request_close)
        except (NotImplementedError, RuntimeError, ValueError):
            _log.info("signal %s cannot be heard here", number)
