"""The window's part of the self-test: open it on an engine, look at it, press its stop.

What: every page is shown and painted, the drawdown chart draws its curve, a mouse press goes in
where the operating system's would, and the engine must be latched when it returns; then flat by the
venue's own reads, with books that say so, and a reset without its conditions refused.
Thread: GUI, on the console's own event loop. Units: seconds, pixels. Fails: like every check; an
engine that cannot be built fails the whole part.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QCoreApplication, QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QMouseEvent
from PySide6.QtWidgets import QApplication, QWidget

from console.bootstrap import make_application
from console.charts import LimitChart
from console.qt import ConsoleEventLoop
from console.selftest import CheckFailed, HostedTest, Report
from console.theme import THEMES, LiveTheme, Role
from console.window import MainWindow
from engine.model.emergency import EmergencyState, ResetRequest
from engine.model.snapshots import EngineSnapshot, EngineState, LinkState

__all__ = ["check_window"]

_SIZE: Final = (1366, 700)
_POLL_S: Final = 0.05
_START_S: Final = 15.0
_FLAT_S: Final = 20.0
_PAINTED_COLOURS_MIN: Final = 12
_CURVE_PIXELS_MIN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What the checks look at."""

    report: Report
    window: MainWindow
    theme: LiveTheme
    hosted: HostedTest

    @property
    def snapshot(self) -> EngineSnapshot:
        return self.hosted.engine.client.snapshot()


def check_window(report: Report, build: Callable[[], Awaitable[HostedTest]]) -> None:
    """Open, check, stop and close."""
    application = make_application()
    loop = ConsoleEventLoop(application)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_check(report, build, application))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


async def _check(
    report: Report, build: Callable[[], Awaitable[HostedTest]], application: QApplication
) -> None:
    hosted = await build()
    theme = LiveTheme(application=application)
    window = MainWindow(
        client=hosted.engine.client,
        theme=theme,
        application=application,
        loop=asyncio.get_running_loop(),
        author="selftest",
    )
    window.resize(*_SIZE)
    window.show()
    window.begin()
    bench = _Bench(report=report, window=window, theme=theme, hosted=hosted)
    try:
        await _engine(bench)
        await _pages(bench)
        await _chart(bench)
        await _stop(bench)
    finally:
        await window.end()
        await hosted.engine.stop()
        window.hide()
        window.deleteLater()


async def _until(is_so: Callable[[], bool], wait_s: float, failing: str) -> None:
    for _ in range(int(wait_s / _POLL_S)):
        if is_so():
            return
        await asyncio.sleep(_POLL_S)
    raise CheckFailed(f"{failing} within {wait_s:.0f} s")


async def _engine(bench: _Bench) -> None:
    """It starts on what the trading left, and says how it is linked."""
    with bench.report.check("engine start and recovery") as notes:
        await bench.hosted.engine.start()
        await _until(
            lambda: bench.snapshot.state is EngineState.RUNNING and bool(bench.snapshot.positions),
            _START_S,
            "the engine was not running with its open position",
        )
        if not bench.snapshot.orders:
            raise CheckFailed("the open position came back without its protective stop")
        notes.append("open position and its stop recovered from disk")
    with bench.report.check("redis") as notes:
        redis = bench.snapshot.redis
        if redis.mode != "standalone":
            await _until(
                lambda: bench.snapshot.redis.state is LinkState.UP,
                _START_S,
                f"{redis.mode} Redis was not up ({redis.cause})",
            )
        notes.append(f"{redis.mode}: {bench.snapshot.redis.cause}")


async def _pages(bench: _Bench) -> None:
    """Both themes, every page."""
    for name, theme in THEMES.items():
        bench.theme.switch(theme)
        for page in ("overview", "orders", "policy"):
            with bench.report.check(f"page {page}, {name}") as notes:
                bench.window.show_page(page)
                notes.append(await _painted(bench, bench.window))
    bench.theme.switch(next(iter(THEMES.values())))
    bench.window.show_page("overview")


async def _painted(bench: _Bench, widget: QWidget) -> str:
    bench.window.pacer.refresh_now()
    await asyncio.sleep(_POLL_S)
    pixels = _pixels(widget)
    colours = len(np.unique(pixels))
    if colours < _PAINTED_COLOURS_MIN:
        raise CheckFailed(f"the image has only {colours} colours: nothing was painted")
    return f"{pixels.shape[1]}x{pixels.shape[0]}, {colours} colours"


def _pixels(widget: QWidget) -> npt.NDArray[np.uint32]:
    """What the widget looks like now, a row a line, 0xffRRGGBB each."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    flat = np.frombuffer(image.constBits(), dtype=np.uint32)
    return flat.reshape(image.height(), image.bytesPerLine() // 4)[:, : image.width()].copy()


async def _chart(bench: _Bench) -> None:
    """The curve itself is on the picture, in its colour."""
    with bench.report.check("drawdown chart"):
        charts = bench.window.overview.findChildren(LimitChart)
        chart = next((each for each in charts if "drawdown" in each.accessibleName()), None)
        if chart is None:
            raise CheckFailed("the overview has no drawdown chart")
        colour = bench.theme.colour(Role.TREND)
        await _until(
            lambda: _pixels_of(chart, colour) >= _CURVE_PIXELS_MIN, _START_S, "no curve was drawn"
        )


def _pixels_of(chart: QWidget, colour: QColor) -> int:
    return int(np.count_nonzero(_pixels(chart) == colour.rgb()))


async def _stop(bench: _Bench) -> None:
    client = bench.hosted.engine.client
    with bench.report.check("stop by a mouse press"):
        _press_stop(bench.window)
        emergency = bench.snapshot.emergency
        if not emergency.latched:
            raise CheckFailed("the engine was not latched when the press returned")
        if [str(trip.source) for trip in emergency.trips] != ["button"]:
            raise CheckFailed(f"one trip by the button was expected, not {emergency.trips}")
    with bench.report.check("flat, proven by the venue") as notes:
        await _until(
            lambda: bench.snapshot.emergency.state is EmergencyState.FLAT,
            _FLAT_S,
            "the stop was not proven flat",
        )
        summary = await bench.hosted.summary()
        if not summary["ok"] or summary["open_positions"]:
            raise CheckFailed(f"the books after the stop: {summary['books']}")
        notes.append(f"{bench.snapshot.emergency.positions_closed} position closed")
    with bench.report.check("latched view") as notes:
        notes.append(await _painted(bench, bench.window))
        if not bench.window.overview.stop_panel.isVisible():
            raise CheckFailed("the stop panel is not shown")
    with bench.report.check("reset without its conditions is refused") as notes:
        answer = await client.reset(ResetRequest(cause="", reason="self-test"))
        if answer.ok or not answer.unmet or not bench.snapshot.emergency.latched:
            raise CheckFailed("a reset without cause and without trips was taken")
        notes.append(f"{len(answer.unmet)} conditions unmet")


def _press_stop(window: MainWindow) -> None:
    """Hand the press to the native window, as the platform does; Qt finds the way from there."""
    button = window.stop_button
    handle = window.windowHandle()
    if handle is None:
        raise CheckFailed("the window has no native window")
    centre = QPointF(button.rect().center())
    press = QMouseEvent(
        QEvent.Type.MouseButtonPress,
        button.mapTo(window, centre),
        button.mapToGlobal(centre),
        Qt.MouseButton.LeftButton,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QCoreApplication.sendEvent(handle, press)
