"""A ticket fitted to the venue and the policy: what would be sent, or the field that is wrong.

Pure: the instrument, the mark and the profile come in as values. Rounding: a quantity goes down to
the venue's step, so that nothing grows; a price to the nearest tick.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.model.ids import ClientOrderId, TraceId
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.policy import Profile
from engine.model.ticket import Ticket, own_problems
from engine.model.values import ONE, ZERO, Side, plain
from engine.risk import entry_leverage

# What a ticket's order says where a signal's names its strategy.
OPERATOR = "operator"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a ticket comes to. `reference` is the limit price, else the mark, None without one."""

    problems: dict[str, str] = {}
    quantity: Decimal = ZERO
    price: Decimal | None = None
    reference: Decimal | None = None
    leverage: Decimal = ONE
    stop_loss: Decimal = ZERO
    take_profit: Decimal | None = None
    instrument: Instrument | None = None

    def at(self, distance: Decimal | None, side: Side, *, is_stop: bool) -> Decimal | None:
        """The price at this distance from the entry: a stop lies on the losing side."""
        if distance is None or self.reference is None or self.instrument is None:
            return None
        against = (side is Side.BUY) == is_stop
        moved = self.reference * (ONE - distance if against else ONE + distance)
        return self.instrument.round_price(moved)


def shape_of(
    ticket: Ticket, *, instrument: Instrument | None, mark: Decimal | None, profile: Profile
) -> Shape:
    """Fit a ticket; `instrument` None is a contract that the venue does not list."""
    problems = own_problems(ticket)
    if instrument is None:
        problems.setdefault("symbol", f"the venue does not list {ticket.symbol}")
        return Shape(problems=problems)
    price = None if ticket.price is None else instrument.round_price(ticket.price)
    if price == ZERO:
        problems.setdefault("price", f"is less than a tick of {plain(instrument.tick_size)}")
    reference = price or mark
    quantity = _quantity(ticket, instrument, reference, problems)
    stop_loss = ticket.stop_loss or profile.protective_stop
    if stop_loss > profile.protective_stop and not ticket.reduce_only:
        widest = plain(profile.protective_stop)
        problems.setdefault("stop_loss", f"wider than the policy's protective_stop of {widest}")
    return Shape(
        problems=problems,
        quantity=quantity,
        price=price,
        reference=reference,
        leverage=ticket.leverage or entry_leverage(profile, instrument),
        stop_loss=stop_loss,
        take_profit=ticket.take_profit,
        instrument=instrument,
    )


def _quantity(
    ticket: Ticket,
    instrument: Instrument,
    reference: Decimal | None,
    problems: dict[str, str],
) -> Decimal:
    """Rounded down; zero, with the problem, where nothing is left or it cannot be worked out."""
    if problems.keys() & {"quantity", "notional"}:
        return ZERO
    name, wanted = "quantity", ticket.quantity
    if ticket.notional is not None:
        name = "notional"
        if reference is None:
            problems[name] = f"{ticket.symbol} has no price yet; give a quantity"
            return ZERO
        wanted = ticket.notional / reference
    quantity = instrument.round_quantity(wanted or ZERO)
    if quantity == ZERO:
        problems[name] = f"is less than one step of {plain(instrument.quantity_step)}"
    return quantity


def entry_intent(
    ticket: Ticket, shape: Shape, *, client_order_id: ClientOrderId, trace: TraceId, now_ns: int
) -> Intent:
    """The entry that a fitted ticket asks for."""
    return Intent(
        client_order_id=client_order_id,
        symbol=ticket.symbol,
        side=ticket.side,
        kind=OrderKind.MARKET if shape.price is None else OrderKind.LIMIT,
        purpose=OrderPurpose.ENTRY,
        quantity=shape.quantity,
        price=shape.price,
        leverage=shape.leverage,
        stop_loss=shape.stop_loss,
        take_profit=shape.take_profit,
        strategy=OPERATOR,
        trace=trace,
        created_ns=now_ns,
    )


def exit_intent(
    ticket: Ticket, shape: Shape, *, client_order_id: ClientOrderId, now_ns: int
) -> Intent:
    """The reduce-only order that a fitted ticket asks for, for a preview of it."""
    return Intent(
        client_order_id=client_order_id,
        symbol=ticket.symbol,
        side=ticket.side,
        kind=OrderKind.MARKET if shape.price is None else OrderKind.LIMIT,
        purpose=OrderPurpose.EXIT,
        quantity=shape.quantity,
        price=shape.price,
        reduce_only=True,
        created_ns=now_ns,
    )


__all__ = ["OPERATOR", "Shape", "entry_intent", "exit_intent", "shape_of"]
