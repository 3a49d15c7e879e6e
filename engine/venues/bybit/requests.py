"""Builds Bybit's requests, as the bytes that are signed and sent.

Quantities and prices are fitted to the contract's filters here, always to our safe side: a quantity
is rounded down (a reduction never grows), a limit price never becomes worse than asked, a stop
triggers no later than asked. What still does not fit raises `Denied`: nothing was sent. Most of a
market order's bounds the venue checks itself, for its price is not known here.
Traps that are dealt with: in hedge mode the leg is named (closing a long is Sell on leg 1);
cancelling all without a filter would take position stops along with ordinary orders, so there is
always one; a page's cursor comes percent-encoded already and is sent back as it came; batches are
held to ten, since the documentation says ten in one place and twenty in another.
Quantities in base coin, prices in settle coin, times in UTC milliseconds. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from urllib.parse import quote

import msgspec

from engine.model.errors import Denied, require
from engine.model.ids import CLIENT_ORDER_ID_LENGTH_MAX, ClientOrderId, Symbol
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.reasons import ReasonCode
from engine.model.values import ZERO, Side, plain, round_down_to_step, round_up_to_step
from engine.venues.bybit.decoding import LINEAR, venue_name_of
from engine.venues.bybit.errors import RequestKind
from engine.venues.bybit.instruments import Contract

BATCH_MAX = 10
_LINK_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{CLIENT_ORDER_ID_LENGTH_MAX}}}", re.ASCII)
_SIDES = {Side.BUY: "Buy", Side.SELL: "Sell"}
_RISES, _FALLS = 1, 2
_ONE_WAY, _LONG_LEG, _SHORT_LEG = 0, 1, 2
_ONE_WAY_MODE, _HEDGE_MODE = 0, 3
_TRIGGER_BY = "LastPrice"
_ORDERS_PER_PAGE, _EXECUTIONS_PER_PAGE = 50, 100
_POSITIONS_PER_PAGE, _CONTRACTS_PER_PAGE = 200, 1000
_WINDOW_MS_MAX = 7 * 24 * 3600 * 1000

_Document = dict[str, object]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request: sign `payload`, then send it as the query of a GET or the body of a POST."""

    method: str
    path: str
    kind: RequestKind
    payload: bytes

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        query = self.payload.decode() if self.method == "GET" else ""
        return f"{self.path}?{query}" if query else self.path

    @property
    def body(self) -> bytes:
        return b"" if self.method == "GET" else self.payload


def _post(path: str, kind: RequestKind, document: _Document) -> Request:
    payload = msgspec.json.encode({"category": LINEAR, **document})
    return Request(method="POST", path=path, kind=kind, payload=payload)


def _get(path: str, parameters: Mapping[str, object], cursor: str = "") -> Request:
    parts = [f"{key}={quote(str(value), safe='')}" for key, value in parameters.items()]
    if cursor:
        parts.append(f"cursor={quote(cursor, safe='%')}")
    payload = "&".join(parts).encode()
    return Request(method="GET", path=path, kind=RequestKind.READ, payload=payload)


# --- orders -------------------------------------------------------------------------------------


def place(intent: Intent, contract: Contract, *, is_hedged: bool = False) -> Request:
    """One order; a STOP_MARKET rests until its trigger."""
    return _post("/v5/order/create", RequestKind.PLACE, _order(intent, contract, is_hedged))


def place_batch(
    intents: Sequence[Intent], contracts: Mapping[Symbol, Contract], *, is_hedged: bool = False
) -> Request:
    """Up to ten orders, each judged on its own by the venue."""
    rows = [_order(each, contracts[each.symbol], is_hedged) for each in intents]
    return _batch("/v5/order/create-batch", RequestKind.PLACE, rows)


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """What shall become of a resting order; None leaves as it is."""

    symbol: Symbol
    client_order_id: ClientOrderId
    side: Side
    quantity: Decimal | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None


def amend(amendment: Amendment, contract: Contract) -> Request:
    """Change an order that has not ended; at least one thing of it."""
    return _post("/v5/order/amend", RequestKind.AMEND, _amendment(amendment, contract))


def amend_batch(amendments: Sequence[Amendment], contracts: Mapping[Symbol, Contract]) -> Request:
    rows = [_amendment(each, contracts[each.symbol]) for each in amendments]
    return _batch("/v5/order/amend-batch", RequestKind.AMEND, rows)


def cancel(symbol: Symbol, client_order_id: ClientOrderId) -> Request:
    """One order, conditional or not, ours or only named by the venue."""
    return _post("/v5/order/cancel", RequestKind.CANCEL, _named(symbol, client_order_id))


def cancel_batch(orders: Sequence[tuple[Symbol, ClientOrderId]]) -> Request:
    rows = [_named(symbol, client_id) for symbol, client_id in orders]
    return _batch("/v5/order/cancel-batch", RequestKind.CANCEL, rows)


def cancel_all(symbol: Symbol, *, conditional: bool) -> Request:
    """Every ordinary order of a symbol; or every conditional one, position stops included."""
    document: _Document = {
        "symbol": symbol,
        "orderFilter": "StopOrder" if conditional else "Order",
    }
    return _post("/v5/order/cancel-all", RequestKind.CANCEL, document)


def _batch(path: str, kind: RequestKind, rows: list[_Document]) -> Request:
    require(1 <= len(rows) <= BATCH_MAX, f"a batch of {len(rows)}; 1 to {BATCH_MAX} fit")
    return _post(path, kind, {"request": rows})


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


def _order(intent: Intent, contract: Contract, is_hedged: bool) -> _Document:
    _check_contract(intent.symbol, contract)
    require(
        intent.reduce_only or intent.purpose is OrderPurpose.ENTRY,
        f"an order for {intent.purpose} has to be reduce-only",
    )
    require(
        (intent.kind is OrderKind.LIMIT) == (intent.price is not None)
        and (intent.kind is OrderKind.STOP_MARKET) == (intent.trigger_price is not None),
        f"a {intent.kind} order with price {intent.price} and trigger {intent.trigger_price}",
    )
    is_limit = intent.kind is OrderKind.LIMIT
    quantity = _fit_quantity(intent.quantity, contract, is_limit=is_limit)
    document: _Document = {
        "symbol": intent.symbol,
        "side": _SIDES[intent.side],
        "orderType": "Limit" if is_limit else "Market",
        "qty": plain(quantity),
        "timeInForce": "GTC" if is_limit else "IOC",
        "positionIdx": _leg(intent.side, intent.reduce_only) if is_hedged else _ONE_WAY,
        "orderLinkId": _link_id(intent.client_order_id),
        "reduceOnly": intent.reduce_only,
    }
    if intent.price is not None:
        price = _fit_limit(intent.price, intent.side, contract)
        if not intent.reduce_only:
            _check_notional(price * quantity, contract)
        document["price"] = plain(price)
    if intent.trigger_price is not None:
        trigger = _fit_trigger(intent.trigger_price, contract, rises=intent.side is Side.BUY)
        document["triggerPrice"] = plain(trigger)
        document["triggerDirection"] = _RISES if intent.side is Side.BUY else _FALLS
        document["triggerBy"] = _TRIGGER_BY
        # A stop that only closes takes margin from our other orders rather than fail for it.
        document["closeOnTrigger"] = intent.reduce_only
    return document


def _amendment(amendment: Amendment, contract: Contract) -> _Document:
    _check_contract(amendment.symbol, contract)
    document = _named(amendment.symbol, amendment.client_order_id)
    identified = len(document)
    if amendment.quantity is not None:
        # Market and conditional orders have the smaller maximum.
        is_limit = amendment.price is not None and amendment.trigger_price is None
        document["qty"] = plain(_fit_quantity(amendment.quantity, contract, is_limit=is_limit))
    if amendment.price is not None:
        document["price"] = plain(_fit_limit(amendment.price, amendment.side, contract))
    if amendment.trigger_price is not None:
        rises = amendment.side is Side.BUY
        trigger = _fit_trigger(amendment.trigger_price, contract, rises=rises)
        document["triggerPrice"] = plain(trigger)
    require(len(document) > identified, "an amendment that changes nothing")
    return document


def _leg(side: Side, reduce_only: bool) -> int:
    """A buy opens a long or closes a short; a sell the other way round."""
    return _LONG_LEG if (side is Side.BUY) != reduce_only else _SHORT_LEG


# --- fitting ------------------------------------------------------------------------------------


def _check_contract(symbol: Symbol, contract: Contract) -> None:
    listed = contract.instrument.symbol
    require(symbol == listed, f"an order for {symbol} with the filters of {listed}")


def _fit_quantity(quantity: Decimal, contract: Contract, *, is_limit: bool) -> Decimal:
    instrument = contract.instrument
    maximum = contract.limit_quantity_max if is_limit else instrument.quantity_max
    if quantity > maximum:
        raise _denied(ReasonCode.OFF_VENUE_GRID, "quantity", quantity, f"at most {plain(maximum)}")
    fitted = instrument.round_quantity(quantity)
    if fitted < instrument.quantity_min or fitted <= ZERO:
        least = plain(instrument.quantity_min)
        raise _denied(ReasonCode.BELOW_VENUE_MINIMUM, "quantity", quantity, f"at least {least}")
    return fitted


def _fit_limit(price: Decimal, side: Side, contract: Contract) -> Decimal:
    """Never a worse price than asked for."""
    return _fit_price(price, contract, round_up=side is Side.SELL)


def _fit_trigger(price: Decimal, contract: Contract, *, rises: bool) -> Decimal:
    """Triggered no later than asked for: the rising one lower, the falling one higher."""
    return _fit_price(price, contract, round_up=not rises)


def _fit_price(price: Decimal, contract: Contract, *, round_up: bool) -> Decimal:
    fit = round_up_to_step if round_up else round_down_to_step
    fitted = fit(price, contract.instrument.tick_size)
    if not contract.price_min <= fitted <= contract.price_max:
        bounds = f"{plain(contract.price_min)} to {plain(contract.price_max)}"
        raise _denied(ReasonCode.OFF_VENUE_GRID, "price", price, bounds)
    return fitted


def _check_notional(notional: Decimal, contract: Contract) -> None:
    least = contract.instrument.notional_min
    if notional < least:
        code = ReasonCode.BELOW_VENUE_MINIMUM
        raise _denied(code, "value", notional, f"at least {plain(least)}")


def _denied(code: ReasonCode, what: str, value: Decimal, wanted: str) -> Denied:
    return Denied((code.value,), f"{what} {plain(value)} does not fit the venue: {wanted}")


# --- a position's stops, settings ---------------------------------------------------------------


def trading_stop(
    contract: Contract,
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
    is_long = position_side is Side.BUY
    index = (_LONG_LEG if is_long else _SHORT_LEG) if is_hedged else _ONE_WAY
    document: _Document = {
        "symbol": contract.instrument.symbol,
        "tpslMode": "Full",
        "positionIdx": index,
    }
    # A long's stop waits for a fall, its take-profit for a rise.
    for name, prefix, price, rises in (
        ("stopLoss", "sl", stop_loss, not is_long),
        ("takeProfit", "tp", take_profit, is_long),
    ):
        if price is None:
            continue
        document[name] = plain(_fit_trigger(price, contract, rises=rises)) if price else "0"
        document[f"{prefix}TriggerBy"] = _TRIGGER_BY
    return _post("/v5/position/trading-stop", RequestKind.SETTING, document)


def set_leverage(leverage: Decimal, contract: Contract) -> Request:
    """The same for both directions, as cross margin and one-way mode want it; rounded down."""
    most = contract.instrument.leverage_max
    fitted = round_down_to_step(leverage, contract.leverage_step)
    if not contract.leverage_min <= fitted <= most:
        bounds = f"{plain(contract.leverage_min)} to {plain(most)}"
        raise _denied(ReasonCode.MAX_LEVERAGE, "leverage", leverage, bounds)
    text = plain(fitted)
    document: _Document = {
        "symbol": contract.instrument.symbol,
        "buyLeverage": text,
        "sellLeverage": text,
    }
    return _post("/v5/position/set-leverage", RequestKind.SETTING, document)


def set_position_mode(coin: str, *, is_hedged: bool) -> Request:
    """For every symbol of a coin; refused while there are orders or positions."""
    document: _Document = {"coin": coin, "mode": _HEDGE_MODE if is_hedged else _ONE_WAY_MODE}
    return _post("/v5/position/switch-mode", RequestKind.SETTING, document)


# --- reads --------------------------------------------------------------------------------------


def server_time() -> Request:
    return _get("/v5/market/time", {})


def contracts(cursor: str = "") -> Request:
    """Without the limit only the first 500 would come."""
    parameters = {"category": LINEAR, "limit": _CONTRACTS_PER_PAGE}
    return _get("/v5/market/instruments-info", parameters, cursor)


def ticker(symbol: Symbol) -> Request:
    return _get("/v5/market/tickers", {"category": LINEAR, "symbol": symbol})


def positions(settle_coin: str, cursor: str = "") -> Request:
    """What is held; a flat symbol is not in it."""
    parameters = {"category": LINEAR, "settleCoin": settle_coin, "limit": _POSITIONS_PER_PAGE}
    return _get("/v5/position/list", parameters, cursor)


def open_orders(settle_coin: str, cursor: str = "") -> Request:
    """Ordinary and conditional ones."""
    parameters = {
        "category": LINEAR,
        "settleCoin": settle_coin,
        "openOnly": 0,
        "limit": _ORDERS_PER_PAGE,
    }
    return _get("/v5/order/realtime", parameters, cursor)


def order(symbol: Symbol, client_order_id: ClientOrderId) -> Request:
    """One order: open, or ended a short time ago. Not there proves nothing: ask the history."""
    return _get("/v5/order/realtime", {"category": LINEAR, **_named(symbol, client_order_id)})


def ended_order(symbol: Symbol, client_order_id: ClientOrderId) -> Request:
    """The same from the history, which lags behind."""
    return _get("/v5/order/history", {"category": LINEAR, **_named(symbol, client_order_id)})


def executions(*, start_ms: int, end_ms: int, cursor: str = "") -> Request:
    """Executions of a time of at most seven days, both ends included."""
    require(0 <= end_ms - start_ms <= _WINDOW_MS_MAX, "executions of more than seven days")
    parameters = {
        "category": LINEAR,
        "startTime": start_ms,
        "endTime": end_ms,
        "limit": _EXECUTIONS_PER_PAGE,
    }
    return _get("/v5/execution/list", parameters, cursor)


def wallet() -> Request:
    return _get("/v5/account/wallet-balance", {"accountType": "UNIFIED"})


__all__ = [
    "BATCH_MAX",
    "Amendment",
    "Request",
    "amend",
    "amend_batch",
    "cancel",
    "cancel_all",
    "cancel_batch",
    "contracts",
    "ended_order",
    "executions",
    "open_orders",
    "order",
    "place",
    "place_batch",
    "positions",
    "server_time",
    "set_leverage",
    "set_position_mode",
    "ticker",
    "trading_stop",
    "wallet",
]
