"""Named, owned Qt timers: the only place that makes a QTimer besides the event loop.

A timer without an owner outlives the widget it paints and crashes it; a timer without a name
cannot be found when it leaks. Units: milliseconds. Thread: GUI.
"""

from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, QTimer

__all__ = ["named_timer"]


def named_timer(
    owner: QObject,
    name: str,
    *,
    interval_ms: int,
    callback: Callable[[], object],
    is_single_shot: bool = False,
    is_precise: bool = False,
) -> QTimer:
    """A stopped timer that belongs to ``owner`` and is called ``name``; start it yourself."""
    timer = QTimer(owner)
    timer.setObjectName(name)
    timer.setInterval(interval_ms)
    timer.setSingleShot(is_single_shot)
    timer.setTimerType(Qt.TimerType.PreciseTimer if is_precise else Qt.TimerType.CoarseTimer)
    timer.timeout.connect(callback)
    return timer
