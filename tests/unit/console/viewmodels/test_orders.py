"""What the Orders page says of positions and orders, and what it lets be done with them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from console.viewmodels.appearance import Tone
from console.viewmodels.freshness import Engine
from console.viewmodels.orders import HELD_COLUMNS, ORDER_COLUMNS, OrdersState, OrdersViewModel
from engine.model.snapshots import EngineSnapshot
from tests.fakes import engine_client as fake
from tests.fakes.engine_client import ORDERS, POSITIONS, UNRESOLVED_ORDER, order

D = Decimal


def running_snapshot() -> EngineSnapshot:
    """A healthy desk but for one order that nobody knows of."""
    orders = (*ORDERS, UNRESOLVED_ORDER)
    return msgspec.structs.replace(fake.running_snapshot(), orders=orders)


def present(
    snapshot: EngineSnapshot | None = None, *, silent_s: float = 0.1, **asked: Any
) -> OrdersState:
    fields: dict[str, Any] = {
        "shows_recent": False,
        "held_chosen": "",
        "order_chosen": "",
        "is_closing": False,
        "is_cancelling": False,
        **asked,
    }
    engine = Engine(snapshot=snapshot or running_snapshot(), silent_s=silent_s)
    return OrdersViewModel().present(engine, **fields)


def with_position(**fields: Any) -> EngineSnapshot:
    changed = msgspec.structs.replace(POSITIONS[0], **fields)
    return msgspec.structs.replace(running_snapshot(), positions=(changed,))


def cell(state: OrdersState, title: str, row: int = 0) -> Any:
    at = [column.title for column in HELD_COLUMNS].index(title)
    return state.held[row][at]


def order_cell(state: OrdersState, key: str, title: str) -> Any:
    at = [column.title for column in ORDER_COLUMNS].index(title)
    return state.orders[state.order_keys.index(key)][at]


@pytest.mark.parametrize(
    ("left_s", "words", "tone"),
    [
        (None, "no limit", Tone.NEUTRAL),
        (13_000.0, "in 4 h", Tone.NEUTRAL),
        (181.0, "in 3 min", Tone.NEUTRAL),
        (180.0, "IN 3:00", Tone.HIGH),
        (141.2, "IN 2:21", Tone.HIGH),
        (9.4, "IN 0:09", Tone.HIGH),
        (-3.0, "IN 0:00", Tone.HIGH),
    ],
)
def test_the_last_three_minutes_are_counted_down(
    left_s: float | None, words: str, tone: Tone
) -> None:
    shown = cell(present(with_position(force_close_in_s=left_s)), "Closes")
    assert (shown.text, shown.tone) == (words, tone)


def test_what_protects_a_position_is_said_and_its_absence_too() -> None:
    assert cell(present(with_position()), "Stop resting").text == "59\u2009189.50"
    naked = cell(present(with_position(protected=None)), "Stop resting")
    assert (naked.text, naked.tone) == ("UNPROTECTED", Tone.HIGH)
    assert cell(present(with_position(is_closing=True)), "Stop resting").text == "CLOSING"
    assert cell(present(with_position()), "Take profit").text == "—"
    target = order(50, "BTCUSDT", "SELL", "0.042", purpose="take_profit", price=D("65000.0"))
    snapshot = msgspec.structs.replace(with_position(), orders=(target,))
    assert cell(present(snapshot), "Take profit").text == "65\u2009000.0"


def test_unresolved_lost_and_external_orders_are_named() -> None:
    lost = order(60, "BTCUSDT", "BUY", "0.010", state="lost")
    waiting = order(61, "BTCUSDT", "BUY", "0.010", state="intended")
    partly = order(62, "BTCUSDT", "BUY", "0.010", state="partially_filled")
    snapshot = msgspec.structs.replace(
        running_snapshot(), orders=(*ORDERS, UNRESOLVED_ORDER, lost, waiting, partly)
    )
    state = present(snapshot)
    for key, words, tone in (
        ("desk-g2-30", "UNRESOLVED", Tone.HIGH),
        ("desk-g2-60", "LOST", Tone.HIGH),
        ("desk-g2-9", "accepted, external", Tone.NEUTRAL),
        ("desk-g2-61", "not sent yet", Tone.NEUTRAL),
        ("desk-g2-62", "partly filled", Tone.NEUTRAL),
    ):
        shown = order_cell(state, key, "State")
        assert (shown.text, shown.tone) == (words, tone)
    assert "being looked up" in present(order_chosen="desk-g2-30").detail
    assert "opened elsewhere" in present(order_chosen="desk-g2-9").detail
    assert "by hand" in present(order_chosen="desk-g2-31").detail


def test_orders_that_ended_say_how() -> None:
    state = present(shows_recent=True, order_chosen="desk-g2-25")
    assert state.order_keys == ("desk-g2-26", "desk-g2-25")
    assert order_cell(state, "desk-g2-26", "State").text == "filled"
    assert "margin 1 000.00 is needed" in state.detail
    assert not state.can_cancel
    assert "filled at" in present(shows_recent=True, order_chosen="desk-g2-26").detail


@pytest.mark.parametrize(
    ("key", "may"),
    [
        ("desk-g2-31", True),
        ("desk-g2-28", False),  # It protects a position.
        ("desk-g2-30", True),  # Unknown: a cancel can only help.
        ("desk-g2-9", True),
        ("", False),
    ],
)
def test_what_may_be_cancelled(key: str, may: bool) -> None:
    assert present(order_chosen=key).can_cancel is may
    assert not present(order_chosen=key, is_cancelling=True).can_cancel
    assert not present(order_chosen=key, silent_s=3.0).can_cancel


def test_a_stop_without_its_position_may_be_cancelled() -> None:
    snapshot = msgspec.structs.replace(running_snapshot(), positions=())
    assert present(snapshot, order_chosen="desk-g2-28").can_cancel


def test_the_cancel_says_what_it_cancels() -> None:
    assert present(order_chosen="desk-g2-31").cancel == "Cancel BUY 0.010 BTCUSDT at 59\u2009500.0"


def test_closing_waits_for_its_answer_and_for_the_engine() -> None:
    chosen = present(held_chosen="BTCUSDT").close
    assert (chosen.words, chosen.all_of_it) == ("LONG 0.042 BTCUSDT", "0.042")
    assert chosen.can_close
    assert not present(held_chosen="BTCUSDT", is_closing=True).close.can_close
    assert not present(held_chosen="BTCUSDT", silent_s=3.0).close.can_close
    assert not present(with_position(is_closing=True), held_chosen="BTCUSDT").close.can_close
    assert not present(held_chosen="DOGEUSDT").close.can_close


def test_rows_keep_their_places() -> None:
    """A click must not land on a neighbour that just moved."""
    model = OrdersViewModel()
    asked: dict[str, Any] = {
        "shows_recent": False,
        "held_chosen": "",
        "order_chosen": "",
        "is_closing": False,
        "is_cancelling": False,
    }
    first = model.present(Engine(snapshot=running_snapshot(), silent_s=0.0), **asked)
    turned = msgspec.structs.replace(
        running_snapshot(),
        positions=tuple(reversed(POSITIONS[1:])),
        orders=(order(99, "BTCUSDT", "BUY", "0.010"), UNRESOLVED_ORDER, *reversed(ORDERS)),
    )
    second = model.present(Engine(snapshot=turned, silent_s=0.0), **asked)
    assert second.held_keys == first.held_keys[1:]
    assert second.order_keys == (*first.order_keys, "desk-g2-99")


def test_an_old_mark_is_never_shown_as_current() -> None:
    stale = present(with_position(mark_age_s=6.0))
    assert cell(stale, "Mark").text == "old 6.0 s"
    assert cell(stale, "Mark").is_dim
    assert cell(stale, "P&L").is_dim
