"""The latched view: four stages, a row per position, pause, copy, and the way to the reset
sheet.
"""

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QPushButton

from console.theme import LiveTheme
from console.viewmodels.stop_progress import STOP_COLUMNS, StopProgressState
from console.widgets import Chip, Panel
from console.widgets.data_table import HEADER_PX, ROW_PX, DataTable

__all__ = ["StopPanelView"]

_ROWS_SHOWN_MAX = 6


class StopPanelView(Panel):
    """STOP IN PROGRESS."""

    pause_pressed = Signal()
    copy_pressed = Signal()
    reset_pressed = Signal()

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__("Stop in progress", theme=theme, note_widest="14:31:59.0 pressed")
        self.setObjectName("urgent_panel")
        self._stages = [Chip(theme=theme, height_px=26, padding_px=10) for _ in range(4)]
        stages = QHBoxLayout()
        stages.setSpacing(6)
        for chip in self._stages:
            stages.addWidget(chip)
        stages.addStretch(1)
        self._table = DataTable(columns=STOP_COLUMNS, theme=theme, name="Positions being closed")
        self._pause = QPushButton("Pause closing (keep latch)")
        self._copy = QPushButton("Copy details for the exchange desk")
        self._reset = QPushButton("Reset…")
        self._reset.setAccessibleDescription("Opens the reset sheet; resets nothing by itself")
        self._pause.clicked.connect(self.pause_pressed)
        self._copy.clicked.connect(self.copy_pressed)
        self._reset.clicked.connect(self.reset_pressed)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self._pause)
        buttons.addWidget(self._copy)
        buttons.addStretch(1)
        buttons.addWidget(self._reset)
        self.add_layout(stages)
        self.add(self._table)
        self.add_layout(buttons)

    def show_state(self, state: StopProgressState) -> None:
        """Show the stop."""
        self.set_title(state.title)
        self.set_note(state.note)
        for at, chip in enumerate(self._stages):
            chip.setVisible(at < len(state.stages))
            if at < len(state.stages):
                chip.show_state(state.stages[at])
        self._table.show_rows(state.rows, empty=state.empty)
        rows = min(max(1, len(state.rows)), _ROWS_SHOWN_MAX)
        self._table.setFixedHeight(HEADER_PX + rows * ROW_PX + 3)
        self._pause.setText(state.pause_text)
        self._pause.setEnabled(state.pause_enabled)
        self._reset.setText(state.reset_text)

    def copy(self, text: str) -> None:
        """Put ``text`` on the clipboard."""
        QGuiApplication.clipboard().setText(text)
