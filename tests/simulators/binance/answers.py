"""Binance's JSON for orders, positions, balances and contracts.

Numbers are texts with the decimals that the venue gives them: prices at the contract's price
precision, quantities at its quantity precision, money with eight. Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from engine.model.values import ZERO, Side
from tests.simulators.core.contracts import Contract
from tests.simulators.core.model import (
    Conditional,
    Execution,
    Expiry,
    Kind,
    Order,
    PriceKind,
    TimeInForce,
    TriggerKind,
)

MS = 1_000_000
TIME_IN_FORCE: Mapping[str, TimeInForce] = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "GTX": TimeInForce.POST_ONLY,
    "GTD": TimeInForce.GTD,
}
_TIME_IN_FORCE_NAMES = {value: name for name, value in TIME_IN_FORCE.items()}
EXPIRY_REASONS: Mapping[Expiry, str] = {
    Expiry.NONE: "0",
    Expiry.SELF_TRADE: "1",
    Expiry.IMMEDIATE_REST: "2",
    Expiry.WOULD_REVERSE: "4",
    Expiry.LIQUIDATION: "5",
    Expiry.THIN_BOOK: "9",
    Expiry.OUT_OF_DATE: "0",
    # These two never come to be here: such an order is refused.
    Expiry.NOT_WHOLE: "0",
    Expiry.WOULD_TAKE: "0",
}
ALGO_TYPES: Mapping[str, tuple[TriggerKind, Kind]] = {
    "STOP": (TriggerKind.STOP, Kind.LIMIT),
    "STOP_MARKET": (TriggerKind.STOP, Kind.MARKET),
    "TAKE_PROFIT": (TriggerKind.TAKE_PROFIT, Kind.LIMIT),
    "TAKE_PROFIT_MARKET": (TriggerKind.TAKE_PROFIT, Kind.MARKET),
    "TRAILING_STOP_MARKET": (TriggerKind.TRAILING, Kind.MARKET),
}
_ALGO_TYPE_NAMES = {value: name for name, value in ALGO_TYPES.items()}
WORKING_TYPES: Mapping[str, PriceKind] = {
    "CONTRACT_PRICE": PriceKind.LAST,
    "MARK_PRICE": PriceKind.MARK,
}
_WORKING_TYPE_NAMES = {value: name for name, value in WORKING_TYPES.items()}


def fixed(value: Decimal, digits: int) -> str:
    """A number with exactly so many decimals."""
    rounded = value.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
    return format(rounded if rounded else abs(rounded), "f")


def money(value: Decimal) -> str:
    return fixed(value, 8)


def price_digits(contract: Contract) -> int:
    return decimals(contract.tick_size)


def quantity_digits(contract: Contract) -> int:
    return decimals(contract.quantity_step)


def decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def price_text(contract: Contract, price: Decimal | None) -> str:
    return fixed(price if price is not None else ZERO, price_digits(contract))


def quantity_text(contract: Contract, quantity: Decimal) -> str:
    return fixed(quantity, quantity_digits(contract))


def average_text(contract: Contract, price: Decimal) -> str:
    return fixed(price, price_digits(contract) + 3)


def type_name(order: Order) -> str:
    # The venue's own closing orders look like this on the wire.
    return "LIMIT" if order.is_liquidation else order.kind.value


def time_in_force_name(order: Order) -> str:
    return "IOC" if order.is_liquidation else _TIME_IN_FORCE_NAMES[order.time_in_force]


def order_json(order: Order, contract: Contract) -> dict[str, object]:
    """An order as every order endpoint answers it."""
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status.value,
        "clientOrderId": order.client_id,
        "price": price_text(contract, order.price),
        "avgPrice": average_text(contract, order.average_price),
        "origQty": quantity_text(contract, order.quantity),
        "executedQty": quantity_text(contract, order.filled),
        "cumQty": quantity_text(contract, order.filled),
        "cumQuote": money(order.filled_cost),
        "timeInForce": time_in_force_name(order),
        "type": type_name(order),
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side.value,
        "positionSide": order.leg.value,
        "stopPrice": price_text(contract, None),
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": type_name(order),
        "priceMatch": "NONE",
        "selfTradePreventionMode": order.self_trade.value,
        "goodTillDate": order.good_till_ns // MS,
        "time": order.created_ns // MS,
        "updateTime": order.updated_ns // MS,
    }


def trade_json(execution: Execution, contract: Contract) -> dict[str, object]:
    """A fill as `userTrades` answers it."""
    return {
        "buyer": execution.side is Side.BUY,
        "commission": money(execution.fee),
        "commissionAsset": contract.quote,
        "id": execution.execution_id,
        "maker": execution.is_maker,
        "orderId": execution.order_id,
        "price": price_text(contract, execution.price),
        "qty": quantity_text(contract, execution.quantity),
        "quoteQty": money(execution.price * execution.quantity),
        "realizedPnl": money(execution.realised),
        "side": execution.side.value,
        "positionSide": execution.leg.value,
        "symbol": execution.symbol,
        "time": execution.ts_ns // MS,
    }


def algo_type_name(conditional: Conditional) -> str:
    return _ALGO_TYPE_NAMES[(conditional.request.trigger, conditional.request.kind)]


def working_type_name(conditional: Conditional) -> str:
    return _WORKING_TYPE_NAMES[conditional.request.watches]


def conditional_json(conditional: Conditional, contract: Contract) -> dict[str, object]:
    """A conditional order as its endpoints answer it."""
    request = conditional.request
    document: dict[str, object] = {
        "algoId": conditional.conditional_id,
        "clientAlgoId": conditional.client_id,
        "algoType": "CONDITIONAL",
        "orderType": algo_type_name(conditional),
        "symbol": request.symbol,
        "side": request.side.value,
        "positionSide": request.leg.value,
        "timeInForce": _TIME_IN_FORCE_NAMES[request.time_in_force],
        "quantity": quantity_text(contract, request.quantity),
        "algoStatus": conditional.status.value,
        "actualOrderId": str(conditional.order_id) if conditional.order_id else "",
        "actualPrice": average_text(contract, conditional.actual_price),
        "triggerPrice": price_text(contract, conditional.trigger_price),
        "price": price_text(contract, request.price),
        "icebergQuantity": None,
        "tpTriggerPrice": price_text(contract, None),
        "tpPrice": price_text(contract, None),
        "slTriggerPrice": price_text(contract, None),
        "slPrice": price_text(contract, None),
        "tpOrderType": "",
        "selfTradePreventionMode": request.self_trade.value,
        "workingType": working_type_name(conditional),
        "priceMatch": "NONE",
        "closePosition": request.close_position,
        "priceProtect": request.price_protect,
        "reduceOnly": request.reduce_only,
        "createTime": conditional.created_ns // MS,
        "updateTime": conditional.updated_ns // MS,
        "triggerTime": conditional.triggered_ns // MS,
        "goodTillDate": 0,
        "activatePrice": "",
        "callbackRate": "",
    }
    if request.trigger is TriggerKind.TRAILING:
        ratio = request.callback_ratio or ZERO
        document["activatePrice"] = price_text(contract, request.activation_price)
        document["callbackRate"] = format((ratio * 100).normalize(), "f")
    return document


def contract_json(contract: Contract) -> dict[str, object]:
    """A symbol of `exchangeInfo`."""
    step = {
        "stepSize": quantity_text(contract, contract.quantity_step),
        "minQty": quantity_text(contract, contract.quantity_min),
    }
    return {
        "symbol": contract.symbol,
        "pair": contract.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": contract.base,
        "quoteAsset": contract.quote,
        "marginAsset": contract.quote,
        "pricePrecision": price_digits(contract),
        "quantityPrecision": quantity_digits(contract),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": str(contract.market_take_bound),
        "maxMoveOrderLimit": 10000,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": price_text(contract, contract.price_min),
                "maxPrice": price_text(contract, contract.price_max),
                "tickSize": price_text(contract, contract.tick_size),
            },
            {"filterType": "LOT_SIZE", **step, "maxQty": str(contract.quantity_max)},
            {"filterType": "MARKET_LOT_SIZE", **step, "maxQty": str(contract.market_quantity_max)},
            {"filterType": "MAX_NUM_ORDERS", "limit": contract.orders_max},
            {"filterType": "MIN_NOTIONAL", "notional": str(contract.notional_min)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": fixed(contract.percent_up, 4),
                "multiplierDown": fixed(contract.percent_down, 4),
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": ["LIMIT", "MARKET", *ALGO_TYPES],
        "timeInForce": list(TIME_IN_FORCE),
    }


__all__ = [
    "ALGO_TYPES",
    "EXPIRY_REASONS",
    "MS",
    "TIME_IN_FORCE",
    "WORKING_TYPES",
    "algo_type_name",
    "average_text",
    "conditional_json",
    "contract_json",
    "decimals",
    "fixed",
    "money",
    "order_json",
    "price_digits",
    "price_text",
    "quantity_digits",
    "quantity_text",
    "time_in_force_name",
    "trade_json",
    "type_name",
    "working_type_name",
]
