"""The policy draft and the reset sheet's choices, without Qt."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from console.viewmodels.freshness import Engine
from console.viewmodels.policy_draft import SECTIONS, PolicyDraft, change_rows
from console.viewmodels.policy_page import PolicyPageViewModel
from console.viewmodels.reset import ResetSheetViewModel
from engine.api import PolicyVersion
from engine.model.emergency import Trip, TripSource
from engine.model.ids import TripId
from engine.model.policy import PolicyDocument, seeded, with_changes
from engine.model.snapshots import EngineSnapshot
from tests.fakes.engine_client import flat_snapshot, latched_snapshot, running_snapshot

BASE = seeded(Decimal(100_000), live=False)
MINE = "conservative"


def stored(changes: dict[str, str], *, version: int = 2) -> PolicyDocument:
    return msgspec.structs.replace(with_changes(BASE, changes), version=version, author="op2")


def draft_with(**texts: str) -> PolicyDraft:
    draft = PolicyDraft(BASE)
    for field, text in texts.items():
        draft.edit(MINE, field, text)
    return draft


def test_every_field_is_in_some_section_with_its_range() -> None:
    draft = PolicyDraft(BASE)
    rows = [row for section in SECTIONS for row in draft.rows(MINE, section, live=False)]
    assert len(rows) == 26
    assert all(row.range for row in rows)
    assert not any(row.is_changed for row in rows)


def test_a_tighter_value_is_ready_at_once() -> None:
    draft = draft_with(max_daily_loss="4 %")
    row = next(row for row in draft.rows(MINE, "Loss limits", live=False) if row.movement)
    assert (row.name, row.active, row.draft, row.movement) == (
        "max_daily_loss",
        "5 %",
        "4 %",
        "tighter",
    )
    assert not draft.is_looser()
    assert draft.refusal(running_snapshot()) == ""


def test_a_looser_value_needs_a_reason() -> None:
    draft = draft_with(max_gross_exposure="0.6")
    assert draft.is_looser()
    assert draft.refusal(running_snapshot()) == "a looser limit needs a reason"
    draft.reason = "more room for the open"
    assert draft.refusal(running_snapshot()) == ""


def test_typing_the_active_value_again_is_no_change() -> None:
    draft = draft_with(max_daily_loss="4 %")
    draft.edit(MINE, "max_daily_loss", "0.05")
    assert draft.changes == {}
    assert draft.refusal(running_snapshot()) == "no changes"


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("drawdown_hard", "60 %", "must be 0.2 % to 50 %"),
        ("max_open_positions", "2.5", "whole number"),
        ("price_collar", "wide", "not a number"),
        ("drawdown_soft", "12 %", "below drawdown_hard"),
    ],
)
def test_every_fault_is_told_at_its_field(field: str, text: str, words: str) -> None:
    draft = draft_with(**{field: text})
    rows = [row for section in SECTIONS for row in draft.rows(MINE, section, live=False)]
    faults = {row.name: row.error for row in rows if row.error}
    assert set(faults) == {field}
    assert words in faults[field]
    assert draft.refusal(running_snapshot()) == "1 field needs correcting"


def test_all_faults_are_told_together() -> None:
    draft = draft_with(drawdown_hard="60 %", price_collar="wide", max_open_positions="5000")
    assert draft.refusal(running_snapshot()) == "3 fields need correcting"


def test_while_latched_only_tightening_is_possible() -> None:
    looser, tighter = draft_with(max_daily_loss="6 %"), draft_with(max_daily_loss="4 %")
    looser.reason = "a reason"
    assert "only be tightened" in looser.refusal(latched_snapshot())
    assert tighter.refusal(latched_snapshot()) == ""


def test_the_minimum_balance_that_tripped_may_be_lowered() -> None:
    trip = Trip(id=TripId("t"), source=TripSource.MIN_BALANCE, reason="below", ts_ns=1)
    snapshot = latched_snapshot()
    tripped = msgspec.structs.replace(
        snapshot, emergency=msgspec.structs.replace(snapshot.emergency, trips=(trip,))
    )
    draft = draft_with(min_balance="40000")
    draft.reason = "the floor was too high"
    assert draft.refusal(tripped) == ""


def test_past_the_soft_limit_nothing_can_be_loosened() -> None:
    snapshot = running_snapshot()
    risk = msgspec.structs.replace(snapshot.risk, drawdown=Decimal("0.06"))
    draft = draft_with(max_daily_loss="6 %")
    draft.reason = "a reason"
    words = draft.refusal(msgspec.structs.replace(snapshot, risk=risk))
    assert "past the soft drawdown limit" in words


def test_another_editors_other_fields_are_merged() -> None:
    draft = draft_with(max_daily_loss="4 %")
    draft.rebase(stored({"price_collar": "0.01"}))
    assert draft.conflict_version is None
    assert draft.base.version == 2
    assert draft.changes == {"conservative.max_daily_loss": "0.04"}


def test_a_clash_is_shown_three_ways_and_chosen_per_field() -> None:
    draft = draft_with(max_daily_loss="4 %", price_collar="1 %")
    draft.rebase(stored({"max_daily_loss": "0.03"}))
    assert draft.conflict_version == 2
    (clash,) = draft.clashes()
    assert (clash.mine, clash.now, clash.original) == ("4 %", "3 %", "5 %")
    assert "choose per field" in draft.refusal(running_snapshot())
    draft.resolve(keep_mine=frozenset())
    assert draft.clashes() == ()
    assert draft.changes == {"conservative.price_collar": "0.01"}


def test_keeping_mine_against_theirs_counts_as_a_change_of_theirs() -> None:
    draft = draft_with(max_daily_loss="4 %")
    draft.rebase(stored({"max_daily_loss": "0.03"}))
    draft.resolve(keep_mine=frozenset({"conservative.max_daily_loss"}))
    assert draft.base.version == 2
    assert draft.is_looser(), "4 % is looser than the 3 % in force"


def test_a_diff_names_the_profile_only_when_it_is_not_the_active_one() -> None:
    after = with_changes(BASE, {"max_daily_loss": "0.04", "moderate.max_leverage": "8"})
    rows = change_rows(BASE, after)
    assert [(row.title, row.before, row.after, row.movement) for row in rows] == [
        ("Daily loss", "5 %", "4 %", "tighter"),
        ("moderate: Leverage", "10", "8", "tighter"),
    ]


def test_new_trades_and_profile_are_lines_of_the_diff() -> None:
    after = with_changes(BASE, {"allow_new_trades": "false", "profile": "aggressive"})
    words = {row.title: (row.after, row.movement) for row in change_rows(BASE, after)}
    assert words["New trades"] == ("not allowed", "tighter")
    assert words["Active profile"] == ("aggressive", "looser")


def test_the_chip_has_one_word_for_each_state_of_the_draft() -> None:
    page, snapshot = PolicyPageViewModel(), running_snapshot()

    def chip(draft: PolicyDraft, *, is_pending: bool = False) -> str:
        return page.draft_chip(draft, snapshot, is_pending=is_pending).text

    conflict = draft_with(max_daily_loss="4 %")
    conflict.rebase(stored({"max_daily_loss": "0.03"}))
    assert chip(PolicyDraft(BASE)) == "ACTIVE v1"
    assert chip(draft_with(max_daily_loss="4 %")) == "READY TO APPLY, 1 change"
    assert chip(draft_with(max_daily_loss="6 %")) == "DRAFT from v1, 1 change"
    assert chip(draft_with(max_open_positions="5000")) == "INVALID 1"
    assert chip(conflict) == "CONFLICT with v2"
    assert chip(draft_with(max_daily_loss="4 %"), is_pending=True) == "SENT, WAITING FOR THE ENGINE"
    assert chip(PolicyDraft(stored({"price_collar": "0.01"}))) == "STORED v2, ENGINE ON v1"


def test_rolling_back_is_compared_and_judged() -> None:
    page = PolicyPageViewModel()
    now = stored({"max_daily_loss": "0.03"})
    versions = (PolicyVersion(document=now, changes={}), PolicyVersion(document=BASE, changes={}))
    assert page.compare(versions, 1, now)[0].after == "5 %"
    assert page.rollback_is_looser(versions, 1, now)
    assert page.compare(versions, 2, now) == ()


# --- the reset sheet ----------------------------------------------------------------------------


def engine(snapshot: EngineSnapshot) -> Engine:
    return Engine(snapshot=snapshot, silent_s=0.0)


def reset_sheet(snapshot: EngineSnapshot) -> ResetSheetViewModel:
    return ResetSheetViewModel(judge=lambda _: snapshot.reset_conditions)


def complete(model: ResetSheetViewModel, snapshot: EngineSnapshot) -> None:
    for trip in snapshot.emergency.trips:
        model.tick("trips", trip.id, is_ticked=True)
    for name in snapshot.would_trip_again:
        model.tick("rebases", name, is_ticked=True)
    model.cause = "wrong press"
    model.reason = "I pressed the wrong thing"


def test_reset_needs_every_gesture() -> None:
    snapshot = flat_snapshot(would_trip_again=("peak",))
    model = reset_sheet(snapshot)
    state = model.present(engine(snapshot))
    assert not state.can_reset
    assert len(state.missing) == 4
    complete(model, snapshot)
    assert model.present(engine(snapshot)).can_reset
    model.tick("trips", "t-1", is_ticked=False)
    assert model.present(engine(snapshot)).missing == ("clear every cause by name",)


def test_reset_waits_for_the_engines_conditions() -> None:
    snapshot = latched_snapshot()
    model = reset_sheet(snapshot)
    complete(model, snapshot)
    state = model.present(engine(snapshot))
    assert (state.missing, state.can_reset) == ((), False)
    assert state.summary == "3 of 5 conditions met"


def test_the_request_names_trips_and_measures() -> None:
    snapshot = flat_snapshot(would_trip_again=("peak", "day"))
    model = reset_sheet(snapshot)
    complete(model, snapshot)
    request = model.request(engine(snapshot), author="op1")
    assert request.clear == ("t-1",)
    assert request.rebase == ("peak", "day")
    assert (request.cause, request.author) == ("wrong press", "op1")


def test_a_measure_that_cannot_be_rebased_must_change_first() -> None:
    snapshot = flat_snapshot(would_trip_again=("min_balance",))
    model = reset_sheet(snapshot)
    complete(model, snapshot)
    assert model.present(engine(snapshot)).missing == ("change min_balance first",)


def test_a_new_trip_while_the_sheet_is_open_must_be_cleared_too() -> None:
    snapshot = flat_snapshot()
    model = reset_sheet(snapshot)
    complete(model, snapshot)
    later = Trip(id=TripId("t-2"), source=TripSource.COMMAND_LINE, reason="panic", ts_ns=9)
    emergency = msgspec.structs.replace(
        snapshot.emergency, trips=(*snapshot.emergency.trips, later)
    )
    again = msgspec.structs.replace(snapshot, emergency=emergency)
    assert not model.present(engine(again)).can_reset
