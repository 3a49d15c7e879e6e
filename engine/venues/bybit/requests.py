"""Builds Bybit's requests, as the bytes that are signed and sent.

What is asked for is sent as it is: nothing is rounded and nothing is judged by our copy of the
filters, which may be older than the venue's (`rules` judges entries before they come here, exits
are judged by nobody but the venue). What no request could mean is a broken invariant.
Traps that are dealt with: in hedge mode the leg is named (closing a long is Sell on leg 1);
cancelling all without a filter would take position stops along with ordinary orders, so there is
always one; a page's cursor comes percent-encoded already and is sent back as it came; batches are
held to ten, since the documentation says ten in one place and twenty in another; protection against
disconnection is for options unless another product is named.
Quantities in base coin, prices in settle coin, times in UTC milliseconds. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from urllib.parse import quote

import msgspec

from engine.model.errors import require
from engine.model.ids import CLIENT_ORDER_ID_LENGTH_MAX, ClientOrderId, Symbol
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import ZERO, Side, plain
from engine.model.venue import Leg
from engine.venues.bybit import endpoints
from engine.venues.bybit.decoding import LINEAR, venue_name_of
from engine.venues.bybit.endpoints import Endpoint
from engine.venues.bybit.errors import RequestKind

BATCH_MAX = 10
PROTECTION_RANGE_S = (3, 300)
_LINK_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{CLIENT_ORDER_ID_LENGTH_MAX}}}", re.ASCII)
_SIDES = {Side.BUY: "Buy", Side.SELL: "Sell"}
_RISES, _FALLS = 1, 2
_ONE_WAY = 0
_LEGS = {Leg.LONG: 1, Leg.SHORT: 2}
_ONE_WAY_MODE, _HEDGE_MODE = 0, 3
_TRIGGER_BY = "LastPrice"
_DERIVATIVES = "DERIVATIVES"
_ORDERS_PER_PAGE, _EXECUTIONS_PER_PAGE = 50, 100
_POSITIONS_PER_PAGE, _CONTRACTS_PER_PAGE = 200, 1000
_MOVEMENTS_PER_PAGE = 50
# The longest time that one question about executions or movements may span.
WINDOW_MS = 7 * 24 * 3600 * 1000

_Document = dict[str, object]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request: sign `payload`, then send it as the query of a GET or the body of a POST.

    `orders` is how many a batch holds.
    """

    endpoint: Endpoint
    payload: bytes
    orders: int = 1

    @property
    def method(self) -> str:
        return self.endpoint.method

    @property
    def path(self) -> str:
        return self.endpoint.path

    @property
    def kind(self) -> RequestKind:
        return self.endpoint.kind

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        query = self.payload.decode() if self.method == "GET" else ""
        return f"{self.path}?{query}" if query else self.path

    @property
    def body(self) -> bytes:
        return b"" if self.method == "GET" else self.payload


def _post(endpoint: Endpoint, document: _Document, *, orders: int = 1) -> Request:
    payload = msgspec.json.encode({"category": LINEAR, **document})
    return Request(endpoint=endpoint, payload=payload, orders=orders)


def _get(endpoint: Endpoint, parameters: Mapping[str, object], cursor: str = "") -> Request:
    parts = [f"{key}={quote(str(value), safe='')}" for key, value in parameters.items()]
    if cursor:
        parts.append(f"cursor={quote(cursor, safe='%')}")
    return Request(endpoint=endpoint, payload="&".join(parts).encode())


# --- orders -------------------------------------------------------------------------------------


def place(intent: Intent, *, is_hedged: bool = False) -> Request:
    """One order; a conditional one rests until its trigger."""
    return _post(endpoints.PLACE, _order(intent, is_hedged=is_hedged))


def place_batch(intents: Sequence[Intent], *, hedged: frozenset[Symbol] = frozenset()) -> Request:
    """Up to ten orders, each judged on its own by the venue; `hedged` are symbols in hedge mode."""
    rows = [_order(each, is_hedged=each.symbol in hedged) for each in intents]
    return _batch(endpoints.PLACE_BATCH, rows)


def amend(intent: Intent) -> Request:
    """Make the order of this id, which has not ended, what the intent says: quantity and prices.
    Its side, kind and leg stay as they are.
    """
    return _post(endpoints.AMEND, _amendment(intent))


def amend_batch(intents: Sequence[Intent]) -> Request:
    return _batch(endpoints.AMEND_BATCH, [_amendment(each) for each in intents])


def cancel(symbol: Symbol, client_order_id: ClientOrderId) -> Request:
    """One order, conditional or not, ours or only named by the venue."""
    return _post(endpoints.CANCEL, _named(symbol, client_order_id))


def cancel_batch(orders: Sequence[tuple[Symbol, ClientOrderId]]) -> Request:
    rows = [_named(symbol, client_id) for symbol, client_id in orders]
    return _batch(endpoints.CANCEL_BATCH, rows)


def cancel_all(symbol: Symbol, *, conditional: bool) -> Request:
    """Every ordinary order of a symbol; or every conditional one, position stops included."""
    document: _Document = {
        "symbol": symbol,
        "orderFilter": "StopOrder" if conditional else "Order",
    }
    return _post(endpoints.CANCEL_ALL, document)


def _batch(endpoint: Endpoint, rows: list[_Document]) -> Request:
    require(1 <= len(rows) <= BATCH_MAX, f"a batch of {len(rows)}; 1 to {BATCH_MAX} fit")
    return _post(endpoint, {"request": rows}, orders=len(rows))


def _named(symbol: Symbol, client_order_id: ClientOrderId) -> _Document:
    venue_name = venue_name_of(client_order_id)
    if venue_name is not None:
        return {"symbol": symbol, "orderId": venue_name}
    return {"symbol": symbol, "orderLinkId": _link_id(client_order_id)}


def _link_id(client_order_id: ClientOrderId) -> str:
    require(
        _LINK_ID.fullmatch(client_order_id) is not None,
        f"client order id {client_order_id!r} does not fit Bybit's rules",
    )
    return client_order_id


def _check_shape(intent: Intent) -> None:
    require(
        (intent.kind is OrderKind.LIMIT) == (intent.price is not None)
        and intent.kind.is_conditional == (intent.trigger_price is not None),
        f"a {intent.kind} order with price {intent.price} and trigger {intent.trigger_price}",
    )
    require(intent.quantity > ZERO, f"an order for {intent.quantity}")


def _order(intent: Intent, *, is_hedged: bool) -> _Document:
    require(
        intent.reduce_only or intent.purpose is OrderPurpose.ENTRY,
        f"an order for {intent.purpose} has to be reduce-only",
    )
    _check_shape(intent)
    is_limit = intent.kind is OrderKind.LIMIT
    document: _Document = {
        "symbol": intent.symbol,
        "side": _SIDES[intent.side],
        "orderType": "Limit" if is_limit else "Market",
        "qty": plain(intent.quantity),
        "timeInForce": "GTC" if is_limit else "IOC",
        "positionIdx": _position_index(intent) if is_hedged else _ONE_WAY,
        "orderLinkId": _link_id(intent.client_order_id),
        "reduceOnly": intent.reduce_only,
    }
    if intent.price is not None:
        document["price"] = plain(intent.price)
    if intent.trigger_price is not None:
        document["triggerPrice"] = plain(intent.trigger_price)
        document["triggerDirection"] = _RISES if intent.kind.rises(intent.side) else _FALLS
        document["triggerBy"] = _TRIGGER_BY
        # A stop that only closes takes margin from our other orders rather than fail for it.
        document["closeOnTrigger"] = intent.reduce_only
    return document


def _position_index(intent: Intent) -> int:
    return _LEGS[Leg.of(intent.side, reduce_only=intent.reduce_only)]


def _amendment(intent: Intent) -> _Document:
    _check_shape(intent)
    document = {**_named(intent.symbol, intent.client_order_id), "qty": plain(intent.quantity)}
    if intent.price is not None:
        document["price"] = plain(intent.price)
    if intent.trigger_price is not None:
        document["triggerPrice"] = plain(intent.trigger_price)
    return document


# --- a position's stops, settings ---------------------------------------------------------------


def trading_stop(
    symbol: Symbol,
    *,
    position_side: Side,
    stop_loss: Decimal | None = None,
    take_profit: Decimal | None = None,
    is_hedged: bool = False,
) -> Request:
    """Stops of the whole position, which is long on BUY; None leaves one as it is, zero takes it
    away.
    """
    require(
        stop_loss is not None or take_profit is not None, "neither a stop nor a take-profit is set"
    )
    leg = Leg.of(position_side, reduce_only=False)
    document: _Document = {
        "symbol": symbol,
        "tpslMode": "Full",
        "positionIdx": _LEGS[leg] if is_hedged else _ONE_WAY,
    }
    for name, prefix, price in (("stopLoss", "sl", stop_loss), ("takeProfit", "tp", take_profit)):
        if price is not None:
            document[name] = plain(price) if price else "0"
            document[f"{prefix}TriggerBy"] = _TRIGGER_BY
    return _post(endpoints.STOPS, document)


def set_leverage(symbol: Symbol, leverage: Decimal) -> Request:
    """The same for both directions, as cross margin and one-way mode want it."""
    text = plain(leverage)
    document: _Document = {"symbol": symbol, "buyLeverage": text, "sellLeverage": text}
    return _post(endpoints.LEVERAGE, document)


def set_position_mode(coin: str, *, is_hedged: bool) -> Request:
    """For every symbol of a coin; refused while there are orders or positions."""
    document: _Document = {"coin": coin, "mode": _HEDGE_MODE if is_hedged else _ONE_WAY_MODE}
    return _post(endpoints.MODE, document)


def set_protection(window_s: int) -> Request:
    """How long all watched streams must be gone until the venue cancels futures orders."""
    low, high = PROTECTION_RANGE_S
    require(low <= window_s <= high, f"a window of {window_s} s; {low} to {high} are allowed")
    document = {"product": _DERIVATIVES, "timeWindow": window_s}
    return Request(endpoint=endpoints.SET_PROTECTION, payload=msgspec.json.encode(document))


# --- reads --------------------------------------------------------------------------------------


def server_time() -> Request:
    return _get(endpoints.TIME, {})


def contracts(cursor: str = "") -> Request:
    """Without the limit only the first 500 would come."""
    parameters = {"category": LINEAR, "limit": _CONTRACTS_PER_PAGE}
    return _get(endpoints.CONTRACTS, parameters, cursor)


def ticker(symbol: Symbol) -> Request:
    return _get(endpoints.TICKERS, {"category": LINEAR, "symbol": symbol})


def positions(settle_coin: str, cursor: str = "") -> Request:
    """What is held; a flat symbol is not in it."""
    parameters = {"category": LINEAR, "settleCoin": settle_coin, "limit": _POSITIONS_PER_PAGE}
    return _get(endpoints.POSITIONS, parameters, cursor)


def positions_of(symbol: Symbol) -> Request:
    """A symbol's position or its two legs, flat or not: they tell the mode."""
    return _get(endpoints.POSITIONS, {"category": LINEAR, "symbol": symbol})


def open_orders(settle_coin: str, cursor: str = "") -> Request:
    """Ordinary and conditional ones."""
    return _open_orders({"settleCoin": settle_coin}, cursor)


def open_orders_of(symbol: Symbol, cursor: str = "") -> Request:
    """The same of one symbol."""
    return _open_orders({"symbol": symbol}, cursor)


def _open_orders(scope: Mapping[str, object], cursor: str) -> Request:
    parameters = {"category": LINEAR, **scope, "openOnly": 0, "limit": _ORDERS_PER_PAGE}
    return _get(endpoints.ORDERS, parameters, cursor)


def order(symbol: Symbol, client_order_id: ClientOrderId) -> Request:
    """One order: open, or ended a short time ago. Not there proves nothing: ask the history."""
    return _get(endpoints.ORDERS, {"category": LINEAR, **_named(symbol, client_order_id)})


def ended_order(symbol: Symbol, client_order_id: ClientOrderId) -> Request:
    """The same from the history, which lags behind."""
    return _get(endpoints.ENDED_ORDERS, {"category": LINEAR, **_named(symbol, client_order_id)})


def executions(
    *, start_ms: int, end_ms: int, cursor: str = "", symbol: Symbol | None = None
) -> Request:
    """Executions of a time of at most seven days, both ends included."""
    require(0 <= end_ms - start_ms <= WINDOW_MS, "executions of more than seven days")
    parameters = {
        "category": LINEAR,
        **({} if symbol is None else {"symbol": symbol}),
        "startTime": start_ms,
        "endTime": end_ms,
        "limit": _EXECUTIONS_PER_PAGE,
    }
    return _get(endpoints.EXECUTIONS, parameters, cursor)


def executions_of(symbol: Symbol, client_order_id: ClientOrderId) -> Request:
    """The executions of one order: whatever has one, exists."""
    return _get(endpoints.EXECUTIONS, {"category": LINEAR, **_named(symbol, client_order_id)})


def wallet() -> Request:
    return _get(endpoints.WALLET, {"accountType": "UNIFIED"})


def movements(*, start_ms: int, end_ms: int, cursor: str = "") -> Request:
    """What moved the wallet in a time of at most seven days, in every coin and category."""
    require(0 <= end_ms - start_ms <= WINDOW_MS, "movements of more than seven days")
    parameters = {
        "accountType": "UNIFIED",
        "startTime": start_ms,
        "endTime": end_ms,
        "limit": _MOVEMENTS_PER_PAGE,
    }
    return _get(endpoints.MOVEMENTS, parameters, cursor)


def protection() -> Request:
    return _get(endpoints.PROTECTION, {})


def key_rights() -> Request:
    return _get(endpoints.KEY_RIGHTS, {})


__all__ = [
    "BATCH_MAX",
    "PROTECTION_RANGE_S",
    "WINDOW_MS",
    "Request",
    "amend",
    "amend_batch",
    "cancel",
    "cancel_all",
    "cancel_batch",
    "contracts",
    "ended_order",
    "executions",
    "executions_of",
    "key_rights",
    "movements",
    "open_orders",
    "open_orders_of",
    "order",
    "place",
    "place_batch",
    "positions",
    "positions_of",
    "protection",
    "server_time",
    "set_leverage",
    "set_position_mode",
    "set_protection",
    "ticker",
    "trading_stop",
    "wallet",
]
