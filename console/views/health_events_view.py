"""Health, events: the bus with its types at the left, dead letters and faulty handlers at the
right."""

from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from console.charts import LimitChart
from console.theme import LiveTheme
from console.viewmodels.chart_frames import ChartState
from console.viewmodels.health_events import (
    DEAD_LETTER_COLUMNS,
    HANDLER_COLUMNS,
    TYPE_COLUMNS,
    DeadLettersState,
    HealthEventsState,
)
from console.viewmodels.trends import TrendsViewModel
from console.widgets import FactsGrid, Panel, Paragraph
from console.widgets.data_table import DataTable

__all__ = ["HealthEventsView"]

_GAP_PX: Final = 8
_CHART_PX: Final = 112
_FRAME_PX: Final = 40  # Margins, and the scroll bar of a long table.


class HealthEventsView(QWidget):
    """The second half of the Health page."""

    requeue_pressed = Signal(str)
    letter_chosen = Signal(str)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setAccessibleName("Health: bus and dead letters")
        self._bus = Panel("Event bus", theme=theme, note_widest="oldest")
        self._facts = FactsGrid(theme=theme, columns=2, rows=4, widest_name="Handler errors")
        self._chart = LimitChart(name="Event queue fill, last hour", theme=theme)
        self._chart.setFixedHeight(_CHART_PX)
        self._types = DataTable(columns=TYPE_COLUMNS, theme=theme, name="Events by type")
        self._handlers_panel = Panel("Handlers that failed or were slow", theme=theme)
        self._handlers = DataTable(
            columns=HANDLER_COLUMNS, theme=theme, name="Handlers that failed or were slow"
        )
        self._handlers_panel.add(self._handlers, 1)
        self._newest_fault = Paragraph(theme=theme, lines_max=3)
        self._handlers_panel.add(self._newest_fault)
        self._letters_panel = Panel("Dead letters", theme=theme)
        self._letters = DataTable(
            columns=DEAD_LETTER_COLUMNS, theme=theme, name="Dead letters", has_choice=True
        )
        self._letters.chosen.connect(self.letter_chosen)
        self._detail = Paragraph(theme=theme, lines_max=4)
        self._requeue = QPushButton("Requeue…")
        self._requeue.setAccessibleName("Requeue the chosen dead letter")
        self._requeue.clicked.connect(lambda: self.requeue_pressed.emit(self._letters.chosen_key))
        self._lay_out()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(14)
        head.addWidget(self._facts, 3, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self._chart, 4)
        self._bus.add_layout(head)
        self._bus.add(self._types, 1)
        self._bus.setMinimumWidth(self._types.natural_width() + _FRAME_PX)
        self._letters_panel.add(self._letters, 1)
        self._letters_panel.add(self._detail)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(self._requeue)
        self._letters_panel.add_layout(foot)
        right = QVBoxLayout()
        right.setSpacing(_GAP_PX)
        right.addWidget(self._letters_panel, 3)
        right.addWidget(self._handlers_panel, 2)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(_GAP_PX)
        outer.addWidget(self._bus, 3)
        outer.addLayout(right, 2)

    @property
    def letters(self) -> DataTable:
        """The table of dead letters."""
        return self._letters

    @property
    def requeue_button(self) -> QPushButton:
        """Requeue."""
        return self._requeue

    def show_state(self, state: HealthEventsState) -> None:
        """The bus by figures, by type and by handler."""
        self._facts.show_facts(state.facts)
        self._types.show_rows(state.types, empty=state.types_empty)
        # A panel of nothing but "none" would only take room.
        self._handlers_panel.setVisible(bool(state.handlers))
        self._handlers.show_rows(state.handlers)
        self._newest_fault.set_text(state.newest_fault)

    def show_letters(self, state: DeadLettersState) -> None:
        """The dead letters and what may be done with the chosen one."""
        self._letters_panel.set_title(state.title)
        self._letters.show_rows(state.rows, empty=state.empty, keys=state.keys)
        self._detail.set_text(state.detail)
        self._requeue.setText(state.button)
        self._requeue.setEnabled(state.can_requeue)
        self._requeue.setVisible(bool(state.rows))

    def show_chart(self, trends: TrendsViewModel, frame: ChartState) -> None:
        """How full the queue was."""
        self._bus.set_note(frame.note)
        self._chart.show_range(frame.low, frame.high)
        self._chart.show_limits(limits=frame.limits, band=frame.band)
        self._chart.show_no_data(frame.no_data)
        self._chart.describe(frame.description)
        self._chart.show_series(*trends.queue.view(), marks_s=trends.drops_s)
