"""What a service sends to a node and hears from it, as plain values.

Times are UTC nanoseconds, money, prices and quantities texts, as they lie in Redis. An event's
payload is the JSON object of `docs/events.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypedDict


class NoAnswerError(Exception):
    """The node said nothing in time. The command may still be carried out: ask with its id."""


class CommandRefusedError(Exception):
    """The node refused the command; the text is its reason."""

    def __init__(self, sent: Sent, why: str) -> None:
        super().__init__(f"{sent.type} {sent.id}: {why}")
        self.sent = sent
        self.why = why


class DeskEvent(TypedDict):
    """One event of a node's stream. `entry` is where reading goes on."""

    entry: str
    type: str
    id: str
    ts: int
    source: str
    trace: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """A command that is in the node's stream. `id` is the trace of everything it causes.

    `events_from` is the newest event there was before it was sent.
    """

    type: str
    id: str
    entry: str
    ts_ns: int
    events_from: str


@dataclass(frozen=True)
class Outcome:
    """What the node said of a command; `why` is the reason of a refusal, `event` what told of it
    (None when only the dead-letter stream did).
    """

    sent: Sent
    accepted: bool
    why: str
    event: DeskEvent | None


def to_event(entry: bytes, fields: dict[bytes, bytes]) -> DeskEvent:
    """An entry of the events stream as values; raises ValueError when it is not one."""
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        return DeskEvent(
            entry=entry.decode(),
            type=text["type"],
            id=text["id"],
            ts=int(text["ts"]),
            source=text["source"],
            trace=text["trace"],
            payload=json.loads(text["payload"]),
        )
    except KeyError as error:
        raise ValueError(f"entry {entry!r} has no field {error}") from error


__all__ = [
    "CommandRefusedError",
    "DeskEvent",
    "NoAnswerError",
    "Outcome",
    "Sent",
    "to_event",
]
