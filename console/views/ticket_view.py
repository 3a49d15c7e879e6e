"""The ticket panel: a form, what the engine says of it, and the button that sends it.

Two fields a line, so that all of it fits 1280 by 680 without scrolling. The button is held for
what opens risk and clicked for what only reduces. No decisions here.
"""

from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.ticket import TicketState
from console.widgets import Chip, FactsGrid, HoldButton, Panel, Paragraph, TextLabel

__all__ = ["TICKET_PX", "TicketView"]

TICKET_PX: Final = 372
_FIELD_PX: Final = 98
_FACT_ROWS: Final = 7
_LIMIT_ROWS: Final = 4
# The room of the limits is the reasons' while there are any.
_REASON_LINES: Final = 8
_TITLES: Final = {
    "amount": "Amount",
    "price": "Limit price",
    "leverage": "Leverage",
    "stop_loss": "Stop loss",
    "take_profit": "Take profit",
}


class TicketView(QWidget):
    """Emits what was typed as ``typed(field, text)``, switches, and ``send_asked``."""

    typed = Signal(str, str)
    side_chosen = Signal(str)
    unit_chosen = Signal(bool)
    reduce_only_switched = Signal(bool)
    override_switched = Signal(bool)
    send_asked = Signal()

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self._theme = theme
        self.setAccessibleName("Ticket")
        self.setFixedWidth(TICKET_PX)
        self._panel = Panel("Ticket", theme=theme)
        self._edits: dict[str, QLineEdit] = {}
        self._labels: dict[str, TextLabel] = {}
        self._symbols: tuple[str, ...] = ()
        self._panel.add_layout(self._make_form())
        self._panel.add_layout(self._make_switches())
        self._verdict = Chip(theme=theme, height_px=22, padding_px=8, widest="WOULD BE REFUSED, 10")
        self._words = Paragraph(theme=theme, role=Role.TEXT, lines_max=_REASON_LINES)
        self._facts = FactsGrid(
            theme=theme, columns=1, rows=_FACT_ROWS, widest_name="Liquidation, est."
        )
        self._limits = FactsGrid(
            theme=theme, columns=1, rows=_LIMIT_ROWS, widest_name="Liquidation, est."
        )
        self._send = HoldButton("Place order", theme=theme, widest="Place: SELL 0.000 at market")
        self._send.held.connect(self.send_asked)
        line = QHBoxLayout()
        line.addWidget(self._verdict)
        line.addStretch(1)
        self._panel.add_layout(line)
        self._panel.add(self._words)
        self._panel.add(self._facts)
        self._panel.add(self._limits)
        self._panel.add_stretch()
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(self._send)
        self._panel.add_layout(foot)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._panel)

    # --- assembly -------------------------------------------------------------------------------

    def _make_form(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(5)
        grid.addWidget(self._label("symbol", "Symbol"), 0, 0)
        grid.addWidget(self._make_symbol(), 0, 1)
        sides = QHBoxLayout()
        sides.setSpacing(0)
        self._sides = self._segments("Buy", "Sell", into=sides)
        self._sides.idToggled.connect(self._on_side)
        grid.addLayout(sides, 0, 2, 1, 2)
        grid.addWidget(self._label("amount", _TITLES["amount"]), 1, 0)
        grid.addWidget(self._make_edit("amount"), 1, 1)
        units = QHBoxLayout()
        units.setSpacing(0)
        self._units = self._segments("coins", "USDT", into=units)
        self._units.idToggled.connect(self._on_unit)
        grid.addLayout(units, 1, 2, 1, 2)
        for at, name in enumerate(("price", "leverage", "stop_loss", "take_profit")):
            row, column = 2 + at // 2, 2 * (at % 2)
            grid.addWidget(self._label(name, _TITLES[name]), row, column)
            grid.addWidget(self._make_edit(name), row, column + 1)
        return grid

    def _label(self, name: str, title: str) -> TextLabel:
        made = TextLabel(title, theme=self._theme, role=Role.TEXT_MUTED, style=TextStyle.SMALL)
        self._labels[name] = made
        return made

    def _make_symbol(self) -> QComboBox:
        self._symbol = QComboBox()
        self._symbol.setEditable(True)
        self._symbol.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self._symbol.setFixedWidth(_FIELD_PX)
        self._symbol.setAccessibleName("Symbol")
        edit = self._symbol.lineEdit()
        assert edit is not None
        edit.setAccessibleName("Symbol")
        self._edits["symbol"] = edit
        self._symbol.currentTextChanged.connect(lambda text: self.typed.emit("symbol", text))
        return self._symbol

    def _make_edit(self, name: str) -> QLineEdit:
        edit = QLineEdit()
        edit.setFixedWidth(_FIELD_PX)
        edit.setAlignment(Qt.AlignmentFlag.AlignRight)
        edit.setAccessibleName(_TITLES[name])
        edit.textChanged.connect(lambda text, name=name: self.typed.emit(name, text))
        self._edits[name] = edit
        return edit

    def _segments(self, *choices: str, into: QHBoxLayout) -> QButtonGroup:
        group = QButtonGroup(self)
        group.setExclusive(True)
        for at, title in enumerate(choices):
            button = QPushButton(title)
            button.setObjectName("segment")
            button.setCheckable(True)
            button.setChecked(at == 0)
            button.setProperty("last", at == len(choices) - 1)
            button.setAccessibleName(title)
            group.addButton(button, at)
            into.addWidget(button, 1)
        return group

    def _make_switches(self) -> QHBoxLayout:
        self._reduce = QCheckBox("Reduce only")
        self._reduce.toggled.connect(self.reduce_only_switched)
        self._override = QCheckBox("Although identical")
        self._override.setAccessibleName("Send although identical to a recent order, audited")
        self._override.toggled.connect(self.override_switched)
        line = QHBoxLayout()
        line.setSpacing(16)
        line.addWidget(self._reduce)
        line.addWidget(self._override)
        line.addStretch(1)
        return line

    # --- what was pressed -----------------------------------------------------------------------

    def _on_side(self, at: int, is_on: bool) -> None:
        if is_on:
            self.side_chosen.emit("BUY" if at == 0 else "SELL")

    def _on_unit(self, at: int, is_on: bool) -> None:
        if is_on:
            self.unit_chosen.emit(at == 1)

    # --- what is shown --------------------------------------------------------------------------

    def edit(self, name: str) -> QLineEdit:
        """The field of this name."""
        return self._edits[name]

    def side_button(self, side: str) -> QPushButton:
        """The segment of a side."""
        button = self._sides.button(0 if side == "BUY" else 1)
        assert isinstance(button, QPushButton)
        return button

    def unit_button(self, *, notional: bool) -> QPushButton:
        """The segment of a unit."""
        button = self._units.button(1 if notional else 0)
        assert isinstance(button, QPushButton)
        return button

    @property
    def reduce_only_box(self) -> QCheckBox:
        """The switch of reduce-only."""
        return self._reduce

    @property
    def override_box(self) -> QCheckBox:
        """The switch of the override."""
        return self._override

    @property
    def send_button(self) -> HoldButton:
        """Place, or reduce."""
        return self._send

    @property
    def verdict(self) -> Chip:
        """The engine's judgement in a word."""
        return self._verdict

    @property
    def words(self) -> Paragraph:
        """Every problem, or every reason."""
        return self._words

    @property
    def facts(self) -> FactsGrid:
        """The figures of the preview."""
        return self._facts

    def show_symbols(self, symbols: tuple[str, ...]) -> None:
        """What the list offers; what is typed stays."""
        if symbols == self._symbols or self._symbol.view().isVisible():
            return
        self._symbols = symbols
        typed = self._symbol.currentText()
        self._symbol.blockSignals(True)
        self._symbol.clear()
        self._symbol.addItems(list(symbols))
        self._symbol.setCurrentIndex(-1)
        self._symbol.setEditText(typed)
        self._symbol.blockSignals(False)

    def show_state(self, state: TicketState) -> None:
        """Words, figures, marks at the fields and the button."""
        self._verdict.show_state(state.verdict)
        self._words.set_text(state.words)
        self._facts.show_facts(state.facts)
        self._limits.show_facts(state.limits)
        self._limits.setVisible(bool(state.limits))
        for name, edit in self._edits.items():
            hint = state.hints.get(name, "")
            if edit.placeholderText() != hint:
                edit.setPlaceholderText(hint)
            self._mark(edit, is_wrong=name in state.problems)
        for name in ("leverage", "stop_loss", "take_profit"):
            self._edits[name].setEnabled(state.opens_risk)
        self._override.setEnabled(state.opens_risk)
        self._send.set_text(state.button)
        self._send.set_needs_hold(state.needs_hold)
        if not state.can_send and self._send.hasFocus():
            # A disabled button gives its focus to whatever comes next, and the key that was held
            # may still repeat: where it does nothing.
            button = self._sides.checkedButton()
            assert button is not None
            button.setFocus(Qt.FocusReason.OtherFocusReason)
        self._send.setEnabled(state.can_send)

    @staticmethod
    def _mark(edit: QLineEdit, *, is_wrong: bool) -> None:
        if bool(edit.property("fault")) != is_wrong:
            edit.setProperty("fault", is_wrong)
            edit.style().unpolish(edit)
            edit.style().polish(edit)
