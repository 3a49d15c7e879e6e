"""A hand-written `EngineClient` whose snapshots a test writes itself.

It answers like the door describes: trip latches at once, commands return results, policy changes
are compare-and-set on the version through the engine's own functions. It trades nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from engine.api import CommandResult, HistoryPoint, PolicyVersion
from engine.model.emergency import (
    Condition,
    EmergencySnapshot,
    EmergencyState,
    PositionProgress,
    ResetRequest,
    Scope,
    StageProgress,
    StageState,
    Trip,
    TripSource,
)
from engine.model.errors import PolicyInvalid
from engine.model.events import Event
from engine.model.ids import Symbol, TripId
from engine.model.policy import (
    PolicyDocument,
    diff,
    document_hash,
    seeded,
    validate,
    with_changes,
)
from engine.model.reasons import Reason
from engine.model.records import DeadLetter
from engine.model.snapshots import (
    AlarmSnapshot,
    BusHandlerSnapshot,
    BusSnapshot,
    BusTypeSnapshot,
    DatabaseSnapshot,
    EngineSnapshot,
    EngineState,
    JournalSnapshot,
    LinkHistorySnapshot,
    LinkSnapshot,
    LinkState,
    LoopLag,
    OrderSnapshot,
    OutageSnapshot,
    PolicySnapshot,
    PositionSnapshot,
    RecoverySnapshot,
    RecoveryStepSnapshot,
    RedisSnapshot,
    RiskSnapshot,
    SignalCounts,
)
from engine.model.ticket import LimitRoom, Ticket, TicketPreview

NOW_NS = 1_795_271_527_400_000_000  # 2026-11-21 14:32:07.4 UTC
INITIAL = Decimal(100_000)


def position(
    symbol: str,
    side: str,
    quantity: str,
    entry: str,
    mark: str,
    unrealised: str,
    used: str,
    stop: str | None,
) -> PositionSnapshot:
    """One open position."""
    return PositionSnapshot(
        venue="paper",
        symbol=Symbol(symbol),
        side=side,
        quantity=Decimal(quantity),
        entry_price=Decimal(entry),
        mark_price=Decimal(mark),
        unrealised=Decimal(unrealised),
        limit_used=Decimal(used),
        protected=None if stop is None else Decimal(stop),
        mark_age_s=0.2,
        held_s=900.0,
        force_close_in_s=13_000.0,
    )


POSITIONS = (
    position("BTCUSDT", "LONG", "0.042", "61020.10", "61301.50", "11.82", "0.26", "59189.50"),
    position("ETHUSDT", "SHORT", "1.105", "2398.44", "2404.90", "-7.14", "0.27", "2470.39"),
    position("SOLUSDT", "LONG", "18", "141.02", "141.53", "9.18", "0.25", "136.79"),
    position("XRPUSDT", "LONG", "4900", "0.5203", "0.5191", "-5.88", "0.25", "0.5047"),
)


def order(number: int, symbol: str, side: str, quantity: str, **fields: Any) -> OrderSnapshot:
    """One order, as the fields say; a resting limit entry unless they do."""
    shown: dict[str, Any] = {
        "kind": "LIMIT",
        "purpose": "entry",
        "filled": Decimal(0),
        "price": Decimal("59500.0"),
        "state": "accepted",
        "age_s": 42.0,
        "strategy": "operator",
        "created_ns": NOW_NS - 42_000_000_000,
        "updated_ns": NOW_NS - 41_000_000_000,
        **fields,
    }
    return OrderSnapshot(
        client_order_id=f"desk-g2-{number}",
        symbol=Symbol(symbol),
        side=side,
        quantity=Decimal(quantity),
        **shown,
    )


ORDERS = (
    order(31, "BTCUSDT", "BUY", "0.010"),
    order(
        28,
        *("BTCUSDT", "SELL", "0.042"),
        kind="STOP_MARKET",
        purpose="protective_stop",
        price=Decimal("59189.5"),
        reduce_only=True,
        strategy="",
    ),
    order(
        27,
        *("ETHUSDT", "BUY", "1.105"),
        kind="STOP_MARKET",
        purpose="protective_stop",
        price=Decimal("2470.39"),
        reduce_only=True,
        strategy="",
    ),
    order(
        9,
        *("XRPUSDT", "SELL", "4900"),
        price=Decimal("0.5301"),
        purpose="exit",
        reduce_only=True,
        external=True,
        strategy="",
    ),
)
UNRESOLVED_ORDER = order(
    30,
    *("SOLUSDT", "BUY", "18"),
    kind="MARKET",
    price=None,
    state="unresolved",
    reason="no answer within 5.0 s",
    strategy="breakout",
)
RECENT_ORDERS = (
    order(
        26,
        *("BTCUSDT", "BUY", "0.042"),
        kind="MARKET",
        price=None,
        filled=Decimal("0.042"),
        average_price=Decimal("61020.10"),
        state="filled",
        is_final=True,
    ),
    order(
        25,
        *("ETHUSDT", "SELL", "1.105"),
        state="rejected",
        is_final=True,
        reason="-2019: margin 1 000.00 is needed and 812.20 is free",
    ),
)
ALARMS = (
    AlarmSnapshot(
        id="a1",
        code="redis_down",
        priority=2,
        text="Redis does not answer since 14:32:04",
        action="Entries are held; the stop works without it. Check the server.",
        ts_ns=NOW_NS - 3_400_000_000,
    ),
    AlarmSnapshot(
        id="a2",
        code="round_trip",
        priority=3,
        text="Order round trip p99 640 ms",
        action="Watch; hold entries if it goes on rising.",
        ts_ns=NOW_NS - 730_000_000_000,
        state="acknowledged",
    ),
)
LINKS = (
    LinkSnapshot(name="orders", title="Paper orders", state=LinkState.UP, age_s=0.1),
    LinkSnapshot(name="data", title="Market data", state=LinkState.UP, age_s=0.2, slow_after_s=2.0),
    LinkSnapshot(
        name="redis",
        title="Redis",
        state=LinkState.UP,
        age_s=0.3,
        detail="managed",
        slow_after_s=1.0,
    ),
    LinkSnapshot(
        name="database",
        title="Database",
        state=LinkState.UP,
        age_s=0.0,
        detail="lag 0.0 s",
        slow_after_s=0.5,
    ),
)
LETTERS = (
    DeadLetter(
        seq=812,
        event_id="e-000812",
        type="execution.positions_reconciled",
        ts_ns=NOW_NS - 3_600_000_000_000,
        error="ERR the entry is larger than proto-max-bulk-len allows",
        parked_ns=NOW_NS - 3_599_000_000_000,
        requeued_seq=None,
    ),
    DeadLetter(
        seq=640,
        event_id="e-000640",
        type="signal.received",
        ts_ns=NOW_NS - 7_200_000_000_000,
        error="Redis cuts the connection when it is sent this event",
        parked_ns=NOW_NS - 7_199_000_000_000,
        requeued_seq=655,
    ),
)
BUS_TYPES = tuple(
    BusTypeSnapshot(
        type=name,
        published=published,
        dropped=dropped,
        conflated=conflated,
        delayed=delayed,
        errors=0,
        handler_us_mean=mean,
        handler_us_max=worst,
    )
    for name, published, dropped, conflated, delayed, mean, worst in (
        ("account.equity.updated", 9_120, 0, 0, 0, 21.0, 410.0),
        ("execution.positions_reconciled", 61, 0, 0, 2, 12.0, 95.0),
        ("market.tick", 48_211, 0, 1_204, 77, 64.0, 2_310.0),
        ("order.filled", 14, 0, 0, 0, 330.0, 1_250.0),
        ("risk.circuit_breaker.triggered", 1, 0, 0, 0, 412.0, 412.0),
    )
)
RESET_CONDITIONS = (
    Condition(condition="Every position zero, two reads", met=True),
    Condition(condition="No open orders, two reads", met=True),
    Condition(condition="Links up for 60 s", met=False, why="engine up for 41 s"),
    Condition(condition="Queue under 50 %, no drops for 60 s", met=True),
    Condition(condition="All P1 alarms acknowledged", met=True),
)


def running_snapshot() -> EngineSnapshot:
    """A healthy paper desk with four positions and no alarm."""
    document = seeded(INITIAL, live=False, ts_ns=NOW_NS - 86_400_000_000_000)
    profile = document.active
    return EngineSnapshot(
        ts_ns=NOW_NS,
        monotonic_ns=1_000_000_000,
        mode="paper",
        state=EngineState.RUNNING,
        state_why="",
        node="desk",
        account="PX-01",
        venue="paper",
        feed="simulated",
        currency="USDT",
        policy=PolicySnapshot(
            version=document.version,
            profile=document.profile,
            sha256=document_hash(document),
            age_s=0.2,
            source="state database",
            allow_new_trades=True,
            author=document.author,
            ts_ns=document.ts_ns,
        ),
        emergency=EmergencySnapshot(state=EmergencyState.ARMED, latched=False),
        risk=RiskSnapshot(
            equity=Decimal("99871.42"),
            balance=Decimal("99863.44"),
            unrealised=Decimal("7.98"),
            peak=Decimal("100694.10"),
            drawdown=Decimal("0.00817"),
            drawdown_soft=profile.drawdown_soft,
            drawdown_hard=profile.drawdown_hard,
            daily_loss=Decimal("0.0021"),
            max_daily_loss=profile.max_daily_loss,
            loss_streak=1,
            max_consecutive_losses=0,
            gross_exposure=Decimal("0.103"),
            max_gross_exposure=profile.max_gross_exposure,
            min_balance=profile.min_balance,
            initial=INITIAL,
            orders_last_minute=6,
            max_orders_per_minute=60,
            reject_ratio=0.0,
            order_round_trip_ms_p99=21.4,
        ),
        bus=BusSnapshot(
            size=212,
            capacity=10_000,
            utilisation=0.0212,
            state="normal",
            published=48_211,
            dropped=0,
            delayed=0,
            conflated=1_204,
            high_water=612,
            types=BUS_TYPES,
        ),
        journal=JournalSnapshot(
            written=1_204,
            acknowledged=1_204,
            pending=0,
            dead_lettered=0,
            bytes=412_000,
            bytes_max=100_000_000,
        ),
        redis=RedisSnapshot(
            mode="managed",
            state=LinkState.UP,
            cause="auto: no URL, redis-server found",
            why="auto: no URL, redis-server found",
            last_answer_age_s=0.3,
            replayed=1_204,
            owner="desk-pc:/home/op/seawall",
            fence=3,
            stream="seawall:desk:events",
            was_up=True,
        ),
        database=DatabaseSnapshot(
            generation=2,
            healthy=True,
            lag_s=0.0,
            backup_name="state-1795250000000000000-g2.db",
            backup_ns=NOW_NS - 6 * 3_600_000_000_000,
            backup_age_s=21_600.0,
        ),
        links=LINKS,
        positions=POSITIONS,
        orders=ORDERS,
        recent_orders=RECENT_ORDERS,
        symbols=tuple(position.symbol for position in POSITIONS),
        alarms=(),
        gate=(),
        signals=SignalCounts(received=31, executed=12, blocked=2),
        loop_lag=LoopLag(p50=0.2, p99=4.1, max=12.0),
        ticks=48_211,
        fills=14,
        intents=14,
        market_age_s=0.2,
    )


def down_snapshot() -> EngineSnapshot:
    """Redis killed twelve seconds ago: entries are held, and the buffer fills."""
    cause = "nothing listens at its address"
    down = msgspec.structs.replace(
        LINKS[2], state=LinkState.DOWN, cause=cause, age_s=12.6, down_s=12.4, tries=14
    )
    running = running_snapshot()
    return msgspec.structs.replace(
        running,
        links=(*LINKS[:2], down, *LINKS[3:]),
        redis=msgspec.structs.replace(
            running.redis,
            state=LinkState.DOWN,
            cause=cause,
            last_answer_age_s=12.6,
            down_s=12.4,
            tries=14,
        ),
        journal=msgspec.structs.replace(
            running.journal,
            written=4_816,
            pending=3_611,
            dead_lettered=1,
            oldest_pending_age_s=12.4,
            bytes=1_460_000,
        ),
        policy=msgspec.structs.replace(
            running.policy,
            source="local snapshot",
            age_s=41.0,
            stale=True,
            note="there is no desk key here: of other nodes only stricter values are taken",
        ),
        link_history=LinkHistorySnapshot(
            outages=(OutageSnapshot(from_ns=NOW_NS - 12_400_000_000, to_ns=None, cause=cause),),
            outages_total=1,
        ),
        bus=msgspec.structs.replace(
            running.bus,
            errors=2,
            types=(
                *BUS_TYPES[:-1],
                msgspec.structs.replace(
                    BUS_TYPES[-1], handler_us_mean=51_200.0, handler_us_max=51_200.0
                ),
            ),
            handlers=(
                BusHandlerSnapshot(
                    name="alarms of the stop",
                    errors=2,
                    slow=1,
                    ms_max=63.2,
                    last_fault="KeyError: 'x' on order.filled, trace t-4",
                    last_fault_age_s=14.0,
                ),
            ),
        ),
        alarms=ALARMS,
    )


def replaying_snapshot() -> EngineSnapshot:
    """Redis is back, and a third of what waited has been sent."""
    cause = "reconnected"
    replaying = msgspec.structs.replace(LINKS[2], state=LinkState.REPLAYING, cause=cause)
    down = down_snapshot()
    to_ns = NOW_NS - 400_000_000
    return msgspec.structs.replace(
        down,
        links=(*LINKS[:2], replaying, *LINKS[3:]),
        redis=msgspec.structs.replace(
            down.redis,
            state=LinkState.REPLAYING,
            cause=cause,
            down_s=None,
            tries=0,
            last_answer_age_s=0.1,
            replay_remaining=8_421,
            replay_total=12_600,
        ),
        journal=msgspec.structs.replace(down.journal, pending=8_500, oldest_pending_age_s=14.0),
        link_history=LinkHistorySnapshot(
            outages=(msgspec.structs.replace(down.link_history.outages[0], to_ns=to_ns),),
            outages_total=1,
            recovery=RecoverySnapshot(
                began_ns=to_ns,
                steps=(RecoveryStepSnapshot(step="trips", ok=True, duration_ms=3.1),),
            ),
        ),
    )


def recovered_snapshot() -> EngineSnapshot:
    """After the outage: calm, with what happened on record."""
    running, outage = running_snapshot(), down_snapshot().link_history.outages[0]
    over = msgspec.structs.replace(outage, to_ns=NOW_NS - 60_000_000_000)
    steps = (
        ("pending_stops", 1.2),
        ("trips", 3.1),
        ("replay", 812.0),
        ("policy", 9.4),
        ("reconcile", 41.0),
    )
    return msgspec.structs.replace(
        running,
        link_history=LinkHistorySnapshot(
            outages=(
                msgspec.structs.replace(over, from_ns=NOW_NS - 72_400_000_000),
                OutageSnapshot(
                    from_ns=NOW_NS - 7_200_000_000_000,
                    to_ns=NOW_NS - 7_198_600_000_000,
                    cause="no answer in time: the server is frozen or paused, or cut off",
                ),
            ),
            outages_total=2,
            recovery=RecoverySnapshot(
                began_ns=NOW_NS - 60_000_000_000,
                steps=tuple(
                    RecoveryStepSnapshot(step=step, ok=True, duration_ms=ms) for step, ms in steps
                ),
                finished_ns=NOW_NS - 59_100_000_000,
                downtime_s=12.4,
                replayed=12_600,
                resumed_in_s=0.87,
            ),
        ),
    )


def _progress() -> tuple[PositionProgress, ...]:
    done = [
        PositionProgress(
            symbol=item.symbol,
            side=item.side,
            quantity_at_trip=item.quantity,
            left=Decimal(0),
            state_words=f"FLAT 14:32:0{at + 1}.9",
            attempts=1 + at // 2,
            last_answer=f"filled {item.quantity} @ {item.mark_price}",
            is_flat=True,
        )
        for at, item in enumerate(POSITIONS[:3])
    ]
    last = POSITIONS[3]
    stuck = PositionProgress(
        symbol=last.symbol,
        side=last.side,
        quantity_at_trip=last.quantity,
        left=None,
        state_words="UNKNOWN (no answer)",
        attempts=2,
        last_answer="timeout 5.0 s (no answer)",
        protected="STOP 0.5047 resting",
        next_try_ns=NOW_NS + 2_000_000_000,
    )
    return (*done, stuck)


def latched_emergency() -> EmergencySnapshot:
    """A stop with three positions flat and one unknown."""
    trip = Trip(
        id=TripId("t-1"),
        source=TripSource.BUTTON,
        reason="pressed in the main window",
        ts_ns=NOW_NS - 8_380_000_000,
    )
    return EmergencySnapshot(
        state=EmergencyState.FLATTENING,
        latched=True,
        trips=(trip,),
        reason=trip.reason,
        since_ns=trip.ts_ns,
        stages=(
            StageProgress(name="BLOCK", state=StageState.DONE, duration_s=0.004),
            StageProgress(name="CANCEL", state=StageState.DONE, done=8, total=8, duration_s=0.31),
            StageProgress(name="CLOSE", state=StageState.RUNNING, done=3, total=4),
            StageProgress(name="VERIFY", state=StageState.WAITING),
        ),
        positions=_progress(),
        positions_open=1,
        presses=1,
    )


def latched_snapshot() -> EngineSnapshot:
    """The desk in the middle of a stop."""
    alarm = AlarmSnapshot(
        id="a9",
        code="stop",
        priority=1,
        text="Emergency stop pressed",
        action="Watch the stop; close by hand at the venue what is not flat in 30 s.",
        ts_ns=NOW_NS - 8_380_000_000,
        first_out=True,
    )
    return msgspec.structs.replace(
        running_snapshot(),
        state=EngineState.LATCHED,
        emergency=latched_emergency(),
        positions=POSITIONS[3:],
        alarms=(alarm, *ALARMS),
        reset_conditions=(
            Condition(condition="Every position zero, two reads", met=False, why="XRPUSDT unknown"),
            *RESET_CONDITIONS[1:],
        ),
    )


def flat_snapshot(*, would_trip_again: tuple[str, ...] = ()) -> EngineSnapshot:
    """The desk stopped, flat and verified, every condition met."""
    emergency = latched_emergency()
    rows = tuple(
        msgspec.structs.replace(
            row,
            left=Decimal(0),
            state_words="FLAT 14:32:09.1",
            is_flat=True,
            next_try_ns=None,
            protected="",
        )
        for row in emergency.positions
    )
    stages = tuple(
        msgspec.structs.replace(stage, state=StageState.DONE, duration_s=stage.duration_s or 1.2)
        for stage in emergency.stages
    )
    return msgspec.structs.replace(
        latched_snapshot(),
        emergency=msgspec.structs.replace(
            emergency, state=EmergencyState.FLAT, positions=rows, stages=stages, positions_open=0
        ),
        positions=(),
        orders=(),
        reset_conditions=tuple(
            msgspec.structs.replace(item, met=True, why="") for item in RESET_CONDITIONS
        ),
        would_trip_again=would_trip_again,
    )


def preview_of(ticket: Ticket, *, reasons: tuple[Reason, ...] = ()) -> TicketPreview:
    """What an engine could say of a ticket, by round figures of its own."""
    quantity = ticket.quantity or Decimal("0.010")
    reference = ticket.price or Decimal("61301.5")
    notional = quantity * reference
    if ticket.reduce_only:
        return TicketPreview(
            ts_ns=NOW_NS,
            reasons=reasons,
            quantity=quantity,
            price=ticket.price,
            mark_price=Decimal("61301.5"),
            notional=notional,
            position_after=Decimal("0.032"),
            quantity_max=Decimal("0.042"),
        )
    return TicketPreview(
        ts_ns=NOW_NS,
        reasons=reasons,
        quantity=quantity,
        price=ticket.price,
        mark_price=Decimal("61301.5"),
        notional=notional,
        leverage=Decimal(5),
        margin=notional / 5,
        stop_price=(reference * Decimal("0.97")).quantize(Decimal("0.1")),
        take_profit_price=Decimal("65000.0") if ticket.take_profit else None,
        position_after=Decimal("0.052"),
        quantity_max=Decimal("0.119"),
        limits=(
            LimitRoom(
                name="max_order_notional",
                used=Decimal(0),
                after=notional,
                limit=Decimal(10_000),
            ),
            LimitRoom(
                name="max_position_notional",
                used=Decimal("2574.66"),
                after=Decimal("2574.66") + notional,
                limit=Decimal(10_000),
            ),
            LimitRoom(
                name="max_gross_exposure",
                used=Decimal("10286.70"),
                after=Decimal("10286.70") + notional,
                limit=Decimal("49935.71"),
            ),
            LimitRoom(
                name="margin",
                used=Decimal(0),
                after=notional / 5,
                limit=Decimal("97814.08"),
            ),
            LimitRoom(
                name="max_open_positions", used=Decimal(4), after=Decimal(4), limit=Decimal(5)
            ),
            LimitRoom(
                name="max_orders_per_minute", used=Decimal(6), after=Decimal(7), limit=Decimal(60)
            ),
        ),
    )


class FakeEngineClient:
    """An engine that says what the test wrote, and remembers what it was asked."""

    def __init__(self, snapshot: EngineSnapshot | None = None) -> None:
        self.now = snapshot or running_snapshot()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.handlers: list[Callable[[Event], None]] = []
        self.document = seeded(INITIAL, live=False, ts_ns=NOW_NS - 86_400_000_000_000)
        self.versions = [PolicyVersion(document=self.document, changes={})]
        self.history: tuple[HistoryPoint, ...] = ()
        parked = self.now.journal.dead_lettered
        self.letters: tuple[DeadLetter, ...] = LETTERS if parked else ()
        self.trip_latches = True
        # What the gate says against every ticket.
        self.against: tuple[Reason, ...] = ()
        # A command about orders is answered when this is set.
        self.orders_answer = asyncio.Event()
        self.orders_answer.set()

    # State down.

    def snapshot(self) -> EngineSnapshot:
        return self.now

    def show(self, snapshot: EngineSnapshot) -> None:
        """The engine moved on to this state."""
        self.now = msgspec.structs.replace(
            snapshot, monotonic_ns=self.now.monotonic_ns + 50_000_000
        )

    def alter(self, **fields: Any) -> None:
        """The engine moved on, these fields changed."""
        self.show(msgspec.structs.replace(self.now, **fields))

    def subscribe(self, handler: Callable[[Event], None]) -> Callable[[], None]:
        self.handlers.append(handler)
        return lambda: self.handlers.remove(handler)

    async def equity_history(self, *, since_ns: int) -> tuple[HistoryPoint, ...]:
        return tuple(point for point in self.history if point.ts_ns >= since_ns)

    # Commands up.

    def trip(self, *, source: TripSource, reason: str, scope: Scope = Scope.NODE) -> Trip:
        self.calls.append(("trip", {"source": source, "reason": reason}))
        presses = self.now.emergency.presses + 1
        trip = Trip(id=TripId(f"t-{presses}"), source=source, reason=reason, ts_ns=self.now.ts_ns)
        if self.trip_latches:
            emergency = latched_emergency() if presses == 1 else self.now.emergency
            emergency = msgspec.structs.replace(emergency, presses=presses, trips=(trip,))
            self.show(msgspec.structs.replace(latched_snapshot(), emergency=emergency))
        return trip

    def _answer(self, name: str, *, ok: bool = True, **fields: Any) -> CommandResult:
        self.calls.append((name, fields.pop("asked", {})))
        return CommandResult(
            ok=ok,
            state=self.now.state,
            emergency=self.now.emergency,
            version=self.document.version,
            **fields,
        )

    async def pause_closing(
        self, *, paused: bool, reason: str, author: str = "operator"
    ) -> CommandResult:
        self.alter(emergency=msgspec.structs.replace(self.now.emergency, paused=paused))
        return self._answer("pause_closing", asked={"paused": paused})

    async def halt(self, *, reason: str, author: str = "operator") -> CommandResult:
        self.alter(state=EngineState.HALTED)
        return self._answer("halt", asked={"reason": reason})

    async def resume(self, *, reason: str, author: str = "operator") -> CommandResult:
        self.alter(state=EngineState.RUNNING)
        return self._answer("resume", asked={"reason": reason})

    async def reduce_only(
        self, *, on: bool, reason: str, author: str = "operator"
    ) -> CommandResult:
        self.alter(
            state=EngineState.REDUCE_ONLY if on else EngineState.RUNNING,
            reduce_only_by_operator=reason if on else "",
        )
        return self._answer("reduce_only", asked={"on": on})

    async def start(
        self, *, reason: str, author: str = "operator", confirm_live: str = ""
    ) -> CommandResult:
        self.alter(state=EngineState.RUNNING)
        return self._answer("start", asked={"reason": reason, "confirm_live": confirm_live})

    def reset_conditions(self, request: ResetRequest) -> tuple[Condition, ...]:
        return self.now.reset_conditions

    async def reset(self, request: ResetRequest) -> CommandResult:
        unmet = tuple(item for item in self.reset_conditions(request) if not item.met)
        if not unmet:
            self.show(
                msgspec.structs.replace(running_snapshot(), state=EngineState.READY, positions=())
            )
        return self._answer("reset", ok=not unmet, unmet=unmet, asked={"request": request})

    def preview(self, ticket: Ticket) -> TicketPreview:
        self.calls.append(("preview", {"ticket": ticket}))
        return preview_of(ticket, reasons=self.against)

    async def submit(
        self, ticket: Ticket, *, reason: str, author: str = "operator"
    ) -> CommandResult:
        asked = {"ticket": ticket, "author": author, "reason": reason}
        await self.orders_answer.wait()
        if self.against:
            return self._answer(
                "submit", ok=False, message="not sent", reasons=self.against, asked=asked
            )
        made = order(40, str(ticket.symbol), str(ticket.side), "0.010", age_s=0.1)
        self.alter(orders=(*self.now.orders, made))
        return self._answer("submit", message="it is accepted", order=made, asked=asked)

    async def cancel_order(
        self, client_order_id: str, *, reason: str, author: str = "operator"
    ) -> CommandResult:
        await self.orders_answer.wait()
        kept = tuple(one for one in self.now.orders if one.client_order_id != client_order_id)
        self.alter(orders=kept)
        asked = {"order": client_order_id, "author": author, "reason": reason}
        return self._answer("cancel_order", message="it is cancelled", asked=asked)

    async def close_position(
        self,
        symbol: Symbol,
        *,
        quantity: Decimal | None,
        reason: str,
        author: str = "operator",
    ) -> CommandResult:
        await self.orders_answer.wait()
        kept = tuple(one for one in self.now.positions if one.symbol != symbol)
        if quantity is None:
            self.alter(positions=kept)
        asked = {"symbol": symbol, "quantity": quantity, "author": author, "reason": reason}
        return self._answer("close_position", message="it is filled", asked=asked)

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        return self.letters

    async def requeue(self, seq: int, *, author: str, reason: str) -> CommandResult:
        self.letters = tuple(
            letter._replace(requeued_seq=9_001) if letter.seq == seq else letter
            for letter in self.letters
        )
        asked = {"seq": seq, "author": author, "reason": reason}
        return self._answer("requeue", asked=asked, message=f"{seq} goes out again as 9001")

    async def back_up(self, *, author: str, reason: str) -> CommandResult:
        return self._answer("back_up", asked={"reason": reason}, message="made and checked")

    async def acknowledge_alarm(self, alarm_id: str) -> CommandResult:
        alarms = tuple(
            msgspec.structs.replace(item, state="acknowledged") if item.id == alarm_id else item
            for item in self.now.alarms
        )
        self.alter(alarms=alarms)
        return self._answer("acknowledge_alarm", asked={"alarm": alarm_id})

    # The policy, by the engine's own rules.

    def policy(self) -> PolicyDocument:
        return self.document

    def store(self, document: PolicyDocument, *, author: str, reason: str) -> None:
        """Store a new version, as another editor would."""
        before = self.document
        self.document = msgspec.structs.replace(
            document, version=before.version + 1, author=author, reason=reason, ts_ns=self.now.ts_ns
        )
        changes = diff(before, self.document)
        self.versions.insert(0, PolicyVersion(document=self.document, changes=changes))
        self.alter(
            policy=msgspec.structs.replace(
                self.now.policy,
                version=self.document.version,
                profile=self.document.profile,
                sha256=document_hash(self.document),
            )
        )

    async def check_policy(self, changes: Mapping[str, str]) -> CommandResult:
        return self._answer(
            "check_policy", ok=not self._problems(changes), problems=self._problems(changes)
        )

    def _problems(self, changes: Mapping[str, str]) -> dict[str, str]:
        try:
            return validate(with_changes(self.document, changes), live=False)
        except PolicyInvalid as error:
            return error.problems

    async def update_policy(
        self, changes: Mapping[str, str], *, base_version: int, author: str, reason: str
    ) -> CommandResult:
        asked = {"changes": dict(changes), "base": base_version, "reason": reason}
        if base_version != self.document.version:
            return self._answer(
                "update_policy",
                ok=False,
                conflict=True,
                message="based on an old version",
                asked=asked,
            )
        problems = self._problems(changes)
        if problems:
            return self._answer("update_policy", ok=False, problems=problems, asked=asked)
        self.store(with_changes(self.document, changes), author=author, reason=reason)
        return self._answer("update_policy", asked=asked)

    async def set_policy_mode(self, name: str, *, author: str, reason: str) -> CommandResult:
        self.store(with_changes(self.document, {"profile": name}), author=author, reason=reason)
        return self._answer("set_policy_mode", asked={"name": name})

    async def rollback_policy(self, version: int, *, author: str, reason: str) -> CommandResult:
        old = next(entry.document for entry in self.versions if entry.document.version == version)
        self.store(old, author=author, reason=reason)
        return self._answer("rollback_policy", asked={"version": version})

    async def resolve_policy(
        self, choice: str, *, base_version: int | None, author: str, reason: str
    ) -> CommandResult:
        asked = {"choice": choice, "base": base_version, "reason": reason}
        if self.now.policy.conflict is None:
            return self._answer("resolve_policy", ok=False, asked=asked)
        self.store(self.document, author=author, reason=reason)
        self.alter(policy=msgspec.structs.replace(self.now.policy, conflict=None))
        return self._answer("resolve_policy", asked=asked)

    async def policy_history(self) -> tuple[PolicyVersion, ...]:
        return tuple(self.versions)
