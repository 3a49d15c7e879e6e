"""The guarded reset and the conditions of a start (R-ESS-5): one list each, for every face.

A reset clears trips by name, re-bases by name every measure that would trip again, and starts
nothing. Order: START needed is made durable first, then the latch is armed, then clearing, re-bases
and audit are recorded; a crash anywhere in between leaves the engine latched or READY, never
trading.

Where nothing is latched but another node's trip holds entries, the same command clears that trip by
name, at this node's console: for this node, and signed with the desk key for all.
"""

from __future__ import annotations

import msgspec

from engine.api import CommandResult
from engine.emergency_stop import (
    LINKS_UP_S,
    ResetFacts,
    StartFacts,
    clearing_conditions,
    reset_conditions,
    start_conditions,
    unmet,
)
from engine.kernel.operator_commands import OperatorCommands
from engine.kernel.parts import Parts
from engine.kernel.standing import NEEDS_START
from engine.model.emergency import REBASES, Clearing, Condition, ResetRequest
from engine.model.errors import StoreError
from engine.model.snapshots import EngineState
from engine.model.venue import StreamUpdate
from engine.risk import DrawdownState

# An exchange's links must have held for `LINKS_UP_S`; a newcomer's paper desk has none to flap.
PAPER_LINKS_UP_S = 5.0


class ResetDesk:
    """Lists conditions, and carries out a reset when all are met."""

    def __init__(self, *, parts: Parts, commands: OperatorCommands) -> None:
        self._parts = parts
        self._commands = commands
        self._began_ns = self._connected_ns = parts.clock.monotonic_ns()
        parts.venue.streams.subscribe(self._hear)
        is_paper = parts.options.effective.engine.mode == "paper"
        self._links_up_s = PAPER_LINKS_UP_S if is_paper else LINKS_UP_S

    def _hear(self, update: StreamUpdate) -> None:
        if update.connected:
            self._connected_ns = self._parts.clock.monotonic_ns()

    def would_trip_again(self) -> tuple[str, ...]:
        """Measures that would trip again at once, by the names a reset re-bases them with."""
        parts = self._parts
        if not parts.ledger.is_open:
            return ()
        account = parts.ledger.account()
        found = parts.breaker.would_trip(
            equity=account.equity,
            peak=account.peak,
            day_start=account.day_start_equity,
            losses=account.loss_streak,
        )
        loss = (account.capital - account.equity) / account.capital
        return (*found, "capital") if loss >= parts.policy.active().governor.hard else found

    def reset_list(self, request: ResetRequest | None = None) -> tuple[Condition, ...]:
        """Every condition of a reset, met or not."""
        parts = self._parts
        stop = parts.stop.snapshot()
        bus = parts.bus.snapshot()
        now_ns = parts.clock.monotonic_ns()
        up_s = (now_ns - self._began_ns) / 1e9
        connected_s = (now_ns - self._connected_ns) / 1e9
        age_s = parts.market.youngest_age_s()
        # Clearing a trip by name is seeing it: its own alarm needs no second acknowledgement.
        named = () if request is None else request.clear
        fresh = age_s is not None and age_s <= parts.policy.active().max_market_data_age_s
        facts = ResetFacts(
            trips=parts.stop.trips,
            proof=parts.stop.flat_proof(),
            positions_open=stop.positions_open,
            orders_open=stop.orders_open,
            links_up_s={
                "order link": connected_s if parts.venue.is_connected() else None,
                "data link": up_s if fresh else None,
                "engine": up_s,
            },
            queue_utilisation=bus.utilisation,
            since_last_drop_s=parts.bus.since_last_drop_s(),
            alarms_unacknowledged=tuple(
                alarm.code
                for alarm in parts.alarms.snapshot()
                if alarm.priority == 1 and alarm.state == "new" and alarm.key not in named
            ),
            would_trip_again=self.would_trip_again(),
            books_open=tuple(position.symbol for position in parts.ledger.positions()),
            database_why=self._database_why(),
            latch_why=parts.stop.latch_problem,
            links_up_needed_s=self._links_up_s,
        )
        return reset_conditions(facts, request)

    def start_list(self) -> tuple[Condition, ...]:
        """Every condition of READY → RUNNING."""
        parts = self._parts
        redis = parts.redis
        account_state = parts.breaker.state
        hard = account_state in {DrawdownState.HARD, DrawdownState.UNKNOWN}
        base = parts.mode.base
        redis_ok = redis.is_standalone or (redis.is_up() and not redis.recovering)
        reconciled = parts.execution.reconciliation.last_ok_ns is not None
        facts = StartFacts(
            latched=parts.stop.is_latched(),
            trips=(*parts.stop.trips, *parts.desk_emergency.holding),
            ready_why="" if base is EngineState.READY else f"the engine is {base.value}",
            database_why=self._database_why(),
            redis_why="" if redis_ok else redis.snapshot().cause or "Redis is not up",
            venue_why="" if parts.venue.is_connected() else "the venue's stream is down",
            reconciled_why="" if reconciled else "not yet compared with the venue",
            market_age_s=parts.market.youngest_age_s(),
            market_age_max_s=float(parts.policy.active().max_market_data_age_s),
            policy_age_s=parts.policy.age_s() or 0.0,
            policy_age_max_s=float(parts.policy.active().max_policy_age_s),
            queue_why="the event queue is saturated" if parts.bus.is_saturated() else "",
            drawdown_why=f"drawdown is {account_state.value}" if hard else "",
        )
        return start_conditions(facts)

    def _database_why(self) -> str:
        writer = self._parts.storage.writer
        if not writer.healthy:
            return writer.last_error
        backlog = self._parts.execution.recorder.backlog
        return f"{backlog} changes are not saved yet" if backlog else ""

    async def reset(self, request: ResetRequest) -> CommandResult:
        """Carry out a reset, or answer with what is missing."""
        parts = self._parts
        if not parts.stop.is_latched():
            return await self._clear_for_others(request)
        missing = unmet(self.reset_list(request))
        if missing:
            return self._commands.result(ok=False, message="not reset", unmet=missing)
        try:
            await parts.storage.store.record_standing(NEEDS_START, "after a reset")
        except StoreError as error:
            condition = Condition(condition="database", met=False, why=str(error))
            return self._commands.result(ok=False, message="not reset", unmet=(condition,))
        clearing = self._clearing(request)
        if parts.mode.base in {EngineState.RUNNING, EngineState.READY}:
            # Before the latch opens, so that no moment exists in which an entry could leave.
            parts.mode.go(EngineState.READY, "after a reset; START is needed")
        with parts.desk_emergency.resetting(clearing):
            missing = await parts.stop.clear(clearing, accept_residual=request.accept_residual)
            if missing:
                return self._commands.result(ok=False, message="not reset", unmet=missing)
            recorded = parts.desk_emergency.clear(clearing)
        rebased = self._rebase(request)
        parts.mode.tell()
        for alarm in parts.alarms.snapshot():
            if alarm.key in request.clear:
                parts.alarms.acknowledge(alarm.id)
        await recorded
        await self._record(request, rebased)
        words = self._told("reset; START is needed to trade")
        answer = self._commands.result(ok=True, message=words)
        return msgspec.structs.replace(answer, rebased=rebased)

    async def _clear_for_others(self, request: ResetRequest) -> CommandResult:
        """Other nodes' trips that hold entries here; this node is not stopped."""
        parts = self._parts
        holding = parts.desk_emergency.holding
        if not holding:
            return self._commands.result(ok=False, message="the emergency stop is not latched")
        missing = unmet(clearing_conditions(holding, request, database_why=self._database_why()))
        if missing:
            return self._commands.result(ok=False, message="not cleared", unmet=missing)
        clearing = self._clearing(request)
        await parts.desk_emergency.clear(clearing)
        parts.mode.tell()
        listed = ", ".join(clearing.trips)
        return self._commands.result(ok=True, message=self._told(f"cleared: {listed}"))

    def _clearing(self, request: ResetRequest) -> Clearing:
        """What a person was shown and named; a name that nobody was shown clears nothing."""
        parts = self._parts
        shown = {trip.id for trip in (*parts.stop.trips, *parts.desk_emergency.holding)}
        return Clearing(
            id=parts.ids.next("c"),
            trips=tuple(trip for trip in request.clear if trip in shown),
            author=request.author,
            cause=request.cause,
            reason=request.reason,
            ts_ns=parts.clock.now_ns(),
            node=parts.options.configuration.node.name,
        )

    def _told(self, message: str) -> str:
        why = self._parts.desk_emergency.desk_why
        return f"{message}; {why}" if why else message

    def _rebase(self, request: ResetRequest) -> dict[str, str]:
        parts = self._parts
        rebased: dict[str, str] = {}
        # Somebody else may have traded since the conditions were looked at; a residual that was
        # accepted by name is no position.
        symbols = {position.symbol for position in parts.ledger.positions()}
        is_flat = symbols <= set(request.accept_residual)
        for measure in REBASES:
            if measure in request.rebase and (is_flat or measure != "capital"):
                before, after = parts.ledger.rebase(measure)
                rebased[measure] = f"{before} → {after}"
        if "capital" in rebased:
            parts.governor.rebase(is_flat=is_flat)
        parts.breaker.rearm()
        parts.account.judge()
        return rebased

    async def _record(self, request: ResetRequest, rebased: dict[str, str]) -> None:
        store, ts_ns = self._parts.storage.store, self._parts.clock.now_ns()
        await store.record_totals(self._parts.ledger.totals)
        words = f"{request.cause}: {request.reason}"
        for measure, change in rebased.items():
            await store.append_audit(
                who=request.author,
                what=f"re-base {measure}: {change}",
                why=words,
                where="engine",
                ts_ns=ts_ns,
            )


__all__ = ["PAPER_LINKS_UP_S", "ResetDesk"]
