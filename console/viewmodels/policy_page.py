"""The policy page's lines around the draft: what is active, the draft's state, the history.

The state words are console.md 2.2's. Rolling back makes a new version equal to an old one,
through the same rule of tighter and looser.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from console.viewmodels.appearance import ChipState, Glyph, Tone
from console.viewmodels.policy_draft import ChangeRow, PolicyDraft, change_rows
from engine.api import PolicyVersion
from engine.model.policy import PolicyDocument, document_hash, is_looser
from engine.model.snapshots import EngineSnapshot

__all__ = ["HistoryRow", "PolicyPageViewModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One version in the list."""

    version: int
    text: str
    detail: str


class PolicyPageViewModel:
    """Words around the draft."""

    def active(self, document: PolicyDocument) -> str:
        """``ACTIVE v41 · 7f3c2a9 · conservative · by op1, 2026-11-20 09:14 UTC``."""
        return (
            f"ACTIVE v{document.version} · {document_hash(document)[:7]} · {document.profile} · "
            f"by {document.author}, {_when(document.ts_ns)}"
        )

    def draft_chip(
        self, draft: PolicyDraft, snapshot: EngineSnapshot | None, *, is_pending: bool
    ) -> ChipState:
        """The draft's state: one word, one meaning."""
        if draft.conflict_version is not None:
            return ChipState(text=f"CONFLICT with v{draft.conflict_version}", tone=Tone.HIGH)
        stored = draft.base.version
        if is_pending:
            return ChipState(text="SENT, WAITING FOR THE ENGINE", glyph=Glyph.DOTS)
        if snapshot is not None and snapshot.policy.version != stored:
            running = snapshot.policy.version
            return ChipState(text=f"STORED v{stored}, ENGINE ON v{running}", tone=Tone.HIGH)
        count = len(draft.changes)
        if not count:
            return ChipState(text=f"ACTIVE v{stored}", glyph=Glyph.CHECK)
        problems = draft.problems(live=snapshot is not None and snapshot.mode != "paper")
        if problems:
            return ChipState(text=f"INVALID {len(problems)}", tone=Tone.HIGH)
        changes = f"{count} changes" if count > 1 else "1 change"
        if draft.refusal(snapshot):
            return ChipState(text=f"DRAFT from v{stored}, {changes}", glyph=Glyph.RING)
        return ChipState(text=f"READY TO APPLY, {changes}", glyph=Glyph.RING)

    def history(self, versions: Sequence[PolicyVersion]) -> tuple[HistoryRow, ...]:
        """The list, newest first."""
        return tuple(
            HistoryRow(
                version=entry.document.version,
                text=f"v{entry.document.version}  {entry.document.reason or 'no reason given'}",
                detail=f"{entry.document.author}, {_when(entry.document.ts_ns)}, {_count(entry)}",
            )
            for entry in versions
        )

    def compare(
        self, versions: Sequence[PolicyVersion], version: int, current: PolicyDocument
    ) -> tuple[ChangeRow, ...]:
        """What rolling back to ``version`` would change."""
        old = self._find(versions, version)
        return () if old is None else change_rows(current, old)

    def rollback_is_looser(
        self, versions: Sequence[PolicyVersion], version: int, current: PolicyDocument
    ) -> bool:
        """Whether rolling back relaxes anything; unknown counts as looser."""
        old = self._find(versions, version)
        return True if old is None else is_looser(current, old)

    @staticmethod
    def _find(versions: Sequence[PolicyVersion], version: int) -> PolicyDocument | None:
        for entry in versions:
            if entry.document.version == version:
                return entry.document
        return None


def _when(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns / 1e9, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def _count(entry: PolicyVersion) -> str:
    count = len(entry.changes)
    return f"{count} changes" if count != 1 else "1 change"
