"""A conflict of the desk's policy on the policy page: both values of each field, and the ways out.

Keeping what is in force needs a click. What a side wanted is looser than that, so it has to be
held.
"""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.desk_conflict import STRICTER, DeskConflict
from console.widgets import HoldButton, TextLabel

__all__ = ["DeskConflictView"]

_BODY_PX = 148


class DeskConflictView(QWidget):
    """`resolved` says the choice: `stricter` or a node's name."""

    resolved = Signal(str)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self._theme = theme
        self._shown: DeskConflict | None = None
        self._buttons: dict[str, HoldButton] = {}
        self.setAccessibleName("Policy conflict of the desk")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self._title = TextLabel(theme=theme, style=TextStyle.STRONG, may_elide=True)
        layout.addWidget(self._title)
        # The page keeps its size however many fields differ.
        self._body = QScrollArea()
        self._body.setWidgetResizable(True)
        self._body.setFrameShape(QFrame.Shape.NoFrame)
        self._body.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._body.setFixedHeight(_BODY_PX)
        layout.addWidget(self._body)

    def show_conflict(
        self, conflict: DeskConflict | None, *, can_keep: bool, can_loosen: bool
    ) -> None:
        """Show it, or nothing; `can_loosen`: a side's values may be asked for now."""
        self.setVisible(conflict is not None)
        if conflict is None:
            self._shown = None
            return
        if conflict != self._shown:
            self._shown = conflict
            self._rebuild(conflict)
        for choice, button in self._buttons.items():
            button.setEnabled(can_keep if choice == STRICTER else can_loosen)

    def _rebuild(self, conflict: DeskConflict) -> None:
        self._title.set_text(conflict.title)
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        self._buttons = {}
        column.addLayout(self._make_sides(conflict))
        column.addLayout(self._make_grid(conflict))
        column.addStretch(1)
        self._body.setWidget(body)

    def _make_sides(self, conflict: DeskConflict) -> QGridLayout:
        """Who wanted it, with the button that gives it to them; below, what is in force."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(0, 1)
        for at, (node, text) in enumerate(zip(conflict.sides, conflict.details, strict=True)):
            label = self._label(text, role=Role.TEXT_MUTED)
            label.setToolTip(text)
            grid.addWidget(label, at, 0)
            if node in conflict.choices:
                grid.addWidget(self._make_button(node, conflict.choices[node]), at, 1)
        grid.addWidget(
            self._make_button(STRICTER, conflict.choices[STRICTER]), len(conflict.sides), 1
        )
        return grid

    def _make_button(self, choice: str, words: str) -> HoldButton:
        button = HoldButton(words, theme=self._theme, needs_hold=choice != STRICTER)
        button.held.connect(lambda: self.resolved.emit(choice))
        self._buttons[choice] = button
        return button

    def _make_grid(self, conflict: DeskConflict) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(0, 1)
        for column, node in enumerate(conflict.sides, 1):
            grid.addWidget(self._label(node, role=Role.TEXT_MUTED), 0, column)
        for at, row in enumerate(conflict.rows, 1):
            title = f"{row.title} (was {row.base})" if row.base else row.title
            grid.addWidget(self._label(title), at, 0)
            for column, value in enumerate(row.values, 1):
                label = self._label(value, style=TextStyle.STRONG)
                grid.addWidget(label, at, column, Qt.AlignmentFlag.AlignLeft)
        return grid

    def _label(
        self, text: str, *, role: Role = Role.TEXT, style: TextStyle = TextStyle.BODY
    ) -> TextLabel:
        return TextLabel(text, theme=self._theme, role=role, style=style, may_elide=True)
