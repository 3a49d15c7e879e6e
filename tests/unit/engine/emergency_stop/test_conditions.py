"""The lists of a reset and of a start: each condition alone makes the difference."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from engine.emergency_stop import (
    FlatProof,
    ResetFacts,
    StartFacts,
    clearing_conditions,
    reset_conditions,
    start_conditions,
    unmet,
)
from engine.model.emergency import ResetRequest, Trip, TripSource
from engine.model.ids import Symbol, TripId

TRIP = Trip(id=TripId("x-1"), source=TripSource.BUTTON, reason="operator", ts_ns=1)
FLAT = FlatProof(first_ended_ns=1, second_began_ns=2)
DUST = replace(FLAT, residual=((Symbol("BTCUSDT"), Decimal("-0.0003")),))
GOOD = ResetFacts(
    trips=(TRIP,),
    proof=FLAT,
    positions_open=0,
    orders_open=0,
    links_up_s={"order link": 61.0, "data link": 61.0, "engine": 61.0},
    queue_utilisation=0.1,
    since_last_drop_s=None,
)
ASKED = ResetRequest(cause="drill", reason="all is well", clear=(TRIP.id,))


def names(facts: ResetFacts, request: ResetRequest | None = ASKED) -> list[str]:
    return [condition.condition for condition in unmet(reset_conditions(facts, request))]


def test_all_is_well() -> None:
    assert names(GOOD) == []


@pytest.mark.parametrize(
    ("facts", "missing", "word"),
    [
        (replace(GOOD, proof=None), ["positions_zero", "orders_zero"], "twice"),
        (
            replace(GOOD, proof=None, positions_open=2, orders_open=3),
            ["positions_zero", "orders_zero"],
            "2 positions",
        ),
        (replace(GOOD, proof=DUST), ["positions_zero"], "BTCUSDT 0.0003"),
        (
            replace(GOOD, books_open=(Symbol("ETHUSDT"),)),
            ["positions_zero"],
            "our books still show",
        ),
        (replace(GOOD, would_trip_again=("peak",)), ["measures"], "re-base by name: peak"),
        (replace(GOOD, would_trip_again=("min_balance",)), ["measures"], "change first"),
        (
            replace(GOOD, links_up_s={"order link": 12.0, "data link": None}),
            ["links_up"],
            "order link up for 12 of 60 s, data link is down",
        ),
        (replace(GOOD, queue_utilisation=0.5), ["queue_calm"], "50 % full"),
        (replace(GOOD, since_last_drop_s=10.0), ["queue_calm"], "10 s ago"),
        (replace(GOOD, alarms_unacknowledged=("stop_incomplete",)), ["alarms_acknowledged"], "P1"),
        (replace(GOOD, database_why="disk full"), ["database"], "disk full"),
        (replace(GOOD, latch_why="not written"), ["latch_file"], "not written"),
    ],
)
def test_each_condition_alone_stands_in_the_way(
    facts: ResetFacts, missing: list[str], word: str
) -> None:
    assert names(facts) == missing
    assert word in unmet(reset_conditions(facts, ASKED))[0].why


def test_every_trip_has_to_be_named() -> None:
    other = Trip(id=TripId("x-2"), source=TripSource.DRAWDOWN, reason="10 %", ts_ns=2)
    two = replace(GOOD, trips=(TRIP, other))
    assert names(two) == ["trips_named"]
    assert "x-2 (drawdown)" in unmet(reset_conditions(two, ASKED))[0].why
    both = ResetRequest(cause="drill", reason="well", clear=(TRIP.id, other.id))
    assert names(two, both) == []


def test_residual_and_measures_are_accepted_by_name_only() -> None:
    facts = replace(GOOD, proof=DUST, would_trip_again=("peak", "streak"))
    asked = ResetRequest(
        cause="drill",
        reason="well",
        clear=(TRIP.id,),
        rebase=("peak", "streak"),
        accept_residual=(Symbol("BTCUSDT"),),
    )
    assert names(facts, asked) == []
    assert names(
        GOOD, ResetRequest(cause="d", reason="w", clear=(TRIP.id,), rebase=("equity",))
    ) == ["measures"]


def test_without_a_request_what_a_person_gives_is_missing() -> None:
    assert names(GOOD, None) == ["trips_named", "cause"]
    assert names(GOOD, ResetRequest(cause=" ", reason="", clear=(TRIP.id,))) == ["cause"]


def test_start_names_everything_that_is_missing() -> None:
    assert unmet(start_conditions(StartFacts(latched=False, market_age_s=0.1))) == ()
    facts = StartFacts(
        latched=True,
        trips=(TRIP,),
        ready_why="standby: integrity",
        database_why="down",
        redis_why="down for 3 s",
        venue_why="stream down",
        reconciled_why="not yet",
        market_age_s=None,
        policy_age_s=400.0,
        queue_why="critical",
        drawdown_why="unknown",
        further={"version": "builds differ"},
    )
    conditions = start_conditions(facts)
    assert unmet(conditions) == conditions
    assert all(condition.why for condition in conditions)


FOREIGN = Trip(id=TripId("x-2"), source=TripSource.BUTTON, reason="operator", ts_ns=1, node="alpha")


@pytest.mark.parametrize(
    ("request_", "database_why", "missing"),
    [
        (ResetRequest(cause="c", reason="r", clear=(FOREIGN.id,)), "", []),
        (ResetRequest(cause="c", reason="r"), "", ["trips_named"]),
        (ResetRequest(cause="c", reason="r", clear=(TRIP.id,)), "", ["trips_named"]),
        (ResetRequest(cause=" ", reason="r", clear=(FOREIGN.id,)), "", ["cause"]),
        (ResetRequest(cause="c", reason="", clear=(FOREIGN.id,)), "", ["cause"]),
        (ResetRequest(cause="c", reason="r", clear=(FOREIGN.id,)), "full", ["database"]),
    ],
)
def test_what_it_takes_to_clear_another_nodes_trip(
    request_: ResetRequest, database_why: str, missing: list[str]
) -> None:
    conditions = clearing_conditions((FOREIGN,), request_, database_why=database_why)
    assert [one.condition for one in unmet(conditions)] == missing
    for one in conditions:
        assert one.condition != "trips_named" or one.met or "x-2 (node alpha)" in one.why


def test_a_residual_that_was_accepted_may_stand_in_our_books_too() -> None:
    dust = replace(GOOD, proof=DUST, books_open=(Symbol("BTCUSDT"),))
    assert names(dust) == ["positions_zero"]
    accepted = msgspec.structs.replace(ASKED, accept_residual=(Symbol("BTCUSDT"),))
    assert names(dust, accepted) == []
