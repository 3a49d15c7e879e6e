"""The table of order states: nothing gets stuck, unknown is never guessed, fills always book."""

from __future__ import annotations

import pytest

from engine.model.orders import TRANSITIONS, OrderState, OrderTrigger, next_state


def reachable(start: OrderState) -> set[OrderState]:
    found, todo = {start}, [start]
    while todo:
        state = todo.pop()
        for (before, _), after in TRANSITIONS.items():
            if before is state and after not in found:
                found.add(after)
                todo.append(after)
    return found


def test_every_state_is_reached_from_an_intent() -> None:
    assert reachable(OrderState.INTENDED) == set(OrderState)


@pytest.mark.parametrize("state", [state for state in OrderState if not state.is_final])
def test_every_open_state_can_end(state: OrderState) -> None:
    assert any(after.is_final for after in reachable(state))


def test_a_timeout_is_never_a_rejection() -> None:
    outcomes = {
        after for (_, trigger), after in TRANSITIONS.items() if trigger is OrderTrigger.TIMED_OUT
    }
    assert outcomes == {OrderState.UNRESOLVED}


@pytest.mark.parametrize("state", [state for state in OrderState if state.may_be_at_venue])
def test_whatever_may_be_at_the_venue_can_fill(state: OrderState) -> None:
    assert next_state(state, OrderTrigger.LAST_FILL) is OrderState.FILLED


@pytest.mark.parametrize("state", [OrderState.CANCELLED, OrderState.ABANDONED])
def test_a_fill_after_we_gave_up_is_still_taken(state: OrderState) -> None:
    assert next_state(state, OrderTrigger.LAST_FILL) is OrderState.FILLED


def test_a_rejected_order_never_comes_back() -> None:
    assert reachable(OrderState.REJECTED) == {OrderState.REJECTED}
    assert reachable(OrderState.DENIED) == {OrderState.DENIED}


def test_an_illegal_transition_is_none() -> None:
    assert next_state(OrderState.REJECTED, OrderTrigger.VENUE_ACCEPTED) is None
