"""The overview: am I safe?

Drawdown, indicators, links, queue, positions, alarms, and the stop when latched.
It fits 1366 × 700 without scrolling (R36): while latched in a low window the queue and positions
row gives its room to the stop panel, whose rows show the same positions.
"""

from PySide6.QtCore import QSize, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from console.charts import LimitChart
from console.theme import LiveTheme
from console.viewmodels.alarms import AlarmRow
from console.viewmodels.appearance import IndicatorState
from console.viewmodels.buffer import BufferState
from console.viewmodels.chart_frames import ChartState
from console.viewmodels.entries import StartState
from console.viewmodels.links import LinkRow
from console.viewmodels.positions import POSITION_COLUMNS, PositionsState
from console.viewmodels.stop_progress import StopProgressState
from console.viewmodels.trends import TrendsViewModel
from console.views.alarm_strip_view import AlarmStripView
from console.views.indicators_view import IndicatorsView
from console.views.links_view import LinksView
from console.views.start_row_view import StartRowView
from console.views.stop_panel_view import StopPanelView
from console.widgets import Panel
from console.widgets.data_table import DataTable

__all__ = ["OverviewView"]

_LOW_PX = 720
_GAP_PX = 8
_LINKS_PX = 350
_STRIP_LOW_PX = 98  # Two rows of alarms.
_STRIP_PX = 130  # Three.


class OverviewView(QWidget):
    """Page D 1."""

    acknowledged = Signal(str)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAccessibleName("Overview page")
        self._is_latched = False
        self.stop_panel = StopPanelView(theme=theme)
        self.start_row = StartRowView(theme=theme)
        self._drawdown_panel = Panel(
            "Account drawdown from peak, %", theme=theme, note_widest="equity 0"
        )
        self._drawdown = LimitChart(name="Account drawdown from peak", theme=theme)
        self._drawdown_panel.add(self._drawdown, 1)
        self._queue_panel = Panel("Event queue fill, %", theme=theme, note_widest="oldest")
        self._queue = LimitChart(name="Event queue fill", theme=theme)
        self._queue_panel.add(self._queue, 1)
        self._indicators = IndicatorsView(theme=theme)
        self._links = LinksView(theme=theme)
        self._positions_panel = Panel("Positions", theme=theme, note_widest="unrealised")
        self._positions = DataTable(columns=POSITION_COLUMNS, theme=theme, name="Open positions")
        self._positions_panel.add(self._positions, 1)
        self._strip = AlarmStripView(theme=theme)
        self._strip.acknowledged.connect(self.acknowledged)
        self.stop_panel.hide()
        self.start_row.hide()
        self._lay_out()

    def _lay_out(self) -> None:
        upper = QHBoxLayout()
        upper.setSpacing(_GAP_PX)
        upper.addWidget(self._drawdown_panel, 1)
        for panel, width in ((self._indicators, 284), (self._links, _LINKS_PX)):
            panel.setFixedWidth(width)
            upper.addWidget(panel)
        self._lower = QWidget()
        lower = QHBoxLayout(self._lower)
        lower.setContentsMargins(0, 0, 0, 0)
        lower.setSpacing(_GAP_PX)
        lower.addWidget(self._queue_panel, 9)
        lower.addWidget(self._positions_panel, 14)
        self._positions_panel.setMinimumWidth(self._positions.natural_width() + 28)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(_GAP_PX)
        outer.addWidget(self.stop_panel)
        outer.addWidget(self.start_row)
        outer.addLayout(upper, 13)
        outer.addWidget(self._lower, 9)
        outer.addWidget(self._strip)
        self._strip.setFixedHeight(_STRIP_LOW_PX)

    def minimumSizeHint(self) -> QSize:
        hint = super().minimumSizeHint()
        if self._is_latched and not self._lower.isHidden():
            # While latched the lower row may go, so the window may be made that low.
            spare = self._lower.minimumSizeHint().height() + _GAP_PX
            spare += self._strip.height() - _STRIP_LOW_PX
            hint.setHeight(hint.height() - spare)
        return hint

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._share_room()

    def _share_room(self) -> None:
        is_low = self.height() < _LOW_PX
        self._lower.setVisible(not (is_low and self._is_latched))
        self._strip.limit_rows(2 if is_low else 3)
        self._strip.setFixedHeight(_STRIP_LOW_PX if is_low else _STRIP_PX)

    def show_stop(self, state: StopProgressState | None) -> None:
        """The stop panel, while latched."""
        is_latched = state is not None
        if is_latched != self._is_latched:
            self._is_latched = is_latched
            # Whoever gives way does so first: the window must not grow in between.
            if is_latched:
                self.start_row.hide()
                self._share_room()
                self.stop_panel.show()
            else:
                self.stop_panel.hide()
                self._share_room()
        if state is not None:
            self.stop_panel.show_state(state)

    def show_start(self, state: StartState | None) -> None:
        """The START row, while READY."""
        self.start_row.setVisible(state is not None)
        if state is not None:
            self.start_row.show_state(state)

    def show_words(
        self,
        *,
        indicators: tuple[IndicatorState, ...],
        links: tuple[LinkRow, ...],
        buffer: BufferState,
        alarms: tuple[AlarmRow, ...],
        alarms_hidden: int,
    ) -> None:
        """Bars, links, buffer and the alarm strip."""
        self._indicators.show_states(indicators)
        self._links.show_rows(links)
        self._links.show_buffer(buffer)
        self._strip.show_rows(alarms, hidden=alarms_hidden)

    def show_positions(self, state: PositionsState) -> None:
        """The positions table."""
        self._positions_panel.set_title(state.title)
        self._positions_panel.set_note(state.note)
        self._positions.show_rows(state.rows, empty=state.empty)

    def show_drawdown(self, trends: TrendsViewModel, frame: ChartState) -> None:
        """The drawdown chart."""
        _frame(self._drawdown_panel, self._drawdown, frame)
        self._drawdown.show_series(*trends.drawdown.view())

    def show_queue(self, trends: TrendsViewModel, frame: ChartState) -> None:
        """The queue chart, while its row is shown, and the trend of what waits for Redis."""
        self._links.show_trend(trends.buffer)
        if self._lower.isVisible():
            _frame(self._queue_panel, self._queue, frame)
            self._queue.show_series(*trends.queue.view(), marks_s=trends.drops_s)


def _frame(panel: Panel, chart: LimitChart, frame: ChartState) -> None:
    panel.set_note(frame.note)
    chart.show_range(frame.low, frame.high)
    chart.show_limits(limits=frame.limits, band=frame.band)
    chart.show_no_data(frame.no_data)
    chart.describe(frame.description)
