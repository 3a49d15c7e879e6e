"""Trips and clearings as sets: whatever two sides did apart, nothing is lost and nothing returns.

Two engines and the desk's Redis are played by sets that trip, reset, exchange and forget in random
order; what must be true is known from a list that the test keeps itself.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.model.emergency import Clearing, Scope, Trip, TripSource
from engine.model.emergency_sets import EmergencySets, clearing_key, concerns
from engine.model.ids import TripId

NODES = ("alpha", "beta")


def _trip(number: int, node: str = "alpha", scope: Scope = Scope.NODE, ts_ns: int = 0) -> Trip:
    return Trip(
        id=TripId(f"x{number}"),
        source=TripSource.BUTTON,
        reason="a test",
        ts_ns=ts_ns or number,
        scope=scope,
        node=node,
    )


def _clearing(number: int, *trips: str, ts_ns: int = 0, signed: str = "") -> Clearing:
    return Clearing(
        id=f"c{number}",
        trips=tuple(TripId(trip) for trip in trips),
        author="operator",
        cause="drill",
        reason="a test",
        ts_ns=ts_ns or number,
        node="alpha",
        signed=signed,
    )


_trips = st.builds(
    _trip,
    st.integers(1, 6),
    st.sampled_from(NODES),
    st.sampled_from(Scope),
    st.integers(1, 3),
)
_clearings = st.builds(
    lambda number, trips, signed: _clearing(number, *trips, signed=signed),
    st.integers(1, 4),
    st.lists(st.sampled_from([f"x{n}" for n in range(1, 7)]), max_size=3),
    st.sampled_from(["", "signed"]),
)
_sets = st.builds(EmergencySets.of, st.lists(_trips, max_size=6), st.lists(_clearings, max_size=4))


@settings(deadline=None)
@given(_sets, _sets)
def test_merge_is_commutative(a: EmergencySets, b: EmergencySets) -> None:
    assert a.merge(b) == b.merge(a)


@settings(deadline=None)
@given(_sets, _sets, _sets)
def test_merge_is_associative(a: EmergencySets, b: EmergencySets, c: EmergencySets) -> None:
    assert a.merge(b).merge(c) == a.merge(b.merge(c))


@settings(deadline=None)
@given(_sets)
def test_merge_is_idempotent(a: EmergencySets) -> None:
    assert a.merge(a) == a
    assert a.merge(EmergencySets()) == a


@settings(deadline=None)
@given(_sets, _sets)
def test_no_uncleared_trip_is_lost_and_no_cleared_one_returns(
    a: EmergencySets, b: EmergencySets
) -> None:
    both = a.merge(b)
    cleared = a.cleared | b.cleared
    assert both.cleared == cleared
    assert {trip.id for trip in both.uncleared()} == (a.ids | b.ids) - cleared
    for node in NODES:
        # A merge can only make a trip stricter: what flattened a node before still does.
        before = {t.id for side in (a, b) for t in side.stopping(node)} - cleared
        assert before <= {trip.id for trip in both.stopping(node)}


@settings(deadline=None)
@given(_sets, st.sampled_from(NODES))
def test_each_uncleared_trip_either_flattens_a_node_or_holds_its_entries(
    a: EmergencySets, node: str
) -> None:
    stopping, holding = a.stopping(node), a.holding(node)
    assert {*stopping} | {*holding} == {*a.uncleared()}
    assert all(trip.scope is Scope.DESK or trip.node == node for trip in stopping)
    assert all(trip.scope is Scope.NODE and trip.node != node for trip in holding)


@settings(deadline=None)
@given(_sets, st.integers(0, 7))
def test_only_what_is_wholly_settled_may_be_forgotten(a: EmergencySets, before_ns: int) -> None:
    settled = a.settled_before(before_ns)
    assert all(t.ts_ns < before_ns and t.id in a.cleared for t in settled.trips.values())
    assert all(one.ts_ns < before_ns for one in settled.clearings.values())
    # What stays is in the same emergency, and nothing that stays refers to what went.
    rest = EmergencySets(
        {key: trip for key, trip in a.trips.items() if key not in settled.trips},
        {key: one for key, one in a.clearings.items() if key not in settled.clearings},
    )
    assert rest.uncleared() == a.uncleared()
    for key, one in a.clearings.items():
        together = {
            key in settled.clearings,
            *(t in settled.ids for t in one.trips if t in a.ids),
        }
        assert len(together) == 1


@settings(deadline=None)
@given(_sets, _sets)
def test_what_one_lacks_of_the_other_makes_them_whole(a: EmergencySets, b: EmergencySets) -> None:
    lacking = b.minus(a)
    whole, both = a.merge(lacking), a.merge(b)
    assert {t.id for t in whole.uncleared()} == {t.id for t in both.uncleared()}
    for node in NODES:
        assert {t.id for t in whole.stopping(node)} == {t.id for t in both.stopping(node)}
    assert both.minus(both) == EmergencySets()
    assert not lacking.trips.keys() - b.trips.keys()


def test_a_signed_clearing_takes_the_place_of_the_same_without_signature() -> None:
    unsigned, signed = _clearing(1, "x1"), _clearing(1, "x1", signed="here")
    for sets in (
        EmergencySets.of((), (unsigned, signed)),
        EmergencySets.of((), (signed, unsigned)),
    ):
        assert list(sets.clearings.values()) == [signed]


def test_a_clearing_of_the_same_id_that_names_less_takes_nothing_back() -> None:
    sets = EmergencySets.of((_trip(1), _trip(2)), (_clearing(1, "x1", "x2"), _clearing(1, "x1")))
    assert sets.uncleared() == ()
    assert clearing_key(_clearing(1, "x2", "x1", "x1")) == ("c1", ("x1", "x2"))


@pytest.mark.parametrize("node", NODES)
def test_scope_says_whom_a_trip_concerns(node: str) -> None:
    assert concerns(_trip(1, scope=Scope.DESK), node)
    assert concerns(_trip(1, node="alpha"), node) is (node == "alpha")


class SplitBrain(RuleBasedStateMachine):
    """Two engines and one Redis; each side trips and resets, exchanges come when they come."""

    def __init__(self) -> None:
        super().__init__()
        self.engines = {node: EmergencySets() for node in NODES}
        self.redis = EmergencySets()
        # The test's own books: every trip that was made, every one that a reset was shown.
        self.made: dict[str, Trip] = {}
        self.shown: set[str] = set()
        self.number = 0

    @rule(node=st.sampled_from(NODES), scope=st.sampled_from(Scope))
    def trip(self, node: str, scope: Scope) -> None:
        self.number += 1
        made = _trip(self.number, node, scope)
        self.made[made.id] = made
        self.engines[node] = self.engines[node].plus((made,))

    @rule(node=st.sampled_from(NODES), elsewhere=st.booleans())
    def reset(self, node: str, elsewhere: bool) -> None:
        """A person is shown what this node knows, and clears it by name."""
        known = self.engines[node]
        named = [trip.id for trip in known.stopping(node)]
        if elsewhere:
            named += [trip.id for trip in known.holding(node)]
        if named:
            self.number += 1
            self.shown.update(named)
            made = _clearing(self.number, *named)
            self.engines[node] = known.plus((), (made,))

    @rule(node=st.sampled_from(NODES))
    def exchange(self, node: str) -> None:
        self.redis = self.redis.merge(self.engines[node])
        self.engines[node] = self.engines[node].merge(self.redis)

    @rule(node=st.sampled_from(NODES))
    def half_an_exchange(self, node: str) -> None:
        """The link broke after the read."""
        self.engines[node] = self.engines[node].merge(self.redis)

    @rule()
    def flush(self) -> None:
        self.redis = EmergencySets()

    @invariant()
    def each_knows_its_own(self) -> None:
        for node, sets in self.engines.items():
            own = {id for id, trip in self.made.items() if trip.node == node}
            assert own <= sets.ids
            assert {trip.id for trip in sets.uncleared()} >= own - self.shown

    @invariant()
    def in_the_end_both_agree_with_the_books(self) -> None:
        redis = self.redis
        for sets in self.engines.values():
            redis = redis.merge(sets)
        uncleared = {trip.id for trip in redis.uncleared()}
        assert uncleared == self.made.keys() - self.shown
        assert {sets.merge(redis) == redis for sets in self.engines.values()} == {True}


TestSplitBrain = SplitBrain.TestCase
TestSplitBrain.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
