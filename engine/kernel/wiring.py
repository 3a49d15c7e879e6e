"""What the composition root needs in small: the functions that plug two siblings together.

Each is handed everything it uses; none keeps anything. Errors of what nobody waits for are logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.bus import EventBus
from engine.emergency_stop import (
    EmergencyStop,
    Exposure,
)
from engine.execution import (
    ExecutionService,
    announce,
)
from engine.health import AlarmDesk
from engine.kernel.market_hub import MarketHub
from engine.kernel.mode import ModeKeeper
from engine.kernel.options import KernelOptions
from engine.kernel.storage import Storage
from engine.kernel.venue_desk import VenueDesk, VenueTransport
from engine.market import ReplayFeed, SimulatedFeed
from engine.model.config import Configuration, RedisSection
from engine.model.events import (
    AccountEquityUpdated,
    AlarmRaised,
    EngineStateChanged,
)
from engine.model.ids import Symbol
from engine.model.orders import OrderPurpose
from engine.model.policy import PolicyDocument, seeded
from engine.model.records import AlarmRecord, EquityMark
from engine.model.snapshots import EngineState
from engine.model.values import ZERO
from engine.policy import read_policy_file
from engine.portfolio import AccountView, Ledger, LedgerTotals
from engine.ports import Clock, MarketFeed
from engine.risk import (
    DrawdownBreaker,
    DrawdownState,
    GovernorRecord,
)
from engine.runtime import (
    Chance,
    IdSource,
    SimClock,
    Stamper,
    Tasks,
)
from engine.venues.public import open_venue_feed

_log = logging.getLogger(__name__)
GOVERNOR = "governor"
CURRENCY = "USDT"


def redis_section(options: KernelOptions, configuration: Configuration) -> RedisSection:
    section = configuration.redis
    if section.mode == "auto" and not section.url and options.runs_on_simulated_time:
        # A recorded hour passes in seconds: mirroring it to a server made for the occasion proves
        # nothing and would put real time into a run that must repeat to the bit (docs/adr).
        return msgspec.structs.replace(section, mode="standalone")
    return section


def ledger(
    storage: Storage, configuration: Configuration, ids: IdSource, venue: VenueDesk, clock: Clock
) -> Ledger:
    state = storage.open_state
    ledger = Ledger(
        # An exchange's wallet is not known yet: the first start reads it.
        initial=(
            configuration.paper.initial_balance if has_simulated_books(configuration) else None
        ),
        ids=ids,
        now_ns=clock.now_ns(),
        currency=CURRENCY,
    )
    if state.totals_json is not None:
        ledger.restore(
            totals=msgspec.json.decode(state.totals_json, type=LedgerTotals),
            positions=state.positions,
            open_trades=state.trades,
            marks=venue.last_marks(),
            now_ns=clock.now_ns(),
            stamp_ns=state.positions_stamp_ns,
        )
    return ledger


def feed(
    options: KernelOptions,
    configuration: Configuration,
    clock: Clock,
    venue: VenueDesk,
    tasks: Tasks,
    transport: VenueTransport,
) -> MarketFeed:
    symbols = tuple(Symbol(name) for name in configuration.market.symbols)
    if configuration.market.feed == "venue":
        return open_venue_feed(
            configuration.venue,
            symbols=symbols,
            clock=clock,
            chance=Chance(seed=configuration.market.seed, name="feed"),
            tasks=tasks,
            transport=transport,
        )
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


def is_paper(configuration: Configuration) -> bool:
    """Whether no exchange's account is asked for; a dry run reads one, and keeps live's rules."""
    return configuration.engine.mode == "paper"


def has_simulated_books(configuration: Configuration) -> bool:
    """Whether our own paper books are traded, and not an exchange's account."""
    return configuration.engine.mode != "live"


def first_policy(configuration: Configuration, clock: Clock) -> PolicyDocument:
    """From the file that the configuration names, else seeded; where the capital is not known yet,
    with limits of zero, which let nothing through.
    """
    live = not is_paper(configuration)
    if configuration.policy.file:
        return read_policy_file(Path(configuration.policy.file), live=live, ts_ns=clock.now_ns())
    is_known = has_simulated_books(configuration)
    capital = configuration.paper.initial_balance if is_known else ZERO
    return seeded(capital, live=live, ts_ns=clock.now_ns())


def governor_record(standing: dict[str, str]) -> GovernorRecord:
    text = standing.get(GOVERNOR)
    return GovernorRecord() if text is None else msgspec.json.decode(text, type=GovernorRecord)


def exposures(
    ledger: Ledger, execution: ExecutionService, market: MarketHub
) -> tuple[Exposure, ...]:
    """Every symbol in which we have a position or an order in flight."""
    symbols = {position.symbol for position in ledger.positions()}
    symbols |= {record.intent.symbol for record in execution.desk.open_orders()}
    return tuple(
        Exposure(symbol=symbol, quantity=ledger.quantity(symbol), mark=market.last_price(symbol))
        for symbol in sorted(symbols)
    )


def tell_state(bus: EventBus, stamper: Stamper, state: EngineState, why: str) -> None:
    bus.emit(EngineStateChanged(**stamper(), state=state.value, why=why))


def loosening_refused(stop: EmergencyStop, breaker: DrawdownBreaker) -> str | None:
    if stop.is_latched():
        return "the emergency stop is latched"
    if breaker.state in {DrawdownState.SOFT, DrawdownState.HARD}:
        return "the drawdown is beyond its soft limit"
    return None


def persist_equity(
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
    noted(storage.store.record_equity_mark(mark, ledger.totals, (event,)))
    bus.emit(event, journaled=True)


def alarm(alarms: AlarmDesk, code: str, key: str, why: str) -> None:
    if why:
        alarms.raise_alarm(code, f"{key}: {why}", key=key)
    else:
        alarms.clear_alarm(code, key=key)


def unprotected(alarms: AlarmDesk, purpose: OrderPurpose, symbol: Symbol, why: str) -> None:
    """A position lacks what should rest with it; an empty text: it has it again."""
    if purpose is OrderPurpose.TAKE_PROFIT:
        alarm(alarms, "TAKE_PROFIT_MISSING", symbol, why)
    else:
        alarm(alarms, "POSITION_UNPROTECTED", f"{symbol} stop", why)


def publish_alarm(storage: Storage, bus: EventBus, record: AlarmRecord, event: AlarmRaised) -> None:
    """On disk beside; an alarm is shown at once, also when the disk is the cause of it."""
    noted(storage.store.record_alarm(record, (event,)))
    announce(bus, event, journaled=True)


def loop_ns(clock: Clock) -> Callable[[], int] | None:
    """The loop's own clock, which does not count through suspend; none on simulated time."""
    if isinstance(clock, SimClock):
        return None
    loop = asyncio.get_running_loop()
    return lambda: int(loop.time() * 1e9)


def commands_wait_for(*, recovering: bool, mode: ModeKeeper) -> str:
    """Why commands from the bus wait, all but halts and trips; nothing when they need not."""
    if mode.base in {EngineState.OFF, EngineState.STARTING, EngineState.STOPPING}:
        return f"the engine is {mode.base}"
    return "the recovery of the link" if recovering else ""


def noted(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it: a failure is logged, and the writer's health shuts the gate."""

    def done(ended: asyncio.Future[Any]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            _log.error("not recorded: %s", error)

    future.add_done_callback(done)


__all__ = [
    "CURRENCY",
    "GOVERNOR",
    "alarm",
    "commands_wait_for",
    "exposures",
    "feed",
    "first_policy",
    "governor_record",
    "has_simulated_books",
    "is_paper",
    "ledger",
    "loop_ns",
    "loosening_refused",
    "noted",
    "persist_equity",
    "publish_alarm",
    "redis_section",
    "tell_state",
    "unprotected",
]
