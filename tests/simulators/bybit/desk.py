"""What Bybit's handlers share: the venue, the ids of its wire, orders as the wire knows them.

On the wire a conditional order and the order it becomes are one: the id stays, the status goes on.
A route says path, handler and the pool its calls are counted in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from decimal import Decimal

import msgspec

from engine.model.ids import Symbol
from tests.simulators.bybit.answers import (
    UNNAMED,
    conditional_json,
    execution_json,
    order_json,
    position_json,
    stop_type_of,
)
from tests.simulators.bybit.errors import ApiError, params_error
from tests.simulators.bybit.limits import Limits
from tests.simulators.bybit.parameters import Parameters
from tests.simulators.bybit.stops import Stops, Wish
from tests.simulators.core.account import Key
from tests.simulators.core.contracts import Contract
from tests.simulators.core.model import Conditional, ConditionalStatus, Execution, Order
from tests.simulators.core.refusals import Reason, Refusal
from tests.simulators.core.venue import Venue
from tests.simulators.faults import Fault, Faults

_NS = 1_000_000_000
Document = dict[str, object]


class Protection:
    """Disconnect protection: enabled by the venue for few, with the window it waits."""

    def __init__(self) -> None:
        self.is_enabled = False
        self.window_s = 10


class Desk:
    """One account's counter at the venue."""

    def __init__(
        self, *, venue: Venue, faults: Faults, seed: int, now_ns: Callable[[], int]
    ) -> None:
        self.venue = venue
        self.faults = faults
        self.limits = Limits()
        self.stops = Stops(venue=venue, make_client_id=self.make_client_id)
        # Stops that come into force when the order of this client id fills.
        self.stops_to_attach: dict[str, list[Wish]] = {}
        self.protection = Protection()
        # What an account says of its one key.
        self.key = ""
        self.key_may_withdraw = False
        self.now_ns = now_ns
        self._seed = seed
        self._made_ids = 0
        self._numbers: dict[str, int] = {}
        self._hidden_until_ns: dict[str, int] = {}

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def contract(self, parameters: Parameters) -> Contract:
        return self.venue.contract(parameters.text("symbol"))

    def make_client_id(self) -> str:
        """An id for what came without one; the wire shows it as none."""
        self._made_ids += 1
        return f"{UNNAMED}{self._made_ids}"

    # --- ids -------------------------------------------------------------------------------------

    def wire_id(self, number: int) -> str:
        """The wire's form of one of the core's numbers."""
        digest = hashlib.sha256(f"{self._seed}:{number}".encode()).hexdigest()
        parts = (digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32])
        text = "-".join(parts)
        self._numbers[text] = number
        return text

    def id_of(self, order: Order | Conditional) -> str:
        if isinstance(order, Conditional):
            return self.wire_id(order.conditional_id)
        return self.wire_id(order.conditional_id or order.order_id)

    # --- orders ----------------------------------------------------------------------------------

    def document(self, order: Order | Conditional) -> Document:
        """The order as it is on the wire: a conditional one that has triggered is its order."""
        if isinstance(order, Conditional):
            if order.order_id:
                return self.document(self.venue.books.orders[order.order_id])
            request = order.request
            held = self.venue.account.reducible((request.symbol, request.leg), request.side)
            return conditional_json(
                order,
                wire_id=self.id_of(order),
                quantity=held if request.close_position else request.quantity,
                stop_type=self.stop_type(order),
            )
        origin = self.venue.books.conditionals.get(order.conditional_id)
        return order_json(
            order,
            wire_id=self.id_of(order),
            fee=order.fees,
            origin=origin,
            stop_type=self.stop_type(origin),
        )

    def stop_type(self, conditional: Conditional | None) -> str:
        if conditional is None:
            return ""
        return self.stops.kind_of(conditional.conditional_id) or stop_type_of(conditional)

    def execution(self, execution: Execution, *, left: Decimal | None = None) -> Document:
        order = self.venue.books.orders[execution.order_id]
        return execution_json(
            execution,
            order,
            wire_id=self.id_of(order),
            execution_wire_id=self.wire_id(execution.execution_id),
            mark=self.venue.markets[execution.symbol].mark,
            stop_type=self.stop_type(self.venue.books.conditionals.get(order.conditional_id)),
            left=order.left if left is None else left,
        )

    def position(self, key: Key) -> Document:
        return position_json(
            key,
            self.venue.account,
            self.venue.markets[key[0]],
            stops=self.stops.prices(key),
            seq=self.venue.account.executions[-1].execution_id
            if self.venue.account.executions
            else 0,
        )

    def find(self, parameters: Parameters) -> Order | Conditional | None:
        """By orderId, else by orderLinkId; None when it is not there, or hidden."""
        wire_id, client_id = parameters.optional("orderId"), parameters.optional("orderLinkId")
        books = self.venue.books
        if wire_id is None and client_id is None:
            raise params_error("orderId or orderLinkId is required")
        found: Order | Conditional | None
        if wire_id is not None:
            number = self._numbers.get(wire_id, 0)
            found = books.conditionals.get(number) or books.orders.get(number)
        else:
            found = books.find(client_id=client_id) or books.find_conditional(client_id=client_id)
        if isinstance(found, Conditional) and found.order_id:
            found = books.orders[found.order_id]
        if found is None or self.is_hidden(found):
            return None
        return found

    def is_hidden(self, order: Order | Conditional) -> bool:
        return self.now_ns() < self._hidden_until_ns.get(self.id_of(order), 0)

    def hide_if_asked(self, subject: str, order: Order | Conditional) -> None:
        rule = self.faults.take((Fault.HIDDEN,), subject)
        if rule:
            self._hidden_until_ns[self.id_of(order)] = self.now_ns() + round(rule.seconds * _NS)

    def check_link_id(self, client_id: str) -> None:
        """A link id is never taken twice, by whatever kind of order."""
        books = self.venue.books
        if books.find(client_id=client_id) or books.find_conditional(client_id=client_id):
            raise Refusal(Reason.DUPLICATE_ID)

    # --- scopes ----------------------------------------------------------------------------------

    def symbols(self, parameters: Parameters, *, needed: bool = True) -> set[Symbol]:
        """The symbols that symbol, else baseCoin, else settleCoin name."""
        contracts = self.venue.contracts
        if (symbol := parameters.optional("symbol")) is not None:
            return {self.venue.contract(symbol).symbol}
        if (base := parameters.optional("baseCoin")) is not None:
            return {name for name, each in contracts.items() if each.base == base}
        if (settle := parameters.optional("settleCoin")) is not None:
            return {name for name, each in contracts.items() if each.quote == settle}
        if needed:
            raise params_error("symbol, settleCoin or baseCoin is required")
        return set(contracts)

    def open_documents(self, symbols: set[Symbol]) -> list[Document]:
        """Open and waiting orders, newest first."""
        orders: list[Order | Conditional] = [
            each for each in self.venue.books.open_orders() if each.symbol in symbols
        ]
        orders += [each for each in self.venue.books.waiting() if each.request.symbol in symbols]
        return self._newest_first(orders)

    def closed_documents(self, symbols: set[Symbol]) -> list[Document]:
        """Ended orders, newest first; a conditional one that became an order is that order."""
        books = self.venue.books
        orders: list[Order | Conditional] = [
            each
            for each in books.orders.values()
            if each.symbol in symbols and not each.status.is_open
        ]
        orders += [
            each
            for each in books.conditionals.values()
            if each.request.symbol in symbols
            and each.status is not ConditionalStatus.NEW
            and not each.order_id
        ]
        return self._newest_first(orders)

    def _newest_first(self, orders: list[Order | Conditional]) -> list[Document]:
        seen = [each for each in orders if not self.is_hidden(each)]
        seen.sort(key=lambda each: each.created_ns, reverse=True)
        return [self.document(each) for each in seen]


Handler = Callable[[Desk, Parameters], object]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint; `per_second` of zero is not limited but by address."""

    method: str
    path: str
    handler: Handler
    is_private: bool = True
    per_second: int = 50
    # Batches count each order, in the handler.
    counts_itself: bool = False


class Listed(msgspec.Struct, frozen=True):
    """A result of a batch: what happened to each item, beside the result."""

    result: object
    extra: object


def page(parameters: Parameters, rows: list[Document], *, default: int, most: int) -> Document:
    """So many rows from the cursor on, and the cursor of the next page."""
    limit = parameters.limit(default=default, most=most)
    cursor = parameters.optional("cursor")
    if cursor is not None and not cursor.removeprefix("page:").isdigit():
        raise ApiError(10001, "params error: cursor invalid")
    start = int(cursor.removeprefix("page:")) if cursor else 0
    end = start + limit
    return {
        "category": "linear",
        "list": rows[start:end],
        "nextPageCursor": f"page:{end}" if end < len(rows) else "",
    }


__all__ = ["Desk", "Document", "Handler", "Listed", "Protection", "Route", "page"]
