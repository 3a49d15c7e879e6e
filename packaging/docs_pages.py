"""Writes the pages of `docs/` that are made from tables of the engine: policy, orders, alarms.

So a page cannot drift from the code: a test makes each again and compares. Run it in a set-up
checkout after changing one of the tables: `python3 packaging/docs_pages.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from engine.health import ALARMS  # noqa: E402 - the checkout must be on the path first
from engine.model.orders import TRANSITIONS, OrderState  # noqa: E402
from engine.model.policy import (  # noqa: E402
    FIELDS,
    PROFILE_NAMES,
    PROTECTED_LOSS_MAX,
    FieldSpec,
    get_value,
    range_text,
    seeded,
    value_text,
)
from engine.model.values import plain  # noqa: E402

# The capital that seeded amounts of money are shown for.
_EXAMPLE_CAPITAL = Decimal(100_000)


def policy_page() -> str:
    """`docs/policy.md`, from `FIELDS`."""
    lines = [
        "# The policy, field by field",
        "",
        "Made from `engine/model/policy.py` by `packaging/docs_pages.py`; do not edit.",
        "",
        "Fractions are positive (0.10 is ten per cent). *Seeded* values are those of the profiles",
        f"{', '.join(PROFILE_NAMES)}; amounts of money are for a capital of",
        f"{plain(_EXAMPLE_CAPITAL)}. No editor can pass the end of a range. While the emergency",
        "stop is latched, or the drawdown is past its soft limit, only stricter values are taken.",
    ]
    section = ""
    for spec in FIELDS:
        if spec.section != section:
            section = spec.section
            lines += [
                "",
                f"## {section}",
                "",
                "| field | what it does | seeded | range | stricter |",
                "|---|---|---|---|---|",
            ]
        lines.append(_policy_row(spec))
    lines += [
        "",
        "## Rules across fields",
        "",
        "- `drawdown_soft` is below `drawdown_hard`.",
        "- The governor's rungs rise: `recover` < `soft` < `quarantine` < `hard`.",
        f"- `protective_stop` × `max_leverage` is at most {PROTECTED_LOSS_MAX}, unless",
        "  `allow_naked`: otherwise liquidation comes before the stop.",
        "- `max_consecutive_losses` 0 (off) is refused on live.",
    ]
    return "\n".join(lines) + "\n"


def _policy_row(spec: FieldSpec) -> str:
    profiles = seeded(_EXAMPLE_CAPITAL, live=False).profiles
    values = [value_text(get_value(profiles[name], spec.name)) for name in PROFILE_NAMES]
    shown = values[0] if len(set(values)) == 1 else " / ".join(values)
    off = "; 0 is off" if spec.zero_is_off else ""
    return (
        f"| `{spec.name}` | **{spec.title}.** {spec.help} | {shown} "
        f"| {range_text(spec)}{off} | {spec.stricter} |"
    )


def orders_page() -> str:
    """`docs/orders.md`, from the order's table of transitions."""
    lines = [
        "# The life of an order",
        "",
        "Made from `engine/model/orders.py` by `packaging/docs_pages.py`; do not edit.",
        "",
        "What is not in the table is not allowed: it raises an alarm and changes nothing. Denied",
        "(by us), rejected (proved by the venue) and unresolved (nobody knows yet) are three",
        "states: a timeout after sending is never a rejection.",
        "",
        "| state | at the venue? | final? | what happens → state after |",
        "|---|---|---|---|",
    ]
    for state in OrderState:
        moves = [
            f"{trigger.value} → **{after.value}**"
            for (before, trigger), after in TRANSITIONS.items()
            if before is state
        ]
        lines.append(
            f"| **{state.value}** | {'maybe' if state.may_be_at_venue else 'no'} "
            f"| {'yes' if state.is_final else 'no'} | {'; '.join(moves) or 'nothing more'} |"
        )
    lines += ["", "*Final* means that no more is expected; a late fill is booked all the same."]
    return "\n".join(lines) + "\n"


def alarms_page() -> str:
    """`docs/alarms.md`, from the alarm table."""
    lines = [
        "# Alarms",
        "",
        "Made from `engine/health/alarms_table.py` by `packaging/docs_pages.py`; do not edit.",
        "",
        "An alarm is something to do. Priority 1 is most urgent. *Delay*: how long the cause must",
        "last before it sounds / how long it must be gone before it has returned.",
        "",
        "| code | priority | alarm | what it means | what to do | begins / ends | delay |",
        "|---|---|---|---|---|---|---|",
    ]
    for spec in sorted(ALARMS.values(), key=lambda row: row.priority):
        points = "" if spec.set_point is None else f"≥ {spec.set_point:g} / < {spec.clear_point:g}"
        priority = str(spec.priority)
        if spec.escalates_after_s is not None:
            priority += f"; 1 after {spec.escalates_after_s:g} s"
        lines.append(
            f"| `{spec.code}` | {priority} | {spec.title} | {spec.consequence} | {spec.action} "
            f"| {points} | {spec.on_delay_s:g} / {spec.off_delay_s:g} s |"
        )
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "policy.md": policy_page,
    "orders.md": orders_page,
    "alarms.md": alarms_page,
}


def main() -> int:
    """Write every page."""
    for name, make in PAGES.items():
        (ROOT / "docs" / name).write_text(make(), encoding="utf-8")
        print(f"docs/{name}")
    return 0


__all__ = ["PAGES", "alarms_page", "main", "orders_page", "policy_page"]

if __name__ == "__main__":
    sys.exit(main())
