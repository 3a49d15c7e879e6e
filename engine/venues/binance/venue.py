"""`BinanceVenue`: the four ports of a venue on Binance USDT-M futures, in one-way or hedge mode.

An entry leaves with a receive window of one second and its final check is asked in the step in
which its bytes leave; no such check stands before an exit. Exits and cancels go by the emergency
lane. Stops live at the venue's endpoints for conditional orders, all else at the ordinary ones;
whoever cancels or asks by our id need not know which. Traps: a client order id is a duplicate only
among open orders, so it is never a shield; a symbol's leverage is set before an entry that needs
another one; in hedge mode no order is marked reduce-only, its leg says it. Fails as the ports say.
On the loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal

from engine.model.errors import (
    Denied,
    NotExecuted,
    OutcomeUnknown,
    Refused,
    VenueError,
    require,
)
from engine.model.filters import check_filters
from engine.model.ids import ClientOrderId, Symbol, VenueOrderId
from engine.model.instrument import Instrument
from engine.model.orders import Fill, Intent
from engine.model.values import plain
from engine.model.venue import (
    Approved,
    Leg,
    OrderAck,
    StreamUpdate,
    VenueBalance,
    VenueOrder,
    VenuePosition,
    WalletMovement,
)
from engine.ports import Clock, FinalCheck, Streams
from engine.runtime import within
from engine.venues.binance import endpoints
from engine.venues.binance.account import BinanceAccount, KnownOrders, PositionMode
from engine.venues.binance.batches import BinanceBatches
from engine.venues.binance.decoding import (
    AlgoAcknowledgement,
    AlgoAnswer,
    DoneAnswer,
    ExchangeAnswer,
    OrderAnswer,
)
from engine.venues.binance.errors import (
    DUPLICATE_ID_CODE,
    NO_SUCH_ORDER_CODES,
    WRONG_MODE_CODE,
)
from engine.venues.binance.public import perpetuals
from engine.venues.binance.rest import RECEIVE_WINDOW_MS, BinanceRest
from engine.venues.binance.rules import check_kind, check_leverage
from engine.venues.binance.settings import BinanceSettings
from engine.venues.transport.rate_limits import Lane, PoolLimit

ENTRY_RECEIVE_WINDOW_MS = 1000
# How much later than the cancel's its count's answer may come.
_COUNT_GRACE_S = 0.05
_COUNTS_AT_ONCE_MAX = 2
_LIMIT_POOLS = {
    ("REQUEST_WEIGHT", "MINUTE", 1): (endpoints.WEIGHT, 60),
    ("ORDERS", "SECOND", 10): (endpoints.ORDERS_10S, 10),
    ("ORDERS", "MINUTE", 1): (endpoints.ORDERS_1M, 60),
}


class BinanceVenue:
    """Implements OrderEntry, Exits, AccountReads and, by its stream, Streams."""

    def __init__(
        self,
        *,
        clock: Clock,
        rest: BinanceRest,
        symbols: Iterable[Symbol],
        final_check: FinalCheck,
        stream: Streams,
    ) -> None:
        """`symbols` are those that are traded; executions are read of these at least."""
        self._clock = clock
        self._rest = rest
        self._final_check = final_check
        self._stream = stream
        self._known = KnownOrders()
        self._mode = PositionMode()
        self.settings = BinanceSettings(rest=rest, mode=self._mode)
        symbols = tuple(symbols)

        def account(lane: Lane) -> BinanceAccount:
            return BinanceAccount(
                rest=rest, known=self._known, mode=self._mode, symbols=symbols, lane=lane
            )

        self.batches = BinanceBatches(rest=rest, order=self._ordinary)
        self._account = account(Lane.READ)
        self._emergency_account = account(Lane.EXIT_READ)
        self._instruments: dict[Symbol, Instrument] = {}
        self._counting = 0

    @property
    def name(self) -> str:
        return "binance"

    @property
    def emergency_reads(self) -> BinanceAccount:
        """The same reads by the emergency lane: for the stop, which verifies what it did."""
        return self._emergency_account

    async def start(self) -> None:
        """Compare clocks, read filters, limits and the position mode. Raises what a read raises."""
        await self._rest.compare_clocks()
        await self.read_exchange()
        await self.settings.read_mode()

    async def read_exchange(self) -> None:
        """Take over filters and limits as they are today. A contract that cannot be read is not
        traded, the others are.
        """
        exchange = await self._rest.call(endpoints.EXCHANGE, {}, ExchangeAnswer)
        self._instruments = perpetuals(exchange)
        for limit in exchange.rate_limits:
            pool = _LIMIT_POOLS.get((limit.rate_limit_type, limit.interval, limit.interval_num))
            if pool is not None and limit.limit > 0:
                self._rest.limits.declare(
                    PoolLimit(name=pool[0], limit=limit.limit, window_s=pool[1])
                )

    def instrument(self, symbol: Symbol) -> Instrument:
        """A contract's filters; Refused for one that is not traded."""
        found = self._instruments.get(symbol)
        if found is None:
            raise Refused("-1121", f"{symbol} is not traded here")
        return found

    # --- OrderEntry and Exits --------------------------------------------------------------------

    async def place(self, approved: Approved) -> OrderAck:
        """Send an entry; see `engine.ports.OrderEntry`."""
        intent = approved.intent
        require(not intent.reduce_only, "an entry cannot be reduce-only")
        instrument = self.instrument(intent.symbol)
        check_kind(intent)
        check_filters(intent, instrument)
        await self.settings.use_leverage(intent.symbol, check_leverage(intent, instrument))

        def before() -> None:
            reasons = self._final_check(approved)
            if reasons:
                codes = tuple(reason.code.value for reason in reasons)
                detail = "; ".join(f"{r.code.value} {r.detail}".strip() for r in reasons)
                raise Denied(codes, detail)

        return await self._send(intent, Lane.ENTRY, ENTRY_RECEIVE_WINDOW_MS, before)

    async def reduce(self, intent: Intent) -> OrderAck:
        """Send a reduce-only order; see `engine.ports.Exits`."""
        require(intent.reduce_only, "an exit must be reduce-only")
        check_kind(intent)
        # No look at the filters: ours may be older than the venue's, or of a contract about to be
        # delisted, and nothing of ours may keep an exit from leaving.
        return await self._send(intent, Lane.EXIT, RECEIVE_WINDOW_MS, None)

    async def _send(
        self, intent: Intent, lane: Lane, window_ms: int, before: Callable[[], None] | None
    ) -> OrderAck:
        try:
            return await self._send_once(intent, lane, window_ms, before)
        except Refused as refused:
            if refused.code == DUPLICATE_ID_CODE:
                return await self._standing(intent, refused)
            if refused.code != WRONG_MODE_CODE:
                raise
        # The account's position mode is not what we took it for, so nothing was executed.
        await self.settings.read_mode(lane)
        return await self._send_once(intent, lane, window_ms, before)

    async def _send_once(
        self, intent: Intent, lane: Lane, window_ms: int, before: Callable[[], None] | None
    ) -> OrderAck:
        if intent.kind.is_conditional:
            return await self._send_conditional(intent, lane, window_ms, before)
        return await self._send_ordinary(intent, lane, window_ms, before)

    def _leg(self, intent: Intent) -> dict[str, str]:
        """What makes the order one of its leg, or only reduce."""
        if self._mode.is_hedged:
            return {"positionSide": Leg.of(intent.side, reduce_only=intent.reduce_only).name}
        return {"reduceOnly": "true"} if intent.reduce_only else {}

    def _ordinary(self, intent: Intent) -> dict[str, str]:
        """The parameters of an ordinary order."""
        parameters = {
            "symbol": intent.symbol,
            "side": intent.side.value,
            "type": intent.kind.value,
            "quantity": plain(intent.quantity),
            "newClientOrderId": intent.client_order_id,
            "newOrderRespType": "ACK",
        }
        if intent.price is not None:
            parameters.update(price=plain(intent.price), timeInForce="GTC")
        parameters.update(self._leg(intent))
        return parameters

    async def _send_ordinary(
        self, intent: Intent, lane: Lane, window_ms: int, before: Callable[[], None] | None
    ) -> OrderAck:
        answer = await self._rest.call(
            endpoints.PLACE,
            self._ordinary(intent),
            OrderAnswer,
            lane=lane,
            receive_window_ms=window_ms,
            before=before,
        )
        venue_order_id = VenueOrderId(str(answer.order_id))
        self._known.learn_ordinary(intent.symbol, venue_order_id, intent.client_order_id)
        return OrderAck(client_order_id=intent.client_order_id, venue_order_id=venue_order_id)

    async def _send_conditional(
        self, intent: Intent, lane: Lane, window_ms: int, before: Callable[[], None] | None
    ) -> OrderAck:
        self._known.learn_conditional(intent.client_order_id)
        answer = await self._rest.call(
            endpoints.PLACE_ALGO,
            {
                "algoType": "CONDITIONAL",
                "symbol": intent.symbol,
                "side": intent.side.value,
                "type": intent.kind.value,
                "quantity": plain(intent.quantity),
                "triggerPrice": plain(intent.trigger_price or Decimal(0)),
                "workingType": "CONTRACT_PRICE",
                **self._leg(intent),
                "clientAlgoId": intent.client_order_id,
            },
            AlgoAnswer,
            lane=lane,
            receive_window_ms=window_ms,
            before=before,
        )
        return OrderAck(
            client_order_id=intent.client_order_id,
            venue_order_id=VenueOrderId(str(answer.algo_id)),
        )

    async def _standing(self, intent: Intent, refused: Refused) -> OrderAck:
        """The id stands at the venue: if it is this very order, an earlier attempt got through."""
        try:
            order = await self._emergency_account.order(intent.symbol, intent.client_order_id)
        except (Refused, NotExecuted) as error:
            raise OutcomeUnknown(
                f"{intent.client_order_id} is known to the venue and cannot be looked up"
            ) from error
        if order is None:
            raise OutcomeUnknown(f"{intent.client_order_id} is known to the venue and not found")
        ours = (intent.side, intent.kind, intent.quantity, intent.price, intent.trigger_price)
        if (order.side, order.kind, order.quantity, order.price, order.trigger_price) != ours:
            raise refused
        return OrderAck(client_order_id=order.client_order_id, venue_order_id=order.venue_order_id)

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> None:
        """Cancel one order of either kind."""
        places = [self._cancel_ordinary, self._cancel_conditional]
        if self._known.is_conditional(client_order_id):
            places.reverse()
        for attempt in places:
            if await attempt(symbol, client_order_id):
                return
        raise Refused("-2011", f"{client_order_id} is not an open order of {symbol}")

    async def _cancel_ordinary(self, symbol: Symbol, client_order_id: ClientOrderId) -> bool:
        try:
            await self._rest.call(
                endpoints.CANCEL,
                {"symbol": symbol, "origClientOrderId": client_order_id},
                OrderAnswer,
                lane=Lane.EXIT,
            )
        except Refused as refused:
            if refused.code in NO_SUCH_ORDER_CODES:
                return False
            raise
        return True

    async def _cancel_conditional(self, symbol: Symbol, client_order_id: ClientOrderId) -> bool:
        try:
            await self._rest.call(
                endpoints.CANCEL_ALGO,
                {"clientAlgoId": client_order_id},
                AlgoAcknowledgement,
                lane=Lane.EXIT,
            )
        except Refused as refused:
            if refused.code in NO_SUCH_ORDER_CODES:
                return False
            raise
        return True

    async def cancel_all(self, symbol: Symbol, *, conditional: bool) -> int:
        """Cancel every open order of a symbol, of the one kind or the other.

        The venue does not say how many it cancelled, so they are read in the same moment, among
        the ordinary reads: the count takes no connection and no room from any exit, and the cancel
        never waits for it. A count that fails or is late is none; and where many symbols are
        cancelled at once, as in a stop, most are not counted: the venue has better to do.
        """
        endpoint = endpoints.CANCEL_ALL_ALGO if conditional else endpoints.CANCEL_ALL
        if self._counting >= _COUNTS_AT_ONCE_MAX:
            await self._rest.call(endpoint, {"symbol": symbol}, DoneAnswer, lane=Lane.EXIT)
            return 0
        count = asyncio.gather(self._count(symbol, conditional=conditional))
        await self._clock.sleep(0)  # One turn of the loop, in which the count leaves.
        try:
            await self._rest.call(endpoint, {"symbol": symbol}, DoneAnswer, lane=Lane.EXIT)
            return await within(self._clock, _COUNT_GRACE_S, _first(count))
        except TimeoutError:
            return 0
        finally:
            count.cancel()

    async def _count(self, symbol: Symbol, *, conditional: bool) -> int:
        read = self._account.open_conditional if conditional else self._account.open_ordinary
        self._counting += 1
        try:
            return len(await read(symbol))
        except VenueError:
            return 0
        finally:
            self._counting -= 1

    # --- AccountReads ----------------------------------------------------------------------------

    async def positions(self) -> tuple[VenuePosition, ...]:
        """Every non-zero position."""
        return await self._account.positions()

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """Every open order, conditional ones too."""
        return await self._account.open_orders(symbol)

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        """One order in whatever state, or None when the venue does not know it (yet)."""
        return await self._account.order(symbol, client_order_id)

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        """Executions since a time, oldest first."""
        return await self._account.executions(since_ns=since_ns, symbol=symbol)

    async def balance(self) -> VenueBalance:
        """The wallet balance."""
        return await self._account.balance()

    async def balances(self) -> tuple[VenueBalance, ...]:
        """The wallet balance of every asset."""
        return await self._account.balances()

    async def movements(self, *, since_ns: int) -> tuple[WalletMovement, ...]:
        """What changed the wallet since a time, oldest first."""
        return await self._account.movements(since_ns=since_ns)

    # --- Streams ---------------------------------------------------------------------------------

    def subscribe(self, handler: Callable[[StreamUpdate], None]) -> Callable[[], None]:
        """Hear every update in the venue's order; returns the unsubscribe function."""
        return self._stream.subscribe(handler)

    def is_connected(self) -> bool:
        """Whether the private stream is up."""
        return self._stream.is_connected()


async def _first(answers: asyncio.Future[tuple[int]]) -> int:
    return (await answers)[0]


__all__ = ["ENTRY_RECEIVE_WINDOW_MS", "BinanceVenue"]
