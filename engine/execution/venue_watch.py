"""When our books are compared with the venue's: at once when the private stream is back, every
60 s, and more often while the stream does not say what happens (R-EXE-7).

While the stream is down, or has said nothing for a minute, and there is something that could change
(a position, an order that is not final; with the stream down, somebody else's trade too), the venue
is looked at every 5 s: its positions, and the open orders of the symbols that concern us, which is
cheap. What differs from our books starts a whole run. A run that failed is tried again after 2 s.
On the loop; seconds of the trading clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from engine.execution.collaborators import VenuePorts
from engine.execution.order_desk import OrderDesk
from engine.execution.reconciliation import Reconciliation
from engine.model.errors import VenueError
from engine.model.ids import Symbol
from engine.model.orders import OrderState
from engine.model.venue import StreamUpdate, VenueOrder
from engine.portfolio import Ledger, net_of
from engine.ports import Clock
from engine.runtime import Tasks, within

_log = logging.getLogger(__name__)
RUN_EVERY_S = 60.0
LOOK_EVERY_S = 5.0
SILENT_AFTER_S = 60.0
_RETRY_S = 2.0
_READ_S = 5.0
# Above this, all open orders at once cost less than those of each symbol.
_SYMBOLS_MAX = 20
_RESTING = frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED})


class VenueWatch:
    """Keeps the comparison going. `heard` is told every update of the private stream."""

    def __init__(
        self,
        *,
        venue: VenuePorts,
        desk: OrderDesk,
        ledger: Ledger,
        clock: Clock,
        reconciliation: Reconciliation,
        tasks: Tasks,
        on_failed: Callable[[str], None],
    ) -> None:
        """`on_failed` hears why a run failed, and "" when one succeeded."""
        self._venue = venue
        self._desk = desk
        self._ledger = ledger
        self._clock = clock
        self._reconciliation = reconciliation
        self._tasks = tasks
        self._on_failed = on_failed
        self._heard_ns = clock.monotonic_ns()
        self._is_watching = False
        self._is_unread = False
        self._changes = 0
        self.looks = 0

    @property
    def is_current(self) -> bool:
        """Whether what happened while the stream was away has been read."""
        return not self._is_unread

    @property
    def is_silent(self) -> bool:
        """Whether the stream says nothing, because it is down or for no reason that we know."""
        silent_s = (self._clock.monotonic_ns() - self._heard_ns) / 1e9
        return not self._venue.streams.is_connected() or silent_s > SILENT_AFTER_S

    def heard(self, update: StreamUpdate) -> None:
        """The stream spoke, or spoke of itself."""
        self._heard_ns = self._clock.monotonic_ns()
        if update.connected is None:
            return
        self._changes += 1
        self._is_unread = self._is_watching
        if update.connected and self._is_watching:
            self._tasks.spawn("reconciliation after a gap", self._run_until_read())

    async def watch(self) -> None:
        """For ever, from the first run on."""
        self._is_watching = True
        since_run_s = RUN_EVERY_S if self._reconciliation.is_waiting else 0.0
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            since_run_s += LOOK_EVERY_S
            if since_run_s >= RUN_EVERY_S or await self._finds_difference():
                since_run_s = 0.0 if await self._run() else RUN_EVERY_S - _RETRY_S

    async def _run_until_read(self) -> None:
        """After a gap entries are held until one run has succeeded."""
        while self._is_unread and self._venue.streams.is_connected():
            if not await self._run():
                await self._clock.sleep(_RETRY_S)

    async def _run(self) -> bool:
        changes = self._changes
        try:
            await self._reconciliation.run()
        except (VenueError, TimeoutError) as error:
            _log.warning("reconciliation failed: %s", error)
            self._on_failed(str(error))
            return False
        self._on_failed("")
        if self._reconciliation.is_waiting:
            return False
        # A run that began before the stream was back may have read too early.
        if changes == self._changes and self._venue.streams.is_connected():
            self._is_unread = False
        return True

    # --- looking more often ----------------------------------------------------------------------

    async def _finds_difference(self) -> bool:
        """A look at what could have changed without our hearing of it; a failed look finds none."""
        symbols = self._symbols()
        if not self.is_silent or not (symbols or not self._venue.streams.is_connected()):
            return False
        self.looks += 1
        reads = self._venue.reads
        try:
            positions = await within(self._clock, _READ_S, reads.positions())
            orders = await self._open_orders(symbols)
        except (VenueError, TimeoutError) as error:
            _log.info("a look at the venue failed: %s", error)
            return False
        theirs = {entry.symbol: entry.quantity for entry in net_of(positions)}
        ours = {entry.symbol: entry.quantity for entry in self._ledger.positions()}
        resting = {
            record.client_order_id
            for record in self._desk.open_orders()
            if record.state in _RESTING
        }
        return theirs != ours or {order.client_order_id for order in orders} != resting

    def _symbols(self) -> set[Symbol]:
        """Symbols in which something could change."""
        symbols = {position.symbol for position in self._ledger.positions()}
        return symbols | {record.intent.symbol for record in self._desk.open_orders()}

    async def _open_orders(self, symbols: set[Symbol]) -> list[VenueOrder]:
        reads = self._venue.reads
        if len(symbols) > _SYMBOLS_MAX:
            return list(await within(self._clock, _READ_S, reads.open_orders()))
        found: list[VenueOrder] = []
        for symbol in sorted(symbols):
            found.extend(await within(self._clock, _READ_S, reads.open_orders(symbol)))
        return found


__all__ = ["LOOK_EVERY_S", "RUN_EVERY_S", "SILENT_AFTER_S", "VenueWatch"]
