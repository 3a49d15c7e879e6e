"""The commands about records: `backup`.

Each asks the engine that runs on the data directory, or works on the files when none does. What
needs the engine's own code is handed in by `console.cli`, the only place that may import it.
Returns the exit status. Prints one JSON document with `--json`, sentences without.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_BACKUP_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsDoor:
    """What the commands may ask for.

    `ask(verb, fields, timeout_s)` is None when no engine runs; `author` is who types.
    """

    ask: Callable[[str, dict[str, Any], float], dict[str, Any] | None]
    author: str
    back_up_offline: Callable[[], dict[str, Any]]


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


def _print(arguments: argparse.Namespace, document: Any, text: str) -> None:
    if arguments.json:
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace, RecordsDoor], int]] = {"backup": _backup}

RECORD_COMMANDS = frozenset(_COMMANDS)

__all__ = ["RECORD_COMMANDS", "RecordsDoor", "run_record_command"]
