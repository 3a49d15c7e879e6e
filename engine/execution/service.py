"""`ExecutionService`: carries signals to the venue and reports what became of them.

Guarantees: an intent is durable before its order is sent, an execution is booked once, an unknown
outcome is looked up and never guessed. Does not: judge risk, choose size (both are given to it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from engine.bus import EventBus
from engine.execution.booking import Booking
from engine.execution.collaborators import Identity, Judgement, Timing, VenuePorts
from engine.execution.entries import EntrySender
from engine.execution.exits import ExitSender
from engine.execution.holding import LOOK_EVERY_S, HoldingLimit
from engine.execution.look_up import LookUp
from engine.execution.order_desk import OrderDesk
from engine.execution.protection import MissingHandler, Protection
from engine.execution.reconciliation import Reconciliation
from engine.execution.recorder import Recorder
from engine.execution.signal_desk import SignalDesk
from engine.execution.venue_watch import VenueWatch
from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import Symbol
from engine.model.orders import Intent, OrderPurpose, OrderRecord, OrderTrigger
from engine.model.venue import StreamUpdate
from engine.portfolio import Ledger
from engine.ports import Clock
from engine.runtime import Stamper, Tasks
from engine.trade_state import TradeStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Where money is kept: on disk and in memory."""

    store: TradeStore
    ledger: Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Whom execution tells. `on_booked` hears the symbol of each booking."""

    is_latched: Callable[[], bool]
    on_illegal: Callable[[OrderRecord, OrderTrigger], None]
    on_missing: MissingHandler
    on_force_close_failed: Callable[[Symbol, str], None]
    on_reconciliation_failed: Callable[[str], None]
    on_booked: Callable[[Symbol], None]


class ExecutionService:
    """The parts of execution, put together."""

    def __init__(
        self,
        *,
        venue: VenuePorts,
        books: Books,
        bus: EventBus,
        timing: Timing,
        identity: Identity,
        judgement: Judgement,
        hooks: Hooks,
        tasks: Tasks,
    ) -> None:
        clock, stamper = timing.clock, identity.stamper
        self._clock = clock
        self._tasks = tasks
        self._hooks = hooks
        self._ledger = books.ledger
        self._store = books.store
        self.recorder = Recorder(bus=bus, clock=clock, on_caught_up=self._save_totals)
        self.desk = OrderDesk(
            store=books.store,
            recorder=self.recorder,
            clock=clock,
            stamper=stamper,
            on_illegal=hooks.on_illegal,
        )
        self.booking = Booking(
            desk=self.desk,
            ledger=books.ledger,
            store=books.store,
            recorder=self.recorder,
            stamper=stamper,
            on_booked=self._booked,
        )
        self.look_up = LookUp(
            venue=venue,
            desk=self.desk,
            booking=self.booking,
            clock=clock,
            tasks=tasks,
            on_missed=lambda fill: self.reconciliation.missed(fill),
        )
        self.exits = ExitSender(
            venue=venue,
            desk=self.desk,
            clock=clock,
            identity=identity,
            instrument=judgement.instrument,
            look_up=self.look_up,
        )
        self.entries = EntrySender(
            venue=venue,
            desk=self.desk,
            look_up=self.look_up,
            timing=timing,
            identity=identity,
            judgement=judgement,
            tasks=tasks,
        )
        self._build_keepers(venue, bus, clock, stamper, judgement)

    def _build_keepers(
        self,
        venue: VenuePorts,
        bus: EventBus,
        clock: Clock,
        stamper: Stamper,
        judgement: Judgement,
    ) -> None:
        """What keeps the books and the positions in order, on top of the senders."""
        self.protection = Protection(
            exits=self.exits,
            desk=self.desk,
            ledger=self._ledger,
            clock=clock,
            judgement=judgement,
            tasks=self._tasks,
            on_missing=self._hooks.on_missing,
            is_latched=self._hooks.is_latched,
        )
        self.holding = HoldingLimit(
            exits=self.exits,
            ledger=self._ledger,
            clock=clock,
            bus=bus,
            stamper=stamper,
            profile=judgement.profile,
            is_latched=self._hooks.is_latched,
            on_failed=self._hooks.on_force_close_failed,
        )
        self.reconciliation = reconciliation = Reconciliation(
            venue=venue,
            desk=self.desk,
            booking=self.booking,
            look_up=self.look_up,
            ledger=self._ledger,
            clock=clock,
            bus=bus,
            stamper=stamper,
        )
        self.venue_watch = VenueWatch(
            venue=venue,
            desk=self.desk,
            ledger=self._ledger,
            clock=clock,
            reconciliation=reconciliation,
            tasks=self._tasks,
            on_failed=self._hooks.on_reconciliation_failed,
        )
        self.signals = SignalDesk(
            entries=self.entries,
            exits=self.exits,
            bus=bus,
            clock=clock,
            stamper=stamper,
            tasks=self._tasks,
            profile=judgement.profile,
        )

    def _save_totals(self) -> None:
        totals = self._ledger.totals
        self.recorder.save(lambda: self._store.record_totals(totals), ())

    def _booked(self, symbol: Symbol) -> None:
        self.protection.look(symbol)
        if self.holding.is_overdue(symbol):
            self._look_at_holding()
        self._hooks.on_booked(symbol)

    def _look_at_holding(self) -> None:
        self._tasks.spawn("holding limit, a look", self.holding.look())

    async def _watch_holding(self) -> None:
        """A close that hangs must not put the next look off."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            self._look_at_holding()

    def on_update(self, update: StreamUpdate) -> None:
        """One message of the venue's private stream."""
        self.booking.on_update(update)
        self.venue_watch.heard(update)

    def start(self) -> None:
        """Start the standing tasks; called after the first reconciliation."""
        self._tasks.spawn("signals", self.signals.serve(), forever=True)
        self._tasks.spawn("recorder retries", self.recorder.retry_forever(), forever=True)
        self._tasks.spawn("look-ups", self.look_up.watch(), forever=True)
        self._tasks.spawn("protection", self.protection.watch(), forever=True)
        self._tasks.spawn("holding limit", self._watch_holding(), forever=True)
        self._tasks.spawn("reconciliation", self.venue_watch.watch(), forever=True)
        for position in self._ledger.positions():
            self.protection.look(position.symbol)

    def record_closing(self, intent: Intent) -> None:
        """The emergency stop sends this close; know it, record it beside, never hold it up."""
        self.desk.intend(intent)
        self.desk.move(intent.client_order_id, OrderTrigger.SENT)
        self.look_up.sent(intent.client_order_id)

    async def cancel_entries(self) -> int:
        """Cancel every resting entry (halt); their number. Failures are settled by
        reconciliation.
        """
        cancelled = 0
        for record in tuple(self.desk.open_orders()):
            if record.intent.purpose is not OrderPurpose.ENTRY:
                continue
            try:
                await self.exits.cancel(record)
            except (Refused, NotExecuted, OutcomeUnknown, TimeoutError) as error:
                _log.warning("cancel of %s: %s", record.client_order_id, error)
            else:
                cancelled += 1
        return cancelled


__all__ = ["Books", "ExecutionService", "Hooks"]
