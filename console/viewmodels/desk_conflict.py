"""The words of a conflict of the desk's policy: who wanted what on which node, field by field.

The policy was changed on both sides of an outage; until a person decides the stricter value of each
field holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from console.viewmodels.policy_draft import field_title, shown_text
from engine.model.snapshots import PolicyConflictSnapshot

__all__ = ["STRICTER", "DeskConflict", "DeskConflictRow", "desk_conflict"]

STRICTER = "stricter"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskConflictRow:
    """A field that differs: its value on each side, in the order of the sides."""

    title: str
    values: tuple[str, ...]
    base: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskConflict:
    """Everything to show. `choices` maps what may be said to `resolve` to its button's words."""

    title: str
    sides: tuple[str, ...]
    details: tuple[str, ...]
    rows: tuple[DeskConflictRow, ...]
    choices: Mapping[str, str]


def desk_conflict(conflict: PolicyConflictSnapshot, *, active: str) -> DeskConflict:
    """A conflict in words; `active` is the profile in force."""
    count = len(conflict.fields)
    differ = "1 field differs" if count == 1 else f"{count} fields differ"
    sides = tuple(side.node for side in conflict.sides)
    choices = {node: f"Use {node}'s" for node in sides if sides.count(node) == 1}
    return DeskConflict(
        title=f"Conflict: {differ}; the stricter values hold.",
        sides=sides,
        details=tuple(
            f"{side.node}: v{side.version} by {side.author}, {_when(side.ts_ns)}, {side.reason}"
            for side in conflict.sides
        ),
        rows=tuple(
            DeskConflictRow(
                title=field_title(name, active),
                values=tuple(shown_text(name, value) for value in values),
                base=shown_text(name, conflict.base[name]) if name in conflict.base else "",
            )
            for name, values in conflict.fields.items()
        ),
        choices={STRICTER: "Keep the stricter", **choices},
    )


def _when(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns / 1e9, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
