"""The Alarms page: nothing moves under the hand, and letters act only where the focus is."""

from __future__ import annotations

from typing import Any

import msgspec
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from console.viewmodels.alarms_page import AlarmsPageState, AlarmsPageViewModel
from console.viewmodels.appearance import Tone
from console.viewmodels.freshness import Engine
from engine.model.snapshots import AlarmSnapshot, EngineSnapshot
from tests.fakes.engine_client import ALARMS, NOW_NS, running_snapshot
from tests.unit.console.conftest import Desk

SHIFT = Qt.KeyboardModifier.ShiftModifier


def alarm(key: str, *, priority: int = 2, age_s: int = 1, state: str = "new") -> AlarmSnapshot:
    return msgspec.structs.replace(
        ALARMS[0], id=key, priority=priority, ts_ns=NOW_NS - age_s * 10**9, state=state
    )


def desk_with(*alarms: AlarmSnapshot) -> EngineSnapshot:
    return msgspec.structs.replace(running_snapshot(), alarms=alarms)


def shown(
    model: AlarmsPageViewModel, *alarms: AlarmSnapshot, chosen: str = "", silent_s: float = 0.0
) -> AlarmsPageState:
    engine = Engine(snapshot=desk_with(*alarms), silent_s=silent_s)
    return model.present(engine, chosen=chosen)


def acknowledged(desk: Desk) -> list[Any]:
    return [fields["alarm"] for call, fields in desk.client.calls if call == "acknowledge_alarm"]


# --- the view-model -----------------------------------------------------------------------------


def test_the_most_urgent_come_first_and_then_the_newest() -> None:
    state = shown(
        AlarmsPageViewModel(),
        alarm("old", age_s=90),
        alarm("low", priority=3),
        alarm("new", age_s=2),
        alarm("top", priority=1, age_s=300),
    )
    assert state.keys == ("top", "new", "old", "low")
    assert state.title == "Alarms: 4 active, 4 not acknowledged"
    assert [row[2].text for row in state.rows] == ["5 min", "2 s", "90 s", "1 s"]


def test_a_new_alarm_moves_no_row_while_one_is_chosen() -> None:
    model = AlarmsPageViewModel()
    shown(model, alarm("a", age_s=9), alarm("b", age_s=20))
    more = (alarm("top", priority=1), alarm("a", age_s=9), alarm("b", age_s=20))
    assert shown(model, *more, chosen="b").keys == ("a", "b", "top")
    assert shown(model, *more).keys == ("top", "a", "b")


def test_what_has_returned_is_dim_and_can_be_acknowledged() -> None:
    state = shown(AlarmsPageViewModel(), alarm("a", state="returned"), chosen="a")
    assert (state.rows[0][0].tone, state.rows[0][0].is_dim) == (Tone.NEUTRAL, True)
    assert state.can_acknowledge


def test_an_acknowledged_one_is_not_acknowledged_again() -> None:
    state = shown(AlarmsPageViewModel(), alarm("a", state="acknowledged"), chosen="a")
    assert not state.can_acknowledge
    assert state.unseen == frozenset()


def test_a_silent_engine_is_said() -> None:
    state = shown(AlarmsPageViewModel(), alarm("a"), silent_s=3.0)
    assert "does not answer" in state.note
    assert state.rows[0][0].is_dim


# --- the page -----------------------------------------------------------------------------------


def test_a_acknowledges_the_chosen_alarm_only_with_the_list_focused(desk: Desk) -> None:
    window = desk.open(desk_with(alarm("a"), alarm("b", age_s=5)))
    window.activateWindow()
    QTest.keyClick(window, Qt.Key.Key_4, Qt.KeyboardModifier.AltModifier)
    desk.settle()
    assert window.alarms_view.isVisible()
    QTest.keyClick(window, Qt.Key.Key_A)
    desk.settle()
    assert acknowledged(desk) == []
    table = window.alarms_view.table
    table.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(table, Qt.Key.Key_A)
    desk.settle()
    assert acknowledged(desk) == ["a"]
    assert table.cells.rows[0][3].text == "acknowledged"


def test_shift_a_acknowledges_what_is_on_the_screen_and_nothing_below(desk: Desk) -> None:
    """Goal: never "all 711". Method: more alarms than the window has room for."""
    many = tuple(alarm(f"a{at:02}", age_s=at + 1) for at in range(60))
    window = desk.open(desk_with(*many))
    window.show_page("alarms")
    desk.settle()
    table = window.alarms_view.table
    table.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(table, Qt.Key.Key_A, SHIFT)
    desk.settle()
    seen = acknowledged(desk)
    assert seen == [f"a{at:02}" for at in range(len(seen))]
    assert 10 < len(seen) < 40
