"""Every safeguard that is built: ACTIVE, or why not, by its latest proof and that proof's age.

What is not built yet is absent, never INACTIVE (contract.md, Status).
"""

from __future__ import annotations

from engine.kernel.dead_man import dead_man_words
from engine.kernel.parts import Parts
from engine.model.snapshots import LinkState, SafeguardSnapshot

ACTIVE, INACTIVE, UNAVAILABLE = "ACTIVE", "INACTIVE", "UNAVAILABLE"


def _of(why_not: str, proof: str, age_s: float | None = None) -> SafeguardSnapshot:
    return SafeguardSnapshot(
        state=INACTIVE if why_not else ACTIVE, why=why_not, proof=proof, proof_age_s=age_s
    )


def _cache_invalidation(parts: Parts) -> SafeguardSnapshot:
    """Whether what somebody else changes is in force here at once."""
    desk = parts.desk_policy
    if desk is None:
        return _of("", "standalone: the database is asked every few seconds", parts.policy.age_s())
    why_not = "" if desk.agrees else "what the desk holds is not known"
    if desk.push_ms is None:
        return _of(
            why_not, "Redis is asked every 2 s; nothing was pushed yet", parts.policy.age_s()
        )
    proof = f"a pushed change was in force after {desk.push_ms:.0f} ms"
    return _of(why_not, proof, desk.push_age_s())


def _dead_man(parts: Parts) -> SafeguardSnapshot:
    """The venue's own; what it does not have does not count against being ready."""
    state = parts.dead_man.state()
    words = dead_man_words(state)
    if state.why_not:
        return SafeguardSnapshot(state=UNAVAILABLE, why=words, proof="", proof_age_s=None)
    return _of(state.failed, words, state.renewed_age_s)


def _rate_limits(parts: Parts) -> SafeguardSnapshot:
    """What keeps a flood of ours from a ban; resting after a refusal is it at work."""
    state = parts.venue.limits()
    if state is None:
        return SafeguardSnapshot(
            state=UNAVAILABLE, why="the venue has no limits", proof="", proof_age_s=None
        )
    words = f"{state.used} of {state.limit} in {state.fullest}, {state.waiting} wait"
    return _of("", f"{words}, resting {state.rests_s:.0f} s" if state.rests_s else words)


def _protective_orders(parts: Parts) -> SafeguardSnapshot:
    positions = parts.ledger.positions()
    trigger_price = parts.execution.protection.trigger_price
    bare = [position.symbol for position in positions if trigger_price(position.symbol) is None]
    return _of(
        f"no stop yet for {', '.join(bare)}" if bare else "",
        f"{len(positions) - len(bare)} stops rest at the venue",
    )


def safeguards(parts: Parts) -> dict[str, SafeguardSnapshot]:
    """State of each, by the contract's names."""
    profile = parts.policy.active()
    now_ns = parts.clock.now_ns()
    writer, backup = parts.storage.writer, parts.backups.newest
    redis = parts.redis.snapshot()
    journal = parts.storage.journal.snapshot()
    reconciliation = parts.execution.reconciliation
    ran_ns = reconciliation.last_ok_ns
    age_s = parts.policy.age_s()
    stop = parts.stop.snapshot()
    blind = ", ".join(sorted(parts.mark_watch.blind))
    holding = profile.max_hold_s
    linked = redis.state in {LinkState.UP, LinkState.REPLAYING} or parts.redis.is_standalone
    bus = parts.bus.snapshot()
    return {
        "single_policy": _of(
            parts.policy.fault or ("not confirmed by Redis" if parts.policy.is_stale() else ""),
            f"version {parts.policy.version} confirmed",
            age_s,
        ),
        "cache_invalidation": _cache_invalidation(parts),
        "ess_closes_positions": _of(
            stop.damage, f"stop {stop.state.value}, latch file written and read back"
        ),
        "event_buffer": _of(
            "" if writer.healthy else writer.last_error,
            f"{journal.written} events written, {journal.pending} waiting",
        ),
        "trade_state": _of(
            (parts.backups.why_not() if writer.healthy else writer.last_error),
            f"commit p99 {writer.statistics().commit_ms_p99:.1f} ms"
            + ("" if backup is None else f", newest good backup {backup.path.name}"),
            parts.backups.age_s(),
        ),
        "drawdown_monitor": _of(
            f"no price for {blind}" if blind else "", f"{parts.breaker.checks} checks"
        ),
        "trading_gate": _of("", f"{parts.gatekeeper.blocks} entries blocked"),
        "order_retry": _of("", f"{parts.execution.entries.retries} retries"),
        "reconciliation": _of(
            "" if ran_ns is not None else "has not run yet",
            f"{reconciliation.divergences} divergences repaired",
            None if ran_ns is None else (now_ns - ran_ns) / 1e9,
        ),
        "ordered_replay": _of(
            "" if linked else redis.cause,
            "standalone: the commit acknowledges"
            if parts.redis.is_standalone
            else f"{redis.replayed} events replayed",
            redis.last_answer_age_s,
        ),
        "signal_throttle": _of("", f"{profile.signal_rate} a second, {profile.signal_queue} wait"),
        "idempotency": _of("", f"{parts.execution.booking.fills} executions booked once"),
        "governor": _of("", parts.governor.state.value),
        "stale_positions": _of(
            "" if holding else "max_hold_s is 0 (off)", f"closed after {holding} s"
        ),
        "queue_monitor": _of("", f"{bus.size} of {bus.capacity}, high water {bus.high_water}"),
        "rate_limits": _rate_limits(parts),
        "dead_man_switch": _dead_man(parts),
        "protective_orders": _protective_orders(parts),
    }


__all__ = ["safeguards"]
