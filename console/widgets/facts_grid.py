"""Named figures in one or two columns: the name muted, the value beside it, urgent ones with their
shape.

Rows are made as figures appear and kept. A figure that is urgent is a chip, so that colour never
speaks alone. Thread: GUI.
"""

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from console.theme import LiveTheme, Role
from console.viewmodels.appearance import ChipState, Tone
from console.viewmodels.health_links import Fact
from console.widgets.chip import Chip
from console.widgets.labels import TextLabel

__all__ = ["FactsGrid"]

_ROW_PX = 19
_CALM = {Tone.NEUTRAL, Tone.QUIET}


@dataclass(slots=True, kw_only=True)
class _Row:
    name: TextLabel
    value: TextLabel
    chip: Chip

    def show(self, fact: Fact | None) -> None:
        is_calm = fact is not None and fact.tone in _CALM
        self.name.setVisible(fact is not None)
        self.value.setVisible(is_calm)
        self.chip.setVisible(fact is not None and not is_calm)
        if fact is None:
            return
        self.name.set_text(fact.name)
        if is_calm:
            self.value.set_text(fact.value, Role.TEXT_MUTED if fact.is_stale else Role.TEXT)
            self.value.setAccessibleName(f"{fact.name}: {fact.value}")
        else:
            self.chip.show_state(ChipState(text=fact.value, tone=fact.tone))


class FactsGrid(QWidget):
    """Figures in ``columns`` columns, filled from top to bottom."""

    def __init__(
        self, *, theme: LiveTheme, columns: int, rows: int, widest_name: str = "Chosen because"
    ) -> None:
        super().__init__()
        self._theme = theme
        self._widest_name = widest_name
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(0)
        self._rows: list[_Row] = []
        for column in range(columns):
            grid.setColumnStretch(2 * column + 1, 1)
            for row in range(rows):
                self._rows.append(self._make_row(grid, row, 2 * column))
        for row in range(rows):
            grid.setRowMinimumHeight(row, _ROW_PX)
        self.setFixedHeight(rows * _ROW_PX)

    def _make_row(self, grid: QGridLayout, row: int, column: int) -> _Row:
        theme = self._theme
        made = _Row(
            name=TextLabel(theme=theme, role=Role.TEXT_MUTED, widest=self._widest_name),
            value=TextLabel(theme=theme, may_elide=True, widest="00 000 events"),
            chip=Chip(theme=theme, height_px=19, padding_px=7),
        )
        grid.addWidget(made.name, row, column)
        grid.addWidget(made.value, row, column + 1)
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        grid.addWidget(made.chip, row, column + 1, left)
        made.show(None)
        return made

    def cut_values(self) -> list[str]:
        """Values that are not shown whole, for the tests."""
        values = (row.value for row in self._rows)
        return [one.text for one in values if one.isVisible() and not one.text_fits()]

    def show_facts(self, facts: tuple[Fact, ...]) -> None:
        """Show these; as many as there are places."""
        for at, row in enumerate(self._rows):
            row.show(facts[at] if at < len(facts) else None)
