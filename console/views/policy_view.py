"""The policy page: profile and fields at the left; draft, reason, apply and history at the right.

Emits what the operator did; the policy desk (``console.policy_desk``) decides and answers with
states to show.
"""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from console.theme import LiveTheme, Role
from console.viewmodels.appearance import ChipState
from console.viewmodels.policy_draft import ChangeRow
from console.viewmodels.policy_page import HistoryRow
from console.views.changes_view import ChangesView, ConflictView
from console.views.desk_conflict_view import DeskConflictView
from console.views.policy_fields_view import PolicyFieldsView
from console.widgets import Chip, HoldButton, Panel, TextLabel
from engine.model.policy import PROFILE_NAMES

__all__ = ["PolicyView"]

_RIGHT_MIN_PX, _RIGHT_MAX_PX = 344, 620
_DIFF_ROWS = 5


class PolicyView(QWidget):
    """Page D 3."""

    profile_chosen = Signal(str)
    discard_pressed = Signal()
    reason_edited = Signal(str)
    apply_fired = Signal()
    activate_fired = Signal()
    new_trades_toggled = Signal(bool)
    version_chosen = Signal(int)
    rollback_fired = Signal()

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAccessibleName("Policy page")
        self._theme = theme
        self.fields = PolicyFieldsView(theme=theme)
        self.conflict = ConflictView(theme=theme)
        self.desk_conflict = DeskConflictView(theme=theme)
        self._active = TextLabel(theme=theme, may_elide=True, widest="ACTIVE v1")
        self._draft_chip = Chip(theme=theme, height_px=26, padding_px=9)
        self._discard = QPushButton("Discard draft")
        self._discard.clicked.connect(self.discard_pressed)
        self._profiles: dict[str, QPushButton] = {}
        self._activate = HoldButton("Make active", theme=theme)
        self._activate.held.connect(self.activate_fired)
        self._new_trades = QCheckBox("New trades allowed")
        self._new_trades.clicked.connect(self.new_trades_toggled)
        self._diff = ChangesView(theme=theme, limit=_DIFF_ROWS)
        self._reason = QLineEdit()
        self._reason.setPlaceholderText("Reason, for the history")
        self._reason.setAccessibleName("Reason for the change")
        self._reason.textEdited.connect(self.reason_edited)
        self._refusal = TextLabel(theme=theme, role=Role.TEXT_MUTED, may_elide=True)
        self._apply = HoldButton("Apply", theme=theme, needs_hold=False)
        self._apply.held.connect(self.apply_fired)
        self._history = QListWidget()
        self._history.setAccessibleName("Policy versions, newest first")
        self._history.currentItemChanged.connect(self._on_version)
        self._compare = ChangesView(theme=theme, limit=3)
        self._rollback = HoldButton("Roll back", theme=theme, needs_hold=False)
        self._rollback.held.connect(self.rollback_fired)
        self._lay_out()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(10)
        head.addWidget(self._active, 1)
        head.addWidget(self._new_trades)
        head.addWidget(self._draft_chip)
        head.addWidget(self._discard)
        body = QHBoxLayout()
        body.setSpacing(8)
        body.addWidget(self._make_left(), 3)
        body.addWidget(self._make_right(), 2)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(8)
        outer.addLayout(head)
        outer.addLayout(body, 1)

    def _make_left(self) -> Panel:
        panel = Panel("Limits by profile", theme=self._theme)
        line = QHBoxLayout()
        line.setSpacing(0)
        group = QButtonGroup(self)
        group.setExclusive(True)
        for at, name in enumerate(PROFILE_NAMES):
            button = QPushButton(name.capitalize())
            button.setObjectName("segment")
            button.setCheckable(True)
            button.setProperty("last", at == len(PROFILE_NAMES) - 1)
            button.clicked.connect(lambda _=False, name=name: self.profile_chosen.emit(name))
            group.addButton(button)
            line.addWidget(button)
            self._profiles[name] = button
        line.addSpacing(14)
        line.addWidget(self._activate)
        line.addStretch(1)
        panel.add_layout(line)
        panel.add(self.fields, 1)
        return panel

    def _make_right(self) -> QWidget:
        side = QWidget()
        side.setMinimumWidth(_RIGHT_MIN_PX)
        side.setMaximumWidth(_RIGHT_MAX_PX)
        column = QVBoxLayout(side)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        draft = Panel("Draft", theme=self._theme)
        draft.add(self.desk_conflict)
        self.desk_conflict.hide()
        draft.add(self.conflict)
        self.conflict.hide()
        draft.add(self._diff)
        draft.add_stretch()
        draft.add(self._reason)
        draft.add(self._refusal)
        line = QHBoxLayout()
        line.addStretch(1)
        line.addWidget(self._apply)
        draft.add_layout(line)
        column.addWidget(draft, 5)
        history = Panel("History", theme=self._theme)
        history.add(self._history, 1)
        history.add(self._compare)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(self._rollback)
        history.add_layout(foot)
        column.addWidget(history, 6)
        return side

    def show_head(self, active: str, chip: ChipState, *, can_discard: bool) -> None:
        """What is active and what the draft's state is."""
        self._active.set_text(active)
        self._draft_chip.show_state(chip)
        self._discard.setEnabled(can_discard)

    def show_profile(self, shown: str, active: str, *, new_trades: bool) -> None:
        """Which profile is shown, and which is in force."""
        for name, button in self._profiles.items():
            title = name.capitalize()
            text = f"{title} · active" if name == active else title
            if button.text() != text:
                button.setText(text)
            button.setChecked(name == shown)
        self._new_trades.setChecked(new_trades)

    def show_activate(self, *, offered: bool, is_looser: bool, enabled: bool) -> None:
        """The switch to the profile shown."""
        self._activate.setVisible(offered)
        self._activate.set_needs_hold(is_looser)
        self._activate.setEnabled(enabled)

    def show_draft(
        self, rows: tuple[ChangeRow, ...], *, refusal: str, needs_hold: bool, can_apply: bool
    ) -> None:
        """The diff and whether it may be applied."""
        self._diff.show_rows(rows, empty="No changes. Edit a field to begin a draft.")
        self._refusal.set_text(refusal.capitalize() if refusal and rows else "")
        self._apply.set_needs_hold(needs_hold)
        self._apply.setEnabled(can_apply)

    def show_history(self, rows: tuple[HistoryRow, ...]) -> None:
        """The versions, keeping the one chosen."""
        chosen = self.chosen_version
        texts = [f"{row.text}\n{row.detail}" for row in rows]
        if texts == [self._history.item(at).text() for at in range(self._history.count())]:
            return
        self._history.clear()
        for row, text in zip(rows, texts, strict=True):
            item = QListWidgetItem(text)
            item.setData(Qt.ItemDataRole.UserRole, row.version)
            self._history.addItem(item)
            if row.version == chosen:
                self._history.setCurrentItem(item)

    def show_comparison(
        self, rows: tuple[ChangeRow, ...], *, version: int | None, is_looser: bool, enabled: bool
    ) -> None:
        """What rolling back to the chosen version would change."""
        empty = "Choose a version to compare it with the active one."
        if version is not None:
            empty = f"v{version} equals the active one."
        self._compare.show_rows(rows, empty=empty)
        self._rollback.set_text("Roll back" if version is None else f"Roll back to v{version}")
        self._rollback.set_needs_hold(is_looser)
        self._rollback.setEnabled(enabled)

    def clear_reason(self) -> None:
        """After the change was stored."""
        self._reason.clear()

    @property
    def chosen_version(self) -> int | None:
        """The version chosen in the history."""
        item: QListWidgetItem | None = self._history.currentItem()
        return None if item is None else int(item.data(Qt.ItemDataRole.UserRole))

    @property
    def apply_button(self) -> HoldButton:
        """Apply."""
        return self._apply

    @property
    def rollback_button(self) -> HoldButton:
        """Roll back."""
        return self._rollback

    @property
    def reason_field(self) -> QLineEdit:
        """The reason."""
        return self._reason

    def choose_version(self, version: int) -> None:
        """Choose a version in the history."""
        for at in range(self._history.count()):
            item = self._history.item(at)
            if item.data(Qt.ItemDataRole.UserRole) == version:
                self._history.setCurrentItem(item)

    def _on_version(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.version_chosen.emit(int(item.data(Qt.ItemDataRole.UserRole)))
