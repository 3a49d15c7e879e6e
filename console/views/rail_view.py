"""The page rail: one text button a page with its key, and below them the switch that holds entries.

Only pages that exist are listed. The current one has a 5-pixel bar and bold text, not only a
colour.
"""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QPushButton, QVBoxLayout, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.entries import EntriesState
from console.widgets import HoldButton, TextLabel

__all__ = ["RAIL_PX", "RailView"]

RAIL_PX = 128


class RailView(QWidget):
    """Pages above, entries below."""

    page_chosen = Signal(str)
    hold_pressed = Signal()
    allow_held = Signal()

    def __init__(self, *, theme: LiveTheme, pages: tuple[tuple[str, str, str], ...]) -> None:
        super().__init__()
        self.setAccessibleName("Pages")
        self.setFixedWidth(RAIL_PX)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self._buttons: dict[str, QPushButton] = {}
        for page, title, keys in pages:
            button = QPushButton(f"{title}\n{keys}")
            button.setObjectName("rail")
            button.setCheckable(True)
            button.setAccessibleName(f"{title} page, {keys}")
            button.clicked.connect(lambda _=False, page=page: self.page_chosen.emit(page))
            self._group.addButton(button)
            self._buttons[page] = button
            layout.addWidget(button)
        layout.addStretch(1)
        self._words = TextLabel(
            "ENTRIES", theme=theme, style=TextStyle.HEADING, role=Role.TEXT_MUTED
        )
        self._state = TextLabel(
            theme=theme, style=TextStyle.STRONG, may_elide=True, widest="STOP LATCHED"
        )
        self._hold = QPushButton("Hold entries\nCtrl+H")
        self._hold.setObjectName("two_lines")
        self._hold.setMinimumHeight(46)
        self._hold.setAccessibleName("Hold entries: no new risk, exits still run, Ctrl+H")
        self._hold.clicked.connect(self.hold_pressed)
        self._allow = HoldButton("Allow entries", theme=theme, is_stacked=True)
        self._allow.held.connect(self.allow_held)
        for widget in (self._words, self._state, self._hold, self._allow):
            layout.addWidget(widget)
        self._allow.setFixedWidth(RAIL_PX)
        self._allow.hide()

    def show_page(self, page: str) -> None:
        """Mark the current page."""
        self._buttons[page].setChecked(True)

    def show_entries(self, state: EntriesState) -> None:
        """Whether entries are allowed, and the control that changes it."""
        self._state.set_text(state.words)
        self._hold.setVisible(not state.offers_allow)
        self._hold.setEnabled(state.can_hold)
        self._allow.setVisible(state.offers_allow)
        self._allow.setEnabled(state.can_allow)

    @property
    def allow_button(self) -> HoldButton:
        """The hold button that ends a halt."""
        return self._allow
