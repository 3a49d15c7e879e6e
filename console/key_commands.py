"""The commands about exchange keys: `keys set`, `keys forget`, `keys show`.

A key and its secret are read from the terminal without being shown, or as two lines from standard
input, and never from an argument, which every user of the machine could read. What needs the
engine's own code is handed in by `console.cli`, the only place that may import it. Returns the exit
status.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysDoor:
    """What the commands may ask for, each of a venue and an account."""

    store: Callable[[str, str, str, str], dict[str, Any]]
    forget: Callable[[str, str], dict[str, Any]]
    show: Callable[[str, str], dict[str, Any]]


def run_key_command(arguments: argparse.Namespace, door: KeysDoor) -> int:
    """Carry out the action that `arguments` names."""
    venue, account = arguments.venue, arguments.account
    if arguments.action == "set":
        told = door.store(venue, account, *_typed())
        text = f"kept in {told['where']}: {_words(told)}\n"
    elif arguments.action == "forget":
        told = door.forget(venue, account)
        text = f"forgotten: {venue}, account {account}\n"
        if not told["forgotten"]:
            text = f"there was no key for {venue}, account {account}\n"
    else:
        told = door.show(venue, account)
        text = f"{told['where']}: {_words(told)}\n" if told["found"] else f"{told['why']}\n"
    if arguments.json:
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)
    return 0 if told.get("found", told.get("forgotten")) else 1


def _typed() -> tuple[str, str]:
    if sys.stdin is not None and not sys.stdin.isatty():
        return sys.stdin.readline().strip(), sys.stdin.readline().strip()
    return getpass.getpass("API key: "), getpass.getpass("API secret: ")


def _words(told: dict[str, Any]) -> str:
    ending = f", its key ends with {told['key_ends_with']}" if told["key_ends_with"] else ""
    return f"{told['venue']}, account {told['account']}{ending}"


__all__ = ["KeysDoor", "run_key_command"]
