"""Orders, executions, conditional orders and events of a simulated venue, in no venue's words.

`Order` and `Conditional` change while they live; an event carries a copy as it was. Times are UTC
nanoseconds, money and quantities `Decimal`, ids integers that are beyond a float's exact range, as
the venues' are.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.ids import Symbol
from engine.model.values import ZERO, Side


class Kind(StrEnum):
    """What an order is, or what a conditional one becomes when it triggers."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"


class TimeInForce(StrEnum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    POST_ONLY = "POST_ONLY"
    GTD = "GTD"


class Leg(StrEnum):
    """Which position of a symbol: BOTH in one-way mode, LONG or SHORT in hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"

    def closes(self, side: Side) -> bool:
        """Whether an order of this side on this leg can only reduce it (hedge mode)."""
        return (self is Leg.LONG and side is Side.SELL) or (self is Leg.SHORT and side is Side.BUY)


class Status(StrEnum):
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"

    @property
    def is_open(self) -> bool:
        return self in (Status.NEW, Status.PARTIALLY_FILLED)


class Expiry(StrEnum):
    """Why the venue itself ended an order."""

    NONE = "none"
    SELF_TRADE = "self_trade"
    IMMEDIATE_REST = "immediate_rest"
    LIQUIDATION = "liquidation"
    WOULD_REVERSE = "would_reverse"
    THIN_BOOK = "thin_book"
    OUT_OF_DATE = "out_of_date"
    NOT_WHOLE = "not_whole"
    WOULD_TAKE = "would_take"


class SelfTrade(StrEnum):
    """Which side ends when an order would meet one's own."""

    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"


class OrderRequest(msgspec.Struct, kw_only=True, frozen=True):
    """An order as it is asked for, read but not yet checked."""

    symbol: Symbol
    side: Side
    kind: Kind
    quantity: Decimal
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    leg: Leg = Leg.BOTH
    client_id: str = ""
    reduce_only: bool = False
    close_position: bool = False
    self_trade: SelfTrade = SelfTrade.EXPIRE_MAKER
    good_till_ns: int = 0
    # Set by the venue only: its own closing orders, and the one a conditional order became.
    is_liquidation: bool = False
    conditional_id: int = 0


class Order(msgspec.Struct, kw_only=True):
    """An order the venue has taken."""

    order_id: int
    client_id: str
    symbol: Symbol
    side: Side
    kind: Kind
    quantity: Decimal
    price: Decimal | None
    time_in_force: TimeInForce
    leg: Leg
    reduce_only: bool
    close_position: bool
    self_trade: SelfTrade
    good_till_ns: int
    conditional_id: int
    is_liquidation: bool
    created_ns: int
    updated_ns: int
    status: Status = Status.NEW
    filled: Decimal = ZERO
    filled_cost: Decimal = ZERO
    fees: Decimal = ZERO
    expiry: Expiry = Expiry.NONE
    amendments: int = 0

    @property
    def left(self) -> Decimal:
        return self.quantity - self.filled

    @property
    def average_price(self) -> Decimal:
        return self.filled_cost / self.filled if self.filled else ZERO


class Execution(msgspec.Struct, kw_only=True, frozen=True):
    """One fill of one order."""

    execution_id: int
    order_id: int
    client_id: str
    symbol: Symbol
    side: Side
    leg: Leg
    quantity: Decimal
    price: Decimal
    fee: Decimal
    realised: Decimal
    closed: Decimal
    is_maker: bool
    is_liquidation: bool
    ts_ns: int


class TriggerKind(StrEnum):
    """A stop triggers when the price goes against its side's trade, a take-profit when with it."""

    STOP = "STOP"
    TAKE_PROFIT = "TAKE_PROFIT"
    TRAILING = "TRAILING"


class PriceKind(StrEnum):
    LAST = "LAST"
    MARK = "MARK"


class ConditionalStatus(StrEnum):
    NEW = "NEW"
    TRIGGERING = "TRIGGERING"
    TRIGGERED = "TRIGGERED"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


class ConditionalRequest(msgspec.Struct, kw_only=True, frozen=True):
    """A conditional order as it is asked for."""

    symbol: Symbol
    side: Side
    trigger: TriggerKind
    kind: Kind
    quantity: Decimal
    trigger_price: Decimal | None
    # The price has to rise to the trigger (True) or to fall to it; None: as side and trigger say.
    rises: bool | None = None
    price: Decimal | None = None
    activation_price: Decimal | None = None
    callback_ratio: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    leg: Leg = Leg.BOTH
    client_id: str = ""
    reduce_only: bool = False
    close_position: bool = False
    watches: PriceKind = PriceKind.LAST
    price_protect: bool = False
    self_trade: SelfTrade = SelfTrade.EXPIRE_MAKER


class Conditional(msgspec.Struct, kw_only=True):
    """A conditional order the venue keeps."""

    conditional_id: int
    client_id: str
    request: ConditionalRequest
    rises: bool
    created_ns: int
    updated_ns: int
    status: ConditionalStatus = ConditionalStatus.NEW
    # Trailing: whether it follows, the best price since, and the trigger that makes.
    is_active: bool = True
    extreme: Decimal | None = None
    trigger_price: Decimal | None = None
    order_id: int = 0
    actual_price: Decimal = ZERO
    actual_quantity: Decimal = ZERO
    triggered_ns: int = 0
    reason: str = ""


class IncomeKind(StrEnum):
    REALIZED_PNL = "REALIZED_PNL"
    COMMISSION = "COMMISSION"
    FUNDING_FEE = "FUNDING_FEE"
    TRANSFER = "TRANSFER"


class Income(msgspec.Struct, kw_only=True, frozen=True):
    """One movement of the balance, under its name."""

    income_id: int
    kind: IncomeKind
    symbol: str
    amount: Decimal
    ts_ns: int
    execution_id: int = 0
    # Of funding: the signed quantity that was held, on which leg, and the mark it was paid at.
    quantity: Decimal = ZERO
    leg: Leg = Leg.BOTH
    price: Decimal = ZERO


# --- events -------------------------------------------------------------------------------------


class What(StrEnum):
    """What happened to an order."""

    NEW = "NEW"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    TRADE = "TRADE"
    AMENDED = "AMENDED"


class OrderChanged(msgspec.Struct, kw_only=True, frozen=True):
    order: Order
    what: What
    ts_ns: int
    execution: Execution | None = None


class ConditionalChanged(msgspec.Struct, kw_only=True, frozen=True):
    conditional: Conditional
    ts_ns: int


class AccountChanged(msgspec.Struct, kw_only=True, frozen=True):
    """Balance or positions; `why` is ORDER, FUNDING_FEE, MARGIN_TYPE_CHANGE or DEPOSIT."""

    why: str
    positions: tuple[tuple[Symbol, Leg], ...]
    balance_change: Decimal
    ts_ns: int


class LeverageChanged(msgspec.Struct, kw_only=True, frozen=True):
    symbol: Symbol
    leverage: int
    ts_ns: int


class MarketTraded(msgspec.Struct, kw_only=True, frozen=True):
    """A public trade; `is_buyer_maker` when a seller took."""

    symbol: Symbol
    trade_id: int
    price: Decimal
    quantity: Decimal
    is_buyer_maker: bool
    ts_ns: int


class BookChanged(msgspec.Struct, kw_only=True, frozen=True):
    """Levels as they are now; a quantity of zero took the level away."""

    symbol: Symbol
    first_id: int
    last_id: int
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    ts_ns: int


class MarkChanged(msgspec.Struct, kw_only=True, frozen=True):
    symbol: Symbol
    ts_ns: int


Event = (
    OrderChanged
    | ConditionalChanged
    | AccountChanged
    | LeverageChanged
    | MarketTraded
    | BookChanged
    | MarkChanged
)

__all__ = [
    "AccountChanged",
    "BookChanged",
    "Conditional",
    "ConditionalChanged",
    "ConditionalRequest",
    "ConditionalStatus",
    "Event",
    "Execution",
    "Expiry",
    "Income",
    "IncomeKind",
    "Kind",
    "Leg",
    "LeverageChanged",
    "MarkChanged",
    "MarketTraded",
    "Order",
    "OrderChanged",
    "OrderRequest",
    "PriceKind",
    "SelfTrade",
    "Status",
    "TimeInForce",
    "TriggerKind",
    "What",
]
