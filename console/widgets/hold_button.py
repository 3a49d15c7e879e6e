"""A button that must be held for 1.5 s while a bar fills: for what adds risk or relaxes safety.

Why: fast to stop, slow to start (console.md 2.4). Letting go early changes nothing. Works with
the mouse and with Space or Return held down. One that needs no hold fires on a plain click.

A key that is held repeats, and under X Qt hands most repeats on as a release and a press of their
own: so a key is up only when no press has followed its release for a moment.
Units: milliseconds. Thread: GUI; time is Qt's elapsed timer, so a stalled thread can only
lengthen a hold.
"""

from typing import Final

from PySide6.QtCore import QElapsedTimer, QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QSizePolicy

from console.qt.timers import named_timer
from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for

__all__ = ["HOLD_MS", "HoldButton"]

HOLD_MS: Final = 1_500
_TICK_MS: Final = 33
_KEY_UP_MS: Final = 80
_KEYS: Final = (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter)


class HoldButton(QAbstractButton):
    """Neutral in colour, always: a reset or a start is never green and never red."""

    held = Signal()

    def __init__(
        self,
        text: str,
        *,
        theme: LiveTheme,
        needs_hold: bool = True,
        widest: str = "",
        is_stacked: bool = False,
    ) -> None:
        super().__init__()
        self._is_stacked = is_stacked
        self._theme = theme
        self._needs_hold = needs_hold
        self._widest = widest
        self._clock = QElapsedTimer()
        self._is_holding = False
        self._tick = named_timer(
            self, "hold progress", interval_ms=_TICK_MS, callback=self._on_tick
        )
        self._key_up = named_timer(
            self,
            "key is up",
            interval_ms=_KEY_UP_MS,
            callback=lambda: self._end(is_inside=True),
            is_single_shot=True,
        )
        self.setFont(font_for(TextStyle.STRONG))
        self.setFixedHeight(48 if is_stacked else 34)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.set_text(text)
        theme.changed.connect(self.update)

    def set_text(self, text: str) -> None:
        """Change the words."""
        if text == self.text():
            return
        self.setText(text)
        self._describe()
        self.updateGeometry()

    def set_needs_hold(self, needs_hold: bool) -> None:
        """Whether a plain click is enough."""
        if needs_hold == self._needs_hold:
            return
        self._needs_hold = needs_hold
        self._let_go()
        self._describe()
        self.updateGeometry()
        self.update()

    @property
    def needs_hold(self) -> bool:
        """Whether it has to be held."""
        return self._needs_hold

    @property
    def progress(self) -> float:
        """How far the hold is, 0 to 1."""
        return min(1.0, self._clock.elapsed() / HOLD_MS) if self._is_holding else 0.0

    def text_fits(self) -> bool:
        """Whether the words are shown whole."""
        return self._words_width() + 16 <= self.width()

    def _words(self) -> str:
        if not self._needs_hold:
            return self.text()
        return f"{self.text()}\nhold 1.5 s" if self._is_stacked else f"{self.text()}  ·  hold 1.5 s"

    def _words_width(self) -> int:
        metrics = QFontMetrics(self.font())
        return max(metrics.horizontalAdvance(line) for line in self._words().split("\n"))

    def _describe(self) -> None:
        self.setAccessibleName(self.text())
        self.setAccessibleDescription("Press and hold for 1.5 seconds" if self._needs_hold else "")

    def sizeHint(self) -> QSize:
        widest = max(self._words_width(), QFontMetrics(self.font()).horizontalAdvance(self._widest))
        return QSize(widest + 32, self.height())

    minimumSizeHint = sizeHint

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.isEnabled():
            self._begin()
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._end(is_inside=self.rect().contains(event.position().toPoint()))
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._is_holding and not self.rect().contains(event.position().toPoint()):
            self._let_go()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in _KEYS:
            is_repeat = event.isAutoRepeat() or self._key_up.isActive()
            self._key_up.stop()
            if not is_repeat:
                self._begin()
            return
        super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() in _KEYS:
            if not event.isAutoRepeat():
                self._key_up.start()
            return
        super().keyReleaseEvent(event)

    def focusOutEvent(self, event: QEvent) -> None:
        self._let_go()
        super().focusOutEvent(event)  # type: ignore[arg-type]

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.EnabledChange and not self.isEnabled():
            self._let_go()
        super().changeEvent(event)

    def _begin(self) -> None:
        self._is_holding = True
        self._clock.start()
        self._tick.start()
        self.update()

    def _on_tick(self) -> None:
        if self._needs_hold and self.progress >= 1.0:
            self._let_go()
            self.held.emit()
        self.update()

    def _end(self, *, is_inside: bool) -> None:
        was_click = self._is_holding and is_inside and not self._needs_hold
        self._let_go()
        if was_click:
            self.held.emit()

    def _let_go(self) -> None:
        self._is_holding = False
        self._tick.stop()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        enabled = self.isEnabled()
        painter.setPen(QPen(self._theme.colour(Role.BORDER if enabled else Role.RULE), 1))
        painter.setBrush(self._theme.colour(Role.RAISED if enabled else Role.PANEL))
        painter.drawRoundedRect(area.adjusted(-0.5, -0.5, 0.5, 0.5), 4, 4)
        if self._is_holding:
            filled = QRectF(area)
            filled.setWidth(area.width() * (self.progress if self._needs_hold else 1.0))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._theme.colour(Role.NORMAL_BAND))
            painter.drawRoundedRect(filled, 3, 3)
            filled.setTop(filled.bottom() - 3)
            painter.setBrush(self._theme.colour(Role.TEXT))
            painter.drawRect(filled)
        painter.setFont(self.font())
        painter.setPen(self._theme.colour(Role.TEXT if enabled else Role.TEXT_DISABLED))
        painter.drawText(area, Qt.AlignmentFlag.AlignCenter, self._words())
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(self._theme.colour(Role.TEXT), 2))
            painter.drawRoundedRect(area, 4, 4)
