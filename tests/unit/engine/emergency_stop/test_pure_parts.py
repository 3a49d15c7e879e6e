"""The pure parts of the stop: the table of steps, clips, ids and fences, failures, latch words."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.emergency_stop.failures import Failure, FailureKind, classify, retry_delay_s
from engine.emergency_stop.latch_words import armed_change, from_latch_trip, latched_change
from engine.emergency_stop.next_step import (
    STEPS,
    ClosingFacts,
    Step,
    clips,
    closable_quantity,
    next_step,
)
from engine.emergency_stop.order_series import ClosingOrderIds, is_closing_order, next_fence
from engine.latch import LatchState, LatchTrip, StopState
from engine.model.emergency import Scope, TripSource
from engine.model.errors import InvariantBroken, NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import ClientOrderId, Symbol, client_order_number
from engine.model.instrument import Instrument

GRID = Instrument(
    symbol=Symbol("BTCUSDT"),
    tick_size=Decimal("0.1"),
    quantity_step=Decimal("0.001"),
    quantity_min=Decimal("0.002"),
    quantity_max=Decimal(10),
    notional_min=Decimal(5),
)
OPEN = ClosingFacts(position=Decimal(1), closable=Decimal(1), protective=True)


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        (ClosingFacts(position=None), Step.READ),
        (ClosingFacts(position=None, is_paused=True), Step.READ),
        (ClosingFacts(position=Decimal(0)), Step.CANCEL_PROTECTIVE),
        (ClosingFacts(position=Decimal(0), protective=True), Step.CANCEL_PROTECTIVE),
        (ClosingFacts(position=Decimal(0), protective=False), Step.REST),
        (OPEN, Step.CLOSE),
        (replace(OPEN, is_paused=True), Step.PAUSED),
        (replace(OPEN, is_paused=True, is_blocked=True), Step.PAUSED),
        (replace(OPEN, is_blocked=True), Step.CANCEL_PROTECTIVE),
        (replace(OPEN, is_blocked=True, protective=None), Step.CANCEL_PROTECTIVE),
        (replace(OPEN, is_blocked=True, protective=False), Step.CLOSE),
        (replace(OPEN, closable=Decimal(0)), Step.CANCEL_PROTECTIVE),
        (replace(OPEN, closable=Decimal(0), protective=False), Step.RESIDUAL),
        (replace(OPEN, position=Decimal(-1)), Step.CLOSE),
    ],
)
def test_the_table_of_steps(facts: ClosingFacts, step: Step) -> None:
    assert next_step(facts) is step


def test_every_row_of_the_table_is_reached_by_some_facts() -> None:
    reached = set()
    for position in (None, Decimal(0), Decimal(1)):
        for closable in (Decimal(0), Decimal(1)):
            for protective in (None, False, True):
                for flags in range(4):
                    facts = ClosingFacts(
                        position=position,
                        closable=closable,
                        protective=protective,
                        is_blocked=bool(flags & 1),
                        is_paused=bool(flags & 2),
                    )
                    reached.add(next(why for why, fits, _ in STEPS if fits(facts)))
    assert reached == {why for why, _, _ in STEPS}


@given(thousandths=st.integers(min_value=0, max_value=200_000))
def test_clips_add_up_and_each_fits_the_venue(thousandths: int) -> None:
    position = Decimal(thousandths) / 1000
    quantity = closable_quantity(-position, GRID)
    sizes = clips(quantity, GRID)
    assert sum(sizes, Decimal(0)) == quantity
    assert quantity == (position if position >= GRID.quantity_min else 0)
    for size in sizes:
        assert GRID.quantity_min <= size <= GRID.quantity_max
        assert size % GRID.quantity_step == 0


def test_a_position_off_the_grid_is_closed_as_far_as_the_grid_goes() -> None:
    assert closable_quantity(Decimal("1.0007"), GRID) == 1
    assert closable_quantity(Decimal("0.0019"), GRID) == 0


def test_closing_ids_are_a_series_of_their_own() -> None:
    ids = ClosingOrderIds(node="desk", generation=3, fence=17)
    first, second = ids.next(), ids.next()
    assert (first, second) == ("desk-g3-s17-1", "desk-g3-s17-2")
    assert is_closing_order(first)
    assert ids.made(second)
    assert not ids.made(ClosingOrderIds(node="desk", generation=3, fence=18).next())
    ordinary = ClientOrderId("desk-g3-17")
    assert not is_closing_order(ordinary)
    assert client_order_number(ordinary, "desk") == (3, 17)
    assert client_order_number(first, "desk") is None


def test_the_longest_name_fits_and_a_longer_one_is_refused() -> None:
    now_ns = 1_900_000_000 * 1_000_000_000
    fence = next_fence(last=0, is_certain=False, now_ns=now_ns)
    assert len(ClosingOrderIds(node="a" * 16, generation=1, fence=fence).next()) <= 36
    with pytest.raises(InvariantBroken):
        ClosingOrderIds(node="a" * 16, generation=10**6, fence=fence * 100).next()


def test_a_fence_only_grows() -> None:
    now_ns = 1_700_000_000 * 1_000_000_000
    assert next_fence(last=4, is_certain=True, now_ns=now_ns) == 5
    damaged = next_fence(last=4, is_certain=False, now_ns=now_ns)
    assert damaged > 1_000_000
    assert next_fence(last=damaged, is_certain=False, now_ns=now_ns) == damaged + 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refused("-4118", "open orders"), FailureKind.BLOCKED_BY_ORDERS),
        (Refused("-4131", "no counterparty"), FailureKind.MARKET_HALTED),
        (Refused("-2022", "nothing to reduce"), FailureKind.NOTHING_TO_REDUCE),
        (Refused("110017", "position is zero"), FailureKind.NOTHING_TO_REDUCE),
        (Refused("-4005", "too large"), FailureKind.TOO_LARGE),
        (Refused("-2019", "margin"), FailureKind.REFUSED),
        (NotExecuted("429", retry_after_s=12), FailureKind.NOT_EXECUTED),
        (OutcomeUnknown("no answer"), FailureKind.UNKNOWN),
        (ValueError(), FailureKind.UNKNOWN),
    ],
)
def test_failures_are_sorted_and_always_have_words(error: Exception, kind: FailureKind) -> None:
    failure = classify(error)
    assert failure.kind is kind
    assert failure.text


def test_back_off_grows_and_never_undercuts_the_venue() -> None:
    assert [retry_delay_s(n) for n in (0, 1, 2, 3, 4, 5, 500)] == [0.2, 0.2, 0.5, 1, 2, 2, 2]
    limit = Failure(kind=FailureKind.NOT_EXECUTED, text="429", retry_after_s=12)
    assert retry_delay_s(1, limit) == 12


# --- The latch file's words ---------------------------------------------------------------------

BUTTON = LatchTrip(trip_id="x-1", source="button", reason="operator", ts_ns=1)
PANIC = LatchTrip(trip_id="x-2", source="command_line", reason="panic", ts_ns=2)
ARMED = LatchState(
    state=StopState.ARMED, latched=False, generation=1, owner="engine", written_ns=1, fence=3
)
LATCHED = replace(ARMED, state=StopState.FLAT, latched=True, trips=(BUTTON,))


def test_a_write_keeps_what_somebody_else_wrote() -> None:
    theirs = replace(LATCHED, trips=(PANIC,), fence=9)
    written = latched_change(LATCHED)(theirs)
    assert written.trips == (BUTTON, PANIC)
    assert written.fence == 9
    armed = latched_change(ARMED)(theirs)
    assert (armed.latched, armed.state, armed.trips) == (True, StopState.FLATTENING, (PANIC,))


def test_a_write_never_arms_over_damage() -> None:
    assert latched_change(ARMED)(replace(ARMED, damage="torn")).latched
    assert not latched_change(ARMED)(ARMED).latched


def test_arming_needs_every_trip_named_no_damage_and_nothing_new() -> None:
    change = armed_change(ARMED, named={"x-1"}, is_current=lambda: True)
    assert not change(LATCHED).latched
    assert change(replace(LATCHED, trips=(BUTTON, PANIC))).latched
    assert change(replace(LATCHED, damage="torn")).latched
    assert armed_change(ARMED, named={"x-1"}, is_current=lambda: False)(LATCHED).latched


def test_words_of_a_later_version_become_a_trip_of_the_file() -> None:
    trip = from_latch_trip(replace(PANIC, source="lightning", scope="planet"), node="desk")
    assert (trip.source, trip.scope) == (TripSource.LATCH_FILE, Scope.NODE)
    assert "lightning" in trip.reason
