"""The policy page's conduct: draft, apply, conflict, history, roll-back.

Stands between the view and the engine.
A change is applied when the engine says so: after an answer the page reads the document in force
again. A conflict (somebody stored a version meanwhile) is told plainly and resolved field by
field.
Thread: GUI loop. Fails: refusals arrive as results and land beside their fields.
"""

from PySide6.QtCore import QObject

from console.commands import CommandDesk
from console.qt.tasks import ConsoleTasks
from console.viewmodels.desk_conflict import desk_conflict
from console.viewmodels.freshness import Engine
from console.viewmodels.policy_draft import PolicyDraft
from console.viewmodels.policy_page import PolicyPageViewModel
from console.views.policy_view import PolicyView
from engine.api import CommandResult, EngineClient, PolicyVersion
from engine.model.policy import is_looser, with_changes

__all__ = ["PolicyDesk"]

_APPLY, _MODE, _ROLLBACK = "policy apply", "policy mode", "policy rollback"
_RESOLVE = "policy resolve"
_COMMANDS = (_APPLY, _MODE, _ROLLBACK, _RESOLVE)


class PolicyDesk(QObject):
    """Connects one policy view to one engine."""

    def __init__(
        self,
        *,
        client: EngineClient,
        view: PolicyView,
        desk: CommandDesk,
        tasks: ConsoleTasks,
        author: str,
    ) -> None:
        super().__init__(view)
        self._client = client
        self._view = view
        self._desk = desk
        self._tasks = tasks
        self._author = author
        self._page = PolicyPageViewModel()
        self.draft = PolicyDraft(client.policy())
        self._shown_profile = self.draft.base.profile
        self._versions: tuple[PolicyVersion, ...] = ()
        self._versions_of = -1
        self._engine: Engine | None = None
        view.profile_chosen.connect(self._choose_profile)
        view.fields.edited.connect(self._edit)
        view.fields.section_chosen.connect(lambda _: self.paint())
        view.discard_pressed.connect(self._discard)
        view.reason_edited.connect(self._set_reason)
        view.apply_fired.connect(self._apply)
        view.activate_fired.connect(self._activate)
        view.new_trades_toggled.connect(self._toggle_new_trades)
        view.version_chosen.connect(lambda _: self.paint())
        view.rollback_fired.connect(self._roll_back)
        view.conflict.resolved.connect(self._resolve)
        view.desk_conflict.resolved.connect(self._resolve_desk)
        desk.pending_changed.connect(self.paint)

    def take(self, engine: Engine) -> None:
        """The newest snapshot; a version that somebody else stored is merged or becomes a
        conflict.
        """
        self._engine = engine
        self.draft.currency = engine.snapshot.currency
        document = self._client.policy()
        if document.version != self.draft.base.version:
            self.draft.rebase(document)
        if self._versions_of != document.version and not self._desk.is_pending(_APPLY):
            self._versions_of = document.version
            self._tasks.spawn("policy history", self._read_history())
        self.paint()

    def apply_by_key(self) -> None:
        """Ctrl+Enter applies a draft that needs no hold; a looser one must be held."""
        if self._view.apply_button.isEnabled() and not self._view.apply_button.needs_hold:
            self._apply()

    async def _read_history(self) -> None:
        self._versions = await self._client.policy_history()
        self.paint()

    def paint(self) -> None:
        """Show everything as it is now."""
        draft, view = self.draft, self._view
        snapshot = None if self._engine is None else self._engine.snapshot
        live = snapshot is not None and snapshot.mode != "paper"
        is_pending = any(self._desk.is_pending(key) for key in _COMMANDS)
        chip = self._page.draft_chip(draft, snapshot, is_pending=is_pending)
        view.show_head(self._page.active(draft.base), chip, can_discard=bool(draft.changes))
        allowed = draft.changes.get("allow_new_trades")
        view.show_profile(
            self._shown_profile,
            draft.base.profile,
            new_trades=draft.base.allow_new_trades if allowed is None else allowed == "true",
        )
        view.fields.show_rows(draft.rows(self._shown_profile, view.fields.section, live=live))
        view.fields.show_counts(draft.changed_sections(self._shown_profile))
        refusal = draft.refusal(snapshot)
        view.show_draft(
            draft.diff_rows(),
            refusal=refusal,
            needs_hold=draft.is_looser(),
            can_apply=not refusal and not is_pending,
        )
        self._paint_conflict()
        self._paint_desk_conflict(is_pending=is_pending)
        self._paint_activate(is_pending=is_pending)
        self._paint_history(is_pending=is_pending)

    def _paint_conflict(self) -> None:
        version = self.draft.conflict_version
        self._view.conflict.setVisible(version is not None)
        if version is not None:
            author = self._client.policy().author
            self._view.conflict.show_conflict(version, author, self.draft.clashes())

    def _paint_desk_conflict(self, *, is_pending: bool) -> None:
        conflict = None if self._engine is None else self._engine.snapshot.policy.conflict
        active = self.draft.base.profile
        self._view.desk_conflict.show_conflict(
            None if conflict is None else desk_conflict(conflict, active=active),
            can_keep=not is_pending,
            can_loosen=not is_pending and not self._loosening_refused(),
        )

    def _paint_activate(self, *, is_pending: bool) -> None:
        base = self.draft.base
        offered = self._shown_profile != base.profile
        looser = offered and is_looser(base, with_changes(base, {"profile": self._shown_profile}))
        enabled = not is_pending and not (looser and self._loosening_refused())
        self._view.show_activate(offered=offered, is_looser=looser, enabled=enabled)

    def _paint_history(self, *, is_pending: bool) -> None:
        view, base = self._view, self.draft.base
        view.show_history(self._page.history(self._versions))
        version = view.chosen_version
        rows = () if version is None else self._page.compare(self._versions, version, base)
        looser = version is not None and self._page.rollback_is_looser(
            self._versions, version, base
        )
        enabled = bool(rows) and not is_pending and not (looser and self._loosening_refused())
        view.show_comparison(rows, version=version, is_looser=looser, enabled=enabled)

    def _loosening_refused(self) -> bool:
        # Loosening needs a reason, and is refused while latched.
        latched = self._engine is not None and self._engine.snapshot.emergency.latched
        return latched or not self.draft.reason.strip()

    def _choose_profile(self, name: str) -> None:
        self._shown_profile = name
        self.paint()

    def _edit(self, field: str, text: str) -> None:
        self.draft.edit(self._shown_profile, field, text)
        self.paint()

    def _toggle_new_trades(self, allowed: bool) -> None:
        self.draft.allow_new_trades(allowed)
        self.paint()

    def _discard(self) -> None:
        self.draft.discard()
        self.draft.rebase(self._client.policy())
        self._view.clear_reason()
        self.paint()

    def _set_reason(self, text: str) -> None:
        self.draft.reason = text
        self.paint()

    def _resolve(self, keep_mine: frozenset[str]) -> None:
        self.draft.resolve(keep_mine=keep_mine)
        self.paint()

    def _resolve_desk(self, choice: str) -> None:
        base = self.draft.base.version
        reason = self.draft.reason.strip() or "the stricter values were kept"
        self._desk.send(
            _RESOLVE,
            "Resolve the conflict",
            lambda: self._client.resolve_policy(
                choice, base_version=base, author=self._author, reason=reason
            ),
            on_result=self._on_document,
        )

    def _apply(self) -> None:
        changes, base = self.draft.changes, self.draft.base.version
        reason = self.draft.reason.strip() or "changed on the policy page"
        self._desk.send(
            _APPLY,
            "Apply policy",
            lambda: self._client.update_policy(
                changes, base_version=base, author=self._author, reason=reason
            ),
            on_result=self._on_applied,
        )

    def _on_applied(self, result: CommandResult) -> None:
        document = self._client.policy()
        if result.ok:
            self.draft.discard()
            self._view.clear_reason()
        elif result.problems:
            self.draft.note_problems(result.problems)
        self.draft.rebase(document)
        self.paint()

    def _activate(self) -> None:
        name = self._shown_profile
        reason = self.draft.reason.strip() or f"switched to {name}"
        self._desk.send(
            _MODE,
            f"Switch to {name}",
            lambda: self._client.set_policy_mode(name, author=self._author, reason=reason),
            on_result=self._on_document,
        )

    def _roll_back(self) -> None:
        version = self._view.chosen_version
        if version is None:
            return
        reason = self.draft.reason.strip() or f"roll back to v{version}"
        self._desk.send(
            _ROLLBACK,
            f"Roll back to v{version}",
            lambda: self._client.rollback_policy(version, author=self._author, reason=reason),
            on_result=self._on_document,
        )

    def _on_document(self, result: CommandResult) -> None:
        if result.ok:
            self.draft.reason = ""
            self._view.clear_reason()
        self.draft.rebase(self._client.policy())
        self.paint()
