"""The START row while READY: what start needs, and START, itself a hold; START LIVE opens its
sheet. Another row than the reset, on purpose.
"""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.conditions import condition_words
from console.viewmodels.entries import StartState
from console.widgets import HoldButton, TextLabel

__all__ = ["StartRowView"]


class StartRowView(QFrame):
    """One line with one control."""

    start_held = Signal()

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setObjectName("urgent_panel")
        self.setAccessibleName("Start")
        self._text = TextLabel(theme=theme, style=TextStyle.STRONG)
        self._unmet = TextLabel(theme=theme, role=Role.TEXT_MUTED, may_elide=True)
        self._start = HoldButton("START", theme=theme)
        self._start.held.connect(self.start_held)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.setSpacing(12)
        layout.addWidget(self._text)
        layout.addWidget(self._unmet, 1)
        layout.addWidget(self._start)

    def show_state(self, state: StartState) -> None:
        """Show what start needs."""
        self._text.set_text(state.text)
        needs = [item.why or condition_words(item.condition) for item in state.unmet]
        self._unmet.set_text(f"Still needed: {'; '.join(needs)}" if needs else "")
        self._start.set_text(state.words)
        self._start.set_needs_hold(state.needs_hold)
        self._start.setEnabled(state.can_start)
