"""The emergency stop's face: red on yellow, 232 × 92 px, fired on the way DOWN.

Why not a QPushButton: a click needs a release on the button, a press does not; a button can take
focus, be the default or be disabled, and this must never be any of these (R02, R03, R21). It
paints what it is told and emits ``pressed`` on a left press or touch. The application-wide filter
calls ``fire`` for presses that a popup would have swallowed.
Thread: GUI.
"""

from typing import Final

from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for
from console.viewmodels.appearance import StopFace, StopLook

__all__ = ["STOP_HEIGHT_PX", "STOP_WIDTH_PX", "StopButton"]

STOP_WIDTH_PX: Final = 232
STOP_HEIGHT_PX: Final = 92
_RING_PX: Final = 6


class StopButton(QWidget):
    """The stop. ``pressed`` carries where the press came from: ``button`` or ``touch``."""

    pressed = Signal(str)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self._theme = theme
        self._face = StopFace(look=StopLook.READY, headline="EMERGENCY STOP", lines=())
        self.setObjectName("emergency_stop")
        self.setFixedSize(STOP_WIDTH_PX, STOP_HEIGHT_PX)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        # Never takes the focus by a click; last in the tab order, Space and Enter are not its keys.
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_AcceptTouchEvents)
        self.setCursor(Qt.CursorShape.ArrowCursor)
        self._describe()
        theme.changed.connect(self.update)

    @property
    def face(self) -> StopFace:
        """What it shows."""
        return self._face

    def show_face(self, face: StopFace) -> None:
        """Show other words."""
        if face == self._face:
            return
        self._face = face
        self._describe()
        self.update()

    def fire(self, origin: str) -> None:
        """One press, wherever it came from."""
        self.pressed.emit(origin)

    def contains_global(self, point: QPoint) -> bool:
        """Whether a global position is on the face, popups notwithstanding."""
        return self.isVisible() and self.rect().contains(self.mapFromGlobal(point))

    def text_fits(self) -> bool:
        """Whether every line of the face is shown whole."""
        room = STOP_WIDTH_PX - 2 * (_RING_PX + 6)
        headline = QFontMetrics(self._headline_font()).horizontalAdvance(self._face.headline)
        scope = QFontMetrics(font_for(TextStyle.STOP_SCOPE))
        return headline <= room and all(
            scope.horizontalAdvance(line) <= room for line in self._face.lines
        )

    def _describe(self) -> None:
        self.setAccessibleName(self._face.headline)
        scope = ". ".join(self._face.lines)
        self.setAccessibleDescription(
            f"{scope}. Fires on press. Keys: Ctrl+Shift+F12 or Ctrl+Pause."
        )

    def _headline_font(self) -> QFont:
        font = QFont(font_for(TextStyle.STOP))
        room = STOP_WIDTH_PX - 2 * (_RING_PX + 8)
        while QFontMetrics(font).horizontalAdvance(self._face.headline) > room:
            font.setPixelSize(font.pixelSize() - 1)
        return font

    def sizeHint(self) -> QSize:
        return QSize(STOP_WIDTH_PX, STOP_HEIGHT_PX)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.fire("button")
        event.accept()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        # The second press of a quick pair arrives as a double click; it is a press like any other.
        self.mousePressEvent(event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.TouchBegin:
            self.fire("touch")
            event.accept()
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        outer = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        inner = QRectF(self.rect()).adjusted(_RING_PX, _RING_PX, -_RING_PX, -_RING_PX)
        outline = self._theme.colour(Role.STOP_OUTLINE)
        is_live = self._face.look is not StopLook.NO_ANSWER
        painter.setPen(QPen(outline, 2))
        painter.setBrush(self._theme.colour(Role.STOP_RING))
        painter.drawRoundedRect(outer, 9, 9)
        painter.setPen(QPen(outline, 2))
        if is_live:
            role = Role.STOP_LATCHED if self._face.look is StopLook.LATCHED else Role.STOP_FACE
            painter.setBrush(self._theme.colour(role))
            painter.drawRoundedRect(inner, 5, 5)
        else:
            painter.setBrush(self._theme.colour(Role.TEXT_DISABLED))
            painter.drawRoundedRect(inner, 5, 5)
            painter.setBrush(Qt.BrushStyle.BDiagPattern)
        self._paint_words(painter, inner)

    def _paint_words(self, painter: QPainter, inner: QRectF) -> None:
        painter.setPen(QColor(self._theme.colour(Role.ON_STOP)))
        font = self._headline_font()
        scope_font = font_for(TextStyle.STOP_SCOPE)
        head_height = QFontMetrics(font).height()
        line_height = QFontMetrics(scope_font).height() + 1
        total = head_height + len(self._face.lines) * line_height
        y = inner.center().y() - total / 2
        painter.setFont(font)
        centre = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(
            QRectF(inner.left(), y, inner.width(), head_height), centre, self._face.headline
        )
        y += head_height
        painter.setFont(scope_font)
        for line in self._face.lines:
            painter.drawText(QRectF(inner.left(), y, inner.width(), line_height), centre, line)
            y += line_height
