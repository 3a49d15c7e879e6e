"""Writes the pages of `docs/` that are made from tables of the code: commands, configuration,
events, policy, orders, alarms, and what is taken back from Redis.

So a page cannot drift from the code: a test makes each again and compares. Run it in a set-up
checkout after changing one of the tables: `python3 packaging/docs_pages.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from console.arguments import build_parser  # noqa: E402 - the checkout must be on the path first
from engine.health import ALARMS  # noqa: E402
from engine.kernel.taken_back import RULES  # noqa: E402
from engine.model.config import Configuration  # noqa: E402
from engine.model.events import (  # noqa: E402
    ALL_EVENTS,
    COMMON_FIELDS,
    RETENTION,
    AccountEquityUpdated,
    Event,
)
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


def commands_page() -> str:
    """`docs/commands.md`, from the command line's own parser."""
    lines = [
        "# Every command and option",
        "",
        "Made from `console/arguments.py` by `packaging/docs_pages.py`; do not edit. What they",
        "mean to an operator is in [operator.md](operator.md).",
    ]
    lines += _command_lines(build_parser("0"), "seawall")
    return "\n".join(lines) + "\n"


def _command_lines(parser: argparse.ArgumentParser, name: str) -> list[str]:
    lines = ["", f"## `{name}`", "", parser.description or "", ""]
    rows: list[str] = []
    deeper: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                deeper += _command_lines(below, f"{name} {word}")
            continue
        written = "`, `".join(action.option_strings) or str(action.metavar)
        if action.option_strings and action.metavar:
            written += f" {action.metavar}"
        elif action.choices:
            written += f" {', '.join(action.choices)}"
        rows.append(f"| `{written}` | {action.help} |")
    if rows:
        lines += ["| option | meaning |", "|---|---|", *rows]
    return lines + deeper


# What each key is for; a key without words here fails the page, and with it the tests.
_KEY_WORDS: Mapping[str, str] = {
    "engine.mode": "what the engine may touch: `paper` nothing outside its folder; `live` trades "
    "real orders at the venue, once START LIVE has been confirmed; `dry_run` reads the venue (its "
    "contracts, clock and account) and simulates every order",
    "node.name": "this engine's name on the desk; part of Redis keys and client order ids",
    "redis.mode": "`auto`: the URL if there is one, else a private server if a server program is "
    "found, else standalone",
    "redis.url": "for mode `url` (and `auto`): `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, "
    "`rediss://…` for TLS, `unix:///PATH`, or "
    "`redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/SERVICE[/DB]` (TLS: "
    "`rediss+sentinel://…`), where user and password are the server's. A password is never shown; "
    "mind who can read the file. The user needs `~seawall:* +ping +info +eval +evalsha +time +get "
    "+set +hset +xinfo +xadd +xread +xrange +xrevrange +xtrim`",
    "redis.ca_file": "the authorities (PEM) that TLS trusts instead of the system's",
    "redis.stream_max_events": "length to which the node's stream is trimmed, acknowledged only",
    "venue.name": "the exchange that `live` trades on, and whose prices the feed `venue` has",
    "venue.environment": "its test environment, or the real one",
    "venue.rest_url": "instead of the venue's own, for a simulator or a proxy: "
    "`https://HOST[:PORT]`, or `http://` on this machine alone; together with `venue.stream_url`",
    "venue.stream_url": "likewise for its streams: `wss://HOST[:PORT]`, or `ws://` on this machine",
    "market.feed": "where prices come from; `venue`: the public streams of `[venue]`, no key",
    "market.source": "the recorded file of a replay",
    "market.symbols": "markets of the simulated feed",
    "market.seed": "of the simulated market; the same seed is the same market",
    "market.scenario": "of the simulated market; `crash` falls 12 % after ten minutes",
    "paper.initial_balance": "capital of a new paper account, account currency",
    "paper.spread_bps": "bid to ask of the paper venue where the feed quotes none, 1/10,000",
    "paper.slippage": "price impact in 1/10,000 per 100,000 of notional",
    "paper.maker_fee": "fraction of notional",
    "paper.taker_fee": "fraction of notional",
    "paper.latency_ms": "to the paper venue, and the same back",
    "paper.funding": "what longs pay shorts at 00:00, 08:00 and 16:00 UTC, fraction of notional;"
    " with the feed `venue` the exchange's own rates and times hold",
    "policy.file": "a policy document for the first start; later starts ignore it and say so",
    "journal.max_bytes": "cap of the journal",
    "journal.max_age": "days that acknowledged events are kept",
    "backup.keep": "how many backups of the state database are kept",
    "log.level": "what the log file holds",
    "console.theme": "the window's colours",
}


def configuration_page() -> str:
    """`docs/configuration.md`, from `Configuration`."""
    lines = [
        "# Configuration, key by key",
        "",
        "Made from `engine/model/config.py` by `packaging/docs_pages.py`; do not edit.",
        "",
        "TOML; every key is optional. An unknown key or a wrong value is an error that names the",
        "key and what would be right (exit 2). `--config FILE`, else `seawall.toml` in the",
        "platform's configuration folder. Secrets are never read from it.",
        "",
        "| key | default | takes | what it is for |",
        "|---|---|---|---|",
    ]
    configuration = Configuration()
    for section in configuration.__struct_fields__:
        part = getattr(configuration, section)
        hints = get_type_hints(type(part))
        for key in part.__struct_fields__:
            name, value = f"{section}.{key}", getattr(part, key)
            lines.append(
                f"| `{name}` | {_default_text(value)} | {_takes(hints[key])} | {_KEY_WORDS[name]} |"
            )
    return "\n".join(lines) + "\n"


def _default_text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "–" if value == "" else str(value)


def _takes(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(hint))
    words = {str: "text", int: "whole number", Decimal: "decimal, as text or number"}
    return words.get(hint, "list of texts")


def events_page() -> str:
    """`docs/events.md`, from the event types."""
    lines = [
        "# Events",
        "",
        "Made from `engine/model/events.py` by `packaging/docs_pages.py`; do not edit.",
        "",
        "Every event also has `id`, `ts_ns`, `source` and `trace`. **D** durable: in the journal",
        "and, where Redis is linked, in the node's stream. **F** fast: at its subscribers before",
        "`emit` returns. **C** conflated under pressure: the newest per symbol counts. Money and",
        "quantities are strings in JSON.",
        "",
        "*Kept* is the class of a durable event in the journal. At `journal.max_bytes`, what waits",
        "for Redis is given up: telemetry first, then notes, oldest first, and records never. Each",
        "time a `journal.shed` event says how many of which type are missing, and between which",
        "sequence numbers.",
        "",
        "| event | | kept | fields | when |",
        "|---|---|---|---|---|",
    ]
    for event in ALL_EVENTS:
        marks = ((event.DURABLE, "D"), (event.FAST, "F"), (event.CONFLATED, "C"))
        fields = [name for name in event.__struct_fields__ if name not in COMMON_FIELDS]
        lines.append(
            f"| `{event.TYPE}` | {' '.join(mark for is_so, mark in marks if is_so)} "
            f"| {_kept(event)} | {', '.join(fields)} | {_event_words(event)} |"
        )
    return "\n".join(lines) + "\n"


def _kept(event: type[Event]) -> str:
    """The retention class; a type that is durable at times only has one too."""
    return RETENTION[event.CLASS] if event.DURABLE or event is AccountEquityUpdated else ""


def _event_words(event: type[Event]) -> str:
    own = event.__doc__ or (event.__mro__[1].__doc__ if event.__mro__[1] is not Event else "")
    return " ".join((own or "").split())


def taken_back_page() -> str:
    """`docs/taken_back.md`, from `RULES`."""
    lines = [
        "# What a restored database takes back from Redis",
        "",
        "Made from `engine/kernel/taken_back.py` by `packaging/docs_pages.py`; do not edit.",
        "",
        "After a damaged, lost or older `state.db` was replaced by a backup, the node's own stream",
        "is read from the backup's position on, where Redis is configured by URL and answers.",
        "Every event goes back into the journal under its own number, so nothing is sent twice.",
        "State beside it changes as said here; what could not be applied is counted by type in",
        "the alarm `DATABASE_RESTORED` and in the audit trail. Audit entries, acknowledgements of",
        "alarms and imported trades are told by no event and stay lost.",
        "",
        "| event | changes state | how, or why not |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{kind}` | {'yes' if rule.apply else 'no'} | {rule.words} |"
        for kind, rule in RULES.items()
    ]
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "configuration.md": configuration_page,
    "events.md": events_page,
    "policy.md": policy_page,
    "orders.md": orders_page,
    "alarms.md": alarms_page,
    "taken_back.md": taken_back_page,
}


def main() -> int:
    """Write every page."""
    for name, make in PAGES.items():
        (ROOT / "docs" / name).write_text(make(), encoding="utf-8")
        print(f"docs/{name}")
    return 0


__all__ = [
    "PAGES",
    "alarms_page",
    "commands_page",
    "configuration_page",
    "events_page",
    "main",
    "orders_page",
    "policy_page",
    "taken_back_page",
]

if __name__ == "__main__":
    sys.exit(main())
