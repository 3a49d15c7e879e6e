"""The question on closing the window with something open: Stay is the default (R25)."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from console.qt.sheets import Sheet
from console.theme import LiveTheme
from console.theme.fonts import TextStyle
from console.viewmodels.quitting import QuitQuestion
from console.widgets import TextLabel

__all__ = ["QuitSheet"]


class QuitSheet(Sheet):
    """Answers ``stay``, ``stop_and_close`` or ``close`` (only where the stop is latched
    already).
    """

    safe_answer = "stay"

    def __init__(self, *, theme: LiveTheme, question: QuitQuestion) -> None:
        super().__init__(title=question.title)
        self.setFixedWidth(560)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        layout.addWidget(TextLabel(question.title, theme=theme, style=TextStyle.TITLE))
        text = QLabel(question.text)
        text.setWordWrap(True)
        text.setMinimumWidth(500)
        layout.addWidget(text)
        self._stay = QPushButton("Stay")
        self._stay.setDefault(True)
        answer = "stop_and_close" if question.offers_stop else "close"
        words = "Stop and close positions" if question.offers_stop else "Close the window"
        leave = QPushButton(words)
        self._stay.clicked.connect(lambda: self.answered.emit("stay"))
        leave.clicked.connect(lambda: self.answered.emit(answer))
        buttons = QHBoxLayout()
        buttons.addWidget(leave)
        buttons.addStretch(1)
        buttons.addWidget(self._stay)
        layout.addLayout(buttons)

    def focus_first(self) -> None:
        """Stay is where Return goes."""
        self._stay.setFocus(Qt.FocusReason.OtherFocusReason)
