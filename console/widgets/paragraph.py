"""A few lines of small text that wrap, and end in an ellipsis rather than being cut.

Why not QLabel with word wrap: it clips the last line silently when its room is too low. Here the
height follows the text, up to ``lines_max``, and what has no room is told to readers whole.
"""

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QResizeEvent, QTextLayout
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for

__all__ = ["Paragraph"]


class Paragraph(QWidget):
    """Text over at most ``lines_max`` lines; as high as it needs, no higher."""

    def __init__(
        self,
        text: str = "",
        *,
        theme: LiveTheme,
        style: TextStyle = TextStyle.SMALL,
        role: Role = Role.TEXT_MUTED,
        lines_max: int = 2,
    ) -> None:
        super().__init__()
        self._theme = theme
        self._style = style
        self._role = role
        self._lines_max = lines_max
        self._text = text
        self._lines: list[str] = []
        self.setFont(font_for(style))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(text)
        self._break()
        theme.changed.connect(self.update)

    @property
    def text(self) -> str:
        """The whole text, whether or not there is room for it."""
        return self._text

    @property
    def is_whole(self) -> bool:
        """Whether all of it is shown."""
        return " ".join(self._lines) == self._text

    def set_text(self, text: str) -> None:
        """Show other text."""
        if text == self._text:
            return
        self._text = text
        self.setAccessibleName(text)
        self._break()
        self.update()

    def limit_lines(self, lines_max: int) -> None:
        """Show at most so many lines: fewer where there is little room."""
        if lines_max != self._lines_max:
            self._lines_max = lines_max
            self._break()
            self.update()

    def height_for(self, text: str) -> int:
        """How high it would be with this text at its present width."""
        return max(1, len(self._broken(text))) * self._line_px if text else 0

    @property
    def _line_px(self) -> int:
        return QFontMetrics(self.font()).height()

    def _broken(self, text: str) -> list[str]:
        width = max(40, self.width())
        metrics = QFontMetrics(self.font())
        layout = QTextLayout(text, self.font())
        layout.beginLayout()
        lines: list[str] = []
        while True:
            line = layout.createLine()
            if not line.isValid():
                break
            line.setLineWidth(width)
            line.setPosition(QPointF(0, 0))
            start = line.textStart()
            if len(lines) == self._lines_max - 1:
                rest = text[start:]
                lines.append(metrics.elidedText(rest, Qt.TextElideMode.ElideRight, width))
                break
            lines.append(text[start : start + line.textLength()].rstrip())
        layout.endLayout()
        return lines

    def _break(self) -> None:
        self._lines = self._broken(self._text) if self._text else []
        height = max(1, len(self._lines)) * self._line_px
        if height != self.height():
            self.setFixedHeight(height)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._break()

    def sizeHint(self) -> QSize:
        return QSize(120, max(1, len(self._lines)) * self._line_px)

    def minimumSizeHint(self) -> QSize:
        return QSize(40, max(1, len(self._lines)) * self._line_px)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setFont(self.font())
        painter.setPen(self._theme.colour(self._role))
        ascent = QFontMetrics(self.font()).ascent()
        for at, line in enumerate(self._lines):
            painter.drawText(0, at * self._line_px + ascent, line)
