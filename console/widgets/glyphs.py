"""State shapes as painted paths, so that none can be missing on a machine without fonts (R62).

Coordinates are a unit square, scaled to the rectangle asked for.
"""

from collections.abc import Mapping
from typing import Final

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPen, QPolygonF

from console.viewmodels.appearance import Glyph

__all__ = ["paint_glyph"]


_POLYGONS: Final[Mapping[Glyph, tuple[tuple[float, float], ...]]] = {
    Glyph.SQUARE: ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)),
    Glyph.TRIANGLE: ((0.5, 0.06), (0.98, 0.92), (0.02, 0.92)),
}
_STROKES: Final[Mapping[Glyph, tuple[tuple[tuple[float, float], ...], ...]]] = {
    Glyph.CHECK: (((0.08, 0.55), (0.38, 0.85), (0.94, 0.18)),),
    Glyph.CROSS: (((0.14, 0.14), (0.86, 0.86)), ((0.86, 0.14), (0.14, 0.86))),
    Glyph.PAUSE: (((0.3, 0.12), (0.3, 0.88)), ((0.7, 0.12), (0.7, 0.88))),
}


def paint_glyph(painter: QPainter, glyph: Glyph, area: QRectF, colour: QColor) -> None:
    """Paint ``glyph`` filling ``area`` in one colour."""
    if glyph is Glyph.NONE:
        return
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    if glyph in _POLYGONS:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPolygon(QPolygonF([_at(area, x, y) for x, y in _POLYGONS[glyph]]))
    elif glyph in _STROKES:
        painter.setPen(_stroke(colour, area))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for points in _STROKES[glyph]:
            painter.drawPolyline(QPolygonF([_at(area, x, y) for x, y in points]))
    elif glyph is Glyph.QUESTION:
        _paint_question(painter, area, colour)
    else:
        _paint_round(painter, glyph, area, colour)
    painter.restore()


def _at(area: QRectF, x: float, y: float) -> QPointF:
    return QPointF(area.left() + x * area.width(), area.top() + y * area.height())


def _stroke(colour: QColor, area: QRectF) -> QPen:
    pen = QPen(colour, max(1.6, area.width() * 0.18))
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    return pen


def _paint_round(painter: QPainter, glyph: Glyph, area: QRectF, colour: QColor) -> None:
    if glyph is Glyph.RING:
        painter.setPen(_stroke(colour, area))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        inset = area.width() * 0.16
        painter.drawEllipse(area.adjusted(inset, inset, -inset, -inset))
        return
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    if glyph is Glyph.DISC:
        inset = area.width() * 0.06
        painter.drawEllipse(area.adjusted(inset, inset, -inset, -inset))
        return
    radius = area.width() * 0.13
    for x in (0.14, 0.5, 0.86):
        painter.drawEllipse(_at(area, x, 0.62), radius, radius)


def _paint_question(painter: QPainter, area: QRectF, colour: QColor) -> None:
    hook = QPainterPath(_at(area, 0.24, 0.32))
    hook.cubicTo(_at(area, 0.26, -0.04), _at(area, 0.78, -0.02), _at(area, 0.77, 0.32))
    hook.cubicTo(_at(area, 0.76, 0.52), _at(area, 0.5, 0.46), _at(area, 0.5, 0.68))
    painter.setPen(_stroke(colour, area))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPath(hook)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawEllipse(_at(area, 0.5, 0.93), area.width() * 0.1, area.width() * 0.1)
