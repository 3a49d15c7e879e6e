"""The alarm strip: the last few alarms with what to do beside each, and Acknowledge per alarm.

New rows never move the focus; acknowledging is per alarm, never "all".
"""

from dataclasses import dataclass

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QPushButton

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.alarms import STRIP_ROWS, AlarmRow
from console.widgets import Chip, Panel, TextLabel

__all__ = ["AlarmStripView"]


@dataclass(slots=True, kw_only=True)
class _Line:
    time: TextLabel
    chip: Chip
    text: TextLabel
    action: TextLabel
    state: TextLabel
    acknowledge: QPushButton
    alarm_id: str = ""

    def show(self, row: AlarmRow | None) -> None:
        """Show a row, or nothing."""
        self.alarm_id = row.id if row else ""
        for widget in (self.time, self.chip, self.text, self.action):
            widget.setVisible(row is not None)
        self.state.setVisible(row is not None and not row.is_unacknowledged)
        self.acknowledge.setVisible(row is not None and row.is_unacknowledged)
        if row is None:
            return
        self.time.set_text(row.time)
        self.chip.show_state(row.chip)
        self.text.set_text(row.text)
        self.text.set_style(TextStyle.STRONG if row.is_unacknowledged else TextStyle.BODY)
        self.action.set_text(row.action)
        self.state.set_text("" if row.is_unacknowledged else row.state)
        self.acknowledge.setAccessibleName(f"Acknowledge: {row.text}")


class AlarmStripView(Panel):
    """The strip at the foot of the overview."""

    acknowledged = Signal(str)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__("Alarms", theme=theme, note_widest="newest first")
        self._rows_shown = STRIP_ROWS
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(2, 5)
        self._grid.setColumnStretch(3, 6)
        self._lines = [self._make_line(at, theme) for at in range(STRIP_ROWS)]
        self._calm = TextLabel("No alarms.", theme=theme, role=Role.TEXT_MUTED)
        self.add(self._calm)
        self.add_layout(self._grid)
        self.add_stretch()
        self.show_rows((), hidden=0)

    def _make_line(self, at: int, theme: LiveTheme) -> _Line:
        line = _Line(
            time=TextLabel(theme=theme, role=Role.TEXT_MUTED, widest="00:00:00.0"),
            chip=Chip(theme=theme, height_px=22, padding_px=9, widest="P2"),
            text=TextLabel(theme=theme, may_elide=True, widest="An alarm text"),
            action=TextLabel(
                theme=theme, role=Role.TEXT_MUTED, may_elide=True, widest="→ what to do"
            ),
            state=TextLabel(theme=theme, role=Role.TEXT_MUTED, align=Qt.AlignmentFlag.AlignRight),
            acknowledge=QPushButton("Acknowledge"),
        )
        line.acknowledge.setObjectName("small")
        line.acknowledge.clicked.connect(lambda _=False, line=line: self._acknowledge(line))
        for column, widget in enumerate((line.time, line.chip, line.text, line.action)):
            self._grid.addWidget(widget, at, column)
        # One place for both: a row has either its state in words or the button.
        self._grid.addWidget(line.state, at, 4, Qt.AlignmentFlag.AlignRight)
        self._grid.addWidget(line.acknowledge, at, 4, Qt.AlignmentFlag.AlignRight)
        self._grid.setRowMinimumHeight(at, 28)
        return line

    def _acknowledge(self, line: _Line) -> None:
        if line.alarm_id:
            self.acknowledged.emit(line.alarm_id)

    def limit_rows(self, count: int) -> None:
        """Show at most so many rows: fewer where the stop panel needs the room."""
        self._rows_shown = min(count, STRIP_ROWS)
        for at in range(STRIP_ROWS):
            self._grid.setRowMinimumHeight(at, 28 if at < self._rows_shown else 0)

    def show_rows(self, rows: tuple[AlarmRow, ...], *, hidden: int) -> None:
        """Show these rows; ``hidden`` more exist."""
        shown = rows[: self._rows_shown]
        for at, line in enumerate(self._lines):
            line.show(shown[at] if at < len(shown) else None)
        self._calm.setVisible(not shown)
        more = hidden + len(rows) - len(shown)
        self.set_note(f"{more} more on the Alarms page, Alt+4" if more else "")
