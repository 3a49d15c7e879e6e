"""The Alarms page: the list, the chosen one in full, and Acknowledge for it or for what is shown.

The letters act only while the list has the focus: A acknowledges the chosen alarm, Shift+A those
that are shown. Never "all": what is below the fold has not been seen.
"""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from console.theme import LiveTheme
from console.theme.fonts import TextStyle
from console.viewmodels.alarms_page import ALARM_COLUMNS, AlarmsPageState
from console.widgets import Panel, Paragraph
from console.widgets.data_table import DataTable

__all__ = ["AlarmsView"]


class _AlarmTable(DataTable):
    """Knows the two letters."""

    asked = Signal(bool)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        modifiers = event.modifiers()
        shift = Qt.KeyboardModifier.ShiftModifier
        if event.key() == Qt.Key.Key_A and modifiers in (Qt.KeyboardModifier.NoModifier, shift):
            if not event.isAutoRepeat():
                self.asked.emit(modifiers == shift)
            return
        super().keyPressEvent(event)


class AlarmsView(QWidget):
    """Page D 4."""

    acknowledged = Signal(str)
    alarm_chosen = Signal(str)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAccessibleName("Alarms page")
        self._unseen: frozenset[str] = frozenset()
        self._panel = Panel("Alarms", theme=theme, note_widest="the engine does not answer")
        self._table = _AlarmTable(
            columns=ALARM_COLUMNS, theme=theme, name="Alarms", has_choice=True
        )
        self._table.chosen.connect(self.alarm_chosen)
        self._table.asked.connect(self._on_asked)
        self._detail = Paragraph(theme=theme, style=TextStyle.BODY, lines_max=3)
        self._one = QPushButton("Acknowledge (A)")
        self._one.clicked.connect(self._acknowledge_chosen)
        self._shown = QPushButton("Acknowledge those shown (Shift+A)")
        self._shown.clicked.connect(self._acknowledge_shown)
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addWidget(self._detail, 1)
        for button in (self._one, self._shown):
            foot.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        self._panel.add(self._table, 1)
        self._panel.add_layout(foot)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._panel)

    @property
    def table(self) -> DataTable:
        """The list."""
        return self._table

    def show_state(self, state: AlarmsPageState) -> None:
        """Show the list as it is now."""
        self._unseen = state.unseen
        self._panel.set_title(state.title)
        self._panel.set_note(state.note)
        self._table.show_rows(state.rows, empty=state.empty, keys=state.keys)
        self._detail.set_text(state.detail)
        self._one.setEnabled(state.can_acknowledge)
        self._shown.setEnabled(bool(state.unseen))

    def _on_asked(self, is_for_shown: bool) -> None:
        if is_for_shown:
            self._acknowledge_shown()
        else:
            self._acknowledge_chosen()

    def _acknowledge_chosen(self) -> None:
        if self._table.chosen_key in self._unseen:
            self.acknowledged.emit(self._table.chosen_key)

    def _acknowledge_shown(self) -> None:
        for key in self._table.shown_keys():
            if key in self._unseen:
                self.acknowledged.emit(key)
