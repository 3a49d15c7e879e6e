"""The hold button: 1.5 s, by mouse or key; letting go early changes nothing."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from console.theme import LiveTheme
from console.widgets import HoldButton

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def button(qtbot: QtBot, theme: LiveTheme) -> HoldButton:
    button = HoldButton("RESET", theme=theme)
    qtbot.addWidget(button)
    button.show()
    return button


def test_holding_to_the_end_fires_once(qtbot: QtBot, button: HoldButton) -> None:
    fired: list[int] = []
    button.held.connect(lambda: fired.append(1))
    QTest.mousePress(button, LEFT)
    qtbot.waitUntil(lambda: button.progress > 0.2, timeout=2_000)
    assert fired == []
    qtbot.waitUntil(lambda: bool(fired), timeout=3_000)
    QTest.mouseRelease(button, LEFT)
    assert fired == [1]
    assert button.progress == 0


def test_letting_go_early_changes_nothing(qtbot: QtBot, button: HoldButton) -> None:
    fired: list[int] = []
    button.held.connect(lambda: fired.append(1))
    QTest.mousePress(button, LEFT)
    qtbot.waitUntil(lambda: button.progress > 0.1, timeout=2_000)
    QTest.mouseRelease(button, LEFT)
    assert button.progress == 0
    qtbot.wait(1_700)
    assert fired == []


def test_leaving_the_button_ends_the_hold(qtbot: QtBot, button: HoldButton) -> None:
    QTest.mousePress(button, LEFT)
    QTest.mouseMove(button, QPoint(button.width() + 40, 5))
    qtbot.waitUntil(lambda: button.progress == 0, timeout=1_000)


def test_a_held_key_fires_too(qtbot: QtBot, button: HoldButton) -> None:
    fired: list[int] = []
    button.held.connect(lambda: fired.append(1))
    QTest.keyPress(button, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: bool(fired), timeout=3_000)
    QTest.keyRelease(button, Qt.Key.Key_Space)
    assert fired == [1]


def repeat(button: HoldButton) -> None:
    """A repeated key as X has it: a release and a press that are not marked as repeats."""
    QTest.keyRelease(button, Qt.Key.Key_Space)
    QTest.keyPress(button, Qt.Key.Key_Space)


def test_a_key_that_repeats_is_held_and_fires_once(qtbot: QtBot, button: HoldButton) -> None:
    fired: list[int] = []
    button.held.connect(lambda: fired.append(1))
    QTest.keyPress(button, Qt.Key.Key_Space)

    def repeats_until_fired() -> bool:
        repeat(button)
        return bool(fired)

    qtbot.waitUntil(repeats_until_fired, timeout=4_000)
    repeat(button)
    assert button.progress == 0
    QTest.keyRelease(button, Qt.Key.Key_Space)
    qtbot.wait(200)
    assert fired == [1]


def test_letting_a_key_go_early_changes_nothing(qtbot: QtBot, button: HoldButton) -> None:
    fired: list[int] = []
    button.held.connect(lambda: fired.append(1))
    QTest.keyPress(button, Qt.Key.Key_Space)
    repeat(button)
    QTest.keyRelease(button, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: button.progress == 0, timeout=1_000)
    qtbot.wait(1_700)
    assert fired == []


def test_a_key_clicks_once_one_that_needs_no_hold(qtbot: QtBot, button: HoldButton) -> None:
    fired: list[int] = []
    button.held.connect(lambda: fired.append(1))
    button.set_needs_hold(False)
    QTest.keyPress(button, Qt.Key.Key_Space)
    for _ in range(5):
        repeat(button)
    assert fired == []
    QTest.keyRelease(button, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: fired == [1], timeout=1_000)
    qtbot.wait(200)
    assert fired == [1]


def test_one_that_needs_no_hold_fires_on_a_click(button: HoldButton) -> None:
    fired: list[int] = []
    button.held.connect(lambda: fired.append(1))
    button.set_needs_hold(False)
    QTest.mouseClick(button, LEFT)
    assert fired == [1]


def test_a_disabled_one_cannot_be_held(qtbot: QtBot, button: HoldButton) -> None:
    button.setEnabled(False)
    QTest.mousePress(button, LEFT)
    assert button.progress == 0
