"""The run summary and its digest (contract.md, JSON).

The digest is a SHA-256 over orders and fills without ids and wall times, in the order in which they
were made: the same seed on the same recording gives the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from engine.model.orders import Fill, OrderRecord
from engine.model.snapshots import EngineSnapshot
from engine.model.values import plain


def digest(orders: Iterable[OrderRecord], fills: Iterable[Fill]) -> str:
    """Hex SHA-256 over what was traded."""
    hasher = hashlib.sha256()
    for record in orders:
        intent = record.intent
        price = "market" if intent.price is None else plain(intent.price)
        trigger = "" if intent.trigger_price is None else plain(intent.trigger_price)
        line = (
            f"order|{intent.symbol}|{intent.side}|{intent.kind}|{intent.purpose}|"
            f"{plain(intent.quantity)}|{price}|{trigger}|{record.state}|{plain(record.filled)}\n"
        )
        hasher.update(line.encode())
    for fill in fills:
        line = (
            f"fill|{fill.symbol}|{fill.side}|{plain(fill.quantity)}|{plain(fill.price)}|"
            f"{plain(fill.fee)}\n"
        )
        hasher.update(line.encode())
    return hasher.hexdigest()


def run_summary(
    snapshot: EngineSnapshot,
    *,
    ok: bool,
    seed: int,
    duration_s: float,
    orders: int,
    books: dict[str, Any],
    outages: list[dict[str, int]],
    run_digest: str,
) -> dict[str, Any]:
    """The summary of `seawall run`."""
    bus, journal, risk, signals = (
        snapshot.bus,
        snapshot.journal,
        snapshot.risk,
        snapshot.signals,
    )
    return {
        "ok": ok,
        "mode": snapshot.mode,
        "seed": seed,
        "duration_s": round(duration_s, 3),
        "ticks": snapshot.ticks,
        "events": bus.published,
        "signals": {name: getattr(signals, name) for name in signals.__struct_fields__},
        "intents": snapshot.intents,
        "orders": orders,
        "fills": snapshot.fills,
        "open_positions": len(snapshot.positions),
        "equity": plain(risk.equity),
        "peak_equity": plain(risk.peak),
        "drawdown": None if risk.drawdown is None else plain(risk.drawdown),
        "books": books,
        "redis": {
            "mode": snapshot.redis.mode,
            "state": str(snapshot.redis.state),
            "outages": outages,
            "replayed": snapshot.redis.replayed,
        },
        "journal": {
            "written": journal.written,
            "acknowledged": journal.acknowledged,
            "pending": journal.pending,
            "dead_lettered": journal.dead_lettered,
            "shed": journal.shed,
        },
        "bus": {
            "published": bus.published,
            "dropped": bus.dropped,
            "conflated": bus.conflated,
            "delayed": bus.delayed,
            "high_water": bus.high_water,
        },
        "loop_lag_ms": {
            "p50": snapshot.loop_lag.p50,
            "p99": snapshot.loop_lag.p99,
            "max": snapshot.loop_lag.max,
        },
        "emergency": {
            "state": str(snapshot.emergency.state),
            "latched": snapshot.emergency.latched,
            "reason": snapshot.emergency.reason,
        },
        "digest": run_digest,
    }


__all__ = ["digest", "run_summary"]
