"""Every condition that the engine can list has words for a person."""

from __future__ import annotations

from console.viewmodels.conditions import condition_words
from engine.emergency_stop import ResetFacts, StartFacts, reset_conditions, start_conditions


def test_no_condition_is_shown_by_its_machine_name() -> None:
    reset = reset_conditions(
        ResetFacts(
            trips=(),
            proof=None,
            positions_open=0,
            orders_open=0,
            links_up_s={},
            queue_utilisation=0.0,
            since_last_drop_s=None,
        )
    )
    start = start_conditions(StartFacts(latched=False))
    names = [condition.condition for condition in (*reset, *start)]
    assert len(names) > 15
    assert [name for name in names if condition_words(name) == name] == []


def test_a_new_condition_is_shown_rather_than_hidden() -> None:
    assert condition_words("moon_phase") == "moon_phase"
