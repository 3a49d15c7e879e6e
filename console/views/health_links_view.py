"""Health, links and records: Redis and journal above; outages, policy and database below."""

from typing import Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from console.charts import LimitChart
from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.chart_frames import ChartState
from console.viewmodels.health_links import (
    OUTAGE_COLUMNS,
    HealthLinksState,
    PartState,
    TimelineState,
)
from console.viewmodels.trends import TrendSeries
from console.widgets import (
    Chip,
    FactsGrid,
    Panel,
    Paragraph,
    ProgressLine,
    StepTimeline,
    TextLabel,
)
from console.widgets.data_table import DataTable

__all__ = ["HealthLinksView"]

_GAP_PX: Final = 8
_SIDE_MIN_PX: Final = 238


class _Part(Panel):
    """A panel with a state, its cause, and figures."""

    def __init__(
        self,
        title: str,
        *,
        theme: LiveTheme,
        columns: int,
        rows: int,
        name: str,
        is_narrow: bool = False,
    ) -> None:
        super().__init__(title, theme=theme, note_widest="steady")
        self._chip = Chip(theme=theme, height_px=22, padding_px=9)
        # In a narrow panel the cause has lines of its own.
        self._cause = Paragraph(
            theme=theme,
            style=TextStyle.SMALL if is_narrow else TextStyle.BODY,
            role=Role.TEXT,
            lines_max=3 if is_narrow else 2,
        )
        self._progress = ProgressLine(theme=theme, name=f"{title}: replay")
        self._facts = FactsGrid(theme=theme, columns=columns, rows=rows, widest_name=name)
        self._head = QHBoxLayout()
        self._head.setSpacing(8)
        self._head.addWidget(self._chip)
        if not is_narrow:
            self._head.addWidget(self._cause, 1_000)
        self._head.addStretch(1)
        self.add_layout(self._head)
        if is_narrow:
            self.add(self._cause)
        self.add(self._progress)
        self.add(self._facts)
        self._progress.hide()

    def show_part(self, state: PartState) -> None:
        """Show this state."""
        self._chip.setVisible(bool(state.chip.text))
        self._chip.show_state(state.chip)
        self._cause.setVisible(bool(state.cause))
        self._cause.set_text(state.cause)
        self._progress.setVisible(state.progress is not None)
        if state.progress is not None:
            self._progress.show_fraction(state.progress)
        self._facts.show_facts(state.facts)
        self.set_note(state.note)


class HealthLinksView(QWidget):
    """The first half of the Health page."""

    backup_pressed = Signal()

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setAccessibleName("Health: links and records")
        self._redis = _Part("Redis", theme=theme, columns=1, rows=8, name="Chosen because")
        self._redis.add_stretch()
        self._journal = _Part(
            "Journal, the buffer in front of Redis",
            theme=theme,
            columns=3,
            rows=4,
            name="Oldest waiting",
        )
        self._chart = LimitChart(name="Events waiting for Redis", theme=theme)
        self._journal.add(self._chart, 1)
        self._policy = _Part(
            "Policy", theme=theme, columns=1, rows=6, name="Entries held", is_narrow=True
        )
        self._policy.add_stretch()
        self._database = _Part(
            "Database", theme=theme, columns=1, rows=5, name="Backup result", is_narrow=True
        )
        self._database.add_stretch()
        self._backup = QPushButton("Back up now")
        self._backup.setAccessibleName("Back up the database now")
        self._backup.clicked.connect(self.backup_pressed)
        self._database.add(self._backup)
        self._outages_panel = Panel("Outages of Redis", theme=theme)
        self._outages = DataTable(columns=OUTAGE_COLUMNS, theme=theme, name="Outages of Redis")
        self._timeline_title = TextLabel(theme=theme, style=TextStyle.SMALL_STRONG, may_elide=True)
        self._timeline = StepTimeline(theme=theme, name="Steps of the last recovery")
        self._outages_panel.add(self._outages, 1)
        self._outages_panel.add(self._timeline_title)
        self._outages_panel.add(self._timeline)
        self._lay_out()

    def _lay_out(self) -> None:
        upper, lower = QHBoxLayout(), QHBoxLayout()
        for line in (upper, lower):
            line.setSpacing(_GAP_PX)
        upper.addWidget(self._redis, 5)
        upper.addWidget(self._journal, 6)
        lower.addWidget(self._outages_panel, 5)
        for panel in (self._policy, self._database):
            panel.setMinimumWidth(_SIDE_MIN_PX)
            lower.addWidget(panel, 2)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(_GAP_PX)
        outer.addLayout(upper, 1)
        outer.addLayout(lower, 1)

    def show_state(self, state: HealthLinksState) -> None:
        """Every word and figure."""
        self._redis.show_part(state.redis)
        self._journal.show_part(state.journal)
        self._policy.show_part(state.policy)
        self._database.setVisible(state.database is not None)
        if state.database is not None:
            self._database.show_part(state.database)
        self._backup.setText(state.backup_words)
        self._backup.setEnabled(state.can_back_up)
        self._outages_panel.set_title(state.outages_title)
        self._outages.show_rows(state.outages, empty="None in this run")
        self._show_timeline(state.timeline)

    def _show_timeline(self, state: TimelineState | None) -> None:
        self._timeline_title.setVisible(state is not None)
        self._timeline.setVisible(state is not None and bool(state.steps))
        if state is not None:
            self._timeline_title.set_text(state.title)
            self._timeline.show_steps(state.steps)

    def show_chart(self, series: TrendSeries, frame: ChartState) -> None:
        """The trend of what waits."""
        self._chart.show_range(frame.low, frame.high)
        self._chart.show_limits(limits=frame.limits, band=frame.band)
        self._chart.show_no_data(frame.no_data)
        self._chart.describe(frame.description)
        self._chart.show_series(*series.view())
