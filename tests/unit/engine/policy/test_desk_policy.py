"""Two editors on two nodes: whatever they do and whenever the link is away, they end with one
policy, nothing is overwritten and nothing gets looser than anybody wanted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.emergency import TripSource
from engine.model.errors import BridgeDown, PolicyConflict
from engine.model.events import PolicyChanged, PolicyConflicted
from engine.model.policy import PolicyDocument, diff, is_looser, seeded, validate, with_changes
from engine.model.policy_revision import Revision, SharedReading
from engine.policy import DeskPolicy, PolicyStore
from engine.policy.merge import effective, precedes
from engine.runtime import IdSource, SimClock, Stamper, Tasks
from tests.fakes.policy_authority import FakeAuthority, FakeEmergency
from tests.fakes.risk_facts import NOW_NS, Recorder
from tests.fakes.shared_policy import FakeDesk, FakeShared
from tests.unit.engine.policy.policy_worlds import documents

SEED = seeded(Decimal(100_000), live=False, ts_ns=NOW_NS)
RANDOMLY = settings(max_examples=50, deadline=None)


class Node:
    """One node on an authority of its own and a desk that it shares."""

    def __init__(self, desk: FakeDesk, name: str, *, key: str = "key", number: int = 1) -> None:
        self.name = name
        self.clock = SimClock(start_ns=NOW_NS + number)
        self.authority = FakeAuthority()
        self.authority.own_line = name
        self.seen = Recorder()
        self.emergency = FakeEmergency()
        self.alarms: list[tuple[str, str]] = []
        self.made: list[Revision] = []
        self.shared = FakeShared(desk, name, key=key)
        self.store = PolicyStore(
            authority=self.authority,
            clock=self.clock,
            stamp=Stamper(clock=self.clock, ids=IdSource(seed=number), source="policy"),
            announce=self.seen.emit,
            emergency=self.emergency,
            loosening_refused=lambda: None,
            live=False,
            node=name,
        )
        self.desk = DeskPolicy(
            shared=self.shared,
            keeper=self.store.keeper,
            io_clock=self.clock,
            tasks=Tasks(on_fault=lambda *_: None),
            on_alarm=lambda code, why: self.alarms.append((code, why)),
        )
        self.store.share(self.desk)

    async def open(self) -> None:
        await self.store.open(lambda: msgspec.structs.replace(SEED, ts_ns=self.clock.now_ns()))

    async def want(self, document: PolicyDocument, *, author: str, base: int | None = None) -> None:
        """A person wants exactly these limits."""
        before = self.store.keeper.heads
        with suppress(PolicyConflict):  # Told, and kept: what is checked is that it is.
            await self.store._decide(lambda _: document, base, author=author, reason="wanted")
        self.made += [
            head
            for head in self.store.keeper.heads
            if head not in before and head.node == self.name
        ]

    async def meet(self) -> bool:
        try:
            return await self.desk.exchange()
        except BridgeDown:
            return False

    def versions(self) -> list[int]:
        return [document.version for document in self.authority.documents]


async def two(
    *, key_of_second: str = "key", key_of_first: str = "key"
) -> tuple[FakeDesk, Node, Node]:
    desk = FakeDesk()
    one = Node(desk, "desk1", key=key_of_first, number=1)
    other = Node(desk, "desk2", key=key_of_second, number=2)
    for node in (one, other):
        await node.open()
        assert await node.meet()
    assert await one.meet()
    return desk, one, other


async def _agree(one: Node, other: Node) -> None:
    for node in (one, other):
        node.shared.is_there = True
    for _ in range(3):
        await one.meet()
        await other.meet()


# --- any interleaving -----------------------------------------------------------------------------

Step = tuple[str, int, PolicyDocument | None]
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.integers(0, 1), documents()),
        st.tuples(
            st.sampled_from(["meet", "lose", "find", "forget", "both"]),
            st.integers(0, 1),
            st.none(),
        ),
    ),
    max_size=12,
)


async def _play(steps: list[Step]) -> tuple[Node, Node]:
    desk, *nodes = await two()
    for what, index, document in steps:
        node = nodes[index]
        if what == "want":
            assert document is not None
            await node.want(document, author=f"op of {node.name}")
        elif what == "meet":
            await node.meet()
        elif what in {"lose", "find"}:
            node.shared.is_there = what == "find"
        elif what == "forget":
            desk.forget()
        else:
            await asyncio.gather(*(each.meet() for each in nodes))
        for each in nodes:
            keeper = each.store.keeper
            assert validate(keeper.document, live=False) == {}
            assert each.versions() == sorted(set(each.versions()))
            for head in keeper.heads:  # No looser than anybody wanted whom this node knows of.
                assert not is_looser(head.document, keeper.document)
    one, other = nodes
    await _agree(one, other)
    return one, other


@RANDOMLY
@given(_steps)
def test_whatever_happens_both_end_with_one_policy(steps: list[Step]) -> None:
    one, other = asyncio.run(_play(steps))
    assert one.store.keeper.heads == other.store.keeper.heads
    assert one.store.get_policy() == other.store.get_policy()
    assert one.store.keeper.sha256 == one.shared.desk.reading.stood[1]
    heads = one.store.keeper.heads
    assert not diff(effective(heads), one.store.get_policy())
    for revision in (*one.made, *other.made):  # Nothing was overwritten unseen.
        assert revision in heads or any(precedes(revision, head) for head in heads)
    assert (one.store.snapshot().conflict is None) == (
        len(heads) == 1 or not any(diff(heads[0].document, head.document) for head in heads[1:])
    )
    assert [event for event in one.alarms + other.alarms if event[1]] == []


@RANDOMLY
@given(_steps, documents())
def test_a_persons_decision_afterwards_holds_everywhere(
    steps: list[Step], wanted: PolicyDocument
) -> None:
    async def play() -> tuple[Node, Node]:
        one, other = await _play(steps)
        await other.want(wanted, author="decider", base=other.store.version)
        await _agree(one, other)
        return one, other

    one, other = asyncio.run(play())
    assert not diff(wanted, one.store.get_policy())
    assert one.store.get_policy() == other.store.get_policy()
    in_conflict = one.store.snapshot().conflict is not None
    assert not in_conflict


@RANDOMLY
@given(_steps)
def test_every_change_is_told_once_with_its_version_and_a_conflict_too(steps: list[Step]) -> None:
    one, other = asyncio.run(_play(steps))
    for node in (one, other):
        told = [event.version for event in node.seen.events if isinstance(event, PolicyChanged)]
        assert told == node.versions()
        if node.store.snapshot().conflict is not None:
            assert any(isinstance(event, PolicyConflicted) for event in node.seen.events)


# --- who is believed ------------------------------------------------------------------------------


@RANDOMLY
@given(st.lists(st.tuples(st.booleans(), documents()), max_size=6), st.booleans())
def test_without_a_key_nothing_of_another_node_ever_loosens_anything(
    changes: list[tuple[bool, PolicyDocument]], first_has_key: bool
) -> None:
    async def play() -> None:
        key = "key" if first_has_key else ""
        desk, one, other = await two(key_of_first=key, key_of_second="")
        for is_first, document in changes:
            node, hearer = (one, other) if is_first else (other, one)
            await node.want(document, author="op")
            before = hearer.store.get_policy()
            await hearer.meet()
            assert not is_looser(before, hearer.store.get_policy())
            await _agree(one, other)
            writes = desk.writes
            await _agree(one, other)
            assert desk.writes == writes, "they go on overwriting each other"
            for each in (one, other):
                assert each.versions() == sorted(set(each.versions()))

    asyncio.run(play())


@RANDOMLY
@given(documents(), st.integers(1, 10**12))
def test_a_strangers_document_makes_nothing_looser_and_takes_nothing_away(
    theirs: PolicyDocument, version: int
) -> None:
    async def play() -> None:
        desk, one, other = await two()
        before = one.store.get_policy()
        foreign = msgspec.structs.replace(theirs, version=version, author="mallory")
        desk.put(SharedReading(stood=("1", "2", "3"), node="stranger", document=foreign))
        await _agree(one, other)
        now = one.store.get_policy()
        assert now == other.store.get_policy()
        assert not is_looser(before, now)
        assert not is_looser(foreign, now)
        assert desk.reading.is_signed
        assert any(code == "POLICY_UNSIGNED" and "mallory" in why for code, why in one.alarms)

    asyncio.run(play())


# --- plain cases ----------------------------------------------------------------------------------


async def test_in_a_conflict_the_same_values_are_a_decision_only_on_top_of_it() -> None:
    _, one, other = await two()
    one.shared.is_there = other.shared.is_there = False
    await one.want(with_changes(SEED, {"max_leverage": "4"}), author="a")
    await other.want(with_changes(SEED, {"max_leverage": "3"}), author="b")
    await _agree(one, other)
    in_conflict = one.store.version
    await one.store.set_mode("conservative", author="a", reason="as it is")
    assert one.store.version == in_conflict
    await one.store.update(
        {"max_leverage": "3"}, base_version=in_conflict, author="a", reason="agreed"
    )
    await _agree(one, other)
    assert other.store.version == in_conflict + 1
    assert other.store.snapshot().conflict is None


async def test_a_missing_key_is_no_information() -> None:
    desk, one, other = await two()
    await one.want(with_changes(SEED, {"max_leverage": "3"}), author="op")
    desk.forget()
    assert await other.meet()
    assert await one.meet()
    assert await other.meet()
    assert other.store.active().max_leverage == 3
    assert not desk.reading.is_missing


async def test_a_strangers_value_during_a_conflict_decides_nothing() -> None:
    desk, one, other = await two()
    one.shared.is_there = other.shared.is_there = False
    await one.want(with_changes(SEED, {"max_leverage": "4"}), author="a")
    await other.want(with_changes(SEED, {"max_leverage": "3"}), author="b")
    await _agree(one, other)
    assert one.store.snapshot().conflict is not None
    foreign = with_changes(
        msgspec.structs.replace(SEED, version=9, author="mallory"), {"max_leverage": "2"}
    )
    desk.put(SharedReading(stood=("1", "2", "3"), node="stranger", document=foreign))
    await one.meet()
    assert one.store.active().max_leverage == 2
    assert one.store.snapshot().conflict is not None
    assert "not all is signed" in one.store.snapshot().note
    assert {head.document.author for head in desk.reading.heads} == {"a", "b"}


async def test_a_lineage_beyond_belief_is_not_taken_over() -> None:
    desk, one, other = await two()
    grown = {"desk1": 900_000_000, "x": 7}
    foreign = msgspec.structs.replace(
        with_changes(SEED, {"max_leverage": "2"}), version=900_000_007, author="mallory"
    )
    head = Revision(document=foreign, lineage=grown, node="desk9")
    desk.put(SharedReading(stood=("1", "2", "3"), node="desk9", document=foreign, heads=(head,)))
    await _agree(one, other)
    assert one.store.active().max_leverage == 2
    assert one.store.version < 100


async def test_the_link_down_is_no_agreement_and_confirms_nothing() -> None:
    _, one, _ = await two()
    confirmed = one.store.keeper.confirmed_ns
    one.clock._elapsed_ns += 6_000_000_000
    one.shared.is_there = False
    assert not await one.meet()
    assert one.store.keeper.confirmed_ns == confirmed
    assert one.store.source() == "local snapshot"
    one.clock._elapsed_ns += 25_000_000_000
    assert one.store.is_stale()
    one.shared.is_there = True
    assert await one.meet()
    assert not one.store.is_stale()
    assert one.store.source() == "redis"


@pytest.mark.allow_log("not confirmed")
async def test_a_disk_that_disagrees_is_not_covered_up_by_redis() -> None:
    _, one, _ = await two()
    one.authority.documents[-1] = msgspec.structs.replace(SEED, version=one.store.version)
    one.clock._elapsed_ns += 1_000_000_000
    confirmed = one.store.keeper.confirmed_ns
    assert not await one.store.confirm()
    assert await one.meet()
    assert one.store.keeper.confirmed_ns == confirmed


async def test_a_push_drops_the_cache_at_once() -> None:
    _, one, _ = await two()
    assert one.store.source() == "redis"
    one.desk.heard()
    assert one.store.source() == "local snapshot"
    assert await one.meet()
    assert one.store.source() == "redis"


async def test_the_emergency_is_derived_and_no_merge_touches_it() -> None:
    _, one, other = await two()
    other.store.set_emergency_mode("button", source=TripSource.BUTTON)
    trips = other.emergency.trips
    await one.want(with_changes(SEED, {"profile": "defensive"}), author="op")
    await other.meet()
    assert other.store.emergency().active
    assert other.emergency.trips == trips
    assert one.store.emergency().trips == ()
