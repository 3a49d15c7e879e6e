"""The composition root: builds an engine from its options, stage by stage, top to bottom.

Nothing else calls a subsystem's constructor outside tests. What two siblings need of each other is
plugged together here, as ports and callables; a callable may name a part that a later stage builds,
as nothing is called before `Kernel.start`.
"""

from __future__ import annotations

import logging

import msgspec

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
from engine.health import ClockJumpDetector, LoopLagMonitor
from engine.intelligence import VolatilityBreakout
from engine.kernel import wiring
from engine.kernel.account_keeper import AccountKeeper
from engine.kernel.client import LocalClient
from engine.kernel.data_directory import DataDirectory
from engine.kernel.dead_man import DeadMan
from engine.kernel.foundations import Foundations
from engine.kernel.gatekeeper import Gatekeeper, InfrastructureParts, RiskParts
from engine.kernel.kernel import Kernel
from engine.kernel.keyring_vault import KeyringVault
from engine.kernel.options import KernelOptions
from engine.kernel.parts import Parts
from engine.kernel.standing import HALTED, LIVE_CONFIRMED, REDUCE_ONLY
from engine.kernel.storage import open_storage
from engine.kernel.venue_desk import VenueTransport, network
from engine.model.events import Event, MarketMark, MarketTick
from engine.model.limits import COMMAND_STOPS_REMEMBERED
from engine.model.orders import OrderRecord, OrderTrigger
from engine.model.snapshots import EngineState
from engine.model.values import PositionSide
from engine.ports import Clock, KeyVault
from engine.redis_link import (
    Ingress,
)
from engine.risk import DrawdownBreaker, Governor, MarkFilter, MarkWatch
from engine.runtime import (
    Chance,
    OrderIds,
    SimClock,
    read_stopwatch_ns,
)

_log = logging.getLogger(__name__)


async def build_kernel(
    options: KernelOptions,
    *,
    clock: Clock,
    vault: KeyVault | None = None,
    transport: VenueTransport | None = None,
) -> Kernel:
    """Open the data directory and build everything; `Kernel.start` makes it live.

    `vault` holds the keys that the environment has not: the operating system's keyring unless
    given. `transport` carries what goes to an exchange: the network unless given. Raises
    DataDirectoryInUse, StoreError, ConfigurationError, PolicyInvalid; nothing stays open then.
    """
    options.check()
    storage = await open_storage(
        DataDirectory(options.data_dir), configuration=options.effective, clock=clock
    )
    builder = _Builder(
        options, storage, clock, vault or KeyringVault(), transport or network(clock)
    )
    try:
        return await builder.build()
    except BaseException:
        await builder.abandon()
        raise


class _Builder(Foundations):
    """The stages on top: judges, watchers, gate, execution, strategy; then the kernel."""

    marks: MarkFilter
    governor: Governor
    account: AccountKeeper
    mark_watch: MarkWatch
    loop_lag: LoopLagMonitor
    clock_jump: ClockJumpDetector
    strategy: VolatilityBreakout

    async def build(self) -> Kernel:
        """Every stage, then the kernel."""
        await self.lay()
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
            read_mark=self.venue.read_mark,
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
                venue=self.venue,
                loop_lag=self.loop_lag,
                clock_jump=self.clock_jump,
                store_health=lambda: (writer.healthy, writer.last_error, writer.lag_s),
            ),
            instrument=self.venue.instrument,
        )

    def _execution(self) -> None:
        chance = Chance(seed=self.configuration.market.seed, name="execution")
        self.execution = ExecutionService(
            venue=VenuePorts(
                entry=self.venue.entry,
                exits=self.venue.exits,
                reads=self.venue.reads,
                streams=self.venue.streams,
            ),
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
                instrument=self.venue.exit_instrument,
            ),
            hooks=self._hooks(),
            tasks=self.tasks,
        )
        self.gatekeeper.attach(self.execution)
        self.venue.streams.subscribe(self.execution.on_update)

    def _hooks(self) -> Hooks:
        alarms = self.alarms

        def on_illegal(record: OrderRecord, trigger: OrderTrigger) -> None:
            text = f"{record.client_order_id} is {record.state.value} and heard {trigger.value}"
            alarms.raise_alarm("ILLEGAL_TRANSITION", text)

        return Hooks(
            is_latched=lambda: self.stop.is_latched() or not self.mode.is_confirmed,
            on_illegal=on_illegal,
            on_missing=lambda purpose, symbol, why: wiring.unprotected(
                alarms, purpose, symbol, why
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
        account, market, mode = self.account, self.market, self.mode
        signals = self.execution.signals

        def on_tick(tick: Event) -> None:
            assert isinstance(tick, MarketTick)
            account.on_tick(tick)
            if mode.base is EngineState.RUNNING:
                signal = strategy.on_trade(tick.symbol, tick.price, tick.ts_ns)
                if signal is not None:
                    signals.submit(signal)

        def on_mark(mark: Event) -> None:
            assert isinstance(mark, MarketMark)
            if market.is_quiet(mark.symbol):
                account.on_mark(mark)

        self.bus.subscribe(on_tick, types=(MarketTick,), name="account and strategy")
        self.bus.subscribe(on_mark, types=(MarketMark,), name="marks of the venue")

    def _restore(self) -> None:
        """What the last run left, before anything is started or shown. The latch last: a latched
        stop goes on at once.
        """
        state = self.storage.open_state
        self.execution.desk.restore(state.orders)
        self.execution.booking.restore(
            state.executions,
            last_fill_ns=state.last_fill_ns,
            inferred=state.inferred,
            inferred_count=state.inferred_count,
        )
        self.alarms.restore(state.alarms)
        is_live = self.configuration.engine.mode == "live"
        self.mode.is_confirmed = not is_live or LIVE_CONFIRMED in state.standing
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
            dead_man=DeadMan(
                venue=self.venue,
                execution=self.execution,
                ledger=self.ledger,
                bus=self.bus,
                clock=self.clock,
            ),
            strategy=self.strategy,
            alarms=self.alarms,
            loop_lag=self.loop_lag,
            clock_jump=self.clock_jump,
        )


__all__ = ["build_kernel"]
