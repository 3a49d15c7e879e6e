"""What was acknowledged to an engine that is then killed: a list outside its database.

Written to a file by the dying process itself, one line each time a future of the store or the
journal says that something is on the disk; a write to a file survives the death of its writer. The
test reads it, and the databases and the stream by connections of its own. No code of the engine is
asked what it has.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.journal import Journal
from engine.trade_state import TradeStore

__all__ = ["Witness", "copied", "missing_on_disk", "problems_of_stream", "read_acknowledged"]

Line = list[Any]
_NAME = "acknowledged.log"


class Witness:
    """Follows the futures of one process."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(folder / _NAME, flags, 0o600)

    def _note(self, *words: Any) -> None:
        os.write(self._file, (json.dumps(words) + "\n").encode())

    def install(self) -> None:
        """Watch the store's acknowledgements and the journal's."""
        self._watch("record_intent", lambda intent, *_: ("intent", intent.client_order_id))
        self._watch("record_order", lambda order, *_: ("order", order.client_order_id))
        self._watch("record_fill", lambda _, booked, *__: ("fill", booked.fill.execution_id))
        self._watch("record_policy_version", lambda document, *_: ("policy", document.version))
        self._watch("record_trip", lambda trip, *_: ("trip", trip.id))
        self._watch("record_clearing", lambda clearing, *_: ("clearing", clearing.id))
        self._watch("append_audit", None)
        committed = Journal.committed

        def noted(journal: Journal, taken: Any) -> None:
            ids = [event.id for some in taken for event in some.events]
            if ids:
                self._note("events", ids)
            committed(journal, taken)

        Journal.committed = noted  # type: ignore[method-assign]

    def _watch(self, name: str, words: Callable[..., tuple[Any, ...]] | None) -> None:
        record = getattr(TradeStore, name)

        def watched(store: TradeStore, *args: Any, **kwargs: Any) -> Any:
            future = record(store, *args, **kwargs)

            def told(ended: Any) -> None:
                if ended.cancelled() or ended.exception() is not None:
                    return
                if words is None:
                    self._note("audit", ended.result().seq, ended.result().digest)
                else:
                    self._note(*words(*args))

            future.add_done_callback(told)
            return future

        setattr(TradeStore, name, watched)


def copied(database: Path, folder: Path) -> Path:
    """The database with its WAL as they lie there, to be looked at without touching them."""
    for side in ("", "-wal"):
        part = database.with_name(database.name + side)
        if part.exists():
            shutil.copyfile(part, folder / part.name)
    return folder / database.name


def read_acknowledged(folder: Path) -> list[Line]:
    """Every whole line, in the order of the acknowledgements."""
    path = folder / _NAME
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


_FOUND = {
    "intent": "SELECT client_order_id FROM intents",
    "order": "SELECT client_order_id FROM orders",
    "fill": "SELECT execution_id FROM fills",
    "policy": "SELECT version FROM policy_versions",
    "trip": "SELECT trip_id FROM trips",
    "clearing": "SELECT clearing_id FROM clearings",
    "audit": "SELECT seq || ' ' || digest FROM audit",
}


def missing_on_disk(
    state: Path, acknowledged: list[Line], *, stream: set[str], not_told: frozenset[str]
) -> list[str]:
    """What was acknowledged and is not there. An event that was pruned must be in the stream;
    `not_told` are kinds that a restored database cannot have, as no event tells of them."""
    with closing(sqlite3.connect(state)) as connection:
        found = {kind: {row[0] for row in connection.execute(sql)} for kind, sql in _FOUND.items()}
        kept = {
            row[0]
            for row in connection.execute(
                "SELECT event_id FROM outbox UNION SELECT event_id FROM dead_letters"
            )
        }
    missing = []
    for kind, *words in acknowledged:
        if kind == "events":
            missing += [f"event {one}" for one in words[0] if one not in kept | stream]
        elif kind not in not_told:
            key = f"{words[0]} {words[1]}" if kind == "audit" else words[0]
            if key not in found[kind]:
                missing.append(f"{kind} {key}")
    return missing


def problems_of_stream(entries: list[tuple[str, dict[str, str]]]) -> list[str]:
    """Whether every event is there once, and numbers only rise."""
    ids = [fields.get("id", "") for _, fields in entries]
    numbers = [tuple(int(part) for part in identifier.split("-")) for identifier, _ in entries]
    found = []
    if len(ids) != len(set(ids)):
        found.append(f"twice in the stream: {sorted({one for one in ids if ids.count(one) > 1})}")
    sequence = [number for _, number in numbers]
    if sequence != sorted(set(sequence)):
        found.append("a number of the journal was used twice or out of order")
    return found
