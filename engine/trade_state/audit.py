"""The audit trail as a chain: each entry's digest covers the entry and the digest before it.

So an entry that was changed, removed or slipped in breaks the chain at a place that can be named.
The newest number and digest are kept beside it, so that entries cut off at the end are missed as
well. It proves carelessness and simple tampering; whoever may rewrite the whole database can also
rewrite the chain.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from engine.database import DatabaseReader
from engine.model.records import AuditEntry

__all__ = ["COLUMNS", "append", "audit_entry", "first_broken_link"]

COLUMNS: Final = "seq, ts_ns, who, what, why, origin, digest"
_HEAD: Final = "audit_head"
_BATCH: Final = 500


def append(
    connection: sqlite3.Connection, *, who: str, what: str, why: str, where: str, ts_ns: int
) -> AuditEntry:
    """Add the next link, inside a writer's job."""
    row = connection.execute("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    last_seq, before = row or (0, "")
    seq = last_seq + 1
    digest = _digest(before, (seq, ts_ns, who, what, why, where))
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)",
        (seq, ts_ns, who, what, why, where, digest),
    )
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_HEAD, f"{seq} {digest}"))
    return AuditEntry(seq=seq, ts_ns=ts_ns, who=who, what=what, why=why, where=where, digest=digest)


async def first_broken_link(reader: DatabaseReader) -> int | None:
    """The number of the first entry that is not what it was, or is missing; None: unbroken."""
    head = await reader.fetch_all("SELECT value FROM meta WHERE key = ?", (_HEAD,))
    # Entries appended while we look are beyond this head and are left to the next verification.
    head_text, _, head_digest = (str(head[0][0]) if head else "0 ").partition(" ")
    head_seq, seq, before = int(head_text), 0, ""
    while True:
        rows = await reader.fetch_all(
            f"SELECT {COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (seq, _BATCH)
        )
        for row in rows:
            if row[0] != seq + 1 or row[-1] != _digest(before, row[:-1]):
                return seq + 1
            seq, before = int(row[0]), str(row[-1])
            if seq == head_seq and before != head_digest:
                return seq
        if not rows:
            return None if seq >= head_seq else seq + 1


def audit_entry(row: Sequence[Any]) -> AuditEntry:
    seq, ts_ns, who, what, why, where, digest = row
    return AuditEntry(seq=seq, ts_ns=ts_ns, who=who, what=what, why=why, where=where, digest=digest)


def _digest(before: str, fields: Sequence[Any]) -> str:
    text = json.dumps([before, *fields], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
