"""What Binance says of the account: positions, open orders of both kinds, executions, balance.

Every read goes to the end of its pages or raises; none is ever empty because it failed. Executions
do not carry our order ids, so those are looked up by the venue's, once for each order. In hedge
mode a symbol may have two positions, one a leg.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.model.errors import OutcomeUnknown, Refused
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Fill
from engine.model.venue import VenueBalance, VenueOrder, VenuePosition, WalletMovement
from engine.venues.binance import endpoints
from engine.venues.binance.decoding import (
    NS_PER_MS,
    AlgoAnswer,
    BalanceAnswer,
    IncomeAnswer,
    OrderAnswer,
    PositionAnswer,
    TradeAnswer,
    Undecodable,
    to_balances,
    to_conditional,
    to_fill,
    to_movement,
    to_order,
    to_position,
)
from engine.venues.binance.errors import NO_SUCH_ORDER_CODES
from engine.venues.binance.rest import BinanceRest
from engine.venues.transport.rate_limits import Lane

CURRENCY = "USDT"
PAGE = 1000
# One question about executions may span this much, and the venue keeps half a year.
_SPAN_MS = 7 * 24 * 3600 * 1000
_KEPT_MS = 180 * 24 * 3600 * 1000
_INCOME_KEPT_MS = 90 * 24 * 3600 * 1000
_REMEMBERED_MAX = 50_000


class KnownOrders:
    """What we have learned of orders: our id for the venue's, and which ids are conditional.

    Forgets the oldest beyond 50,000; what is not known is asked for.
    """

    def __init__(self) -> None:
        self._client_ids: dict[tuple[str, str], ClientOrderId] = {}
        self._conditional: dict[ClientOrderId, None] = {}

    def learn(self, order: VenueOrder) -> None:
        if order.is_conditional:
            self.learn_conditional(order.client_order_id)
        else:
            self.learn_ordinary(order.symbol, order.venue_order_id, order.client_order_id)

    def learn_ordinary(self, symbol: str, venue_order_id: str, known: ClientOrderId) -> None:
        self._client_ids[(symbol, venue_order_id)] = known
        if len(self._client_ids) > _REMEMBERED_MAX:
            del self._client_ids[next(iter(self._client_ids))]

    def learn_conditional(self, known: ClientOrderId) -> None:
        self._conditional[known] = None
        if len(self._conditional) > _REMEMBERED_MAX:
            del self._conditional[next(iter(self._conditional))]

    def client_id(self, symbol: str, venue_order_id: str) -> ClientOrderId | None:
        return self._client_ids.get((symbol, venue_order_id))

    def is_conditional(self, identifier: ClientOrderId) -> bool:
        return identifier in self._conditional


class PositionMode:
    """Whether the account is in hedge mode, as far as the venue has said; None until it has.

    It cannot change while there is a position, and each position says it.
    """

    def __init__(self) -> None:
        self.is_hedged: bool | None = None

    def hear(self, positions: Iterable[VenuePosition]) -> None:
        for position in positions:
            self.is_hedged = position.leg is not None


class BinanceAccount:
    """Implements AccountReads. With `Lane.EXIT_READ` its reads go by the emergency lane."""

    def __init__(
        self,
        *,
        rest: BinanceRest,
        known: KnownOrders,
        mode: PositionMode,
        symbols: Iterable[Symbol],
        lane: Lane = Lane.READ,
    ) -> None:
        """Executions are read of `symbols`, and of whatever else the account has dealt in."""
        self._rest = rest
        self._known = known
        self._mode = mode
        self._symbols = frozenset(symbols)
        self._lane = lane

    async def positions(self) -> tuple[VenuePosition, ...]:
        """Every non-zero position."""
        answers = await self._rest.call(
            endpoints.POSITIONS, {}, tuple[PositionAnswer, ...], lane=self._lane
        )
        try:
            rows = [to_position(answer) for answer in answers]
        except Undecodable as error:
            raise OutcomeUnknown(f"positions: {error}") from error
        self._mode.hear(rows)
        return tuple(row for row in rows if row.quantity)

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """Every open order, of both kinds."""
        ordinary = await self.open_ordinary(symbol)
        return ordinary + await self.open_conditional(symbol)

    async def open_ordinary(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """The open orders that wait in the book."""
        answers = await self._rest.call(
            endpoints.OPEN_ORDERS, _of(symbol), tuple[OrderAnswer, ...], lane=self._lane
        )
        return tuple(self._order(answer) for answer in answers)

    async def open_conditional(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """The open orders that wait for their trigger."""
        answers = await self._rest.call(
            endpoints.OPEN_ALGO_ORDERS, _of(symbol), tuple[AlgoAnswer, ...], lane=self._lane
        )
        return tuple(self._conditional(answer) for answer in answers)

    async def balance(self) -> VenueBalance:
        """The wallet balance in USDT; an account without that asset is refused, never zero."""
        for found in await self.balances():
            if found.currency == CURRENCY:
                return found
        raise OutcomeUnknown(f"balance: there is no {CURRENCY}")

    async def balances(self) -> tuple[VenueBalance, ...]:
        """The wallet balance of every asset."""
        answers = await self._rest.call(
            endpoints.BALANCE, {}, tuple[BalanceAnswer, ...], lane=self._lane
        )
        try:
            return to_balances(answers)
        except Undecodable as error:
            raise OutcomeUnknown(str(error)) from error

    async def movements(self, *, since_ns: int) -> tuple[WalletMovement, ...]:
        """What changed the wallet since a time, oldest first; of three months at most."""
        answers = await self._incomes(
            max(since_ns // NS_PER_MS, self._rest.venue_now_ms() - _INCOME_KEPT_MS)
        )
        try:
            movements = [to_movement(answer) for answer in answers]
        except Undecodable as error:
            raise OutcomeUnknown(f"income: {error}") from error
        movements.sort(key=lambda movement: movement.ts_ns)
        return tuple(movement for movement in movements if movement.ts_ns >= since_ns)

    async def _incomes(self, since_ms: int) -> list[IncomeAnswer]:
        """Every income since a time, span by span, to the end of its pages; each once."""
        found: dict[tuple[str, int, str], IncomeAnswer] = {}
        begin_ms, until_ms = since_ms, max(since_ms, self._rest.venue_now_ms())
        while begin_ms <= until_ms:  # Once at least: clocks may be that far apart.
            end_ms = begin_ms + _SPAN_MS - 1
            page = 1
            while True:
                incomes = await self._rest.call(
                    endpoints.INCOME,
                    {
                        "startTime": str(begin_ms),
                        "endTime": str(end_ms),
                        "limit": str(PAGE),
                        "page": str(page),
                    },
                    tuple[IncomeAnswer, ...],
                    lane=self._lane,
                )
                # A page may begin with what a newer one has pushed out of the page before.
                for each in incomes:
                    found[each.income_type, each.tran_id, each.asset] = each
                if len(incomes) < PAGE:
                    break
                page += 1
            begin_ms = end_ms + 1
        return list(found.values())

    # --- one order -------------------------------------------------------------------------------

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        """One order of either kind, or None when the venue knows it in neither place."""
        places = [self._find_ordinary, self._find_conditional]
        if self._known.is_conditional(client_order_id):
            places.reverse()
        for find in places:
            found = await find(symbol, client_order_id)
            if found is not None:
                return found
        return None

    async def _find_ordinary(
        self, symbol: Symbol, client_order_id: ClientOrderId
    ) -> VenueOrder | None:
        return await self._ordinary({"symbol": symbol, "origClientOrderId": client_order_id})

    async def _ordinary(self, asked: Mapping[str, str]) -> VenueOrder | None:
        try:
            answer = await self._rest.call(endpoints.ORDER, asked, OrderAnswer, lane=self._lane)
        except Refused as refused:
            if refused.code in NO_SUCH_ORDER_CODES:
                return None
            raise
        return self._order(answer)

    async def _find_conditional(
        self, symbol: Symbol, client_order_id: ClientOrderId
    ) -> VenueOrder | None:
        try:
            answer = await self._rest.call(
                endpoints.ALGO_ORDER,
                {"clientAlgoId": client_order_id},
                AlgoAnswer,
                lane=self._lane,
            )
        except Refused as refused:
            if refused.code in NO_SUCH_ORDER_CODES:
                return None
            raise
        if answer.symbol != symbol:
            return None
        real = None
        if answer.actual_order_id:
            real = await self._ordinary({"symbol": symbol, "orderId": answer.actual_order_id})
            if real is None:
                raise OutcomeUnknown(
                    f"{client_order_id} was triggered, and the order it became cannot be seen yet"
                )
        return self._conditional(answer, real)

    def _order(self, answer: OrderAnswer) -> VenueOrder:
        try:
            order = to_order(answer)
        except Undecodable as error:
            raise OutcomeUnknown(f"order {answer.order_id}: {error}") from error
        self._known.learn(order)
        return order

    def _conditional(self, answer: AlgoAnswer, real: VenueOrder | None = None) -> VenueOrder:
        try:
            order = to_conditional(answer, real)
        except Undecodable as error:
            raise OutcomeUnknown(f"conditional order {answer.algo_id}: {error}") from error
        self._known.learn(order)
        if real is not None:
            self._known.learn_ordinary(order.symbol, real.venue_order_id, order.client_order_id)
        return order

    # --- executions ------------------------------------------------------------------------------

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        """Executions since a time, oldest first; at most of the half year that the venue keeps.

        Of one symbol it costs one page; of all, the symbols must be found out first.
        """
        now_ms = self._rest.venue_now_ms()
        since_ms = max(since_ns // NS_PER_MS, now_ms - _KEPT_MS)
        fills: list[Fill] = []
        symbols = [symbol] if symbol else await self._dealt_in(max(since_ms, now_ms - _SPAN_MS))
        for name in sorted(symbols):
            for trade in await self._trades(name, since_ms, now_ms):
                fills.append(await self._fill(trade))
        fills.sort(key=lambda fill: fill.ts_ns)
        return tuple(fill for fill in fills if fill.ts_ns >= since_ns)

    async def _dealt_in(self, since_ms: int) -> frozenset[str]:
        """Our symbols, those of positions, and those that moved the wallet in the last week."""
        symbols = {str(symbol) for symbol in self._symbols}
        symbols.update(position.symbol for position in await self.positions())
        incomes = await self._incomes(since_ms)
        symbols.update(income.symbol for income in incomes if income.symbol)
        return frozenset(symbols)

    async def _trades(self, symbol: str, since_ms: int, now_ms: int) -> list[TradeAnswer]:
        """Every trade of a symbol since a time, span by span, page by page."""
        trades: dict[int, TradeAnswer] = {}
        begin_ms = since_ms
        while begin_ms <= max(since_ms, now_ms):  # Once at least: clocks may be that far apart.
            end_ms = begin_ms + _SPAN_MS - 1
            page = await self._page(symbol, {"startTime": str(begin_ms), "endTime": str(end_ms)})
            while True:
                trades.update((trade.id, trade) for trade in page if trade.time <= end_ms)
                if len(page) < PAGE or page[-1].time > end_ms:
                    break
                page = await self._page(symbol, {"fromId": str(page[-1].id + 1)})
            begin_ms = end_ms + 1
        return [trades[identifier] for identifier in sorted(trades)]

    async def _page(self, symbol: str, where: Mapping[str, str]) -> tuple[TradeAnswer, ...]:
        return await self._rest.call(
            endpoints.TRADES,
            {"symbol": symbol, **where, "limit": str(PAGE)},
            tuple[TradeAnswer, ...],
            lane=self._lane,
        )

    async def _fill(self, trade: TradeAnswer) -> Fill:
        venue_order_id = str(trade.order_id)
        identifier = self._known.client_id(trade.symbol, venue_order_id)
        if identifier is None:
            order = await self._ordinary({"symbol": trade.symbol, "orderId": venue_order_id})
            # The venue has forgotten its order: it was nobody's whom we still wait for.
            identifier = ClientOrderId(f"binance-{venue_order_id}")
            if order is not None:
                identifier = order.client_order_id
        try:
            return to_fill(trade, identifier)
        except Undecodable as error:
            raise OutcomeUnknown(f"trade {trade.id}: {error}") from error


def _of(symbol: Symbol | None) -> dict[str, str]:
    return {} if symbol is None else {"symbol": symbol}


__all__ = ["CURRENCY", "BinanceAccount", "KnownOrders", "PositionMode"]
