"""A position's own stops on Bybit (trading-stop): one whole take-profit and stop-loss, or parts.

Each is a conditional order of the core that only this module names TakeProfit, StopLoss and so on.
A new whole one takes the place of the old; they end with their position.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from engine.model.values import Side, plain
from tests.simulators.bybit.errors import ApiError
from tests.simulators.core.account import Key
from tests.simulators.core.model import (
    Conditional,
    ConditionalRequest,
    ConditionalStatus,
    Kind,
    PriceKind,
    TriggerKind,
)
from tests.simulators.core.venue import Venue

_TRIGGERS = {"TakeProfit": TriggerKind.TAKE_PROFIT, "StopLoss": TriggerKind.STOP}
_PART = "Partial"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A stop asked for: `kind` TakeProfit or StopLoss; a price of zero takes it away; a quantity
    makes it a part; a limit price makes it a limit order.
    """

    kind: str
    price: Decimal
    watches: PriceKind = PriceKind.LAST
    quantity: Decimal | None = None
    limit_price: Decimal | None = None


class Stops:
    """The stops of every position."""

    def __init__(self, *, venue: Venue, make_client_id: Callable[[], str]) -> None:
        self._venue = venue
        self._make_client_id = make_client_id
        self._kinds: dict[int, str] = {}
        self._whole: dict[tuple[Key, str], int] = {}
        self._of_position: dict[Key, list[int]] = {}

    def kind_of(self, conditional_id: int) -> str:
        """The wire's stopOrderType; empty for what is not a position's stop."""
        return self._kinds.get(conditional_id, "")

    def prices(self, key: Key) -> dict[str, str]:
        """The whole stops of a position, as its row shows them."""
        shown: dict[str, str] = {}
        for kind in _TRIGGERS:
            conditional = self._waiting(self._whole.get((key, kind)))
            if conditional is not None and conditional.trigger_price is not None:
                shown[kind] = plain(conditional.trigger_price)
        return shown

    def set(self, key: Key, wishes: list[Wish]) -> None:
        """Put stops at a position; refused without one, or when nothing changes."""
        quantity = self._venue.account.quantity(key)
        if not quantity:
            raise ApiError(10001, "can not set tp/sl/ts for zero position")
        if not self._changes(key, wishes):
            raise ApiError(34040, "not modified")
        side = Side.SELL if quantity > 0 else Side.BUY
        market = self._venue.markets[key[0]]
        for wish in wishes:
            base = market.mark if wish.watches is PriceKind.MARK else market.last
            self.check_side(side, wish, base)
        for wish in wishes:
            self._set_one(key, side, wish)

    def _changes(self, key: Key, wishes: list[Wish]) -> bool:
        shown = self.prices(key)
        return any(
            wish.quantity is not None
            or shown.get(wish.kind) != (plain(wish.price) if wish.price else None)
            for wish in wishes
        )

    def check_side(self, side: Side, wish: Wish, base: Decimal) -> None:
        """Refuse a stop on the wrong side of the price; `side` is the closing one."""
        if not wish.price:
            return
        # A long's take-profit waits above, its stop below.
        waits_above = (side is Side.SELL) == (wish.kind == "TakeProfit")
        if (wish.price <= base) if waits_above else (wish.price >= base):
            word = "higher" if waits_above else "lower"
            raise ApiError(
                10001, f"{wish.kind}:{wish.price} set for position should be {word} than {base}"
            )

    def _set_one(self, key: Key, side: Side, wish: Wish) -> None:
        if wish.quantity is None:
            replaced = self._waiting(self._whole.pop((key, wish.kind), None))
            if replaced is not None:
                self._venue.cancel_conditional(replaced)
            if not wish.price:
                return
        is_whole = wish.quantity is None
        conditional = self._venue.place_conditional(
            ConditionalRequest(
                symbol=key[0],
                side=side,
                trigger=_TRIGGERS[wish.kind],
                kind=Kind.MARKET if wish.limit_price is None else Kind.LIMIT,
                quantity=wish.quantity or Decimal(0),
                trigger_price=wish.price,
                price=wish.limit_price,
                leg=key[1],
                client_id=self._make_client_id(),
                reduce_only=True,
                close_position=is_whole,
                watches=wish.watches,
            )
        )
        identifier = conditional.conditional_id
        self._kinds[identifier] = wish.kind if is_whole else f"{_PART}{wish.kind}"
        self._of_position.setdefault(key, []).append(identifier)
        if is_whole:
            self._whole[(key, wish.kind)] = identifier

    def end_with_position(self, key: Key) -> None:
        """A flat position has no stops."""
        if self._venue.account.quantity(key):
            return
        for identifier in self._of_position.pop(key, []):
            conditional = self._waiting(identifier)
            if conditional is not None:
                self._venue.expire_conditional(conditional)

    def _waiting(self, conditional_id: int | None) -> Conditional | None:
        found = self._venue.books.find_conditional(conditional_id=conditional_id)
        return found if found and found.status is ConditionalStatus.NEW else None


__all__ = ["Stops", "Wish"]
