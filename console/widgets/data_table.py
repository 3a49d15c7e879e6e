"""A read-only table of cells: one ``dataChanged`` a refresh, fixed columns.

Why not QTableWidget or auto-sized columns: that refresh takes seconds at 200 rows, this one takes
milliseconds (console.md, finding 6). Cells carry words, a tone and dimness; the delegate paints
urgent ones as chips with their shape. Columns have their natural widths; what room is left goes
to the last column. A table whose rows can be chosen keeps the choice by the row's key, wherever new
rows push it.
Thread: GUI.
"""

from collections.abc import Sequence
from typing import Any, Final

from PySide6.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QFontMetrics,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
)

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle, font_for
from console.viewmodels.appearance import TONE_GLYPH, Glyph, Tone
from console.viewmodels.positions import Cell, Column
from console.widgets.glyphs import paint_glyph

__all__ = ["CellModel", "DataTable"]

ROW_PX: Final = 26
HEADER_PX: Final = 25
_PAD_PX: Final = 10
_GLYPH_PX: Final = 10
_Index = QModelIndex | QPersistentModelIndex


class CellModel(QAbstractTableModel):
    """Rows of cells; refreshes by the smallest block that changed."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self._rows: tuple[tuple[Cell, ...], ...] = ()

    @property
    def rows(self) -> tuple[tuple[Cell, ...], ...]:
        """What is shown."""
        return self._rows

    def show_rows(self, rows: tuple[tuple[Cell, ...], ...]) -> None:
        """Show other rows: one insert or remove block at the end, one ``dataChanged`` for the
        rest.
        """
        before = self._rows
        if rows == before:
            return
        common = min(len(rows), len(before))
        if len(rows) > len(before):
            self.beginInsertRows(QModelIndex(), len(before), len(rows) - 1)
            self._rows = (*before, *rows[len(before) :])
            self.endInsertRows()
        elif len(rows) < len(before):
            self.beginRemoveRows(QModelIndex(), len(rows), len(before) - 1)
            self._rows = before[: len(rows)]
            self.endRemoveRows()
        self._rows = rows
        changed = [at for at in range(common) if rows[at] != before[at]]
        if changed:
            last = self.index(changed[-1], len(self.columns) - 1)
            self.dataChanged.emit(self.index(changed[0], 0), last)

    def cell(self, index: _Index) -> Cell:
        """The cell at an index."""
        return self._rows[index.row()][index.column()]

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008  # Qt's signature
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008  # Qt's signature
        return 0 if parent.isValid() else len(self.columns)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        cell, column = self.cell(index), self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return cell.text
        if role == Qt.ItemDataRole.AccessibleTextRole:
            shape = TONE_GLYPH[cell.tone].value
            return f"{column.title}: {cell.text}" + (f", {shape}" if shape else "")
        if role == Qt.ItemDataRole.TextAlignmentRole and column.is_number:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role in {Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole}:
            return self.columns[section].title
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = (
                Qt.AlignmentFlag.AlignRight
                if self.columns[section].is_number
                else Qt.AlignmentFlag.AlignLeft
            )
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None


class _CellDelegate(QStyledItemDelegate):
    """Paints a cell: plain, dim, done with a check, or urgent as a filled chip with its shape."""

    def __init__(self, *, theme: LiveTheme, model: CellModel, owner: QTableView) -> None:
        super().__init__(owner)
        self._theme = theme
        self._model = model

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        return QSize(self._model.columns[index.column()].width_px, ROW_PX)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        cell, column = self._model.cell(index), self._model.columns[index.column()]
        area = QRectF(option.rect)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if option.state & QStyle.StateFlag.State_Selected:
            # A bar at its beginning as well: a choice is never told by a shade alone.
            painter.fillRect(area, self._theme.colour(Role.RAISED))
            if index.column() == 0:
                bar = QRectF(area.left(), area.top(), 4, area.height())
                painter.fillRect(bar, self._theme.colour(Role.TEXT))
        painter.setPen(QPen(self._theme.colour(Role.RULE), 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        colour = self._theme.colour(Role.TEXT_MUTED if cell.is_dim else Role.TEXT)
        glyph = Glyph.CHECK if cell.is_done else TONE_GLYPH[cell.tone]
        if cell.tone not in {Tone.NEUTRAL, Tone.QUIET}:
            fill, text = self._theme.current.fill(cell.tone)
            painter.setPen(QPen(self._theme.colour(Role.CHIP_OUTLINE), 1))
            painter.setBrush(QColor(fill))
            painter.drawRoundedRect(area.adjusted(2.5, 2.5, -2.5, -3.5), 3, 3)
            colour = QColor(text)
        strong = cell.tone not in {Tone.NEUTRAL, Tone.QUIET}
        painter.setFont(font_for(TextStyle.STRONG if strong else TextStyle.BODY))
        inner = area.adjusted(_PAD_PX, 0, -_PAD_PX, 0)
        if glyph is not Glyph.NONE:
            at = QRectF(inner.left(), area.center().y() - _GLYPH_PX / 2, _GLYPH_PX, _GLYPH_PX)
            paint_glyph(painter, glyph, at, colour)
            inner.adjust(_GLYPH_PX + 6, 0, 0, 0)
        painter.setPen(colour)
        side = Qt.AlignmentFlag.AlignRight if column.is_number else Qt.AlignmentFlag.AlignLeft
        text_line = QFontMetrics(painter.font()).elidedText(
            cell.text, Qt.TextElideMode.ElideRight, int(inner.width()) + 1
        )
        painter.drawText(inner, side | Qt.AlignmentFlag.AlignVCenter, text_line)
        painter.restore()


class DataTable(QTableView):
    """A calm table: fixed columns, no sorting, no editing, no hover.

    With ``has_choice`` one row can be chosen, by mouse or arrow keys; ``chosen`` tells its key.
    """

    chosen = Signal(str)

    def __init__(
        self, *, columns: Sequence[Column], theme: LiveTheme, name: str, has_choice: bool = False
    ) -> None:
        super().__init__()
        self._theme = theme
        self._empty = ""
        self._keys: tuple[str, ...] = ()
        self._chosen = ""
        self._is_refreshing = False
        self._has_choice = has_choice
        self.cells = CellModel(columns)
        self.setModel(self.cells)
        self.setItemDelegate(_CellDelegate(theme=theme, model=self.cells, owner=self))
        self.setAccessibleName(name)
        self.setShowGrid(False)
        self.setWordWrap(False)
        mode = QAbstractItemView.SelectionMode
        self.setSelectionMode(mode.SingleSelection if has_choice else mode.NoSelection)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setCornerButtonEnabled(False)
        self.setFrameShape(QTableView.Shape.NoFrame)
        self.setTabKeyNavigation(False)
        rows = self.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(ROW_PX)
        rows.setMinimumSectionSize(ROW_PX)
        header = self.horizontalHeader()
        header.setFixedHeight(HEADER_PX)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionsClickable(False)
        header.setHighlightSections(False)
        header.setMinimumSectionSize(24)
        self.setMinimumSize(200, HEADER_PX + 2 * ROW_PX + 2)
        theme.changed.connect(self.viewport().update)

    @property
    def chosen_key(self) -> str:
        """The key of the chosen row; empty when none is, or it is gone."""
        return self._chosen

    def shown_keys(self) -> tuple[str, ...]:
        """The keys of the rows that are on the screen whole."""
        area = self.viewport().rect()
        return tuple(
            key
            for row, key in enumerate(self._keys)
            if area.top() <= self.rowViewportPosition(row)
            and self.rowViewportPosition(row) + ROW_PX <= area.bottom() + 1
        )

    def choose(self, key: str) -> None:
        """Choose the row of this key; none where there is no such row."""
        row = self._keys.index(key) if key in self._keys else -1
        if row < 0:
            self.clearSelection()
            self.setCurrentIndex(QModelIndex())
        else:
            self.selectRow(row)
        self._tell_choice()

    def selectionChanged(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        super().selectionChanged(selected, deselected)
        if not self._is_refreshing:
            self._tell_choice()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        # Reached by keyboard: the first row is chosen, so that it is seen what a key would act on.
        by_keys = event.reason() in {
            Qt.FocusReason.TabFocusReason,
            Qt.FocusReason.BacktabFocusReason,
            Qt.FocusReason.OtherFocusReason,
        }
        if self._has_choice and by_keys and not self._chosen and self._keys:
            self.selectRow(0)

    def _tell_choice(self) -> None:
        rows = self.selectionModel().selectedRows()
        row = rows[0].row() if rows else -1
        key = self._keys[row] if 0 <= row < len(self._keys) else ""
        if key != self._chosen:
            self._chosen = key
            self.chosen.emit(key)

    def show_rows(
        self,
        rows: tuple[tuple[Cell, ...], ...],
        *,
        empty: str = "",
        keys: tuple[str, ...] = (),
    ) -> None:
        """Show rows, or what to say when there are none. ``keys`` name the rows to be chosen."""
        if empty != self._empty:
            self._empty = empty
            self.viewport().update()
        if keys == self._keys:
            self.cells.show_rows(rows)
            return
        self._is_refreshing = True
        try:
            self.cells.show_rows(rows)
            self._keys = keys
        finally:
            self._is_refreshing = False
        if self._chosen:
            self.choose(self._chosen)

    def cut_cells(self) -> list[str]:
        """Texts that do not fit their column, for the tests."""
        cut = []
        for row in self.cells.rows:
            for at, cell in enumerate(row):
                if self.cells.columns[at].may_elide:
                    continue
                metrics = QFontMetrics(
                    font_for(TextStyle.BODY if cell.tone is Tone.NEUTRAL else TextStyle.STRONG)
                )
                glyph = 16 if cell.is_done or cell.tone is not Tone.NEUTRAL else 0
                if metrics.horizontalAdvance(cell.text) + 2 * _PAD_PX + glyph > self.columnWidth(
                    at
                ):
                    cut.append(cell.text)
        return cut

    def natural_width(self) -> int:
        """Sum of the declared column widths."""
        return sum(column.width_px for column in self.cells.columns)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        # Room beyond the natural widths is shared, so that numbers stay near their neighbours.
        room = self.viewport().width()
        natural = self.natural_width()
        spare = max(0, room - natural)
        share = min(spare / natural, 0.8)
        used = 0
        for at, column in enumerate(self.cells.columns[:-1]):
            width = int(column.width_px * (1 + share))
            self.setColumnWidth(at, width)
            used += width
        self.setColumnWidth(
            len(self.cells.columns) - 1, max(24, self._last_width(room, used, share))
        )

    def _last_width(self, room: int, used: int, share: float) -> int:
        last = self.cells.columns[-1]
        natural = int(last.width_px * (1 + share))
        return natural if last.is_number else max(natural, room - used)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.cells.rows or not self._empty:
            return
        painter = QPainter(self.viewport())
        painter.setFont(font_for(TextStyle.BODY))
        painter.setPen(self._theme.colour(Role.TEXT_MUTED))
        painter.drawText(self.viewport().rect(), Qt.AlignmentFlag.AlignCenter, self._empty)
