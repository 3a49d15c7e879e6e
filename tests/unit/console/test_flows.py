"""What an operator does, from the gesture to the engine and back: commands up, state down."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from console.viewmodels.reset import CAUSES
from console.views.quit_sheet import QuitSheet
from console.views.reset_sheet import ResetSheet
from console.views.start_live_sheet import StartLiveSheet
from console.widgets import HoldButton, Paragraph, TextLabel
from engine.api import HistoryPoint
from engine.model.emergency import TripSource
from engine.model.policy import with_changes
from engine.model.snapshots import EngineState, PolicyConflictSnapshot, PolicySideSnapshot
from tests.fakes.engine_client import (
    ALARMS,
    NOW_NS,
    flat_snapshot,
    latched_snapshot,
    running_snapshot,
)
from tests.unit.console.conftest import Desk

LEFT = Qt.MouseButton.LeftButton


def asked(desk: Desk, name: str) -> list[dict[str, Any]]:
    return [fields for call, fields in desk.client.calls if call == name]


def button(parent: QWidget, words: str) -> QPushButton:
    """The visible button whose text begins with these words."""
    for found in parent.findChildren(QPushButton):
        if found.text().startswith(words) and found.isVisible():
            return found
    raise AssertionError(f"no visible button {words!r}")


def held_button(parent: QWidget, words: str) -> HoldButton:
    """The visible button to click or hold whose text is these words."""
    [found] = [one for one in parent.findChildren(HoldButton) if one.text() == words]
    assert found.isVisible()
    return found


CONFLICT = PolicyConflictSnapshot(
    sides=(
        PolicySideSnapshot(node="desk1", version=2, author="alice", ts_ns=NOW_NS, reason="storm"),
        PolicySideSnapshot(node="desk2", version=3, author="bob", ts_ns=NOW_NS, reason="calm"),
    ),
    fields={"conservative.max_leverage": ("3", "8"), "allow_new_trades": ("false", "true")}
    | {f"moderate.{name}": ("1", "2") for name in ("signal_rate", "max_open_positions", "x")},
    base={"conservative.max_leverage": "5", "allow_new_trades": "true"},
    base_version=1,
)


def type_into(desk: Desk, field: str, text: str) -> None:
    """Type into a field of the policy page as a person does."""
    desk.window.policy_view.fields.show_section(_section_of(field))
    editor = desk.window.policy_view.fields.editor(field)
    assert isinstance(editor, QLineEdit)
    editor.setFocus()
    editor.selectAll()
    QTest.keyClicks(editor, text)
    desk.settle()


def _section_of(field: str) -> str:
    return "Orders" if field == "price_collar" else "Loss limits"


# --- entries ------------------------------------------------------------------------------------


def test_hold_entries_is_pending_until_the_engine_says_so(desk: Desk) -> None:
    window = desk.open()
    QTest.mouseClick(button(window.rail, "Hold entries"), LEFT)
    assert window.commands.is_pending("halt")
    assert "waiting for the engine" in window.messages.text
    desk.settle()
    assert asked(desk, "halt") == [{"reason": "held in the main window"}]
    assert window.rail.allow_button.isVisible()
    window.rail.allow_button.held.emit()
    desk.settle()
    assert asked(desk, "resume")
    assert not window.rail.allow_button.isVisible()


def test_ctrl_h_holds_only_while_running(desk: Desk) -> None:
    ready = msgspec.structs.replace(running_snapshot(), state=EngineState.READY)
    window = desk.open(ready)
    window.activateWindow()
    QTest.keyClick(window, Qt.Key.Key_H, Qt.KeyboardModifier.ControlModifier)
    desk.settle()
    assert asked(desk, "halt") == []
    desk.client.show(running_snapshot())
    desk.settle()
    QTest.keyClick(window, Qt.Key.Key_H, Qt.KeyboardModifier.ControlModifier)
    desk.settle()
    assert len(asked(desk, "halt")) == 1


def test_reduce_only_goes_on_by_a_key_and_off_by_a_hold(desk: Desk) -> None:
    window = desk.open()
    window.activateWindow()
    QTest.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    assert window.commands.is_pending("reduce_only")
    desk.settle()
    assert window.rail.unreduce_button.isVisible()
    QTest.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    desk.settle()
    window.rail.unreduce_button.held.emit()
    desk.settle()
    assert asked(desk, "reduce_only") == [{"on": True}, {"on": False}]
    assert not window.rail.unreduce_button.isVisible()


def test_what_the_governor_set_no_button_takes_off(desk: Desk) -> None:
    governed = msgspec.structs.replace(running_snapshot(), state=EngineState.REDUCE_ONLY)
    window = desk.open(governed)
    assert not window.rail.unreduce_button.isVisible()
    assert button(window.rail, "Reduce only").isEnabled()


def test_start_is_a_hold_on_its_own_row(desk: Desk) -> None:
    ready = msgspec.structs.replace(running_snapshot(), state=EngineState.READY, positions=())
    window = desk.open(ready)
    assert window.overview.start_row.isVisible()
    window.overview.start_row.start_held.emit()
    desk.settle()
    assert asked(desk, "start")
    assert not window.overview.start_row.isVisible()


def test_start_live_asks_for_the_account_by_name_and_then_for_a_hold(desk: Desk) -> None:
    ready = msgspec.structs.replace(
        running_snapshot(),
        state=EngineState.READY,
        mode="live",
        account="px-01",
        venue="binance",
        environment="testnet",
        positions=(),
    )
    window = desk.open(ready)
    QTest.mouseClick(held_button(window.overview.start_row, "START LIVE"), LEFT)
    desk.settle()
    assert asked(desk, "start") == []
    sheet = window.sheets.current
    assert isinstance(sheet, StartLiveSheet)
    words = " ".join(label.text for label in sheet.findChildren(Paragraph))
    assert "Binance, testnet" in words
    assert "px-01" in words
    for typed, may_start in (("px-0", False), ("PX-01", False), ("px-01", True)):
        sheet.name_field.setText(typed)
        assert sheet.start_button.isEnabled() is may_start
    sheet.start_button.held.emit()
    desk.settle()
    assert asked(desk, "start") == [{"reason": "held in the main window", "confirm_live": "px-01"}]


def test_a_trip_closes_the_start_live_sheet_and_starts_nothing(desk: Desk) -> None:
    ready = msgspec.structs.replace(
        running_snapshot(), state=EngineState.READY, mode="live", positions=()
    )
    window = desk.open(ready)
    QTest.mouseClick(held_button(window.overview.start_row, "START LIVE"), LEFT)
    desk.settle()
    sheet = window.sheets.current
    assert isinstance(sheet, StartLiveSheet)
    sheet.name_field.setText(ready.account)
    QTest.mouseClick(window.stop_button, LEFT)
    desk.settle()
    assert window.sheets.current is None
    assert asked(desk, "start") == []


def test_acknowledging_is_per_alarm(desk: Desk) -> None:
    window = desk.open(msgspec.structs.replace(running_snapshot(), alarms=ALARMS))
    QTest.mouseClick(button(window.overview, "Acknowledge"), LEFT)
    desk.settle()
    assert asked(desk, "acknowledge_alarm") == [{"alarm": "a1"}]


# --- the stop and its reset ---------------------------------------------------------------------


def test_pause_keeps_the_latch(desk: Desk) -> None:
    window = desk.open(latched_snapshot())
    QTest.mouseClick(button(window.overview, "Pause closing"), LEFT)
    desk.settle()
    assert asked(desk, "pause_closing") == [{"paused": True}]
    assert desk.client.now.emergency.latched
    QTest.mouseClick(button(window.overview, "Go on closing"), LEFT)
    desk.settle()
    assert asked(desk, "pause_closing")[-1] == {"paused": False}


def test_copy_details_puts_them_on_the_clipboard(desk: Desk) -> None:
    window = desk.open(latched_snapshot())
    QTest.mouseClick(button(window.overview, "Copy details"), LEFT)
    assert "XRPUSDT LONG 4900 at press" in desk.application.clipboard().text()


def test_a_reset_clears_by_name_and_starts_nothing(desk: Desk) -> None:
    """Goal: the whole reset by gestures. Method: tick, choose, type, hold; then READY."""
    window = desk.open(flat_snapshot(would_trip_again=("peak",)))
    QTest.mouseClick(button(window.overview, "Reset…"), LEFT)
    desk.settle()
    sheet = window.sheets.current
    assert isinstance(sheet, ResetSheet)
    assert not sheet.hold_button.isEnabled()
    sheet.box("trips", "t-1").click()
    sheet.box("rebases", "peak").click()
    assert not sheet.hold_button.isEnabled()
    sheet.choose_cause(CAUSES[0])
    sheet.reason_field.setText("I pressed the wrong thing")
    assert sheet.hold_button.isEnabled()
    QTest.mousePress(sheet.hold_button, LEFT)
    desk.until(lambda: bool(asked(desk, "reset")))
    desk.settle()
    request = asked(desk, "reset")[0]["request"]
    assert (request.clear, request.rebase) == (("t-1",), ("peak",))
    assert desk.client.now.state is EngineState.READY
    assert asked(desk, "start") == []
    assert window.overview.start_row.isVisible()


@pytest.mark.parametrize("size", [(1366, 700), (1280, 680)])
def test_the_window_keeps_its_size_through_stop_reset_and_start(
    desk: Desk, size: tuple[int, int]
) -> None:
    """Goal: no picture pushes the window larger, in whatever order the states come."""
    ready = msgspec.structs.replace(running_snapshot(), state=EngineState.READY, positions=())
    window = desk.open(latched_snapshot(), size=size)
    for snapshot in (running_snapshot(), latched_snapshot(), flat_snapshot(), ready):
        desk.client.show(snapshot)
        desk.settle()
        assert (window.width(), window.height()) == size


def test_the_sheet_follows_the_live_conditions(desk: Desk) -> None:
    window = desk.open(flat_snapshot())
    window.stop_desk.open_reset()
    desk.settle()
    sheet = window.sheets.current
    assert isinstance(sheet, ResetSheet)
    sheet.box("trips", "t-1").click()
    sheet.choose_cause(CAUSES[0])
    sheet.reason_field.setText("a sentence that is long enough")
    assert sheet.hold_button.isEnabled()
    conditions = latched_snapshot().reset_conditions
    desk.client.alter(reset_conditions=conditions)
    desk.settle()
    assert not sheet.hold_button.isEnabled()


def test_ctrl_shift_r_opens_the_sheet_only_when_latched(desk: Desk) -> None:
    window = desk.open()
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(window, Qt.Key.Key_R, keys)
    desk.settle()
    assert not window.sheets.isVisible()
    desk.client.show(flat_snapshot())
    desk.settle()
    QTest.keyClick(window, Qt.Key.Key_R, keys)
    desk.settle()
    assert window.sheets.isVisible()


# --- the policy ---------------------------------------------------------------------------------


def test_a_tighter_limit_is_applied_by_one_click(desk: Desk) -> None:
    window = desk.open()
    window.show_page("policy")
    desk.settle()
    type_into(desk, "max_daily_loss", "4 %")
    apply = window.policy_view.apply_button
    assert apply.isEnabled()
    assert not apply.needs_hold
    QTest.mouseClick(apply, LEFT)
    desk.settle()
    (sent,) = asked(desk, "update_policy")
    assert sent["changes"] == {"conservative.max_daily_loss": "0.04"}
    assert sent["base"] == 1
    assert desk.client.document.version == 2
    assert window.policy_desk.draft.changes == {}


def test_a_looser_limit_needs_reason_and_hold(desk: Desk) -> None:
    window = desk.open()
    window.show_page("policy")
    desk.settle()
    type_into(desk, "max_daily_loss", "6 %")
    apply = window.policy_view.apply_button
    assert (apply.isEnabled(), apply.needs_hold) == (False, True)
    window.policy_view.reason_field.setFocus()
    QTest.keyClicks(window.policy_view.reason_field, "room for the open")
    assert apply.isEnabled()
    QTest.mouseClick(apply, LEFT)
    desk.settle()
    assert asked(desk, "update_policy") == [], "a click is not a hold"
    QTest.mousePress(apply, LEFT)
    desk.until(lambda: bool(asked(desk, "update_policy")))
    assert asked(desk, "update_policy")[0]["reason"] == "room for the open"


def test_ctrl_enter_applies_what_needs_no_hold(desk: Desk) -> None:
    window = desk.open()
    window.show_page("policy")
    desk.settle()
    type_into(desk, "max_daily_loss", "4 %")
    editor = window.policy_view.fields.editor("max_daily_loss")
    QTest.keyClick(editor, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    desk.settle()
    assert desk.client.document.version == 2


def test_a_wrong_value_is_told_beside_its_field_and_cannot_be_applied(desk: Desk) -> None:
    window = desk.open()
    window.show_page("policy")
    desk.settle()
    type_into(desk, "drawdown_hard", "60 %")
    editor = window.policy_view.fields.editor("drawdown_hard")
    assert "must be 0.2 % to 50 %" in editor.accessibleDescription()
    assert editor.property("fault") is True
    assert not window.policy_view.apply_button.isEnabled()


def test_a_conflict_is_told_and_resolved_per_field(desk: Desk) -> None:
    """Goal: never last-writer-wins. Method: another editor stores v2 under an open draft."""
    window = desk.open()
    window.show_page("policy")
    desk.settle()
    type_into(desk, "max_daily_loss", "4 %")
    theirs = with_changes(desk.client.document, {"max_daily_loss": "0.03"})
    desk.client.store(theirs, author="op2", reason="overnight")
    desk.settle()
    view = window.policy_view
    assert view.conflict.isVisible()
    assert not view.apply_button.isEnabled()
    view.conflict.choose_mine("conservative.max_daily_loss")
    QTest.mouseClick(button(view.conflict, "Use these choices"), LEFT)
    desk.settle()
    assert not view.conflict.isVisible()
    assert view.apply_button.needs_hold, "4 % is looser than the 3 % now in force"


def test_a_conflict_of_the_desk_shows_both_values_and_is_resolved_by_a_person(desk: Desk) -> None:
    window = desk.open()
    window.show_page("policy")
    desk.settle()
    view = window.policy_view
    assert not view.desk_conflict.isVisible()
    policy, size = desk.client.now.policy, window.size()
    desk.client.alter(policy=msgspec.structs.replace(policy, conflict=CONFLICT))
    desk.settle()
    assert view.desk_conflict.isVisible()
    assert window.size() == size
    shown = " ".join(label.text for label in view.desk_conflict.findChildren(TextLabel))
    for words in ("desk1", "alice", "storm", "desk2", "bob", "Leverage (was 5)", "not allowed"):
        assert words in shown
    theirs = held_button(view.desk_conflict, "Use desk2's")
    assert theirs.needs_hold
    assert not theirs.isEnabled(), "loosening needs a reason"
    view.reason_edited.emit("calm again")
    desk.settle()
    assert theirs.isEnabled()
    QTest.mouseClick(theirs, LEFT)
    assert asked(desk, "resolve_policy") == [], "a click is no hold"
    keep = held_button(view.desk_conflict, "Keep the stricter")
    QTest.mouseClick(keep, LEFT)
    desk.settle()
    [sent] = asked(desk, "resolve_policy")
    assert (sent["choice"], sent["base"]) == ("stricter", 1)
    assert not view.desk_conflict.isVisible()


def test_rolling_back_makes_a_new_version_equal_to_the_old(desk: Desk) -> None:
    window = desk.open()
    looser = with_changes(desk.client.document, {"max_daily_loss": "0.07"})
    desk.client.store(looser, author="op2", reason="wide")
    window.show_page("policy")
    desk.settle()
    window.policy_view.choose_version(1)
    desk.settle()
    roll_back = window.policy_view.rollback_button
    assert roll_back.isEnabled()
    assert not roll_back.needs_hold, "back to 5 % is tighter"
    QTest.mouseClick(roll_back, LEFT)
    desk.settle()
    assert desk.client.document.version == 3
    assert desk.client.document.profiles == desk.client.versions[-1].document.profiles


def test_switching_to_a_tighter_profile_is_one_action(desk: Desk) -> None:
    window = desk.open()
    window.show_page("policy")
    desk.settle()
    QTest.mouseClick(button(window.policy_view, "Defensive"), LEFT)
    desk.settle()
    window.policy_view.activate_fired.emit()
    desk.settle()
    assert desk.client.document.profile == "defensive"


# --- pages, closing, pace -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "page"), [(Qt.Key.Key_3, "policy_view"), (Qt.Key.Key_1, "overview")]
)
def test_each_page_is_one_chord_away(desk: Desk, key: Qt.Key, page: str) -> None:
    window = desk.open()
    QTest.keyClick(window, key, Qt.KeyboardModifier.AltModifier)
    assert getattr(window, page).isVisible()


def test_f6_goes_round_the_regions(desk: Desk) -> None:
    window = desk.open()
    window.show_page("policy")
    QTest.keyClick(window, Qt.Key.Key_F6)
    first = window.focusWidget()
    QTest.keyClick(window, Qt.Key.Key_F6)
    second = window.focusWidget()
    assert window.rail.isAncestorOf(first) != window.rail.isAncestorOf(second)


def test_closing_with_positions_asks_and_stay_is_the_default(desk: Desk) -> None:
    window = desk.open()
    window.close()
    desk.settle()
    assert window.isVisible()
    sheet = window.sheets.current
    assert isinstance(sheet, QuitSheet)
    QTest.keyClick(sheet, Qt.Key.Key_Escape)
    desk.settle()
    assert window.isVisible()
    assert asked(desk, "trip") == []


def test_stop_and_close_waits_for_flat_before_it_goes(desk: Desk) -> None:
    window = desk.open()
    gone: list[bool] = []
    window.closed.connect(lambda: gone.append(True))
    window.request_close()
    desk.settle()
    sheet = window.sheets.current
    assert sheet is not None
    QTest.mouseClick(button(sheet, "Stop and close"), LEFT)
    desk.settle()
    assert asked(desk, "trip")[0]["source"] is TripSource.QUIT
    assert gone == []
    desk.client.show(flat_snapshot())
    desk.settle()
    assert gone == [True]


def test_closing_with_nothing_open_just_closes(desk: Desk) -> None:
    window = desk.open(msgspec.structs.replace(running_snapshot(), positions=(), orders=()))
    gone: list[bool] = []
    window.closed.connect(lambda: gone.append(True))
    window.close()
    assert gone == [True]


def test_the_pace_is_slow_enough_to_read(desk: Desk) -> None:
    """Goal: text and tables ≤ 4 Hz, charts ≤ 10 Hz (R34). Method: count paints over a second."""
    window = desk.open()
    before = window.pacer.painted()
    began = desk.loop.time()
    desk.until(lambda: desk.loop.time() - began > 1.0)
    painted = {name: count - before[name] for name, count in window.pacer.painted().items()}
    assert 2 <= painted["text"] <= 5
    assert 2 <= painted["tables"] <= 5
    assert 2 <= painted["drawdown"] <= 6


def test_a_safety_event_bypasses_the_pacer(desk: Desk, qtbot: QtBot) -> None:
    window = desk.open()
    window.pacer.stop()  # So that no frame can have painted it.
    desk.client.show(latched_snapshot())
    before = window.pacer.painted()["drawdown"]
    for _ in range(5):
        for handler in desk.client.handlers:
            handler(None)  # type: ignore[arg-type]  # the window looks at the snapshot, not at the event
    assert not window.overview.stop_panel.isVisible()  # Never within the event itself.
    qtbot.waitUntil(window.overview.stop_panel.isVisible, timeout=2_000)
    assert window.pacer.painted()["drawdown"] == before + 1  # A burst is one picture.


@pytest.mark.allow_log("the engine gives no snapshot")
def test_an_engine_without_an_answer_is_shown_as_silent(desk: Desk) -> None:
    window = desk.open()

    def broken() -> None:
        raise OSError("gone")

    desk.client.snapshot = broken  # type: ignore[method-assign, assignment]
    desk.now_ns += 3_000_000_000
    window.pacer.refresh_now()
    assert window.stop_button.face.headline == "STOP: NO ANSWER"


def test_the_chart_begins_with_the_recorded_history(desk: Desk) -> None:
    snapshot = running_snapshot()
    window = desk.open(snapshot)
    desk.client.history = tuple(
        HistoryPoint(
            ts_ns=NOW_NS - at * 1_000_000_000,
            equity=snapshot.risk.equity,
            peak=snapshot.risk.peak,
            drawdown=snapshot.risk.drawdown_soft / 2,
        )
        for at in range(60, 0, -1)
    )
    window.tasks.spawn("history", window._load_history())
    desk.settle()
    xs_s, values = window.trends.drawdown.view()
    assert len(xs_s) == 61
    assert values[0] == -2.5


def test_theme_switching_reaches_what_is_painted(desk: Desk) -> None:
    window = desk.open()
    dark = window.grab().toImage().pixelColor(700, 690).lightness()
    window.switch_theme()
    light = window.grab().toImage().pixelColor(700, 690).lightness()
    assert light > dark + 80


def test_painting_loses_no_reference_to_none(desk: Desk) -> None:
    """Canary of PySide6 6.12 under Python 3.11: each Qt call then loses a reference to None."""
    window = desk.open()
    before = sys.getrefcount(None)
    for at in range(60):
        desk.client.alter(ticks=at)
        window.pacer.refresh_now()
        window.grab()
    assert sys.getrefcount(None) > before - 200
