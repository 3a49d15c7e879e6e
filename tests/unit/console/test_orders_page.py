"""The Orders page: opened by its key, worked by mouse and keyboard; commands go up, state comes
down."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from console.widgets.hold_button import HOLD_MS
from engine.model.emergency import TripSource
from engine.model.reasons import Reason, ReasonCode
from engine.model.ticket import Ticket
from engine.model.values import Side
from tests.fakes.engine_client import running_snapshot
from tests.unit.console.conftest import Desk

LEFT = Qt.MouseButton.LeftButton


def asked(desk: Desk, name: str) -> list[dict[str, Any]]:
    return [fields for call, fields in desk.client.calls if call == name]


def open_page(desk: Desk) -> Any:
    window = desk.open()
    window.show_page("orders")
    desk.settle()
    return window.orders_view


def type_ticket(desk: Desk, **texts: str) -> Any:
    """Fill the form as somebody at the keyboard would, and wait for the preview."""
    ticket = desk.window.orders_view.ticket
    for name, text in texts.items():
        edit = ticket.edit(name)
        edit.setFocus()
        edit.selectAll()
        QTest.keyClicks(edit, text)
    desk.until(lambda: ticket.verdict.text not in ("CHECKING", "UNFINISHED"))
    return ticket


def test_alt_2_opens_it(desk: Desk) -> None:
    window = desk.open()
    window.activateWindow()
    QTest.keyClick(window, Qt.Key.Key_2, Qt.KeyboardModifier.AltModifier)
    assert window.orders_view.isVisible()


def test_an_entry_is_held_to_be_placed_and_pending_until_the_engine_answers(desk: Desk) -> None:
    page = open_page(desk)
    ticket = type_ticket(desk, symbol="btcusdt", amount="0.010", price="59900")
    assert ticket.verdict.text == "WOULD BE SENT"
    desk.client.orders_answer.clear()
    # A click is not enough: it adds risk.
    QTest.mouseClick(ticket.send_button, LEFT)
    desk.settle()
    assert asked(desk, "submit") == []
    assert page.orders.cells.rowCount() == 4
    QTest.mousePress(ticket.send_button, LEFT)
    desk.until(lambda: ticket.verdict.text == "PENDING", limit_s=HOLD_MS / 1000 + 5)
    QTest.mouseRelease(ticket.send_button, LEFT)
    assert not ticket.send_button.isEnabled()
    assert page.orders.cells.rowCount() == 4  # The screen waits for the engine.
    desk.client.orders_answer.set()
    desk.until(lambda: page.orders.cells.rowCount() == 5)
    (sent,) = asked(desk, "submit")
    assert sent["ticket"] == Ticket(
        symbol="BTCUSDT",  # type: ignore[arg-type]
        side=Side.BUY,
        quantity=Decimal("0.010"),
        price=Decimal(59_900),
    )
    assert sent["author"] == "operator"


def test_a_ticket_is_filled_in_and_placed_by_keyboard_alone(desk: Desk) -> None:
    open_page(desk)
    desk.window.activateWindow()
    ticket = desk.window.orders_view.ticket
    ticket.edit("symbol").setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClicks(QApplication.focusWidget(), "BTCUSDT")
    reached = []
    for _ in range(16):
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
        focus = QApplication.focusWidget()
        reached.append(focus)
        if focus is ticket.side_button("BUY"):  # Arrows choose within the pair.
            QTest.keyClick(focus, Qt.Key.Key_Right)
        if focus is ticket.edit("amount"):
            QTest.keyClicks(focus, "0.010")
            desk.until(lambda: ticket.verdict.text == "WOULD BE SENT")
        if focus is ticket.send_button:
            break
    for name in ("amount", "price", "leverage", "stop_loss", "take_profit"):
        assert ticket.edit(name) in reached
    assert {ticket.reduce_only_box, ticket.override_box, ticket.send_button} <= set(reached)
    QTest.keyPress(ticket.send_button, Qt.Key.Key_Space)
    desk.until(lambda: bool(asked(desk, "submit")), limit_s=HOLD_MS / 1000 + 5)
    QTest.keyRelease(ticket.send_button, Qt.Key.Key_Space)
    assert asked(desk, "submit")[0]["ticket"].side is Side.SELL


def test_reduce_only_is_a_click(desk: Desk) -> None:
    open_page(desk)
    ticket = desk.window.orders_view.ticket
    QTest.mouseClick(ticket.side_button("SELL"), LEFT)
    ticket.reduce_only_box.setChecked(True)
    type_ticket(desk, symbol="BTCUSDT", amount="0.010")
    assert not ticket.edit("leverage").isEnabled()
    QTest.mouseClick(ticket.send_button, LEFT)
    desk.until(lambda: bool(asked(desk, "submit")))
    (sent,) = asked(desk, "submit")
    assert (sent["ticket"].reduce_only, sent["ticket"].side) == (True, Side.SELL)


def test_every_reason_is_read_before_anything_is_sent(desk: Desk) -> None:
    open_page(desk)
    desk.client.against = (
        Reason(code=ReasonCode.DUPLICATE_ORDER, detail="the same as desk-g2-31, 3.2 s ago"),
    )
    ticket = type_ticket(desk, symbol="BTCUSDT", amount="0.010")
    assert ticket.verdict.text == "WOULD BE REFUSED, 1"
    assert "the same as desk-g2-31" in ticket.words.text
    assert not ticket.send_button.isEnabled()
    # The gate thinks better of it, and the next painting says so without a key.
    desk.client.against = ()
    desk.until(lambda: ticket.verdict.text == "WOULD BE SENT")
    assert ticket.send_button.isEnabled()


def test_an_edit_marks_the_preview_stale_at_once(desk: Desk) -> None:
    open_page(desk)
    ticket = type_ticket(desk, symbol="BTCUSDT", amount="0.010")
    previews = len(asked(desk, "preview"))
    QTest.keyClicks(ticket.edit("price"), "59900")
    assert ticket.verdict.text == "CHECKING"
    assert not ticket.send_button.isEnabled()
    assert len(asked(desk, "preview")) == previews  # Not with every key.
    desk.until(lambda: ticket.verdict.text == "WOULD BE SENT")


def test_the_override_is_for_one_order(desk: Desk) -> None:
    open_page(desk)
    ticket = desk.window.orders_view.ticket
    ticket.override_box.setChecked(True)
    type_ticket(desk, symbol="BTCUSDT", amount="0.010")
    QTest.mousePress(ticket.send_button, LEFT)
    desk.until(lambda: bool(asked(desk, "submit")), limit_s=HOLD_MS / 1000 + 5)
    QTest.mouseRelease(ticket.send_button, LEFT)
    desk.until(lambda: not ticket.override_box.isChecked())
    assert asked(desk, "submit")[0]["ticket"].override_duplicate


def test_a_position_is_closed_in_two_steps_whole(desk: Desk) -> None:
    page = open_page(desk)
    page.held.choose("BTCUSDT")
    QTest.mouseClick(page.open_close_button, LEFT)
    assert page.is_asking
    assert page.close_line.amount.text() == "0.042"
    assert asked(desk, "close_position") == []
    QTest.mouseClick(page.close_line.close_button, LEFT)
    desk.until(lambda: "BTCUSDT" not in page.held._keys)
    (sent,) = asked(desk, "close_position")
    assert (sent["symbol"], sent["quantity"]) == ("BTCUSDT", None)
    assert not page.is_asking


def test_a_part_is_closed_by_keyboard_and_escape_keeps_it(desk: Desk) -> None:
    page = open_page(desk)
    desk.window.activateWindow()
    page.held.setFocus(Qt.FocusReason.TabFocusReason)
    assert page.held.chosen_key == "BTCUSDT"
    desk.settle()
    page.open_close_button.setFocus()
    QTest.keyClick(page.open_close_button, Qt.Key.Key_Space)
    assert QApplication.focusWidget() is page.close_line.amount
    QTest.keyClick(page.close_line.amount, Qt.Key.Key_Escape)
    assert not page.is_asking
    QTest.keyClick(page.open_close_button, Qt.Key.Key_Space)
    QTest.keyClicks(page.close_line.amount, "0.012")  # The whole was selected.
    QTest.keyClick(page.close_line.amount, Qt.Key.Key_Return)
    desk.until(lambda: bool(asked(desk, "close_position")))
    assert asked(desk, "close_position")[0]["quantity"] == Decimal("0.012")


def test_the_closing_line_goes_when_the_choice_or_the_position_does(desk: Desk) -> None:
    page = open_page(desk)
    page.held.choose("BTCUSDT")
    QTest.mouseClick(page.open_close_button, LEFT)
    page.held.choose("ETHUSDT")
    assert not page.is_asking
    QTest.mouseClick(page.open_close_button, LEFT)
    assert page.is_asking
    desk.client.alter(positions=())
    desk.until(lambda: not page.is_asking)


def test_nonsense_to_close_is_said_and_not_sent(desk: Desk) -> None:
    page = open_page(desk)
    page.held.choose("BTCUSDT")
    QTest.mouseClick(page.open_close_button, LEFT)
    page.close_line.amount.setText("half")
    QTest.mouseClick(page.close_line.close_button, LEFT)
    desk.settle()
    assert asked(desk, "close_position") == []
    assert "not a number" in desk.window.messages.text


def test_the_chosen_order_is_cancelled_and_stops_are_not(desk: Desk) -> None:
    page = open_page(desk)
    page.orders.choose("desk-g2-28")
    assert not page.cancel_button.isEnabled()
    page.orders.choose("desk-g2-31")
    assert page.cancel_button.text().startswith("Cancel BUY 0.010 BTCUSDT")
    QTest.mouseClick(page.cancel_button, LEFT)
    desk.until(lambda: "desk-g2-31" not in page.orders._keys)
    assert asked(desk, "cancel_order")[0]["order"] == "desk-g2-31"


def test_what_has_ended_is_behind_its_own_button(desk: Desk) -> None:
    page = open_page(desk)
    page.show_recent(recent=True)
    desk.settle()
    assert page.orders._keys == ("desk-g2-26", "desk-g2-25")
    assert not page.cancel_button.isEnabled()


def test_a_trip_leaves_no_question_open_and_shows_the_stop(desk: Desk) -> None:
    page = open_page(desk)
    page.held.choose("BTCUSDT")
    QTest.mouseClick(page.open_close_button, LEFT)
    QTest.mousePress(desk.window.stop_button, LEFT)
    assert desk.window.overview.isVisible()
    assert asked(desk, "trip")[0]["source"] is TripSource.BUTTON
    QTest.mouseRelease(desk.window.stop_button, LEFT)


def test_without_a_sign_of_the_engine_nothing_can_be_sent(desk: Desk) -> None:
    page = open_page(desk)
    ticket = type_ticket(desk, symbol="BTCUSDT", amount="0.010")
    page.held.choose("BTCUSDT")
    page.orders.choose("desk-g2-31")
    desk.now_ns += 3_000_000_000
    desk.settle()
    assert ticket.verdict.text == "ENGINE SILENT"
    assert not ticket.send_button.isEnabled()
    assert not page.open_close_button.isEnabled()
    assert not page.cancel_button.isEnabled()
    desk.client.show(running_snapshot())
    desk.settle()
    assert ticket.verdict.text == "WOULD BE SENT"


def test_a_list_of_symbols_does_not_change_what_is_typed(desk: Desk) -> None:
    open_page(desk)
    ticket = type_ticket(desk, symbol="DOGE", amount="1")
    desk.client.alter(symbols=("BTCUSDT", "DOGEUSDT"))
    desk.settle()
    assert ticket.edit("symbol").text() == "DOGE"
