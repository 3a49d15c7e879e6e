"""The durable local event log: an outbox in the state database, and so the disk buffer in front of
Redis.

Its one rule: an event is inserted in the transaction that changes the state it tells of.
"""

from engine.journal.importing import read_buffer
from engine.journal.journal import Journal
from engine.journal.mirrored import journal_position, take_back_rows, unknown_rows
from engine.journal.rows import DeadLetter, JournalRow, MirroredRow, PruneResult

__all__ = [
    "DeadLetter",
    "Journal",
    "JournalRow",
    "MirroredRow",
    "PruneResult",
    "journal_position",
    "read_buffer",
    "take_back_rows",
    "unknown_rows",
]
