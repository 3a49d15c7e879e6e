"""What a simulated venue keeps of orders: all that ever were, those open, and the conditional ones.

Plain memory with indexes; orders of a symbol are kept in the order of their place in the queue.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.model.ids import Symbol
from tests.simulators.core.model import Conditional, ConditionalStatus, Order

# Beyond what a float holds exactly, as the venue's own ids are.
_FIRST_ORDER_ID = 8_389_766_000_000_000_000
_FIRST_CONDITIONAL_ID = 1_000_000_033_000_000


class OrderBooks:
    """Orders and conditional orders by every id they have."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.conditionals: dict[int, Conditional] = {}
        self._waiting: dict[int, Conditional] = {}
        self._open: dict[Symbol, dict[int, Order]] = {}
        self._by_client_id: dict[str, int] = {}
        self._conditional_by_client_id: dict[str, int] = {}
        self._order_id = _FIRST_ORDER_ID
        self._conditional_id = _FIRST_CONDITIONAL_ID

    def next_order_id(self) -> int:
        self._order_id += 1
        return self._order_id

    def next_conditional_id(self) -> int:
        self._conditional_id += 1
        return self._conditional_id

    def put(self, order: Order) -> None:
        """Keep an order as it is now: in the queue while it is open."""
        self.orders[order.order_id] = order
        self._by_client_id[order.client_id] = order.order_id
        queue = self._open.setdefault(order.symbol, {})
        if order.status.is_open:
            queue.setdefault(order.order_id, order)
        else:
            queue.pop(order.order_id, None)

    def requeue(self, order: Order) -> None:
        """Send an open order to the end of its queue."""
        queue = self._open[order.symbol]
        queue[order.order_id] = queue.pop(order.order_id)

    def open_orders(self, symbol: Symbol | None = None) -> list[Order]:
        if symbol is not None:
            return list(self._open.get(symbol, {}).values())
        return [order for queue in self._open.values() for order in queue.values()]

    def find(self, *, order_id: int | None = None, client_id: str | None = None) -> Order | None:
        """An order by the venue's id, else the newest with this client id."""
        if order_id is None and client_id is not None:
            order_id = self._by_client_id.get(client_id)
        return self.orders.get(order_id) if order_id is not None else None

    def put_conditional(self, conditional: Conditional) -> None:
        self.conditionals[conditional.conditional_id] = conditional
        self._conditional_by_client_id[conditional.client_id] = conditional.conditional_id
        if conditional.status is ConditionalStatus.NEW:
            self._waiting[conditional.conditional_id] = conditional
        else:
            self._waiting.pop(conditional.conditional_id, None)

    def find_conditional(
        self, *, conditional_id: int | None = None, client_id: str | None = None
    ) -> Conditional | None:
        if conditional_id is None and client_id is not None:
            conditional_id = self._conditional_by_client_id.get(client_id)
        return self.conditionals.get(conditional_id) if conditional_id is not None else None

    def waiting(self, symbol: Symbol | None = None) -> Iterator[Conditional]:
        """Conditional orders that have not triggered, oldest first."""
        for conditional in tuple(self._waiting.values()):
            if symbol is None or conditional.request.symbol == symbol:
                yield conditional


__all__ = ["OrderBooks"]
