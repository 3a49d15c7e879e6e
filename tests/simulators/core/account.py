"""The account of a simulated venue: balance, positions, margin and what one execution does to them.

A position's arithmetic is the paper venue's (`engine.venues.paper.books.Position`), one for each
symbol and leg. `balance` is the whole wallet: initial + realised - fees + funding; an isolated
position's own wallet is a part of it. Cross margin counts everything that is not isolated together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from msgspec.structs import replace

from engine.model.ids import Symbol
from engine.model.values import ZERO, Side
from engine.venues.paper.books import Position
from tests.simulators.core.contracts import Contract
from tests.simulators.core.market import Market
from tests.simulators.core.model import Execution, Income, IncomeKind, Leg, Order

Key = tuple[Symbol, Leg]
_FEE_GRID = Decimal("1E-8")
_FIRST_EXECUTION_ID = 6_800_000_000
_FIRST_INCOME_ID = 9_689_322_000_000


class Account:
    """Balance, positions, leverage and margin types."""

    def __init__(
        self,
        *,
        balance: Decimal,
        contracts: Mapping[Symbol, Contract],
        fees: tuple[Decimal, Decimal],
    ) -> None:
        self.initial = self.balance = balance
        self.maker_fee, self.taker_fee = fees
        self.positions: dict[Key, Position] = {}
        self.updated_ns: dict[Key, int] = {}
        self.realised: dict[Key, Decimal] = {}
        self.isolated_wallets: dict[Key, Decimal] = {}
        self.leverage = {name: each.leverage_first for name, each in contracts.items()}
        self.isolated: set[Symbol] = set()
        self.is_hedged = False
        self.executions: list[Execution] = []
        self.incomes: list[Income] = []
        self._contracts = contracts
        self._execution_id = _FIRST_EXECUTION_ID
        self._income_id = _FIRST_INCOME_ID

    # --- reading ---------------------------------------------------------------------------------

    def quantity(self, key: Key) -> Decimal:
        """Signed: a short is negative, on the SHORT leg too."""
        position = self.positions.get(key)
        return position.quantity if position else ZERO

    def legs(self) -> tuple[Leg, ...]:
        return (Leg.LONG, Leg.SHORT) if self.is_hedged else (Leg.BOTH,)

    def reducible(self, key: Key, side: Side) -> Decimal:
        """How much an order of this side could take off a position."""
        quantity = self.quantity(key)
        return abs(quantity) if quantity * side.sign < 0 else ZERO

    def unrealised(self, key: Key, mark: Decimal) -> Decimal:
        position = self.positions.get(key)
        return position.quantity * mark - position.cost if position else ZERO

    def of_symbol(self, symbol: Symbol) -> Iterator[tuple[Key, Position]]:
        return ((key, each) for key, each in self.positions.items() if key[0] == symbol)

    # --- changing --------------------------------------------------------------------------------

    def execute(
        self, order: Order, *, quantity: Decimal, price: Decimal, is_maker: bool, ts_ns: int
    ) -> Execution:
        """Fill a part of an order."""
        key = (order.symbol, order.leg)
        position = self.positions.setdefault(key, Position())
        before = position.quantity
        fee_rate = self.maker_fee if is_maker else self.taker_fee
        closed = min(self.reducible(key, order.side), quantity)
        realised = position.move(order.side.sign * quantity, price)
        self._move_isolated(key, before=before, closed=closed, opened=(quantity - closed) * price)
        if not position.quantity:
            del self.positions[key]
        self.updated_ns[key] = ts_ns
        self.realised[key] = self.realised.get(key, ZERO) + realised
        self._execution_id += 1
        execution = Execution(
            execution_id=self._execution_id,
            order_id=order.order_id,
            client_id=order.client_id,
            symbol=order.symbol,
            side=order.side,
            leg=order.leg,
            quantity=quantity,
            price=price,
            fee=(price * quantity * fee_rate).quantize(_FEE_GRID),
            realised=realised,
            closed=closed,
            is_maker=is_maker,
            is_liquidation=order.is_liquidation,
            ts_ns=ts_ns,
        )
        self.executions.append(execution)
        order.filled += quantity
        order.filled_cost += quantity * price
        order.fees += execution.fee
        order.updated_ns = ts_ns
        if closed:
            self.book(IncomeKind.REALIZED_PNL, order.symbol, realised, ts_ns, self._execution_id)
        self.book(IncomeKind.COMMISSION, order.symbol, -execution.fee, ts_ns, self._execution_id)
        return execution

    def book_funding(self, key: Key, amount: Decimal, mark: Decimal, ts_ns: int) -> None:
        """Move the balance by what a position pays or gets."""
        booked = self.book(IncomeKind.FUNDING_FEE, key[0], amount, ts_ns)
        self.incomes[-1] = replace(booked, quantity=self.quantity(key), leg=key[1], price=mark)

    def book(
        self, kind: IncomeKind, symbol: str, amount: Decimal, ts_ns: int, execution_id: int = 0
    ) -> Income:
        """Move the balance, under a name."""
        self._income_id += 1
        income = Income(
            income_id=self._income_id,
            kind=kind,
            symbol=symbol,
            amount=amount,
            ts_ns=ts_ns,
            execution_id=execution_id,
        )
        self.incomes.append(income)
        self.balance += amount
        return income

    def _move_isolated(
        self, key: Key, *, before: Decimal, closed: Decimal, opened: Decimal
    ) -> None:
        if key[0] not in self.isolated:
            return
        wallet = self.isolated_wallets.get(key, ZERO)
        if closed:
            wallet -= wallet * closed / abs(before)
        wallet += opened / self.leverage[key[0]]
        if self.quantity(key):
            self.isolated_wallets[key] = wallet
        else:
            self.isolated_wallets.pop(key, None)

    # --- margin ----------------------------------------------------------------------------------

    @property
    def cross_balance(self) -> Decimal:
        return self.balance - sum(self.isolated_wallets.values(), ZERO)

    def cross_unrealised(self, markets: Mapping[Symbol, Market]) -> Decimal:
        return sum(
            (
                self.unrealised(key, markets[key[0]].mark)
                for key in self.positions
                if key[0] not in self.isolated
            ),
            ZERO,
        )

    def maintenance(self, key: Key, mark: Decimal) -> Decimal:
        notional = abs(self.quantity(key)) * mark
        return self._contracts[key[0]].maintenance(notional) if notional else ZERO

    def position_margin(self, key: Key, mark: Decimal) -> Decimal:
        """Initial margin of what is held."""
        if key in self.isolated_wallets:
            return self.isolated_wallets[key]
        return abs(self.quantity(key)) * mark / self.leverage[key[0]]

    def exposure(self, symbol: Symbol, orders: Iterable[Order], mark: Decimal) -> Decimal:
        """The largest notional a symbol may come to when its resting entries fill."""
        total = ZERO
        entries = [order for order in orders if not order.reduce_only]
        for leg in self.legs():
            held = self.quantity((symbol, leg)) * mark
            buys = sells = ZERO
            for order in entries:
                if order.leg is not leg or leg.closes(order.side):
                    continue
                value = order.left * (order.price if order.price is not None else mark)
                if order.side is Side.BUY:
                    buys += value
                else:
                    sells += value
            total += max(abs(held), abs(held + buys), abs(held - sells))
        return total

    def held_notional(self, symbol: Symbol, mark: Decimal) -> Decimal:
        return sum((abs(each.quantity) * mark for _, each in self.of_symbol(symbol)), ZERO)

    def order_margin(self, symbol: Symbol, orders: Iterable[Order], mark: Decimal) -> Decimal:
        """What the resting entries of a symbol hold beyond its positions."""
        beyond = self.exposure(symbol, orders, mark) - self.held_notional(symbol, mark)
        return beyond / self.leverage[symbol]


__all__ = ["Account", "Key"]
