"""The parts of a running engine, as the kernel hands them to its own helpers. Built in `build`."""

from __future__ import annotations

from dataclasses import dataclass

from engine.bus import EventBus
from engine.emergency_stop import EmergencyStop
from engine.execution import ExecutionService
from engine.health import AlarmDesk, ClockJumpDetector, LoopLagMonitor
from engine.intelligence import VolatilityBreakout
from engine.kernel.account_keeper import AccountKeeper
from engine.kernel.backup_keeper import BackupKeeper
from engine.kernel.dead_man import DeadMan
from engine.kernel.desk_emergency import DeskEmergency
from engine.kernel.gatekeeper import Gatekeeper
from engine.kernel.market_hub import MarketHub
from engine.kernel.mode import ModeKeeper
from engine.kernel.options import KernelOptions
from engine.kernel.storage import Storage
from engine.kernel.venue_desk import VenueDesk
from engine.policy import DeskPolicy, PolicyStore
from engine.portfolio import Ledger
from engine.ports import Clock, MarketFeed
from engine.redis_link import RedisLink
from engine.risk import DrawdownBreaker, Governor, MarkFilter, MarkWatch
from engine.runtime import IdSource, Stamper, Stopwatch, Tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything, by name."""

    options: KernelOptions
    clock: Clock
    io_clock: Clock
    stopwatch: Stopwatch
    ids: IdSource
    stamper: Stamper
    tasks: Tasks
    storage: Storage
    backups: BackupKeeper
    bus: EventBus
    redis: RedisLink
    policy: PolicyStore
    # None in standalone: nobody shares it.
    desk_policy: DeskPolicy | None
    ledger: Ledger
    venue: VenueDesk
    feed: MarketFeed
    market: MarketHub
    marks: MarkFilter
    mark_watch: MarkWatch
    breaker: DrawdownBreaker
    governor: Governor
    stop: EmergencyStop
    desk_emergency: DeskEmergency
    mode: ModeKeeper
    gatekeeper: Gatekeeper
    execution: ExecutionService
    account: AccountKeeper
    dead_man: DeadMan
    strategy: VolatilityBreakout
    alarms: AlarmDesk
    loop_lag: LoopLagMonitor
    clock_jump: ClockJumpDetector


__all__ = ["Parts"]
