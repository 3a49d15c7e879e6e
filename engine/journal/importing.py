"""Reads the event buffers of older programs (contract.md, Imports): JSON lines, or SQLite.

Pure but for reading the file; nothing is written here. A line is one event, in one of two shapes:

    {event_type, message: {payload: JSON text, trace_id}, buffered_at}
    {event_type, event_data, event_id, …}     with its time as timestamp, ts, time or buffered_at

and a SQLite file has a table ``event_buffer(id, event_type, payload, timestamp)``. An event without
a text id is given one made of all that it says, so that importing it again finds it known. One
without a time has that of the line before it. A line that cannot be used is reported by its number
(from 1; in SQLite the row's place) with the reason, and the others are taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from engine.model.errors import OperatorMessage
from engine.model.instants import instant_ns

__all__ = ["BufferReading", "BufferedEvent", "read_buffer"]

_SQLITE: Final = b"SQLite format 3\0"
_TIMES: Final = ("ts_ns", "timestamp", "ts", "time", "buffered_at", "created_at", "event_time")
_TEXT_MAX: Final = 200


class BufferedEvent(NamedTuple):
    """One event of an old buffer, as it goes into the outbox."""

    event_id: str
    type: str
    ts_ns: int
    trace: str
    payload: bytes


@dataclass(slots=True)
class BufferReading:
    """Events by time, how often an id came again, and the bad lines by number."""

    events: list[BufferedEvent] = field(default_factory=list)
    duplicates: int = 0
    bad_lines: dict[int, str] = field(default_factory=dict)


class _BadLine(Exception):
    """Why one line cannot be used."""


def read_buffer(path: Path) -> BufferReading:
    """Read the whole file; `OperatorMessage` when it is no buffer at all."""
    try:
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE)) == _SQLITE
        raw = list(_rows(path) if is_sqlite else _lines(path))
    except OSError as error:
        raise OperatorMessage(f"cannot read {path}: {error}") from error
    reading = BufferReading()
    known: dict[str, None] = {}
    last_ns = 0
    for number, entry in raw:
        try:
            if isinstance(entry, _BadLine):
                raise entry
            event = _event(entry, last_ns)
        except _BadLine as error:
            reading.bad_lines[number] = str(error)
            continue
        last_ns = event.ts_ns
        if event.event_id in known:
            reading.duplicates += 1
            continue
        known[event.event_id] = None
        reading.events.append(event)
    # Stable: events of one moment stay as they were written.
    reading.events.sort(key=lambda event: event.ts_ns)
    return reading


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | _BadLine]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line, parse_float=Decimal)
                # Stricter, and with every value's own bytes.
                raw = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            except (ValueError, RecursionError):
                yield number, _BadLine("not a JSON object")
                continue
            if isinstance(entry.get("event_data"), dict):
                entry["event_data"] = bytes(raw["event_data"])
            yield number, entry


def _rows(path: Path) -> Iterable[tuple[int, dict[str, Any] | _BadLine]]:
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            # Whatever is in it, one bad text must not hide the other rows.
            connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            rows = connection.execute(
                "SELECT id, event_type, payload, timestamp FROM event_buffer ORDER BY rowid"
            ).fetchall()
    except sqlite3.Error as error:
        raise OperatorMessage(f"{path} has no readable table event_buffer: {error}") from error
    return [
        (
            number,
            {
                "event_id": identifier if isinstance(identifier, str) else None,
                "row": identifier,
                "event_type": event_type,
                "event_data": payload,
                # The shortest text of a REAL is what was meant.
                "timestamp": repr(moment) if isinstance(moment, float) else moment,
            },
        )
        for number, (identifier, event_type, payload, moment) in enumerate(rows, 1)
    ]


def _event(entry: dict[str, Any], last_ns: int) -> BufferedEvent:
    message = entry.get("message")
    if isinstance(message, dict):
        data, trace = message.get("payload"), message.get("trace_id")
    else:
        data, trace = entry.get("event_data"), entry.get("trace_id") or entry.get("trace")
    event_type = _text(entry.get("event_type"), "event_type")
    payload = _payload(data)
    moment = next((entry[name] for name in _TIMES if entry.get(name) is not None), None)
    try:
        ts_ns = last_ns if moment is None else instant_ns(moment)
    except ValueError as error:
        raise _BadLine(f"its time: {error}") from error
    trace_text = "" if trace is None else _text(trace, "trace_id")
    given = entry.get("event_id") or entry.get("id")
    if given is None:
        said = [
            event_type,
            payload.decode(errors="replace"),
            trace_text,
            str(moment),
            str(entry.get("row", "")),
        ]
        digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        event_id = f"import-{digest[:32]}"
    else:
        event_id = _text(str(given), "event_id")
    return BufferedEvent(event_id, event_type, ts_ns, trace_text, payload)


def _payload(data: Any) -> bytes:
    """As it was written, to the byte, once it is known to be a JSON object."""
    try:
        body = data if isinstance(data, bytes) else str(data).encode()
        if isinstance(msgspec.json.decode(body), dict):
            return body
    except (ValueError, RecursionError) as error:
        raise _BadLine("its payload is not JSON") from error
    raise _BadLine("its payload is not a JSON object")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value or len(value) > _TEXT_MAX:
        raise _BadLine(f"{name} must be text of 1 to {_TEXT_MAX} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _BadLine(f"{name} is not UTF-8") from error
    return value
