"""The Orders page: positions above, orders below, the ticket at the right.

Closing is two steps in the page: the first press opens a line with the amount, the second closes.
Nothing covers the window, so that the stop is always in reach. No decisions here.
"""

from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from console.theme import LiveTheme, Role
from console.viewmodels.orders import HELD_COLUMNS, ORDER_COLUMNS, CloseState, OrdersState
from console.views.ticket_view import TicketView
from console.widgets import Panel, Paragraph, TextLabel
from console.widgets.data_table import DataTable

__all__ = ["OrdersView"]

_GAP_PX: Final = 8
_AMOUNT_PX: Final = 120


class _CloseLine(QWidget):
    """How much of the chosen position to close; Esc keeps it."""

    close_asked = Signal(str)
    kept = Signal()

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setAccessibleName("Close a position")
        self.amount = QLineEdit()
        self.amount.setFixedWidth(_AMOUNT_PX)
        self.amount.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.amount.setAccessibleName("Quantity to close")
        self.amount.returnPressed.connect(self._ask)
        self._words = TextLabel(theme=theme, may_elide=True, widest="of LONG 0.000 BTCUSDT")
        self.close_button = QPushButton("Close at market")
        self.close_button.clicked.connect(self._ask)
        self.keep_button = QPushButton("Keep")
        self.keep_button.clicked.connect(self.kept)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(8)
        line.addWidget(TextLabel("Close", theme=theme, role=Role.TEXT_MUTED))
        line.addWidget(self.amount)
        line.addWidget(self._words, 1)
        line.addWidget(self.close_button)
        line.addWidget(self.keep_button)

    def begin(self, state: CloseState) -> None:
        """Ask about this position, all of it unless something else is typed."""
        self.amount.setText(state.all_of_it)
        self.show_state(state)
        self.amount.setFocus(Qt.FocusReason.OtherFocusReason)
        self.amount.selectAll()

    def show_state(self, state: CloseState) -> None:
        """The position as it is now."""
        self._words.set_text(f"of {state.words}")
        self.close_button.setEnabled(state.can_close)

    def _ask(self) -> None:
        if self.close_button.isEnabled():
            self.close_asked.emit(self.amount.text())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.kept.emit()
            return
        super().keyPressEvent(event)


class OrdersView(QWidget):
    """Page D 2."""

    close_opened = Signal()
    close_asked = Signal(str)
    close_kept = Signal()
    cancel_asked = Signal()
    row_chosen = Signal()
    part_chosen = Signal()

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAccessibleName("Orders page")
        self.ticket = TicketView(theme=theme)
        self._held_panel = Panel("Positions", theme=theme, note_widest="unrealised +0 000.00 USDT")
        self.held = DataTable(columns=HELD_COLUMNS, theme=theme, name="Positions", has_choice=True)
        self.held.chosen.connect(lambda _: self.row_chosen.emit())
        self._open_close = QPushButton("Close…")
        self._open_close.clicked.connect(self.close_opened)
        self._close_words = TextLabel(theme=theme, role=Role.TEXT_MUTED, may_elide=True)
        self.close_line = _CloseLine(theme=theme)
        self.close_line.close_asked.connect(self.close_asked)
        self.close_line.kept.connect(self.close_kept)
        self._orders_panel = Panel("Orders", theme=theme)
        self.orders = DataTable(columns=ORDER_COLUMNS, theme=theme, name="Orders", has_choice=True)
        self.orders.chosen.connect(lambda _: self.row_chosen.emit())
        self._detail = Paragraph(theme=theme, lines_max=2)
        self._cancel = QPushButton("Cancel order")
        self._cancel.clicked.connect(self.cancel_asked)
        self._lay_out()

    def _lay_out(self) -> None:
        rest = QWidget()
        line = QHBoxLayout(rest)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self._close_words, 1)
        line.addWidget(self._open_close)
        self._closing = QStackedWidget()
        self._closing.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._closing.addWidget(rest)
        self._closing.addWidget(self.close_line)
        self._held_panel.add(self.held, 1)
        self._held_panel.add(self._closing)
        self._orders_panel.add_layout(self._make_parts())
        self._orders_panel.add(self.orders, 1)
        foot = QHBoxLayout()
        foot.addWidget(self._detail, 1)
        foot.addWidget(self._cancel)
        self._orders_panel.add_layout(foot)
        left = QVBoxLayout()
        left.setSpacing(_GAP_PX)
        left.addWidget(self._held_panel, 2)
        left.addWidget(self._orders_panel, 3)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(_GAP_PX)
        outer.addLayout(left, 1)
        outer.addWidget(self.ticket)

    def _make_parts(self) -> QHBoxLayout:
        group = QButtonGroup(self)
        group.setExclusive(True)
        self._working, self._recent = QPushButton("Working"), QPushButton("Ended")
        line = QHBoxLayout()
        line.setSpacing(0)
        for button in (self._working, self._recent):
            button.setObjectName("segment")
            button.setCheckable(True)
            button.setProperty("last", button is self._recent)
            button.clicked.connect(self.part_chosen)
            group.addButton(button)
            line.addWidget(button)
        self._working.setChecked(True)
        line.addStretch(1)
        return line

    # --- what is shown --------------------------------------------------------------------------

    @property
    def shows_recent(self) -> bool:
        """Whether the orders that ended are shown."""
        return self._recent.isChecked()

    def show_recent(self, *, recent: bool) -> None:
        """Show the orders that ended, or those that work."""
        (self._recent if recent else self._working).setChecked(True)
        self.part_chosen.emit()

    @property
    def is_asking(self) -> bool:
        """Whether the line that closes a position is open."""
        return self._closing.currentWidget() is self.close_line

    @property
    def open_close_button(self) -> QPushButton:
        """The first of the two steps."""
        return self._open_close

    @property
    def cancel_button(self) -> QPushButton:
        """Cancels the chosen order."""
        return self._cancel

    @property
    def detail(self) -> Paragraph:
        """What is known of the chosen order."""
        return self._detail

    def open_close(self, state: CloseState) -> None:
        """Second step: ask how much."""
        self._closing.setCurrentWidget(self.close_line)
        self.close_line.begin(state)

    def end_close(self) -> None:
        """Back to the first step."""
        if self.is_asking:
            had_focus = self.close_line.isAncestorOf(self.window().focusWidget())
            self._closing.setCurrentIndex(0)
            if had_focus:
                self.held.setFocus(Qt.FocusReason.OtherFocusReason)

    def show_state(self, state: OrdersState) -> None:
        """Both tables and their lines."""
        self._held_panel.set_title(state.held_title)
        self._held_panel.set_note(state.held_note)
        self.held.show_rows(state.held, empty=state.held_empty, keys=state.held_keys)
        self.show_close(state.close)
        self._working.setText(state.working_title)
        self._recent.setText(state.recent_title)
        self.orders.show_rows(state.orders, empty=state.orders_empty, keys=state.order_keys)
        self._detail.set_text(state.detail)
        self._cancel.setText(state.cancel)
        self._cancel.setAccessibleName(state.cancel)
        self._cancel.setEnabled(state.can_cancel)

    def show_close(self, state: CloseState) -> None:
        """The chosen position, and whether it may be closed."""
        words = state.words or "Choose a position to close it"
        self._close_words.set_text(f"{words}, closing" if state.is_closing else words)
        self._open_close.setEnabled(state.can_close)
        self.close_line.show_state(state)
