"""The paper venue's own books: positions, balance, orders, and what one execution does to them.

Kept apart from our ledger on purpose, as a venue's are: its arithmetic is written anew. A position
is a signed quantity with its signed cost; a part that is closed takes its share of the cost,
rounded to 10⁻¹², and the last part takes all of the rest, so that a flat account's balance is
exactly the cash that flowed. Balance = initial + realised - fees + funding, without what is
unrealised.
Everything that changes is collected in `Changes`, to be committed at once. No clock, no disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from engine.model.ids import ClientOrderId, ExecutionId, Symbol, VenueOrderId
from engine.model.orders import Fill, OrderKind, OrderState
from engine.model.values import ONE, ZERO
from engine.model.venue import VenueOrder, VenuePosition

_COST_GRID = Decimal("1E-12")
_FEE_GRID = Decimal("1E-8")
_NS = 1_000_000_000


class Position(msgspec.Struct):
    """Signed quantity and signed cost; the entry price keeps all digits, so the cost can be had
    back.
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO

    @property
    def entry_price(self) -> Decimal:
        return self.cost / self.quantity if self.quantity else ZERO

    def move(self, signed: Decimal, price: Decimal) -> Decimal:
        """Add a signed quantity at a price; returns what that realised."""
        closing = ZERO
        if self.quantity * signed < 0:
            closing = min(abs(signed), abs(self.quantity)).copy_sign(signed)
        realised = ZERO
        if closing:
            cost = self.cost
            if closing != -self.quantity:
                cost = (cost * -closing / self.quantity).quantize(_COST_GRID)
            realised = -closing * price - cost
            self.quantity += closing
            self.cost -= cost
        opening = signed - closing
        self.quantity += opening
        self.cost += opening * price
        return realised


class Funding(msgspec.Struct, frozen=True, kw_only=True):
    """What a position paid (negative) or got at one funding time."""

    movement_id: str
    symbol: Symbol
    quantity: Decimal
    price: Decimal
    rate: Decimal
    amount: Decimal
    due_ns: int
    ts_ns: int


class Changes(msgspec.Struct):
    """What one step changed, as it is afterwards."""

    balance: Decimal
    positions: dict[Symbol, Position] = {}
    orders: dict[VenueOrderId, VenueOrder] = {}
    fills: list[Fill] = []
    fundings: list[Funding] = []
    leverages: dict[Symbol, Decimal] = {}
    marks: dict[Symbol, tuple[Decimal, int]] = {}


class LoadedBooks(msgspec.Struct):
    """The books as they are on disk. `epoch` names this file; numbers go on from the highest
    used.
    """

    epoch: str
    balance: Decimal
    positions: dict[Symbol, Position]
    open_orders: list[VenueOrder]
    leverages: dict[Symbol, Decimal]
    marks: dict[Symbol, tuple[Decimal, int]]
    order_number: int
    execution_number: int
    # The last funding time of each symbol that was settled.
    funded_ns: dict[Symbol, int] = {}


class Books:
    """The books in memory; `take_changes` hands over what is to be committed."""

    def __init__(self, loaded: LoadedBooks, *, currency: str) -> None:
        self._currency = currency
        self._epoch = loaded.epoch
        self.balance = loaded.balance
        self.positions = loaded.positions
        self.leverages = loaded.leverages
        self._order_number = loaded.order_number
        self._execution_number = loaded.execution_number
        self._funded_ns = loaded.funded_ns
        self._open: dict[Symbol, dict[ClientOrderId, VenueOrder]] = {}
        for order in loaded.open_orders:
            self._open.setdefault(order.symbol, {})[order.client_order_id] = order
        self._changes = Changes(balance=self.balance)

    # --- reading ---------------------------------------------------------------------------------

    def quantity(self, symbol: Symbol) -> Decimal:
        position = self.positions.get(symbol)
        return position.quantity if position else ZERO

    def open_orders(self, symbol: Symbol | None = None) -> Iterator[VenueOrder]:
        """Open orders of a symbol, or all, in the order of their arrival per symbol."""
        if symbol is not None:
            return iter(tuple(self._open.get(symbol, {}).values()))
        return iter(tuple(order for orders in self._open.values() for order in orders.values()))

    def open_order(self, client_order_id: ClientOrderId) -> VenueOrder | None:
        for orders in self._open.values():
            if client_order_id in orders:
                return orders[client_order_id]
        return None

    def position_rows(self, marks: dict[Symbol, Decimal]) -> tuple[VenuePosition, ...]:
        return tuple(
            VenuePosition(
                symbol=symbol,
                quantity=position.quantity,
                entry_price=position.entry_price,
                mark_price=marks.get(symbol),
            )
            for symbol, position in self.positions.items()
        )

    def leverage(self, symbol: Symbol) -> Decimal:
        return self.leverages.get(symbol, ONE)

    # --- changing --------------------------------------------------------------------------------

    def new_order_id(self) -> VenueOrderId:
        self._order_number += 1
        return VenueOrderId(f"{self._epoch}o{self._order_number}")

    def put(self, order: VenueOrder) -> VenueOrder:
        """Keep an order as it is now; a final one is no longer open."""
        orders = self._open.setdefault(order.symbol, {})
        if order.state.is_final:
            orders.pop(order.client_order_id, None)
        else:
            orders[order.client_order_id] = order
        self._changes.orders[order.venue_order_id] = order
        return order

    def set_leverage(self, symbol: Symbol, leverage: Decimal) -> None:
        if self.leverages.get(symbol) != leverage:
            self.leverages[symbol] = self._changes.leverages[symbol] = leverage

    def set_mark(self, symbol: Symbol, price: Decimal, ts_ns: int) -> None:
        """Note a mark for the disk."""
        self._changes.marks[symbol] = (price, ts_ns)

    def execute(
        self,
        order: VenueOrder,
        *,
        quantity: Decimal,
        price: Decimal,
        fee_rate: Decimal,
        is_maker: bool,
        ts_ns: int,
    ) -> tuple[Fill, VenueOrder]:
        """Fill a part of an order: the fill, and the order afterwards."""
        self._execution_number += 1
        fill = Fill(
            execution_id=ExecutionId(f"{self._epoch}x{self._execution_number}"),
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=price,
            fee=(price * quantity * fee_rate).quantize(_FEE_GRID),
            fee_currency=self._currency,
            ts_ns=ts_ns,
            is_maker=is_maker,
        )
        position = self.positions.get(order.symbol) or Position()
        realised = position.move(order.side.sign * quantity, price)
        self._changes.positions[order.symbol] = position
        if position.quantity:
            self.positions[order.symbol] = position
        else:
            self.positions.pop(order.symbol, None)
        self.balance += realised - fill.fee
        self._changes.balance = self.balance
        self._changes.fills.append(fill)
        filled = order.filled + quantity
        state = OrderState.FILLED if filled == order.quantity else OrderState.PARTIALLY_FILLED
        return fill, self.put(replace(order, filled=filled, state=state, ts_ns=ts_ns))

    def settle_funding(
        self, symbol: Symbol, *, rate: Decimal, price: Decimal, due_ns: int, ts_ns: int
    ) -> None:
        """Longs pay shorts at a positive rate, once for each funding time."""
        quantity = self.quantity(symbol)
        if not quantity or due_ns <= self._funded_ns.get(symbol, 0):
            return
        self._funded_ns[symbol] = due_ns
        amount = -(quantity * price * rate).quantize(_FEE_GRID)
        self.balance += amount
        self._changes.balance = self.balance
        self._changes.fundings.append(
            Funding(
                movement_id=f"{self._epoch}f-{symbol}-{due_ns // _NS}",
                symbol=symbol,
                quantity=quantity,
                price=price,
                rate=rate,
                amount=amount,
                due_ns=due_ns,
                ts_ns=ts_ns,
            )
        )

    def take_changes(self) -> Changes:
        """What is to be committed now; the next step starts empty."""
        changes, self._changes = self._changes, Changes(balance=self.balance)
        # Positions are mutable and may move on before the writer's thread has come to them.
        changes.positions = {s: Position(p.quantity, p.cost) for s, p in changes.positions.items()}
        return changes


def is_entry_at_rest(order: VenueOrder) -> bool:
    """A resting order that can add risk and so holds margin."""
    return order.kind is OrderKind.LIMIT and not order.reduce_only


__all__ = ["Books", "Changes", "Funding", "LoadedBooks", "Position", "is_entry_at_rest"]
