"""A child of `window_start`: opens one of two windows, says when it was painted, and ends.

Prints the monotonic clock in nanoseconds, which all processes of a machine share. Imports stand
where the program has them: what is loaded late there is loaded late here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec


def _say_painted() -> None:
    print(time.monotonic_ns(), flush=True)


def _watch(kind_of_widget: type, then: Callable[[], None]) -> object:
    """Call `then` once, after the first paint of such a widget."""
    from PySide6.QtCore import QEvent, QObject, QTimer
    from PySide6.QtWidgets import QApplication

    class Watch(QObject):
        def __init__(self) -> None:
            super().__init__()
            self._is_over = False

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            is_paint = event.type() == QEvent.Type.Paint
            if is_paint and not self._is_over and isinstance(watched, kind_of_widget):
                self._is_over = True
                QTimer.singleShot(0, then)
            return False

    watch = Watch()
    application = QApplication.instance()
    assert application is not None
    application.installEventFilter(watch)
    return watch


def _console(folder: Path) -> None:
    """As `seawall` does it without a command."""
    from console.cli import _engine_host
    from engine.kernel import KernelOptions, load_configuration

    plain = load_configuration(None)
    # The link starts after the first paint anyway, and a child of ours must not outlive us.
    redis = msgspec.structs.replace(plain.redis, mode="standalone")
    options = KernelOptions(
        configuration=msgspec.structs.replace(plain, redis=redis), data_dir=folder
    )
    from console.bootstrap import make_application, run_console
    from console.views.overview_view import OverviewView

    def painted() -> None:
        _say_painted()
        os._exit(0)  # What is measured is over; the next start finds a used data directory.

    make_application()
    watch = _watch(OverviewView, painted)
    run_console(_engine_host(options))
    del watch


def _bare() -> None:
    import pyqtgraph
    from PySide6.QtWidgets import QApplication, QTableWidget, QVBoxLayout, QWidget

    application = QApplication(["bare"])
    window = QWidget()
    layout = QVBoxLayout(window)
    layout.addWidget(pyqtgraph.PlotWidget())
    layout.addWidget(QTableWidget(5, 5))
    window.resize(1440, 900)

    def painted() -> None:
        _say_painted()
        application.quit()

    watch = _watch(QTableWidget, painted)
    window.show()
    application.exec()
    del watch


if __name__ == "__main__":
    if sys.argv[1] == "console":
        _console(Path(sys.argv[2]))
    else:
        _bare()
