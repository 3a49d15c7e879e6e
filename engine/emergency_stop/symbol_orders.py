"""One symbol's orders during a stop: cancelled until the venue shows none that could add risk.

Every ordinary order and each conditional one that could add risk goes, until that was acknowledged;
protective stops stay until the closers of the symbol are done with them. In hedge mode a symbol
has two closers and these orders belong to both. Closing never waits for an acknowledgement longer
than `STOP_CANCEL_WAIT_S`: `may_close` is set by then. Times are monotonic nanoseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.emergency_stop.collaborators import StopVenue
from engine.emergency_stop.failures import Failure, attempt, retry_delay_s
from engine.model.ids import ClientOrderId, Symbol
from engine.model.limits import STOP_CANCEL_WAIT_S
from engine.model.orders import OrderState
from engine.model.venue import VenueOrder
from engine.ports.clock import Clock


class SymbolOrders:
    """Cancels one symbol's orders; `on_protective` is called when stops are seen to rest."""

    def __init__(
        self, *, symbol: Symbol, venue: StopVenue, clock: Clock, on_protective: Callable[[], None]
    ) -> None:
        self.symbol = symbol
        self._venue = venue
        self._clock = clock
        self._on_protective = on_protective
        # What the operator sees.
        self._counted = 0
        self._heard_cancelled: set[ClientOrderId] = set()
        self._seen: set[ClientOrderId] = set()
        self._open: set[ClientOrderId] = set()
        self.ordinary_open = 0
        self.protective: tuple[VenueOrder, ...] | None = None
        self.unprotected_since_ns: int | None = None
        self.last_answer = ""
        # Limit orders of our own that close: they may rest for a moment.
        self.closing: set[ClientOrderId] = set()
        self.may_close = asyncio.Event()
        self._cancel_ordinary = True
        self._in_round = False
        self._risky: dict[ClientOrderId, VenueOrder] = {}
        self._wake = asyncio.Event()
        self._sends = 0
        self._no_send = asyncio.Event()
        self._no_send.set()

    @property
    def cancelled(self) -> int:
        """How many orders are gone: by the answers, the stream or the reads, whichever tells of
        most. Some venues do not count, streams may be down, and a read may come too late.
        """
        return max(self._counted, len(self._heard_cancelled), len(self._seen - self._open))

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing that could add risk is known to be open."""
        return not self._cancel_ordinary and not self._risky and not self._in_round

    # --- told by the reads and by the closers ----------------------------------------------------

    def observe(self, orders: tuple[VenueOrder, ...]) -> None:
        """Take what an account-wide read says of this symbol's open orders."""
        self._open = {order.client_order_id for order in orders} - self.closing
        self._seen |= self._open
        ordinary = [order for order in orders if not order.is_conditional]
        conditional = [order for order in orders if order.is_conditional]
        self.ordinary_open = len(ordinary)
        self._risky = {o.client_order_id: o for o in conditional if not o.reduce_only}
        if any(order.client_order_id not in self.closing for order in ordinary):
            self._cancel_ordinary = True
        if not self.is_cancelled:
            self._wake.set()
        self._set_protective(tuple(order for order in conditional if order.reduce_only))

    def heard(self, order: VenueOrder) -> None:
        """The private stream tells of an order's new state."""
        if order.state is OrderState.CANCELLED and order.client_order_id not in self.closing:
            self._heard_cancelled.add(order.client_order_id)

    def cancel_again(self) -> None:
        """Cancel the ordinary ones once more, without having seen any."""
        self._cancel_ordinary = True
        self._wake.set()

    def send_begins(self) -> None:
        """A closing order is on its way: a cancel is not repeated before its answer."""
        self._sends += 1
        self._no_send.clear()

    def send_ended(self) -> None:
        self._sends -= 1
        if not self._sends:
            self._no_send.set()

    def _set_protective(self, orders: tuple[VenueOrder, ...]) -> None:
        self.protective = orders
        if orders:
            self.unprotected_since_ns = None
            self._on_protective()
        elif self.unprotected_since_ns is None:
            self.unprotected_since_ns = self._clock.monotonic_ns()

    # --- cancelling ------------------------------------------------------------------------------

    async def cancelling(self) -> None:
        """Cancel until acknowledged; for ever, since orders may appear late."""
        failures = 0
        while True:
            if self.is_cancelled:
                failures = 0
                self.may_close.set()
                await self._wake.wait()
                self._wake.clear()
                continue
            self._in_round = True
            try:
                failure = await self._round()
            finally:
                self._in_round = False
            self.may_close.set()
            if failure is None:
                continue
            failures += 1
            self.last_answer = f"cancel: {failure.text}"
            await self._clock.sleep(retry_delay_s(failures, failure))
            await self._no_send.wait()

    async def _round(self) -> Failure | None:
        if self._cancel_ordinary:
            self._cancel_ordinary = False
            count = await self._cancel_all(conditional=False)
            if isinstance(count, Failure):
                self._cancel_ordinary = True
                return count
            self._counted += count
            self.ordinary_open = 0
        for client_order_id in tuple(self._risky):
            failure = await self._cancel_risky(client_order_id)
            if failure is not None:
                return failure
        return None

    async def _cancel_risky(self, client_order_id: ClientOrderId) -> Failure | None:
        failure = await self.cancel(client_order_id)
        if failure is not None and not failure.is_refusal:
            return failure
        # Refused means that it is not open; the next account-wide read has the last word.
        if self._risky.pop(client_order_id, None) is not None and failure is None:
            self._counted += 1
        return None

    async def cancel(self, client_order_id: ClientOrderId) -> Failure | None:
        """Cancel one order of the symbol."""
        return await attempt(
            self._clock,
            STOP_CANCEL_WAIT_S,
            lambda: self._venue.exits.cancel(self.symbol, client_order_id),
        )

    async def cancel_protective(self) -> Failure | None:
        """Cancel every conditional order of the symbol."""
        count = await self._cancel_all(conditional=True)
        if isinstance(count, Failure):
            return count
        self._counted += count
        self._set_protective(())
        return None

    async def _cancel_all(self, *, conditional: bool) -> int | Failure:
        return await attempt(
            self._clock,
            STOP_CANCEL_WAIT_S,
            lambda: self._venue.exits.cancel_all(self.symbol, conditional=conditional),
        )


__all__ = ["SymbolOrders"]
