"""The composition root: builds an engine from its options, flat, top to bottom.

Nothing else calls a subsystem's constructor outside tests. What two siblings need of each other is
plugged together here, as ports and callables; a callable may name what is built further down, as
nothing is called before `Kernel.start`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from engine.bus import EventBus
from engine.database import DatabaseWriter
from engine.emergency_stop import (
    EmergencyStop,
    Exposure,
    KnownAccount,
    StopHooks,
    StopIdentity,
    StopVenue,
)
from engine.execution import (
    Books,
    ExecutionService,
    Hooks,
    Identity,
    Judgement,
    Timing,
    VenuePorts,
    announce,
)
from engine.health import AlarmDesk, ClockJumpDetector, LoopLagMonitor
from engine.intelligence import VolatilityBreakout
from engine.kernel.account_keeper import AccountKeeper
from engine.kernel.client import LocalClient
from engine.kernel.data_directory import DataDirectory
from engine.kernel.gatekeeper import Gatekeeper, InfrastructureParts, RiskParts
from engine.kernel.kernel import Kernel
from engine.kernel.market_hub import MarketHub
from engine.kernel.mode import ModeKeeper
from engine.kernel.options import KernelOptions
from engine.kernel.parts import Parts
from engine.kernel.storage import Storage, open_storage
from engine.market import ReplayFeed, SimulatedFeed
from engine.model.config import Configuration, RedisSection
from engine.model.emergency import Trip
from engine.model.events import (
    AccountEquityUpdated,
    AlarmRaised,
    EngineStateChanged,
    Event,
    MarketTick,
)
from engine.model.ids import Symbol
from engine.model.instrument import paper_instrument
from engine.model.policy import PolicyDocument, seeded
from engine.model.records import AlarmRecord, EquityMark
from engine.model.snapshots import EngineState
from engine.model.values import PositionSide
from engine.policy import PolicyStore, StateDatabaseAuthority, read_policy_file
from engine.portfolio import AccountView, Ledger, LedgerTotals
from engine.ports import Clock, MarketFeed
from engine.redis_link import RedisLink, choose
from engine.risk import (
    DrawdownBreaker,
    DrawdownState,
    Governor,
    GovernorRecord,
    MarkFilter,
    MarkWatch,
)
from engine.runtime import (
    Chance,
    IdSource,
    OrderIds,
    SimClock,
    Stamper,
    SystemClock,
    Tasks,
    read_stopwatch_ns,
)
from engine.venues.paper import PAPER_MIGRATIONS, PaperVenue

_log = logging.getLogger(__name__)
_GOVERNOR = "governor"
_CURRENCY = "USDT"


async def build_kernel(options: KernelOptions, *, clock: Clock) -> Kernel:
    """Open the data directory and build everything; `Kernel.start` makes it live.

    Raises DataDirectoryInUse, StoreError, ConfigurationError, PolicyInvalid; nothing stays open
    then.
    """
    storage = await open_storage(
        DataDirectory(options.data_dir), configuration=options.effective, clock=clock
    )
    try:
        return await _build(options, storage, clock)
    except BaseException:
        await storage.close()
        raise


async def _build(options: KernelOptions, storage: Storage, clock: Clock) -> Kernel:
    configuration = options.effective
    node, state = configuration.node.name, storage.open_state
    io_clock: Clock = SystemClock() if isinstance(clock, SimClock) else clock
    ids = IdSource()
    stamper = Stamper(clock=clock, ids=ids, source="engine")
    chance = Chance(seed=configuration.market.seed, name="kernel")
    faults: list[str] = []
    # Named by callables below and built further down.
    mode: ModeKeeper
    breaker: DrawdownBreaker
    gatekeeper: Gatekeeper
    execution: ExecutionService
    kernel: Kernel
    bus = EventBus(clock=clock, stopwatch=read_stopwatch_ns, log=storage.journal, stamper=stamper)
    alarms = AlarmDesk(
        clock=clock,
        stamp=stamper,
        ids=ids,
        publish=lambda record, event: _publish_alarm(storage, bus, record, event),
    )

    def on_fault(name: str, error: BaseException | None) -> None:
        """A task died: no new risk until a person has looked; exits and window go on."""
        text = f"task {name}: {error!r}" if error is not None else f"task {name} ended"
        faults.append(text)
        alarms.raise_alarm("INVARIANT_BROKEN", text, key=name)
        mode.set_halted(f"fault in {text}")

    tasks = Tasks(on_fault=on_fault)
    settings = choose(
        _redis_section(options, configuration),
        node=node,
        run_folder=options.data_dir / "run",
        was_linked=await storage.journal.was_linked(),
    )
    await storage.journal.open(standalone=settings.is_standalone)
    redis = RedisLink(
        settings=settings,
        journal=storage.journal,
        bus=bus,
        stamper=stamper,
        io_clock=io_clock,
        chance=Chance(seed=configuration.market.seed, name="redis"),
        on_fault=on_fault,
        on_recovered=lambda: kernel.reconcile_after_outage(),
    )

    # --- money: venue, ledger, market
    venue_writer = DatabaseWriter(path=storage.directory.paper_db, migrations=PAPER_MIGRATIONS)
    await venue_writer.open()
    venue = PaperVenue(
        clock=clock,
        writer=venue_writer,
        settings=configuration.paper,
        instrument=paper_instrument,
        final_check=lambda approved: gatekeeper.final_check(approved),
    )
    await venue.start()
    ledger = _ledger(storage, configuration, ids, venue, clock)
    market = MarketHub(bus=bus, clock=clock, stamper=stamper, venue=venue)
    feed = _feed(options, configuration, clock, venue)

    # --- the stop, the policy and the judges
    stop = EmergencyStop(
        venue=StopVenue(exits=venue, reads=venue, streams=venue),
        account=KnownAccount(
            exposures=lambda: _exposures(ledger, execution, market), instrument=paper_instrument
        ),
        latch=storage.latch,
        identity=StopIdentity(node=node, generation=storage.generation, owner=storage.owner),
        clock=clock,
        ids=ids,
        bus=bus,
        hooks=StopHooks(
            on_trip=lambda trip: _record_trip(storage, trip),
            record_closing=lambda intent: execution.record_closing(intent),
        ),
    )
    mode = ModeKeeper(
        latch=stop,
        on_change=lambda to, why: _tell_state(bus, stamper, to, why),
    )
    mode.show_trips(lambda: tuple(trip.id for trip in stop.trips))
    policy = PolicyStore(
        authority=StateDatabaseAuthority(store=storage.store),
        clock=clock,
        stamp=stamper,
        announce=lambda event: announce(bus, event, journaled=True),
        emergency=stop,
        loosening_refused=lambda: _loosening_refused(stop, breaker),
        live=False,
    )
    await policy.open(lambda: _first_policy(configuration, clock))
    marks = MarkFilter(clock=clock, profile=policy.active)
    breaker = DrawdownBreaker(
        profile=policy.active,
        trip=lambda source, reason: stop.trip(source=source, reason=reason),
        emit=lambda event: announce(bus, event),
        stamp=stamper,
    )
    governor = Governor(
        rungs=lambda: policy.active().governor,
        trip=lambda source, reason: stop.trip(source=source, reason=reason),
        emit=lambda event: announce(bus, event),
        stamp=stamper,
        remember=lambda record: _noted(
            storage.store.record_standing(_GOVERNOR, msgspec.json.encode(record).decode())
        ),
        restored=_governor_record(state.standing),
    )
    account = AccountKeeper(
        ledger=ledger,
        marks=marks,
        breaker=breaker,
        governor=governor,
        bus=bus,
        clock=clock,
        stamper=stamper,
        persist=lambda view, event: _persist_equity(storage, bus, ledger, view, event),
    )
    mark_watch = MarkWatch(
        clock=clock,
        marks=marks,
        open_symbols=lambda: tuple(position.symbol for position in ledger.positions()),
        read_mark=lambda symbol: _read_mark(venue, symbol),
        count=account.count,
        on_blind=breaker.set_blind,
    )

    # --- health, gate, execution
    loop_lag = LoopLagMonitor(
        stopwatch=read_stopwatch_ns,
        on_frozen=lambda seconds, _: alarms.raise_alarm(
            "LOOP_FROZEN", f"stood still for {seconds:.1f} s"
        ),
        enabled=not isinstance(clock, SimClock),
    )
    clock_jump = ClockJumpDetector(
        clock=clock,
        loop_ns=_loop_ns(clock),
        on_jump=lambda text: kernel.after_clock_jump(text),
    )
    gatekeeper = Gatekeeper(
        clock=clock,
        mode=mode,
        market=market,
        risk=RiskParts(
            breaker=breaker, governor=governor, ledger=ledger, policy=policy, latch=stop
        ),
        infrastructure=InfrastructureParts(
            bus=bus,
            redis=redis,
            streams=venue,
            loop_lag=loop_lag,
            clock_jump=clock_jump,
            store_health=lambda: (
                storage.writer.healthy,
                storage.writer.last_error,
                storage.writer.lag_s,
            ),
        ),
        instrument=paper_instrument,
    )
    execution = ExecutionService(
        venue=VenuePorts(entry=venue, exits=venue, reads=venue),
        books=Books(store=storage.store, ledger=ledger),
        bus=bus,
        timing=Timing(clock=clock, stopwatch=read_stopwatch_ns, jitter=chance.random),
        identity=Identity(
            order_ids=OrderIds(
                node=node, generation=storage.generation, highest=state.highest_number
            ),
            ids=ids,
            stamper=stamper,
        ),
        judgement=Judgement(
            permission=gatekeeper.permission,
            size_entry=gatekeeper.size_entry,
            profile=policy.active,
            instrument=paper_instrument,
        ),
        hooks=Hooks(
            is_latched=stop.is_latched,
            on_illegal=lambda record, trigger: alarms.raise_alarm(
                "ILLEGAL_TRANSITION",
                f"{record.client_order_id} is {record.state.value} and heard {trigger.value}",
            ),
            on_naked=lambda symbol, why: None,
            on_force_close_failed=lambda symbol, why: _alarm(
                alarms, "FORCE_CLOSE_FAILED", symbol, why
            ),
            on_reconciliation_failed=lambda why: _alarm(
                alarms, "VENUE_STREAM_DOWN", "reconciliation", why
            ),
            on_booked=account.on_booked,
        ),
        tasks=tasks,
    )
    gatekeeper.attach(execution)
    venue.subscribe(execution.booking.on_update)
    strategy = VolatilityBreakout(
        ids=ids, position_side=lambda symbol: PositionSide.of(ledger.quantity(symbol))
    )

    def on_tick(tick: Event) -> None:
        assert isinstance(tick, MarketTick)
        account.on_tick(tick)
        if mode.base is EngineState.RUNNING:
            signal = strategy.on_trade(tick.symbol, tick.price, tick.ts_ns)
            if signal is not None:
                execution.signals.submit(signal)

    bus.subscribe(on_tick, types=(MarketTick,), name="account and strategy")
    parts = Parts(
        options=options,
        clock=clock,
        io_clock=io_clock,
        stopwatch=read_stopwatch_ns,
        ids=ids,
        stamper=stamper,
        tasks=tasks,
        storage=storage,
        bus=bus,
        redis=redis,
        policy=policy,
        ledger=ledger,
        venue=venue,
        venue_writer=venue_writer,
        feed=feed,
        market=market,
        marks=marks,
        mark_watch=mark_watch,
        breaker=breaker,
        governor=governor,
        stop=stop,
        mode=mode,
        gatekeeper=gatekeeper,
        execution=execution,
        account=account,
        strategy=strategy,
        alarms=alarms,
        loop_lag=loop_lag,
        clock_jump=clock_jump,
    )
    kernel = Kernel(parts=parts, client=LocalClient(parts=parts), faults=faults)
    return kernel


# --- what the root needs in small -----------------------------------------------------------------


def _redis_section(options: KernelOptions, configuration: Configuration) -> RedisSection:
    section = configuration.redis
    if section.mode == "auto" and not section.url and options.runs_on_simulated_time:
        # A recorded hour passes in seconds: mirroring it to a server made for the occasion proves
        # nothing and would put real time into a run that must repeat to the bit (docs/adr).
        return msgspec.structs.replace(section, mode="standalone")
    return section


def _ledger(
    storage: Storage, configuration: Configuration, ids: IdSource, venue: PaperVenue, clock: Clock
) -> Ledger:
    state = storage.open_state
    ledger = Ledger(
        initial=configuration.paper.initial_balance,
        ids=ids,
        now_ns=clock.now_ns(),
        currency=_CURRENCY,
    )
    if state.totals_json is not None:
        ledger.restore(
            totals=msgspec.json.decode(state.totals_json, type=LedgerTotals),
            positions=state.positions,
            open_trades=state.trades,
            marks=venue.last_marks(),
            now_ns=clock.now_ns(),
        )
    return ledger


def _feed(
    options: KernelOptions, configuration: Configuration, clock: Clock, venue: PaperVenue
) -> MarketFeed:
    symbols = tuple(Symbol(name) for name in configuration.market.symbols)
    if configuration.market.feed == "replay":
        return ReplayFeed(
            clock=clock,
            path=Path(configuration.market.source),
            speed=options.speed,
            symbols=(),
        )
    return SimulatedFeed(
        clock=clock,
        symbols=symbols,
        seed=configuration.market.seed,
        scenario=configuration.market.scenario,
        start_prices=venue.last_marks(),
    )


def _first_policy(configuration: Configuration, clock: Clock) -> PolicyDocument:
    if configuration.policy.file:
        return read_policy_file(Path(configuration.policy.file), live=False, ts_ns=clock.now_ns())
    return seeded(configuration.paper.initial_balance, live=False, ts_ns=clock.now_ns())


def _governor_record(standing: dict[str, str]) -> GovernorRecord:
    text = standing.get(_GOVERNOR)
    return GovernorRecord() if text is None else msgspec.json.decode(text, type=GovernorRecord)


def _exposures(
    ledger: Ledger, execution: ExecutionService, market: MarketHub
) -> tuple[Exposure, ...]:
    """Every symbol in which we have a position or an order in flight."""
    symbols = {position.symbol for position in ledger.positions()}
    symbols |= {record.intent.symbol for record in execution.desk.open_orders()}
    return tuple(
        Exposure(symbol=symbol, quantity=ledger.quantity(symbol), mark=market.last_price(symbol))
        for symbol in sorted(symbols)
    )


def _tell_state(bus: EventBus, stamper: Stamper, state: EngineState, why: str) -> None:
    bus.emit(EngineStateChanged(**stamper(), state=state.value, why=why))


def _loosening_refused(stop: EmergencyStop, breaker: DrawdownBreaker) -> str | None:
    if stop.is_latched():
        return "the emergency stop is latched"
    if breaker.state in {DrawdownState.SOFT, DrawdownState.HARD}:
        return "the drawdown is beyond its soft limit"
    return None


def _persist_equity(
    storage: Storage,
    bus: EventBus,
    ledger: Ledger,
    view: AccountView,
    event: AccountEquityUpdated,
) -> None:
    mark = EquityMark(
        ts_ns=event.ts_ns,
        equity=view.equity,
        balance=view.balance,
        unrealised=view.unrealised,
        peak=view.peak,
        drawdown=view.drawdown,
    )
    _noted(storage.store.record_equity_mark(mark, ledger.totals, (event,)))
    bus.emit(event, journaled=True)


async def _read_mark(venue: PaperVenue, symbol: Symbol) -> Decimal | None:
    """The paper venue's own last price: its market is the feed, so a silent feed stays silent."""
    for position in await venue.positions():
        if position.symbol == symbol:
            return position.mark_price
    return None


def _alarm(alarms: AlarmDesk, code: str, key: str, why: str) -> None:
    if why:
        alarms.raise_alarm(code, f"{key}: {why}", key=key)
    else:
        alarms.clear_alarm(code, key=key)


def _publish_alarm(
    storage: Storage, bus: EventBus, record: AlarmRecord, event: AlarmRaised
) -> None:
    """On disk beside; an alarm is shown at once, also when the disk is the cause of it."""
    _noted(storage.store.record_alarm(record, (event,)))
    announce(bus, event, journaled=True)


def _loop_ns(clock: Clock) -> Callable[[], int] | None:
    """The loop's own clock, which does not count through suspend; none on simulated time."""
    if isinstance(clock, SimClock):
        return None
    loop = asyncio.get_running_loop()
    return lambda: int(loop.time() * 1e9)


def _record_trip(storage: Storage, trip: Trip) -> None:
    _noted(storage.store.record_trip(trip))


def _noted(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it: a failure is logged, and the writer's health shuts the gate."""

    def done(ended: asyncio.Future[Any]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            _log.error("not recorded: %s", error)

    future.add_done_callback(done)


__all__ = ["build_kernel"]
