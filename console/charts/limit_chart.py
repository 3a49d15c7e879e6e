"""A trend line against its normal band and limit lines, with the limits named by shape and words.

Why hand-painted limits: a limit line is drawn in the text colour and takes the alarm colour only
once crossed, and its label carries a painted shape, so that it can be read in greyscale and
without fonts. pyqtgraph draws the curve (1-pixel pen, clip to view, peak down-sampling, NaN as
gap) and the axes.
Units: x in seconds before the newest sample shown as minutes, y in per cent. Thread: GUI.
"""

from collections.abc import Sequence
from typing import Final

import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QFrame

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for
from console.viewmodels.appearance import TONE_GLYPH, Glyph
from console.viewmodels.chart_frames import LimitLine
from console.viewmodels.formatting import MINUS
from console.viewmodels.trends import Floats
from console.widgets.glyphs import paint_glyph

__all__ = ["LimitChart"]

_LABEL_INSET_PX: Final = 10
_STEPS_MIN: Final = {2.0: 0.5, 5.0: 1.0, 10.0: 2.0, 30.0: 5.0, 60.0: 10.0}
_SPANS_MIN: Final = tuple(_STEPS_MIN)


class _MinutesAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph is untyped
    """Minutes before now: ``−20``, ``now``."""

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        return [_minutes(value) for value in values]


class _ValueAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph is untyped
    """Per cent or counts: a true minus, no needless zeros, k and M for thousands and millions."""

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        return [_value(value) for value in values]


def _value(value: float) -> str:
    if abs(value) < 1e-9:
        return "0"
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * factor or abs(value) == factor * round(abs(value) / factor):
            return f"{value / factor:g}{unit}".replace("-", MINUS)
    return f"{value:g}".replace("-", MINUS)


def _minutes(value: float) -> str:
    return "now" if abs(value) < 1e-6 else f"{value:g} min".replace("-", MINUS)


class LimitChart(pg.PlotWidget):  # type: ignore[misc]  # pyqtgraph is untyped
    """One curve, one normal band, limit lines. Nothing reacts to the mouse."""

    def __init__(self, *, name: str, theme: LiveTheme) -> None:
        axes: dict[str, pg.AxisItem] = {
            "bottom": _MinutesAxis("bottom"),
            "left": _ValueAxis("left"),
        }
        super().__init__(axisItems=axes, enableMenu=False, antialias=False)
        self._theme = theme
        self._limits: tuple[LimitLine, ...] = ()
        self._band = (0.0, 0.0)
        self._marks: tuple[float, ...] = ()
        self._empty = "Waiting for the first values"
        self._has_data = False
        self._no_data = False
        self._axes = axes
        self.setAccessibleName(name)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        item = self.getPlotItem()
        item.setMouseEnabled(x=False, y=False)
        item.hideButtons()
        item.setMenuEnabled(False)
        item.getViewBox().setDefaultPadding(0)
        item.setContentsMargins(2, 6, 18, 2)
        self._curve = item.plot()
        self._curve.setClipToView(True)
        self._curve.setDownsampling(auto=True, method="peak")
        axes["left"].setWidth(44)
        axes["bottom"].setHeight(24)
        for axis in axes.values():
            axis.setStyle(
                tickFont=font_for(TextStyle.SMALL),
                tickLength=-4,
                maxTickLevel=0,
                hideOverlappingLabels=False,
            )
        self.setMinimumSize(240, 96)
        theme.changed.connect(self._restyle)
        self._restyle()

    def show_limits(self, *, limits: tuple[LimitLine, ...], band: tuple[float, float]) -> None:
        """Draw these limit lines and this normal band."""
        if limits != self._limits or band != self._band:
            self._limits, self._band = limits, band
            self.viewport().update()

    def show_range(self, low: float, high: float) -> None:
        """The y axis, fixed by the limits so that a small loss never looks like a large one."""
        view = self.getPlotItem().getViewBox()
        if tuple(view.state["targetRange"][1]) != (low, high):
            view.setYRange(low, high, padding=0)

    def show_series(self, xs_s: Floats, values: Floats, *, marks_s: Sequence[float] = ()) -> None:
        """Draw the samples; x becomes minutes before the newest one."""
        self._has_data = len(xs_s) > 0
        if not self._has_data:
            self._curve.setData([], [])
            return
        now_s = float(xs_s[-1])
        minutes = (xs_s - now_s) / 60.0
        self._curve.setData(minutes, values, connect="finite")
        self._marks = tuple((mark - now_s) / 60.0 for mark in marks_s)
        span = next((span for span in _SPANS_MIN if minutes[0] >= -span), _SPANS_MIN[-1])
        view = self.getPlotItem().getViewBox()
        if tuple(view.state["targetRange"][0]) != (-span, 0.0):
            view.setXRange(-span, 0.0, padding=0)
            self._axes["bottom"].setTickSpacing(major=_STEPS_MIN[span], minor=span)

    def show_no_data(self, no_data: bool) -> None:
        """Hatch the chart: what it shows is not current."""
        if no_data != self._no_data:
            self._no_data = no_data
            self.viewport().update()

    def describe(self, text: str) -> None:
        """What a screen reader says of it."""
        if self.accessibleDescription() != text:
            self.setAccessibleDescription(text)

    def _restyle(self) -> None:
        self.setBackground(self._theme.colour(Role.FIELD))
        pen = pg.mkPen(self._theme.colour(Role.TREND), width=1)
        self._curve.setPen(pen)
        for axis in self._axes.values():
            axis.setPen(pg.mkPen(self._theme.colour(Role.BORDER), width=1))
            axis.setTextPen(pg.mkPen(self._theme.colour(Role.TEXT_MUTED)))
        self.viewport().update()

    # Painted by hand, in device pixels, below and above the curve.

    def _area(self) -> QRectF:
        return QRectF(self.getPlotItem().getViewBox().sceneBoundingRect())

    def _y(self, value: float) -> float:
        view = self.getPlotItem().getViewBox()
        point = view.mapViewToScene(QPointF(0.0, value))
        return float(round(point.y())) + 0.5

    def _x(self, minutes: float) -> float:
        view = self.getPlotItem().getViewBox()
        return float(view.mapViewToScene(QPointF(minutes, 0.0)).x())

    def drawBackground(self, painter: QPainter, rect: QRectF) -> None:
        super().drawBackground(painter, rect)
        area = self._area()
        self._paint_band(painter, area)
        painter.setPen(QPen(self._theme.colour(Role.RULE), 1))
        for value in self._axis_values():
            y = self._y(value)
            if area.top() < y < area.bottom():
                painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))

    def _paint_band(self, painter: QPainter, area: QRectF) -> None:
        if self._band[0] == self._band[1]:
            return  # A count that knows no normal.
        low, high = sorted((self._y(self._band[0]), self._y(self._band[1])))
        band = QRectF(
            area.left(),
            max(low, area.top()),
            area.width(),
            min(high, area.bottom()) - max(low, area.top()),
        )
        painter.fillRect(band, self._theme.colour(Role.NORMAL_BAND))

    def _axis_values(self) -> list[float]:
        axis = self._axes["left"]
        low, high = axis.range
        levels = axis.tickValues(low, high, axis.size().height())
        return [float(value) for _, values in levels[:1] for value in values]

    def drawForeground(self, painter: QPainter, rect: QRectF) -> None:
        super().drawForeground(painter, rect)
        area = self._area()
        if self._no_data:
            brush = QBrush(self._theme.colour(Role.BORDER), Qt.BrushStyle.BDiagPattern)
            painter.fillRect(area, brush)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        for limit in self._limits:
            self._paint_limit(painter, area, limit)
        for mark in self._marks:
            x = self._x(mark)
            if area.left() <= x <= area.right():
                at = QRectF(x - 4, area.top() + 4, 8, 8)
                paint_glyph(painter, Glyph.CROSS, at, self._theme.colour(Role.TEXT))
        if not self._has_data or self._no_data:
            text = "NO DATA" if self._no_data else self._empty
            painter.setFont(font_for(TextStyle.STRONG if self._no_data else TextStyle.BODY))
            width = QFontMetrics(painter.font()).horizontalAdvance(text) + 20
            box = QRectF(area.center().x() - width / 2, area.center().y() - 13, width, 26)
            painter.fillRect(box, self._theme.colour(Role.FIELD))
            painter.setPen(self._theme.colour(Role.TEXT_MUTED))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def _paint_limit(self, painter: QPainter, area: QRectF, limit: LimitLine) -> None:
        y = self._y(limit.at)
        if not area.top() <= y <= area.bottom():
            return
        colour = self._theme.colour(Role.TEXT)
        if limit.is_crossed:
            colour = QColor(self._theme.current.fill(limit.tone)[0])
        style = Qt.PenStyle.DashLine if limit.is_soft else Qt.PenStyle.SolidLine
        painter.setPen(QPen(colour, 1, style))
        painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
        font = font_for(TextStyle.SMALL_STRONG if limit.is_crossed else TextStyle.SMALL)
        metrics = QFontMetrics(font)
        above = not limit.is_label_below and y - metrics.height() - 2 >= area.top()
        top = y - metrics.height() - 2 if above else y + 2
        x = area.left() + _LABEL_INSET_PX
        width = metrics.horizontalAdvance(limit.label)
        patch = QRectF(x - 4, top, width + 26, metrics.height() + 1)
        painter.fillRect(patch, self._theme.colour(Role.FIELD))
        mark = QRectF(x, top + (metrics.height() - 9) / 2, 9, 9)
        paint_glyph(painter, TONE_GLYPH[limit.tone], mark, self._theme.colour(Role.TEXT))
        painter.setFont(font)
        painter.setPen(self._theme.colour(Role.TEXT))
        words = QRectF(x + 15, top, width + 4, metrics.height())
        painter.drawText(
            words, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, limit.label
        )
