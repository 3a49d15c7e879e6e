"""Reads Binance's order parameters into the core's requests, refusing what the venue refuses.

The order of the checks is the venue's as far as it is known: enums, then what must be there, then
what must not, then precision. Filters, margin and the like are the core's.
"""

from __future__ import annotations

from decimal import Decimal

from engine.model.values import Side
from tests.simulators.binance.answers import (
    ALGO_TYPES,
    TIME_IN_FORCE,
    WORKING_TYPES,
    decimals,
    price_digits,
    quantity_digits,
)
from tests.simulators.binance.desk import Desk
from tests.simulators.binance.errors import ApiError, missing, unwanted
from tests.simulators.binance.parameters import Parameters
from tests.simulators.core.contracts import Contract
from tests.simulators.core.model import (
    ConditionalRequest,
    Kind,
    Leg,
    OrderRequest,
    SelfTrade,
    TimeInForce,
    TriggerKind,
)
from tests.simulators.core.refusals import Reason, Refusal

_MS = 1_000_000
_GOOD_TILL_LEAST_MS = 600_000
_CALLBACK_RANGE = (Decimal("0.1"), Decimal(10))


def read_order(desk: Desk, parameters: Parameters) -> OrderRequest:
    """A LIMIT or MARKET order; conditional types have moved elsewhere."""
    contract = desk.contract(parameters)
    side = read_side(parameters)
    type_text = parameters.text("type")
    if type_text in ALGO_TYPES:
        raise ApiError(
            -4120,
            "Order type not supported for this endpoint. Please use the Algo Order API endpoints "
            "instead.",
        )
    if type_text not in Kind.__members__:
        raise ApiError(-1116, "Invalid orderType.")
    if "closePosition" in parameters and parameters.flag("closePosition"):
        raise ApiError(
            -4136, "Target strategy invalid for orderType LIMIT/MARKET,closePosition true"
        )
    kind = Kind(type_text)
    leg = _read_leg(desk, parameters)
    time_in_force = _read_time_in_force(parameters, needed=kind is Kind.LIMIT)
    price = None
    if kind is Kind.LIMIT:
        price = read_price(contract, parameters, "price")
    elif "price" in parameters:
        raise unwanted("price")
    return OrderRequest(
        symbol=contract.symbol,
        side=side,
        kind=kind,
        quantity=read_quantity(contract, parameters),
        price=price,
        time_in_force=time_in_force,
        leg=leg,
        client_id=parameters.client_id("newClientOrderId") or desk.make_client_id(),
        reduce_only=_read_reduce_only(desk, parameters),
        self_trade=_read_self_trade(parameters),
        good_till_ns=_read_good_till(desk, parameters, time_in_force),
    )


def read_conditional(desk: Desk, parameters: Parameters) -> ConditionalRequest:
    """A conditional order."""
    contract = desk.contract(parameters)
    if parameters.text("algoType") != "CONDITIONAL":
        raise ApiError(-1102, "Illegal value found in parameter 'algoType'.")
    side = read_side(parameters)
    type_text = parameters.text("type")
    if type_text not in ALGO_TYPES:
        raise ApiError(-1116, "Invalid orderType.")
    trigger, kind = ALGO_TYPES[type_text]
    leg = _read_leg(desk, parameters)
    closes = parameters.flag("closePosition")
    if closes:
        _check_close_position(parameters, kind=kind, trigger=trigger, side=side, leg=leg)
    working_type = parameters.optional("workingType") or "CONTRACT_PRICE"
    if working_type not in WORKING_TYPES:
        raise missing("workingType")
    trailing = trigger is TriggerKind.TRAILING
    activation = read_price(contract, parameters, "activatePrice", needed=False)
    return ConditionalRequest(
        symbol=contract.symbol,
        side=side,
        trigger=trigger,
        kind=kind,
        quantity=Decimal(0) if closes else read_quantity(contract, parameters),
        trigger_price=None if trailing else read_price(contract, parameters, "triggerPrice"),
        price=read_price(contract, parameters, "price") if kind is Kind.LIMIT else None,
        activation_price=activation if trailing else None,
        callback_ratio=_read_callback(parameters) if trailing else None,
        time_in_force=_read_time_in_force(parameters, needed=False),
        leg=leg,
        client_id=parameters.client_id("clientAlgoId") or desk.make_client_id(),
        reduce_only=_read_reduce_only(desk, parameters) or closes,
        close_position=closes,
        watches=WORKING_TYPES[working_type],
        price_protect=parameters.flag("priceProtect"),
        self_trade=_read_self_trade(parameters),
    )


def read_side(parameters: Parameters) -> Side:
    text = parameters.text("side")
    if text not in Side.__members__:
        raise ApiError(-1117, "Invalid side.")
    return Side(text)


def read_quantity(contract: Contract, parameters: Parameters) -> Decimal:
    quantity = parameters.decimal("quantity")
    if quantity <= 0:
        raise ApiError(-4003, "Quantity less than or equal to zero.")
    _check_precision(quantity, quantity_digits(contract))
    return quantity


def read_price(
    contract: Contract, parameters: Parameters, name: str, *, needed: bool = True
) -> Decimal | None:
    price = parameters.optional_decimal(name)
    if price is None:
        if needed:
            raise missing(name)
        return None
    if price <= 0:
        raise ApiError(-4001, "Price less than 0.")
    _check_precision(price, price_digits(contract))
    return price


def _check_precision(value: Decimal, digits: int) -> None:
    if decimals(value.normalize()) > digits:
        raise ApiError(-1111, "Precision is over the maximum defined for this asset.")


def _read_leg(desk: Desk, parameters: Parameters) -> Leg:
    text = parameters.optional("positionSide") or "BOTH"
    if text not in Leg.__members__:
        raise ApiError(-4060, "Invalid position side.")
    if Leg(text) not in desk.venue.account.legs():
        raise Refusal(Reason.WRONG_LEG)
    return Leg(text)


def _read_reduce_only(desk: Desk, parameters: Parameters) -> bool:
    if "reduceOnly" in parameters and desk.venue.account.is_hedged:
        raise unwanted("reduceonly")
    return parameters.flag("reduceOnly")


def _read_time_in_force(parameters: Parameters, *, needed: bool) -> TimeInForce:
    text = parameters.optional("timeInForce")
    if text is None:
        if needed:
            raise missing("timeInForce")
        return TimeInForce.GTC
    if text not in TIME_IN_FORCE:
        raise ApiError(-1115, "Invalid timeInForce.")
    return TIME_IN_FORCE[text]


def _read_good_till(desk: Desk, parameters: Parameters, time_in_force: TimeInForce) -> int:
    if time_in_force is not TimeInForce.GTD:
        return 0
    # To the second, whatever is sent.
    date_ms = parameters.integer("goodTillDate") // 1000 * 1000
    if date_ms <= desk.now_ms() + _GOOD_TILL_LEAST_MS:
        raise ApiError(
            -4188, "goodTillDate must be greater than the current time plus 600 seconds."
        )
    return date_ms * _MS


def _read_self_trade(parameters: Parameters) -> SelfTrade:
    text = parameters.optional("selfTradePreventionMode") or "EXPIRE_MAKER"
    if text not in SelfTrade.__members__:
        raise missing("selfTradePreventionMode")
    return SelfTrade(text)


def _read_callback(parameters: Parameters) -> Decimal:
    rate = parameters.decimal("callbackRate")
    low, high = _CALLBACK_RANGE
    if not low <= rate <= high:
        raise Refusal(Reason.CALLBACK_INVALID)
    return rate / 100


def _check_close_position(
    parameters: Parameters, *, kind: Kind, trigger: TriggerKind, side: Side, leg: Leg
) -> None:
    if kind is not Kind.MARKET or trigger is TriggerKind.TRAILING:
        raise ApiError(-4136, "Target strategy invalid for this orderType, closePosition true.")
    if "quantity" in parameters:
        raise ApiError(-4137, "Quantity must be zero with closePosition equals true.")
    if "reduceOnly" in parameters:
        raise ApiError(-4138, "Reduce only must be true with closePosition equals true.")
    if leg is not Leg.BOTH and not leg.closes(side):
        raise Refusal(Reason.NOTHING_TO_REDUCE)


__all__ = ["read_conditional", "read_order", "read_price", "read_quantity", "read_side"]
