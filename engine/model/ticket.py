"""A ticket: an order that an operator asks for, what is wrong with it, and what it would come to.

Quantity in base coin, money in account currency; `stop_loss` and `take_profit` are fractions of the
entry price, as everywhere. A ticket that does not reduce is an entry and passes the gate like any
signal; a preview of it says what the gate would say now and changes nothing. Fails: what cannot be
read is a problem by the name of its field, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from engine.model.ids import Symbol
from engine.model.reasons import Reason
from engine.model.values import ZERO, Side

_HUNDRED = Decimal(100)
_NUMBERS = ("quantity", "notional", "price", "leverage")
_FRACTIONS = ("stop_loss", "take_profit")
_SWITCHES = ("reduce_only", "override_duplicate")


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """One order as asked for: `quantity` or `notional`, at market or at the limit `price`.

    `leverage`, `stop_loss`: None takes the policy's. `override_duplicate`: send it although it is
    identical to a recent one (R-EXE-3), audited.
    """

    symbol: Symbol
    side: Side
    quantity: Decimal | None = None
    notional: Decimal | None = None
    price: Decimal | None = None
    leverage: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    reduce_only: bool = False
    override_duplicate: bool = False


class LimitRoom(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of the policy: what is used of it now, and with the order; `name` is its field."""

    name: str
    used: Decimal
    after: Decimal
    limit: Decimal

    @property
    def left(self) -> Decimal:
        """What is left of it now."""
        return max(ZERO, self.limit - self.used)


class TicketPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What a ticket comes to: rounded to the venue's filters, and every reason against it.

    `quantity_max` is what the limits leave, rounded down. `liquidation_price` is an estimate, None
    where it is not known. `position_after` is signed, once all of the order has filled.
    """

    ts_ns: int
    problems: dict[str, str] = {}
    reasons: tuple[Reason, ...] = ()
    quantity: Decimal | None = None
    price: Decimal | None = None
    mark_price: Decimal | None = None
    notional: Decimal | None = None
    leverage: Decimal | None = None
    margin: Decimal | None = None
    stop_price: Decimal | None = None
    take_profit_price: Decimal | None = None
    position_after: Decimal | None = None
    quantity_max: Decimal | None = None
    liquidation_price: Decimal | None = None
    limits: tuple[LimitRoom, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether it would be sent now."""
        return not self.problems and not self.reasons


def parse_ticket(fields: Mapping[str, object]) -> tuple[Ticket | None, dict[str, str]]:
    """Read a ticket from texts by the names of its fields, as a form or a shell has them.

    Empty texts are fields that were left out. None with the problems, by field, when something
    cannot be read.
    """
    known = {"symbol", "side", *_NUMBERS, *_FRACTIONS, *_SWITCHES}
    problems = {name: "a ticket has no such field" for name in fields if name not in known}
    texts = {name: str(value).strip() for name, value in fields.items() if value is not None}
    symbol, side = texts.get("symbol", "").upper(), texts.get("side", "").upper()
    if not symbol:
        problems["symbol"] = "which one?"
    if side not in ("BUY", "SELL"):
        problems["side"] = f"{side or 'nothing'} is neither buy nor sell"
    numbers: dict[str, Decimal] = {}
    for name in (*_NUMBERS, *_FRACTIONS):
        if text := texts.get(name, ""):
            _read_number(name, text, numbers, problems)
    if ("quantity" in texts and texts["quantity"]) == ("notional" in texts and texts["notional"]):
        problems.setdefault("quantity", "give either a quantity or a notional")
    switches = {}
    for name in _SWITCHES:
        value = fields.get(name, False)
        if not isinstance(value, bool):
            problems[name] = "must be true or false"
        else:
            switches[name] = value
    if problems:
        return None, problems
    values: dict[str, Any] = {**numbers, **switches}
    ticket = Ticket(symbol=Symbol(symbol), side=Side(side), **values)
    return ticket, own_problems(ticket)


def _read_number(
    name: str, text: str, numbers: dict[str, Decimal], problems: dict[str, str]
) -> None:
    cleaned = text.replace(" ", "").replace("\u2009", "").replace("_", "")
    is_percent = name in _FRACTIONS and cleaned.endswith("%")
    try:
        value = Decimal(cleaned.rstrip("%") if is_percent else cleaned)
    except ArithmeticError:
        problems[name] = f"{text!r} is not a number"
        return
    if not value.is_finite():
        problems[name] = f"{text!r} is not a finite number"
        return
    numbers[name] = value / _HUNDRED if is_percent else value


def own_problems(ticket: Ticket) -> dict[str, str]:
    """What is wrong with a ticket whatever the world is like, by field."""
    problems = {}
    if (ticket.quantity is None) == (ticket.notional is None):
        problems["quantity"] = "give either a quantity or a notional"
    for name in _NUMBERS:
        value: Decimal | None = getattr(ticket, name)
        if value is not None and value <= 0:
            problems[name] = "must be above zero"
    if ticket.leverage is not None and 0 < ticket.leverage < 1:
        problems["leverage"] = "must be at least 1"
    for name in _FRACTIONS:
        distance: Decimal | None = getattr(ticket, name)
        if distance is not None and not 0 < distance < 1:
            problems[name] = "must be a fraction of the price between 0 and 1, or 2 %"
    if ticket.reduce_only:
        opening = ("leverage", *_FRACTIONS)
        problems |= {
            name: "an order that only reduces opens nothing it could apply to"
            for name in opening
            if getattr(ticket, name) is not None
        }
        if ticket.override_duplicate:
            problems["override_duplicate"] = "an exit is never refused as a duplicate"
    return problems


__all__ = ["LimitRoom", "Ticket", "TicketPreview", "own_problems", "parse_ticket"]
