"""What a venue must offer to be put through the contract: its ports, its market, and its misdeeds.

The cases speak only this; each venue fills it in (the paper venue by its fault object, a simulator
over its control socket). BTCUSDT must exist on Binance's usual grid, prices are set by `trade`.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from engine.model.ids import ClientOrderId, Symbol, client_order_id
from engine.model.orders import Fill, Intent, OrderKind, OrderPurpose, OrderState
from engine.model.reasons import Reason
from engine.model.values import Side
from engine.model.venue import Approved, StreamUpdate, VenueOrder
from engine.ports import AccountReads, Exits, OrderEntry, Streams

BTC = Symbol("BTCUSDT")
ETH = Symbol("ETHUSDT")


class VenuePorts(OrderEntry, Exits, AccountReads, Streams, Protocol):
    """All four ports in one object."""


@dataclass(kw_only=True)
class VenueUnderTest:
    """One venue with an account of 100,000 USDT and prices 60,000 and 3,000.

    `refuse_entries` are the final check's reasons; `script` makes the next calls of an operation
    fail (refuse, not_executed, lost_request, lost_answer). `restart` gives the same account after
    the venue's process ended and came back; `fills_at_touch` says whether a resting order fills
    where its price is only touched, `idle_stop_ends` what a stop becomes that triggers with nothing
    left to close, `overlong_close_ends` what a reduction larger than its position does,
    `ids_are_for_ever` whether an id is refused also when its order has ended. `codes` are the
    venue's own for those of the cases, which are Binance's. Executions are asked for from
    `began_ns` on: a real venue keeps months of them.
    """

    ports: VenuePorts
    trade: Callable[[Symbol, str], None]
    script: Callable[[str, str], None]
    disconnect: Callable[[], None]
    reconnect: Callable[[], None]
    restart: Callable[[], Awaitable[None]]
    refuse_entries: list[Reason] = field(default_factory=list)
    fills_at_touch: bool = False
    idle_stop_ends: OrderState = OrderState.CANCELLED
    overlong_close_ends: OrderState = OrderState.CANCELLED
    ids_are_for_ever: bool = False
    codes: Mapping[str, str] = field(default_factory=dict)
    began_ns: int = 0
    checks: int = 0
    heard: list[StreamUpdate] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def next_id(self) -> ClientOrderId:
        return client_order_id("contract", 1, next(self._numbers))

    def intent(
        self,
        side: Side,
        quantity: str,
        *,
        symbol: Symbol = BTC,
        price: str | None = None,
        stop: str | None = None,
        profit: str | None = None,
        reduce_only: bool = False,
        leverage: int = 5,
        identifier: ClientOrderId | None = None,
    ) -> Intent:
        kind = OrderKind.LIMIT if price else OrderKind.MARKET
        if stop or profit:
            kind = OrderKind.STOP_MARKET if stop else OrderKind.TAKE_PROFIT_MARKET
        return Intent(
            client_order_id=identifier or self.next_id(),
            symbol=symbol,
            side=side,
            kind=kind,
            purpose=OrderPurpose.EXIT if reduce_only else OrderPurpose.ENTRY,
            quantity=Decimal(quantity),
            price=Decimal(price) if price else None,
            trigger_price=Decimal(stop or profit or 0) or None,
            reduce_only=reduce_only,
            leverage=Decimal(leverage),
        )

    async def enter(self, intent: Intent) -> Intent:
        await self.ports.place(Approved(intent=intent, policy_version=1, approved_ns=0))
        return intent

    async def exit(self, intent: Intent) -> Intent:
        await self.ports.reduce(intent)
        return intent

    async def quantity(self, symbol: Symbol = BTC) -> Decimal:
        for position in await self.ports.positions():
            if position.symbol == symbol:
                return position.quantity
        return Decimal(0)

    def code(self, of_binance: str) -> str:
        return self.codes.get(of_binance, of_binance)

    async def fills(self) -> tuple[Fill, ...]:
        return await self.ports.executions(since_ns=self.began_ns)

    async def order(self, intent: Intent) -> VenueOrder:
        order = await self.ports.order(intent.symbol, intent.client_order_id)
        assert order is not None
        return order

    def heard_fills(self) -> list[Fill]:
        return [update.fill for update in self.heard if update.fill is not None]


__all__ = ["BTC", "ETH", "VenuePorts", "VenueUnderTest"]
