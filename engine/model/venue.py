"""What a venue says: acknowledgements, its orders, positions and balance, and its private stream.

These are the venue's words about its own books, never our cache. `quantity` of a position is
signed, positive when long, on every venue (adapters convert). Times are UTC nanoseconds.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.ids import ClientOrderId, Symbol, VenueOrderId
from engine.model.orders import Fill, Intent, OrderKind, OrderState
from engine.model.values import Side


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that the gate has allowed, under this policy version. Only `engine.risk` makes one.

    tests/test_tidy.py holds the project to that.
    """

    intent: Intent
    policy_version: int
    approved_ns: int


class OrderAck(msgspec.Struct, frozen=True, kw_only=True):
    """The venue took the order. It may have filled already; the stream tells."""

    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId


class VenueOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the venue has it. Conditional ones have a trigger price."""

    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId
    symbol: Symbol
    side: Side
    kind: OrderKind
    quantity: Decimal
    filled: Decimal
    state: OrderState
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False
    ts_ns: int = 0
    reason: str = ""

    @property
    def is_conditional(self) -> bool:
        return self.trigger_price is not None


class Leg(StrEnum):
    """Which of a symbol's two positions in hedge mode.

    An order says it by itself: what buys opens the long one and, reduce-only, closes the short one.
    """

    LONG = "long"
    SHORT = "short"

    @classmethod
    def of(cls, side: Side, *, reduce_only: bool) -> Leg:
        """The leg that an order of this side works on."""
        return cls.LONG if (side is Side.BUY) is not reduce_only else cls.SHORT


class VenuePosition(msgspec.Struct, frozen=True, kw_only=True):
    """A position as the venue has it; `quantity` signed.

    In hedge mode a symbol may have two, one a leg; in one-way mode there is one, without a leg.
    """

    symbol: Symbol
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal | None = None
    leg: Leg | None = None


class VenueBalance(msgspec.Struct, frozen=True, kw_only=True):
    """Wallet balance of one currency: transfers + realised - fees + funding, without unrealised."""

    currency: str
    balance: Decimal


class MovementKind(StrEnum):
    """Why a wallet changed. REALISED and FEE are told by executions too, the others by nothing
    else.
    """

    TRANSFER = "transfer"
    FUNDING = "funding"
    REALISED = "realised"
    FEE = "fee"
    OTHER = "other"


class WalletMovement(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the wallet of one currency; `amount` is positive when the wallet grew.

    `movement_id` is one of a kind at its venue; `detail` is the venue's own word for it.
    """

    movement_id: str
    kind: MovementKind
    currency: str
    amount: Decimal
    ts_ns: int
    symbol: Symbol | None = None
    detail: str = ""


class WatchedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account that is only looked at, as it was at `read_ns` by our clock."""

    read_ns: int
    positions: tuple[VenuePosition, ...]
    balance: VenueBalance


class StreamUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the private stream: a fill, an order's new state, or the stream itself.

    `connected` is set (True or False) only for changes of the stream's own state.
    """

    ts_ns: int
    fill: Fill | None = None
    order: VenueOrder | None = None
    connected: bool | None = None
    cause: str = ""


__all__ = [
    "Approved",
    "Leg",
    "MovementKind",
    "OrderAck",
    "StreamUpdate",
    "VenueBalance",
    "VenueOrder",
    "VenuePosition",
    "WalletMovement",
    "WatchedAccount",
]
