"""The governor's table: up at once, down slowly, and its own words for eroded profit."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.emergency import TripSource
from engine.model.errors import InvariantBroken
from engine.model.events import GovernorChanged
from engine.risk import Governor, GovernorRecord, GovernorState
from engine.risk.governor import TRANSITIONS, GovernorTrigger, advance
from engine.runtime import IdSource, SimClock, Stamper
from tests.fakes.risk_facts import NOW_NS, PROFILE, Recorder

D = Decimal
S = GovernorState
INITIAL = D(100_000)
HOUR_NS = 3_600 * 1_000_000_000
ORDER = list(GovernorState)


class Desk:
    def __init__(self, restored: GovernorRecord | None = None) -> None:
        self.seen = Recorder()
        self.remembered: list[GovernorRecord] = []
        self.governor = Governor(
            rungs=lambda: PROFILE.governor,
            trip=self.seen.trip,
            emit=self.seen.emit,
            stamp=Stamper(clock=SimClock(start_ns=NOW_NS), ids=IdSource(seed=1), source="risk"),
            remember=self.remembered.append,
            restored=restored or GovernorRecord(),
        )
        self.now_ns = NOW_NS

    def equity(self, equity: int, *, after_ns: int = 0) -> GovernorState:
        self.now_ns += after_ns
        self.governor.on_equity(D(equity), INITIAL, self.now_ns)
        return self.governor.state


@pytest.mark.parametrize(
    ("equity", "state"),
    [
        (90_001, S.NORMAL),
        (90_000, S.SOFT_BRAKE),
        (85_001, S.SOFT_BRAKE),
        (85_000, S.QUARANTINE),
        (80_000, S.HARD_STOP),
        (10, S.HARD_STOP),
    ],
)
def test_rungs_are_reached_at_their_loss(equity: int, state: GovernorState) -> None:
    assert Desk().equity(equity) is state


def test_hard_stop_trips_the_emergency_stop_first() -> None:
    desk = Desk()
    desk.equity(80_000)
    assert [source for source, _ in desk.seen.trips] == [TripSource.GOVERNOR]
    assert desk.seen.order == ["trip", "risk.circuit_breaker.triggered", "risk.governor.changed"]


def test_a_milder_loss_lowers_no_rung() -> None:
    desk = Desk()
    desk.equity(85_000)
    assert desk.equity(94_000, after_ns=100 * HOUR_NS) is S.QUARANTINE


def test_down_one_rung_for_each_whole_cool_down() -> None:
    desk = Desk()
    desk.equity(85_000)
    desk.equity(96_000)
    assert desk.equity(96_000, after_ns=HOUR_NS - 1) is S.QUARANTINE
    assert desk.equity(96_000, after_ns=1) is S.SOFT_BRAKE
    assert desk.equity(96_000, after_ns=HOUR_NS) is S.NORMAL
    codes = [e.reason_codes for e in desk.seen.events if isinstance(e, GovernorChanged)]
    assert codes == [("MAX_DRAWDOWN_QUARANTINE",), ("COOLED_DOWN",), ("COOLED_DOWN",)]


def test_the_cool_down_starts_again_after_a_relapse() -> None:
    desk = Desk()
    desk.equity(90_000)
    desk.equity(96_000)
    desk.equity(95_000, after_ns=HOUR_NS // 2)  # At the recovery line, not below it.
    desk.equity(96_000)
    assert desk.equity(96_000, after_ns=HOUR_NS - 1) is S.SOFT_BRAKE


def test_the_cool_down_survives_a_restart() -> None:
    first = Desk()
    first.equity(90_000)
    first.equity(96_000)
    second = Desk(first.remembered[-1])
    assert second.equity(96_000, after_ns=HOUR_NS) is S.NORMAL


def test_having_been_in_profit_the_loss_is_called_eroded_profit() -> None:
    desk = Desk()
    desk.equity(105_001)
    desk.equity(90_000)
    changed = desk.seen.events[-1]
    assert isinstance(changed, GovernorChanged)
    assert changed.reason_codes == ("PROFIT_ERODED_SOFT_BRAKE",)
    assert (changed.value, changed.threshold) == (D("0.1"), D("0.10"))


def test_rebase_when_flat_only() -> None:
    desk = Desk()
    desk.equity(85_000)
    with pytest.raises(InvariantBroken):
        desk.governor.rebase(is_flat=False)
    desk.governor.rebase(is_flat=True)
    assert desk.governor.record == GovernorRecord()
    assert desk.remembered[-1] == GovernorRecord()


def test_the_table_knows_every_way_up_and_none_that_skips_down() -> None:
    for (state, trigger), following in TRANSITIONS.items():
        if trigger is GovernorTrigger.COOLED_DOWN:
            assert ORDER.index(following) == ORDER.index(state) - 1
        elif trigger is GovernorTrigger.REBASED:
            assert following is S.NORMAL
        else:
            assert ORDER.index(following) > ORDER.index(state)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(60_000, 120_000), st.integers(0, HOUR_NS)), min_size=1))
def test_never_milder_than_the_loss_asks_for(steps: list[tuple[int, int]]) -> None:
    record, now_ns = GovernorRecord(), NOW_NS
    for (equity, wait_ns), number in zip(steps, itertools.count(), strict=False):
        now_ns += wait_ns
        before = record
        move = advance(
            record, equity=D(equity), initial=INITIAL, now_ns=now_ns, rungs=PROFILE.governor
        )
        record = move.record
        least = S.NORMAL
        for rung, state in ((90_000, S.SOFT_BRAKE), (85_000, S.QUARANTINE), (80_000, S.HARD_STOP)):
            if equity <= rung:
                least = state
        assert ORDER.index(record.state) >= ORDER.index(least), number
        assert ORDER.index(record.state) >= ORDER.index(before.state) - 1
