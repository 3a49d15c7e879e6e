"""A simulated venue in memory: what its dialects ask of it, and what it tells them.

Every request changes the books at once or raises `Refusal` and changes nothing; what happened is
told to the listeners as events, in order, before the request returns. Time is the injected clock's,
so the same venue runs behind sockets and inside a campaign on simulated time.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from engine.model.ids import Symbol
from engine.model.values import ZERO, plain
from engine.ports.clock import Clock
from tests.simulators.core import checks
from tests.simulators.core.account import Account, Key
from tests.simulators.core.books import OrderBooks
from tests.simulators.core.conditionals import direction, is_due, order_of, would_trigger
from tests.simulators.core.contracts import Contract, listed_contracts
from tests.simulators.core.market import Market
from tests.simulators.core.matching import Matching
from tests.simulators.core.model import (
    AccountChanged,
    Conditional,
    ConditionalChanged,
    ConditionalRequest,
    ConditionalStatus,
    Event,
    Expiry,
    IncomeKind,
    Kind,
    Leg,
    LeverageChanged,
    MarkChanged,
    Order,
    OrderChanged,
    OrderRequest,
    Status,
    TriggerKind,
    What,
)
from tests.simulators.core.refusals import Reason, Refusal
from tests.simulators.core.timers import Timer, Timers

Listener = Callable[[Event], None]
_NS = 1_000_000_000
_CONDITIONALS_MAX = 200
_AMENDMENTS_MAX = 10_000


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Where the venues differ in what they decide."""

    # Bybit never takes a client id twice; Binance only looks among open orders.
    client_ids_are_for_ever: bool = False
    maker_fee: Decimal = Decimal("0.0002")
    taker_fee: Decimal = Decimal("0.0005")
    conditionals_max: int = _CONDITIONALS_MAX


class Venue:
    """One account at one venue, and its markets."""

    def __init__(
        self,
        *,
        clock: Clock,
        timers: Timers,
        rules: Rules,
        balance: Decimal,
        seed: int,
        more_contracts: int = 0,
    ) -> None:
        self.clock = clock
        self.timers = timers
        self.rules = rules
        self.contracts = listed_contracts(more_contracts)
        self.markets = {
            symbol: Market(contract=contract, seed=seed)
            for symbol, contract in self.contracts.items()
        }
        self.account = Account(
            balance=balance, contracts=self.contracts, fees=(rules.maker_fee, rules.taker_fee)
        )
        self.books = OrderBooks()
        self.matching = Matching(
            account=self.account,
            books=self.books,
            markets=self.markets,
            emit=self._emit,
            now_ns=clock.now_ns,
        )
        self.listeners: list[Listener] = []
        # Seconds that each coming order waits before it meets the book; used up one by one.
        self.late_fills_s: list[float] = []
        self._countdowns: dict[Symbol, Timer] = {}
        self._settling = False

    def start(self) -> None:
        """Begin what happens by itself: funding on the hour."""
        self._schedule_funding()

    # --- orders ----------------------------------------------------------------------------------

    def contract(self, symbol: str) -> Contract:
        contract = self.contracts.get(Symbol(symbol))
        if contract is None:
            raise Refusal(Reason.UNKNOWN_SYMBOL)
        return contract

    def check(self, request: OrderRequest) -> Order:
        """Everything that can refuse an order; the order it would be, not yet taken."""
        contract = self.contract(request.symbol)
        market = self.markets[request.symbol]
        self._check_client_id(request.client_id)
        resting = self.books.open_orders(request.symbol)
        if not request.is_liquidation:
            checks.check_request(request, contract, market, self.account)
            if len(resting) >= contract.orders_max:
                raise Refusal(Reason.TOO_MANY_ORDERS)
        order = self._new_order(request)
        if not request.is_liquidation:
            self._check_margin(order)
            self.matching.check_takes(order)
        return order

    def place(self, request: OrderRequest) -> Order:
        """Take an order and match it."""
        order = self.check(request)
        order.order_id = self.books.next_order_id()
        self.books.put(order)
        self._emit(OrderChanged(order=replace(order), what=What.NEW, ts_ns=order.created_ns))
        if order.good_till_ns:
            seconds = (order.good_till_ns - order.created_ns) / _NS
            self.timers.after(seconds, "good till date", lambda: self._expire(order))
        if self.late_fills_s and not order.is_liquidation:
            wait_s = self.late_fills_s.pop(0)
            self.timers.after(wait_s, "late fill", lambda: self._match(order))
        else:
            self._match(order)
        return order

    def _match(self, order: Order) -> None:
        if not order.status.is_open:
            return
        self.matching.take(order)
        self._settle(order.symbol)
        if order.filled:
            self._emit(self.markets[order.symbol].book_change(self.clock.now_ns()))

    def amend(self, order: Order, *, quantity: Decimal, price: Decimal) -> Order:
        """Change a resting limit order; it goes to the end of its queue."""
        if order.kind is not Kind.LIMIT or not order.status.is_open:
            raise Refusal(Reason.NOT_AMENDABLE)
        if quantity == order.quantity and price == order.price:
            raise Refusal(Reason.NOTHING_TO_AMEND)
        if order.amendments >= _AMENDMENTS_MAX:
            raise Refusal(Reason.AMENDED_TOO_OFTEN)
        contract = self.contract(order.symbol)
        checks.check_quantity(contract, Kind.LIMIT, quantity)
        checks.check_price(contract, price)
        checks.check_band(contract, order.side, price, self.markets[order.symbol].mark)
        changed = replace(order, quantity=quantity, price=price)
        if quantity <= order.filled or self._may_not_cross(changed):
            self.matching.end(order, Status.CANCELED)
            return order
        self._check_margin(changed, instead_of=order)
        order.quantity, order.price = quantity, price
        order.amendments += 1
        order.updated_ns = self.clock.now_ns()
        self.books.requeue(order)
        self._emit(OrderChanged(order=replace(order), what=What.AMENDED, ts_ns=order.updated_ns))
        self._match(order)
        return order

    def record_ended(self, request: OrderRequest, expiry: Expiry) -> Order:
        """An order that was taken and ended before it met anybody."""
        order = self._new_order(request)
        order.order_id = self.books.next_order_id()
        self.books.orders[order.order_id] = order
        self.matching.end(order, Status.EXPIRED, expiry)
        return order

    def cancel(self, order: Order | None) -> Order:
        if order is None or not order.status.is_open:
            raise Refusal(Reason.UNKNOWN_ORDER_ON_CANCEL)
        self.matching.end(order, Status.CANCELED)
        return order

    def cancel_all(self, symbol: Symbol) -> list[Order]:
        """Cancel a symbol's orders; conditional ones stay."""
        self.contract(symbol)
        return [self.cancel(order) for order in self.books.open_orders(symbol)]

    def set_countdown(self, symbol: Symbol, seconds: float) -> None:
        """Cancel a symbol's orders when this time has passed; zero stops it."""
        self.contract(symbol)
        if running := self._countdowns.pop(symbol, None):
            running.cancel()
        if seconds:
            self._countdowns[symbol] = self.timers.after(
                seconds, f"countdown {symbol}", lambda: self._count_down(symbol)
            )

    def _count_down(self, symbol: Symbol) -> None:
        del self._countdowns[symbol]
        self.cancel_all(symbol)

    def _expire(self, order: Order) -> None:
        if order.status.is_open:
            self.matching.end(order, Status.EXPIRED)

    def _may_not_cross(self, order: Order) -> bool:
        return order.time_in_force.value == "POST_ONLY" and self.matching.crosses(order)

    def _check_client_id(self, client_id: str) -> None:
        known = self.books.find(client_id=client_id)
        if known is not None and (self.rules.client_ids_are_for_ever or known.status.is_open):
            raise Refusal(Reason.DUPLICATE_ID)

    def _check_margin(self, order: Order, *, instead_of: Order | None = None) -> None:
        by_symbol: dict[Symbol, list[Order]] = {}
        for each in self.books.open_orders():
            if each is not instead_of:
                by_symbol.setdefault(each.symbol, []).append(each)
        checks.check_margin(
            order,
            contract=self.contract(order.symbol),
            account=self.account,
            markets=self.markets,
            orders=by_symbol,
        )

    def _new_order(self, request: OrderRequest) -> Order:
        now = self.clock.now_ns()
        return Order(
            order_id=0,
            client_id=request.client_id,
            symbol=request.symbol,
            side=request.side,
            kind=request.kind,
            quantity=request.quantity,
            price=request.price if request.kind is Kind.LIMIT else None,
            time_in_force=request.time_in_force,
            leg=request.leg,
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            self_trade=request.self_trade,
            good_till_ns=request.good_till_ns,
            conditional_id=request.conditional_id,
            is_liquidation=request.is_liquidation,
            created_ns=now,
            updated_ns=now,
        )

    # --- conditional orders ----------------------------------------------------------------------

    def place_conditional(self, request: ConditionalRequest) -> Conditional:
        """Keep an order until its price comes; margin is looked at only then."""
        contract = self.contract(request.symbol)
        self._check_conditional(request, contract)
        now = self.clock.now_ns()
        conditional = Conditional(
            conditional_id=self.books.next_conditional_id(),
            client_id=request.client_id,
            request=request,
            rises=direction(request),
            created_ns=now,
            updated_ns=now,
            is_active=request.trigger is not TriggerKind.TRAILING
            or request.activation_price is None,
            trigger_price=request.trigger_price,
        )
        self._put(conditional, ConditionalStatus.NEW)
        self._settle(request.symbol)
        return conditional

    def _check_conditional(self, request: ConditionalRequest, contract: Contract) -> None:
        market = self.markets[request.symbol]
        checks.check_leg(self.account, request.leg)
        if not request.close_position:
            checks.check_quantity(contract, request.kind, request.quantity)
        for price in (request.trigger_price, request.price, request.activation_price):
            if price is not None:
                checks.check_price(contract, price)
        if would_trigger(request, market):
            raise Refusal(Reason.WOULD_TRIGGER)
        waiting = list(self.books.waiting())
        if len(waiting) >= self.rules.conditionals_max:
            raise Refusal(Reason.TOO_MANY_CONDITIONALS)
        known = self.books.find_conditional(client_id=request.client_id)
        if known is not None and known.status is ConditionalStatus.NEW:
            raise Refusal(Reason.DUPLICATE_ID)
        if request.close_position and any(
            each.request.close_position
            and (each.request.symbol, each.request.leg, each.request.side, each.rises)
            == (request.symbol, request.leg, request.side, direction(request))
            for each in waiting
        ):
            raise Refusal(Reason.CLOSE_POSITION_EXISTS)

    def cancel_conditional(self, conditional: Conditional | None) -> Conditional:
        if conditional is None or conditional.status is not ConditionalStatus.NEW:
            raise Refusal(Reason.UNKNOWN_ORDER_ON_CANCEL)
        self._put(conditional, ConditionalStatus.CANCELED)
        return conditional

    def amend_conditional(
        self, conditional: Conditional, *, quantity: Decimal, trigger_price: Decimal | None
    ) -> Conditional:
        """Change one that waits, where the venue lets it be changed."""
        changed = replace(conditional.request, quantity=quantity, trigger_price=trigger_price)
        if changed == conditional.request:
            raise Refusal(Reason.NOTHING_TO_AMEND)
        contract = self.contract(changed.symbol)
        if not changed.close_position:
            checks.check_quantity(contract, changed.kind, quantity)
        if trigger_price is not None:
            checks.check_price(contract, trigger_price)
        if would_trigger(changed, self.markets[changed.symbol]):
            raise Refusal(Reason.WOULD_TRIGGER)
        conditional.request, conditional.trigger_price = changed, trigger_price
        self._put(conditional, ConditionalStatus.NEW)
        return conditional

    def expire_conditional(self, conditional: Conditional) -> None:
        """The venue itself ends one that waits."""
        if conditional.status is ConditionalStatus.NEW:
            self._put(conditional, ConditionalStatus.EXPIRED)

    def cancel_all_conditionals(self, symbol: Symbol) -> list[Conditional]:
        self.contract(symbol)
        return [self.cancel_conditional(each) for each in self.books.waiting(symbol)]

    def _put(
        self, conditional: Conditional, status: ConditionalStatus, *, reason: str = ""
    ) -> None:
        conditional.status, conditional.reason = status, reason
        conditional.updated_ns = self.clock.now_ns()
        self.books.put_conditional(conditional)
        self._emit(
            ConditionalChanged(conditional=replace(conditional), ts_ns=conditional.updated_ns)
        )

    def _trigger(self, conditional: Conditional) -> None:
        request = conditional.request
        conditional.triggered_ns = self.clock.now_ns()
        self._put(conditional, ConditionalStatus.TRIGGERING)
        held = self.account.reducible((request.symbol, request.leg), request.side)
        quantity = held if request.close_position else request.quantity
        try:
            order = self.check(order_of(conditional, quantity))
        except Refusal as refusal:
            self._put(conditional, ConditionalStatus.REJECTED, reason=refusal.reason.value)
            return
        order.order_id = conditional.order_id = self.books.next_order_id()
        self.books.put(order)
        self._put(conditional, ConditionalStatus.TRIGGERED)
        self._emit(OrderChanged(order=replace(order), what=What.NEW, ts_ns=order.created_ns))
        self.matching.take(order)

    def _finish_conditional(self, change: OrderChanged) -> None:
        order = change.order
        conditional = self.books.conditionals.get(order.conditional_id)
        if conditional is None or order.status.is_open:
            return
        conditional.actual_price = order.average_price
        conditional.actual_quantity = order.filled
        self._put(conditional, ConditionalStatus.FINISHED)

    # --- the market ------------------------------------------------------------------------------

    def set_price(
        self,
        symbol: Symbol,
        price: Decimal,
        *,
        quantity: Decimal | None = None,
        mark: Decimal | None = None,
    ) -> None:
        """Others trade at this price: what rests within reach fills, triggers fire, losers are
        liquidated.
        """
        contract = self.contract(symbol)
        market, now = self.markets[symbol], self.clock.now_ns()
        is_falling = price < market.last
        market.set_price(price, mark=mark)
        self.matching.trade_through(symbol, market.last, quantity)
        market.set_price(price, mark=mark)  # Own fills left their own prices as the last one.
        size = quantity if quantity is not None else contract.quantity_min
        self._emit(market.trade(market.last, size, is_buyer_maker=is_falling, ts_ns=now))
        self._emit(MarkChanged(symbol=symbol, ts_ns=now))
        self._settle(symbol)
        self._emit(market.book_change(now))

    def _settle(self, symbol: Symbol) -> None:
        """Trigger and liquidate until nothing more is due; what happens inside does not nest."""
        if self._settling:
            return
        self._settling = True
        try:
            market = self.markets[symbol]
            while due := next(
                (each for each in self.books.waiting(symbol) if is_due(each, market)), None
            ):
                self._trigger(due)
            while keys := self.matching.overdrawn():
                self.matching.liquidate(keys, self.place)
        finally:
            self._settling = False

    def heartbeat(self, *, is_heard: bool) -> None:
        """Books fill again, and where anybody listens every market shows that it lives."""
        now = self.clock.now_ns()
        for symbol, market in self.markets.items():
            if not is_heard and not market.is_eaten:
                continue
            market.refill()
            market.breathe()
            quantity = market.contract.quantity_min
            self._emit(market.trade(market.centre, quantity, is_buyer_maker=False, ts_ns=now))
            self._emit(MarkChanged(symbol=symbol, ts_ns=now))
            self._emit(market.book_change(now))

    # --- funding ---------------------------------------------------------------------------------

    def next_funding_ns(self, symbol: Symbol) -> int:
        interval = self.contracts[symbol].funding_interval_h * 3600 * _NS
        return (self.clock.now_ns() // interval + 1) * interval

    def _schedule_funding(self) -> None:
        for symbol in self.contracts:
            seconds = (self.next_funding_ns(symbol) - self.clock.now_ns()) / _NS

            def pay(symbol: Symbol = symbol) -> None:
                self.settle_funding(symbol)
                interval_s = self.contracts[symbol].funding_interval_h * 3600
                self.timers.after(interval_s, f"funding {symbol}", lambda: pay(symbol))

            self.timers.after(seconds, f"funding {symbol}", pay)

    def settle_funding(self, symbol: Symbol, rate: Decimal | None = None) -> None:
        """Longs pay shorts at a positive rate, on what is held at the mark."""
        self.contract(symbol)
        market, now = self.markets[symbol], self.clock.now_ns()
        if rate is not None:
            market.funding_rate = rate
        for key, position in list(self.account.of_symbol(symbol)):
            amount = -(position.quantity * market.mark * market.funding_rate)
            amount = amount.quantize(Decimal("1E-8"))
            self.account.book_funding(key, amount, market.mark, now)
            isolated = key in self.account.isolated_wallets
            if isolated:
                self.account.isolated_wallets[key] += amount
            # Cross funding tells of the balance only.
            keys: tuple[Key, ...] = (key,) if isolated else ()
            self._emit(
                AccountChanged(why="FUNDING_FEE", positions=keys, balance_change=amount, ts_ns=now)
            )
        self._settle(symbol)

    def transfer(self, amount: Decimal) -> None:
        """A deposit, or below zero a withdrawal."""
        now = self.clock.now_ns()
        self.account.book(IncomeKind.TRANSFER, "", amount, now)
        why = "DEPOSIT" if amount > ZERO else "WITHDRAW"
        self._emit(AccountChanged(why=why, positions=(), balance_change=amount, ts_ns=now))

    # --- settings of the account -----------------------------------------------------------------

    def set_leverage(self, symbol: Symbol, leverage: int) -> None:
        contract = self.contract(symbol)
        if not 1 <= leverage <= contract.brackets[0].leverage_max:
            raise Refusal(Reason.LEVERAGE_INVALID)
        account = self.account
        held = account.held_notional(symbol, self.markets[symbol].mark)
        if held > contract.notional_max(leverage):
            raise Refusal(Reason.POSITION_TOO_LARGE)
        if held and symbol in account.isolated and leverage < account.leverage[symbol]:
            raise Refusal(Reason.LEVERAGE_WITH_POSITION)
        if account.leverage[symbol] != leverage:
            account.leverage[symbol] = leverage
            now = self.clock.now_ns()
            self._emit(LeverageChanged(symbol=symbol, leverage=leverage, ts_ns=now))

    def set_isolated(self, symbol: Symbol, isolated: bool) -> None:
        self.contract(symbol)
        if isolated == (symbol in self.account.isolated):
            raise Refusal(Reason.MARGIN_TYPE_SAME)
        if self.books.open_orders(symbol):
            raise Refusal(Reason.MARGIN_TYPE_WITH_ORDERS)
        if any(True for _ in self.account.of_symbol(symbol)):
            raise Refusal(Reason.MARGIN_TYPE_WITH_POSITION)
        (self.account.isolated.add if isolated else self.account.isolated.discard)(symbol)

    def set_hedged(self, hedged: bool) -> None:
        if hedged == self.account.is_hedged:
            raise Refusal(Reason.MODE_SAME)
        if self.books.open_orders() or any(True for _ in self.books.waiting()):
            raise Refusal(Reason.MODE_WITH_ORDERS)
        if self.account.positions:
            raise Refusal(Reason.MODE_WITH_POSITION)
        self.account.is_hedged = hedged

    # --- the auditor's view ----------------------------------------------------------------------

    def auditors_view(self) -> dict[str, object]:
        """The venue's own books, whole and exact, in no venue's dialect."""
        account = self.account
        return {
            "initial": plain(account.initial),
            "balance": plain(account.balance),
            "hedged": account.is_hedged,
            "leverage": dict(account.leverage),
            "orders": [_row(order) for order in self.books.orders.values()],
            "conditionals": [_row(each) for each in self.books.conditionals.values()],
            "fills": [_row(each) for each in account.executions],
            "income": [_row(each) for each in account.incomes],
            "positions": [
                {
                    "symbol": symbol,
                    "leg": leg.value,
                    "quantity": plain(position.quantity),
                    "cost": plain(position.cost),
                    "entry_price": str(position.entry_price),
                    "mark_price": plain(self.markets[symbol].mark),
                }
                for (symbol, leg), position in account.positions.items()
            ],
            "prices": {symbol: plain(market.last) for symbol, market in self.markets.items()},
        }

    # --- telling ---------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        for listener in tuple(self.listeners):
            listener(event)
        if isinstance(event, OrderChanged) and event.order.conditional_id:
            self._finish_conditional(event)


def _row(record: msgspec.Struct) -> dict[str, object]:
    row: dict[str, object] = msgspec.to_builtins(record, builtin_types=(Decimal,))
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


__all__ = ["Leg", "Listener", "Rules", "Venue"]
