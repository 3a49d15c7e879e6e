"""The composition root: builds an engine from its options, stage by stage, top to bottom.

Nothing else calls a subsystem's constructor outside tests. What two siblings need of each other is
plugged together here, as ports and callables; a callable may name a part that a later stage builds,
as nothing is called before `Kernel.start`.
"""

from __future__ import annotations

import logging
import os

import msgspec

from engine.bus import EventBus
from engine.database import DatabaseWriter
from engine.emergency_stop import (
    EmergencyStop,
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
from engine.kernel import wiring
from engine.kernel.account_keeper import AccountKeeper
from engine.kernel.backup_keeper import BackupKeeper
from engine.kernel.client import LocalClient
from engine.kernel.data_directory import DataDirectory
from engine.kernel.desk_emergency import DeskEmergency
from engine.kernel.gatekeeper import Gatekeeper, InfrastructureParts, RiskParts
from engine.kernel.kernel import Kernel
from engine.kernel.keyring_vault import KeyringVault
from engine.kernel.keys import FoundKey, find_desk_key, read_desk_key
from engine.kernel.market_hub import MarketHub
from engine.kernel.mode import ModeKeeper
from engine.kernel.options import KernelOptions
from engine.kernel.parts import Parts
from engine.kernel.recovery import recovery_parts
from engine.kernel.standing import HALTED, REDUCE_ONLY
from engine.kernel.storage import Storage, open_storage
from engine.kernel.taken_back import Rebuilding
from engine.kernel.taking_back import TakingBack
from engine.model.desk_key import DeskKey
from engine.model.events import Event, MarketTick
from engine.model.instrument import paper_instrument
from engine.model.limits import COMMAND_STOPS_REMEMBERED
from engine.model.orders import OrderRecord, OrderTrigger
from engine.model.snapshots import EngineState
from engine.model.values import PositionSide
from engine.policy import DeskPolicy, PolicyStore, StateDatabaseAuthority
from engine.portfolio import Ledger
from engine.ports import Clock, KeyVault, MarketFeed
from engine.redis_link import (
    POLICY_TOPIC,
    Ingress,
    LinkSettings,
    RedisLink,
    RedisSharedPolicy,
    SharedEmergency,
    choose,
)
from engine.risk import DrawdownBreaker, Governor, MarkFilter, MarkWatch
from engine.runtime import (
    Chance,
    CountingStopwatch,
    IdSource,
    OrderIds,
    SimClock,
    Stamper,
    SystemClock,
    Tasks,
    read_stopwatch_ns,
)
from engine.trade_state import TAKE_BACK
from engine.venues.paper import PAPER_MIGRATIONS, PaperVenue

_log = logging.getLogger(__name__)


async def build_kernel(
    options: KernelOptions, *, clock: Clock, vault: KeyVault | None = None
) -> Kernel:
    """Open the data directory and build everything; `Kernel.start` makes it live.

    `vault` holds the desk key where the environment has none: the operating system's keyring unless
    given. Raises DataDirectoryInUse, StoreError, ConfigurationError, PolicyInvalid; nothing stays
    open then.
    """
    storage = await open_storage(
        DataDirectory(options.data_dir), configuration=options.effective, clock=clock
    )
    builder = _Builder(options, storage, clock, vault or KeyringVault())
    try:
        return await builder.build()
    except BaseException:
        await builder.abandon()
        raise


class _Builder:
    """One stage a method, in the order of `build`; the parts are its attributes."""

    desk_key: DeskKey
    found_key: FoundKey
    ingress: Ingress | None = None
    bus: EventBus
    alarms: AlarmDesk
    tasks: Tasks
    backups: BackupKeeper
    redis: RedisLink
    venue_writer: DatabaseWriter
    venue: PaperVenue
    ledger: Ledger
    market: MarketHub
    feed: MarketFeed
    stop: EmergencyStop
    desk_emergency: DeskEmergency
    mode: ModeKeeper
    policy: PolicyStore
    desk_policy: DeskPolicy | None
    marks: MarkFilter
    breaker: DrawdownBreaker
    governor: Governor
    account: AccountKeeper
    mark_watch: MarkWatch
    loop_lag: LoopLagMonitor
    clock_jump: ClockJumpDetector
    gatekeeper: Gatekeeper
    execution: ExecutionService
    strategy: VolatilityBreakout
    kernel: Kernel

    def __init__(
        self, options: KernelOptions, storage: Storage, clock: Clock, vault: KeyVault
    ) -> None:
        self.options = options
        self.vault = vault
        self.configuration = options.effective
        self.storage = storage
        self.clock = clock
        self.io_clock: Clock = SystemClock() if isinstance(clock, SimClock) else clock
        self.ids = IdSource()
        self.stamper = Stamper(clock=clock, ids=self.ids, source="engine")
        self.faults: list[str] = []

    async def build(self) -> Kernel:
        """Every stage, then the kernel."""
        self._foundation()
        await self._link()
        await self._money()
        self._stop_and_mode()
        await self._policy()
        self._judges()
        self._watchers()
        self._gate()
        self._execution()
        self._strategy()
        parts = self._parts()
        self.kernel = Kernel(parts=parts, client=LocalClient(parts=parts), faults=self.faults)
        self._restore()
        await self._commands_from_the_bus()
        return self.kernel

    async def abandon(self) -> None:
        """Close what was opened before a stage failed."""
        if hasattr(self, "venue_writer"):
            await self.venue_writer.close()
        await self.storage.close()

    # --- stages ---------------------------------------------------------------------------------

    def _foundation(self) -> None:
        # On simulated time a drain ends at the same event in every run, whatever the machine does.
        is_simulated = isinstance(self.clock, SimClock)
        self.bus = EventBus(
            clock=self.clock,
            stopwatch=CountingStopwatch(step_ns=10_000) if is_simulated else read_stopwatch_ns,
            log=self.storage.journal,
            stamper=self.stamper,
        )
        self.alarms = AlarmDesk(
            clock=self.clock,
            stamp=self.stamper,
            ids=self.ids,
            publish=lambda record, event: wiring.publish_alarm(
                self.storage, self.bus, record, event
            ),
        )
        self.tasks = Tasks(on_fault=self._on_fault)
        self.backups = BackupKeeper(
            folder=self.storage.backups,
            database=self.storage.directory.state_db,
            clock=self.clock,
            on_failed=lambda why: wiring.alarm(self.alarms, "BACKUP_FAILED", "state.db", why),
        )

    def _on_fault(self, name: str, error: BaseException | None) -> None:
        """A task died: no new risk until a person has looked; exits and window go on."""
        text = f"task {name}: {error!r}" if error is not None else f"task {name} ended"
        self.faults.append(text)
        self.alarms.raise_alarm("INVARIANT_BROKEN", text, key=name)
        self.mode.set_halted(f"fault in {text}")

    async def _link(self) -> None:
        settings = choose(
            wiring.redis_section(self.options, self.configuration),
            node=self.configuration.node.name,
            run_folder=self.options.data_dir / "run",
            was_linked=await self.storage.journal.was_linked(),
        )
        await self._take_back(settings)
        await self.storage.journal.open(standalone=settings.is_standalone)
        # Standalone there is nobody to sign for: no keyring is asked to unlock itself.
        self.found_key = (
            FoundKey(read_desk_key(os.environ), "no bus to sign for")
            if settings.is_standalone
            else await find_desk_key(os.environ, self.vault)
        )
        self.desk_key = self.found_key.key
        _log.info("desk key: %s", self.found_key.why)
        self.redis = RedisLink(
            settings=settings,
            journal=self.storage.journal,
            bus=self.bus,
            stamper=self.stamper,
            io_clock=self.io_clock,
            chance=Chance(seed=self.configuration.market.seed, name="redis"),
            on_fault=self._on_fault,
            recovery=lambda: recovery_parts(
                redis=self.redis,
                exchange_trips=self.desk_emergency.exchange,
                policy=self.desk_policy,
                ingress=self.ingress,
                reconcile=self.kernel.reconcile_after_outage,
            ),
        )

    async def _take_back(self, settings: LinkSettings) -> None:
        """What a restored database had lost, before anything is built on it."""
        storage, configuration = self.storage, self.configuration
        if TAKE_BACK not in storage.open_state.standing:
            return
        latch = storage.latch_state
        await TakingBack(
            storage=storage,
            settings=settings,
            clock=self.clock,
            io_clock=self.io_clock,
            stopwatch=read_stopwatch_ns,
            rebuilding=Rebuilding(
                state=storage.open_state,
                initial=configuration.paper.initial_balance,
                currency=wiring.CURRENCY,
                node=configuration.node.name,
                latched=latch.latched or bool(latch.damage),
                live=False,
                now_ns=self.clock.now_ns(),
            ),
        ).run()

    async def _money(self) -> None:
        self.venue_writer = DatabaseWriter(
            path=self.storage.directory.paper_db, migrations=PAPER_MIGRATIONS
        )
        await self.venue_writer.open()
        self.venue = PaperVenue(
            clock=self.clock,
            writer=self.venue_writer,
            settings=self.configuration.paper,
            instrument=paper_instrument,
            final_check=lambda approved: self.gatekeeper.final_check(approved),
        )
        await self.venue.start()
        self.ledger = wiring.ledger(
            self.storage, self.configuration, self.ids, self.venue, self.clock
        )
        self.market = MarketHub(
            bus=self.bus, clock=self.clock, stamper=self.stamper, venue=self.venue
        )
        self.feed = wiring.feed(self.options, self.configuration, self.clock, self.venue)

    def _stop_and_mode(self) -> None:
        self.stop = EmergencyStop(
            venue=StopVenue(exits=self.venue, reads=self.venue, streams=self.venue),
            account=KnownAccount(
                exposures=lambda: wiring.exposures(self.ledger, self.execution, self.market),
                instrument=paper_instrument,
            ),
            latch=self.storage.latch,
            identity=StopIdentity(
                node=self.configuration.node.name,
                generation=self.storage.generation,
                owner=self.storage.owner,
            ),
            clock=self.clock,
            ids=self.ids,
            bus=self.bus,
            hooks=StopHooks(
                on_trip=lambda trip: self.desk_emergency.on_trip(trip),
                record_closing=lambda intent: self.execution.record_closing(intent),
            ),
        )
        self.mode = ModeKeeper(
            latch=self.stop,
            on_change=lambda state, why: wiring.tell_state(self.bus, self.stamper, state, why),
        )
        self.desk_emergency = DeskEmergency(
            storage=self.storage,
            stop=self.stop,
            redis=self.redis,
            shared=SharedEmergency(
                command=self.redis.desk,
                node=self.configuration.node.name,
                desk_key=self.desk_key,
            ),
            alarms=self.alarms,
            bus=self.bus,
            io_clock=self.io_clock,
            stamper=self.stamper,
        )
        self.mode.show_trips(self.desk_emergency.blocking)

    async def _policy(self) -> None:
        node = self.configuration.node.name
        self.policy = PolicyStore(
            authority=StateDatabaseAuthority(
                store=self.storage.store, node=node, new_line=f"{node}:{self.ids.next('l')}"
            ),
            clock=self.clock,
            stamp=self.stamper,
            announce=lambda event: announce(self.bus, event, journaled=True),
            emergency=self.desk_emergency,
            loosening_refused=lambda: wiring.loosening_refused(self.stop, self.breaker),
            live=False,
            node=node,
        )
        await self.policy.open(lambda: wiring.first_policy(self.configuration, self.clock))
        self.desk_policy = None if self.redis.is_standalone else self._desk_policy(node)

    def _desk_policy(self, node: str) -> DeskPolicy:
        desk = DeskPolicy(
            shared=RedisSharedPolicy(desk=self.redis.desk, key=self.desk_key, node=node),
            keeper=self.policy.keeper,
            io_clock=self.io_clock,
            tasks=self.tasks,
            on_alarm=lambda code, why: wiring.alarm(self.alarms, code, "seawall:policy", why),
        )
        self.policy.share(desk)
        self.redis.hear(POLICY_TOPIC, desk.heard)
        return desk

    def _judges(self) -> None:
        self.breaker = DrawdownBreaker(
            profile=self.policy.active,
            trip=lambda source, reason: self.stop.trip(source=source, reason=reason),
            emit=lambda event: announce(self.bus, event),
            stamp=self.stamper,
        )
        self.governor = Governor(
            rungs=lambda: self.policy.active().governor,
            trip=lambda source, reason: self.stop.trip(source=source, reason=reason),
            emit=lambda event: announce(self.bus, event),
            stamp=self.stamper,
            remember=lambda record: wiring.noted(
                self.storage.store.record_standing(
                    wiring.GOVERNOR, msgspec.json.encode(record).decode()
                )
            ),
            restored=wiring.governor_record(self.storage.open_state.standing),
        )
        self.marks = MarkFilter(clock=self.clock, profile=self.policy.active)
        self.account = AccountKeeper(
            ledger=self.ledger,
            marks=self.marks,
            breaker=self.breaker,
            governor=self.governor,
            bus=self.bus,
            clock=self.clock,
            stamper=self.stamper,
            persist=lambda view, event: wiring.persist_equity(
                self.storage, self.bus, self.ledger, view, event
            ),
        )

    def _watchers(self) -> None:
        self.mark_watch = MarkWatch(
            clock=self.clock,
            marks=self.marks,
            open_symbols=lambda: tuple(entry.symbol for entry in self.ledger.positions()),
            read_mark=lambda symbol: wiring.read_mark(self.venue, symbol),
            count=self.account.count,
            on_blind=self.breaker.set_blind,
        )
        self.loop_lag = LoopLagMonitor(
            stopwatch=read_stopwatch_ns,
            on_frozen=lambda seconds, _: self.alarms.raise_alarm(
                "LOOP_FROZEN", f"stood still for {seconds:.1f} s"
            ),
            enabled=not isinstance(self.clock, SimClock),
        )
        self.clock_jump = ClockJumpDetector(
            clock=self.clock,
            loop_ns=wiring.loop_ns(self.clock),
            on_jump=lambda text: self.kernel.after_clock_jump(text),
        )

    def _gate(self) -> None:
        writer = self.storage.writer
        self.gatekeeper = Gatekeeper(
            clock=self.clock,
            mode=self.mode,
            market=self.market,
            risk=RiskParts(
                breaker=self.breaker,
                governor=self.governor,
                ledger=self.ledger,
                policy=self.policy,
                latch=self.stop,
            ),
            infrastructure=InfrastructureParts(
                bus=self.bus,
                redis=self.redis,
                desk_unread=self.desk_emergency.unread_why,
                streams=self.venue,
                loop_lag=self.loop_lag,
                clock_jump=self.clock_jump,
                store_health=lambda: (writer.healthy, writer.last_error, writer.lag_s),
            ),
            instrument=paper_instrument,
        )

    def _execution(self) -> None:
        chance = Chance(seed=self.configuration.market.seed, name="execution")
        self.execution = ExecutionService(
            venue=VenuePorts(entry=self.venue, exits=self.venue, reads=self.venue),
            books=Books(store=self.storage.store, ledger=self.ledger),
            bus=self.bus,
            timing=Timing(clock=self.clock, stopwatch=read_stopwatch_ns, jitter=chance.random),
            identity=Identity(
                order_ids=OrderIds(
                    node=self.configuration.node.name,
                    generation=self.storage.generation,
                    highest=self.storage.open_state.highest_number,
                ),
                ids=self.ids,
                stamper=self.stamper,
            ),
            judgement=Judgement(
                permission=self.gatekeeper.permission,
                size_entry=self.gatekeeper.size_entry,
                profile=self.policy.active,
                instrument=paper_instrument,
            ),
            hooks=self._hooks(),
            tasks=self.tasks,
        )
        self.gatekeeper.attach(self.execution)
        self.venue.subscribe(self.execution.booking.on_update)

    def _hooks(self) -> Hooks:
        alarms = self.alarms

        def on_illegal(record: OrderRecord, trigger: OrderTrigger) -> None:
            text = f"{record.client_order_id} is {record.state.value} and heard {trigger.value}"
            alarms.raise_alarm("ILLEGAL_TRANSITION", text)

        return Hooks(
            is_latched=self.stop.is_latched,
            on_illegal=on_illegal,
            on_naked=lambda symbol, why: wiring.alarm(
                alarms, "POSITION_UNPROTECTED", f"{symbol} stop", why
            ),
            on_force_close_failed=lambda symbol, why: wiring.alarm(
                alarms, "FORCE_CLOSE_FAILED", symbol, why
            ),
            on_reconciliation_failed=lambda why: wiring.alarm(
                alarms, "VENUE_STREAM_DOWN", "reconciliation", why
            ),
            on_booked=self.account.on_booked,
        )

    def _strategy(self) -> None:
        strategy = self.strategy = VolatilityBreakout(
            ids=self.ids,
            position_side=lambda symbol: PositionSide.of(self.ledger.quantity(symbol)),
        )
        account, mode, signals = self.account, self.mode, self.execution.signals

        def on_tick(tick: Event) -> None:
            assert isinstance(tick, MarketTick)
            account.on_tick(tick)
            if mode.base is EngineState.RUNNING:
                signal = strategy.on_trade(tick.symbol, tick.price, tick.ts_ns)
                if signal is not None:
                    signals.submit(signal)

        self.bus.subscribe(on_tick, types=(MarketTick,), name="account and strategy")

    def _restore(self) -> None:
        """What the last run left, before anything is started or shown. The latch last: a latched
        stop goes on at once.
        """
        state = self.storage.open_state
        self.execution.desk.restore(state.orders)
        self.execution.booking.restore(state.executions, last_fill_ns=state.last_fill_ns)
        self.alarms.restore(state.alarms)
        self.mode.set_halted(state.standing.get(HALTED))
        self.mode.set_operator_reduce_only(state.standing.get(REDUCE_ONLY))
        self.stop.restore(self.storage.latch_state)

    async def _commands_from_the_bus(self) -> None:
        if self.redis.is_standalone:
            return
        target, ledger = self.kernel.client.from_bus, self.storage.store.commands
        target.restore(await ledger.stops_done(limit=COMMAND_STOPS_REMEMBERED))
        self.ingress = Ingress(
            node=self.configuration.node.name,
            key=self.desk_key,
            key_why=self.found_key.why,
            ledger=ledger,
            target=target,
            bus=self.bus,
            stamper=self.stamper,
            io_clock=self.io_clock,
        )
        self.ingress.wait_while(
            lambda: wiring.commands_wait_for(recovering=self.redis.recovering, mode=self.mode)
        )
        self.redis.read_commands_with(self.ingress)

    def _parts(self) -> Parts:
        return Parts(
            options=self.options,
            clock=self.clock,
            io_clock=self.io_clock,
            stopwatch=read_stopwatch_ns,
            ids=self.ids,
            stamper=self.stamper,
            tasks=self.tasks,
            storage=self.storage,
            backups=self.backups,
            bus=self.bus,
            redis=self.redis,
            policy=self.policy,
            desk_policy=self.desk_policy,
            ledger=self.ledger,
            venue=self.venue,
            venue_writer=self.venue_writer,
            feed=self.feed,
            market=self.market,
            marks=self.marks,
            mark_watch=self.mark_watch,
            breaker=self.breaker,
            governor=self.governor,
            stop=self.stop,
            desk_emergency=self.desk_emergency,
            mode=self.mode,
            gatekeeper=self.gatekeeper,
            execution=self.execution,
            account=self.account,
            strategy=self.strategy,
            alarms=self.alarms,
            loop_lag=self.loop_lag,
            clock_jump=self.clock_jump,
        )


__all__ = ["build_kernel"]
