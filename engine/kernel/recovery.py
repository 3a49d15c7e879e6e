"""The order of the recovery after Redis came back (R-RED-4). The gate is shut until all succeeded.

Why this order: what stops the desk comes before what trades on it, and a limit that was changed
meanwhile before the positions are judged by it. At the first connection of a start the same parts
run, except those that only an outage makes necessary; the start reconciles by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from engine.policy import DeskPolicy
from engine.redis_link import Ingress, RecoveryPart, RedisLink


def recovery_parts(
    *,
    redis: RedisLink,
    ingress: Ingress | None,
    exchange_trips: Callable[[], Awaitable[bool]],
    policy: DeskPolicy | None,
    reconcile: Callable[[], Awaitable[bool]],
) -> tuple[RecoveryPart, ...]:
    """The parts in their order, each an event `system.recovery.step` with its duration."""
    assert policy is not None, "who has a link has a policy to share"
    stops = () if ingress is None else (RecoveryPart(name="pending_stops", run=ingress.swept),)
    return (
        *stops,
        RecoveryPart(name="trips", run=exchange_trips),
        RecoveryPart(name="replay", run=redis.replay),
        RecoveryPart(name="policy", run=policy.recover),
        RecoveryPart(name="reconcile", run=reconcile, after_outage=True),
    )


__all__ = ["recovery_parts"]
