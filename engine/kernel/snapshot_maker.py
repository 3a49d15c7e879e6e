"""Makes the engine's snapshot: reads every part once, decides nothing, keeps nothing.

Cheap enough for 20 a second. Money in account currency, ages in seconds, fractions positive.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.kernel.link_history import LinkHistory
from engine.kernel.order_view import order_snapshots
from engine.kernel.parts import Parts
from engine.model.emergency import Condition
from engine.model.limits import REDIS_PING_INTERVAL_S
from engine.model.orders import PositionRecord
from engine.model.snapshots import (
    DatabaseSnapshot,
    EngineSnapshot,
    EngineState,
    LinkSnapshot,
    LinkState,
    PositionSnapshot,
    RiskSnapshot,
)
from engine.model.values import ZERO, PositionSide

# Orders that have ended and are still shown.
RECENT_ORDERS = 50
_MARKET_SLOW_S = 2.0
# A heartbeat missed.
_REDIS_SLOW_S = 2 * REDIS_PING_INTERVAL_S
_DATABASE_SLOW_S = 0.5


class SnapshotMaker:
    """From parts to one frozen snapshot."""

    def __init__(
        self,
        *,
        parts: Parts,
        link_history: LinkHistory,
        start_conditions: Callable[[], tuple[Condition, ...]],
        reset_conditions: Callable[[], tuple[Condition, ...]],
        would_trip_again: Callable[[], tuple[str, ...]],
    ) -> None:
        self._parts = parts
        self._link_history = link_history
        self._start_conditions = start_conditions
        self._reset_conditions = reset_conditions
        self._would_trip_again = would_trip_again

    def make(self) -> EngineSnapshot:
        parts = self._parts
        state = parts.mode.state
        latched = state is EngineState.LATCHED
        execution, now_ns = parts.execution, parts.clock.now_ns()
        return EngineSnapshot(
            ts_ns=now_ns,
            monotonic_ns=parts.clock.monotonic_ns(),
            mode=parts.options.configuration.engine.mode,
            state=state,
            state_why=parts.mode.why,
            node=parts.options.configuration.node.name,
            account=parts.options.account,
            venue=parts.venue.name,
            watched_account=parts.venue.watched_account,
            environment=""
            if parts.options.effective.engine.mode == "paper"
            else parts.options.effective.venue.environment,
            dead_man=parts.dead_man.state()
            if parts.options.effective.engine.mode == "live"
            else None,
            feed=parts.feed.name,
            currency="USDT",
            policy=parts.policy.snapshot(),
            emergency=parts.desk_emergency.snapshot(),
            risk=self._risk(),
            bus=parts.bus.snapshot(),
            journal=parts.storage.journal.snapshot(),
            redis=parts.redis.snapshot(),
            links=self._links(),
            positions=tuple(self._position(entry) for entry in parts.ledger.positions()),
            orders=order_snapshots(execution.desk.open_orders(), now_ns=now_ns),
            symbols=tuple(parts.feed.symbols),
            recent_orders=order_snapshots(
                execution.desk.latest_final(RECENT_ORDERS), now_ns=now_ns
            ),
            alarms=parts.alarms.snapshot(),
            gate=parts.gatekeeper.standing(),
            signals=execution.signals.counts(),
            loop_lag=parts.loop_lag.snapshot(),
            ticks=parts.market.ticks,
            fills=execution.booking.fills,
            intents=execution.desk.intents,
            market_age_s=parts.market.youngest_age_s(),
            start_conditions=()
            if latched or parts.mode.base is EngineState.RUNNING
            else self._start_conditions(),
            reset_conditions=self._reset_conditions() if latched else (),
            would_trip_again=self._would_trip_again() if latched else (),
            reduce_only_by_operator=parts.mode.operator_reduce_why or "",
            link_history=self._link_history.snapshot(),
            database=self._database(),
        )

    def _database(self) -> DatabaseSnapshot:
        storage, backups = self._parts.storage, self._parts.backups
        newest = backups.newest
        return DatabaseSnapshot(
            generation=storage.generation,
            healthy=storage.writer.healthy,
            lag_s=storage.writer.lag_s,
            fault=storage.writer.last_error,
            backup_name="" if newest is None else newest.path.name,
            backup_ns=None if newest is None else newest.made_ns,
            backup_age_s=backups.age_s(),
            backup_fault=backups.fault,
        )

    def _risk(self) -> RiskSnapshot:
        parts = self._parts
        account, profile = parts.ledger.account(), parts.policy.active()
        entries = parts.execution.entries
        gross = account.gross_exposure / account.equity if account.equity > 0 else ZERO
        return RiskSnapshot(
            equity=account.equity,
            balance=account.balance,
            unrealised=account.unrealised,
            peak=account.peak,
            drawdown=parts.breaker.drawdown,
            drawdown_soft=profile.drawdown_soft,
            drawdown_hard=profile.drawdown_hard,
            daily_loss=account.daily_loss,
            max_daily_loss=profile.max_daily_loss,
            loss_streak=account.loss_streak,
            max_consecutive_losses=profile.max_consecutive_losses,
            gross_exposure=gross,
            max_gross_exposure=profile.max_gross_exposure,
            min_balance=profile.min_balance,
            governor=str(parts.governor.state.value),
            initial=account.initial,
            orders_last_minute=parts.execution.desk.entries_last_minute(),
            max_orders_per_minute=profile.max_orders_per_minute,
            reject_ratio=entries.rejected / entries.sent if entries.sent else 0.0,
            order_round_trip_ms_p99=entries.round_trip_ms_p99(),
        )

    def _position(self, record: PositionRecord) -> PositionSnapshot:
        parts = self._parts
        mark = parts.ledger.mark_of(record.symbol)
        profile = parts.policy.active()
        value = abs(record.quantity) * (mark.price if mark else record.entry_price)
        limit = profile.max_position_notional
        return PositionSnapshot(
            venue=parts.venue.name,
            symbol=record.symbol,
            side=PositionSide.of(record.quantity).value,
            quantity=abs(record.quantity),
            entry_price=record.entry_price,
            mark_price=mark.price if mark else None,
            unrealised=parts.ledger.unrealised(record.symbol) if mark else None,
            limit_used=value / limit if limit > 0 else None,
            protected=parts.execution.protection.trigger_price(record.symbol),
            mark_age_s=(parts.clock.now_ns() - mark.ts_ns) / 1e9 if mark else None,
            held_s=parts.execution.holding.held_s(record),
            force_close_in_s=parts.execution.holding.remaining_s(record),
            is_closing=parts.execution.exits.is_closing(record.symbol),
        )

    def _links(self) -> tuple[LinkSnapshot, ...]:
        parts = self._parts
        redis = parts.redis.snapshot()
        market_age_s = parts.market.youngest_age_s()
        limit_s = float(parts.policy.active().max_market_data_age_s)
        lost = "; ".join(f"{name}: {why}" for name, why in parts.market.streams_down().items())
        connected = parts.venue.is_connected()
        store = parts.storage.writer
        return (
            LinkSnapshot(
                name="orders",
                title=parts.venue.title,
                state=LinkState.UP if connected else LinkState.DOWN,
                cause="" if connected else "the venue's stream is not connected",
            ),
            LinkSnapshot(
                name="data",
                title="Market data",
                state=LinkState.DOWN if lost else _market_state(market_age_s, limit_s),
                cause=lost or _market_cause(market_age_s, limit_s),
                age_s=market_age_s,
                detail=_gaps_words(parts.market.gaps, parts.market.last_gap_s),
                slow_after_s=_MARKET_SLOW_S,
                was_up=market_age_s is not None,
            ),
            LinkSnapshot(
                name="redis",
                title="Redis",
                state=redis.state,
                cause=redis.cause,
                age_s=redis.last_answer_age_s,
                detail=redis.mode,
                slow_after_s=_REDIS_SLOW_S,
                was_up=redis.was_up,
                down_s=redis.down_s,
                tries=redis.tries,
            ),
            LinkSnapshot(
                name="database",
                title="Database",
                state=LinkState.UP if store.healthy else LinkState.DOWN,
                cause=store.last_error,
                age_s=store.lag_s,
                detail=f"lag {store.lag_s:.1f} s",
                slow_after_s=_DATABASE_SLOW_S,
            ),
        )


def _gaps_words(gaps: int, last_gap_s: float) -> str:
    return f"reconnected {gaps} times, last gap {last_gap_s:.1f} s" if gaps else ""


def _market_state(age_s: float | None, limit_s: float) -> LinkState:
    if age_s is None:
        return LinkState.CONNECTING
    return LinkState.UP if age_s <= max(limit_s, _MARKET_SLOW_S) else LinkState.DOWN


def _market_cause(age_s: float | None, limit_s: float) -> str:
    if age_s is None:
        return "no price has come yet"
    return "" if _market_state(age_s, limit_s) is LinkState.UP else "no price comes any more"


__all__ = ["RECENT_ORDERS", "SnapshotMaker"]
