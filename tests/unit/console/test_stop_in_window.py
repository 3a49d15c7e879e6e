"""The stop in the real window: on the way down, always there, by keys, through popups."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QPoint, QRect, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QLineEdit,
    QWidget,
)

from console.theme import THEMES
from console.viewmodels.appearance import StopLook
from engine.model.emergency import TripSource
from tests.fakes.engine_client import flat_snapshot, latched_snapshot, running_snapshot
from tests.unit.console.conftest import SIZES, Desk

CHORD = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier


def trips(desk: Desk) -> list[TripSource]:
    return [asked["source"] for name, asked in desk.client.calls if name == "trip"]


def test_a_press_without_release_stops(desk: Desk) -> None:
    """Goal: the stop fires on the way down. Method: press, never release."""
    window = desk.open()
    QTest.mousePress(window.stop_button, Qt.MouseButton.LeftButton)
    assert trips(desk) == [TripSource.BUTTON], "in the press itself, before anything is painted"
    desk.settle()
    assert window.stop_button.face.headline == "STOP LATCHED"


def test_dragging_off_the_button_does_not_take_the_press_back(desk: Desk) -> None:
    window = desk.open()
    QTest.mousePress(window.stop_button, Qt.MouseButton.LeftButton)
    QTest.mouseMove(window, QPoint(300, 300))
    QTest.mouseRelease(window, Qt.MouseButton.LeftButton, pos=QPoint(300, 300))
    assert trips(desk) == [TripSource.BUTTON]


@pytest.mark.parametrize("button", [Qt.MouseButton.RightButton, Qt.MouseButton.MiddleButton])
def test_other_mouse_buttons_do_nothing(desk: Desk, button: Qt.MouseButton) -> None:
    window = desk.open()
    QTest.mouseClick(window.stop_button, button)
    assert trips(desk) == []


def test_a_second_press_is_counted_and_harmless(desk: Desk) -> None:
    window = desk.open()
    QTest.mouseClick(window.stop_button, Qt.MouseButton.LeftButton)
    QTest.mouseClick(window.stop_button, Qt.MouseButton.LeftButton)
    desk.settle()
    assert trips(desk) == [TripSource.BUTTON, TripSource.BUTTON]
    assert "2 presses" in window.stop_button.face.lines[-1]


def test_a_press_shows_before_the_engine_answers(desk: Desk) -> None:
    """Goal: words within the press (R11), even from an engine that has not latched yet."""
    window = desk.open()
    desk.client.trip_latches = False
    QTest.mousePress(window.stop_button, Qt.MouseButton.LeftButton)
    assert window.stop_button.face.headline == "STOP PRESSED"


def test_a_press_brings_the_overview_and_closes_a_sheet(desk: Desk) -> None:
    window = desk.open()
    window.show_page("policy")
    window.request_close()
    desk.settle()
    assert window.sheets.isVisible()
    QTest.mousePress(window.stop_button, Qt.MouseButton.LeftButton)
    desk.settle()
    assert trips(desk) == [TripSource.BUTTON]
    assert not window.sheets.isVisible()
    assert window.overview.isVisible()
    assert window.overview.stop_panel.isVisible()


@pytest.mark.parametrize(
    ("key", "modifiers"),
    [
        (Qt.Key.Key_F12, CHORD),
        (Qt.Key.Key_Pause, Qt.KeyboardModifier.ControlModifier),
    ],
)
def test_the_chords_work_while_a_text_field_has_the_focus(
    desk: Desk, key: Qt.Key, modifiers: Qt.KeyboardModifier
) -> None:
    window = desk.open()
    window.show_page("policy")
    desk.settle()
    editor = window.policy_view.fields.editor("max_daily_loss")
    assert isinstance(editor, QLineEdit)
    editor.setFocus()
    before = editor.text()
    QTest.keyClick(editor, key, modifiers)
    assert trips(desk) == [TripSource.CHORD]
    assert editor.text() == before


def test_ctrl_pause_counts_where_the_system_calls_it_cancel(desk: Desk) -> None:
    window = desk.open()
    control = Qt.KeyboardModifier.ControlModifier
    press = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Cancel, control)
    QApplication.sendEvent(window, press)
    assert trips(desk) == [TripSource.CHORD]


def test_f12_without_its_modifiers_and_auto_repeat_do_nothing(desk: Desk) -> None:
    window = desk.open()
    QTest.keyClick(window, Qt.Key.Key_F12)
    QTest.keyClick(window, Qt.Key.Key_F12, Qt.KeyboardModifier.ControlModifier)
    repeat = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_F12, CHORD, "", True, 1)
    QApplication.sendEvent(window, repeat)
    assert trips(desk) == []


def test_a_press_counts_while_a_combo_list_is_open(desk: Desk) -> None:
    """Goal: an open popup does not swallow the press. Method: press at the stop's global place."""
    window = desk.open()
    window.show_page("policy")
    window.policy_view.fields.show_section("Orders")
    desk.settle()
    combo = window.policy_view.fields.editor("allow_naked")
    assert isinstance(combo, QComboBox)
    combo.showPopup()
    popup = QApplication.activePopupWidget()
    assert popup is not None
    centre = window.stop_button.mapToGlobal(window.stop_button.rect().center())
    QTest.mousePress(popup, Qt.MouseButton.LeftButton, pos=popup.mapFromGlobal(centre))
    assert trips(desk) == [TripSource.BUTTON]
    assert QApplication.activePopupWidget() is None


@pytest.mark.allow_log("the engine did not take the stop")
def test_a_stop_the_engine_does_not_take_is_told_in_words(desk: Desk) -> None:
    window = desk.open()

    def broken(**_: object) -> None:
        raise OSError("gone")

    desk.client.trip = broken  # type: ignore[method-assign, assignment]
    QTest.mousePress(window.stop_button, Qt.MouseButton.LeftButton)
    assert "did not take the stop" in window.messages.text


def test_a_silent_engine_takes_the_live_look_from_the_stop(desk: Desk) -> None:
    """Goal: a stop that is not connected must not look live. Method: freeze the engine 2 s."""
    window = desk.open()
    desk.now_ns += 2_000_000_000
    window.pacer.refresh_now()
    looks = [window.stop_button.face.look]
    desk.client.alter(ticks=1)
    window.pacer.refresh_now()
    looks.append(window.stop_button.face.look)
    assert looks == [StopLook.NO_ANSWER, StopLook.READY]


@pytest.mark.parametrize("theme_name", sorted(THEMES))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("page", ["overview", "policy"])
@pytest.mark.parametrize("state", [running_snapshot, latched_snapshot, flat_snapshot])
def test_the_stop_is_never_covered_and_stands_alone(
    desk: Desk, theme_name: str, size: tuple[int, int], page: str, state: object
) -> None:
    """Goal: same place on every page, nothing over it, no control within 24 pixels (R03, R21)."""
    assert callable(state)
    window = desk.open(state(), size=size, theme=THEMES[theme_name])
    window.show_page(page)
    desk.settle()
    stop = window.stop_button
    area = QRect(stop.mapTo(window, QPoint(0, 0)), stop.size())
    assert area == QRect(size[0] - 24 - 232, 24, 232, 92)
    for point in (area.center(), area.topLeft() + QPoint(3, 3), area.bottomRight() - QPoint(3, 3)):
        assert window.childAt(point) is stop
    lonely = area.adjusted(-24, -24, 24, 24)
    for other in window.findChildren(QWidget):
        if isinstance(other, QAbstractButton | QLineEdit | QComboBox) and other.isVisible():
            there = QRect(other.mapTo(window, QPoint(0, 0)), other.size())
            assert not lonely.intersects(there), other.accessibleName()


def test_the_stop_stays_on_top_while_a_sheet_is_open(desk: Desk) -> None:
    window = desk.open(flat_snapshot())
    window.stop_desk.open_reset()
    desk.settle()
    assert window.sheets.isVisible()
    centre = window.stop_button.mapTo(window, window.stop_button.rect().center())
    assert window.childAt(centre) is window.stop_button
    assert QApplication.activeModalWidget() is None


def test_the_stop_takes_no_focus(desk: Desk) -> None:
    window = desk.open()
    box = window.policy_view.findChildren(QCheckBox)
    assert box, "the page has controls that take the focus"
    QTest.mouseClick(window.stop_button, Qt.MouseButton.LeftButton)
    assert not window.stop_button.hasFocus()
    assert window.stop_button.focusPolicy() == Qt.FocusPolicy.NoFocus
