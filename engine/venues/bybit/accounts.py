"""Bybit's orders, executions, positions and wallet in our words, from REST and stream alike.

Traps that are dealt with here: a position's size is never negative and its `side` gives the
direction, empty when flat; in hedge mode a symbol has a leg each way; a rejected order may have
fills, so it is cancelled and not rejected; executions hold funding, which is no fill; an order that
the venue made itself (a position's stop, a liquidation) has no client order id and gets one that is
the same each time. Fees are positive when we paid. Pure; raises `Undecodable`, which names the
field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from engine.model.errors import OutcomeUnknown, VenueError
from engine.model.ids import ExecutionId, Symbol, VenueOrderId
from engine.model.orders import Fill, OrderKind, OrderState
from engine.model.values import ZERO, Side
from engine.model.venue import Leg, OrderAck, VenueBalance, VenueOrder, VenuePosition
from engine.venues.bybit.decoding import (
    Page,
    Undecodable,
    above_zero,
    client_order_id,
    decode,
    decode_list,
    decode_result,
    name,
    number,
    positive_or_none,
    quantity,
    side,
    time_ns,
)
from engine.venues.bybit.errors import RequestKind, item_refusal

# --- orders -------------------------------------------------------------------------------------

_STATES: Mapping[str, OrderState] = {
    "New": OrderState.ACCEPTED,
    "Untriggered": OrderState.ACCEPTED,
    "Triggered": OrderState.ACCEPTED,  # In passing, between waiting and the book.
    "PartiallyFilled": OrderState.PARTIALLY_FILLED,
    "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELLED,
    "PartiallyFilledCanceled": OrderState.CANCELLED,
    "Deactivated": OrderState.CANCELLED,
    "Rejected": OrderState.REJECTED,
}
_ENDED_UNFILLED = frozenset({OrderState.CANCELLED, OrderState.REJECTED})
# triggerDirection.
_RISES, _FALLS = 1, 2
_NOT_CONDITIONAL = frozenset({"", "UNKNOWN"})
_NO_REASON = frozenset({"", "EC_NoError", "UNKNOWN"})


class OrderRow(msgspec.Struct, frozen=True, rename="camel"):
    """An order, conditional or not."""

    symbol: str
    order_id: str
    order_link_id: str
    side: str
    order_type: str
    order_status: str
    qty: str
    cum_exec_qty: str
    reduce_only: bool
    updated_time: str
    price: str | None = None
    trigger_price: str | None = None
    trigger_direction: int | None = None
    stop_order_type: str | None = None
    reject_reason: str | None = None
    cancel_type: str | None = None


def order_of(row: OrderRow) -> VenueOrder:
    """An order in our words."""
    state = _STATES.get(row.order_status)
    if state is None:
        raise Undecodable(f"orderStatus: {row.order_status[:60]!r} is not a known state")
    filled = quantity(row.cum_exec_qty, "cumExecQty")
    if state is OrderState.REJECTED and filled:
        # What was filled is real, and a rejected order has nothing.
        state = OrderState.CANCELLED
    trigger = positive_or_none(row.trigger_price, "triggerPrice")
    if (row.stop_order_type or "") in _NOT_CONDITIONAL:
        trigger = None
    return VenueOrder(
        client_order_id=client_order_id(row.order_link_id, row.order_id),
        venue_order_id=VenueOrderId(name(row.order_id, "orderId")),
        symbol=Symbol(name(row.symbol, "symbol")),
        side=side(row.side),
        kind=_kind_of(row, is_conditional=trigger is not None),
        quantity=quantity(row.qty, "qty"),
        filled=filled,
        state=state,
        price=positive_or_none(row.price, "price") if row.order_type == "Limit" else None,
        trigger_price=trigger,
        reduce_only=row.reduce_only,
        ts_ns=time_ns(row.updated_time, "updatedTime"),
        reason=_reason_of(row) if state in _ENDED_UNFILLED else "",
    )


def _kind_of(row: OrderRow, *, is_conditional: bool) -> OrderKind:
    """A stop waits for the price to go against the position that it closes, a take-profit for it to
    go with it; of one that the venue made itself its name says which it is.
    """
    if row.order_type == "Limit":
        return OrderKind.LIMIT
    if row.order_type != "Market":
        raise Undecodable(f"orderType: {row.order_type[:60]!r} is neither Limit nor Market")
    if not is_conditional:
        return OrderKind.MARKET
    goes_with = _RISES if row.side == "Sell" else _FALLS
    if row.trigger_direction == goes_with or "TakeProfit" in (row.stop_order_type or ""):
        return OrderKind.TAKE_PROFIT_MARKET
    return OrderKind.STOP_MARKET


def _reason_of(row: OrderRow) -> str:
    told = (row.reject_reason or "", row.cancel_type or "")
    return next((text for text in told if text not in _NO_REASON), "")


def decode_orders(body: bytes) -> Page[VenueOrder]:
    """`order/realtime` and `order/history`."""
    result = decode_list(body, OrderRow)
    return Page(tuple(map(order_of, result.rows)), result.nextPageCursor or "")


# --- acknowledgements ---------------------------------------------------------------------------


class _Acknowledgement(msgspec.Struct, frozen=True, rename="camel"):
    order_id: str
    order_link_id: str


class _Acknowledgements(msgspec.Struct, frozen=True):
    rows: list[_Acknowledgement] = msgspec.field(name="list")


class _ItemVerdict(msgspec.Struct, frozen=True):
    code: int
    msg: str = ""


class _ItemVerdicts(msgspec.Struct, frozen=True):
    rows: list[_ItemVerdict] = msgspec.field(name="list")


class _BatchAnswer(msgspec.Struct, frozen=True, rename="camel"):
    result: _Acknowledgements
    ret_ext_info: _ItemVerdicts


class _CancelledAll(msgspec.Struct, frozen=True):
    rows: list[_Acknowledgement] = msgspec.field(name="list")
    success: str


def _ack_of(row: _Acknowledgement) -> OrderAck:
    return OrderAck(
        client_order_id=client_order_id(row.order_link_id, row.order_id),
        venue_order_id=VenueOrderId(name(row.order_id, "orderId")),
    )


def decode_ack(body: bytes) -> OrderAck:
    """Create, amend, cancel: the venue has taken the request, no more."""
    return _ack_of(decode_result(body, _Acknowledgement))


def decode_batch(
    body: bytes, kind: RequestKind, *, count: int
) -> tuple[OrderAck | VenueError, ...]:
    """A batch of `count`, item by item in the order asked: taken, or the error of that item alone.

    The answer as a whole says success even when every item failed.
    """
    decode_result(body, _Acknowledgements)
    answer = decode(body, _BatchAnswer)
    rows, verdicts = answer.result.rows, answer.ret_ext_info.rows
    for field, items in (("result.list", rows), ("retExtInfo.list", verdicts)):
        if len(items) != count:
            raise Undecodable(f"{field}: {len(items)} items for {count} that were asked for")
    return tuple(
        item_refusal(verdict.code, verdict.msg, kind) or _ack_of(row)
        for row, verdict in zip(rows, verdicts, strict=True)
    )


def decode_cancel_all(body: bytes) -> int:
    """How many the venue set out to cancel. Raises OutcomeUnknown when it says that it failed."""
    result = decode_result(body, _CancelledAll)
    if result.success != "1":
        raise OutcomeUnknown("the venue says that cancelling all failed, and not for which")
    return len(result.rows)


# --- executions ---------------------------------------------------------------------------------

_FILL_TYPES = frozenset(
    {"Trade", "AdlTrade", "BustTrade", "BlockTrade", "MovePosition", "FutureSpread", "Delivery"}
)
_FUNDING_TYPE = "Funding"
_SETTLEMENT_TYPES = frozenset({"Settle", "SessionSettlePnL"})


class ExtraFee(msgspec.Struct, frozen=True, rename="camel"):
    """A tax on a fee, in some countries."""

    fee_coin: str
    fee: str


class ExecutionRow(msgspec.Struct, frozen=True, rename="camel"):
    """An execution: a fill, or funding."""

    symbol: str
    order_id: str
    order_link_id: str
    side: str
    exec_id: str
    exec_type: str
    exec_qty: str
    exec_price: str
    exec_fee: str
    exec_time: str
    is_maker: bool
    fee_currency: str | None = None
    extra_fees: str | list[ExtraFee] | None = None
    seq: int = 0


class FundingPayment(msgspec.Struct, frozen=True, kw_only=True):
    """Funding of one position; `amount` is positive when we were paid."""

    execution_id: ExecutionId
    symbol: Symbol
    amount: Decimal
    currency: str
    ts_ns: int


class Executions(msgspec.Struct, frozen=True, kw_only=True):
    """Fills and funding, each oldest first."""

    fills: tuple[Fill, ...] = ()
    fundings: tuple[FundingPayment, ...] = ()
    next_cursor: str = ""
    count: int = 0

    @property
    def rows(self) -> tuple[Fill, ...]:
        """As a page of fills; `count` is how many rows the venue sent, of whatever kind."""
        return self.fills


def settle_coin(symbol: str) -> str:
    """What a linear contract settles in, by its name: BTCUSDT, BTCUSDT-26SEP25, ETHPERP."""
    root, is_dated, _ = symbol.partition("-")
    if root.endswith("USDT"):
        return "USDT"
    if root.endswith(("PERP", "USDC")) or is_dated:
        return "USDC"
    raise Undecodable(f"symbol: {symbol[:60]!r} does not tell what it settles in")


def executions_of(rows: list[ExecutionRow], next_cursor: str = "") -> Executions:
    """Rows in the order given, by kind."""
    fills: list[Fill] = []
    fundings: list[FundingPayment] = []
    for row in rows:
        if row.exec_type in _FILL_TYPES:
            fills.append(_fill_of(row))
        elif row.exec_type == _FUNDING_TYPE:
            fundings.append(_funding_of(row))
        elif row.exec_type not in _SETTLEMENT_TYPES:
            raise Undecodable(f"execType: {row.exec_type[:60]!r} is not a known kind")
    return Executions(
        fills=tuple(fills), fundings=tuple(fundings), next_cursor=next_cursor, count=len(rows)
    )


def _fill_of(row: ExecutionRow) -> Fill:
    currency = row.fee_currency or settle_coin(row.symbol)
    return Fill(
        execution_id=ExecutionId(name(row.exec_id, "execId")),
        client_order_id=client_order_id(row.order_link_id, row.order_id),
        venue_order_id=VenueOrderId(name(row.order_id, "orderId")),
        symbol=Symbol(name(row.symbol, "symbol")),
        side=side(row.side),
        quantity=above_zero(row.exec_qty, "execQty"),
        price=above_zero(row.exec_price, "execPrice"),
        fee=number(row.exec_fee, "execFee") + _extra_fee(row, currency),
        fee_currency=currency,
        ts_ns=time_ns(row.exec_time, "execTime"),
        is_maker=row.is_maker,
    )


def _extra_fee(row: ExecutionRow, currency: str) -> Decimal:
    if row.extra_fees is None or isinstance(row.extra_fees, str):
        if row.extra_fees:
            raise Undecodable(f"extraFees: {row.extra_fees[:60]!r} is not a list of fees")
        return ZERO
    extra = ZERO
    for each in row.extra_fees:
        if each.fee_coin != currency:
            raise Undecodable(f"extraFees: a fee in {each.fee_coin[:20]} beside one in {currency}")
        extra += number(each.fee, "extraFees.fee")
    return extra


def _funding_of(row: ExecutionRow) -> FundingPayment:
    return FundingPayment(
        execution_id=ExecutionId(name(row.exec_id, "execId")),
        symbol=Symbol(name(row.symbol, "symbol")),
        amount=-number(row.exec_fee, "execFee"),
        currency=row.fee_currency or settle_coin(row.symbol),
        ts_ns=time_ns(row.exec_time, "execTime"),
    )


def decode_executions(body: bytes) -> Executions:
    """`execution/list`, which is newest first; here a page is oldest first."""
    result = decode_list(body, ExecutionRow)
    rows = sorted(
        reversed(result.rows), key=lambda row: (time_ns(row.exec_time, "execTime"), row.seq)
    )
    return executions_of(rows, result.nextPageCursor or "")


# --- positions ----------------------------------------------------------------------------------

_LEG_SIDES: Mapping[int, frozenset[Side]] = {
    0: frozenset(Side),
    1: frozenset({Side.BUY}),
    2: frozenset({Side.SELL}),
}
_LEGS: Mapping[int, Leg | None] = {0: None, 1: Leg.LONG, 2: Leg.SHORT}
_FLAT_SIDES = frozenset({"", "None"})


class PositionRow(msgspec.Struct, frozen=True, rename="camel"):
    """A position of a symbol, or in hedge mode one of its two legs. The price is `avgPrice` by
    REST and `entryPrice` by the stream.
    """

    symbol: str
    side: str
    size: str
    position_idx: int
    avg_price: str | None = None
    entry_price: str | None = None
    mark_price: str | None = None
    updated_time: str | None = None
    # A text where the symbol was never traded.
    seq: int | str = 0


class PositionLeg(msgspec.Struct, frozen=True, kw_only=True):
    """A position, signed, and which leg it is: 0 in one-way mode, in hedge mode 1 long, 2 short.

    `sequence` orders it among fills and other positions of its symbol.
    """

    position: VenuePosition
    index: int
    updated_ns: int = 0
    sequence: int = 0

    @property
    def is_flat(self) -> bool:
        return not self.position.quantity


def leg_of(row: PositionRow) -> PositionLeg:
    """A signed position out of an unsigned size and a side."""
    allowed = _LEG_SIDES.get(row.position_idx)
    if allowed is None:
        raise Undecodable(f"positionIdx: {row.position_idx} is none of 0, 1, 2")
    size = quantity(row.size, "size")
    entry_text = row.avg_price if row.entry_price is None else row.entry_price
    if entry_text is None:
        raise Undecodable("avgPrice: neither it nor entryPrice is there")
    signed, entry = ZERO, ZERO
    if size:
        direction = side(row.side)
        if direction not in allowed:
            raise Undecodable(f"positionIdx: {row.position_idx} on side {row.side}")
        signed, entry = size * direction.sign, above_zero(entry_text, "avgPrice")
    elif row.side not in _FLAT_SIDES:
        side(row.side)
    return PositionLeg(
        position=VenuePosition(
            symbol=Symbol(name(row.symbol, "symbol")),
            quantity=signed,
            entry_price=entry,
            mark_price=positive_or_none(row.mark_price, "markPrice"),
            leg=_LEGS[row.position_idx],
        ),
        index=row.position_idx,
        updated_ns=time_ns(row.updated_time, "updatedTime") if row.updated_time else 0,
        sequence=_sequence(row.seq),
    )


def _sequence(seq: int | str) -> int:
    """Below zero for a symbol that was never traded."""
    if isinstance(seq, str) and not re.fullmatch(r"-?[0-9]{1,19}", seq, re.ASCII):
        raise Undecodable(f"seq: {seq[:60]!r} is not a whole number")
    return int(seq)


def decode_positions(body: bytes) -> Page[PositionLeg]:
    """`position/list`: asked for by symbol, also what is flat."""
    result = decode_list(body, PositionRow)
    return Page(tuple(map(leg_of, result.rows)), result.nextPageCursor or "")


# --- wallet -------------------------------------------------------------------------------------


class CoinRow(msgspec.Struct, frozen=True, rename="camel"):
    """One coin of a wallet."""

    coin: str
    wallet_balance: str


class WalletRow(msgspec.Struct, frozen=True, rename="camel"):
    """A unified account."""

    coin: list[CoinRow]
    account_type: str = "UNIFIED"


def balances_of(row: WalletRow) -> tuple[VenueBalance, ...]:
    """Each coin without unrealised profit; below zero when borrowed."""
    if row.account_type != "UNIFIED":
        raise Undecodable(f"accountType: {row.account_type[:60]!r} is not UNIFIED")
    return tuple(
        VenueBalance(
            currency=name(each.coin, "coin"),
            balance=number(each.wallet_balance, "walletBalance"),
        )
        for each in row.coin
    )


class _Protection(msgspec.Struct, frozen=True, rename="camel"):
    product: str
    dcp_status: str
    time_window: str


class _Protections(msgspec.Struct, frozen=True, rename="camel"):
    dcp_infos: list[_Protection]


def decode_protection(body: bytes) -> int | None:
    """`query-dcp-info`: the window in seconds, or None where it is not enabled."""
    for each in decode_result(body, _Protections).dcp_infos:
        if each.product == "DERIVATIVES" and each.dcp_status == "ON":
            return int(quantity(each.time_window, "timeWindow"))
    return None


def decode_wallet(body: bytes) -> tuple[VenueBalance, ...]:
    """`wallet-balance`: one account."""
    rows = decode_list(body, WalletRow).rows
    if len(rows) != 1:
        raise Undecodable(f"result.list: {len(rows)} accounts instead of one")
    return balances_of(rows[0])


__all__ = [
    "CoinRow",
    "ExecutionRow",
    "Executions",
    "ExtraFee",
    "FundingPayment",
    "OrderRow",
    "PositionLeg",
    "PositionRow",
    "WalletRow",
    "balances_of",
    "decode_ack",
    "decode_batch",
    "decode_cancel_all",
    "decode_executions",
    "decode_orders",
    "decode_positions",
    "decode_protection",
    "decode_wallet",
    "executions_of",
    "leg_of",
    "order_of",
    "settle_coin",
]
