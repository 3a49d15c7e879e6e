"""What a simulated venue refuses before it takes an order: filters, legs, margin, what to reduce.

Pure: each check raises `Refusal` or returns. A filter of zero is switched off, as at the venues.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from engine.model.ids import Symbol
from engine.model.values import ZERO, Side
from tests.simulators.core.account import Account
from tests.simulators.core.contracts import Contract
from tests.simulators.core.market import Market
from tests.simulators.core.model import Kind, Leg, Order, OrderRequest
from tests.simulators.core.refusals import Reason, Refusal


def check_price(contract: Contract, price: Decimal) -> None:
    """Tick and bounds."""
    if price < contract.price_min:
        raise Refusal(Reason.PRICE_TOO_LOW, f"{contract.price_min}")
    if price > contract.price_max:
        raise Refusal(Reason.PRICE_TOO_HIGH, f"{contract.price_max}")
    if (price - contract.price_min) % contract.tick_size:
        raise Refusal(Reason.PRICE_OFF_TICK)


def check_band(contract: Contract, side: Side, price: Decimal, mark: Decimal) -> None:
    """A buy may not be far above the mark, a sell not far below."""
    if side is Side.BUY and price > mark * contract.percent_up:
        raise Refusal(Reason.PRICE_ABOVE_BAND, f"{mark * contract.percent_up}")
    if side is Side.SELL and price < mark * contract.percent_down:
        raise Refusal(Reason.PRICE_BELOW_BAND, f"{mark * contract.percent_down}")


def check_quantity(contract: Contract, kind: Kind, quantity: Decimal) -> None:
    """Step and bounds; a market order has a smaller maximum."""
    most = contract.market_quantity_max if kind is Kind.MARKET else contract.quantity_max
    if quantity <= ZERO or quantity < contract.quantity_min:
        raise Refusal(Reason.QUANTITY_TOO_LOW)
    if (quantity - contract.quantity_min) % contract.quantity_step:
        raise Refusal(Reason.QUANTITY_OFF_STEP)
    if quantity > most:
        raise Refusal(Reason.QUANTITY_TOO_HIGH)


def check_leg(account: Account, leg: Leg) -> None:
    if leg not in account.legs():
        raise Refusal(Reason.WRONG_LEG)


def check_reduces(
    account: Account, *, symbol: Symbol, leg: Leg, side: Side, quantity: Decimal, reduce_only: bool
) -> None:
    """Something to reduce; in hedge mode no more than is there."""
    closes = leg.closes(side)
    if not (reduce_only or closes):
        return
    most = account.reducible((symbol, leg), side)
    if not most or (closes and quantity > most):
        raise Refusal(Reason.NOTHING_TO_REDUCE)


def check_request(
    request: OrderRequest, contract: Contract, market: Market, account: Account
) -> None:
    """Everything but margin."""
    check_leg(account, request.leg)
    check_quantity(contract, request.kind, request.quantity)
    if request.kind is Kind.LIMIT:
        assert request.price is not None, "a limit order has a price"
        check_price(contract, request.price)
        check_band(contract, request.side, request.price, market.mark)
    reduces = request.reduce_only or request.leg.closes(request.side)
    # The venue values a market order at the mark.
    notional = request.quantity * (request.price if request.price is not None else market.mark)
    if not reduces and notional < contract.notional_min:
        raise Refusal(Reason.NOTIONAL_TOO_LOW, f"{contract.notional_min}")
    check_reduces(
        account,
        symbol=request.symbol,
        leg=request.leg,
        side=request.side,
        quantity=request.quantity,
        reduce_only=request.reduce_only,
    )


def available(
    account: Account, markets: Mapping[Symbol, Market], orders: Mapping[Symbol, list[Order]]
) -> Decimal:
    """Free cross margin: wallet and unrealised, less what positions and resting entries hold."""
    total = account.cross_balance + account.cross_unrealised(markets)
    for key in account.positions:
        if key[0] not in account.isolated:
            total -= account.position_margin(key, markets[key[0]].mark)
    for symbol, resting in orders.items():
        total -= account.order_margin(symbol, resting, markets[symbol].mark)
    return total


def check_margin(
    order: Order,
    *,
    contract: Contract,
    account: Account,
    markets: Mapping[Symbol, Market],
    orders: Mapping[Symbol, list[Order]],
) -> None:
    """Room for an order not yet among the open ones: its leverage's bracket, then margin."""
    if order.reduce_only or order.leg.closes(order.side):
        return
    mark = markets[order.symbol].mark
    resting = orders.get(order.symbol, [])
    before = account.exposure(order.symbol, resting, mark)
    after = account.exposure(order.symbol, [*resting, order], mark)
    growth = after - before
    if growth <= ZERO:
        return
    leverage = account.leverage[order.symbol]
    if after > contract.notional_max(leverage):
        raise Refusal(Reason.POSITION_TOO_LARGE)
    if growth / leverage > available(account, markets, orders):
        raise Refusal(Reason.MARGIN_INSUFFICIENT)


__all__ = [
    "available",
    "check_band",
    "check_leg",
    "check_margin",
    "check_price",
    "check_quantity",
    "check_reduces",
    "check_request",
]
