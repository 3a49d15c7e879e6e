"""Durable records beside orders and policy: points of the equity curve, audit entries, alarms, and
events that Redis refused for good.

Money in account currency, drawdown a positive fraction, times UTC nanoseconds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec


class EquityMark(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the equity curve; `peak` is the highest equity until then."""

    ts_ns: int
    equity: Decimal
    balance: Decimal
    unrealised: Decimal
    peak: Decimal
    drawdown: Decimal


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, when, why and from where. `digest` covers this entry and the one before it."""

    seq: int
    ts_ns: int
    who: str
    what: str
    why: str
    where: str
    digest: str


class AuditWords(msgspec.Struct, frozen=True, kw_only=True):
    """An audit entry before it has its place in the chain."""

    ts_ns: int
    who: str
    what: str
    why: str
    where: str


class AlarmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm's life; `cleared_ns` is None while its cause lasts."""

    id: str
    code: str
    priority: int
    text: str
    action: str
    raised_ns: int
    cleared_ns: int | None = None


class DeadLetter(NamedTuple):
    """An event that was refused for good, why, and the number it got if it was given another
    try."""

    seq: int
    event_id: str
    type: str
    ts_ns: int
    error: str
    parked_ns: int
    requeued_seq: int | None


__all__ = ["AlarmRecord", "AuditEntry", "AuditWords", "DeadLetter", "EquityMark"]
