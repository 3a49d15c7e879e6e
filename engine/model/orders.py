"""Orders: kinds, states, the one table of allowed transitions, and the durable records of them.

Denied (by us), rejected (proved by the venue) and unresolved (nobody knows yet) are three states:
a timeout after sending is never a rejection. Units: base coin, account currency, UTC nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.ids import (
    ClientOrderId,
    ExecutionId,
    SignalId,
    Symbol,
    TraceId,
    TradeId,
    VenueOrderId,
)
from engine.model.values import ZERO, Side


class OrderKind(StrEnum):
    """How the venue executes it. STOP_MARKET and TAKE_PROFIT_MARKET rest until their trigger price
    is touched: a stop on the losing side of a position, a take-profit on the winning one.
    """

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"

    @property
    def is_conditional(self) -> bool:
        """It waits for its trigger price, and then closes at market."""
        return self in _CONDITIONAL

    def rises(self, side: Side) -> bool:
        """Whether a conditional order of this side waits for the price to rise to its trigger."""
        return (side is Side.BUY) is not (self is OrderKind.TAKE_PROFIT_MARKET)


_CONDITIONAL = frozenset({OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET})


class OrderPurpose(StrEnum):
    """Why we send it; everything but ENTRY can only reduce."""

    ENTRY = "entry"
    EXIT = "exit"
    PROTECTIVE_STOP = "protective_stop"
    TAKE_PROFIT = "take_profit"
    FORCE_CLOSE = "force_close"
    EMERGENCY_CLOSE = "emergency_close"

    @property
    def rests_with_position(self) -> bool:
        """A stop or a take-profit: it rests as long as its position does, and changes with it."""
        return self in _RESTS_WITH_POSITION


_RESTS_WITH_POSITION = frozenset({OrderPurpose.PROTECTIVE_STOP, OrderPurpose.TAKE_PROFIT})


class OrderState(StrEnum):
    """Where an order is. INTENDED is durable and not yet sent; UNRESOLVED was sent without an
    answer.
    """

    INTENDED = "intended"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    DENIED = "denied"
    UNRESOLVED = "unresolved"
    ABANDONED = "abandoned"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """No more is expected of it (a late fill may still come and is booked)."""
        return self in _FINAL

    @property
    def may_be_at_venue(self) -> bool:
        """It may be resting or filling at the venue now: counted as in flight."""
        return self in _MAYBE_LIVE


_FINAL = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.REJECTED,
        OrderState.DENIED,
        OrderState.ABANDONED,
    }
)
_MAYBE_LIVE = frozenset(
    {
        OrderState.SUBMITTED,
        OrderState.ACCEPTED,
        OrderState.PARTIALLY_FILLED,
        OrderState.UNRESOLVED,
        OrderState.LOST,
    }
)


class OrderTrigger(StrEnum):
    """What moves an order from one state to the next."""

    SENT = "sent"
    DENIED_BY_US = "denied_by_us"
    VENUE_ACCEPTED = "venue_accepted"
    VENUE_REJECTED = "venue_rejected"
    PARTIAL_FILL = "partial_fill"
    LAST_FILL = "last_fill"
    VENUE_CANCELLED = "venue_cancelled"
    TIMED_OUT = "timed_out"
    NOT_AT_VENUE = "not_at_venue"
    VENUE_FORGOT = "venue_forgot"


_S = OrderState
_T = OrderTrigger
TRANSITIONS: Mapping[tuple[OrderState, OrderTrigger], OrderState] = {
    (_S.INTENDED, _T.SENT): _S.SUBMITTED,
    (_S.INTENDED, _T.DENIED_BY_US): _S.DENIED,
    # A restart finds an intent whose sending nobody remembers: it may have left.
    (_S.INTENDED, _T.TIMED_OUT): _S.UNRESOLVED,
    (_S.INTENDED, _T.NOT_AT_VENUE): _S.ABANDONED,
    # A fill or an acceptance may be heard on the stream before our own send returns.
    (_S.INTENDED, _T.VENUE_ACCEPTED): _S.ACCEPTED,
    (_S.INTENDED, _T.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.INTENDED, _T.LAST_FILL): _S.FILLED,
    # The final check sits in the transport: its "no" comes after our word that we send.
    (_S.SUBMITTED, _T.DENIED_BY_US): _S.DENIED,
    (_S.SUBMITTED, _T.VENUE_ACCEPTED): _S.ACCEPTED,
    (_S.SUBMITTED, _T.VENUE_REJECTED): _S.REJECTED,
    (_S.SUBMITTED, _T.TIMED_OUT): _S.UNRESOLVED,  # The venue may have it; ask, never assume.
    (_S.SUBMITTED, _T.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.SUBMITTED, _T.LAST_FILL): _S.FILLED,
    (_S.SUBMITTED, _T.VENUE_CANCELLED): _S.CANCELLED,
    (_S.SUBMITTED, _T.NOT_AT_VENUE): _S.ABANDONED,
    (_S.ACCEPTED, _T.VENUE_ACCEPTED): _S.ACCEPTED,  # Heard twice: answer and stream.
    (_S.ACCEPTED, _T.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.ACCEPTED, _T.LAST_FILL): _S.FILLED,
    (_S.ACCEPTED, _T.VENUE_CANCELLED): _S.CANCELLED,
    (_S.ACCEPTED, _T.VENUE_REJECTED): _S.REJECTED,  # Bybit rejects after acknowledging.
    (_S.ACCEPTED, _T.VENUE_FORGOT): _S.LOST,
    (_S.PARTIALLY_FILLED, _T.VENUE_ACCEPTED): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _T.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _T.LAST_FILL): _S.FILLED,
    (_S.PARTIALLY_FILLED, _T.VENUE_CANCELLED): _S.CANCELLED,
    (_S.PARTIALLY_FILLED, _T.VENUE_FORGOT): _S.LOST,
    (_S.FILLED, _T.VENUE_ACCEPTED): _S.FILLED,  # The acknowledgement came after the fill.
    (_S.CANCELLED, _T.PARTIAL_FILL): _S.CANCELLED,  # Real: the fill crossed our cancel on the wire.
    (_S.CANCELLED, _T.LAST_FILL): _S.FILLED,
    (_S.CANCELLED, _T.VENUE_CANCELLED): _S.CANCELLED,
    (_S.UNRESOLVED, _T.VENUE_ACCEPTED): _S.ACCEPTED,
    (_S.UNRESOLVED, _T.VENUE_REJECTED): _S.REJECTED,
    (_S.UNRESOLVED, _T.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.UNRESOLVED, _T.LAST_FILL): _S.FILLED,
    (_S.UNRESOLVED, _T.VENUE_CANCELLED): _S.CANCELLED,
    (_S.UNRESOLVED, _T.NOT_AT_VENUE): _S.ABANDONED,
    (_S.LOST, _T.VENUE_ACCEPTED): _S.ACCEPTED,
    (_S.LOST, _T.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.LOST, _T.LAST_FILL): _S.FILLED,
    (_S.LOST, _T.VENUE_CANCELLED): _S.CANCELLED,
    (_S.LOST, _T.VENUE_REJECTED): _S.REJECTED,
    # Asked to cancel it, the venue said again and again that it has no such order.
    (_S.LOST, _T.NOT_AT_VENUE): _S.ABANDONED,
    # Money follows the venue, not our wishes: what we gave up may have been there after all, and
    # a fill is still booked.
    (_S.ABANDONED, _T.VENUE_ACCEPTED): _S.ACCEPTED,
    (_S.ABANDONED, _T.VENUE_CANCELLED): _S.CANCELLED,
    (_S.ABANDONED, _T.VENUE_REJECTED): _S.REJECTED,
    (_S.ABANDONED, _T.PARTIAL_FILL): _S.PARTIALLY_FILLED,
    (_S.ABANDONED, _T.LAST_FILL): _S.FILLED,
}


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Our own durable record of an order we mean to send; made before the first attempt, never
    changed.

    `price` is the limit price, or None for market; `trigger_price` is set where the kind is
    conditional, and nowhere else.
    `signal_id` and `trade_id` say where it came from, where there is such a thing.
    """

    client_order_id: ClientOrderId
    symbol: Symbol
    side: Side
    kind: OrderKind
    purpose: OrderPurpose
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False
    leverage: Decimal = Decimal(1)
    policy_version: int = 0
    trace: TraceId = TraceId("")
    signal_id: SignalId | None = None
    trade_id: TradeId | None = None
    # Distance of the protective stop for an entry, a fraction of the entry price.
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    strategy: str = ""
    created_ns: int = 0


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An order as we know it now; replaced whole at each transition (`msgspec.structs.replace`)."""

    intent: Intent
    state: OrderState
    venue_order_id: VenueOrderId | None = None
    filled: Decimal = ZERO
    filled_notional: Decimal = ZERO
    fees: Decimal = ZERO
    reason: str = ""
    updated_ns: int = 0
    # Opened elsewhere and adopted by us.
    external: bool = False

    @property
    def client_order_id(self) -> ClientOrderId:
        return self.intent.client_order_id

    @property
    def remaining(self) -> Decimal:
        """What may still fill; zero when final."""
        return ZERO if self.state.is_final else max(ZERO, self.intent.quantity - self.filled)


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution at the venue; `fee` is positive when we paid. Deduplicated by execution id."""

    execution_id: ExecutionId
    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId | None
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    ts_ns: int
    is_maker: bool = False


class PositionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A position of our own books; `quantity` is signed, positive when long, entry price
    volume-weighted.
    """

    symbol: Symbol
    quantity: Decimal
    entry_price: Decimal
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    trade_id: TradeId | None = None
    opened_ns: int = 0
    updated_ns: int = 0


class TradeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A position's life from flat to flat. `side` and `quantity` (its maximum) are those of the
    entry.
    """

    trade_id: TradeId
    symbol: Symbol
    side: Side
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal | None = None
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    opened_ns: int
    closed_ns: int | None = None
    strategy: str = ""
    trace: TraceId = TraceId("")


def next_state(state: OrderState, trigger: OrderTrigger) -> OrderState | None:
    """The state after `trigger`, or None when the transition is not allowed (an alarm, not a
    crash).
    """
    return TRANSITIONS.get((state, trigger))


__all__ = [
    "TRANSITIONS",
    "Fill",
    "Intent",
    "OrderKind",
    "OrderPurpose",
    "OrderRecord",
    "OrderState",
    "OrderTrigger",
    "PositionRecord",
    "TradeRecord",
    "next_state",
]
