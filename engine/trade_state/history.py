"""Reads of the past for charts, lists and exports: off the loop, through the reader, always
bounded."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from engine.database import DatabaseReader
from engine.model.emergency import Clearing, Trip
from engine.model.emergency_sets import EmergencySets
from engine.model.orders import Fill, OrderRecord, PositionRecord, TradeRecord
from engine.model.policy import PolicyDocument
from engine.model.records import AlarmRecord, AuditEntry, EquityMark
from engine.trade_state.audit import COLUMNS, audit_entry, first_broken_link
from engine.trade_state.changes import POLICY_HEADS

__all__ = ["TradeHistory"]

_ROWS: Final = 1_000
T = TypeVar("T")


class TradeHistory:
    """Past state, newest first unless it says otherwise."""

    def __init__(self, *, reader: DatabaseReader) -> None:
        self._reader = reader

    async def equity(self, *, from_ns: int, to_ns: int, points: int) -> list[EquityMark]:
        """The equity curve in time order, thinned to about `points`: the last mark of each
        slice."""
        slice_ns = max(1, (to_ns - from_ns) // max(1, points))
        rows = await self._reader.fetch_all(
            "SELECT record, max(ts_ns) FROM equity_marks WHERE ts_ns BETWEEN ? AND ?"
            " GROUP BY (ts_ns - ?) / ? ORDER BY ts_ns",
            (from_ns, to_ns, from_ns, slice_ns),
        )
        return _decode(rows, EquityMark)

    async def fills(self, *, limit: int = _ROWS) -> list[Fill]:
        return await self._records(
            Fill, "SELECT record FROM fills ORDER BY ts_ns DESC LIMIT ?", limit
        )

    async def orders(self, *, limit: int = _ROWS) -> list[OrderRecord]:
        return await self._records(
            OrderRecord, "SELECT record FROM orders ORDER BY updated_ns DESC LIMIT ?", limit
        )

    async def standing(self, name: str) -> str | None:
        """What was put down under a name and outlives restarts."""
        rows = await self._reader.fetch_all("SELECT value FROM standing WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    async def open_orders(self) -> list[OrderRecord]:
        """Every order that is not final, oldest first."""
        rows = await self._reader.fetch_all(
            "SELECT record FROM orders WHERE is_open = 1 ORDER BY updated_ns, client_order_id"
        )
        return _decode(rows, OrderRecord)

    async def open_positions(self) -> list[PositionRecord]:
        """Every symbol that is not flat."""
        rows = await self._reader.fetch_all("SELECT record FROM positions ORDER BY symbol")
        return [position for position in _decode(rows, PositionRecord) if position.quantity]

    async def closed_trades(self, *, limit: int = _ROWS) -> list[TradeRecord]:
        return await self._records(
            TradeRecord,
            "SELECT record FROM trades WHERE closed_ns IS NOT NULL ORDER BY closed_ns DESC LIMIT ?",
            limit,
        )

    async def policies(self, *, limit: int = _ROWS) -> list[PolicyDocument]:
        return await self._records(
            PolicyDocument,
            "SELECT record FROM policy_versions ORDER BY version DESC LIMIT ?",
            limit,
        )

    async def newest_policy_record(self) -> bytes | None:
        """The newest document as it lies on the disk, for a comparison without decoding."""
        rows = await self._reader.fetch_all(
            "SELECT record FROM policy_versions ORDER BY version DESC LIMIT 1"
        )
        return bytes(rows[0][0]) if rows else None

    async def policy_heads(self) -> tuple[int, str] | None:
        """The heads of the policy as JSON, and the version in force that followed from them."""
        rows = await self._reader.fetch_all("SELECT value FROM meta WHERE key = ?", (POLICY_HEADS,))
        if not rows:
            return None
        version, _, heads = str(rows[0][0]).partition(" ")
        return int(version), heads

    async def policy(self, version: int) -> PolicyDocument | None:
        found = await self._records(
            PolicyDocument, "SELECT record FROM policy_versions WHERE version = ?", version
        )
        return found[0] if found else None

    async def emergency(self) -> EmergencySets:
        """Every trip and clearing on the disk, of one moment."""
        rows = await self._reader.fetch_all(
            "SELECT record, 1 FROM trips UNION ALL SELECT record, 0 FROM clearings"
        )
        return EmergencySets.of(
            _decode([row for row in rows if row[1]], Trip),
            _decode([row for row in rows if not row[1]], Clearing),
        )

    async def alarms(self, *, limit: int = _ROWS) -> list[AlarmRecord]:
        return await self._records(
            AlarmRecord, "SELECT record FROM alarms ORDER BY raised_ns DESC LIMIT ?", limit
        )

    async def audit(self, *, after_seq: int = 0, limit: int = _ROWS) -> list[AuditEntry]:
        """Audit entries in order, after a number: page through it for an export."""
        rows = await self._reader.fetch_all(
            f"SELECT {COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit)
        )
        return [audit_entry(row) for row in rows]

    async def verify_audit(self) -> int | None:
        """The first broken link of the audit trail, or None when it is unbroken."""
        return await first_broken_link(self._reader)

    async def _records(self, kind: type[T], sql: str, parameter: Any) -> list[T]:
        return _decode(await self._reader.fetch_all(sql, (parameter,)), kind)


def _decode(rows: list[tuple[Any, ...]], kind: type[T]) -> list[T]:
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(row[0]) for row in rows]
