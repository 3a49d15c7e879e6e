"""The reset sheet: live conditions at the left, the operator's gestures at the right.

RESET is held for 1.5 s.
It never resets by itself and starts nothing: afterwards the engine is READY and START is another
control.
"""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
)

from console.qt.sheets import Sheet
from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.appearance import Glyph
from console.viewmodels.reset import CAUSES, Choice, ResetSheetState, ResetSheetViewModel
from console.widgets import HoldButton, TextLabel
from console.widgets.glyph_mark import GlyphMark

__all__ = ["ResetSheet"]

_CONDITIONS_MAX = 10


class ResetSheet(Sheet):
    """Answers ``reset`` when held, ``close`` otherwise."""

    safe_answer = "close"
    changed = Signal()

    def __init__(self, *, theme: LiveTheme, model: ResetSheetViewModel) -> None:
        super().__init__(title="Reset the emergency stop")
        self._theme = theme
        self._model = model
        self._boxes: dict[tuple[str, str], QCheckBox] = {}
        self._headed: set[str] = set()
        self._conditions: list[tuple[GlyphMark, TextLabel, TextLabel]] = []
        self.setMinimumWidth(900)
        self.setMaximumWidth(1100)
        self._summary = TextLabel(theme=theme, role=Role.TEXT_MUTED, may_elide=True)
        self._grid = QGridLayout()
        self._gestures = QVBoxLayout()
        self._cause = QComboBox()
        self._reason = QLineEdit()
        self._missing = TextLabel(theme=theme, role=Role.TEXT_MUTED, may_elide=True)
        self._hold = HoldButton("RESET", theme=theme)
        self._lay_out()

    def _lay_out(self) -> None:
        outer = QVBoxLayout(self)
        outer.setContentsMargins(20, 16, 20, 16)
        outer.setSpacing(10)
        head = QHBoxLayout()
        head.addWidget(
            TextLabel("Reset the emergency stop", theme=self._theme, style=TextStyle.TITLE)
        )
        head.addSpacing(16)
        head.addWidget(self._summary, 1)
        outer.addLayout(head)
        body = QHBoxLayout()
        body.setSpacing(28)
        left = QVBoxLayout()
        left.setSpacing(8)
        left.addWidget(self._heading("Conditions, live"))
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(5)
        self._grid.setColumnStretch(2, 1)
        left.addLayout(self._grid)
        left.addStretch(1)
        body.addLayout(left, 1)
        body.addLayout(self._make_gestures(), 1)
        outer.addLayout(body, 1)
        foot = QHBoxLayout()
        foot.setSpacing(10)
        close = QPushButton("Close")
        close.clicked.connect(lambda: self.answered.emit("close"))
        foot.addWidget(close)
        foot.addWidget(self._missing, 1)
        foot.addWidget(self._hold)
        self._hold.held.connect(lambda: self.answered.emit("reset"))
        outer.addLayout(foot)
        note = "Reset makes starting possible and starts nothing: the engine will be READY."
        outer.addWidget(
            TextLabel(note, theme=self._theme, style=TextStyle.SMALL, role=Role.TEXT_MUTED)
        )

    def _heading(self, text: str) -> TextLabel:
        return TextLabel(
            text.upper(), theme=self._theme, style=TextStyle.HEADING, role=Role.TEXT_MUTED
        )

    def _make_gestures(self) -> QVBoxLayout:
        right = QVBoxLayout()
        right.setSpacing(6)
        right.addLayout(self._gestures)
        self._gestures.setSpacing(2)
        right.addSpacing(4)
        right.addWidget(self._heading("What happened"))
        self._cause.addItem("Choose a cause…", "")
        for cause in CAUSES:
            self._cause.addItem(cause.capitalize(), cause)
        self._cause.setAccessibleName("Cause")
        self._cause.currentIndexChanged.connect(self._on_cause)
        self._reason.setPlaceholderText("One sentence for the record")
        self._reason.setAccessibleName("What happened, in one sentence")
        self._reason.textChanged.connect(self._on_reason)
        right.addWidget(self._cause)
        right.addWidget(self._reason)
        right.addStretch(1)
        return right

    def focus_first(self) -> None:
        """Start at the cause."""
        self._cause.setFocus(Qt.FocusReason.OtherFocusReason)

    @property
    def hold_button(self) -> HoldButton:
        """RESET."""
        return self._hold

    @property
    def reason_field(self) -> QLineEdit:
        """The sentence."""
        return self._reason

    def choose_cause(self, cause: str) -> None:
        """Choose a cause of the list."""
        self._cause.setCurrentIndex(self._cause.findData(cause))

    def show_state(self, state: ResetSheetState) -> None:
        """Show the conditions and boxes as they are now."""
        self._summary.set_text(state.summary)
        self._show_conditions(state)
        self._show_choices("trips", "Causes that latched: clear each by name", state.trips)
        self._show_choices("rebases", "Would trip again: re-base by name", state.rebases)
        self._show_choices("residuals", "Residue below the venue's minimum", state.residuals)
        missing = f"Still needed: {', '.join(state.missing)}" if state.missing else ""
        self._missing.set_text(missing)
        self._hold.setEnabled(state.can_reset)

    def _show_conditions(self, state: ResetSheetState) -> None:
        while len(self._conditions) < min(len(state.conditions), _CONDITIONS_MAX):
            at = len(self._conditions)
            mark = GlyphMark(theme=self._theme)
            name = TextLabel(theme=self._theme, widest="Every position zero, two reads")
            why = TextLabel(
                theme=self._theme, role=Role.TEXT_MUTED, may_elide=True, widest="age 00 s"
            )
            for column, widget in enumerate((mark, name, why)):
                self._grid.addWidget(widget, at, column)
            self._grid.setRowMinimumHeight(at, 22)
            self._conditions.append((mark, name, why))
        for (mark, name, why), condition in zip(self._conditions, state.conditions, strict=False):
            mark.show_glyph(Glyph.CHECK if condition.met else Glyph.CROSS)
            name.set_text(condition.condition, Role.TEXT_MUTED if condition.met else Role.TEXT)
            why.set_text("" if condition.met else condition.why)
            name.setAccessibleDescription("met" if condition.met else f"not met: {condition.why}")

    def _show_choices(self, kind: str, heading: str, choices: tuple[Choice, ...]) -> None:
        if choices and kind not in self._headed:
            self._headed.add(kind)
            if len(self._headed) > 1:
                self._gestures.addSpacing(6)
            self._gestures.addWidget(self._heading(heading))
        for choice in choices:
            if (kind, choice.id) in self._boxes:
                continue
            box = QCheckBox(choice.text)
            box.setAccessibleName(choice.text)
            box.setChecked(choice.is_ticked)
            box.toggled.connect(
                lambda on, kind=kind, choice=choice.id: self._on_ticked(kind, choice, on)
            )
            self._boxes[(kind, choice.id)] = box
            self._gestures.addWidget(box)

    def box(self, kind: str, choice: str) -> QCheckBox:
        """A box by kind and id."""
        return self._boxes[(kind, choice)]

    def _on_ticked(self, kind: str, choice: str, is_ticked: bool) -> None:
        self._model.tick(kind, choice, is_ticked=is_ticked)
        self.changed.emit()

    def _on_cause(self) -> None:
        self._model.cause = str(self._cause.currentData())
        self.changed.emit()

    def _on_reason(self, text: str) -> None:
        self._model.reason = text
        self.changed.emit()
