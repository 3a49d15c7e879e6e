"""The question before a dead letter goes out again: what it is, and why it should pass now."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout

from console.qt.sheets import Sheet
from console.theme import LiveTheme
from console.theme.fonts import TextStyle
from console.widgets import Paragraph, TextLabel
from engine.model.records import DeadLetter

__all__ = ["RequeueSheet"]


class RequeueSheet(Sheet):
    """Answers ``requeue`` (with ``reason``) or ``keep``."""

    safe_answer = "keep"

    def __init__(self, *, theme: LiveTheme, letter: DeadLetter) -> None:
        super().__init__(title=f"Requeue dead letter {letter.seq}")
        self.setFixedWidth(600)
        # Kept here, because the field is gone when the answer is read.
        self.reason = ""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        title = f"Send {letter.type} again?"
        layout.addWidget(TextLabel(title, theme=theme, style=TextStyle.TITLE))
        words = (
            f"Dead letter {letter.seq} was refused: {letter.error} "
            "It goes out at the tail with a new number that names the old one."
        )
        text = Paragraph(words, theme=theme, style=TextStyle.BODY, lines_max=5)
        text.setFixedWidth(560)
        layout.addWidget(text)
        self._reason = QLineEdit()
        self._reason.setPlaceholderText("Why it should pass now, for the audit")
        self._reason.setAccessibleName("Reason for the requeue")
        self._reason.textChanged.connect(self._on_reason)
        self._reason.returnPressed.connect(self._send)
        layout.addWidget(self._reason)
        keep = QPushButton("Keep it parked")
        keep.clicked.connect(lambda: self.answered.emit("keep"))
        self._requeue = QPushButton("Requeue")
        self._requeue.clicked.connect(self._send)
        self._requeue.setEnabled(False)
        buttons = QHBoxLayout()
        buttons.addWidget(keep)
        buttons.addStretch(1)
        buttons.addWidget(self._requeue)
        layout.addLayout(buttons)

    def focus_first(self) -> None:
        """Start at the reason."""
        self._reason.setFocus(Qt.FocusReason.OtherFocusReason)

    @property
    def reason_field(self) -> QLineEdit:
        """The reason."""
        return self._reason

    def _on_reason(self, text: str) -> None:
        self.reason = text.strip()
        self._requeue.setEnabled(bool(self.reason))

    def _send(self) -> None:
        if self.reason:
            self.answered.emit("requeue")
