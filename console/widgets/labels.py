"""One-line text with a place in the type scale; elides only where it was told it may.

Why not QLabel everywhere: QLabel clips silently. A TextLabel either has room (its minimum width
is its text, or the widest text it was told of) or shows an ellipsis and keeps the whole text for
readers and the tests.
"""

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for

__all__ = ["TextLabel"]


class TextLabel(QWidget):
    """A line of text. ``widest`` reserves room, so that a changing value never moves its
    neighbours.
    """

    def __init__(
        self,
        text: str = "",
        *,
        theme: LiveTheme,
        style: TextStyle = TextStyle.BODY,
        role: Role = Role.TEXT,
        align: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignLeft,
        widest: str = "",
        may_elide: bool = False,
    ) -> None:
        super().__init__()
        self._theme = theme
        self._role = role
        self._align = align
        self._widest = widest
        self._text = text
        self._style = style
        self.may_elide = may_elide
        self.setFont(font_for(style))
        horizontal = QSizePolicy.Policy.Expanding if may_elide else QSizePolicy.Policy.Minimum
        self.setSizePolicy(horizontal, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(text)
        theme.changed.connect(self.update)

    @property
    def text(self) -> str:
        """The whole text, whether or not there is room for it."""
        return self._text

    def set_text(self, text: str, role: Role | None = None) -> None:
        """Show other text (and colour role); repaints only on a change."""
        if role is not None and role is not self._role:
            self._role = role
            self.update()
        if text == self._text:
            return
        before = self._natural_width()
        self._text = text
        self.setAccessibleName(text)
        if not self.may_elide and self._natural_width() != before:
            self.updateGeometry()
        self.update()

    def set_style(self, style: TextStyle) -> None:
        """Take another place in the type scale; only a change costs a layout."""
        if style is self._style:
            return
        self._style = style
        self.setFont(font_for(style))
        self.updateGeometry()

    def text_fits(self) -> bool:
        """Whether the text is shown whole."""
        return QFontMetrics(self.font()).horizontalAdvance(self._text) <= self.width()

    def _natural_width(self) -> int:
        metrics = QFontMetrics(self.font())
        return (
            max(metrics.horizontalAdvance(self._text), metrics.horizontalAdvance(self._widest)) + 1
        )

    def sizeHint(self) -> QSize:
        return QSize(self._natural_width(), QFontMetrics(self.font()).height())

    def minimumSizeHint(self) -> QSize:
        hint = self.sizeHint()
        if self.may_elide:
            hint.setWidth(QFontMetrics(self.font()).horizontalAdvance(self._widest or "…"))
        return hint

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setFont(self.font())
        painter.setPen(self._theme.colour(self._role))
        text = self._text
        if self.may_elide:
            metrics = QFontMetrics(self.font())
            text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, self.width())
        area = QRect(0, 0, self.width(), self.height())
        painter.drawText(area, self._align | Qt.AlignmentFlag.AlignVCenter, text)
