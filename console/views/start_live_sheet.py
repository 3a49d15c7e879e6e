"""START LIVE: the account's name typed, then a hold. Real orders begin with this, and no less."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout

from console.qt.sheets import Sheet
from console.theme import LiveTheme
from console.theme.fonts import TextStyle
from console.viewmodels.start_live import StartLiveQuestion
from console.widgets import HoldButton, Paragraph, TextLabel

__all__ = ["StartLiveSheet"]

_WIDTH = 600


class StartLiveSheet(Sheet):
    """Answers ``start`` or ``stay``; the typed name is the engine's to judge, and must match here
    before the hold is there.
    """

    safe_answer = "stay"

    def __init__(self, *, theme: LiveTheme, question: StartLiveQuestion) -> None:
        super().__init__(title=question.title)
        self.setFixedWidth(_WIDTH)
        self._account = question.account
        # Kept here, because the field is gone when the answer is read.
        self.typed = ""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        layout.addWidget(TextLabel(question.title, theme=theme, style=TextStyle.TITLE))
        text = Paragraph(question.text, theme=theme, style=TextStyle.BODY, lines_max=6)
        text.setFixedWidth(_WIDTH - 40)
        layout.addWidget(text)
        self._name = QLineEdit()
        self._name.setPlaceholderText(f"Type {question.account}")
        self._name.setAccessibleName("Name of the account")
        self._name.textChanged.connect(self._on_typed)
        layout.addWidget(self._name)
        stay = QPushButton("Stay READY")
        stay.clicked.connect(lambda: self.answered.emit("stay"))
        self._start = HoldButton("START LIVE", theme=theme)
        self._start.setEnabled(False)
        self._start.held.connect(lambda: self.answered.emit("start"))
        buttons = QHBoxLayout()
        buttons.addWidget(stay)
        buttons.addStretch(1)
        buttons.addWidget(self._start)
        layout.addLayout(buttons)

    def focus_first(self) -> None:
        """Start at the name."""
        self._name.setFocus(Qt.FocusReason.OtherFocusReason)

    @property
    def name_field(self) -> QLineEdit:
        """Where the account's name is typed."""
        return self._name

    @property
    def start_button(self) -> HoldButton:
        """The hold."""
        return self._start

    def _on_typed(self, text: str) -> None:
        self.typed = text.strip()
        self._start.setEnabled(self.typed == self._account)
