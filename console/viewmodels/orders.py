"""The Orders page's tables: positions with what protects them, orders that work and that ended.

A row keeps its place while it exists, so that a click never lands on a neighbour that just moved:
new ones go to the end of the positions and of the working orders; what has ended is newest first.
What nobody knows, what is lost and what was opened elsewhere is named, never shown as ordinary.
Ages in seconds, money ``Decimal``. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from console.viewmodels.appearance import Tone
from console.viewmodels.formatting import DASH, age, duration, moment, price, quantity, signed_money
from console.viewmodels.freshness import Engine, Freshness
from console.viewmodels.positions import Cell, Column
from engine.model.snapshots import EngineSnapshot, OrderSnapshot, PositionSnapshot

__all__ = [
    "HELD_COLUMNS",
    "ORDER_COLUMNS",
    "CloseState",
    "OrdersState",
    "OrdersViewModel",
    "order_words",
]

# The last minutes before a position is closed for its age are counted down (R-EXE-9).
COUNTDOWN_S: Final = 180.0

HELD_COLUMNS: Final = (
    Column(title="Symbol", width_px=84),
    Column(title="Side", width_px=62),
    Column(title="Quantity", width_px=72, is_number=True),
    Column(title="Entry", width_px=96, is_number=True),
    Column(title="Mark", width_px=86, is_number=True),
    Column(title="P&L", width_px=76, is_number=True),
    Column(title="Stop resting", width_px=132, is_number=True),
    Column(title="Take profit", width_px=86, is_number=True),
    Column(title="Closes", width_px=88, is_number=True),
)
ORDER_COLUMNS: Final = (
    Column(title="Order", width_px=96, may_elide=True),
    Column(title="Symbol", width_px=84),
    Column(title="Side", width_px=50),
    Column(title="Kind", width_px=98),
    Column(title="Quantity", width_px=74, is_number=True),
    Column(title="Filled", width_px=70, is_number=True),
    Column(title="Price", width_px=84, is_number=True),
    Column(title="State", width_px=146),
    Column(title="Age", width_px=78, is_number=True),
)
_PURPOSES: Final[Mapping[str, str]] = {
    "entry": "entry",
    "exit": "exit",
    "protective_stop": "stop",
    "take_profit": "take profit",
    "force_close": "close by age",
    "emergency_close": "emergency",
}
_UNKNOWN: Final = frozenset({"unresolved", "lost"})
# What rests as long as its position does is not taken away by hand.
_OF_THE_POSITION: Final = frozenset({"protective_stop", "take_profit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseState:
    """What may be closed: the chosen position in words, how much of it, and whether it may."""

    symbol: str
    words: str
    all_of_it: str
    is_closing: bool
    can_close: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdersState:
    """Both tables, the chosen position and the chosen order."""

    held_title: str
    held_note: str
    held: tuple[tuple[Cell, ...], ...]
    held_keys: tuple[str, ...]
    held_empty: str
    close: CloseState
    working_title: str
    recent_title: str
    orders: tuple[tuple[Cell, ...], ...]
    order_keys: tuple[str, ...]
    orders_empty: str
    detail: str
    cancel: str
    can_cancel: bool


def order_words(order: OrderSnapshot) -> str:
    """``BUY 0.010 BTCUSDT at 59 500``."""
    at = "at market" if order.price is None else f"at {price(order.price)}"
    return f"{order.side} {quantity(order.quantity)} {order.symbol} {at}"


class OrdersViewModel:
    """Makes the page from a snapshot; remembers the order of rows."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._working: list[str] = []

    def present(
        self,
        engine: Engine,
        *,
        shows_recent: bool,
        held_chosen: str,
        order_chosen: str,
        is_closing: bool,
        is_cancelling: bool,
    ) -> OrdersState:
        """The page now; the choices are keys of rows, ``is_…`` what was sent and not answered."""
        snapshot = engine.snapshot
        positions = {str(one.symbol): one for one in snapshot.positions}
        self._held = _in_place(self._held, positions)
        working = {one.client_order_id: one for one in snapshot.orders}
        self._working = _in_place(self._working, working)
        shown = (
            list(snapshot.recent_orders)
            if shows_recent
            else [working[key] for key in self._working]
        )
        chosen = next((one for one in shown if one.client_order_id == order_chosen), None)
        no_data = engine.freshness is Freshness.NO_DATA
        total = sum((one.unrealised or Decimal(0) for one in snapshot.positions), Decimal(0))
        return OrdersState(
            held_title=f"Positions {len(positions)}",
            held_note=f"unrealised {signed_money(total)} {snapshot.currency}" if positions else "",
            held=tuple(_held_row(positions[key], engine) for key in self._held),
            held_keys=tuple(self._held),
            held_empty="NO DATA" if no_data else "No open positions",
            close=_close(positions.get(held_chosen), engine, is_pending=is_closing),
            working_title=f"Working {len(working)}",
            recent_title=f"Ended {len(snapshot.recent_orders)}",
            orders=tuple(_order_row(one, engine) for one in shown),
            order_keys=tuple(one.client_order_id for one in shown),
            orders_empty="NO DATA" if no_data else "None",
            detail=_detail(chosen, engine),
            cancel="Cancel order" if chosen is None else f"Cancel {order_words(chosen)}",
            can_cancel=chosen is not None
            and _may_cancel(chosen, snapshot)
            and not is_cancelling
            and not engine.is_silent,
        )


def _in_place(before: list[str], now: Mapping[str, object]) -> list[str]:
    kept = [key for key in before if key in now]
    return kept + [key for key in now if key not in kept]


def _held_row(position: PositionSnapshot, engine: Engine) -> tuple[Cell, ...]:
    mark_age = position.mark_age_s
    is_old = engine.is_silent or mark_age is None or mark_age > 2.0
    profit = DASH if position.unrealised is None else signed_money(position.unrealised)
    return (
        Cell(text=str(position.symbol)),
        Cell(text=position.side.upper()),
        Cell(text=quantity(position.quantity)),
        Cell(text=_short(position.entry_price, position.mark_price)),
        Cell(text=f"old {age(mark_age)}" if is_old else price(position.mark_price), is_dim=is_old),
        Cell(text=profit, is_dim=is_old),
        _stop(position),
        Cell(text=price(_take_profit(position, engine.snapshot))),
        _age_limit(position),
    )


def _short(value: Decimal, like: Decimal | None) -> str:
    """An average with one digit more than the mark has."""
    exponent = (value if like is None else like).as_tuple().exponent
    if not isinstance(exponent, int):
        return price(value)
    return price(round(value, max(0, -exponent) + 1)) if value.is_finite() else price(value)


def _stop(position: PositionSnapshot) -> Cell:
    if position.is_closing:
        return Cell(text="CLOSING")
    if position.protected is None:
        return Cell(text="UNPROTECTED", tone=Tone.HIGH)
    return Cell(text=price(position.protected))


def _take_profit(position: PositionSnapshot, snapshot: EngineSnapshot) -> Decimal | None:
    """Where the take-profit that rests for this position triggers."""
    for order in snapshot.orders:
        if order.symbol == position.symbol and order.purpose == "take_profit":
            return order.price
    return None


def _age_limit(position: PositionSnapshot) -> Cell:
    """Counted down for the last three minutes; before that only when it will be."""
    left = position.force_close_in_s
    if left is None:
        return Cell(text="no limit", is_dim=True)
    if left > COUNTDOWN_S:
        return Cell(text=f"in {duration(left)}", is_dim=True)
    whole = max(0, round(left))
    return Cell(text=f"IN {whole // 60}:{whole % 60:02d}", tone=Tone.HIGH)


def _order_row(order: OrderSnapshot, engine: Engine) -> tuple[Cell, ...]:
    kind = _PURPOSES.get(order.purpose, order.purpose)
    if order.purpose in ("entry", "exit") and order.kind == "LIMIT":
        kind = f"{kind}, limit"
    since = moment(order.updated_ns, engine.snapshot.ts_ns) if order.is_final else age(order.age_s)
    return (
        Cell(text=order.client_order_id),
        Cell(text=str(order.symbol)),
        Cell(text=order.side),
        Cell(text=kind),
        Cell(text=quantity(order.quantity)),
        Cell(text=quantity(order.filled)),
        Cell(text="market" if order.price is None else price(order.price)),
        _state(order),
        Cell(text=since, is_dim=engine.is_silent),
    )


def _state(order: OrderSnapshot) -> Cell:
    words = order.state.replace("_", " ")
    if order.state in _UNKNOWN:
        return Cell(text=words.upper(), tone=Tone.HIGH)
    if order.state == "intended":
        words = "not sent yet"
    if order.state == "partially_filled":
        words = "partly filled"
    return Cell(text=f"{words}, external" if order.external else words)


def _may_cancel(order: OrderSnapshot, snapshot: EngineSnapshot) -> bool:
    if order.is_final:
        return False
    held = any(one.symbol == order.symbol for one in snapshot.positions)
    return order.external or order.purpose not in _OF_THE_POSITION or not held


def _detail(order: OrderSnapshot | None, engine: Engine) -> str:
    """What is known of the chosen order beyond its row."""
    if order is None:
        return ""
    parts = [order.client_order_id]
    if order.average_price is not None:
        parts.append(f"filled at {_short(order.average_price, order.price)}")
    if order.state == "unresolved":
        parts.append("nobody knows yet whether the venue has it: it is being looked up")
    if order.state == "lost":
        parts.append("the venue stopped reporting it: it goes on being asked for")
    if order.external:
        parts.append("opened elsewhere and taken over")
    if order.purpose in _OF_THE_POSITION and not order.is_final:
        parts.append("goes when its position is closed")
    if order.strategy:
        parts.append("by hand" if order.strategy == "operator" else f"by {order.strategy}")
    if order.reason and order.reason != order.state:
        parts.append(order.reason)
    return " · ".join(parts)


def _close(position: PositionSnapshot | None, engine: Engine, *, is_pending: bool) -> CloseState:
    if position is None:
        return CloseState(symbol="", words="", all_of_it="", is_closing=False, can_close=False)
    busy = is_pending or position.is_closing
    return CloseState(
        symbol=str(position.symbol),
        words=f"{position.side.upper()} {quantity(position.quantity)} {position.symbol}",
        all_of_it=format(position.quantity, "f"),
        is_closing=busy,
        can_close=not busy and not engine.is_silent,
    )
