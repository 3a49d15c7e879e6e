"""The page rail: one text button a page with its key, and below them the switch that holds entries.

Only pages that exist are listed. The current one has a 5-pixel bar and bold text, not only a
colour.
"""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QPushButton, QVBoxLayout, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.entries import EntriesState, ReduceOnlyState
from console.widgets import HoldButton, TextLabel

__all__ = ["RAIL_PX", "RailView"]

RAIL_PX = 128


class RailView(QWidget):
    """Pages above, entries below."""

    page_chosen = Signal(str)
    hold_pressed = Signal()
    allow_held = Signal()
    reduce_pressed = Signal()
    unreduce_held = Signal()

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
        self._reduce = QPushButton("Reduce only\nCtrl+R")
        self._reduce.setObjectName("two_lines")
        self._reduce.setMinimumHeight(46)
        self._reduce.setAccessibleName("Reduce only: exits and nothing else, Ctrl+R")
        self._reduce.clicked.connect(self.reduce_pressed)
        self._unreduce = HoldButton("End reduce only", theme=theme, is_stacked=True)
        self._unreduce.held.connect(self.unreduce_held)
        for widget in (self._words, self._state, self._hold, self._allow):
            layout.addWidget(widget)
        for widget in (self._reduce, self._unreduce):
            layout.addWidget(widget)
        for widget in (self._allow, self._unreduce):
            widget.setFixedWidth(RAIL_PX)
            widget.hide()

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

    def show_reduce_only(self, state: ReduceOnlyState) -> None:
        """The operator's reduce-only, and the control that changes it."""
        self._reduce.setVisible(not state.is_on)
        self._reduce.setEnabled(state.can_switch_on)
        self._unreduce.setVisible(state.is_on)
        self._unreduce.setEnabled(state.can_switch_off)

    @property
    def unreduce_button(self) -> HoldButton:
        """The hold button that ends the operator's reduce-only."""
        return self._unreduce

    @property
    def allow_button(self) -> HoldButton:
        """The hold button that ends a halt."""
        return self._allow
