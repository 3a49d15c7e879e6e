"""Bybit's order endpoints: create, amend, cancel, cancel-all, batches, and what can be asked.

An answer of retCode 0 to create, amend or cancel is an acknowledgement; what became of it comes by
stream or query. So a post-only order that would take, and a fill-or-kill one that cannot, are
acknowledged and end at once.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from engine.model.values import ZERO
from tests.simulators.bybit.answers import (
    LEGS,
    MS,
    SIDES,
    TIME_IN_FORCE,
    TRIGGER_BY,
    funding_json,
    link_id,
)
from tests.simulators.bybit.desk import Desk, Document, Listed, Route, page
from tests.simulators.bybit.errors import ApiError, of_refusal, params_error
from tests.simulators.bybit.parameters import Parameters
from tests.simulators.bybit.stops import Wish
from tests.simulators.core.model import (
    Conditional,
    ConditionalRequest,
    Expiry,
    IncomeKind,
    Kind,
    Leg,
    Order,
    OrderRequest,
    TimeInForce,
    TriggerKind,
)
from tests.simulators.core.refusals import Reason, Refusal
from tests.simulators.faults import Fault

_KINDS = {"Limit": Kind.LIMIT, "Market": Kind.MARKET}
_BATCH_MAX = 20
_BATCH_PER_S = 10
_CANCEL_ALL_MAX = 500
_CONDITIONALS_PER_SYMBOL = 10
_RECENT_MAX = 500
_WEEK_MS = 7 * 24 * 3600 * 1000
_DAY_NS = 24 * 3600 * 1_000_000_000
# Refusals that are no answer: the order was taken and ended before it met anybody.
_ENDED = {
    Reason.WOULD_TAKE: Expiry.WOULD_TAKE,
    Reason.FOK_KILLED: Expiry.NOT_WHOLE,
    Reason.NO_LIQUIDITY: Expiry.THIN_BOOK,
}


# --- placing ------------------------------------------------------------------------------------


def create(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    return _acknowledge(desk, _create_one(desk, parameters))


def _create_one(desk: Desk, parameters: Parameters) -> Order | Conditional:
    client_id = parameters.link_id() or desk.make_client_id()
    desk.check_link_id(client_id)
    order: Order | Conditional
    if "triggerPrice" in parameters.values:
        order = desk.venue.place_conditional(_read_conditional(desk, parameters, client_id))
    else:
        request = _read_order(desk, parameters, client_id)
        _attach_stops(desk, parameters, request)
        order = _place(desk, request)
    desk.hide_if_asked("POST /v5/order/create", order)
    return order


def _place(desk: Desk, request: OrderRequest) -> Order:
    try:
        return desk.venue.place(request)
    except Refusal as refusal:
        expiry = _ENDED.get(refusal.reason)
        if expiry is None:
            raise
        return desk.venue.record_ended(request, expiry)


def _acknowledge(desk: Desk, order: Order | Conditional) -> Document:
    return {"orderId": desk.id_of(order), "orderLinkId": link_id(order.client_id)}


def _read_order(desk: Desk, parameters: Parameters, client_id: str) -> OrderRequest:
    contract = desk.contract(parameters)
    side = SIDES[parameters.choice("side", SIDES)]
    kind = _KINDS[parameters.choice("orderType", _KINDS)]
    time_in_force = TIME_IN_FORCE[parameters.choice("timeInForce", TIME_IN_FORCE, "GTC")]
    leg = read_leg(desk, parameters)
    reduce_only = parameters.flag("reduceOnly")
    reducible = desk.venue.account.reducible((contract.symbol, leg), side)
    quantity = parameters.decimal("qty")
    if not quantity and reduce_only and parameters.flag("closeOnTrigger"):
        # The form that closes what is there.
        quantity = min(reducible, contract.market_quantity_max)
    if reduce_only or leg.closes(side):
        if not reducible:
            raise Refusal(Reason.NOTHING_TO_REDUCE)
        quantity = min(quantity, reducible)
    return OrderRequest(
        symbol=contract.symbol,
        side=side,
        kind=kind,
        quantity=quantity,
        price=_price(parameters, "price", needed=kind is Kind.LIMIT)
        if kind is Kind.LIMIT
        else None,
        # A market order is one that may not rest.
        time_in_force=TimeInForce.GTC if kind is Kind.MARKET else time_in_force,
        leg=leg,
        client_id=client_id,
        reduce_only=reduce_only,
        close_position=parameters.flag("closeOnTrigger"),
    )


def _read_conditional(desk: Desk, parameters: Parameters, client_id: str) -> ConditionalRequest:
    contract = desk.contract(parameters)
    kind = _KINDS[parameters.choice("orderType", _KINDS)]
    direction = parameters.optional_integer("triggerDirection")
    if direction not in (1, 2):
        raise params_error("triggerDirection is required")
    placed = (
        each
        for each in desk.venue.books.waiting(contract.symbol)
        if not desk.stops.kind_of(each.conditional_id)
    )
    if sum(1 for _ in placed) >= _CONDITIONALS_PER_SYMBOL:
        raise Refusal(Reason.TOO_MANY_CONDITIONALS)
    closes = parameters.flag("closeOnTrigger") and parameters.flag("reduceOnly")
    quantity = parameters.decimal("qty")
    return ConditionalRequest(
        symbol=contract.symbol,
        side=SIDES[parameters.choice("side", SIDES)],
        trigger=TriggerKind.STOP,
        kind=kind,
        quantity=quantity,
        trigger_price=_price(parameters, "triggerPrice", needed=True),
        rises=direction == 1,
        price=_price(parameters, "price", needed=True) if kind is Kind.LIMIT else None,
        time_in_force=TIME_IN_FORCE[parameters.choice("timeInForce", TIME_IN_FORCE, "GTC")],
        leg=read_leg(desk, parameters),
        client_id=client_id,
        reduce_only=parameters.flag("reduceOnly"),
        close_position=closes and not quantity,
        watches=TRIGGER_BY[parameters.choice("triggerBy", TRIGGER_BY, "LastPrice")],
    )


def read_leg(desk: Desk, parameters: Parameters) -> Leg:
    index = parameters.optional_integer("positionIdx") or 0
    leg = LEGS.get(index)
    if leg is None or leg not in desk.venue.account.legs():
        raise Refusal(Reason.WRONG_LEG)
    return leg


def _price(parameters: Parameters, name: str, *, needed: bool) -> Decimal | None:
    price = parameters.optional_decimal(name)
    if not price:
        if needed:
            raise params_error(f"{name} is required")
        return None
    return price


def _attach_stops(desk: Desk, parameters: Parameters, request: OrderRequest) -> None:
    """takeProfit and stopLoss of an order come into force with its fill."""
    wishes = [wish for wish in read_wishes(parameters) if wish.price]
    base = request.price or desk.venue.markets[request.symbol].last
    for wish in wishes:
        desk.stops.check_side(request.side.opposite, wish, base)
    if wishes:
        desk.stops_to_attach[request.client_id] = wishes


def read_wishes(parameters: Parameters) -> list[Wish]:
    """Whole stops, or with a size of their own parts of one."""
    wishes: list[Wish] = []
    is_part = (parameters.optional("tpslMode") or "Full") == "Partial"
    for kind, price_name, prefix in (
        ("TakeProfit", "takeProfit", "tp"),
        ("StopLoss", "stopLoss", "sl"),
    ):
        price = parameters.optional_decimal(price_name)
        if price is None:
            continue
        watches = TRIGGER_BY[parameters.choice(f"{prefix}TriggerBy", TRIGGER_BY, "LastPrice")]
        size = parameters.optional_decimal(f"{prefix}Size") if is_part else None
        wishes.append(
            Wish(
                kind=kind,
                price=price,
                watches=watches,
                quantity=size,
                limit_price=parameters.optional_decimal(f"{prefix}LimitPrice") or None,
            )
        )
    return wishes


# --- changing -----------------------------------------------------------------------------------


def amend(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    return _acknowledge(desk, _amend_one(desk, parameters))


def _amend_one(desk: Desk, parameters: Parameters) -> Order | Conditional:
    order = _found(desk, parameters, Reason.UNKNOWN_ORDER)
    quantity = parameters.optional_decimal("qty")
    if isinstance(order, Conditional):
        trigger = parameters.optional_decimal("triggerPrice")
        return desk.venue.amend_conditional(
            order,
            quantity=order.request.quantity if quantity is None else quantity,
            trigger_price=order.trigger_price if trigger is None else trigger,
        )
    price = parameters.optional_decimal("price")
    return desk.venue.amend(
        order,
        quantity=order.quantity if quantity is None else quantity,
        price=(order.price or ZERO) if price is None else price,
    )


def cancel(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    return _acknowledge(desk, _cancel_one(desk, parameters))


def _cancel_one(desk: Desk, parameters: Parameters) -> Order | Conditional:
    order = _found(desk, parameters, Reason.UNKNOWN_ORDER_ON_CANCEL)
    if isinstance(order, Conditional):
        return desk.venue.cancel_conditional(order)
    return desk.venue.cancel(order)


def _found(desk: Desk, parameters: Parameters, reason: Reason) -> Order | Conditional:
    symbol = desk.contract(parameters).symbol
    order = desk.find(parameters)
    owner = order.request.symbol if isinstance(order, Conditional) else order and order.symbol
    if order is None or owner != symbol:
        raise Refusal(reason)
    return order


def cancel_all(desk: Desk, parameters: Parameters) -> Document:
    """Orders and conditional ones of a scope, unless a filter says which. `StopOrder` takes a
    position's own stops too, but with `stopOrderType` Stop.
    """
    parameters.check_linear()
    symbols = desk.symbols(parameters)
    wanted = parameters.optional("orderFilter")
    if wanted not in (None, "Order", "StopOrder"):
        raise params_error("orderFilter invalid")
    spares_own = wanted == "StopOrder" and parameters.optional("stopOrderType") == "Stop"
    ended: list[Order | Conditional] = []
    if wanted in (None, "Order"):
        ended += [o for o in desk.venue.books.open_orders() if o.symbol in symbols]
    if wanted in (None, "StopOrder"):
        ended += [
            each
            for each in desk.venue.books.waiting()
            if each.request.symbol in symbols and not (spares_own and _stop_kind(desk, each))
        ]
    ended = ended[:_CANCEL_ALL_MAX]
    for order in ended:
        if isinstance(order, Conditional):
            desk.venue.cancel_conditional(order)
        else:
            desk.venue.cancel(order)
    return {"list": [_acknowledge(desk, order) for order in ended], "success": "1"}


def _stop_kind(desk: Desk, conditional: Conditional) -> str:
    return desk.stops.kind_of(conditional.conditional_id)


# --- batches ------------------------------------------------------------------------------------


def _batch(
    path: str, act: Callable[[Desk, Parameters], Order | Conditional]
) -> Callable[..., Listed]:
    def handler(desk: Desk, parameters: Parameters) -> Listed:
        parameters.check_linear()
        items = parameters.items("request")
        if not 1 <= len(items) <= _BATCH_MAX:
            raise params_error("the number of orders is not 1 to 20")
        rows: list[Document] = []
        verdicts: list[Document] = []
        for item in items:
            row, code, message = _one_of_batch(desk, path, item, act)
            rows.append(row)
            verdicts.append({"code": code, "msg": message})
        return Listed({"list": rows}, {"list": verdicts})

    return handler


def _one_of_batch(
    desk: Desk,
    path: str,
    item: Parameters,
    act: Callable[[Desk, Parameters], Order | Conditional],
) -> tuple[Document, int, str]:
    row: Document = {
        "category": "linear",
        "symbol": item.optional("symbol") or "",
        "orderId": "",
        "orderLinkId": item.optional("orderLinkId") or "",
        "createAt": "",
    }
    try:
        # What is over the limit fails, the rest succeeds.
        desk.limits.admit(path, _BATCH_PER_S, desk.now_ns())
        if desk.faults.take((Fault.BATCH_ITEM,), f"POST {path}"):
            raise ApiError(10016, "Server error.")
        order = act(desk, item)
    except ApiError as error:
        return row, error.code, error.message
    except Refusal as refusal:
        refused = of_refusal(refusal)
        return row, refused.code, refused.message
    created = str(order.created_ns // MS)
    return {**row, **_acknowledge(desk, order), "createAt": created}, 0, "OK"


# --- queries ------------------------------------------------------------------------------------


def realtime(desk: Desk, parameters: Parameters) -> Document:
    """Open orders, or with openOnly=1 the last closed ones; one asked for by id in any state."""
    parameters.check_linear()
    if "orderId" in parameters.values or "orderLinkId" in parameters.values:
        found = desk.find(parameters)
        rows = [desk.document(found)] if found is not None else []
        return page(parameters, rows, default=20, most=50)
    symbols = desk.symbols(parameters)
    if parameters.optional_integer("openOnly") == 1:
        rows = desk.closed_documents(symbols)[:_RECENT_MAX]
    else:
        rows = desk.open_documents(symbols)
    return page(parameters, rows, default=20, most=50)


def history(desk: Desk, parameters: Parameters) -> Document:
    """Ended orders: a day when nothing filled, else a week or a window of one."""
    parameters.check_linear()
    if "orderId" in parameters.values or "orderLinkId" in parameters.values:
        found = desk.find(parameters)
        ended = found is not None and not (isinstance(found, Order) and found.status.is_open)
        rows = [desk.document(found)] if found is not None and ended else []
    else:
        rows = desk.closed_documents(desk.symbols(parameters, needed=False))
        rows = in_window(desk, parameters, rows, "updatedTime")
    horizon = str((desk.now_ns() - _DAY_NS) // MS)
    rows = [row for row in rows if row["cumExecQty"] != "0" or str(row["updatedTime"]) >= horizon]
    return page(parameters, rows, default=20, most=50)


def executions(desk: Desk, parameters: Parameters) -> Document:
    """Fills and funding, newest first."""
    parameters.check_linear()
    symbols = desk.symbols(parameters, needed=False)
    rows = [
        desk.execution(each) for each in desk.venue.account.executions if each.symbol in symbols
    ]
    rows += [
        funding_json(each, execution_wire_id=desk.wire_id(each.income_id))
        for each in desk.venue.account.incomes
        if each.kind is IncomeKind.FUNDING_FEE and each.symbol in symbols
    ]
    for name, key in (("orderId", "orderId"), ("orderLinkId", "orderLinkId"), ("execType",) * 2):
        wanted = parameters.optional(name)
        if wanted is not None:
            rows = [row for row in rows if row[key] == wanted]
    rows = in_window(desk, parameters, rows, "execTime")
    rows.sort(key=lambda row: (int(str(row["execTime"])), int(str(row["seq"]))), reverse=True)
    return page(parameters, rows, default=50, most=100)


def in_window(
    desk: Desk,
    parameters: Parameters,
    rows: list[Document],
    key: str,
    *,
    default_ms: int = _WEEK_MS,
) -> list[Document]:
    """The rows of the time that was asked for: a week at most, `default_ms` unless both ends are
    given.
    """
    start = parameters.optional_integer("startTime")
    end = parameters.optional_integer("endTime")
    if start is not None and end is not None and not 0 <= end - start <= _WEEK_MS:
        raise params_error("the time range is over seven days")
    if end is None:
        end = desk.now_ms() if start is None else start + default_ms
    if start is None:
        start = end - default_ms
    return [row for row in rows if start <= int(str(row[key])) <= end]


_PATHS = "/v5/order"
ROUTES = (
    Route(method="POST", path=f"{_PATHS}/create", handler=create, per_second=10),
    Route(method="POST", path=f"{_PATHS}/amend", handler=amend, per_second=10),
    Route(method="POST", path=f"{_PATHS}/cancel", handler=cancel, per_second=10),
    Route(method="POST", path=f"{_PATHS}/cancel-all", handler=cancel_all, per_second=10),
    *(
        Route(
            method="POST",
            path=f"{_PATHS}/{name}-batch",
            handler=_batch(f"{_PATHS}/{name}-batch", act),
            per_second=_BATCH_PER_S,
            counts_itself=True,
        )
        for name, act in (("create", _create_one), ("amend", _amend_one), ("cancel", _cancel_one))
    ),
    Route(method="GET", path=f"{_PATHS}/realtime", handler=realtime),
    Route(method="GET", path=f"{_PATHS}/history", handler=history),
    Route(method="GET", path="/v5/execution/list", handler=executions),
)

__all__ = ["ROUTES", "in_window", "read_leg", "read_wishes"]
