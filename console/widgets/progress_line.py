"""A thin bar that says how much of something is done: neutral in colour, exact in width.

Why painted: a QProgressBar animates and restyles; this one moves only when the engine's figure
does. ``fraction`` is 0 to 1. Thread: GUI.
"""

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role

__all__ = ["ProgressLine"]

_HEIGHT_PX = 9


class ProgressLine(QWidget):
    """Filled from the left up to ``fraction``."""

    def __init__(self, *, theme: LiveTheme, name: str) -> None:
        super().__init__()
        self._theme = theme
        self._name = name
        self._fraction = 0.0
        self.setFixedHeight(_HEIGHT_PX)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._describe()
        theme.changed.connect(self.update)

    @property
    def fraction(self) -> float:
        """What is shown as done."""
        return self._fraction

    def show_fraction(self, fraction: float) -> None:
        """Show another share; repaints only on a change."""
        fraction = min(1.0, max(0.0, fraction))
        if fraction != self._fraction:
            self._fraction = fraction
            self._describe()
            self.update()

    def _describe(self) -> None:
        self.setAccessibleName(f"{self._name}: {self._fraction * 100:.0f} per cent done")

    def sizeHint(self) -> QSize:
        return QSize(120, _HEIGHT_PX)

    def minimumSizeHint(self) -> QSize:
        return QSize(60, _HEIGHT_PX)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(QPen(self._theme.colour(Role.BORDER), 1))
        painter.setBrush(self._theme.colour(Role.FIELD))
        painter.drawRect(frame)
        done = frame.adjusted(1.5, 1.5, -1.5, -1.5)
        done.setWidth(done.width() * self._fraction)
        painter.fillRect(done, self._theme.colour(Role.TREND))
