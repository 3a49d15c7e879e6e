"""One key indicator: name, value, and a bar with the normal band, limit ticks and a marker.

Why a bar: distance to the limit is the message, the number is secondary (R30, R31). The marker
takes the tone's shape and colour only when a limit is crossed. A stale value is dim, one without
data is hatched (R32).
"""

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for
from console.viewmodels.appearance import TONE_GLYPH, Glyph, IndicatorState, Tone
from console.widgets.glyphs import paint_glyph

__all__ = ["IndicatorBar"]

_BAR_PX = 8
_MARKER_PX = 11


class IndicatorBar(QWidget):
    """Paints an ``IndicatorState`` in 38 px of height."""

    def __init__(self, *, theme: LiveTheme, state: IndicatorState) -> None:
        super().__init__()
        self._theme = theme
        self._state = state
        self.setFixedHeight(38)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._describe()
        theme.changed.connect(self.update)

    @property
    def state(self) -> IndicatorState:
        """What it shows."""
        return self._state

    def show_state(self, state: IndicatorState) -> None:
        """Show other values; repaints only on a change."""
        if state == self._state:
            return
        self._state = state
        self._describe()
        self.update()

    def text_fits(self) -> bool:
        """Whether name, note and value have room side by side."""
        return self._texts_width() <= self.width()

    def _describe(self) -> None:
        self.setAccessibleName(f"{self._state.name} {self._state.value}")
        self.setAccessibleDescription(self._state.description)

    def _texts_width(self) -> int:
        body, strong = (
            QFontMetrics(font_for(TextStyle.BODY)),
            QFontMetrics(font_for(TextStyle.STRONG)),
        )
        small = QFontMetrics(font_for(TextStyle.SMALL))
        note = small.horizontalAdvance(self._state.note) + 8 if self._state.note else 0
        glyph = 16 if TONE_GLYPH[self._state.tone] else 0
        name = body.horizontalAdvance(self._state.name)
        return name + note + glyph + strong.horizontalAdvance(self._state.value) + 12

    def sizeHint(self) -> QSize:
        return QSize(self._texts_width(), 38)

    def minimumSizeHint(self) -> QSize:
        return QSize(190, 38)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        self._paint_texts(painter)
        bar = QRectF(0.5, 25.5, self.width() - 1, _BAR_PX)
        painter.setPen(QPen(self._theme.colour(Role.BORDER), 1))
        painter.setBrush(self._theme.colour(Role.FIELD))
        painter.drawRect(bar)
        if self._state.at is None:
            self._paint_no_data(painter, bar)
            return
        band = QRectF(bar).adjusted(0.5, 0.5, -0.5, -0.5)
        band.setWidth(band.width() * self._state.normal_to)
        painter.fillRect(band, self._theme.colour(Role.NORMAL_BAND))
        painter.setPen(QPen(self._theme.colour(Role.TEXT), 2))
        for tick in self._state.ticks:
            x = round(bar.left() + bar.width() * tick)
            painter.drawLine(x, int(bar.top()) - 2, x, int(bar.bottom()) + 3)
        self._paint_marker(painter, bar, self._state.at)

    def _paint_texts(self, painter: QPainter) -> None:
        state = self._state
        line = QRectF(0, 0, self.width(), 20)
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.setFont(font_for(TextStyle.BODY))
        painter.setPen(self._theme.colour(Role.TEXT_MUTED))
        painter.drawText(line, left, state.name)
        if state.note:
            name_width = QFontMetrics(painter.font()).horizontalAdvance(state.name)
            painter.setFont(font_for(TextStyle.SMALL))
            painter.drawText(line.adjusted(name_width + 8, 1, 0, 1), left, state.note)
        painter.setFont(font_for(TextStyle.STRONG))
        is_dim = state.is_stale or state.at is None
        painter.setPen(self._theme.colour(Role.TEXT_MUTED if is_dim else Role.TEXT))
        painter.drawText(line, right, state.value)
        glyph = TONE_GLYPH[state.tone]
        if glyph is not Glyph.NONE:
            width = QFontMetrics(painter.font()).horizontalAdvance(state.value)
            area = QRectF(self.width() - width - 17, 5, 11, 11)
            paint_glyph(painter, glyph, area, self._theme.colour(Role.TEXT))

    def _paint_no_data(self, painter: QPainter, bar: QRectF) -> None:
        hatch = QBrush(self._theme.colour(Role.BORDER), Qt.BrushStyle.BDiagPattern)
        painter.fillRect(bar.adjusted(1, 1, -1, -1), hatch)

    def _paint_marker(self, painter: QPainter, bar: QRectF, at: float) -> None:
        x = bar.left() + bar.width() * min(1.0, max(0.0, at))
        area = QRectF(x - _MARKER_PX / 2, bar.top() - 1, _MARKER_PX, _MARKER_PX)
        area.moveLeft(min(max(area.left(), 0.0), self.width() - _MARKER_PX))
        if self._state.tone is Tone.NEUTRAL:
            role = Role.TEXT_MUTED if self._state.is_stale else Role.TREND
            paint_glyph(painter, Glyph.TRIANGLE, area, self._theme.colour(role))
            return
        fill, _ = self._theme.current.fill(self._state.tone)
        halo = area.adjusted(-1.5, -2, 1.5, 1.5)
        paint_glyph(
            painter, TONE_GLYPH[self._state.tone], halo, self._theme.colour(Role.CHIP_OUTLINE)
        )
        paint_glyph(painter, TONE_GLYPH[self._state.tone], area, QColor(fill))
