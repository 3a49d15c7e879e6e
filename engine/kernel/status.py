"""The contract's status document, made from a snapshot; keys and words are contract.md's.

Money and quantities are strings, ages seconds, fractions plain numbers. What is not built is
absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from engine.kernel.order_view import order_json
from engine.model.emergency import EmergencySnapshot, Trip
from engine.model.snapshots import (
    BusSnapshot,
    EngineSnapshot,
    PolicyConflictSnapshot,
    PositionSnapshot,
    RedisSnapshot,
    SafeguardSnapshot,
)
from engine.model.values import plain
from engine.model.venue import WatchedAccount


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
        "node": trip.node,
    }


def emergency_json(emergency: EmergencySnapshot) -> dict[str, Any]:
    """State of the stop, beside the latch."""
    return {
        "state": str(emergency.state),
        "latched": emergency.latched,
        "reason": emergency.reason,
        "since": emergency.since_ns,
        "paused": emergency.paused,
        # Those that latched this node first, then those of other nodes that hold its entries.
        "trips": [trip_json(trip) for trip in (*emergency.trips, *emergency.elsewhere)],
        "desk_why": emergency.desk_why,
        "untold": list(emergency.untold),
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


def _bus_json(bus: BusSnapshot) -> dict[str, Any]:
    """The queue, and by name every event type and the handlers that misbehaved."""
    document: dict[str, Any] = msgspec.to_builtins(bus)
    for part, named in (("types", "type"), ("handlers", "name")):
        document[part] = {row.pop(named): row for row in document[part]}
    return document


def conflict_json(conflict: PolicyConflictSnapshot | None) -> dict[str, Any] | None:
    """A conflict of the policy: who wanted what, field by field."""
    return None if conflict is None else msgspec.to_builtins(conflict)


def _fields(struct: msgspec.Struct, *names: str) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in names}


def _redis_json(redis: RedisSnapshot) -> dict[str, Any]:
    """The link, and what came over it."""
    document: dict[str, Any] = {
        "mode": redis.mode,
        "state": str(redis.state),
        "cause": redis.cause,
    }
    if redis.commands is not None:
        document["commands"] = msgspec.to_builtins(redis.commands)
    return document


def status_json(
    snapshot: EngineSnapshot, *, running: bool, safeguards: Mapping[str, SafeguardSnapshot]
) -> dict[str, Any]:
    """The whole status document."""
    risk, redis = snapshot.risk, snapshot.redis
    conditions = (*snapshot.start_conditions, *snapshot.reset_conditions)
    return {
        "running": running,
        "mode": snapshot.mode,
        "state": str(snapshot.state),
        "why": snapshot.state_why,
        "node": snapshot.node,
        "venue": snapshot.venue,
        "environment": snapshot.environment,
        "feed": snapshot.feed,
        "venue_account": _account_json(snapshot.watched_account),
        "emergency": emergency_json(snapshot.emergency),
        "policy": _fields(
            snapshot.policy,
            *("version", "profile", "age_s", "source", "sha256", "allow_new_trades"),
            *("stale", "note"),
        )
        | {"conflict": conflict_json(snapshot.policy.conflict)},
        "redis": _redis_json(redis),
        "journal": _fields(
            snapshot.journal,
            *("written", "acknowledged", "pending", "dead_lettered", "shed", "shed_types"),
            *("held", "lost"),
            *("bytes", "bytes_max", "oldest_pending_age_s"),
        ),
        "positions": [_position_json(position) for position in snapshot.positions],
        "orders": [order_json(order) for order in snapshot.orders],
        "bus": _bus_json(snapshot.bus),
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
            for entry in conditions
            if not entry.met
        ],
    }


def _account_json(account: WatchedAccount | None) -> dict[str, Any] | None:
    """A real account that is only looked at."""
    if account is None:
        return None
    return {
        "read_ns": account.read_ns,
        "balance": plain(account.balance.balance),
        "currency": account.balance.currency,
        "positions": [
            {
                "symbol": position.symbol,
                "quantity": plain(position.quantity),
                "entry_price": plain(position.entry_price),
            }
            for position in account.positions
        ],
    }


__all__ = ["conflict_json", "emergency_json", "status_json", "trip_json"]
