"""The paper venue's matching: orders in, executions out, positions liquidated when they must be.

Everything here is synchronous and changes the books at once; the caller commits what `Books`
collected and only then lets anybody see it. Each step returns the stream updates it will cause, in
order. Simple on purpose: an order fills whole (or in as many parts as a fault asks for) at one
price, a resting limit order fills at its price when a trade goes through it, with the maker's fee.
Times UTC nanoseconds of trading time.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from msgspec.structs import replace

from engine.model.config import PaperSection
from engine.model.errors import NotExecuted, Refused
from engine.model.filters import check_filters
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind, OrderState
from engine.model.values import Side
from engine.model.venue import StreamUpdate, VenueOrder
from engine.venues.paper import rules
from engine.venues.paper.books import Books
from engine.venues.paper.pricing import Band, Prices, band, is_due

Updates = list[StreamUpdate]


class Matching:
    """Orders against the feed's prices, on one set of books."""

    def __init__(
        self,
        *,
        books: Books,
        prices: Prices,
        settings: PaperSection,
        instrument: Callable[[Symbol], Instrument],
        parts: Callable[[], int],
    ) -> None:
        self.books = books
        self._prices = prices
        self._settings = settings
        self._instrument = instrument
        self._parts = parts
        self.bands: dict[Symbol, Band] = {}
        self.rebuild_bands()

    # --- requests --------------------------------------------------------------------------------

    def accept(self, intent: Intent, ts_ns: int) -> tuple[VenueOrder, Updates]:
        """Take an order, fill what fills at once; raises Refused, or NotExecuted without a
        price.
        """
        instrument = self._instrument(intent.symbol)
        price = self._prices.last.get(intent.symbol)
        if price is None:
            raise NotExecuted(f"the venue has no price for {intent.symbol} yet")
        if self.books.open_order(intent.client_order_id) is not None:
            # Only among open orders, as at Binance: a filled order's id would be taken again.
            raise Refused("-4116", f"client order id {intent.client_order_id} is open already")
        rules.check_kind(intent, price)
        check_filters(intent, instrument, market_price=price)
        if intent.reduce_only:
            rules.check_reduces(intent, self.books.quantity(intent.symbol))
        else:
            rules.check_margin(intent, instrument, self.books, self._prices.last)
            self.books.set_leverage(intent.symbol, intent.leverage)
        order = self.books.put(
            VenueOrder(
                client_order_id=intent.client_order_id,
                venue_order_id=self.books.new_order_id(),
                symbol=intent.symbol,
                side=intent.side,
                kind=intent.kind,
                quantity=intent.quantity,
                filled=Decimal(0),
                state=OrderState.ACCEPTED,
                price=intent.price,
                trigger_price=intent.trigger_price,
                reduce_only=intent.reduce_only,
                ts_ns=ts_ns,
            )
        )
        updates: Updates = [StreamUpdate(ts_ns=ts_ns, order=order)]
        if order.kind is OrderKind.MARKET or self._crosses(order, instrument):
            updates += self._take(order, ts_ns)
        self.rebuild_bands(order.symbol)
        return order, updates

    def cancel(self, order: VenueOrder, ts_ns: int, *, reason: str = "cancelled") -> Updates:
        """Take an open order off the book."""
        final = self.books.put(
            replace(order, state=OrderState.CANCELLED, reason=reason, ts_ns=ts_ns)
        )
        self.rebuild_bands(order.symbol)
        return [StreamUpdate(ts_ns=ts_ns, order=final)]

    # --- the market ------------------------------------------------------------------------------

    def on_price(self, symbol: Symbol, price: Decimal, ts_ns: int) -> Updates:
        """A trade outside the symbol's band: fill and trigger what is due, liquidate if need be."""
        updates: Updates = []
        for order in self.books.open_orders(symbol):
            if not is_due(order, price):
                continue
            if order.kind is OrderKind.LIMIT:
                updates += self._fill(
                    order, self._fillable(order), order.price or price, ts_ns, is_maker=True
                )
            else:
                updates += self._take(order, ts_ns)
        if self.books.positions:
            marks = self._prices.last
            if rules.equity(self.books, marks) <= rules.maintenance(self.books, marks):
                updates += self._liquidate(ts_ns)
        self.rebuild_bands(symbol)
        return updates

    def _liquidate(self, ts_ns: int) -> Updates:
        """Cancel what rests and close everything at market; a loss beyond the balance stays a
        debt.
        """
        updates: Updates = []
        for order in self.books.open_orders():
            updates += self.cancel(order, ts_ns, reason="liquidation")
        for symbol, position in tuple(self.books.positions.items()):
            if symbol not in self._prices.last:
                continue
            identifier = self.books.new_order_id()
            order = self.books.put(
                VenueOrder(
                    # The prefix that Binance gives to orders of its own making.
                    client_order_id=ClientOrderId(f"autoclose-{identifier}"),
                    venue_order_id=identifier,
                    symbol=symbol,
                    side=Side.SELL if position.quantity > 0 else Side.BUY,
                    kind=OrderKind.MARKET,
                    quantity=abs(position.quantity),
                    filled=Decimal(0),
                    state=OrderState.ACCEPTED,
                    reduce_only=True,
                    ts_ns=ts_ns,
                    reason="liquidation",
                )
            )
            updates.append(StreamUpdate(ts_ns=ts_ns, order=order))
            updates += self._take(order, ts_ns)
        return updates

    # --- filling ---------------------------------------------------------------------------------

    def _crosses(self, order: VenueOrder, instrument: Instrument) -> bool:
        if order.kind is not OrderKind.LIMIT or order.price is None:
            return False
        touch = self._prices.touch(instrument.symbol, order.side)
        return order.price >= touch if order.side is Side.BUY else order.price <= touch

    def _fillable(self, order: VenueOrder) -> Decimal:
        """What may fill of an order: a reduce-only one never more than the position."""
        left = order.quantity - order.filled
        if not order.reduce_only:
            return left
        position = self.books.quantity(order.symbol)
        return min(left, abs(position)) if position * order.side.sign < 0 else Decimal(0)

    def _take(self, order: VenueOrder, ts_ns: int) -> Updates:
        """Fill an order as a taker, in as many parts as asked for."""
        instrument = self._instrument(order.symbol)
        quantity = self._fillable(order)
        price = self._prices.deal(instrument, order.side, quantity)
        if order.kind is OrderKind.LIMIT and order.price is not None:
            price = min(price, order.price) if order.side is Side.BUY else max(price, order.price)
        part = instrument.round_quantity(quantity / self._parts())
        updates: Updates = []
        while part and quantity > part:
            updates += self._fill(order, part, price, ts_ns, is_maker=False)
            order = self.books.open_order(order.client_order_id) or order
            quantity -= part
        return updates + self._fill(order, quantity, price, ts_ns, is_maker=False)

    def _fill(
        self, order: VenueOrder, quantity: Decimal, price: Decimal, ts_ns: int, *, is_maker: bool
    ) -> Updates:
        updates: Updates = []
        if quantity:
            settings = self._settings
            fill, order = self.books.execute(
                order,
                quantity=quantity,
                price=price,
                fee_rate=settings.maker_fee if is_maker else settings.taker_fee,
                is_maker=is_maker,
                ts_ns=ts_ns,
            )
            updates.append(StreamUpdate(ts_ns=ts_ns, fill=fill, order=order))
            self.books.set_mark(order.symbol, self._prices.last[order.symbol], ts_ns)
        if not order.state.is_final and order.reduce_only and not self._fillable(order):
            # The rest has nothing left to reduce: the venue takes it away rather than flip.
            reason = "-2022: nothing left to reduce"
            final = self.books.put(
                replace(order, state=OrderState.CANCELLED, reason=reason, ts_ns=ts_ns)
            )
            updates.append(StreamUpdate(ts_ns=ts_ns, order=final))
        return updates

    # --- bands -----------------------------------------------------------------------------------

    def rebuild_bands(self, symbol: Symbol | None = None) -> None:
        """Work out anew what each held symbol may do unnoticed, and `symbol` too."""
        books, marks = self.books, self._prices.last
        held = books.positions
        spare = rules.equity(books, marks) - rules.maintenance(books, marks) if held else None
        symbols = set(held) | {order.symbol for order in books.open_orders()}
        for name in self.bands.keys() - symbols:
            del self.bands[name]
        for name in symbols:
            price = marks.get(name)
            if price is None:
                continue
            room = None
            if name in held and spare is not None:
                # Each position may use up an equal part of what is spare, however the others move.
                weight = len(held) * abs(held[name].quantity) * (1 + rules.MAINTENANCE_RATIO)
                room = max(spare, Decimal(0)) / weight
            limits = band(books.open_orders(name), price=price, room=room)
            if limits is None:
                self.bands.pop(name, None)
            else:
                self.bands[name] = limits


__all__ = ["Matching", "Updates"]
