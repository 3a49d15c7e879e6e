"""Binance's JSON into our words: strict about what is needed, blind to what is not.

Every answer has a struct that names only what we use; unknown fields are passed over (the venue
adds some each month), a missing or odd one is refused with `Undecodable`, which names it. Numbers
come as texts and become `Decimal`; times are milliseconds and become UTC nanoseconds. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from engine.model.ids import ClientOrderId, ExecutionId, Symbol, VenueOrderId
from engine.model.instrument import Instrument
from engine.model.orders import Fill, OrderKind, OrderState
from engine.model.values import Side, decimal
from engine.model.venue import (
    Leg,
    MovementKind,
    VenueBalance,
    VenueOrder,
    VenuePosition,
    WalletMovement,
)

T = TypeVar("T")
NS_PER_MS = 1_000_000


class Undecodable(ValueError):
    """An answer that is not what the documentation says; names the field."""


class OrderAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """An ordinary order."""

    symbol: str
    order_id: int
    client_order_id: str
    status: str
    side: str
    type: str
    orig_qty: str
    executed_qty: str
    price: str = "0"
    reduce_only: bool = False
    close_position: bool = False
    position_side: str = "BOTH"
    update_time: int = 0


class AlgoAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A conditional order. `actual_order_id` is the real order, once it was triggered."""

    algo_id: int
    client_algo_id: str
    order_type: str
    symbol: str
    side: str
    algo_status: str
    quantity: str = "0"
    trigger_price: str = ""
    price: str = ""
    actual_order_id: str = ""
    reduce_only: bool = False
    close_position: bool = False
    position_side: str = "BOTH"
    update_time: int = 0


class AlgoAcknowledgement(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to the cancel of a conditional order."""

    algo_id: int
    client_algo_id: str


class TradeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """One of our executions. It does not say our own order id."""

    symbol: str
    id: int
    order_id: int
    side: str
    price: str
    qty: str
    commission: str
    commission_asset: str
    time: int
    maker: bool = False


class PositionAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A position; `position_amt` is signed on every position side."""

    symbol: str
    position_side: str
    position_amt: str
    entry_price: str
    mark_price: str


class BalanceAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The wallet of one asset."""

    asset: str
    balance: str


class IncomeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Something that changed the wallet of `asset`; `tran_id` is one of a kind within its type."""

    symbol: str
    income_type: str
    income: str
    asset: str
    tran_id: int
    time: int


class TimeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The venue's clock."""

    server_time: int


class ModeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the account holds long and short positions side by side."""

    dual_side_position: bool


class LeverageAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The leverage of a symbol from now on."""

    symbol: str
    leverage: int


class CountdownAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The dead-man's switch of a symbol, as it now stands."""

    symbol: str
    countdown_time: str | int


class DoneAnswer(msgspec.Struct, frozen=True):
    """The answer of what has nothing more to say: `code` 200, as a number or a text."""

    code: int | str
    msg: str = ""


class ListenKeyAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What the private stream lives by; its extension may come without it."""

    listen_key: str = ""

    def __repr__(self) -> str:
        return "ListenKeyAnswer(***)"


class LimitAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """One of the venue's limits."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class SymbolAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A contract. The precisions that come with it are not its steps, and are not read."""

    symbol: str
    status: str
    contract_type: str
    quote_asset: str
    filters: tuple[Mapping[str, object], ...]


class ExchangeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """`exchangeInfo`."""

    rate_limits: tuple[LimitAnswer, ...]
    symbols: tuple[SymbolAnswer, ...]


def decode(body: bytes, kind: type[T]) -> T:
    """Read a body as `kind`; Undecodable says what is wrong with it."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Undecodable(f"not {getattr(kind, '__name__', kind)}: {error}") from error


def number(text: str, field: str) -> Decimal:
    """A finite number; Undecodable with the field's name."""
    try:
        return decimal(text, field=field)
    except ValueError as error:
        raise Undecodable(str(error)) from error


# --- into our words ------------------------------------------------------------------------------

_ORDER_STATES: Mapping[str, OrderState] = {
    "NEW": OrderState.ACCEPTED,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELLED,
    "REJECTED": OrderState.REJECTED,
    "EXPIRED": OrderState.CANCELLED,
    "EXPIRED_IN_MATCH": OrderState.CANCELLED,
    # The venue's own orders, in a liquidation.
    "NEW_INSURANCE": OrderState.ACCEPTED,
    "NEW_ADL": OrderState.ACCEPTED,
}
_ALGO_STATES: Mapping[str, OrderState] = {
    "NEW": OrderState.ACCEPTED,
    "TRIGGERING": OrderState.ACCEPTED,
    "TRIGGERED": OrderState.ACCEPTED,
    # Without a real order behind it nothing was done; with one, that order says what was.
    "FINISHED": OrderState.CANCELLED,
    "CANCELED": OrderState.CANCELLED,
    "EXPIRED": OrderState.CANCELLED,
    "REJECTED": OrderState.REJECTED,
}


def _one_of(table: Mapping[str, T], text: str, field: str) -> T:
    if text not in table:
        raise Undecodable(f"{field}: {text!r} is not one of {', '.join(table)}")
    return table[text]


def _only_reduces(answer: OrderAnswer | AlgoAnswer, side: Side) -> bool:
    """In hedge mode nothing is marked reduce-only: what is against its leg only reduces."""
    leg = _one_of(_LEGS, answer.position_side, "positionSide")
    against = leg is not None and leg is Leg.of(side, reduce_only=True)
    return answer.reduce_only or answer.close_position or against


_SIDES: Mapping[str, Side] = {side.value: side for side in Side}
_LEGS: Mapping[str, Leg | None] = {"BOTH": None, "LONG": Leg.LONG, "SHORT": Leg.SHORT}
# What moves a wallet and is neither a transfer nor said by an execution.
_MOVEMENTS: Mapping[str, MovementKind] = {
    "TRANSFER": MovementKind.TRANSFER,
    "INTERNAL_TRANSFER": MovementKind.TRANSFER,
    "CROSS_COLLATERAL_TRANSFER": MovementKind.TRANSFER,
    "STRATEGY_UMFUTURES_TRANSFER": MovementKind.TRANSFER,
    "FUNDING_FEE": MovementKind.FUNDING,
    "REALIZED_PNL": MovementKind.REALISED,
    "COMMISSION": MovementKind.FEE,
}


def to_order(answer: OrderAnswer) -> VenueOrder:
    """An ordinary order."""
    price = number(answer.price, "price")
    side = _one_of(_SIDES, answer.side, "side")
    return VenueOrder(
        client_order_id=ClientOrderId(answer.client_order_id),
        venue_order_id=VenueOrderId(str(answer.order_id)),
        symbol=Symbol(answer.symbol),
        side=side,
        kind=OrderKind.LIMIT if price else OrderKind.MARKET,
        quantity=number(answer.orig_qty, "origQty"),
        filled=number(answer.executed_qty, "executedQty"),
        state=_one_of(_ORDER_STATES, answer.status, "status"),
        price=price or None,
        reduce_only=_only_reduces(answer, side),
        ts_ns=answer.update_time * NS_PER_MS,
        reason=answer.status if answer.status.startswith("EXPIRED") else "",
    )


def _conditional_kind(order_type: str) -> OrderKind:
    """A limit order's trigger counts like a market order's; a trailing stop is a stop."""
    if order_type.startswith("TAKE_PROFIT"):
        return OrderKind.TAKE_PROFIT_MARKET
    return OrderKind.STOP_MARKET


def to_conditional(answer: AlgoAnswer, real: VenueOrder | None = None) -> VenueOrder:
    """A conditional order; `real` is the order that it became, whose fills and state count."""
    side = _one_of(_SIDES, answer.side, "side")
    return VenueOrder(
        client_order_id=ClientOrderId(answer.client_algo_id),
        venue_order_id=VenueOrderId(str(answer.algo_id)),
        symbol=Symbol(answer.symbol),
        side=side,
        kind=_conditional_kind(answer.order_type),
        quantity=number(answer.quantity or "0", "quantity"),
        filled=real.filled if real else Decimal(0),
        state=real.state if real else _one_of(_ALGO_STATES, answer.algo_status, "algoStatus"),
        price=number(answer.price or "0", "price") or None,
        trigger_price=number(answer.trigger_price or "0", "triggerPrice"),
        reduce_only=_only_reduces(answer, side),
        ts_ns=max(answer.update_time * NS_PER_MS, real.ts_ns if real else 0),
        reason=real.reason if real else "",
    )


def to_fill(answer: TradeAnswer, client_order_id: ClientOrderId) -> Fill:
    """One of our executions. Trade ids count for each symbol alone, so the symbol is part of it."""
    return Fill(
        execution_id=execution_id(answer.symbol, answer.id),
        client_order_id=client_order_id,
        venue_order_id=VenueOrderId(str(answer.order_id)),
        symbol=Symbol(answer.symbol),
        side=_one_of(_SIDES, answer.side, "side"),
        quantity=number(answer.qty, "qty"),
        price=number(answer.price, "price"),
        fee=number(answer.commission, "commission"),
        fee_currency=answer.commission_asset,
        ts_ns=answer.time * NS_PER_MS,
        is_maker=answer.maker,
    )


def execution_id(symbol: str, trade_id: int) -> ExecutionId:
    """The identity of an execution, the same from stream and from REST."""
    return ExecutionId(f"{symbol}-{trade_id}")


def to_position(answer: PositionAnswer) -> VenuePosition:
    """A position, or one leg of it; the amount of a short one is negative in both modes."""
    return VenuePosition(
        symbol=Symbol(answer.symbol),
        quantity=number(answer.position_amt, "positionAmt"),
        entry_price=number(answer.entry_price, "entryPrice"),
        mark_price=number(answer.mark_price, "markPrice"),
        leg=_one_of(_LEGS, answer.position_side, "positionSide"),
    )


def to_movement(answer: IncomeAnswer) -> WalletMovement:
    """A change of the wallet; its id is one of a kind within its type only, so it names that."""
    return WalletMovement(
        movement_id=f"{answer.income_type}-{answer.tran_id}",
        kind=_MOVEMENTS.get(answer.income_type, MovementKind.OTHER),
        currency=answer.asset,
        amount=number(answer.income, "income"),
        symbol=Symbol(answer.symbol) if answer.symbol else None,
        ts_ns=answer.time * NS_PER_MS,
        detail=answer.income_type,
    )


def to_balances(answers: tuple[BalanceAnswer, ...]) -> tuple[VenueBalance, ...]:
    """The wallet of every asset."""
    return tuple(
        VenueBalance(currency=answer.asset, balance=number(answer.balance, "balance"))
        for answer in answers
    )


def to_instrument(answer: SymbolAnswer) -> Instrument:
    """A contract's filters. Both lot filters bind: the coarser step, the larger minimum, the
    smaller maximum.
    """
    filters = {str(each.get("filterType")): each for each in answer.filters}

    def value(kind: str, field: str) -> Decimal:
        found = filters.get(kind, {}).get(field)
        if not isinstance(found, str | int):
            raise Undecodable(f"{answer.symbol}: filter {kind} has no {field}")
        return number(str(found), f"{answer.symbol} {kind}.{field}")

    has_band = "PERCENT_PRICE" in filters
    up = value("PERCENT_PRICE", "multiplierUp") if has_band else None
    down = value("PERCENT_PRICE", "multiplierDown") if has_band else None
    lots = [kind for kind in ("LOT_SIZE", "MARKET_LOT_SIZE") if kind in filters] or ["LOT_SIZE"]
    notional_filter = "notional" if "notional" in filters.get("MIN_NOTIONAL", {}) else "minNotional"
    instrument = Instrument(
        symbol=Symbol(answer.symbol),
        tick_size=value("PRICE_FILTER", "tickSize"),
        quantity_step=max(value(kind, "stepSize") for kind in lots),
        quantity_min=max(value(kind, "minQty") for kind in lots),
        quantity_max=min(value(kind, "maxQty") for kind in lots),
        notional_min=value("MIN_NOTIONAL", notional_filter),
        currency=answer.quote_asset,
        band_up=None if up is None else up - 1,
        band_down=None if down is None else 1 - down,
    )
    if instrument.tick_size <= 0 or instrument.quantity_step <= 0:
        raise Undecodable(f"{answer.symbol}: tick and step must be above zero")
    return instrument


__all__ = [
    "NS_PER_MS",
    "AlgoAcknowledgement",
    "AlgoAnswer",
    "BalanceAnswer",
    "CountdownAnswer",
    "DoneAnswer",
    "ExchangeAnswer",
    "IncomeAnswer",
    "LeverageAnswer",
    "LimitAnswer",
    "ListenKeyAnswer",
    "ModeAnswer",
    "OrderAnswer",
    "PositionAnswer",
    "SymbolAnswer",
    "TimeAnswer",
    "TradeAnswer",
    "Undecodable",
    "decode",
    "execution_id",
    "number",
    "to_balances",
    "to_conditional",
    "to_fill",
    "to_instrument",
    "to_movement",
    "to_order",
    "to_position",
]
