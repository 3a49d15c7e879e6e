"""The one bridge for words to the operator: what was sent, what the engine answered, what failed.

It keeps the newest message for a few seconds, drops an immediate repetition and logs everything.
Safe to call before the window exists. Thread: GUI.
"""

import logging
from typing import Final

from PySide6.QtCore import QObject, Signal

from console.qt.timers import named_timer
from console.viewmodels.appearance import Tone

__all__ = ["OperatorMessages"]

_SHOWN_MS: Final = 12_000
_log = logging.getLogger(__name__)


class OperatorMessages(QObject):
    """Holds the message on show."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tone = Tone.QUIET
        self._fade = named_timer(
            self, "message fade", interval_ms=_SHOWN_MS, callback=self.clear, is_single_shot=True
        )

    def say(self, text: str, tone: Tone = Tone.NEUTRAL) -> None:
        """Show ``text`` until the next message or for twelve seconds."""
        _log.info("to the operator: %s", text)
        self._fade.start()
        if (text, tone) == (self.text, self.tone):
            return
        self.text, self.tone = text, tone
        self.changed.emit()

    def fail(self, text: str) -> None:
        """Show a failure."""
        self.say(text, Tone.HIGH)

    def clear(self) -> None:
        """Show nothing."""
        self._fade.stop()
        if self.text:
            self.text, self.tone = "", Tone.QUIET
            self.changed.emit()
