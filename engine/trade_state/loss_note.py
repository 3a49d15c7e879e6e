"""What a database is told when it has been restored, or found to be older than it was.

Called with the connection inside the transaction that gives it its new generation.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from engine.trade_state import audit, changes, taking_back

__all__ = ["LossNote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossNote:
    """Audits `text`, keeps it as the operator's word `standing` beyond restarts, and remembers from
    where on Redis may have what is lost."""

    standing: str
    text: str
    ts_ns: int

    def __call__(self, connection: sqlite3.Connection) -> None:
        changes.put_standing(connection, self.standing, self.text)
        taking_back.begin(connection)
        audit.append(
            connection,
            who="engine",
            what="state database recovered",
            why=self.text,
            where="start",
            ts_ns=self.ts_ns,
        )
