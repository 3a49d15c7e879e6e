"""What the ticket's panel says: by field, by reason, by figure, and when it may be sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from console.viewmodels.appearance import Tone
from console.viewmodels.freshness import Engine
from console.viewmodels.ticket import TicketState, TicketViewModel
from engine.model.policy import seeded
from engine.model.reasons import Reason, ReasonCode
from engine.model.ticket import TicketPreview
from engine.model.values import Side
from tests.fakes.engine_client import INITIAL, preview_of, running_snapshot

PROFILE = seeded(INITIAL, live=False).active
BUY = {"symbol": "btcusdt", "amount": "0.010"}


def typed(texts: dict[str, str], **switches: Any) -> TicketViewModel:
    model = TicketViewModel()
    model.form.texts.update(texts)
    for name, value in switches.items():
        setattr(model.form, name, value)
    return model


def shown(
    model: TicketViewModel,
    *,
    silent_s: float = 0.0,
    is_stale: bool = False,
    is_pending: bool = False,
    reasons: tuple[Reason, ...] = (),
    preview: TicketPreview | None = None,
) -> TicketState:
    ticket = model.ticket()
    if preview is None and ticket is not None:
        preview = preview_of(ticket, reasons=reasons)
    return model.present(
        Engine(snapshot=running_snapshot(), silent_s=silent_s),
        profile=PROFILE,
        preview=preview,
        is_stale=is_stale,
        is_pending=is_pending,
    )


def test_an_empty_ticket_is_unfinished_and_nothing_is_wrong_with_it() -> None:
    state = shown(typed({}))
    assert state.verdict.text == "UNFINISHED"
    assert state.problems == {}
    assert not state.can_send
    assert state.hints["leverage"] == f"policy {PROFILE.max_leverage}"
    assert state.hints["stop_loss"] == "policy 3 %"


def test_what_is_typed_becomes_the_ticket() -> None:
    model = typed(
        {**BUY, "price": "59 900", "stop_loss": "2 %", "take_profit": "0.05", "leverage": "3"},
        side="SELL",
        override_duplicate=True,
    )
    ticket = model.ticket()
    assert ticket is not None
    assert (ticket.symbol, ticket.side) == ("BTCUSDT", Side.SELL)
    assert (ticket.price, ticket.leverage) == (Decimal(59_900), Decimal(3))
    assert (ticket.stop_loss, ticket.take_profit) == (Decimal("0.02"), Decimal("0.05"))
    assert ticket.override_duplicate
    model.form.is_notional = True
    again = model.ticket()
    assert again is not None
    assert (again.quantity, again.notional) == (None, Decimal("0.010"))


def test_reduce_only_leaves_out_what_opens() -> None:
    model = typed(
        {**BUY, "stop_loss": "2 %", "leverage": "3"}, reduce_only=True, override_duplicate=True
    )
    ticket = model.ticket()
    assert ticket is not None
    assert (ticket.stop_loss, ticket.leverage, ticket.override_duplicate) == (None, None, False)
    state = shown(model)
    assert state.button.startswith("Reduce: ")
    assert not state.needs_hold
    assert not state.opens_risk


@pytest.mark.parametrize(
    ("field", "text", "why"),
    [
        ("amount", "much", "not a number"),
        ("amount", "-1", "above zero"),
        ("price", "0", "above zero"),
        ("leverage", "0.5", "at least 1"),
        ("stop_loss", "120 %", "between 0 and 1"),
        ("take_profit", "x%", "not a number"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(field: str, text: str, why: str) -> None:
    state = shown(typed({**BUY, field: text}))
    assert why in state.problems[field]
    assert why in state.words
    assert state.verdict.text == "NOT READABLE"
    assert not state.can_send


def test_every_reason_is_given_with_its_figures() -> None:
    reasons = (
        Reason(code=ReasonCode.MAX_ORDER_NOTIONAL, detail="12345.00, at most 10000.00"),
        Reason(code=ReasonCode.HALTED, detail="entries are held"),
    )
    state = shown(typed(BUY), reasons=reasons)
    assert state.verdict.text == "WOULD BE REFUSED, 2"
    assert "max order notional: 12345.00, at most 10000.00" in state.words
    assert "halted: entries are held" in state.words
    assert state.limits == ()
    assert not state.can_send


def test_a_preview_that_passes_may_be_sent_by_a_hold() -> None:
    state = shown(typed({**BUY, "price": "59900"}))
    assert state.verdict.text == "WOULD BE SENT"
    assert state.button == "Place: BUY 0.010 BTCUSDT at 59\u2009900"
    assert state.can_send
    assert state.needs_hold
    figures = {fact.name: fact.value for fact in state.facts}
    assert figures["Sends"] == "BUY 0.010 at 59\u2009900"
    assert figures["Notional"] == "599.00, margin 119.80 at 5×"
    assert figures["Position after"] == "LONG 0.052"
    assert figures["Liquidation, est."] == "—"
    assert len(state.limits) == 4
    assert {fact.name for fact in state.limits} >= {"Open positions", "Position"}


def test_what_is_of_an_earlier_moment_is_marked_and_cannot_be_sent() -> None:
    for state in (shown(typed(BUY), is_stale=True), shown(typed(BUY), silent_s=3.0)):
        assert state.is_stale
        assert all(fact.is_stale for fact in (*state.facts, *state.limits))
        assert not state.can_send
    assert shown(typed(BUY), is_stale=True).verdict.text == "CHECKING"
    silent = shown(typed(BUY), silent_s=3.0)
    assert (silent.verdict.text, silent.verdict.tone) == ("ENGINE SILENT", Tone.HIGH)


def test_while_it_is_pending_nothing_is_sent_again() -> None:
    state = shown(typed(BUY), is_pending=True)
    assert state.verdict.text == "PENDING"
    assert not state.can_send


def test_a_problem_that_only_the_engine_sees_is_at_its_field_too() -> None:
    preview = TicketPreview(ts_ns=0, problems={"notional": "is less than one step of 0.001"})
    state = shown(typed(BUY, is_notional=True), preview=preview)
    assert state.problems == {"amount": "is less than one step of 0.001"}
    assert state.verdict.text == "CANNOT BE SENT"
