"""Orders of a simulated venue against its book and its prices: takers, resting orders, liquidation.

Shared with the paper venue is what both do alike: the arithmetic of a position and when a trigger
is reached. Its matching is another (one price an order, no time in force, no legs, no queue), so
that is written here. Every step emits its events in order, with copies of what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from engine.model.ids import Symbol
from engine.model.values import ZERO, Side
from tests.simulators.core.account import Account, Key
from tests.simulators.core.books import OrderBooks
from tests.simulators.core.market import Market
from tests.simulators.core.model import (
    AccountChanged,
    Event,
    Expiry,
    Kind,
    Order,
    OrderChanged,
    OrderRequest,
    SelfTrade,
    Status,
    TimeInForce,
    What,
)
from tests.simulators.core.refusals import Reason, Refusal

_IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


class Matching:
    """Takes orders to the book and prices to the orders."""

    def __init__(
        self,
        *,
        account: Account,
        books: OrderBooks,
        markets: Mapping[Symbol, Market],
        emit: Callable[[Event], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._account = account
        self._books = books
        self._markets = markets
        self._emit = emit
        self._now_ns = now_ns

    # --- taking ----------------------------------------------------------------------------------

    def check_takes(self, order: Order) -> None:
        """Refuse what its time in force or an empty book forbids."""
        crosses = self.crosses(order)
        if order.time_in_force is TimeInForce.POST_ONLY and crosses:
            raise Refusal(Reason.WOULD_TAKE)
        if order.time_in_force is TimeInForce.FOK and self._offered(order) < order.left:
            raise Refusal(Reason.FOK_KILLED)
        if order.kind is Kind.MARKET and not crosses:
            raise Refusal(Reason.NO_LIQUIDITY)

    def crosses(self, order: Order) -> bool:
        best = self._markets[order.symbol].best(order.side)
        return best is not None and self._accepts(order, best[0])

    def take(self, order: Order) -> None:
        """Match an open order as a taker; what may not rest afterwards expires."""
        market = self._markets[order.symbol]
        while order.status.is_open and (quantity := self._fillable(order)):
            best = market.best(order.side)
            reach = best[0] if best and self._accepts(order, best[0]) else None
            own = self._own_in_the_way(order, reach)
            if own is not None:
                self._prevent_self_trade(order, own)
                continue
            if best is None or reach is None:
                break
            quantity = min(quantity, best[1])
            market.take(order.side, reach, quantity)
            self.fill(order, quantity, reach, is_maker=False)
        self._end_taking(order)

    def _end_taking(self, order: Order) -> None:
        if not order.status.is_open:
            return
        if not self._fillable(order):
            self.end(order, Status.EXPIRED, Expiry.WOULD_REVERSE)
        elif order.kind is Kind.MARKET:
            self.end(order, Status.EXPIRED, Expiry.THIN_BOOK)
        elif order.time_in_force in _IMMEDIATE:
            self.end(order, Status.EXPIRED, Expiry.IMMEDIATE_REST)

    def _accepts(self, order: Order, price: Decimal) -> bool:
        limit = order.price
        if order.kind is Kind.MARKET or limit is None:
            market = self._markets[order.symbol]
            bound = Decimal(1) + order.side.sign * market.contract.market_take_bound
            limit = market.mark * bound
        return price <= limit if order.side is Side.BUY else price >= limit

    def _offered(self, order: Order) -> Decimal:
        depth = self._markets[order.symbol].depth(order.side)
        return sum((size for price, size in depth if self._accepts(order, price)), ZERO)

    def _own_in_the_way(self, order: Order, reach: Decimal | None) -> Order | None:
        """The first own order that this one would meet no later than the book's best level."""
        for own in self._books.open_orders(order.symbol):
            if own.side is order.side or own.price is None or own.order_id == order.order_id:
                continue
            if not self._accepts(order, own.price):
                continue
            if reach is None or (own.price - reach) * order.side.sign <= 0:
                return own
        return None

    def _prevent_self_trade(self, order: Order, own: Order) -> None:
        if order.self_trade is not SelfTrade.EXPIRE_TAKER:
            self.end(own, Status.EXPIRED_IN_MATCH, Expiry.SELF_TRADE)
        if order.self_trade is not SelfTrade.EXPIRE_MAKER:
            self.end(order, Status.EXPIRED_IN_MATCH, Expiry.SELF_TRADE)

    def _fillable(self, order: Order) -> Decimal:
        """What may fill: of a closing order never more than the position."""
        if order.reduce_only or order.leg.closes(order.side):
            most = self._account.reducible((order.symbol, order.leg), order.side)
            return min(order.left, most)
        return order.left

    # --- filling and ending ----------------------------------------------------------------------

    def fill(self, order: Order, quantity: Decimal, price: Decimal, *, is_maker: bool) -> None:
        """One execution, with all its events."""
        now = self._now_ns()
        execution = self._account.execute(
            order, quantity=quantity, price=price, is_maker=is_maker, ts_ns=now
        )
        order.status = Status.PARTIALLY_FILLED if order.left else Status.FILLED
        self._books.put(order)
        is_buyer_maker = (order.side is Side.BUY) == is_maker
        self._emit(
            self._markets[order.symbol].trade(
                price, quantity, is_buyer_maker=is_buyer_maker, ts_ns=now
            )
        )
        self._emit(
            OrderChanged(order=replace(order), what=What.TRADE, ts_ns=now, execution=execution)
        )
        key = (order.symbol, order.leg)
        change = execution.realised - execution.fee
        self._emit(AccountChanged(why="ORDER", positions=(key,), balance_change=change, ts_ns=now))
        self._knock_out(key, besides=order)

    def end(self, order: Order, status: Status, expiry: Expiry = Expiry.NONE) -> None:
        """Take an open order off the book."""
        order.status, order.expiry = status, expiry
        order.updated_ns = self._now_ns()
        self._books.put(order)
        what = What.CANCELED if status is Status.CANCELED else What.EXPIRED
        self._emit(OrderChanged(order=replace(order), what=what, ts_ns=order.updated_ns))

    def _knock_out(self, key: Key, *, besides: Order) -> None:
        """Resting closing orders with nothing left to close would open a reversed position."""
        for order in self._books.open_orders(key[0]):
            if order.leg is not key[1] or order.order_id == besides.order_id:
                continue
            reduces = order.reduce_only or order.leg.closes(order.side)
            if reduces and not self._account.reducible(key, order.side):
                self.end(order, Status.EXPIRED, Expiry.WOULD_REVERSE)

    # --- the market ------------------------------------------------------------------------------

    def trade_through(self, symbol: Symbol, price: Decimal, quantity: Decimal | None) -> None:
        """A trade of others at this price: resting orders it reaches fill, best price first.

        `quantity` bounds what fills altogether; without it everything reached fills whole.
        """
        left = quantity
        reached = [each for each in self._books.open_orders(symbol) if _is_reached(each, price)]
        # Stable: within a price the queue's order stays.
        reached.sort(key=lambda each: (each.price or ZERO) * -each.side.sign)
        for order in reached:
            if not order.status.is_open or order.price is None:
                continue  # Knocked out by a fill before it.
            amount = self._fillable(order)
            if left is not None:
                amount = min(amount, left)
                left -= amount
            if amount:
                self.fill(order, amount, order.price, is_maker=True)
            if order.left and not self._fillable(order):
                self.end(order, Status.EXPIRED, Expiry.WOULD_REVERSE)

    # --- liquidation -----------------------------------------------------------------------------

    def overdrawn(self) -> tuple[Key, ...]:
        """Positions whose margin no longer carries them: isolated ones alone, cross ones all."""
        account = self._account
        marks = {key: self._markets[key[0]].mark for key in account.positions}
        crossed = [key for key in marks if key not in account.isolated_wallets]
        lost = [
            key
            for key, wallet in account.isolated_wallets.items()
            if key in marks
            and wallet + account.unrealised(key, marks[key]) <= account.maintenance(key, marks[key])
        ]
        needed = sum((account.maintenance(key, marks[key]) for key in crossed), ZERO)
        if crossed and account.cross_balance + account.cross_unrealised(self._markets) <= needed:
            lost += crossed
        return tuple(lost)

    def liquidate(self, keys: tuple[Key, ...], place: Callable[[OrderRequest], Order]) -> None:
        """End the symbols' orders and close the positions, however deep the book has to be."""
        for symbol in dict.fromkeys(key[0] for key in keys):
            for order in self._books.open_orders(symbol):
                self.end(order, Status.EXPIRED, Expiry.LIQUIDATION)
        for symbol, leg in keys:
            quantity = self._account.quantity((symbol, leg))
            number = 0
            while quantity:
                number += 1
                self._markets[symbol].refill()
                side = Side.SELL if quantity > 0 else Side.BUY
                place(
                    OrderRequest(
                        symbol=symbol,
                        side=side,
                        kind=Kind.MARKET,
                        quantity=abs(quantity),
                        leg=leg,
                        client_id=f"autoclose-{self._now_ns()}-{number}",
                        reduce_only=True,
                        is_liquidation=True,
                    )
                )
                quantity = self._account.quantity((symbol, leg))


def _is_reached(order: Order, price: Decimal) -> bool:
    if order.price is None:
        return False
    return price <= order.price if order.side is Side.BUY else price >= order.price


__all__ = ["Matching"]
