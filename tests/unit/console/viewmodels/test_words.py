"""Numbers, ages, identity, alarms, links, entries, positions and the stop's words, without Qt."""

from __future__ import annotations

import sys
from decimal import Decimal

import msgspec
import pytest

from console.viewmodels import formatting
from console.viewmodels.alarms import AlarmsViewModel
from console.viewmodels.appearance import Glyph, StopLook, Tone
from console.viewmodels.entries import EntriesViewModel
from console.viewmodels.freshness import Engine, Freshness, FreshnessTracker, freshness_of
from console.viewmodels.identity import IdentityViewModel, StopFaceViewModel, desk_words
from console.viewmodels.positions import PositionsViewModel
from console.viewmodels.quitting import QuitViewModel
from console.viewmodels.stop_progress import StopProgressViewModel, details_text
from engine.model.emergency import Condition, EmergencyState
from engine.model.reasons import Reason, ReasonCode
from engine.model.snapshots import EngineSnapshot, EngineState
from tests.fakes.engine_client import (
    ALARMS,
    POSITIONS,
    flat_snapshot,
    latched_snapshot,
    running_snapshot,
)


def seen(snapshot: EngineSnapshot, *, silent_s: float = 0.0) -> Engine:
    return Engine(snapshot=snapshot, silent_s=silent_s)


def altered(**fields: object) -> Engine:
    return seen(msgspec.structs.replace(running_snapshot(), **fields))


# --- formatting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12345.6", "12\u2009345.60"),
        ("-41.75", "\u221241.75"),
        ("-0.001", "0.00"),
        ("999", "999.00"),
        ("1234567", "1\u2009234\u2009567.00"),
    ],
)
def test_money_has_thin_spaces_and_a_true_minus(value: str, text: str) -> None:
    assert formatting.money(Decimal(value)) == text


def test_profit_carries_its_sign_and_zero_carries_none() -> None:
    assert formatting.signed_money(Decimal("118.2")) == "+118.20"
    assert formatting.signed_money(Decimal("-41.75")) == "\u221241.75"
    assert formatting.signed_money(Decimal("0.001")) == "0.00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\u2014"),
        (0.24, "0.2 s"),
        (9.94, "9.9 s"),
        (14, "14 s"),
        (200, "3 min"),
        (7_300, "2 h"),
    ],
)
def test_ages_have_one_unit(seconds: float | None, text: str) -> None:
    assert formatting.age(seconds) == text


def test_fractions_become_per_cent() -> None:
    assert formatting.percent(Decimal("0.0082")) == "0.82 %"
    assert formatting.percent(0.7134, places=0) == "71 %"


# --- freshness ----------------------------------------------------------------------------------


def test_a_value_grows_old_and_then_is_no_data() -> None:
    ages = (0.5, 2.5, 11.0, None)
    expected = [Freshness.PLAIN, Freshness.OLD, Freshness.NO_DATA, Freshness.NO_DATA]
    assert [freshness_of(age) for age in ages] == expected


def test_a_frozen_engine_is_noticed_by_its_snapshot_standing_still() -> None:
    """Goal: the same snapshot for ever is silence, whatever its own time stamp says."""
    tracker = FreshnessTracker()
    snapshot = running_snapshot()
    first = tracker.see(snapshot, now_ns=0)
    later = tracker.see(snapshot, now_ns=2_000_000_000)
    nothing = tracker.see(None, now_ns=3_000_000_000)
    moved = tracker.see(msgspec.structs.replace(snapshot, monotonic_ns=9), now_ns=3_100_000_000)
    assert first is not None
    assert later is not None
    assert nothing is not None
    assert moved is not None
    assert [first.is_silent, later.is_silent, nothing.is_silent, moved.is_silent] == [
        False,
        True,
        True,
        False,
    ]
    assert later.freshness is Freshness.OLD


def test_silence_adds_to_the_age_of_the_market() -> None:
    assert seen(running_snapshot(), silent_s=12).freshness is Freshness.NO_DATA


# --- identity -----------------------------------------------------------------------------------


def test_line_a_names_mode_state_policy_account_and_age() -> None:
    state = IdentityViewModel().present(seen(running_snapshot()))
    assert (state.mode.text, state.engine.text) == ("PAPER", "RUNNING")
    assert state.policy.startswith("Policy v1 · ")
    assert state.account == "Account PX-01"
    assert state.clock == "14:32:07 UTC"
    assert state.data_age == "data 0.2 s old"


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [(latched_snapshot(), "STOP LATCHED – UNKNOWN"), (flat_snapshot(), "STOP LATCHED – FLAT")],
)
def test_the_latch_is_said_with_what_is_not_flat(snapshot: EngineSnapshot, words: str) -> None:
    assert IdentityViewModel().present(seen(snapshot)).engine.text == words


def test_a_silent_engine_says_nothing_else() -> None:
    chip = IdentityViewModel().present(seen(running_snapshot(), silent_s=4)).engine
    assert (chip.text, chip.tone) == ("ENGINE SILENT 4 s", Tone.CRITICAL)


@pytest.mark.parametrize("state", EngineState)
def test_every_state_has_a_word(state: EngineState) -> None:
    assert IdentityViewModel().present(altered(state=state)).engine.text


# --- the stop's face ----------------------------------------------------------------------------


def test_the_face_says_what_a_press_does_and_to_which_account() -> None:
    face = StopFaceViewModel().present(seen(running_snapshot()))
    assert face.look is StopLook.READY
    assert face.lines == (
        "Cancels all orders · closes all positions",
        "PX-01 PAPER · Ctrl+Shift+F12",
    )


def test_dry_run_says_that_it_touches_nothing() -> None:
    face = StopFaceViewModel().present(altered(mode="dry_run"))
    assert face.lines[0] == "DRY RUN: touches nothing at the venue"
    engine = altered(mode="dry_run", venue="binance")
    assert desk_words(engine).startswith("DRY RUN: touches nothing at the venue · binance · ")
    assert IdentityViewModel().present(engine).mode.text == "DRY RUN"
    assert "DRY RUN" not in desk_words(seen(running_snapshot()))


def test_a_press_is_said_until_the_engine_reports_the_latch() -> None:
    model = StopFaceViewModel()
    model.note_press()
    assert model.present(seen(running_snapshot())).headline == "STOP PRESSED"
    assert model.present(seen(latched_snapshot())).headline == "STOP LATCHED"
    assert model.present(seen(running_snapshot())).headline == "EMERGENCY STOP"


def test_no_engine_is_not_a_live_stop() -> None:
    assert StopFaceViewModel().present(None).look is StopLook.NO_ANSWER


# --- alarms, links, entries ---------------------------------------------------------------------


def test_counters_are_quiet_at_zero_and_keep_their_letter() -> None:
    line = AlarmsViewModel().line(altered(alarms=ALARMS))
    assert [chip.text for chip in line.counters] == ["P1  0", "P2  1", "P3  1"]
    assert [chip.tone for chip in line.counters] == [Tone.QUIET, Tone.HIGH, Tone.LOW]
    assert line.headline.startswith("Redis does not answer")


def test_an_acknowledged_alarm_is_no_headline() -> None:
    line = AlarmsViewModel().line(altered(alarms=ALARMS[1:]))
    assert (line.headline, line.tone) == ("No new alarms", Tone.QUIET)


def test_a_shut_gate_is_said_when_no_alarm_is() -> None:
    reason = Reason(code=ReasonCode.REDIS_DOWN, detail="no answer for 3.1 s")
    line = AlarmsViewModel().line(altered(gate=(reason,)))
    assert line.headline == "Entries held – redis down: no answer for 3.1 s"


def test_the_first_out_leads_while_latched() -> None:
    model, engine = AlarmsViewModel(), seen(latched_snapshot())
    assert model.line(engine).headline.startswith("First-out: Emergency stop pressed")
    assert model.strip(engine)[0].text.startswith("First-out · ")


def test_the_strip_says_how_many_more_there_are() -> None:
    alarms = tuple(msgspec.structs.replace(ALARMS[0], id=f"a{at}") for at in range(5))
    model, engine = AlarmsViewModel(), altered(alarms=alarms)
    assert len(model.strip(engine)) + model.hidden_count(engine) == 5


def test_holding_goes_on_by_a_press_and_off_by_a_hold() -> None:
    model = EntriesViewModel()
    running = model.present(altered(), is_pending=False)
    halted = model.present(altered(state=EngineState.HALTED), is_pending=False)
    waiting = model.present(altered(), is_pending=True)
    assert (running.words, running.can_hold, running.offers_allow) == ("allowed", True, False)
    assert (halted.words, halted.can_hold, halted.can_allow) == ("held by you", False, True)
    assert (waiting.words, waiting.can_hold) == ("sent, waiting", False)


def test_start_is_offered_only_when_ready_and_lists_what_is_missing() -> None:
    model = EntriesViewModel()
    unmet = Condition(condition="Redis up", met=False, why="down for 9 s")
    assert model.start(altered(), is_pending=False) is None
    ready = model.start(altered(state=EngineState.READY), is_pending=False)
    blocked = model.start(
        altered(state=EngineState.READY, start_conditions=(unmet,)), is_pending=False
    )
    assert ready is not None
    assert ready.can_start
    assert blocked is not None
    assert (blocked.can_start, blocked.unmet) == (False, (unmet,))


# --- positions and the stop's progress ----------------------------------------------------------


def test_rows_keep_their_place_when_the_engine_reorders_them() -> None:
    model = PositionsViewModel()
    before = model.present(seen(running_snapshot()))
    after = model.present(altered(positions=tuple(reversed(POSITIONS))))
    assert [row[0].text for row in after.rows] == [row[0].text for row in before.rows]
    assert before.title == "Positions 4 · Orders 4"


def test_profit_and_loss_is_neutral_and_a_naked_position_is_not() -> None:
    naked = msgspec.structs.replace(POSITIONS[1], protected=None)
    row = PositionsViewModel().present(altered(positions=(naked,))).rows[0]
    assert (row[5].text, row[5].tone) == ("\u22127.14", Tone.NEUTRAL)
    assert (row[7].text, row[7].tone) == ("UNPROTECTED", Tone.HIGH)


def test_an_old_mark_says_so() -> None:
    old = msgspec.structs.replace(POSITIONS[0], mark_age_s=4.0)
    gone = msgspec.structs.replace(POSITIONS[1], mark_age_s=40.0)
    rows = PositionsViewModel().present(altered(positions=(old, gone))).rows
    assert (rows[0][4].text, rows[0][4].is_dim) == ("old 4.0 s", True)
    assert rows[1][4].text == "NO DATA"


def test_the_last_minutes_before_a_forced_close_count_down() -> None:
    closing = msgspec.structs.replace(POSITIONS[0], force_close_in_s=95.0)
    row = PositionsViewModel().present(altered(positions=(closing,))).rows[0]
    assert row[7].text == "CLOSES IN 95 s"


def test_the_stop_has_four_stages_and_unknown_is_a_state() -> None:
    state = StopProgressViewModel().present(seen(latched_snapshot()))
    assert state is not None
    assert [chip.text for chip in state.stages] == [
        "1 BLOCK new orders  done  4 ms",
        "2 CANCEL orders  done  8 of 8  0.31 s",
        "3 CLOSE positions  3 of 4",
        "4 VERIFY with the venue  waiting",
    ]
    assert state.stages[0].glyph is Glyph.CHECK
    stuck = state.rows[3]
    assert stuck[3].text == "?"
    assert stuck[4].text == "UNKNOWN (no answer) – next try in 2 s"
    assert stuck[4].tone is Tone.CRITICAL
    assert stuck[7].text == "STOP 0.5047 resting"
    assert state.rows[0][4].is_done


def test_pausing_keeps_the_latch_and_offers_to_go_on() -> None:
    snapshot = latched_snapshot()
    paused = msgspec.structs.replace(
        snapshot, emergency=msgspec.structs.replace(snapshot.emergency, paused=True)
    )
    state = StopProgressViewModel().present(seen(paused))
    assert state is not None
    assert (state.is_paused, state.pause_text) == (True, "Go on closing")
    assert "latch kept" in state.title


def test_nothing_is_left_to_pause_when_flat() -> None:
    state = StopProgressViewModel().present(seen(flat_snapshot()))
    assert state is not None
    assert (state.title, state.pause_enabled) == ("Stopped and flat", False)


def test_the_details_for_the_desk_name_every_open_quantity() -> None:
    text = details_text(seen(latched_snapshot()))
    assert "XRPUSDT LONG 4900 at press, unknown left" in text
    assert "Account PX-01" in text


def test_closing_the_window_asks_only_when_something_is_open() -> None:
    model = QuitViewModel()
    question = model.question(seen(running_snapshot()))
    assert question is not None
    assert question.offers_stop
    assert model.question(altered(positions=())) is not None  # Orders rest.
    assert model.question(altered(positions=(), orders=())) is None
    latched = model.question(seen(latched_snapshot()))
    assert latched is not None
    assert not latched.offers_stop


def test_incomplete_is_said() -> None:
    snapshot = latched_snapshot()
    emergency = msgspec.structs.replace(snapshot.emergency, state=EmergencyState.INCOMPLETE)
    state = StopProgressViewModel().present(
        seen(msgspec.structs.replace(snapshot, emergency=emergency))
    )
    assert state is not None
    assert state.title == "Stop incomplete"


def test_view_models_load_without_qt() -> None:
    """Goal: tested without a display. Method: a fresh interpreter that may not import PySide6."""
    import subprocess

    code = (
        "import sys; sys.modules['PySide6'] = None\n"
        "import console.viewmodels.alarms, console.viewmodels.policy_page\n"
        "import console.viewmodels.reset, console.viewmodels.trends\n"
        "import console.viewmodels.indicators, console.viewmodels.chart_frames\n"
        "import console.viewmodels.links, console.viewmodels.buffer\n"
        "import console.viewmodels.health_links, console.viewmodels.health_events\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
