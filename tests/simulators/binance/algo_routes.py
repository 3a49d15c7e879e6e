"""Binance's conditional orders, which have had endpoints, ids and a cancel-all of their own since
the end of 2025.
"""

from __future__ import annotations

from tests.simulators.binance.answers import conditional_json
from tests.simulators.binance.desk import Desk, Route, weight_by_symbol
from tests.simulators.binance.order_reading import read_conditional
from tests.simulators.binance.order_routes import paged, within_window
from tests.simulators.binance.parameters import Parameters
from tests.simulators.core.model import Conditional
from tests.simulators.core.refusals import Reason, Refusal

_ALGO = "/fapi/v1/algoOrder"


def place(desk: Desk, parameters: Parameters) -> dict[str, object]:
    conditional = desk.venue.place_conditional(read_conditional(desk, parameters))
    desk.hide_if_asked(f"POST {_ALGO}", conditional.conditional_id)
    return _document(desk, conditional)


def cancel(desk: Desk, parameters: Parameters) -> dict[str, object]:
    conditional = desk.venue.cancel_conditional(desk.find_conditional(parameters))
    return {
        "algoId": conditional.conditional_id,
        "clientAlgoId": conditional.client_id,
        "code": "200",
        "msg": "success",
    }


def cancel_all(desk: Desk, parameters: Parameters) -> dict[str, object]:
    desk.venue.cancel_all_conditionals(desk.contract(parameters).symbol)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def query(desk: Desk, parameters: Parameters) -> dict[str, object]:
    conditional = desk.find_conditional(parameters)
    if conditional is None:
        raise Refusal(Reason.UNKNOWN_ORDER)
    return _document(desk, conditional)


def open_conditionals(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    waiting = desk.venue.books.waiting(desk.optional_symbol(parameters))
    return [_document(desk, each) for each in waiting if not desk.is_hidden(each.conditional_id)]


def all_conditionals(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    symbol = desk.contract(parameters).symbol
    first_id = parameters.optional_integer("algoId")
    records = [
        each
        for each in desk.venue.books.conditionals.values()
        if each.request.symbol == symbol
        and (first_id is None or each.conditional_id >= first_id)
        and not desk.is_hidden(each.conditional_id)
    ]
    if first_id is None:
        records = within_window(desk, parameters, records, lambda each: each.created_ns)
    return [_document(desk, each) for each in paged(parameters, records, from_first=first_id)]


def _document(desk: Desk, conditional: Conditional) -> dict[str, object]:
    return conditional_json(conditional, desk.venue.contract(conditional.request.symbol))


ROUTES = (
    Route(method="POST", path=_ALGO, handler=place, weight=0, orders=(1, 1)),
    Route(method="DELETE", path=_ALGO, handler=cancel),
    Route(method="GET", path=_ALGO, handler=query),
    Route(method="DELETE", path="/fapi/v1/algoOpenOrders", handler=cancel_all),
    Route(
        method="GET",
        path="/fapi/v1/openAlgoOrders",
        handler=open_conditionals,
        weight=weight_by_symbol(1, 40),
    ),
    Route(method="GET", path="/fapi/v1/allAlgoOrders", handler=all_conditionals, weight=5),
)

__all__ = ["ROUTES"]
