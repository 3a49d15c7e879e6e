"""Binance's order endpoints: place, test, amend, cancel, batches, countdown, queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from tests.simulators.binance.answers import MS, order_json, trade_json
from tests.simulators.binance.desk import Desk, Route, known, weight_by_symbol
from tests.simulators.binance.errors import ApiError, missing, of_refusal
from tests.simulators.binance.limits import ORDERS_PER_10_S, ORDERS_PER_MINUTE
from tests.simulators.binance.order_reading import read_order, read_price, read_quantity, read_side
from tests.simulators.binance.parameters import Parameters
from tests.simulators.core.model import Kind, Order, TimeInForce
from tests.simulators.core.refusals import Reason, Refusal
from tests.simulators.faults import Fault

T = TypeVar("T")
_ORDER = "/fapi/v1/order"
_BATCH = "/fapi/v1/batchOrders"
_DAY_MS = 24 * 3600 * 1000
_WINDOW_MS = 7 * _DAY_MS
_BATCH_MAX = 5
_CANCEL_BATCH_MAX = 10
_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)
_DONE = {"code": 200, "msg": "The operation of cancel all open order is done."}


# --- placing ------------------------------------------------------------------------------------


def place(desk: Desk, parameters: Parameters) -> dict[str, object]:
    request = read_order(desk, parameters)
    kind = parameters.optional("newOrderRespType") or "ACK"
    if kind not in {"ACK", "RESULT"}:
        raise missing("newOrderRespType")
    order = desk.venue.place(request)
    desk.hide_if_asked(f"POST {_ORDER}", order.order_id)
    document = _document(desk, order)
    # Only what cannot rest comes back final; else the stream tells what filled at once.
    is_final = order.kind is Kind.MARKET or order.time_in_force in _IMMEDIATE
    return document if kind == "RESULT" and is_final else _acknowledged(document)


def _acknowledged(document: dict[str, object]) -> dict[str, object]:
    """An acknowledgement tells nothing of what filled at once."""
    zero = {name: f"{0:.{len(str(document[name]).partition('.')[2])}f}" for name in _FILLED_KEYS}
    return {**document, **zero, "status": "NEW"}


_FILLED_KEYS = ("avgPrice", "executedQty", "cumQty", "cumQuote")


def try_place(desk: Desk, parameters: Parameters) -> dict[str, object]:
    desk.venue.check(read_order(desk, parameters))
    return {}


def amend(desk: Desk, parameters: Parameters) -> dict[str, object]:
    contract = desk.contract(parameters)
    side = read_side(parameters)
    price = read_price(contract, parameters, "price")
    quantity = read_quantity(contract, parameters)
    order = known(desk.find_order(parameters))
    if order.side is not side:
        raise ApiError(-1117, "Invalid side.")
    assert price is not None, "a needed price is there"
    return _document(desk, desk.venue.amend(order, quantity=quantity, price=price))


def cancel(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return _document(desk, desk.venue.cancel(desk.find_order(parameters)))


def cancel_all(desk: Desk, parameters: Parameters) -> dict[str, object]:
    desk.venue.cancel_all(desk.contract(parameters).symbol)
    return dict(_DONE)


def countdown(desk: Desk, parameters: Parameters) -> dict[str, object]:
    contract = desk.contract(parameters)
    milliseconds = parameters.integer("countdownTime")
    if milliseconds < 0:
        raise missing("countdownTime")
    desk.venue.set_countdown(contract.symbol, milliseconds / 1000)
    return {"symbol": contract.symbol, "countdownTime": str(milliseconds)}


# --- batches ------------------------------------------------------------------------------------


def place_batch(desk: Desk, parameters: Parameters) -> list[object]:
    return _each(desk, f"POST {_BATCH}", _read_batch(parameters), lambda one: place(desk, one))


def amend_batch(desk: Desk, parameters: Parameters) -> list[object]:
    return _each(desk, f"PUT {_BATCH}", _read_batch(parameters), lambda one: amend(desk, one))


def cancel_batch(desk: Desk, parameters: Parameters) -> list[object]:
    contract = desk.contract(parameters)
    # Some clients spell the names in lower case.
    lower = {name.lower(): value for name, value in parameters.values.items()}
    ids = _read_list(lower.get("orderidlist"), "orderIdList")
    names = _read_list(lower.get("origclientorderidlist"), "origClientOrderIdList")
    if not (ids or names):
        raise missing("orderIdList")
    if len(ids or names) > _CANCEL_BATCH_MAX:
        raise ApiError(-4082, "Invalid number of batch place orders.")
    key = "orderId" if ids else "origClientOrderId"
    items = [
        Parameters({"symbol": contract.symbol, key: str(identifier)}) for identifier in ids or names
    ]
    return _each(desk, f"DELETE {_BATCH}", items, lambda one: cancel(desk, one))


def _each(
    desk: Desk, subject: str, items: Iterable[Parameters], act: Callable[[Parameters], object]
) -> list[object]:
    """Every item by itself: its result or its own error."""
    results: list[object] = []
    for item in items:
        try:
            if desk.faults.take((Fault.BATCH_ITEM,), subject):
                raise ApiError(-1001, "Internal error; unable to process your request.")
            results.append(act(item))
        except ApiError as error:
            results.append(error.document())
        except Refusal as refusal:
            results.append(of_refusal(refusal).document())
    return results


def _read_batch(parameters: Parameters) -> list[Parameters]:
    items = _read_list(parameters.text("batchOrders"), "batchOrders")
    if len(items) > _BATCH_MAX or not items:
        raise ApiError(-4082, "Invalid number of batch place orders.")
    read: list[Parameters] = []
    for item in items:
        if not isinstance(item, dict):
            raise missing("batchOrders")
        read.append(Parameters({name: _as_text(value) for name, value in item.items()}))
    return read


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _read_list(text: str | None, name: str) -> list[object]:
    if text is None:
        return []
    try:
        return msgspec.json.decode(text, type=list[object])
    except msgspec.DecodeError as error:
        raise missing(name) from error


# --- queries ------------------------------------------------------------------------------------


def query(desk: Desk, parameters: Parameters) -> dict[str, object]:
    order = known(desk.find_order(parameters))
    if not desk.kept(order):
        raise Refusal(Reason.UNKNOWN_ORDER)
    return _document(desk, order)


def query_open(desk: Desk, parameters: Parameters) -> dict[str, object]:
    order = desk.find_order(parameters)
    if order is None or not order.status.is_open:
        raise Refusal(Reason.UNKNOWN_ORDER)
    return _document(desk, order)


def open_orders(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    orders = desk.venue.books.open_orders(desk.optional_symbol(parameters))
    return [_document(desk, order) for order in orders if not desk.is_hidden(order.order_id)]


def all_orders(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    symbol = desk.contract(parameters).symbol
    first_id = parameters.optional_integer("orderId")
    orders = [
        order
        for order in desk.venue.books.orders.values()
        if order.symbol == symbol
        and desk.kept(order)
        and (first_id is None or order.order_id >= first_id)
    ]
    if first_id is None:
        orders = within_window(desk, parameters, orders, lambda order: order.created_ns)
    return [_document(desk, order) for order in paged(parameters, orders, from_first=first_id)]


def own_trades(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    contract = desk.contract(parameters)
    first_id = parameters.optional_integer("fromId")
    order_id = parameters.optional_integer("orderId")
    if first_id is not None and ("startTime" in parameters or "endTime" in parameters):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    trades = [
        each
        for each in desk.venue.account.executions
        if each.symbol == contract.symbol
        and (first_id is None or each.execution_id >= first_id)
        and (order_id is None or each.order_id == order_id)
        and not desk.is_hidden(each.order_id)
    ]
    if first_id is None:
        trades = within_window(desk, parameters, trades, lambda each: each.ts_ns)
    return [trade_json(each, contract) for each in paged(parameters, trades, from_first=first_id)]


def within_window(
    desk: Desk,
    parameters: Parameters,
    records: list[T],
    time_of: Callable[[T], int],
) -> list[T]:
    """Those between startTime and endTime; a week at most, the last one unless said otherwise."""
    start_ms = parameters.optional_integer("startTime")
    end_ms = parameters.optional_integer("endTime")
    if start_ms is not None and end_ms is not None and not 0 <= end_ms - start_ms <= _WINDOW_MS:
        raise ApiError(-4166, "Search window is restricted to recent 7 days.")
    if end_ms is None:
        end_ms = desk.now_ms() if start_ms is None else start_ms + _WINDOW_MS
    if start_ms is None:
        start_ms = end_ms - _WINDOW_MS
    return [each for each in records if start_ms <= time_of(each) // MS <= end_ms]


def paged(parameters: Parameters, records: list[T], *, from_first: object) -> list[T]:
    """At most `limit` of them: the oldest from an id on, else the newest."""
    limit = parameters.optional_integer("limit")
    limit = 500 if limit is None else limit
    if not 1 <= limit <= 1000:
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    if from_first is not None or "startTime" in parameters:
        return records[:limit]
    return records[-limit:]


def order_rate(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    return [
        {
            "rateLimitType": "ORDERS",
            "interval": interval,
            "intervalNum": number,
            "limit": limit,
        }
        for interval, number, limit in (
            ("SECOND", 10, ORDERS_PER_10_S),
            ("MINUTE", 1, ORDERS_PER_MINUTE),
        )
    ]


def _document(desk: Desk, order: Order) -> dict[str, object]:
    return order_json(order, desk.venue.contract(order.symbol))


ROUTES = (
    Route(method="POST", path=_ORDER, handler=place, weight=0, orders=(1, 1)),
    Route(method="POST", path="/fapi/v1/order/test", handler=try_place),
    Route(method="PUT", path=_ORDER, handler=amend, weight=0, orders=(1, 1)),
    Route(method="DELETE", path=_ORDER, handler=cancel),
    Route(method="GET", path=_ORDER, handler=query),
    Route(method="DELETE", path="/fapi/v1/allOpenOrders", handler=cancel_all),
    Route(method="POST", path=_BATCH, handler=place_batch, weight=5, orders=(5, 1)),
    Route(method="PUT", path=_BATCH, handler=amend_batch, weight=5, orders=(5, 1)),
    Route(method="DELETE", path=_BATCH, handler=cancel_batch),
    Route(method="POST", path="/fapi/v1/countdownCancelAll", handler=countdown, weight=10),
    Route(method="GET", path="/fapi/v1/openOrder", handler=query_open),
    Route(
        method="GET",
        path="/fapi/v1/openOrders",
        handler=open_orders,
        weight=weight_by_symbol(1, 40),
    ),
    Route(method="GET", path="/fapi/v1/allOrders", handler=all_orders, weight=5),
    Route(method="GET", path="/fapi/v1/userTrades", handler=own_trades, weight=5),
    Route(method="GET", path="/fapi/v1/rateLimit/order", handler=order_rate),
)

__all__ = ["ROUTES", "paged", "within_window"]
