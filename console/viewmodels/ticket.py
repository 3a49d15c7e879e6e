"""The ticket: what is typed, what is wrong with it by field, and what the engine says of it.

The engine judges, here are only words. A preview is of the moment it was asked for: after an edit,
and while the engine is silent, it is marked stale and the button waits. Opening risk is held,
reducing is a click (fast to stop, slow to start). Money ``Decimal``, fractions positive. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from console.viewmodels.appearance import ChipState, Tone
from console.viewmodels.formatting import DASH, money, percent_points, price, quantity
from console.viewmodels.freshness import Engine
from console.viewmodels.health_links import Fact
from engine.model.policy import Profile
from engine.model.ticket import LimitRoom, Ticket, TicketPreview, parse_ticket
from engine.model.values import ZERO

__all__ = ["TEXT_FIELDS", "TicketForm", "TicketState", "TicketViewModel"]

TEXT_FIELDS: Final = ("symbol", "amount", "price", "leverage", "stop_loss", "take_profit")
_LIMIT_WORDS: Final[Mapping[str, str]] = {
    "max_order_notional": "Order",
    "max_position_notional": "Position",
    "max_gross_exposure": "Gross exposure",
    "margin": "Margin",
    "max_open_positions": "Open positions",
    "max_orders_per_minute": "Orders a minute",
}
_COUNTS: Final = frozenset({"max_open_positions", "max_orders_per_minute"})
_LIMITS_SHOWN: Final = 4
_SEPARATOR: Final = " · "
_FIELD_WORDS: Final[Mapping[str, str]] = {
    "quantity": "Amount",
    "notional": "Amount",
    "price": "Limit price",
    "stop_loss": "Stop loss",
    "take_profit": "Take profit",
}
# Which text field holds a field of the ticket.
_HELD_IN: Final[Mapping[str, str]] = {"quantity": "amount", "notional": "amount"}


@dataclass(slots=True, kw_only=True)
class TicketForm:
    """What is typed; ``is_notional`` says in which unit the amount is."""

    texts: dict[str, str] = field(default_factory=dict)
    side: str = "BUY"
    is_notional: bool = False
    reduce_only: bool = False
    override_duplicate: bool = False

    def fields(self) -> dict[str, object]:
        """By the ticket's own names."""
        texts = {name: self.texts.get(name, "") for name in TEXT_FIELDS if name != "amount"}
        amount = self.texts.get("amount", "")
        opening = ("leverage", "stop_loss", "take_profit")
        if self.reduce_only:  # They are hidden then; what was typed comes back with the switch.
            texts |= dict.fromkeys(opening, "")
        return {
            **texts,
            "side": self.side,
            "notional" if self.is_notional else "quantity": amount,
            "reduce_only": self.reduce_only,
            "override_duplicate": self.override_duplicate and not self.reduce_only,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketState:
    """What the panel shows. ``problems`` are by text field; ``is_stale``: of an earlier moment.

    ``limits`` is empty while there are reasons: they have the figures, and need the room.
    """

    verdict: ChipState
    words: str
    facts: tuple[Fact, ...]
    limits: tuple[Fact, ...]
    problems: Mapping[str, str]
    hints: Mapping[str, str]
    button: str
    needs_hold: bool
    can_send: bool
    is_stale: bool
    opens_risk: bool


class TicketViewModel:
    """Turns form and preview into words."""

    def __init__(self) -> None:
        self.form = TicketForm()

    def ticket(self) -> Ticket | None:
        """What is typed, where it can be read and is whole."""
        ticket, problems = parse_ticket(self.form.fields())
        return None if problems else ticket

    def present(
        self,
        engine: Engine,
        *,
        profile: Profile,
        preview: TicketPreview | None,
        is_stale: bool,
        is_pending: bool,
    ) -> TicketState:
        """The panel now. ``preview`` is None while nothing whole is typed."""
        _, typed = parse_ticket(self.form.fields())
        problems = self._by_field(typed if preview is None else preview.problems)
        stale = is_stale or engine.is_silent
        sendable = preview is not None and preview.passes and not stale
        return TicketState(
            verdict=self._verdict(preview, engine, problems, stale=stale, is_pending=is_pending),
            words=self._words(preview, engine, problems),
            facts=() if preview is None else _facts(preview, self.form, stale=stale),
            limits=() if preview is None else _limits(preview, stale=stale),
            problems=problems,
            hints=_hints(profile),
            button=self._button(preview),
            needs_hold=not self.form.reduce_only,
            can_send=sendable and not is_pending,
            is_stale=stale,
            opens_risk=not self.form.reduce_only,
        )

    def _by_field(self, problems: Mapping[str, str]) -> dict[str, str]:
        """Problems of what was typed; an empty field is unfinished, not wrong."""
        found = {}
        for name, why in problems.items():
            held_in = _HELD_IN.get(name, name)
            if held_in not in TEXT_FIELDS or self.form.texts.get(held_in, "").strip():
                found[held_in] = why
        return found

    def _verdict(
        self,
        preview: TicketPreview | None,
        engine: Engine,
        problems: Mapping[str, str],
        *,
        stale: bool,
        is_pending: bool,
    ) -> ChipState:
        if is_pending:
            return ChipState(text="PENDING", tone=Tone.NEUTRAL)
        if engine.is_silent:
            return ChipState(text="ENGINE SILENT", tone=Tone.HIGH)
        if problems:
            return ChipState(
                text="NOT READABLE" if preview is None else "CANNOT BE SENT", tone=Tone.LOW
            )
        if stale and self.ticket() is not None:
            return ChipState(text="CHECKING", tone=Tone.QUIET)
        if preview is None:
            return ChipState(text="UNFINISHED", tone=Tone.QUIET)
        if preview.reasons:
            return ChipState(text=f"WOULD BE REFUSED, {len(preview.reasons)}", tone=Tone.LOW)
        return ChipState(text="WOULD BE SENT", tone=Tone.NEUTRAL)

    @staticmethod
    def _words(preview: TicketPreview | None, engine: Engine, problems: Mapping[str, str]) -> str:
        """Every problem, else every reason with its figures."""
        if engine.is_silent:
            return "The engine gives no sign: nothing here is of now, and nothing can be sent."
        if problems:
            rows = [
                f"{_FIELD_WORDS.get(name, name.capitalize())}: {why}"
                for name, why in problems.items()
            ]
            return _SEPARATOR.join(rows)
        if preview is None:
            return "Symbol and amount are what it takes."
        return _SEPARATOR.join(
            f"{reason.code.value.replace('_', ' ')}: {reason.detail}" for reason in preview.reasons
        )

    def _button(self, preview: TicketPreview | None) -> str:
        verb = "Reduce" if self.form.reduce_only else "Place"
        if preview is None or preview.quantity is None:
            return f"{verb} order"
        symbol = self.form.texts.get("symbol", "").strip().upper()
        at = "at market" if preview.price is None else f"at {price(preview.price)}"
        return f"{verb}: {self.form.side} {quantity(preview.quantity)} {symbol} {at}"


def _hints(profile: Profile) -> dict[str, str]:
    """What an empty field means."""
    stop = percent_points(profile.protective_stop, places=2).rstrip("0").rstrip(".")
    return {
        "symbol": "BTCUSDT",
        "amount": "how much",
        "price": "market",
        "leverage": f"policy {profile.max_leverage:f}",
        "stop_loss": f"policy {stop} %",
        "take_profit": "none",
    }


def _facts(preview: TicketPreview, form: TicketForm, *, stale: bool) -> tuple[Fact, ...]:
    rows: list[tuple[str, str]] = []
    if preview.quantity is not None:
        at = "market" if preview.price is None else price(preview.price)
        rows.append(("Sends", f"{form.side} {quantity(preview.quantity)} at {at}"))
    rows.append(("Mark", price(preview.mark_price)))
    if preview.notional is not None:
        margin = ""
        if preview.margin is not None and preview.leverage is not None:
            margin = f", margin {money(preview.margin)} at {preview.leverage:f}×"
        rows.append(("Notional", f"{money(preview.notional)}{margin}"))
    if preview.stop_price is not None:
        target = preview.take_profit_price
        more = "" if target is None else f", take profit {price(target)}"
        rows.append(("Stop", f"{price(preview.stop_price)}{more}"))
    if preview.position_after is not None:
        rows.append(("Position after", _signed(preview.position_after)))
    if preview.quantity_max is not None:
        rows.append(("At most now", quantity(preview.quantity_max)))
    if not form.reduce_only and preview.notional is not None:
        known = preview.liquidation_price
        rows.append(("Liquidation, est.", DASH if known is None else money(known)))
    return tuple(Fact(name=name, value=value, is_stale=stale) for name, value in rows)


def _signed(value: Decimal) -> str:
    if value == ZERO:
        return "flat"
    return f"{'LONG' if value > 0 else 'SHORT'} {quantity(abs(value))}"


def _share(room: LimitRoom) -> Decimal:
    return room.after / room.limit if room.limit > 0 else Decimal(1)


def _tightest(rooms: tuple[LimitRoom, ...]) -> list[LimitRoom]:
    """The limits that the order comes nearest to, in a fixed order of their own."""
    nearest = sorted(rooms, key=_share, reverse=True)[:_LIMITS_SHOWN]
    return [room for room in rooms if room in nearest]


def _limits(preview: TicketPreview, *, stale: bool) -> tuple[Fact, ...]:
    if preview.reasons:
        return ()
    return tuple(_limit_fact(room, stale=stale) for room in _tightest(preview.limits))


def _limit_fact(room: LimitRoom, *, stale: bool) -> Fact:
    def figure(value: Decimal) -> str:
        return format(value, "f") if room.name in _COUNTS else money(value, places=0)

    over = room.after > room.limit
    return Fact(
        name=_LIMIT_WORDS.get(room.name, room.name),
        value=f"{figure(room.after)} of {figure(room.limit)}",
        tone=Tone.LOW if over and not stale else Tone.NEUTRAL,
        is_stale=stale,
    )
