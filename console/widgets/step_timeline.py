"""Steps one after the other on one time axis: name, bar where and as long as it took, duration.

Why bars in place and not a list of numbers: which step cost the time is seen at once. A bar is at
least three pixels, so that a quick step is still there; a failed one has the cross and the word.
Thread: GUI.
"""

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for
from console.viewmodels.appearance import Glyph
from console.viewmodels.health_links import StepBar
from console.widgets.glyphs import paint_glyph

__all__ = ["STEP_PX", "StepTimeline"]

STEP_PX = 17
_NAME_PX = 150
_DURATION_PX = 62
_GLYPH_PX = 9


class StepTimeline(QWidget):
    """One line a step."""

    def __init__(self, *, theme: LiveTheme, name: str) -> None:
        super().__init__()
        self._theme = theme
        self._steps: tuple[StepBar, ...] = ()
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(STEP_PX)
        theme.changed.connect(self.update)

    def show_steps(self, steps: tuple[StepBar, ...]) -> None:
        """Show these; repaints only on a change."""
        if steps == self._steps:
            return
        self._steps = steps
        self.setFixedHeight(STEP_PX * max(1, len(steps)))
        words = (f"{step.title} {step.duration}" for step in steps)
        self.setAccessibleDescription(", ".join(words))
        self.update()

    def text_fits(self) -> bool:
        """Whether every name and duration has its room."""
        metrics = QFontMetrics(font_for(TextStyle.SMALL))
        names = (metrics.horizontalAdvance(step.title) + _GLYPH_PX + 6 for step in self._steps)
        durations = (metrics.horizontalAdvance(step.duration) for step in self._steps)
        return max(names, default=0) <= _NAME_PX and max(durations, default=0) <= _DURATION_PX

    def sizeHint(self) -> QSize:
        return QSize(_NAME_PX + _DURATION_PX + 160, self.height())

    def minimumSizeHint(self) -> QSize:
        return QSize(_NAME_PX + _DURATION_PX + 60, self.height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(font_for(TextStyle.SMALL))
        left, room = _NAME_PX, self.width() - _NAME_PX - _DURATION_PX - 8
        vertical = Qt.AlignmentFlag.AlignVCenter
        for at, step in enumerate(self._steps):
            top = at * STEP_PX
            colour = self._theme.colour(Role.TEXT)
            glyph = QRectF(0, top + (STEP_PX - _GLYPH_PX) / 2, _GLYPH_PX, _GLYPH_PX)
            paint_glyph(painter, Glyph.CHECK if step.ok else Glyph.CROSS, glyph, colour)
            painter.setPen(colour)
            words = QRectF(_GLYPH_PX + 6, top, _NAME_PX - _GLYPH_PX - 6, STEP_PX)
            painter.drawText(words, Qt.AlignmentFlag.AlignLeft | vertical, step.title)
            painter.setPen(QPen(self._theme.colour(Role.RULE), 1))
            middle = top + STEP_PX / 2
            painter.drawLine(int(left), int(middle), int(left + room), int(middle))
            bar = QRectF(
                left + room * step.begin,
                top + 4,
                max(3.0, room * (step.end - step.begin)),
                STEP_PX - 8,
            )
            bar.moveRight(min(bar.right(), float(left + room)))
            painter.fillRect(bar, self._theme.colour(Role.TREND))
            painter.setPen(self._theme.colour(Role.TEXT))
            at_right = QRectF(self.width() - _DURATION_PX, top, _DURATION_PX, STEP_PX)
            painter.drawText(at_right, Qt.AlignmentFlag.AlignRight | vertical, step.duration)
