"""The commands about records: `backup`, `audit`, `journal`, `import-state`,
`import-buffer`.

Each asks the engine that runs on the data directory, or works on the files when none does. What
needs the engine's own code is handed in by `console.cli`, the only place that may import it.
Returns the exit status. Prints one JSON document with `--json`, sentences without.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BACKUP_S = 600.0
_JOURNAL_S = 10.0
_AUDIT_COLUMNS = ("seq", "ts_ns", "who", "what", "why", "where", "digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsDoor:
    """What the commands may ask for.

    `ask(verb, fields, timeout_s)` is None when no engine runs; `author` is who types.
    """

    ask: Callable[[str, dict[str, Any], float], dict[str, Any] | None]
    author: str
    back_up_offline: Callable[[], dict[str, Any]]
    verify_audit: Callable[[], dict[str, Any]]
    read_audit: Callable[[], list[dict[str, Any]]]
    # Of a file, for a reason.
    import_state: Callable[[Path, str], dict[str, Any]]
    import_buffer: Callable[[Path, str], dict[str, Any]]


def run_record_command(arguments: argparse.Namespace, door: RecordsDoor) -> int:
    """Carry out the command that `arguments` names."""
    return _COMMANDS[arguments.command](arguments, door)


def _backup(arguments: argparse.Namespace, door: RecordsDoor) -> int:
    fields = {"author": door.author, "reason": arguments.reason}
    made = door.ask("backup", fields, _BACKUP_S)
    if made is None:
        made = door.back_up_offline()
    _print(arguments, made, f"backup made and checked: {made['path']}\n")
    return 0


def _audit(arguments: argparse.Namespace, door: RecordsDoor) -> int:
    if arguments.action == "verify":
        outcome = door.verify_audit()
        text = f"unbroken, {outcome['entries']} entries\n"
        _print(arguments, outcome, text if outcome["ok"] else f"BROKEN: {outcome['why']}\n")
        return 0 if outcome["ok"] else 1
    entries = door.read_audit()
    if arguments.json or arguments.format == "json":
        sys.stdout.write(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
        return 0
    writer = csv.DictWriter(sys.stdout, _AUDIT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    return 0


def _import_state(arguments: argparse.Namespace, door: RecordsDoor) -> int:
    report = door.import_state(Path(arguments.file), arguments.reason)
    lines = [f"{len(report['taken'])} trades taken, {len(report['refused'])} refused"]
    lines += [f"refused  {trade}: {why}" for trade, why in report["refused"].items()]
    lines += [
        f"unknown  {trade}: {', '.join(keys)}" for trade, keys in report["unknown_keys"].items()
    ]
    _print(arguments, report, "\n".join(lines) + "\n")
    return 0


def _import_buffer(arguments: argparse.Namespace, door: RecordsDoor) -> int:
    report = door.import_buffer(Path(arguments.file), arguments.reason)
    lines = [
        f"{report['imported']} events taken, {report['duplicates']} were here already,"
        f" {len(report['bad_lines'])} lines refused"
    ]
    lines += [f"line {bad['line']}: {bad['why']}" for bad in report["bad_lines"]]
    _print(arguments, report, "\n".join(lines) + "\n")
    return 0


def _journal(arguments: argparse.Namespace, door: RecordsDoor) -> int:
    fields: dict[str, Any] = {}
    if arguments.action == "requeue":
        fields = {"seq": arguments.seq, "author": door.author, "reason": arguments.reason}
    answer = door.ask(f"journal.{arguments.action}", fields, _JOURNAL_S)
    if answer is None:
        sys.stderr.write(f"seawall: journal {arguments.action}: no engine runs here\n")
        return 1
    if arguments.action == "requeue":
        text = f"dead letter {answer['seq']} goes out again as {answer['new_seq']}\n"
    else:
        text = "".join(map(_dead_letter_line, answer["dead_letters"])) or "no dead letters\n"
    _print(arguments, answer, text)
    return 0


def _dead_letter_line(letter: dict[str, Any]) -> str:
    again = letter["requeued_seq"]
    fate = "" if again is None else f" (requeued as {again})"
    return f"{letter['seq']}  {letter['type']}  {letter['event_id']}  {letter['error']}{fate}\n"


def _print(arguments: argparse.Namespace, document: Any, text: str) -> None:
    if arguments.json:
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace, RecordsDoor], int]] = {
    "audit": _audit,
    "backup": _backup,
    "import-buffer": _import_buffer,
    "import-state": _import_state,
    "journal": _journal,
}

RECORD_COMMANDS = frozenset(_COMMANDS)

__all__ = ["RECORD_COMMANDS", "RecordsDoor", "run_record_command"]
