"""A conflict of the desk's policy in words."""

from __future__ import annotations

import msgspec

from console.viewmodels.desk_conflict import DeskConflictRow, desk_conflict
from engine.model.snapshots import PolicyConflictSnapshot, PolicySideSnapshot

SIDE = PolicySideSnapshot(
    node="desk1", version=2, author="alice", ts_ns=1_767_225_600_000_000_000, reason="storm"
)
OTHER = msgspec.structs.replace(SIDE, node="desk2", version=3, author="bob", reason="calm")


def test_every_side_every_value_and_every_way_out_is_named() -> None:
    conflict = PolicyConflictSnapshot(
        sides=(SIDE, OTHER),
        fields={"moderate.max_leverage": ("3", "8"), "allow_new_trades": ("false", "true")},
        base={"moderate.max_leverage": "5"},
        base_version=1,
    )
    shown = desk_conflict(conflict, active="moderate")
    assert "2 fields differ" in shown.title
    assert shown.details[0] == "desk1: v2 by alice, 2026-01-01 00:00 UTC, storm"
    assert shown.rows == (
        DeskConflictRow(title="Leverage", values=("3", "8"), base="5"),
        DeskConflictRow(title="New trades", values=("not allowed", "allowed"), base=""),
    )
    assert list(shown.choices) == ["stricter", "desk1", "desk2"]


def test_a_node_with_two_sides_cannot_be_chosen_by_its_name() -> None:
    conflict = PolicyConflictSnapshot(
        sides=(SIDE, SIDE, OTHER), fields={"profile": ("moderate", "defensive", "moderate")}
    )
    shown = desk_conflict(conflict, active="moderate")
    assert "1 field differs" in shown.title
    assert list(shown.choices) == ["stricter", "desk2"]
