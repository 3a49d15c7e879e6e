"""Links: a row each; calm rows are plain words, abnormal ones chips with their shape."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout

from console.theme import LiveTheme, Role
from console.viewmodels.links import LinkRow
from console.widgets import Chip, Panel, TextLabel

__all__ = ["LinksView"]

_ROW_PX = 30
_ROW_LOW_PX = 19
_FRAME_PX = 41


class LinksView(Panel):
    """The panel of links; rows are made as links appear and kept."""

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__("Links", theme=theme)
        self._theme = theme
        self._rows: list[tuple[TextLabel, Chip, TextLabel]] = []
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(0)
        self._grid.setColumnStretch(2, 1)
        self.add_layout(self._grid)
        self.add_stretch()

    def show_rows(self, rows: tuple[LinkRow, ...]) -> None:
        """Show one row per link, in this order."""
        if len(self._rows) < len(rows):
            while len(self._rows) < len(rows):
                self._add_row()
            self._share_height()
        for at, (title, chip, detail) in enumerate(self._rows):
            is_used = at < len(rows)
            for widget in (title, chip, detail):
                widget.setVisible(is_used)
            if not is_used:
                continue
            row = rows[at]
            title.set_text(row.title)
            chip.show_state(row.chip)
            chip.setAccessibleDescription(f"{row.title}. {row.cause}".strip())
            detail.set_text(row.detail)

    def _add_row(self) -> None:
        at = len(self._rows)
        title = TextLabel(theme=self._theme, role=Role.TEXT_MUTED, widest="Market data")
        chip = Chip(
            theme=self._theme, height_px=19, padding_px=7, is_plain_when_calm=True, widest="UP"
        )
        detail = TextLabel(
            theme=self._theme,
            role=Role.TEXT_MUTED,
            align=Qt.AlignmentFlag.AlignRight,
            may_elide=True,
            widest="0.0 s",
        )
        self._grid.setRowMinimumHeight(at, _ROW_LOW_PX)
        self._grid.addWidget(title, at, 0)
        self._grid.addWidget(
            chip, at, 1, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        )
        self._grid.addWidget(detail, at, 2)
        self._rows.append((title, chip, detail))

    def minimumSizeHint(self) -> QSize:
        return QSize(200, _FRAME_PX + len(self._rows) * _ROW_LOW_PX)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._share_height()

    def _share_height(self) -> None:
        if not self._rows:
            return
        pitch = (self.height() - _FRAME_PX) // len(self._rows)
        for at in range(len(self._rows)):
            self._grid.setRowMinimumHeight(at, min(_ROW_PX, max(_ROW_LOW_PX, pitch)))
