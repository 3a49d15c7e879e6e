"""The contract's status document, made from a snapshot; keys and words are contract.md's.

Money and quantities are strings, ages seconds, fractions plain numbers. What is not built is
absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from engine.model.emergency import EmergencySnapshot, Trip
from engine.model.snapshots import EngineSnapshot, PositionSnapshot, SafeguardSnapshot
from engine.model.values import plain


def _money(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def trip_json(trip: Trip) -> dict[str, Any]:
    """One trip."""
    return {
        "id": trip.id,
        "source": str(trip.source),
        "reason": trip.reason,
        "ts_ns": trip.ts_ns,
        "scope": str(trip.scope),
    }


def emergency_json(emergency: EmergencySnapshot) -> dict[str, Any]:
    """State of the stop, beside the latch."""
    return {
        "state": str(emergency.state),
        "latched": emergency.latched,
        "reason": emergency.reason,
        "since": emergency.since_ns,
        "paused": emergency.paused,
        "trips": [trip_json(trip) for trip in emergency.trips],
        "positions_open": emergency.positions_open,
        "orders_open": emergency.orders_open,
    }


def _position_json(position: PositionSnapshot) -> dict[str, Any]:
    return {
        "venue": position.venue,
        "symbol": position.symbol,
        "side": position.side,
        "quantity": plain(position.quantity),
        "entry_price": plain(position.entry_price),
        "mark_price": _money(position.mark_price),
        "unrealised": _money(position.unrealised),
        "protected": position.protected is not None,
    }


def status_json(
    snapshot: EngineSnapshot, *, running: bool, safeguards: Mapping[str, SafeguardSnapshot]
) -> dict[str, Any]:
    """The whole status document."""
    bus, journal, risk, policy = snapshot.bus, snapshot.journal, snapshot.risk, snapshot.policy
    return {
        "running": running,
        "mode": snapshot.mode,
        "state": str(snapshot.state),
        "why": snapshot.state_why,
        "node": snapshot.node,
        "venue": snapshot.venue,
        "feed": snapshot.feed,
        "emergency": emergency_json(snapshot.emergency),
        "policy": {
            "version": policy.version,
            "profile": policy.profile,
            "age_s": policy.age_s,
            "source": policy.source,
            "sha256": policy.sha256,
            "allow_new_trades": policy.allow_new_trades,
        },
        "redis": {
            "mode": snapshot.redis.mode,
            "state": str(snapshot.redis.state),
            "cause": snapshot.redis.cause,
        },
        "journal": {
            "written": journal.written,
            "acknowledged": journal.acknowledged,
            "pending": journal.pending,
            "dead_lettered": journal.dead_lettered,
            "bytes": journal.bytes,
            "oldest_pending_age_s": journal.oldest_pending_age_s,
        },
        "positions": [_position_json(position) for position in snapshot.positions],
        "orders": [
            {
                "client_order_id": order.client_order_id,
                "symbol": order.symbol,
                "side": order.side,
                "kind": order.kind,
                "purpose": order.purpose,
                "quantity": plain(order.quantity),
                "filled": plain(order.filled),
                "price": _money(order.price),
                "state": order.state,
            }
            for order in snapshot.orders
        ],
        "bus": {
            "size": bus.size,
            "capacity": bus.capacity,
            "utilisation": bus.utilisation,
            "state": bus.state,
            "published": bus.published,
            "dropped": bus.dropped,
            "delayed": bus.delayed,
        },
        "risk": {
            "drawdown": _money(risk.drawdown),
            "peak": plain(risk.peak),
            "equity": plain(risk.equity),
            "governor": risk.governor,
            "loss_streak": risk.loss_streak,
        },
        "alarms": [msgspec.to_builtins(alarm) for alarm in snapshot.alarms],
        "gate": [msgspec.to_builtins(reason) for reason in snapshot.gate],
        "signals": msgspec.to_builtins(snapshot.signals),
        "safeguards": {
            name: msgspec.to_builtins(safeguard) for name, safeguard in safeguards.items()
        },
        "unmet": [
            {"condition": entry.condition, "why": entry.why}
            for entry in (*snapshot.start_conditions, *snapshot.reset_conditions)
            if not entry.met
        ],
    }


__all__ = ["emergency_json", "status_json", "trip_json"]
