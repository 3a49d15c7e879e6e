"""Lists of changes: before and after with the direction in words, or a conflict to choose per
field.
"""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.policy_draft import ChangeRow, ClashRow
from console.widgets import TextLabel

__all__ = ["ChangesView", "ConflictView"]

_SIGNS = {"looser": "+ looser", "tighter": "− tighter", "same": ""}  # a true minus


class ChangesView(QWidget):
    """Up to ``limit`` changes, and how many more there are."""

    def __init__(self, *, theme: LiveTheme, limit: int) -> None:
        super().__init__()
        self._theme = theme
        self._limit = limit
        self._rows: tuple[ChangeRow, ...] = ()
        self._labels: list[tuple[TextLabel, TextLabel, TextLabel]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(0, 3)
        self._grid.setColumnStretch(1, 3)
        for at in range(limit):
            labels = (
                TextLabel(theme=theme, may_elide=True, widest="moderate: field"),
                TextLabel(theme=theme, style=TextStyle.STRONG, may_elide=True, widest="5 % → 4 %"),
                TextLabel(
                    theme=theme, role=Role.TEXT_MUTED, style=TextStyle.SMALL, widest="− tighter"
                ),
            )
            for column, label in enumerate(labels):
                self._grid.addWidget(label, at, column)
            self._labels.append(labels)
        self._more = TextLabel(theme=theme, role=Role.TEXT_MUTED, may_elide=True)
        self._grid.addWidget(self._more, limit, 0, 1, 3)

    def show_rows(self, rows: tuple[ChangeRow, ...], *, empty: str) -> None:
        """Show a diff, or what to say when there is none."""
        self._rows = rows
        for at, labels in enumerate(self._labels):
            is_used = at < len(rows)
            for label in labels:
                label.setVisible(is_used)
            if not is_used:
                continue
            row = rows[at]
            labels[0].set_text(row.title)
            labels[1].set_text(f"{row.before} → {row.after}")
            labels[2].set_text(_SIGNS.get(row.movement, ""))
        more = len(rows) - self._limit
        self._more.set_text(f"and {more} more" if more > 0 else "" if rows else empty)
        self._more.setVisible(more > 0 or not rows)


class ConflictView(QWidget):
    """Clashing fields three ways, with a choice each, and one button to go on."""

    resolved = Signal(frozenset)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self._theme = theme
        self._rows: tuple[ClashRow, ...] = ()
        self._choices: dict[str, QComboBox] = {}
        self.setAccessibleName("Policy conflict")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        self._title = TextLabel(theme=theme, style=TextStyle.STRONG, may_elide=True)
        layout.addWidget(self._title)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(0, 1)
        layout.addLayout(self._grid)
        self._go_on = QPushButton("Use these choices and check again")
        self._go_on.clicked.connect(self._on_resolved)
        layout.addWidget(self._go_on, 0, Qt.AlignmentFlag.AlignLeft)

    def show_conflict(self, version: int, author: str, rows: tuple[ClashRow, ...]) -> None:
        """Say who stored what, and which fields clash."""
        fields = f"{len(rows)} fields clash" if len(rows) != 1 else "1 field clashes"
        self._title.set_text(f"v{version} was stored by {author} meanwhile. {fields}.")
        if rows == self._rows:
            return
        self._rows = rows
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        self._choices = {}
        for at, row in enumerate(rows):
            words = f"was {row.original}"
            title = TextLabel(
                row.title, theme=self._theme, may_elide=True, widest="moderate: field"
            )
            was = TextLabel(words, theme=self._theme, role=Role.TEXT_MUTED)
            choice = QComboBox()
            choice.addItem(f"theirs: {row.now}", "theirs")
            choice.addItem(f"mine: {row.mine}", "mine")
            choice.setAccessibleName(f"{row.title}: keep theirs or mine")
            for column, widget in enumerate((title, was, choice)):
                self._grid.addWidget(widget, at, column)
            self._choices[row.name] = choice

    def choose_mine(self, name: str) -> None:
        """Keep the operator's value of a field."""
        self._choices[name].setCurrentIndex(1)

    def _on_resolved(self) -> None:
        mine = (name for name, box in self._choices.items() if box.currentData() == "mine")
        self.resolved.emit(frozenset(mine))
