"""A chip: painted shape, letter and word on a fill, outlined; the console's unit of state.

Colour never speaks alone: the shape comes from the tone unless told otherwise, and the text is
always there.
"""

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for
from console.viewmodels.appearance import TONE_GLYPH, ChipState, Glyph, Tone
from console.widgets.glyphs import paint_glyph

__all__ = ["Chip"]

_GLYPH_PX = 10
_GAP_PX = 7


class Chip(QWidget):
    """A state in words. ``height_px`` is fixed, the width follows the widest text it was told
    of.
    """

    def __init__(
        self,
        text: str = "",
        *,
        theme: LiveTheme,
        tone: Tone = Tone.NEUTRAL,
        glyph: Glyph | None = None,
        height_px: int = 30,
        padding_px: int = 12,
        widest: str = "",
        is_plain_when_calm: bool = False,
    ) -> None:
        super().__init__()
        self._theme = theme
        self._is_plain_when_calm = is_plain_when_calm
        self._text = text
        self._tone = tone
        self._glyph = glyph
        self._padding_px = padding_px
        self._widest = widest
        self.setFont(font_for(TextStyle.CHIP if height_px > 24 else TextStyle.SMALL_STRONG))
        self.setFixedHeight(height_px)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._describe()
        theme.changed.connect(self.update)

    @property
    def text(self) -> str:
        """The words on the chip."""
        return self._text

    @property
    def tone(self) -> Tone:
        """How urgent it looks."""
        return self._tone

    @property
    def glyph(self) -> Glyph:
        """The painted shape."""
        return TONE_GLYPH[self._tone] if self._glyph is None else self._glyph

    def show_state(self, state: ChipState) -> None:
        """Say something else; repaints only on a change."""
        if (state.text, state.tone, state.glyph) == (self._text, self._tone, self._glyph):
            return
        self._text, self._tone, self._glyph = state.text, state.tone, state.glyph
        self._describe()
        self.updateGeometry()
        self.update()

    def _describe(self) -> None:
        shape = f"{self.glyph.value}, " if self.glyph else ""
        self.setAccessibleName(f"{shape}{self._text}")

    def text_fits(self) -> bool:
        """Whether shape and text are shown whole."""
        return self._content_width(self._text) <= self.width()

    def _content_width(self, text: str) -> int:
        glyph = _GLYPH_PX + _GAP_PX if self.glyph else 0
        return QFontMetrics(self.font()).horizontalAdvance(text) + glyph + 2 * self._padding_px

    def sizeHint(self) -> QSize:
        width = max(self._content_width(self._text), self._content_width(self._widest))
        return QSize(width, self.height())

    minimumSizeHint = sizeHint

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        theme = self._theme.current
        background, foreground = theme.fill(self._tone)
        is_calm = self._tone in {Tone.NEUTRAL, Tone.QUIET}
        outline = Role.RULE if self._tone is Tone.QUIET else Role.BORDER
        is_plain = is_calm and self._is_plain_when_calm
        if not is_plain:
            painter.setPen(QPen(self._theme.colour(outline if is_calm else Role.CHIP_OUTLINE), 1))
            painter.setBrush(QColor(background))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
        used = self._content_width(self._text)
        centred = (self.width() - used) / 2 + self._padding_px
        x = self._padding_px if self._is_plain_when_calm else max(self._padding_px, centred)
        if self.glyph:
            area = QRectF(x, (self.height() - _GLYPH_PX) / 2, _GLYPH_PX, _GLYPH_PX)
            paint_glyph(painter, self.glyph, area, QColor(foreground))
            x += _GLYPH_PX + _GAP_PX
        painter.setFont(self.font())
        painter.setPen(QColor(foreground))
        rest = QRectF(x, 0, self.width() - x, self.height())
        painter.drawText(
            rest, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self._text
        )
