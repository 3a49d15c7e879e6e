"""The gate's shell: gathers the facts, asks the pure checks, and answers execution.

Nothing is kept here: every fact is read at the moment of the check from who owns it. The final
check is asked by the venue's transport right before the bytes of an entry leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from engine.bus import EventBus
from engine.execution import ExecutionService, SizedEntry
from engine.health import ClockJumpDetector, LoopLagMonitor
from engine.kernel.market_hub import MarketHub
from engine.kernel.mode import ModeKeeper
from engine.kernel.venue_desk import VenueDesk
from engine.model.errors import Refused
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.limits import BUS_SATURATED_GATE_S
from engine.model.orders import Intent
from engine.model.reasons import Reason, ReasonCode
from engine.model.signals import Signal
from engine.model.values import ZERO
from engine.model.venue import Approved
from engine.policy import PolicyStore
from engine.portfolio import Ledger
from engine.ports import Clock, LatchView
from engine.redis_link import RedisLink
from engine.risk import (
    DrawdownBreaker,
    GateFacts,
    Governor,
    check,
    entry_leverage,
    final_check,
    open_exposure,
    size_entry,
    standing_reasons,
)

_DUPLICATE_NS = 5_000_000_000
_SENT_KEPT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskParts:
    """Who knows what of risk."""

    breaker: DrawdownBreaker
    governor: Governor
    ledger: Ledger
    policy: PolicyStore
    latch: LatchView


@dataclass(frozen=True, slots=True, kw_only=True)
class InfrastructureParts:
    """Who knows what of the infrastructure."""

    bus: EventBus
    redis: RedisLink
    # Why the desk's trips are not known as of now, or "".
    desk_unread: Callable[[], str]
    venue: VenueDesk
    loop_lag: LoopLagMonitor
    clock_jump: ClockJumpDetector
    store_health: Callable[[], tuple[bool, str, float]]


class Gatekeeper:
    """Answers `may this entry leave?` with an approval or every reason against it."""

    def __init__(
        self,
        *,
        clock: Clock,
        mode: ModeKeeper,
        market: MarketHub,
        risk: RiskParts,
        infrastructure: InfrastructureParts,
        instrument: Callable[[Symbol], Instrument],
    ) -> None:
        self._clock = clock
        self._mode = mode
        self._market = market
        self._risk = risk
        self._infrastructure = infrastructure
        self._instrument = instrument
        self._execution: ExecutionService | None = None
        # Times at which entries passed the final check, for the summary of outages.
        self._sent_ns: deque[int] = deque(maxlen=_SENT_KEPT)
        self.blocks = 0

    def attach(self, execution: ExecutionService) -> None:
        """Execution is built with this gatekeeper and then made known to it."""
        self._execution = execution

    def entries_sent_between(self, from_ns: int, to_ns: int) -> int:
        """Entries that left between two times of the trading clock."""
        return sum(1 for ts_ns in self._sent_ns if from_ns <= ts_ns <= to_ns)

    def facts(self, intent: Intent | None = None) -> GateFacts:
        """The world now, for one intent or (None) for the standing reasons."""
        execution, risk, parts = self._execution, self._risk, self._infrastructure
        assert execution is not None
        now_ns = self._clock.now_ns()
        account = risk.ledger.account()
        healthy, store_why, store_lag_s = parts.store_health()
        marks = self._market.last_prices()
        saturated = parts.bus.is_saturated()
        return GateFacts(
            now_ns=now_ns,
            policy_version=risk.policy.version,
            engine_state=self._mode.state,
            engine_why=self._mode.why,
            latched=risk.latch.is_latched(),
            trips_uncleared=self._mode.uncleared_trips(),
            halted=self._mode.is_halted,
            reduce_only=self._mode.is_reduce_only,
            allow_new_trades=risk.policy.get_policy().allow_new_trades,
            redis_standalone=parts.redis.is_standalone,
            redis_up=parts.redis.is_up(),
            redis_answer_age_s=parts.redis.last_answer_age_s(),
            recovering="the Redis link is recovering"
            if parts.redis.recovering
            else parts.desk_unread(),
            policy_age_s=risk.policy.age_s(),
            store_healthy=healthy and execution.recorder.is_healthy,
            store_why=store_why,
            store_lag_s=store_lag_s,
            venue_stream_connected=parts.venue.is_connected(),
            two_legs=execution.reconciliation.two_legs,
            venue_gap_unread=not execution.venue_watch.is_current,
            market_streams_down=self._market.streams_down(),
            bus_saturated=saturated,
            bus_why=f"critical, or refused an event within {BUS_SATURATED_GATE_S} s"
            if saturated
            else "",
            loop_lag_ms=parts.loop_lag.current_ms(),
            clock_jump=parts.clock_jump.reason(),
            clock_offset_ms=parts.venue.clock_offset_ms(),
            receive_window_ms=parts.venue.receive_window_ms,
            market_age_s=self._market.ages_s(),
            drawdown_state=risk.breaker.state,
            drawdown=risk.breaker.drawdown,
            daily_loss=account.daily_loss,
            loss_streak=account.loss_streak,
            governor=risk.governor.state,
            equity=account.equity,
            available_margin=account.equity - self._margin_used(),
            positions={entry.symbol: entry.quantity for entry in risk.ledger.positions()},
            marks=marks,
            working=tuple(execution.desk.open_orders()),
            recent=() if intent is None else self._recent(execution, intent, now_ns),
            entries_last_minute=execution.desk.entries_last_minute(),
            instrument=None if intent is None else self._listed(intent.symbol),
        )

    def _listed(self, symbol: Symbol) -> Instrument | None:
        """None for what the venue does not list, or has not told yet."""
        try:
            return self._instrument(symbol)
        except Refused:
            return None

    def _recent(
        self, execution: ExecutionService, intent: Intent, now_ns: int
    ) -> tuple[Intent, ...]:
        return tuple(
            entry
            for entry in execution.desk.recent(since_ns=now_ns - _DUPLICATE_NS)
            if entry.client_order_id != intent.client_order_id
        )

    def _margin_used(self) -> Decimal:
        """Initial margin of the open positions at the policy's leverage."""
        leverage = self._risk.policy.get_policy().active.max_leverage
        return self._risk.ledger.account().gross_exposure / leverage

    def permission(
        self, intent: Intent, *, override_duplicate: bool = False
    ) -> Approved | tuple[Reason, ...]:
        """The gate on a sized entry; an operator may override the duplicate rule."""
        answer = self._judge(intent, override_duplicate)
        if isinstance(answer, Approved):
            return answer
        self.blocks += 1
        return answer

    def reasons_against(
        self, intent: Intent, *, override_duplicate: bool = False
    ) -> tuple[Reason, ...]:
        """What the gate would say to this entry now; nothing is allowed by it, nor counted."""
        answer = self._judge(intent, override_duplicate)
        return () if isinstance(answer, Approved) else answer

    def _judge(self, intent: Intent, override_duplicate: bool) -> Approved | tuple[Reason, ...]:
        profile = self._risk.policy.get_policy().active
        return check(intent, self.facts(intent), profile, override_duplicate=override_duplicate)

    def standing(self) -> tuple[Reason, ...]:
        """What holds every entry back now; empty while the gate is open."""
        return standing_reasons(self.facts(), self._risk.policy.get_policy().active)

    def final_check(self, approved: Approved) -> tuple[Reason, ...]:
        """Right before the bytes leave."""
        reasons = final_check(
            approved,
            latched=self._risk.latch.is_latched(),
            halted=self._mode.is_halted,
            policy_version=self._risk.policy.version,
        )
        redis = self._infrastructure.redis
        if not redis.is_standalone and (not redis.is_up() or redis.recovering):
            down = Reason(code=ReasonCode.REDIS_DOWN, detail=redis.snapshot().cause)
            reasons = (*reasons, down)
        # Another entry in the symbol may have become unknown since the gate.
        reasons = (*reasons, *self._unresolved(approved.intent.symbol))
        if held := self._mode.uncleared_trips():
            reasons = (*reasons, Reason(code=ReasonCode.TRIP_UNCLEARED, detail=", ".join(held)))
        if not reasons:
            self._sent_ns.append(self._clock.now_ns())
        return reasons

    def _unresolved(self, symbol: Symbol) -> tuple[Reason, ...]:
        """An entry of unknown outcome takes up the room that sizing did not find."""
        assert self._execution is not None
        if symbol not in self._execution.desk.unresolved_symbols():
            return ()
        detail = f"{symbol}: nobody knows yet what became of an entry"
        return (Reason(code=ReasonCode.SYMBOL_UNRESOLVED, detail=detail),)

    def size_entry(self, signal: Signal) -> SizedEntry:
        """How large, with which leverage and stop; zero with a reason when nothing fits."""
        profile = self._risk.policy.get_policy().active
        instrument = self._listed(signal.symbol)
        if instrument is None:
            detail = f"the venue does not list {signal.symbol}"
            code = ReasonCode.SYMBOL_UNKNOWN
            return _nothing(profile.max_leverage, profile.protective_stop, code, detail)
        leverage = entry_leverage(profile, instrument)
        mark = self._market.last_price(signal.symbol)
        if mark is None:
            return _nothing(leverage, profile.protective_stop, ReasonCode.NO_MARK, "no price yet")
        facts = self.facts()
        exposure = open_exposure(signal.symbol, facts)
        if exposure is None:
            detail = "what is in flight cannot be valued"
            return _nothing(leverage, profile.protective_stop, ReasonCode.NO_MARK, detail)
        quantity = size_entry(
            signal,
            profile=profile,
            equity=facts.equity,
            mark=mark,
            instrument=instrument,
            governor=facts.governor,
            exposure=exposure,
        )
        if quantity == ZERO:
            self.blocks += 1
            # The gate names everything that stands in the way; sizing adds that nothing fits.
            standing = (*standing_reasons(facts, profile), *self._unresolved(signal.symbol))
            reasons = standing or (
                Reason(
                    code=ReasonCode.BELOW_VENUE_MINIMUM,
                    detail="what the limits leave is below the venue's minimum",
                ),
            )
            return SizedEntry(
                quantity=ZERO,
                leverage=leverage,
                stop_loss=profile.protective_stop,
                reasons=reasons,
            )
        return SizedEntry(quantity=quantity, leverage=leverage, stop_loss=profile.protective_stop)


def _nothing(leverage: Decimal, stop: Decimal, code: ReasonCode, detail: str) -> SizedEntry:
    return SizedEntry(
        quantity=ZERO,
        leverage=leverage,
        stop_loss=stop,
        reasons=(Reason(code=code, detail=detail),),
    )


__all__ = ["Gatekeeper", "InfrastructureParts", "RiskParts"]
