"""The merge of policies: order does not matter, nothing is overwritten, nothing gets looser."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.policy import (
    FIELDS,
    PolicyDocument,
    direction,
    get_value,
    is_looser,
    seeded,
    validate,
    with_changes,
)
from engine.model.policy_revision import Revision, revisions_from_json, revisions_json
from engine.policy.merge import (
    ancestor_version,
    conflict_of,
    differ,
    effective,
    first_lineage,
    join,
    order_of,
    precedes,
    strictest,
    successor_lineage,
    three_way,
)
from tests.unit.engine.policy.policy_worlds import NODES, World, documents, worlds

SEED = seeded(Decimal(100_000), live=False)
THOROUGH = settings(max_examples=60, deadline=None)


def assert_no_looser(than: PolicyDocument, found: PolicyDocument) -> None:
    """Every limit in force, and every one that could be by switching the mode."""
    assert not (found.allow_new_trades and not than.allow_new_trades)
    pairs = [(than.active, found.active)]
    pairs += [(than.profiles[name], found.profiles[name]) for name in than.profiles]
    for wanted, got in pairs:
        for spec in FIELDS:
            way = direction(spec, get_value(wanted, spec.name), get_value(got, spec.name))
            assert way != "looser", spec.name


# --- algebra ------------------------------------------------------------------------------------


@THOROUGH
@given(worlds())
def test_the_join_is_commutative_associative_and_idempotent(world: World) -> None:
    one, two, three = (world.known[node] for node in NODES)
    assert join(one, two) == join(two, one)
    assert join(join(one, two), three) == join(one, join(two, three))
    assert join(one, one) == one
    assert effective(join(one, two)) == effective(join(two, one))


@THOROUGH
@given(worlds(), st.data())
def test_any_sets_of_revisions_join_alike_in_any_order(world: World, data: st.DataObject) -> None:
    some = st.lists(st.sampled_from(world.made), min_size=1, max_size=5)
    one, two, three = data.draw(some), data.draw(some), data.draw(some)
    assert join(join(one, two), three) == join(one, join(two, three)) == join(three, two, one)


@THOROUGH
@given(worlds())
def test_descent_is_a_strict_partial_order(world: World) -> None:
    for one in world.made:
        assert not precedes(one, one)
        for two in world.made:
            assert not (precedes(one, two) and precedes(two, one))
            for three in world.made:
                if precedes(one, two) and precedes(two, three):
                    assert precedes(one, three)


@THOROUGH
@given(worlds())
def test_after_an_exchange_everybody_has_the_same_and_nothing_was_overwritten(
    world: World,
) -> None:
    world.exchange_all()
    agreed = world.known[NODES[0]]
    assert all(world.known[node] == agreed for node in NODES)
    for revision in world.made:  # Each is in force, or somebody who knew it decided otherwise.
        assert revision in agreed or any(precedes(revision, head) for head in agreed)


@THOROUGH
@given(worlds(seeded_alike=True))
def test_versions_rise_with_every_change_on_every_node(world: World) -> None:
    world.exchange_all()
    for node, before, after in world.steps:
        assert after > before, node


@THOROUGH
@given(worlds())
def test_heads_survive_their_journey(world: World) -> None:
    for heads in world.known.values():
        assert revisions_from_json(revisions_json(heads)) == heads


# --- limits -------------------------------------------------------------------------------------


@THOROUGH
@given(worlds())
def test_no_limit_is_looser_than_any_side_wanted(world: World) -> None:
    heads = join(*world.known.values())
    found = effective(heads)
    assert validate(found, live=False) == {}
    for revision in heads:
        assert_no_looser(revision.document, found)
        assert not is_looser(revision.document, found)


@THOROUGH
@given(documents(), documents(), documents())
def test_the_strictest_of_valid_documents_is_valid_and_needs_no_order(
    one: PolicyDocument, two: PolicyDocument, three: PolicyDocument
) -> None:
    found = strictest((one, two, three))
    assert validate(found, live=False) == {}
    assert found == strictest((three, one, two))
    assert strictest((one, one)) == strictest((one,))
    for wanted in (one, two, three):
        assert_no_looser(wanted, found)


@THOROUGH
@given(documents(), documents())
def test_two_editors_on_both_sides_of_an_outage(one: PolicyDocument, two: PolicyDocument) -> None:
    world = World(seeded_alike=True)
    # Its line counts its own changes, whatever the others do meanwhile.
    mine = world.change("desk1", one, ts_ns=1)
    theirs = world.change("desk2", two, ts_ns=1)
    world.exchange_all()
    heads = world.known["desk1"]
    assert set(map(order_of, heads)) == {order_of(mine), order_of(theirs)}
    conflict = conflict_of(heads)
    assert (conflict is None) == (not differ((one, two)))
    in_force = effective(heads)
    assert in_force.version == 3
    # A person decides, and whoever hears of it has the decision and no conflict.
    world.change("desk2", one, ts_ns=2)
    world.exchange_all()
    assert len(world.known["desk1"]) == 1
    decided = effective(world.known["desk1"])
    assert (decided.version, decided.profiles) == (4, one.profiles)


# --- rules in plain cases -----------------------------------------------------------------------


def _revision(document: PolicyDocument, lineage: dict[str, int], *, ts_ns: int = 5) -> Revision:
    return Revision(
        document=msgspec.structs.replace(
            document, version=sum(lineage.values()), author="op", ts_ns=ts_ns
        ),
        lineage=lineage,
        node=list(lineage)[-1],
    )


def test_the_active_profile_is_the_most_careful_one_with_the_strictest_fields_of_both() -> None:
    one = with_changes(SEED, {"profile": "moderate", "moderate.price_collar": "0.001"})
    two = with_changes(SEED, {"profile": "conservative"})
    found = strictest((one, two))
    assert found.profile == "conservative"
    assert found.active.price_collar == Decimal("0.001")
    assert found.active.max_leverage == 5
    assert found.profiles["moderate"].max_leverage == 10


def test_a_zero_that_means_off_is_the_loosest() -> None:
    off = with_changes(SEED, {"max_hold_s": "0"})
    assert strictest((off, SEED)).active.max_hold_s == SEED.active.max_hold_s


def test_a_seed_yields_to_what_a_person_wanted_and_to_an_older_seed() -> None:
    young = Revision(document=msgspec.structs.replace(SEED, ts_ns=9), lineage={"b": 1}, node="b")
    old = Revision(document=SEED, lineage={"a": 1}, node="a")
    wanted = _revision(with_changes(SEED, {"max_leverage": "4"}), {"c": 1})
    assert join([young], [old]) == (old,)
    assert join([young], [wanted]) == (wanted,)
    assert wanted.document.version == 1


def test_a_dropped_seed_and_a_later_change_never_share_a_number() -> None:
    assert first_lineage(SEED, line="a") == {"seed of a": 1}
    other = _revision(SEED, {"b": 3})
    assert successor_lineage([other], line="a", above=3) == {"a": 1, "b": 3}
    assert successor_lineage([other], line="b", above=3) == {"b": 4}
    assert successor_lineage([other], line="b", above=9) == {"b": 10}
    legacy = msgspec.structs.replace(SEED, version=7, author="op")
    assert first_lineage(legacy, line="a") == {"a": 7}


def test_what_both_sides_set_alike_is_no_conflict() -> None:
    tight = with_changes(SEED, {"max_leverage": "4"})
    heads = join([_revision(tight, {"a": 2})], [_revision(tight, {"a": 1, "b": 2})])
    assert len(heads) == 2
    assert conflict_of(heads) is None
    assert effective(heads).active.max_leverage == 4
    assert "same limits" in effective(heads).reason


def test_a_conflict_names_both_values_who_and_when() -> None:
    one = _revision(with_changes(SEED, {"max_leverage": "4"}), {"a": 2}, ts_ns=7)
    two = _revision(with_changes(SEED, {"max_leverage": "3"}), {"a": 1, "b": 2}, ts_ns=8)
    assert ancestor_version([one, two]) == 1
    conflict = conflict_of(join([one], [two]), base=SEED)
    assert conflict is not None
    assert conflict.fields == {"conservative.max_leverage": ("4", "3")}
    assert (conflict.base, conflict.base_version) == ({"conservative.max_leverage": "5"}, 1)
    assert [(side.node, side.version, side.ts_ns) for side in conflict.sides] == [
        ("a", 2, 7),
        ("b", 3, 8),
    ]


def test_three_ways_of_an_editor_who_was_too_late() -> None:
    theirs = with_changes(SEED, {"max_leverage": "4"})
    mine = with_changes(SEED, {"max_leverage": "3", "allow_new_trades": "false"})
    assert three_way(SEED, theirs, mine) == {
        "conservative.max_leverage": ("5", "4", "3"),
        "allow_new_trades": ("true", "true", "false"),
    }
    assert three_way(None, theirs, mine) == {
        "conservative.max_leverage": ("", "4", "3"),
        "allow_new_trades": ("", "true", "false"),
    }
