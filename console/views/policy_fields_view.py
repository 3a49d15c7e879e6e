"""The policy's fields: sections at the left, one row a field with active, draft, range and
direction.
"""

from dataclasses import dataclass

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.appearance import ChipState, Tone
from console.viewmodels.policy_draft import SECTIONS, FieldRow
from console.widgets import Chip, TextLabel
from engine.model.policy import FIELDS

__all__ = ["PolicyFieldsView"]

_ROW_PX = 34
_MOVEMENTS = {
    "tighter": ChipState(text="tighter", tone=Tone.QUIET),
    "looser": ChipState(text="LOOSER", tone=Tone.LOW),
}


@dataclass(slots=True, kw_only=True)
class _Line:
    title: TextLabel
    active: TextLabel
    editor: QLineEdit | QComboBox
    range: TextLabel
    movement: Chip


class PolicyFieldsView(QWidget):
    """Emits ``edited(field, text)``; shows what the view-model says of each field."""

    edited = Signal(str, str)
    section_chosen = Signal(str)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setAccessibleName("Policy fields")
        self._theme = theme
        self._lines: dict[str, _Line] = {}
        self._section_buttons: dict[str, QPushButton] = {}
        self._is_filling = False
        self._pages = QStackedWidget()
        outer = QHBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(14)
        outer.addLayout(self._make_sections())
        outer.addWidget(self._pages, 1)
        for section in SECTIONS:
            self._pages.addWidget(self._make_page(section))

    def _make_sections(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(2)
        group = QButtonGroup(self)
        group.setExclusive(True)
        for section in SECTIONS:
            button = QPushButton(section)
            button.setObjectName("rail")
            button.setCheckable(True)
            button.setFixedWidth(112)
            button.setProperty("compact", True)
            button.clicked.connect(lambda _=False, section=section: self.show_section(section))
            group.addButton(button)
            column.addWidget(button)
            self._section_buttons[section] = button
        self._section_buttons[SECTIONS[0]].setChecked(True)
        column.addStretch(1)
        return column

    def _make_page(self, section: str) -> QWidget:
        page = QWidget()
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(0)
        grid.setColumnStretch(3, 1)
        right = Qt.AlignmentFlag.AlignRight
        for column, (title, align) in enumerate(
            (
                ("Field", Qt.AlignmentFlag.AlignLeft),
                ("Active", right),
                ("Draft", Qt.AlignmentFlag.AlignLeft),
                ("Range and ceiling", Qt.AlignmentFlag.AlignLeft),
                ("Direction", Qt.AlignmentFlag.AlignLeft),
            )
        ):
            heading = TextLabel(
                title,
                theme=self._theme,
                style=TextStyle.SMALL_STRONG,
                role=Role.TEXT_MUTED,
                align=align,
            )
            grid.addWidget(heading, 0, column)
        grid.setRowMinimumHeight(0, 24)
        specs = [spec for spec in FIELDS if spec.section == section]
        for at, spec in enumerate(specs, start=1):
            line = self._make_line(spec.name, is_flag=spec.kind == "flag")
            cells = (line.title, line.active, line.editor, line.range, line.movement)
            for column, widget in enumerate(cells):
                grid.addWidget(widget, at, column, Qt.AlignmentFlag.AlignVCenter)
            grid.setRowMinimumHeight(at, _ROW_PX)
        grid.setRowStretch(len(specs) + 1, 1)
        return page

    def _make_line(self, name: str, *, is_flag: bool) -> _Line:
        editor: QLineEdit | QComboBox
        if is_flag:
            editor = QComboBox()
            editor.addItems(["no", "yes"])
            editor.currentTextChanged.connect(lambda text, name=name: self._on_edited(name, text))
        else:
            editor = QLineEdit()
            editor.setAlignment(Qt.AlignmentFlag.AlignRight)
            editor.textEdited.connect(lambda text, name=name: self._on_edited(name, text))
        editor.setFixedWidth(112)
        line = _Line(
            title=TextLabel(theme=self._theme, widest="Governor: recovered below"),
            active=TextLabel(
                theme=self._theme,
                style=TextStyle.STRONG,
                align=Qt.AlignmentFlag.AlignRight,
                widest="100\u2009000.00",
            ),
            editor=editor,
            range=TextLabel(
                theme=self._theme,
                style=TextStyle.SMALL,
                role=Role.TEXT_MUTED,
                may_elide=True,
                widest="0.1 % to 50 % of the entry price",
            ),
            movement=Chip(theme=self._theme, height_px=22, padding_px=8, widest="LOOSER"),
        )
        line.movement.hide()
        self._lines[name] = line
        return line

    def _on_edited(self, name: str, text: str) -> None:
        if not self._is_filling:
            self.edited.emit(name, text)

    def show_section(self, section: str) -> None:
        """Bring a section to the front."""
        self._section_buttons[section].setChecked(True)
        self._pages.setCurrentIndex(SECTIONS.index(section))
        self.section_chosen.emit(section)

    @property
    def section(self) -> str:
        """The section in front."""
        return SECTIONS[self._pages.currentIndex()]

    def editor(self, name: str) -> QLineEdit | QComboBox:
        """A field's editor."""
        return self._lines[name].editor

    def show_counts(self, counts: dict[str, int]) -> None:
        """How many changes each section holds."""
        for section, button in self._section_buttons.items():
            count = counts.get(section, 0)
            text = f"{section}  ({count})" if count else section
            if button.text() != text:
                button.setText(text)

    def show_rows(self, rows: tuple[FieldRow, ...]) -> None:
        """Show fields; a field being typed in keeps the operator's text."""
        self._is_filling = True
        try:
            for row in rows:
                self._show_row(self._lines[row.name], row)
        finally:
            self._is_filling = False

    def _show_row(self, line: _Line, row: FieldRow) -> None:
        line.title.set_text(row.title)
        line.active.set_text(row.active)
        if isinstance(line.editor, QComboBox):
            line.editor.setCurrentText(row.draft)
        elif not line.editor.hasFocus() and line.editor.text() != row.draft:
            line.editor.setText(row.draft)
        line.editor.setAccessibleName(f"{row.title}, draft")
        line.editor.setAccessibleDescription(row.error or f"{row.help} Range {row.range}.")
        line.editor.setToolTip(row.help)
        self._mark(line.editor, changed=bool(row.movement), fault=bool(row.error))
        line.range.set_text(row.error or row.range, Role.TEXT if row.error else Role.TEXT_MUTED)
        if row.error:
            line.movement.show_state(ChipState(text="check", tone=Tone.HIGH))
        elif row.movement:
            line.movement.show_state(_MOVEMENTS.get(row.movement, _MOVEMENTS["tighter"]))
        line.movement.setVisible(bool(row.error or row.movement))

    @staticmethod
    def _mark(editor: QWidget, *, changed: bool, fault: bool) -> None:
        if (editor.property("changed"), editor.property("fault")) == (changed and not fault, fault):
            return
        editor.setProperty("changed", changed and not fault)
        editor.setProperty("fault", fault)
        editor.style().unpolish(editor)
        editor.style().polish(editor)
