"""Links, and the buffer in front of Redis: a row a link, its cause below it when it is not well.

Calm rows are plain words, abnormal ones chips with their shape. Below the links stands what waits
for Redis: how much, how old, where it is going, and its last hour. In a low window the trend gives
way first, then the figures, the second line of a cause, the bar; no row is ever cut.
"""

from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.appearance import IndicatorState
from console.viewmodels.buffer import BUFFER_NAME, BufferState
from console.viewmodels.links import LinkRow
from console.viewmodels.trends import TrendSeries
from console.widgets import (
    Chip,
    IndicatorBar,
    Panel,
    Paragraph,
    ProgressLine,
    Sparkline,
    TextLabel,
)
from console.widgets.sparkline import SPARKLINE_MIN_PX

__all__ = ["LinksView"]

_ROW_PX: Final = 27
_ROW_LOW_PX: Final = 19
_FRAME_PX: Final = 41
_BAR_PX: Final = 38
_FIGURES_PX: Final = 17
_GAP_PX: Final = 6
_TREND_GAP_PX: Final = 3
_ROWS_MIN: Final = 6
_PROGRESS_PX: Final = 13


@dataclass(slots=True, kw_only=True)
class _Line:
    """The widgets of one link."""

    title: TextLabel
    chip: Chip
    detail: TextLabel
    cause: Paragraph
    progress: ProgressLine

    def show(self, row: LinkRow | None) -> None:
        """Show a row, or nothing."""
        for widget in (self.title, self.chip, self.detail):
            widget.setVisible(row is not None)
        self.cause.setVisible(row is not None and bool(row.cause))
        self.progress.setVisible(row is not None and row.progress is not None)
        if row is None:
            return
        self.title.set_text(row.title)
        self.chip.show_state(row.chip)
        self.chip.setAccessibleDescription(f"{row.title}. {row.cause}".strip())
        self.detail.set_text(row.detail)
        self.cause.set_text(row.cause)
        if row.progress is not None:
            self.progress.show_fraction(row.progress)


class LinksView(Panel):
    """The panel of links and buffer; rows are made as links appear and kept."""

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__("Links", theme=theme)
        self._theme = theme
        self._lines: list[_Line] = []
        self._shown: tuple[LinkRow, ...] = ()
        # Three rows a link: its line, its cause, its progress.
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(0)
        self.add_layout(self._grid)
        self.add_stretch()
        self._buffer = QWidget()
        self._bar = IndicatorBar(
            theme=theme, state=IndicatorState(name=BUFFER_NAME, value="", at=None, normal_to=1.0)
        )
        self._figures = TextLabel(
            theme=theme,
            style=TextStyle.SMALL,
            role=Role.TEXT_MUTED,
            may_elide=True,
            widest="oldest 00 min",
        )
        self._trend = Sparkline(theme=theme, name="Events waiting for Redis, last hour")
        self._lay_out_buffer()

    def _lay_out_buffer(self) -> None:
        column = QVBoxLayout(self._buffer)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(_TREND_GAP_PX - 1)
        column.addWidget(self._bar)
        column.addWidget(self._figures)
        column.addWidget(self._trend, 1)
        self.add(self._buffer, 2)

    def show_rows(self, rows: tuple[LinkRow, ...]) -> None:
        """Show one row per link, in this order."""
        while len(self._lines) < len(rows):
            self._add_line()
        before = self._shape()
        self._shown = rows
        for at, line in enumerate(self._lines):
            line.show(rows[at] if at < len(rows) else None)
        if self._shape() != before:
            self._share_height()
            self.updateGeometry()

    def show_buffer(self, state: BufferState) -> None:
        """What waits for Redis."""
        self._bar.show_state(state.bar)
        self._figures.set_text(state.figures)

    def show_trend(self, series: TrendSeries) -> None:
        """The last hour of it, where there is room."""
        if self._trend.isVisible():
            self._trend.show_series(*series.view())

    def _shape(self) -> tuple[tuple[int, bool], ...]:
        """What the heights depend on."""
        return tuple(
            (line.cause.height() if row.cause else 0, row.progress is not None)
            for line, row in zip(self._lines, self._shown, strict=False)
        )

    def _add_line(self) -> None:
        at = 3 * len(self._lines)
        theme = self._theme
        line = _Line(
            title=TextLabel(theme=theme, role=Role.TEXT_MUTED, widest="Simulated orders"),
            chip=Chip(
                theme=theme, height_px=19, padding_px=7, is_plain_when_calm=True, widest="UP"
            ),
            detail=TextLabel(
                theme=theme,
                role=Role.TEXT_MUTED,
                align=Qt.AlignmentFlag.AlignRight,
                may_elide=True,
                widest="0.0 s",
            ),
            cause=Paragraph(theme=theme, role=Role.TEXT),
            progress=ProgressLine(theme=theme, name="Replay to Redis"),
        )
        # Each line shares its own width, so that one long word moves nothing in the others.
        line.title.setFixedWidth(line.title.sizeHint().width())
        words = QHBoxLayout()
        words.setSpacing(8)
        words.addWidget(line.title)
        words.addWidget(line.chip)
        words.addWidget(line.detail, 1)
        self._grid.addLayout(words, at, 0)
        self._grid.addWidget(line.cause, at + 1, 0)
        self._grid.addWidget(line.progress, at + 2, 0, Qt.AlignmentFlag.AlignVCenter)
        self._lines.append(line)

    def minimumSizeHint(self) -> QSize:
        rows = max(_ROWS_MIN, len(self._shown))
        return QSize(260, _FRAME_PX + rows * _ROW_LOW_PX)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._share_height()

    def _causes_px(self, *, lines_max: int) -> int:
        """The height of all causes with at most so many lines each."""
        for line in self._lines:
            line.cause.limit_lines(lines_max)
        return sum(
            line.cause.height()
            for line, row in zip(self._lines, self._shown, strict=False)
            if row.cause
        )

    def _share_height(self) -> None:
        """Give every row its place; what has no room is left off whole."""
        if not self._shown:
            return
        room = self.height() - _FRAME_PX - len(self._shown) * _ROW_LOW_PX
        room -= sum(_PROGRESS_PX for row in self._shown if row.progress is not None)
        causes = self._causes_px(lines_max=2)
        if causes + _BAR_PX + _GAP_PX > room:
            causes = self._causes_px(lines_max=1)
        room -= causes
        parts = (
            (_BAR_PX + _GAP_PX, (self._buffer,)),
            (_FIGURES_PX, (self._figures,)),
            (SPARKLINE_MIN_PX + _TREND_GAP_PX, (self._trend,)),
        )
        for height, widgets in parts:
            has_room = room >= height
            # What is less important is not shown in the place of what is more.
            room = room - height if has_room else 0
            for widget in widgets:
                widget.setVisible(has_room)
        pitch = _ROW_LOW_PX + max(0, room) // len(self._shown)
        for at, row in enumerate(self._shown):
            self._grid.setRowMinimumHeight(3 * at, min(_ROW_PX, pitch))
            is_replaying = row.progress is not None
            self._grid.setRowMinimumHeight(3 * at + 2, _PROGRESS_PX if is_replaying else 0)
