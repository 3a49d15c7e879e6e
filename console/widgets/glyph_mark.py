"""A small painted shape for a tone, outlined in the text colour; nothing when calm."""

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role
from console.viewmodels.appearance import TONE_GLYPH, Glyph, Tone
from console.widgets.glyphs import paint_glyph

__all__ = ["GlyphMark"]


class GlyphMark(QWidget):
    """The shape of a tone, or a given shape in the text colour."""

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self._theme = theme
        self._tone = Tone.QUIET
        self._glyph = Glyph.NONE
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.hide()
        theme.changed.connect(self.update)

    def show_tone(self, tone: Tone) -> None:
        """Show the tone's shape in its colour."""
        self.show_glyph(TONE_GLYPH[tone], tone)

    def show_glyph(self, glyph: Glyph, tone: Tone = Tone.NEUTRAL) -> None:
        """Show a shape; calm tones use the text colour."""
        if (glyph, tone) == (self._glyph, self._tone):
            return
        self._glyph, self._tone = glyph, tone
        self.setVisible(glyph is not Glyph.NONE)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(15, 15)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        area = QRectF(self.rect()).adjusted(2, 2, -2, -2)
        if self._tone in {Tone.NEUTRAL, Tone.QUIET}:
            paint_glyph(painter, self._glyph, area, self._theme.colour(Role.TEXT))
            return
        paint_glyph(
            painter, self._glyph, QRectF(self.rect()), self._theme.colour(Role.CHIP_OUTLINE)
        )
        fill, _ = self._theme.current.fill(self._tone)
        paint_glyph(painter, self._glyph, area, QColor(fill))
