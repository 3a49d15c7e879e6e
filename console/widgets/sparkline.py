"""A small trend without axes: the last hour of one count, with its peak named.

Why not a chart: in a low panel there is no room for axes, and a line that rises or falls is the
message. Each pixel column shows the highest and lowest of its samples, so that a short peak is
never lost. A gap (NaN) is a gap. x is seconds. Thread: GUI.
"""

import math
from typing import Final

import numpy as np
from PySide6.QtCore import QLineF, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for
from console.viewmodels.formatting import whole
from console.viewmodels.trends import WINDOW_S, Floats

__all__ = ["SPARKLINE_MIN_PX", "Sparkline"]

SPARKLINE_MIN_PX: Final = 22
_SPANS_S: Final = (120.0, 300.0, 600.0, 1_800.0, WINDOW_S)


class Sparkline(QWidget):
    """Paints one series over the span that it has, at most an hour."""

    def __init__(self, *, theme: LiveTheme, name: str) -> None:
        super().__init__()
        self._theme = theme
        self._name = name
        self._columns: list[tuple[int, float, float]] = []
        self._peak = 0.0
        self._span_s = _SPANS_S[0]
        self.setMinimumHeight(SPARKLINE_MIN_PX)
        self.setMaximumHeight(120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(name)
        theme.changed.connect(self.update)

    def show_series(self, xs_s: Floats, values: Floats) -> None:
        """Show these samples; repaints only when the picture changes."""
        columns, peak, span_s = self._columns_of(xs_s, values)
        if (columns, peak, span_s) == (self._columns, self._peak, self._span_s):
            return
        self._columns, self._peak, self._span_s = columns, peak, span_s
        self.setAccessibleDescription(self._words())
        self.update()

    def _columns_of(
        self, xs_s: Floats, values: Floats
    ) -> tuple[list[tuple[int, float, float]], float, float]:
        if not len(xs_s):
            return [], 0.0, _SPANS_S[0]
        now_s = float(xs_s[-1])
        reach_s = now_s - float(xs_s[0])
        span_s = next((span for span in _SPANS_S if reach_s <= span), _SPANS_S[-1])
        width = max(2, self.width() - 2)
        at = ((xs_s - now_s) / span_s + 1.0) * (width - 1)
        pixel = np.clip(at.astype(np.int64), 0, width - 1)
        starts = np.concatenate(([0], np.flatnonzero(np.diff(pixel)) + 1))
        highest = np.fmax.reduceat(values, starts)
        lowest = np.fmin.reduceat(values, starts)
        columns = [
            (int(pixel[start]), float(low), float(high))
            for start, low, high in zip(starts, lowest, highest, strict=True)
            if not math.isnan(high)
        ]
        return columns, max((high for _, _, high in columns), default=0.0), span_s

    def _words(self) -> str:
        return f"peak {whole(round(self._peak))} in {self._span_s / 60:.0f} min"

    def sizeHint(self) -> QSize:
        return QSize(160, 44)

    def minimumSizeHint(self) -> QSize:
        return QSize(100, SPARKLINE_MIN_PX)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        area = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(QPen(self._theme.colour(Role.RULE), 1))
        painter.setBrush(self._theme.colour(Role.FIELD))
        painter.drawRect(area)
        painter.setPen(QPen(self._theme.colour(Role.TREND), 1))
        painter.drawLines(self._lines(area))
        self._paint_words(painter)

    def _lines(self, area: QRectF) -> list[QLineF]:
        # At least ten events high, so that one event on its way does not look like a mountain.
        scale = (area.height() - 5) / max(10.0, self._peak)
        base = area.bottom() - 2
        lines: list[QLineF] = []
        before: tuple[int, float] | None = None
        gap_px = max(2.0, 12.0 / self._span_s * self.width())
        for column, low, high in self._columns:
            x = area.left() + 1 + column
            top, bottom = base - high * scale, base - low * scale
            if before is not None and column - before[0] <= gap_px:
                lines.append(QLineF(area.left() + 1 + before[0], before[1], x, bottom))
            lines.append(QLineF(x, bottom, x, top))
            before = (column, top)
        return lines

    def _paint_words(self, painter: QPainter) -> None:
        painter.setFont(font_for(TextStyle.SMALL))
        metrics = QFontMetrics(painter.font())
        words = self._words()
        box = QRectF(5, 3, metrics.horizontalAdvance(words) + 4, metrics.height())
        painter.fillRect(box, self._theme.colour(Role.FIELD))
        painter.setPen(self._theme.colour(Role.TEXT_MUTED))
        painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, words)
