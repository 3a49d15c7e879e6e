"""The application-wide road to the stop: presses through popups, and the two chords.

Why: an open menu or combo list takes the first click away from the button, and a focused text
field takes keys away from shortcuts (console.md, finding 2). A filter on the application sees
both before anyone else. A press it acts on is eaten, so that the button does not count it twice.
Chords: Ctrl+Shift+F12 and Ctrl+Pause (which some systems report as Cancel or Break); auto-repeat is
ignored; not configurable. Thread: GUI. Fails: never raises; what is not a press or a chord passes
untouched.
"""

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QApplication

from console.widgets.stop_button import StopButton

__all__ = ["StopFilter", "is_stop_chord"]

_PRESSES: Final = (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonDblClick)
_BREAK_KEYS: Final = (Qt.Key.Key_Pause, Qt.Key.Key_Cancel)
# With Control held, X11 calls the Pause key Break, for which Qt has no key: it reports key 0.
_X11_BREAK: Final = 0xFF6B


def is_stop_chord(event: QKeyEvent) -> bool:
    """Whether a key press is one of the two fixed chords; Cmd and Control both count on a Mac."""
    modifiers = event.modifiers()
    has_control = bool(
        modifiers & (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.MetaModifier)
    )
    if not has_control:
        return False
    has_shift = bool(modifiers & Qt.KeyboardModifier.ShiftModifier)
    is_break = event.key() in _BREAK_KEYS or event.nativeVirtualKey() == _X11_BREAK
    return is_break or (event.key() == Qt.Key.Key_F12 and has_shift)


class StopFilter(QObject):
    """Watches the whole application for a press on the stop or a chord."""

    def __init__(
        self, *, application: QApplication, button: StopButton, on_chord: Callable[[], None]
    ) -> None:
        super().__init__(button)
        self._application = application
        self._button = button
        self._on_chord = on_chord
        application.installEventFilter(self)

    def remove(self) -> None:
        """Stop watching; the window does this when it goes."""
        self._application.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind in _PRESSES and isinstance(event, QMouseEvent):
            return self._press(event)
        if kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and is_stop_chord(event):
            if not event.isAutoRepeat():
                self._on_chord()
            return True
        return False

    def _press(self, event: QMouseEvent) -> bool:
        if event.button() != Qt.MouseButton.LeftButton:
            return False
        if not self._button.contains_global(event.globalPosition().toPoint()):
            return False
        self._button.fire("button")
        popup = QApplication.activePopupWidget()
        if popup is not None:
            popup.close()
        return True
