"""The first stages of the composition root: disk, bus, link, venue, books, stop and policy.

What they need of a later stage (the gate, execution, the kernel itself) is named in a callable and
not called before `Kernel.start`. `engine.kernel.build` goes on from here.
"""

from __future__ import annotations

import logging
import os

from engine.bus import EventBus
from engine.emergency_stop import EmergencyStop, KnownAccount, StopHooks, StopIdentity, StopVenue
from engine.execution import ExecutionService, announce
from engine.health import AlarmDesk
from engine.kernel import wiring
from engine.kernel.backup_keeper import BackupKeeper
from engine.kernel.desk_emergency import DeskEmergency
from engine.kernel.gatekeeper import Gatekeeper
from engine.kernel.kernel import Kernel
from engine.kernel.keys import FoundKey, find_api_key, find_desk_key, read_desk_key
from engine.kernel.market_hub import MarketHub
from engine.kernel.mode import ModeKeeper
from engine.kernel.options import KernelOptions
from engine.kernel.recovery import recovery_parts
from engine.kernel.standing import BOOKS_OPENED
from engine.kernel.storage import Storage
from engine.kernel.taken_back import Rebuilding
from engine.kernel.taking_back import TakingBack
from engine.kernel.venue_desk import VenueDesk, VenueNeeds, VenueTransport, open_venue
from engine.kernel.whose_books import claim_books
from engine.model.api_key import ApiKey
from engine.model.desk_key import DeskKey
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
from engine.risk import DrawdownBreaker
from engine.runtime import (
    Chance,
    CountingStopwatch,
    IdSource,
    SimClock,
    Stamper,
    SystemClock,
    Tasks,
    read_stopwatch_ns,
)
from engine.trade_state import TAKE_BACK

_log = logging.getLogger(__name__)


class Foundations:
    """One stage a method, in the order of `build`; the parts are its attributes."""

    desk_key: DeskKey
    found_key: FoundKey
    ingress: Ingress | None = None
    bus: EventBus
    alarms: AlarmDesk
    tasks: Tasks
    backups: BackupKeeper
    redis: RedisLink
    venue: VenueDesk
    ledger: Ledger
    market: MarketHub
    feed: MarketFeed
    stop: EmergencyStop
    desk_emergency: DeskEmergency
    mode: ModeKeeper
    policy: PolicyStore
    desk_policy: DeskPolicy | None
    # Of later stages.
    breaker: DrawdownBreaker
    gatekeeper: Gatekeeper
    execution: ExecutionService
    kernel: Kernel

    def __init__(
        self,
        options: KernelOptions,
        storage: Storage,
        clock: Clock,
        vault: KeyVault,
        transport: VenueTransport,
    ) -> None:
        self.options = options
        self.transport = transport
        self.vault = vault
        self.configuration = options.effective
        self.storage = storage
        self.clock = clock
        self.io_clock: Clock = SystemClock() if isinstance(clock, SimClock) else clock
        self.ids = IdSource()
        self.stamper = Stamper(clock=clock, ids=self.ids, source="engine")
        self.faults: list[str] = []

    async def lay(self) -> None:
        """Every stage of this half."""
        await claim_books(self.storage, self.configuration)
        self._foundation()
        await self._link()
        await self._money()
        self._stop_and_mode()
        await self._policy()

    async def abandon(self) -> None:
        """Close what was opened before a stage failed."""
        if hasattr(self, "venue"):
            await self.venue.close()
        await self.storage.close()

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
                initial=(
                    configuration.paper.initial_balance
                    if wiring.has_simulated_books(configuration)
                    else None
                ),
                currency=wiring.CURRENCY,
                node=configuration.node.name,
                latched=latch.latched or bool(latch.damage),
                live=not wiring.is_paper(configuration),
                now_ns=self.clock.now_ns(),
            ),
        ).run()

    async def _money(self) -> None:
        self.venue = await open_venue(
            configuration=self.configuration,
            directory=self.storage.directory,
            needs=VenueNeeds(
                clock=self.clock,
                chance=Chance(seed=self.configuration.market.seed, name="venue"),
                tasks=self.tasks,
                final_check=lambda approved: self.gatekeeper.final_check(approved),
                books_opened_ns=int(self.storage.open_state.standing.get(BOOKS_OPENED, "0")),
            ),
            key=await self._venue_key(),
            transport=self.transport,
        )
        self.ledger = wiring.ledger(
            self.storage, self.configuration, self.ids, self.venue, self.clock
        )
        self.market = MarketHub(
            bus=self.bus, clock=self.clock, stamper=self.stamper, venue=self.venue
        )
        self.feed = wiring.feed(
            self.options, self.configuration, self.clock, self.venue, self.tasks, self.transport
        )

    async def _venue_key(self) -> ApiKey | None:
        """The exchange's key; ConfigurationError when there is none. Paper needs none."""
        if wiring.is_paper(self.configuration):
            return None
        name, account = self.configuration.venue.name, self.options.account
        found = await find_api_key(os.environ, self.vault, name, account)
        _log.info("key for %s: %s", name, found.why)
        return found.key

    def _stop_and_mode(self) -> None:
        self.stop = EmergencyStop(
            venue=StopVenue(
                exits=self.venue.exits,
                reads=self.venue.emergency_reads,
                streams=self.venue.streams,
            ),
            account=KnownAccount(
                exposures=lambda: wiring.exposures(self.ledger, self.execution, self.market),
                instrument=self.venue.exit_instrument,
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
            live=not wiring.is_paper(self.configuration),
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


__all__ = ["Foundations"]
