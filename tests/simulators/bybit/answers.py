"""Bybit's JSON for orders, executions, positions, wallet and contracts.

Everything is a text, times too; a position's size is never negative, its side says which way and is
empty when flat. A conditional order and the order it becomes are one order with one id.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from engine.model.values import ZERO, Side, plain
from tests.simulators.core.account import Account, Key
from tests.simulators.core.contracts import Contract
from tests.simulators.core.market import Market
from tests.simulators.core.model import (
    Conditional,
    ConditionalStatus,
    Execution,
    Expiry,
    Income,
    Kind,
    Leg,
    Order,
    PriceKind,
    Status,
    TimeInForce,
    TriggerKind,
)

MS = 1_000_000
# Client ids of the venue's own making, which the wire shows as none.
UNNAMED = "~"
TIME_IN_FORCE: Mapping[str, TimeInForce] = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.POST_ONLY,
}
_TIME_IN_FORCE_NAMES = {value: name for name, value in TIME_IN_FORCE.items()}
TRIGGER_BY: Mapping[str, PriceKind] = {
    "LastPrice": PriceKind.LAST,
    "MarkPrice": PriceKind.MARK,
    "IndexPrice": PriceKind.MARK,
}
_TRIGGER_BY_NAMES = {PriceKind.LAST: "LastPrice", PriceKind.MARK: "MarkPrice"}
LEGS: Mapping[int, Leg] = {0: Leg.BOTH, 1: Leg.LONG, 2: Leg.SHORT}
_INDEXES = {leg: index for index, leg in LEGS.items()}
SIDES: Mapping[str, Side] = {"Buy": Side.BUY, "Sell": Side.SELL}
SIDE_NAMES = {side: name for name, side in SIDES.items()}
_STATUSES = {
    Status.NEW: "New",
    Status.PARTIALLY_FILLED: "PartiallyFilled",
    Status.FILLED: "Filled",
    Status.CANCELED: "Cancelled",
    Status.EXPIRED: "Cancelled",
    Status.EXPIRED_IN_MATCH: "Cancelled",
}
_CONDITIONAL_STATUSES = {
    ConditionalStatus.NEW: "Untriggered",
    ConditionalStatus.TRIGGERING: "Triggered",
    ConditionalStatus.TRIGGERED: "Triggered",
    ConditionalStatus.FINISHED: "Triggered",
    ConditionalStatus.CANCELED: "Deactivated",
    ConditionalStatus.REJECTED: "Rejected",
    ConditionalStatus.EXPIRED: "Deactivated",
}
_REJECT_REASONS = {
    Expiry.IMMEDIATE_REST: "EC_NoImmediateQtyToFill",
    Expiry.THIN_BOOK: "EC_NoImmediateQtyToFill",
    Expiry.NOT_WHOLE: "EC_CancelForNoFullFill",
    Expiry.WOULD_TAKE: "EC_PostOnlyWillTakeLiquidity",
}
_CANCEL_TYPES = {
    Expiry.SELF_TRADE: "CancelBySmp",
    Expiry.WOULD_REVERSE: "CancelByReduceOnly",
    Expiry.LIQUIDATION: "CancelByPrepareLiq",
}


def link_id(client_id: str) -> str:
    return "" if client_id.startswith(UNNAMED) else client_id


def index_of(leg: Leg) -> int:
    return _INDEXES[leg]


def _cancel_type(order: Order) -> str:
    if order.status is Status.CANCELED:
        return "CancelByUser"
    return _CANCEL_TYPES.get(order.expiry, "UNKNOWN")


def order_json(
    order: Order, *, wire_id: str, fee: Decimal, origin: Conditional | None, stop_type: str
) -> dict[str, object]:
    """An order that has met the book, or ended before."""
    is_market = order.kind is Kind.MARKET
    left = order.left if order.status.is_open else ZERO
    return {
        "category": "linear",
        "orderId": wire_id,
        "orderLinkId": link_id(order.client_id),
        "blockTradeId": "",
        "symbol": order.symbol,
        "price": plain(order.price if order.price is not None else ZERO),
        "qty": plain(order.quantity),
        "side": SIDE_NAMES[order.side],
        "isLeverage": "",
        "positionIdx": index_of(order.leg),
        "orderStatus": _STATUSES[order.status],
        "cancelType": _cancel_type(order),
        "rejectReason": _REJECT_REASONS.get(order.expiry, "EC_NoError"),
        "avgPrice": plain(order.average_price) if order.filled else "",
        "leavesQty": plain(left),
        "leavesValue": plain(left * (order.price or ZERO)),
        "cumExecQty": plain(order.filled),
        "cumExecValue": plain(order.filled_cost),
        "cumExecFee": plain(fee),
        "timeInForce": "IOC" if is_market else _TIME_IN_FORCE_NAMES[order.time_in_force],
        "orderType": "Market" if is_market else "Limit",
        "stopOrderType": stop_type,
        "reduceOnly": order.reduce_only or order.leg.closes(order.side),
        "closeOnTrigger": order.close_position,
        **_trigger_fields(origin),
        **_NO_STOPS,
        "placeType": "",
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "createdTime": str(order.created_ns // MS),
        "updatedTime": str(order.updated_ns // MS),
        "feeCurrency": "",
        "closedPnl": "0",
        "createType": "CreateByLiq" if order.is_liquidation else "CreateByUser",
    }


_NO_STOPS: Mapping[str, object] = {
    "orderIv": "",
    "lastPriceOnCreated": "",
    "takeProfit": "",
    "stopLoss": "",
    "tpTriggerBy": "",
    "slTriggerBy": "",
    "tpslMode": "",
    "tpLimitPrice": "",
    "slLimitPrice": "",
}


def _trigger_fields(conditional: Conditional | None) -> dict[str, object]:
    if conditional is None:
        return {"triggerPrice": "", "triggerDirection": 0, "triggerBy": ""}
    return {
        "triggerPrice": plain(conditional.trigger_price or ZERO),
        "triggerDirection": 1 if conditional.rises else 2,
        "triggerBy": _TRIGGER_BY_NAMES[conditional.request.watches],
    }


def conditional_json(
    conditional: Conditional, *, wire_id: str, quantity: Decimal, stop_type: str
) -> dict[str, object]:
    """A conditional order that waits, or ended waiting."""
    request = conditional.request
    is_market = request.kind is Kind.MARKET
    waits = conditional.status is ConditionalStatus.NEW
    return {
        "category": "linear",
        "orderId": wire_id,
        "orderLinkId": link_id(conditional.client_id),
        "blockTradeId": "",
        "symbol": request.symbol,
        "price": plain(request.price if request.price is not None else ZERO),
        "qty": plain(quantity),
        "side": SIDE_NAMES[request.side],
        "isLeverage": "",
        "positionIdx": index_of(request.leg),
        "orderStatus": _CONDITIONAL_STATUSES[conditional.status],
        "cancelType": "CancelByUser"
        if conditional.status is ConditionalStatus.CANCELED
        else "UNKNOWN",
        "rejectReason": "EC_NoError" if not conditional.reason else "EC_Others",
        "avgPrice": "",
        "leavesQty": plain(quantity if waits else ZERO),
        "leavesValue": "0",
        "cumExecQty": "0",
        "cumExecValue": "0",
        "cumExecFee": "0",
        "timeInForce": "IOC" if is_market else _TIME_IN_FORCE_NAMES[request.time_in_force],
        "orderType": "Market" if is_market else "Limit",
        "stopOrderType": stop_type,
        "reduceOnly": request.reduce_only or request.leg.closes(request.side),
        "closeOnTrigger": request.close_position,
        **_trigger_fields(conditional),
        **_NO_STOPS,
        "placeType": "",
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "createdTime": str(conditional.created_ns // MS),
        "updatedTime": str(conditional.updated_ns // MS),
        "feeCurrency": "",
        "closedPnl": "0",
        "createType": "CreateByUser",
    }


def stop_type_of(conditional: Conditional | None) -> str:
    """`Stop` for one that was placed as an order; the others are the position's."""
    if conditional is None:
        return ""
    if conditional.request.trigger is TriggerKind.TRAILING:
        return "TrailingStop"
    return "Stop"


def execution_json(
    execution: Execution,
    order: Order,
    *,
    wire_id: str,
    execution_wire_id: str,
    mark: Decimal,
    stop_type: str,
    left: Decimal,
) -> dict[str, object]:
    value = execution.price * execution.quantity
    rate = (execution.fee / value).quantize(Decimal("1E-8")) if value else ZERO
    return {
        "category": "linear",
        "symbol": execution.symbol,
        "orderId": wire_id,
        "orderLinkId": link_id(execution.client_id),
        "side": SIDE_NAMES[execution.side],
        "orderPrice": plain(order.price if order.price is not None else execution.price),
        "orderQty": plain(order.quantity),
        "leavesQty": plain(left),
        "createType": "CreateByLiq" if execution.is_liquidation else "CreateByUser",
        "orderType": "Market" if order.kind is Kind.MARKET else "Limit",
        "stopOrderType": stop_type,
        "execFee": plain(execution.fee),
        "execId": execution_wire_id,
        "execPrice": plain(execution.price),
        "execQty": plain(execution.quantity),
        "execType": "BustTrade" if execution.is_liquidation else "Trade",
        "execValue": plain(value),
        "execTime": str(execution.ts_ns // MS),
        "execPnl": plain(execution.realised),
        "isMaker": execution.is_maker,
        "feeRate": plain(rate),
        "feeCurrency": "",
        "markPrice": plain(mark),
        "closedSize": plain(execution.closed),
        "seq": execution.execution_id,
        **_NO_EXECUTION_EXTRAS,
    }


_NO_EXECUTION_EXTRAS: Mapping[str, object] = {
    "tradeIv": "",
    "markIv": "",
    "indexPrice": "",
    "underlyingPrice": "",
    "blockTradeId": "",
    "isLeverage": "0",
    "extraFees": "",
}


def funding_json(income: Income, *, execution_wire_id: str) -> dict[str, object]:
    """Funding, which the venue lists among executions; it is no fill."""
    side = Side.BUY if income.quantity > 0 else Side.SELL
    value = abs(income.quantity) * income.price
    return {
        "category": "linear",
        "symbol": income.symbol,
        "orderId": execution_wire_id,
        "orderLinkId": "",
        "side": SIDE_NAMES[side],
        "orderPrice": "0",
        "orderQty": "0",
        "leavesQty": "0",
        "createType": "",
        "orderType": "UNKNOWN",
        "stopOrderType": "UNKNOWN",
        "execFee": plain(-income.amount),
        "execId": execution_wire_id,
        "execPrice": plain(income.price),
        "execQty": plain(abs(income.quantity)),
        "execType": "Funding",
        "execValue": plain(value),
        "execTime": str(income.ts_ns // MS),
        "execPnl": "0",
        "isMaker": False,
        "feeRate": plain((-income.amount / value).quantize(Decimal("1E-8")) if value else ZERO),
        "feeCurrency": "",
        "markPrice": plain(income.price),
        "closedSize": "0",
        "seq": income.income_id,
        **_NO_EXECUTION_EXTRAS,
    }


def position_json(
    key: Key, account: Account, market: Market, *, stops: Mapping[str, str], seq: int
) -> dict[str, object]:
    """A position; REST calls its price avgPrice and the stream entryPrice, so both are there."""
    contract, mark = market.contract, market.mark
    quantity = account.quantity(key)
    held = account.positions.get(key)
    entry = held.entry_price.quantize(Decimal("1E-12")) if held else ZERO
    side = SIDE_NAMES[Side.BUY if quantity > 0 else Side.SELL] if quantity else ""
    leverage = account.leverage[key[0]]
    margin = account.position_margin(key, mark) if quantity else ZERO
    maintenance = account.maintenance(key, mark)
    return {
        "positionIdx": index_of(key[1]),
        "riskId": 1,
        "riskLimitValue": plain(contract.notional_max(leverage)),
        "symbol": key[0],
        "side": side,
        "size": plain(abs(quantity)),
        "avgPrice": plain(entry),
        "entryPrice": plain(entry),
        "positionValue": plain(abs(quantity) * entry) if quantity else "",
        "tradeMode": 0,
        "positionStatus": "Normal",
        "autoAddMargin": 0,
        "adlRankIndicator": 2 if quantity else 0,
        "leverage": str(leverage),
        "breakEvenPrice": plain(entry) if quantity else "",
        "positionBalance": plain(margin),
        "markPrice": plain(mark),
        "liqPrice": "",
        "bustPrice": "",
        "positionMM": plain(maintenance),
        "positionMMByMp": plain(maintenance),
        "positionIM": plain(margin),
        "positionIMByMp": plain(margin),
        "tpslMode": "Full",
        "takeProfit": stops.get("TakeProfit", ""),
        "stopLoss": stops.get("StopLoss", ""),
        "trailingStop": "0",
        "unrealisedPnl": plain(account.unrealised(key, mark)) if quantity else "",
        "curRealisedPnl": plain(account.realised.get(key, ZERO)),
        "cumRealisedPnl": plain(account.realised.get(key, ZERO)),
        "seq": seq,
        "isReduceOnly": False,
        "mmrSysUpdateTime": "",
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "sessionAvgPrice": "",
        "createdTime": str(account.updated_ns.get(key, 0) // MS),
        "updatedTime": str(account.updated_ns.get(key, 0) // MS),
    }


def contract_json(contract: Contract) -> dict[str, object]:
    """A row of `instruments-info`."""
    return {
        "symbol": contract.symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": contract.base,
        "quoteCoin": contract.quote,
        "launchTime": "1584230400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": "2",
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": str(contract.brackets[0].leverage_max),
            "leverageStep": "0.01",
        },
        "priceFilter": {
            "minPrice": plain(contract.price_min),
            "maxPrice": plain(contract.price_max),
            "tickSize": plain(contract.tick_size),
        },
        "lotSizeFilter": {
            "maxOrderQty": plain(contract.quantity_max),
            "minOrderQty": plain(contract.quantity_min),
            "qtyStep": plain(contract.quantity_step),
            "postOnlyMaxOrderQty": plain(contract.quantity_max),
            "maxMktOrderQty": plain(contract.market_quantity_max),
            "minNotionalValue": plain(contract.notional_min),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": contract.funding_interval_h * 60,
        "settleCoin": contract.quote,
        "copyTrading": "none",
        "upperFundingRate": "0.00375",
        "lowerFundingRate": "-0.00375",
        "isPreListing": False,
        "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.15"},
    }


__all__ = [
    "LEGS",
    "MS",
    "SIDES",
    "SIDE_NAMES",
    "TIME_IN_FORCE",
    "TRIGGER_BY",
    "UNNAMED",
    "conditional_json",
    "contract_json",
    "execution_json",
    "funding_json",
    "index_of",
    "link_id",
    "order_json",
    "position_json",
    "stop_type_of",
]
