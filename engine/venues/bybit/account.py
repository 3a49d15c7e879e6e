"""What Bybit says of the account: positions, open orders of both kinds, executions, balance.

Every read goes to the end of its cursors or raises; none is ever empty because it failed, and a
cursor that does not move fails the read. Positions and orders are listed by the coin they settle
in, so both coins of the category are asked for. One order is looked for where the venue keeps it
(open and just ended, then the history, which lags); one that is in neither place and has executions
exists all the same. Which symbols are in hedge mode is learned from every position row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

from engine.model.errors import NotExecuted, OutcomeUnknown
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Fill
from engine.model.values import ZERO
from engine.model.venue import VenueBalance, VenueOrder, VenuePosition, WalletMovement
from engine.venues.bybit import requests
from engine.venues.bybit.accounts import (
    PositionLeg,
    decode_executions,
    decode_orders,
    decode_positions,
    decode_wallet,
)
from engine.venues.bybit.movements import decode_movements
from engine.venues.bybit.requests import WINDOW_MS, Request
from engine.venues.bybit.rest import BybitRest
from engine.venues.transport.rate_limits import Lane

CURRENCY = "USDT"
SETTLE_COINS = ("USDT", "USDC")
_NS_PER_MS = 1_000_000
# The venue keeps executions and movements for two years.
_KEPT_MS = 2 * 365 * 24 * 3600 * 1000
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Page(Protocol[T_co]):
    @property
    def rows(self) -> tuple[T_co, ...]: ...

    @property
    def count(self) -> int: ...

    @property
    def next_cursor(self) -> str: ...


class PositionModes:
    """Which symbols hold a long and a short leg side by side (hedge mode).

    What is not known of a symbol is as it is with the account as a whole, as far as it was heard.
    """

    def __init__(self) -> None:
        self._hedged: dict[Symbol, bool] = {}
        self._usual = False

    def learn(self, leg: PositionLeg) -> None:
        self.set(leg.position.symbol, is_hedged=leg.index != 0)

    def set(self, symbol: Symbol, *, is_hedged: bool) -> None:
        self._hedged[symbol] = is_hedged

    def set_all(self, *, is_hedged: bool) -> None:
        """The mode of the whole account was set, or read of a symbol that stands for it."""
        self._hedged.clear()
        self._usual = is_hedged

    def is_hedged(self, symbol: Symbol) -> bool:
        return self._hedged.get(symbol, self._usual)

    def hedged_of(self, symbols: Iterable[Symbol]) -> frozenset[Symbol]:
        return frozenset(symbol for symbol in symbols if self.is_hedged(symbol))


class BybitAccount:
    """Implements AccountReads. With `Lane.EXIT_READ` its reads go by the emergency lane."""

    def __init__(self, *, rest: BybitRest, modes: PositionModes, lane: Lane = Lane.READ) -> None:
        self._rest = rest
        self._modes = modes
        self._lane = lane

    async def positions(self) -> tuple[VenuePosition, ...]:
        """Every non-zero position; in hedge mode a row for each leg."""
        by_coin = await _both(self._positions)
        return tuple(leg.position for legs in by_coin for leg in legs if not leg.is_flat)

    async def _positions(self, coin: str) -> list[PositionLeg]:
        def ask(cursor: str) -> Request:
            return requests.positions(coin, cursor)

        legs = await self._all(ask, decode_positions)
        for leg in legs:
            self._modes.learn(leg)
        return list({(leg.position.symbol, leg.index): leg for leg in legs}.values())

    async def is_hedged(self, symbol: Symbol) -> bool:
        """The mode of one symbol, as the venue says."""
        page = await self._rest.call(
            requests.positions_of(symbol), decode_positions, lane=self._lane
        )
        for leg in page.rows:
            if leg.position.symbol == symbol:
                self._modes.learn(leg)
                return leg.index != 0
        raise NotExecuted(f"the venue does not say which position mode {symbol} is in")

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """Every open order, of both kinds."""
        if symbol is not None:
            return await self._open_orders(lambda cursor: requests.open_orders_of(symbol, cursor))
        by_coin = await _both(self._open_orders_in)
        return tuple(order for orders in by_coin for order in orders)

    async def _open_orders_in(self, coin: str) -> tuple[VenueOrder, ...]:
        return await self._open_orders(lambda cursor: requests.open_orders(coin, cursor))

    async def _open_orders(self, ask: Callable[[str], Request]) -> tuple[VenueOrder, ...]:
        orders = await self._all(ask, decode_orders)
        # A list that moves while it is read shows the same order on two pages.
        newest = {order.venue_order_id: order for order in orders}
        return tuple(order for order in newest.values() if not order.state.is_final)

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        """One order in whatever state, or None when the venue knows nothing of it."""
        for ask in (requests.order, requests.ended_order):
            page = await self._rest.call(
                ask(symbol, client_order_id), decode_orders, lane=self._lane
            )
            for order in page.rows:
                if order.symbol == symbol and order.client_order_id == client_order_id:
                    return order
        executed = await self._rest.call(
            requests.executions_of(symbol, client_order_id), decode_executions, lane=self._lane
        )
        if any(fill.symbol == symbol for fill in executed.fills):
            raise OutcomeUnknown(
                f"{client_order_id} has executions, and the order cannot be seen yet"
            )
        return None

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        """Executions since a time, oldest first; at most of the two years that the venue keeps.

        Funding stands in the same list and is no fill.
        """

        def ask(start_ms: int, end_ms: int, cursor: str) -> Request:
            return requests.executions(
                start_ms=start_ms, end_ms=end_ms, cursor=cursor, symbol=symbol
            )

        rows = await self._since(since_ns, ask, decode_executions)
        fills = {fill.execution_id: fill for fill in rows}
        found = sorted(fills.values(), key=lambda fill: fill.ts_ns)
        return tuple(fill for fill in found if fill.ts_ns >= since_ns)

    async def balance(self) -> VenueBalance:
        """The wallet balance in USDT; a coin of which there is nothing is not listed."""
        for balance in await self.balances():
            if balance.currency == CURRENCY:
                return balance
        return VenueBalance(currency=CURRENCY, balance=ZERO)

    async def balances(self) -> tuple[VenueBalance, ...]:
        """The wallet balance of every coin."""
        return await self._rest.call(requests.wallet(), decode_wallet, lane=self._lane)

    async def movements(self, *, since_ns: int) -> tuple[WalletMovement, ...]:
        """What changed the wallet since a time, oldest first; at most of two years."""

        def ask(start_ms: int, end_ms: int, cursor: str) -> Request:
            return requests.movements(start_ms=start_ms, end_ms=end_ms, cursor=cursor)

        rows = await self._since(since_ns, ask, decode_movements)
        movements = {movement.movement_id: movement for movement in rows}
        found = sorted(movements.values(), key=lambda movement: movement.ts_ns)
        return tuple(movement for movement in found if movement.ts_ns >= since_ns)

    # --- pages -----------------------------------------------------------------------------------

    async def _since(
        self,
        since_ns: int,
        ask: Callable[[int, int, str], Request],
        read: Callable[[bytes], _Page[T]],
    ) -> list[T]:
        """Every row since a time, week by week, each to the end of its cursors."""
        now_ms = self._rest.venue_now_ms()
        begin_ms = max(since_ns // _NS_PER_MS, now_ms - _KEPT_MS)
        rows: list[T] = []
        while True:  # Once at least: clocks may be so far apart that the time is yet to come.
            end_ms = begin_ms + WINDOW_MS - 1
            rows += await self._all(partial(ask, begin_ms, end_ms), read)
            begin_ms = end_ms + 1
            if begin_ms > now_ms:
                return rows

    async def _all(
        self, ask: Callable[[str], Request], read: Callable[[bytes], _Page[T]]
    ) -> list[T]:
        """Every row of every page."""
        rows: list[T] = []
        cursor, seen = "", {""}
        while True:
            request = ask(cursor)
            page = await self._rest.call(request, read, lane=self._lane)
            rows += page.rows
            cursor = page.next_cursor
            # An empty page is the end too: a full one may be the last without saying so.
            if not cursor or not page.count:
                return rows
            if cursor in seen:
                raise NotExecuted(f"{request.path}: the cursor leads to where it came from")
            seen.add(cursor)


async def _both(read: Callable[[str], Coroutine[Any, Any, T]]) -> list[T]:
    """Read of both coins at once; both have ended when this does, whatever became of them."""
    read_of = await asyncio.gather(*map(read, SETTLE_COINS), return_exceptions=True)
    rows: list[T] = []
    for each in read_of:
        if isinstance(each, BaseException):
            raise each
        rows.append(each)
    return rows


__all__ = ["CURRENCY", "SETTLE_COINS", "BybitAccount", "PositionModes"]
