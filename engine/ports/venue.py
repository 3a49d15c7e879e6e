"""The four ports of a venue: who may do what (R-EXE-13). There is no other way to a venue.

Errors, the same for all: `Refused` (proved not to have happened, final), `NotExecuted` (did not
happen, may be tried again), `OutcomeUnknown` (sent, no answer: ask, never assume). A failed read
raises; it never returns empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Fill, Intent
from engine.model.reasons import Reason
from engine.model.venue import (
    Approved,
    OrderAck,
    StreamUpdate,
    VenueBalance,
    VenueOrder,
    VenuePosition,
)

# Asked synchronously in the transport, right before the bytes of an entry leave; any reason stops
# it (the adapter raises `Denied`).
FinalCheck = Callable[[Approved], tuple[Reason, ...]]


class OrderEntry(Protocol):
    """The only way to add risk: takes only what the gate approved."""

    async def place(self, approved: Approved) -> OrderAck:
        """Send an entry. Raises Denied when the final check says no, else the venue errors."""
        ...


class Exits(Protocol):
    """Everything that can only reduce; all that the emergency stop and the guard get."""

    async def reduce(self, intent: Intent) -> OrderAck:
        """Send a reduce-only market or stop order; `intent.reduce_only` must be set."""
        ...

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> None:
        """Cancel one order, conditional or not; returns when acknowledged. Refused when it is not
        open.
        """
        ...

    async def cancel_all(self, symbol: Symbol, *, conditional: bool) -> int:
        """Cancel every open order of a symbol: the ordinary ones, or the conditional ones; their
        number.
        """
        ...


class AccountReads(Protocol):
    """What the venue itself says; never our cache."""

    async def positions(self) -> tuple[VenuePosition, ...]:
        """Every non-zero position of the account."""
        ...

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """Every open order of the account, or of one symbol, conditional ones too."""
        ...

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        """One order in whatever state, or None when the venue does not know it (yet)."""
        ...

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        """Executions of the account, or of one symbol, since a time, oldest first."""
        ...

    async def balance(self) -> VenueBalance:
        """The wallet balance in the account's currency."""
        ...

    async def balances(self) -> tuple[VenueBalance, ...]:
        """The wallet balance of every asset."""
        ...


class Streams(Protocol):
    """The venue's private stream."""

    def subscribe(self, handler: Callable[[StreamUpdate], None]) -> Callable[[], None]:
        """Hear every update in the venue's order; returns the unsubscribe function."""
        ...

    def is_connected(self) -> bool: ...


__all__ = ["AccountReads", "Exits", "FinalCheck", "OrderEntry", "Streams"]
