"""The Health page: opened by its key, worked by keyboard, its commands go up and its state comes
down."""

from __future__ import annotations

from typing import Any

import msgspec
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton, QWidget

from console.views.requeue_sheet import RequeueSheet
from tests.fakes.engine_client import LETTERS, down_snapshot, running_snapshot
from tests.unit.console.conftest import Desk

LEFT = Qt.MouseButton.LeftButton


def asked(desk: Desk, name: str) -> list[dict[str, Any]]:
    return [fields for call, fields in desk.client.calls if call == name]


def button(parent: QWidget, words: str) -> QPushButton:
    for found in parent.findChildren(QPushButton):
        if found.text().startswith(words) and found.isVisible():
            return found
    raise AssertionError(f"no visible button {words!r}")


def open_letters(desk: Desk) -> None:
    journal = msgspec.structs.replace(running_snapshot().journal, dead_lettered=1)
    window = desk.open(msgspec.structs.replace(running_snapshot(), journal=journal))
    window.show_page("health")
    window.health_view.show_part("events")
    desk.settle()
    desk.until(lambda: bool(window.health_view.events.letters.cells.rows))


def choose_by_keyboard(desk: Desk) -> None:
    """The first letter, as somebody without a mouse would."""
    letters = desk.window.health_view.events.letters
    letters.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(letters, Qt.Key.Key_Down)
    QTest.keyClick(letters, Qt.Key.Key_Up)
    desk.settle()
    assert letters.chosen_key == str(LETTERS[0].seq)


def test_alt_8_opens_it(desk: Desk) -> None:
    window = desk.open()
    window.activateWindow()
    QTest.keyClick(window, Qt.Key.Key_8, Qt.KeyboardModifier.AltModifier)
    assert window.health_view.isVisible()


def test_a_requeue_asks_for_its_reason_in_the_page(desk: Desk) -> None:
    open_letters(desk)
    choose_by_keyboard(desk)
    events = desk.window.health_view.events
    QTest.mouseClick(events.requeue_button, LEFT)
    desk.settle()
    sheet = desk.window.sheets.current
    assert isinstance(sheet, RequeueSheet)
    assert not button(sheet, "Requeue").isEnabled()
    QTest.keyClicks(sheet.reason_field, "the server takes larger entries now")
    assert button(sheet, "Requeue").isEnabled()
    QTest.keyClick(sheet.reason_field, Qt.Key.Key_Return)
    desk.settle()
    assert asked(desk, "requeue") == [
        {"seq": 812, "author": "operator", "reason": "the server takes larger entries now"}
    ]
    # The screen changes because the engine's list did.
    desk.until(lambda: events.letters.cells.rows[0][2].text == "sent as 9001")
    assert not events.requeue_button.isEnabled()


def test_escape_keeps_a_dead_letter_parked(desk: Desk) -> None:
    open_letters(desk)
    choose_by_keyboard(desk)
    QTest.mouseClick(desk.window.health_view.events.requeue_button, LEFT)
    desk.settle()
    sheet = desk.window.sheets.current
    assert sheet is not None
    QTest.keyClick(sheet, Qt.Key.Key_Escape)
    desk.settle()
    assert asked(desk, "requeue") == []


def test_a_stop_closes_the_question_with_its_safe_answer(desk: Desk) -> None:
    open_letters(desk)
    choose_by_keyboard(desk)
    QTest.mouseClick(desk.window.health_view.events.requeue_button, LEFT)
    desk.settle()
    desk.window.stop_button.fire("button")
    desk.settle()
    assert desk.window.sheets.current is None
    assert asked(desk, "requeue") == []


def test_the_choice_stays_with_its_letter_when_a_newer_one_comes(desk: Desk) -> None:
    """Goal: a requeue never hits a neighbour. Method: a newer letter pushes the rows down."""
    open_letters(desk)
    choose_by_keyboard(desk)
    letters = desk.window.health_view.events.letters
    newer = LETTERS[0]._replace(seq=900, event_id="e-000900")
    desk.client.letters = (newer, *LETTERS)
    journal = msgspec.structs.replace(running_snapshot().journal, dead_lettered=2)
    desk.client.show(msgspec.structs.replace(running_snapshot(), journal=journal))
    desk.settle()
    desk.until(lambda: len(letters.cells.rows) == 3)
    assert letters.chosen_key == "812"
    assert letters.currentIndex().row() == 1


def test_a_backup_is_pending_until_the_engine_answers(desk: Desk) -> None:
    window = desk.open()
    window.show_page("health")
    desk.settle()
    QTest.mouseClick(button(window.health_view.links, "Back up now"), LEFT)
    assert window.commands.is_pending("backup")
    desk.settle()
    assert asked(desk, "back_up") == [{"reason": "asked for on the Health page"}]
    assert "made and checked" in window.messages.text


def test_nothing_of_it_is_painted_while_another_page_is_shown(desk: Desk) -> None:
    """Goal: no cost for what is not seen. Method: the disk is not asked for dead letters."""
    window = desk.open(down_snapshot())
    desk.settle()
    assert window.health_view.events.letters.cells.rows == ()
