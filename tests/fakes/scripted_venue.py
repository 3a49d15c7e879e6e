"""A venue with a truth of its own and faults on request; fills the exits, reads and streams ports.

What was sent takes effect whether or not the caller still waits, as with a real venue. `script` is
asked for each call and may answer with a `Fault`. Reduce-only orders are clamped to the position at
the moment they execute and refused when there is none, so a position can never be reversed by one.
Quantities are signed base coin, times seconds of the injected clock.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from engine.model.errors import Refused
from engine.model.ids import ClientOrderId, ExecutionId, Symbol, VenueOrderId
from engine.model.orders import Fill, Intent, OrderKind, OrderState
from engine.model.values import ZERO, Side
from engine.model.venue import (
    OrderAck,
    StreamUpdate,
    VenueBalance,
    VenueOrder,
    VenuePosition,
)
from engine.ports.clock import Clock

T = TypeVar("T")
_FOR_EVER_S = 10_000_000.0


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as it reached the venue's door."""

    name: str
    symbol: Symbol | None
    at_s: float
    intent: Intent | None = None
    conditional: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with a call. Without `error` and `loses_*` it only takes longer."""

    error: Exception | None = None
    loses_request: bool = False
    loses_answer: bool = False
    request_s: float = 0.0
    answer_s: float = 0.0
    fills_at_most: Decimal | None = None


Script = Callable[[Call], Fault | None]


@dataclass
class Truth:
    """The venue's own books."""

    positions: dict[Symbol, Decimal] = field(default_factory=dict)
    marks: dict[Symbol, Decimal] = field(default_factory=dict)
    orders: dict[ClientOrderId, VenueOrder] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    reversed: list[str] = field(default_factory=list)

    @property
    def is_flat(self) -> bool:
        return not self.orders and not any(self.positions.values())


class ScriptedVenue:
    """`latency_s` is the way to the venue, and again the way back."""

    def __init__(
        self, *, clock: Clock, latency_s: float = 0.02, script: Script = lambda _: None
    ) -> None:
        self.truth = Truth()
        self.calls: list[Call] = []
        # When an account-wide read was answered from the books, and whether they were empty.
        self.looks: dict[str, list[tuple[int, bool]]] = {"positions": [], "open_orders": []}
        self.script = script
        self.refuses_close_with_stops: set[Symbol] = set()
        self.is_stream_up = True
        self.slippage = Decimal(0)
        self._clock = clock
        self._latency_s = latency_s
        self._handlers: list[Callable[[StreamUpdate], None]] = []
        self._ids = itertools.count(1)
        self._under_way: set[asyncio.Task[Any]] = set()

    # --- Setting the stage ----------------------------------------------------------------------

    def hold(self, symbol: str, quantity: str, mark: str = "100") -> None:
        self.truth.positions[Symbol(symbol)] = Decimal(quantity)
        self.truth.marks[Symbol(symbol)] = Decimal(mark)

    def rest(
        self,
        symbol: str,
        identifier: str,
        *,
        trigger: str | None = None,
        reduce_only: bool = False,
        side: Side = Side.SELL,
        quantity: str = "1",
    ) -> None:
        """Put an order on the book; with a trigger it is conditional."""
        self.truth.orders[ClientOrderId(identifier)] = VenueOrder(
            client_order_id=ClientOrderId(identifier),
            venue_order_id=VenueOrderId(f"v{next(self._ids)}"),
            symbol=Symbol(symbol),
            side=side,
            kind=OrderKind.LIMIT if trigger is None else OrderKind.STOP_MARKET,
            quantity=Decimal(quantity),
            filled=ZERO,
            state=OrderState.ACCEPTED,
            price=Decimal(100) if trigger is None else None,
            trigger_price=None if trigger is None else Decimal(trigger),
            reduce_only=reduce_only,
        )

    def fill_entry(self, symbol: str, quantity: str, *, order: str | None = None) -> None:
        """An entry fills now: it was on the wire when we stopped, or somebody else trades."""
        name = Symbol(symbol)
        if order is not None and self.truth.orders.pop(ClientOrderId(order), None) is None:
            return
        signed = Decimal(quantity)
        self._execute(
            name, Side.BUY if signed > 0 else Side.SELL, abs(signed), ClientOrderId(order or "late")
        )

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen at the venue in a while."""

        async def wait() -> None:
            await self._clock.sleep(seconds)
            act()

        self._keep(asyncio.get_running_loop().create_task(wait()))

    async def aclose(self) -> None:
        """End what is still under way at the venue."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def named(self, name: str, symbol: str | None = None) -> list[Call]:
        """Calls of one name, of one symbol when given."""
        return [c for c in self.calls if c.name == name and symbol in (None, c.symbol)]

    # --- Exits ----------------------------------------------------------------------------------

    async def reduce(self, intent: Intent) -> OrderAck:
        call = self._called("reduce", intent.symbol, intent=intent)
        return await self._answer(call, lambda fault: self._reduce(intent, fault))

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> None:
        def act(_: Fault) -> None:
            if self.truth.orders.pop(client_order_id, None) is None:
                raise Refused("-2011", "unknown order")

        await self._answer(self._called("cancel", symbol), act)

    async def cancel_all(self, symbol: Symbol, *, conditional: bool) -> int:
        def act(_: Fault) -> int:
            gone = [
                o.client_order_id
                for o in self.truth.orders.values()
                if o.symbol == symbol and o.is_conditional == conditional
            ]
            for identifier in gone:
                del self.truth.orders[identifier]
            return len(gone)

        return await self._answer(self._called("cancel_all", symbol, conditional=conditional), act)

    # --- Reads ----------------------------------------------------------------------------------

    async def positions(self) -> tuple[VenuePosition, ...]:
        return await self._answer(
            self._called("positions", None), lambda _: self._seen("positions", self._positions())
        )

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        return await self._answer(
            self._called("open_orders", symbol),
            lambda _: self._seen(
                "open_orders",
                tuple(o for o in self.truth.orders.values() if symbol in {None, o.symbol}),
            ),
        )

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        return await self._answer(
            self._called("order", symbol), lambda _: self.truth.orders.get(client_order_id)
        )

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        return await self._answer(
            self._called("executions", symbol),
            lambda _: tuple(
                f for f in self.truth.fills if f.ts_ns >= since_ns and symbol in {None, f.symbol}
            ),
        )

    async def balance(self) -> VenueBalance:
        return VenueBalance(currency="USDT", balance=Decimal(1000))

    async def balances(self) -> tuple[VenueBalance, ...]:
        return (await self.balance(),)

    # --- Streams --------------------------------------------------------------------------------

    def subscribe(self, handler: Callable[[StreamUpdate], None]) -> Callable[[], None]:
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)

    def is_connected(self) -> bool:
        return self.is_stream_up

    # --- Inside ---------------------------------------------------------------------------------

    def _called(
        self,
        name: str,
        symbol: Symbol | None,
        *,
        intent: Intent | None = None,
        conditional: bool | None = None,
    ) -> Call:
        call = Call(
            name=name,
            symbol=symbol,
            at_s=self._clock.monotonic_ns() / 1e9,
            intent=intent,
            conditional=conditional,
        )
        self.calls.append(call)
        return call

    async def _answer(self, call: Call, act: Callable[[Fault], T]) -> T:
        fault = self.script(call) or Fault()
        if fault.error is not None:
            await self._clock.sleep(self._latency_s * 2 + fault.answer_s)
            raise fault.error
        if fault.loses_request:
            await self._clock.sleep(_FOR_EVER_S)
        task = asyncio.get_running_loop().create_task(self._arrive(act, fault))
        self._keep(task)
        outcome = await asyncio.shield(task)
        await self._clock.sleep(_FOR_EVER_S if fault.loses_answer else 0.0)
        await self._clock.sleep(self._latency_s + fault.answer_s)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _arrive(self, act: Callable[[Fault], T], fault: Fault) -> T | Exception:
        """What happens at the venue happens, whoever still waits for the answer."""
        await self._clock.sleep(self._latency_s + fault.request_s)
        try:
            return act(fault)
        except Refused as refusal:
            return refusal

    def _seen(self, name: str, rows: tuple[Any, ...]) -> tuple[Any, ...]:
        self.looks[name].append((self._clock.monotonic_ns(), not rows))
        return rows

    def _positions(self) -> tuple[VenuePosition, ...]:
        return tuple(
            VenuePosition(
                symbol=symbol,
                quantity=quantity,
                entry_price=self.truth.marks.get(symbol, Decimal(100)),
                mark_price=self.truth.marks.get(symbol),
            )
            for symbol, quantity in self.truth.positions.items()
            if quantity
        )

    def _reduce(self, intent: Intent, fault: Fault) -> OrderAck:
        position = self.truth.positions.get(intent.symbol, ZERO)
        if not intent.reduce_only:
            raise Refused("not_reduce_only", "the stop may only reduce")
        if position == 0 or (position > 0) == (intent.side is Side.BUY):
            raise Refused("-2022", "ReduceOnly Order is rejected")
        has_stops = any(
            o.symbol == intent.symbol and o.is_conditional for o in self.truth.orders.values()
        )
        if intent.symbol in self.refuses_close_with_stops and has_stops:
            raise Refused("-4118", "ReduceOnly Order Failed. Check your open orders")
        size = min(intent.quantity, abs(position))
        if fault.fills_at_most is not None:
            size = min(size, fault.fills_at_most)
        if size:
            self._execute(intent.symbol, intent.side, size, intent.client_order_id)
        return OrderAck(
            client_order_id=intent.client_order_id,
            venue_order_id=VenueOrderId(f"v{next(self._ids)}"),
        )

    def _execute(
        self, symbol: Symbol, side: Side, size: Decimal, identifier: ClientOrderId
    ) -> None:
        before = self.truth.positions.get(symbol, ZERO)
        after = before + size * side.sign
        if before * after < 0:
            self.truth.reversed.append(f"{symbol}: {before} to {after}")
        self.truth.positions[symbol] = after
        mark = self.truth.marks.setdefault(symbol, Decimal(100))
        fill = Fill(
            execution_id=ExecutionId(f"e{next(self._ids)}"),
            client_order_id=identifier,
            venue_order_id=None,
            symbol=symbol,
            side=side,
            quantity=size,
            price=mark + self.slippage * side.sign,
            fee=ZERO,
            fee_currency="USDT",
            ts_ns=self._clock.now_ns(),
        )
        self.truth.fills.append(fill)
        if self.is_stream_up:
            for handler in tuple(self._handlers):
                handler(StreamUpdate(ts_ns=fill.ts_ns, fill=fill))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


__all__ = ["Call", "Fault", "Script", "ScriptedVenue", "Truth"]
