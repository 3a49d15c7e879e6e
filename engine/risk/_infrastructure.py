"""The gate's questions about the engine itself: may anybody trade, and does everything answer?

Pure; each function yields the reasons against an entry with their figures. Ages in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.model.limits import LOOP_LAG_GATE_MS, REDIS_ANSWER_AGE_GATE_S, WRITER_LAG_GATE_S
from engine.model.policy import Profile
from engine.model.reasons import Reason, ReasonCode
from engine.model.snapshots import EngineState
from engine.risk.facts import GateFacts

_SAID_ELSEWHERE = frozenset({EngineState.HALTED, EngineState.REDUCE_ONLY, EngineState.LATCHED})


def permission_reasons(facts: GateFacts) -> Iterator[Reason]:
    """Latch, trips, halt, reduce-only, the engine's state, allow-new-trades."""
    state = facts.engine_state
    if facts.latched or state is EngineState.LATCHED:
        yield Reason(code=ReasonCode.LATCHED, detail="the emergency stop is latched")
    if facts.trips_uncleared:
        shown = ", ".join(facts.trips_uncleared[:3])
        yield Reason(
            code=ReasonCode.TRIP_UNCLEARED,
            detail=f"{len(facts.trips_uncleared)} not cleared: {shown}",
        )
    if facts.halted or state is EngineState.HALTED:
        yield Reason(code=ReasonCode.HALTED, detail="entries are held")
    if facts.reduce_only or state is EngineState.REDUCE_ONLY:
        yield Reason(code=ReasonCode.REDUCE_ONLY, detail="only exits are allowed")
    if state is not EngineState.RUNNING and state not in _SAID_ELSEWHERE:
        why = f": {facts.engine_why}" if facts.engine_why else ""
        yield Reason(code=ReasonCode.NOT_RUNNING, detail=f"the engine is {state.value}{why}")
    if not facts.allow_new_trades:
        yield Reason(
            code=ReasonCode.NEW_TRADES_NOT_ALLOWED, detail="allow_new_trades is false in the policy"
        )


def infrastructure_reasons(facts: GateFacts, profile: Profile) -> Iterator[Reason]:
    """Redis, policy age, database, venue and market streams, bus, loop and clock."""
    yield from _redis_reasons(facts)
    if facts.recovering:
        yield Reason(code=ReasonCode.RECOVERING, detail=facts.recovering)
    limit = profile.max_policy_age_s
    if facts.policy_age_s is None:
        yield Reason(code=ReasonCode.POLICY_TOO_OLD, detail="never confirmed by its authority")
    elif facts.policy_age_s > limit:
        yield Reason(
            code=ReasonCode.POLICY_TOO_OLD,
            detail=f"confirmed {facts.policy_age_s:.1f} s ago, at most {limit} s",
        )
    if not facts.store_healthy:
        yield Reason(code=ReasonCode.STORE_UNHEALTHY, detail=facts.store_why or "cannot write")
    elif facts.store_lag_s > WRITER_LAG_GATE_S:
        yield Reason(
            code=ReasonCode.STORE_UNHEALTHY,
            detail=f"writes are {facts.store_lag_s:.1f} s behind, at most {WRITER_LAG_GATE_S} s",
        )
    if not facts.venue_stream_connected:
        yield Reason(code=ReasonCode.VENUE_STREAM_DOWN, detail="the venue's private stream is down")
    elif facts.venue_gap_unread:
        detail = "what happened while the private stream was away has not been read yet"
        yield Reason(code=ReasonCode.VENUE_STREAM_DOWN, detail=detail)
    for stream, cause in facts.market_streams_down.items():
        detail = f"{stream} is down: {cause}"
        yield Reason(code=ReasonCode.MARKET_STREAM_DOWN, detail=detail)
    if facts.bus_saturated:
        yield Reason(
            code=ReasonCode.BUS_SATURATED, detail=facts.bus_why or "the event queue is full"
        )
    if facts.loop_lag_ms > LOOP_LAG_GATE_MS:
        yield Reason(
            code=ReasonCode.LOOP_LAG,
            detail=f"{facts.loop_lag_ms:.0f} ms behind, at most {LOOP_LAG_GATE_MS:.0f} ms",
        )
    if facts.clock_jump:
        yield Reason(code=ReasonCode.CLOCK_JUMP, detail=facts.clock_jump)
    yield from _clock_offset_reasons(facts)


def _clock_offset_reasons(facts: GateFacts) -> Iterator[Reason]:
    """Requests are dated by the venue's clock; one that is far off ours is not to be trusted."""
    if facts.receive_window_ms is None:
        return
    if facts.clock_offset_ms is None:
        yield Reason(code=ReasonCode.CLOCK_OFFSET, detail="the venue's clock was not compared yet")
    elif abs(facts.clock_offset_ms) > facts.receive_window_ms / 2:
        yield Reason(
            code=ReasonCode.CLOCK_OFFSET,
            detail=f"the venue's clock is {facts.clock_offset_ms:+.0f} ms from ours, "
            f"at most {facts.receive_window_ms / 2:.0f} ms",
        )


def _redis_reasons(facts: GateFacts) -> Iterator[Reason]:
    if facts.redis_standalone:
        return
    age = facts.redis_answer_age_s
    if not facts.redis_up:
        yield Reason(code=ReasonCode.REDIS_DOWN, detail="the link is down")
    elif age is None:
        yield Reason(code=ReasonCode.REDIS_DOWN, detail="it has not answered yet")
    elif age > REDIS_ANSWER_AGE_GATE_S:
        yield Reason(
            code=ReasonCode.REDIS_DOWN,
            detail=f"last answer {age:.1f} s ago, at most {REDIS_ANSWER_AGE_GATE_S} s",
        )


__all__ = ["infrastructure_reasons", "permission_reasons"]
