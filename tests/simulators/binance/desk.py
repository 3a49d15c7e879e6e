"""What Binance's handlers share: the venue, its limits and listen keys, and how orders are found.

A route says which method and path it answers, who may ask, and what it costs. Handlers take the
desk and the parameters and return what is to be JSON; they refuse by raising.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from engine.model.ids import Symbol
from tests.simulators.binance.errors import ApiError
from tests.simulators.binance.limits import Limits
from tests.simulators.binance.listen_keys import ListenKeys
from tests.simulators.binance.parameters import Parameters
from tests.simulators.core.contracts import Contract
from tests.simulators.core.model import Conditional, Order
from tests.simulators.core.refusals import Reason, Refusal
from tests.simulators.core.venue import Venue
from tests.simulators.faults import Fault, Faults

_NS = 1_000_000_000
_DAY_NS = 24 * 3600 * _NS
# After these an order can no longer be queried: without a fill, and at all.
_UNFILLED_KEPT_NS = 3 * _DAY_NS
_KEPT_NS = 90 * _DAY_NS


class Security(StrEnum):
    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


class Desk:
    """One account's counter at the venue."""

    def __init__(
        self,
        *,
        venue: Venue,
        faults: Faults,
        listen_keys: ListenKeys,
        now_ns: Callable[[], int],
    ) -> None:
        self.venue = venue
        self.faults = faults
        self.listen_keys = listen_keys
        self.limits = Limits()
        self.now_ns = now_ns
        self._hidden_until_ns: dict[int, int] = {}
        self._made_ids = 0

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def contract(self, parameters: Parameters) -> Contract:
        return self.venue.contract(parameters.text("symbol"))

    def optional_symbol(self, parameters: Parameters) -> Symbol | None:
        symbol = parameters.optional("symbol")
        return self.venue.contract(symbol).symbol if symbol is not None else None

    def make_client_id(self) -> str:
        """An id for an order that came without one, in the venue's style."""
        self._made_ids += 1
        return f"venue{self._made_ids:017d}"

    # --- finding ---------------------------------------------------------------------------------

    def hide_if_asked(self, subject: str, identifier: int) -> None:
        """Let an order be unknown to queries for a while, as in a venue whose copies lag."""
        rule = self.faults.take((Fault.HIDDEN,), subject)
        if rule:
            self._hidden_until_ns[identifier] = self.now_ns() + round(rule.seconds * _NS)

    def is_hidden(self, identifier: int) -> bool:
        return self.now_ns() < self._hidden_until_ns.get(identifier, 0)

    def find_order(
        self, parameters: Parameters, *, client_id_name: str = "origClientOrderId"
    ) -> Order | None:
        """The order asked for, unless it is hidden or another symbol's."""
        symbol = self.contract(parameters).symbol
        order_id = parameters.optional_integer("orderId")
        client_id = parameters.optional(client_id_name)
        if order_id is None and client_id is None:
            raise ApiError(
                -1102,
                "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!",
            )
        order = self.venue.books.find(order_id=order_id, client_id=client_id)
        if order is None or order.symbol != symbol or self.is_hidden(order.order_id):
            return None
        return order

    def kept(self, order: Order) -> bool:
        """Whether the venue still answers for an order."""
        age = self.now_ns() - order.created_ns
        if order.status.is_open:
            return not self.is_hidden(order.order_id)
        limit = _KEPT_NS if order.filled else _UNFILLED_KEPT_NS
        return age <= limit and not self.is_hidden(order.order_id)

    def find_conditional(self, parameters: Parameters) -> Conditional | None:
        conditional_id = parameters.optional_integer("algoId")
        client_id = parameters.optional("clientAlgoId")
        if conditional_id is None and client_id is None:
            raise ApiError(
                -1102, "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!"
            )
        found = self.venue.books.find_conditional(
            conditional_id=conditional_id, client_id=client_id
        )
        return None if found is None or self.is_hidden(found.conditional_id) else found


Handler = Callable[[Desk, Parameters], object]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, who may ask, what it costs; `orders` is (in 10 s, in a minute)."""

    method: str
    path: str
    handler: Handler
    security: Security = Security.SIGNED
    weight: int | Callable[[Parameters], int] = 1
    orders: tuple[int, int] = (0, 0)

    def weight_of(self, parameters: Parameters) -> int:
        return self.weight if isinstance(self.weight, int) else self.weight(parameters)


def weight_by_symbol(with_symbol: int, without: int) -> Callable[[Parameters], int]:
    return lambda parameters: with_symbol if "symbol" in parameters else without


def known(order: Order | None) -> Order:
    if order is None:
        raise Refusal(Reason.UNKNOWN_ORDER)
    return order


__all__ = ["Desk", "Handler", "Route", "Security", "known", "weight_by_symbol"]
