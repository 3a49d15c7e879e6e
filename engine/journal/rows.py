"""What the journal hands out: its rows, its dead letters, and what a pruning did."""

from __future__ import annotations

from typing import NamedTuple

from engine.model.records import DeadLetter

__all__ = ["DeadLetter", "JournalRow", "MirroredRow", "PruneResult"]


class JournalRow(NamedTuple):
    """One committed event as it goes to Redis; ``payload`` is JSON, ``replaces`` names a dead
    letter."""

    seq: int
    event_id: str
    type: str
    ts_ns: int
    source: str
    trace: str
    replaces: int | None
    payload: bytes


class MirroredRow(NamedTuple):
    """A row as the node's stream has it, under ``EPOCH-SEQ``."""

    epoch: int
    row: JournalRow


class PruneResult(NamedTuple):
    """Rows removed, and how full the journal is afterwards (bytes by cap; over 1 is over the cap).

    What is left over the cap is not acknowledged, or younger than the newest backup: never removed
    silently, so from 0.8 on it is an alarm.
    """

    rows: int
    utilisation: float
