"""One policy for a desk of two nodes on a real Redis: changes, outages, strangers, conflicts."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.model.errors import PolicyConflict, PolicyInvalid
from engine.model.events import RecoveryStep
from engine.model.policy import document_hash, document_json, seeded, with_changes
from tests.faults.policy_desk import (
    KEY,
    PolicyNode,
    in_redis,
    policy_node,
    write_as_a_stranger,
)
from tests.real_redis import RealRedis
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]
SEED = seeded(Decimal(100_000), live=False)


class Two:
    """Two nodes of one desk."""

    def __init__(self, one: PolicyNode, two: PolicyNode, server: RealRedis) -> None:
        self.one, self.two, self.server = one, two, server

    async def agree(self) -> None:
        """Both hold the same and so does Redis."""
        await eventually(self._agree, timeout_s=10)

    def _agree(self) -> bool:
        one, two = self.one, self.two
        same = one.policy.keeper.heads == two.policy.keeper.heads
        return same and one.is_settled() and two.is_settled()

    async def lose_redis(self) -> None:
        self.server.kill()
        await self.one.until_lost()
        await self.two.until_lost()

    def assert_one_policy(self) -> None:
        held = in_redis(self.server.url)
        for node in (self.one, self.two):
            assert document_hash(node.in_force) == held["sha256"]
            assert str(node.policy.version) == held["version"]
            assert node.faults == []


@pytest.fixture
async def desk(tmp_path: Path, redis_server: RealRedis) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(policy_node(tmp_path, "desk1", redis_server.url))
        await eventually(one.is_settled)
        two = await stack.enter_async_context(policy_node(tmp_path, "desk2", redis_server.url))
        found = Two(one, two, redis_server)
        await found.agree()
        yield found


# --- the first start ------------------------------------------------------------------------------


async def test_two_new_nodes_end_with_one_policy_and_no_conflict(desk: Two) -> None:
    desk.assert_one_policy()
    assert desk.one.policy.keeper.conflict is None
    assert not desk.one.conflicts()
    assert desk.one.policy.snapshot().source == "redis"
    assert desk.one.policy.is_fresh()


async def test_a_new_node_takes_the_desks_policy_and_not_the_other_way_round(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with policy_node(tmp_path, "desk1", redis_server.url) as one:
        await eventually(one.is_settled)
        await one.set(max_leverage="3")
        async with policy_node(tmp_path, "desk2", redis_server.url, initial="5000000") as two:
            await eventually(lambda: two.is_settled() and two.leverage == 3)
            assert two.in_force == one.in_force
            assert two.policy.keeper.conflict is None


async def test_what_is_in_redis_is_what_the_contract_says(desk: Two) -> None:
    document = await desk.one.set(max_leverage="3", author="alice")
    held = in_redis(desk.server.url)
    assert set(held) == {"version", "document", "sha256", "author", "node", "sig", "heads"}
    assert held["document"].encode() == document_json(document)
    assert held["sha256"] == document_hash(document)
    assert (held["version"], held["author"]) == (str(document.version), "alice")
    # As somebody else would check it, from the words of the contract alone.
    lines = [
        "seawall:policy",
        *(held[name] for name in ("version", "sha256", "node", "heads")),
    ]
    expected = hmac.new(KEY.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    assert held["sig"] == expected


# --- changes --------------------------------------------------------------------------------------


async def test_a_change_is_in_force_on_the_other_node_within_a_second(desk: Two) -> None:
    before = desk.two.policy.version
    document = await desk.one.set(max_leverage="3", author="alice")
    await eventually(lambda: desk.two.leverage == 3, timeout_s=1.0)
    assert desk.two.in_force == document
    [event] = [one for one in desk.two.heard_changes() if one.version == document.version]
    assert (event.author, event.changes) == (
        "alice",
        {"conservative.max_leverage": ("5", "3")},
    )
    history = await desk.two.policy.history()
    assert history[0].document == document
    assert desk.two.policy.version > before
    audit = await desk.two.trade_store.history.audit()
    assert (audit[-1].who, audit[-1].where) == ("alice", "policy of node desk1")
    assert await desk.two.trade_store.verify_audit() is None
    await desk.agree()
    desk.assert_one_policy()


async def test_switching_the_risk_mode_is_in_force_everywhere_within_a_second(desk: Two) -> None:
    await desk.two.policy.set_mode("defensive", author="bob", reason="storm")
    assert desk.two.policy.active().max_leverage == 2
    await eventually(lambda: desk.one.in_force.profile == "defensive", timeout_s=1.0)


async def test_ten_changes_from_both_sides_rise_in_version_everywhere(desk: Two) -> None:
    for number in range(5):
        await desk.one.set(max_orders_per_minute=str(50 - number))
        await desk.agree()
        await desk.two.set(max_open_positions=str(9 - number))
        await desk.agree()
    desk.assert_one_policy()
    for node in (desk.one, desk.two):
        versions = [entry.version for entry in await node.policy.keeper.versions()]
        assert versions == sorted(set(versions))
        assert [event.version for event in node.heard_changes()] == versions
        assert node.policy.active().max_open_positions == 5
        assert not node.conflicts()


async def test_of_two_editors_the_second_gets_a_three_way_conflict(desk: Two) -> None:
    base = desk.two.policy.version
    await desk.one.set(max_leverage="3", author="alice")
    with pytest.raises(PolicyConflict) as caught:
        await desk.two.policy.update(
            {"max_leverage": "4"}, base_version=base, author="bob", reason="test"
        )
    assert caught.value.fields == {"conservative.max_leverage": ("5", "3", "4")}
    assert not caught.value.is_kept
    await desk.agree()
    assert desk.two.leverage == 3
    assert desk.two.policy.keeper.conflict is None


async def test_two_changes_in_the_same_moment_are_both_kept_and_never_overwritten(
    desk: Two,
) -> None:
    results = await asyncio.gather(
        desk.one.set(max_leverage="4", max_open_positions="3"),
        desk.two.set(max_leverage="3", max_open_positions="4"),
        return_exceptions=True,
    )
    await desk.agree()
    desk.assert_one_policy()
    refused = [one for one in results if isinstance(one, PolicyConflict)]
    assert refused, "neither editor was told"
    if desk.one.policy.keeper.conflict is None:  # The second was told before it was made.
        assert len(refused) == 1
        assert not refused[0].is_kept
    else:
        assert desk.one.leverage == 3
        assert desk.one.policy.active().max_open_positions == 3
        assert all(one.is_kept for one in refused)


async def test_rollback_makes_a_new_version_for_the_desk(desk: Two) -> None:
    first = desk.one.policy.version
    await desk.one.set(max_leverage="3")
    await desk.agree()
    document = await desk.two.policy.rollback(first, author="bob", reason="back")
    await desk.agree()
    assert document.version > first + 1
    assert desk.one.leverage == 5
    desk.assert_one_policy()


async def test_no_change_of_any_kind_touches_the_trips(desk: Two) -> None:
    for node in (desk.one, desk.two):
        node.policy.set_emergency_mode("operator")
    trips = desk.one.emergency.trips, desk.two.emergency.trips
    await desk.one.set(max_leverage="3")
    await desk.one.policy.set_mode("defensive", author="op", reason="r")
    await desk.agree()
    await desk.two.policy.rollback(desk.two.policy.version - 1, author="op", reason="r")
    await desk.agree()
    assert (desk.one.emergency.trips, desk.two.emergency.trips) == trips
    assert desk.one.policy.is_emergency_mode()
    assert desk.two.policy.is_emergency_mode()
    assert desk.two.policy.emergency().reason == "operator"


# --- outages --------------------------------------------------------------------------------------


async def test_a_change_during_an_outage_is_in_force_here_and_reaches_the_desk_after_it(
    desk: Two,
) -> None:
    await desk.lose_redis()
    document = await desk.one.set(max_leverage="3", author="alice")
    assert desk.one.leverage == 3
    assert desk.one.policy.snapshot().source == "local snapshot"
    assert desk.two.leverage == 5
    desk.server.start()  # It has forgotten everything: both write theirs back.
    await desk.agree()
    assert desk.two.in_force == document
    assert not desk.one.conflicts()
    desk.assert_one_policy()
    steps = [step.step for step in desk.one.heard_of(RecoveryStep)]
    assert steps[-3:] == ["replay", "policy", "reconcile"]
    [policy] = [step for step in desk.one.heard_of(RecoveryStep)[-3:] if step.step == "policy"]
    assert policy.ok
    assert policy.duration_ms < 1_000


async def test_split_brain_the_stricter_of_both_sides_holds_until_a_person_decides(
    desk: Two,
) -> None:
    await desk.lose_redis()
    await desk.one.set(author="alice", max_leverage="8", max_open_positions="2")
    await desk.two.set(author="bob", max_leverage="3", allow_new_trades="false")
    desk.server.start()
    await desk.agree()
    desk.assert_one_policy()
    for node in (desk.one, desk.two):
        assert node.leverage == 3
        assert node.policy.active().max_open_positions == 2
        assert not node.in_force.allow_new_trades
        assert not node.policy.can_open_new_trades()
        [event] = node.conflicts()
        assert event.version == node.policy.version
        assert set(event.changes["conservative.max_leverage"]) == {"8", "3"}
        conflict = node.policy.snapshot().conflict
        assert conflict is not None
        assert {side.author for side in conflict.sides} == {"alice", "bob"}
        assert conflict.base["conservative.max_leverage"] == "5"
        versions = [entry.version for entry in await node.policy.keeper.versions()]
        assert versions == sorted(set(versions))
    # Mine on the second node are bob's.
    document = await desk.two.policy.resolve("mine", author="bob", reason="calmer")
    assert document.active.max_open_positions == 5
    await desk.agree()
    desk.assert_one_policy()
    assert desk.one.in_force == document
    assert desk.one.policy.snapshot().conflict is None
    with pytest.raises(PolicyInvalid, match="no conflict"):
        await desk.one.policy.resolve("mine", author="alice", reason="late")


@pytest.mark.parametrize(("choice", "leverage"), [("theirs", 3), ("desk1", 8), ("stricter", 3)])
async def test_every_way_of_resolving(desk: Two, choice: str, leverage: int) -> None:
    await desk.lose_redis()
    await desk.one.set(max_leverage="8", max_open_positions="2")
    await desk.two.set(max_leverage="3")
    desk.server.start()
    await desk.agree()
    with pytest.raises(PolicyInvalid, match="desk1, desk2"):
        await desk.one.policy.resolve("nobody", author="op", reason="r")
    await desk.one.policy.resolve(choice, author="op", reason="decided")
    await desk.agree()
    assert desk.two.leverage == leverage
    assert desk.two.policy.keeper.conflict is None
    assert desk.two.policy.active().max_open_positions == (5 if choice == "theirs" else 2)


async def test_an_update_on_top_of_a_conflict_resolves_it(desk: Two) -> None:
    await desk.lose_redis()
    await desk.one.set(max_leverage="4")
    await desk.two.set(max_leverage="3")
    desk.server.start()
    await desk.agree()
    in_conflict = desk.one.policy.version
    with pytest.raises(PolicyConflict):
        await desk.one.policy.update(
            {"max_leverage": "4"}, base_version=in_conflict - 1, author="op", reason="r"
        )
    await desk.one.policy.update(
        {"max_leverage": "4"}, base_version=in_conflict, author="op", reason="r"
    )
    await desk.agree()
    assert (desk.two.leverage, desk.two.policy.keeper.conflict) == (4, None)


async def test_what_both_sides_set_alike_is_no_conflict(desk: Two) -> None:
    await desk.lose_redis()
    await desk.one.set(max_leverage="3")
    await desk.two.set(max_leverage="3")
    desk.server.start()
    await desk.agree()
    desk.assert_one_policy()
    assert desk.one.policy.keeper.conflict is None
    assert not desk.two.conflicts()


async def test_a_flush_without_a_disconnect_is_no_information(desk: Two) -> None:
    await desk.one.set(max_leverage="3")
    await desk.agree()
    desk.server.flush()
    await eventually(lambda: bool(in_redis(desk.server.url)), timeout_s=10)
    await desk.agree()
    desk.assert_one_policy()
    assert desk.two.leverage == 3


async def test_a_frozen_server_holds_no_editor_up(desk: Two) -> None:
    desk.server.freeze()
    try:
        began = asyncio.get_running_loop().time()
        await desk.one.policy.set_mode("defensive", author="op", reason="now")
        took_s = asyncio.get_running_loop().time() - began
        assert desk.one.in_force.profile == "defensive"
        assert took_s < 2.0  # In force at once; two bounded waits for the desk's word.
        await desk.one.until_lost()
    finally:
        desk.server.thaw()
    await eventually(lambda: desk.two.in_force.profile == "defensive", timeout_s=15)
    await desk.agree()
    desk.assert_one_policy()


async def test_a_conflict_and_what_was_decided_survive_a_restart(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with policy_node(tmp_path, "desk1", redis_server.url) as one:
        await eventually(one.is_settled)
        async with policy_node(tmp_path, "desk2", redis_server.url) as two:
            await eventually(two.is_settled)
            await eventually(lambda: one.policy.keeper.heads == two.policy.keeper.heads)
            redis_server.kill()
            await one.until_lost()
            await two.until_lost()
            await one.set(max_leverage="4")
            await two.set(max_leverage="3")
            redis_server.start()
            await eventually(lambda: bool(one.conflicts() and two.conflicts()), timeout_s=10)
            before = two.policy.snapshot()
    async with policy_node(tmp_path, "desk2", redis_server.url, start=False) as again:
        assert again.policy.snapshot().conflict == before.conflict
        assert again.policy.version == before.version
        # Nobody has confirmed it since.
        assert again.policy.age_s() is None
        assert again.policy.snapshot().source == "local snapshot"
        await again.start()
        await eventually(again.is_settled)
        assert again.policy.version == before.version
        await again.policy.resolve("stricter", author="op", reason="fine")
        assert again.policy.version == before.version + 1


@pytest.mark.parametrize("redis_remembers", [True, False])
async def test_a_restored_database_takes_the_desks_policy_or_gives_back_its_own(
    tmp_path: Path, redis_server: RealRedis, redis_remembers: bool
) -> None:
    database = tmp_path / "desk1.db"
    async with policy_node(tmp_path, "desk1", redis_server.url) as one:
        await eventually(one.is_settled)
        await one.set(max_leverage="4")
    backup = database.read_bytes()
    async with policy_node(tmp_path, "desk1", redis_server.url) as one:
        await eventually(one.is_settled)
        lost = await one.set(max_leverage="6", max_open_positions="3")
    database.write_bytes(backup)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    # What is taken back from events leaves the looser values out.
    tight = with_changes(lost, {"max_leverage": "4"})
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO policy_versions VALUES (?, ?, ?, ?, ?)",
            (lost.version, "op", lost.ts_ns, "taken back", msgspec.json.encode(tight)),
        )
    if not redis_remembers:
        redis_server.flush()
    async with policy_node(tmp_path, "desk1", redis_server.url) as one:
        assert one.leverage == 4
        await eventually(one.is_settled, timeout_s=10)
        assert one.policy.snapshot().conflict is None
        assert one.leverage == (6 if redis_remembers else 4)
        assert one.policy.active().max_open_positions == 3
        assert one.policy.version == lost.version + 1
        assert document_hash(one.in_force) == in_redis(redis_server.url)["sha256"]
        assert one.policy.snapshot().note == ""


# --- age ------------------------------------------------------------------------------------------


async def test_the_age_is_that_of_the_last_confirmation_by_redis(desk: Two) -> None:
    assert (desk.one.policy.age_s() or 9) < 5
    await desk.lose_redis()
    lost = desk.one.policy.keeper.confirmed_ns
    assert lost is not None
    assert await desk.one.policy.confirm()  # The disk agrees, and that is no word of the desk.
    await desk.one.set(max_leverage="3")
    assert desk.one.policy.keeper.confirmed_ns == lost
    desk.one.policy.keeper.confirmed_ns = lost - 29_000_000_000
    assert not desk.one.policy.snapshot().stale
    desk.one.policy.keeper.confirmed_ns = lost - 31_000_000_000
    shown = desk.one.policy.snapshot()
    assert (shown.stale, shown.source) == (True, "local snapshot")
    assert shown.age_s > 31
    desk.one.policy.keeper.confirmed_ns = lost - 301_000_000_000
    assert not desk.one.policy.can_open_new_trades()
    desk.server.start()
    await desk.agree()
    assert desk.one.policy.can_open_new_trades()
    assert not desk.one.policy.snapshot().stale


# --- strangers ------------------------------------------------------------------------------------


async def test_of_an_unsigned_policy_only_stricter_values_are_taken(desk: Two) -> None:
    await desk.one.set(max_leverage="4")
    await desk.agree()
    foreign = with_changes(
        msgspec.structs.replace(desk.one.in_force, version=99, author="mallory"),
        {"max_leverage": "20", "protective_stop": "0.01", "profile": "aggressive"},
    )
    write_as_a_stranger(desk.server.url, foreign)
    await eventually(
        lambda: desk.one.policy.active().protective_stop == Decimal("0.01"), timeout_s=2
    )
    await desk.agree()
    desk.assert_one_policy()
    assert desk.one.leverage == 4
    assert desk.one.in_force.profile == "conservative"
    told = desk.one.raised("POLICY_UNSIGNED") + desk.two.raised("POLICY_UNSIGNED")
    assert told
    assert "'mallory', node 'stranger'" in told[0]
    assert "only its stricter values were taken" in told[0]
    assert in_redis(desk.server.url)["sig"]


async def test_a_looser_unsigned_policy_is_written_over(desk: Two) -> None:
    before = desk.one.in_force
    loose = with_changes(
        msgspec.structs.replace(before, version=2**40, author="mallory"),
        {"max_leverage": "6", "aggressive.max_leverage": "25"},
    )
    write_as_a_stranger(desk.server.url, loose)
    await eventually(lambda: in_redis(desk.server.url)["node"] != "stranger", timeout_s=2)
    await desk.agree()
    desk.assert_one_policy()
    assert desk.one.in_force == before
    assert any("nothing of it was taken" in why for why in desk.one.raised("POLICY_UNSIGNED"))


async def test_a_signature_that_fails_is_as_none(desk: Two) -> None:
    held = in_redis(desk.server.url)
    loose = with_changes(
        msgspec.structs.replace(desk.one.in_force, version=99, author="m"), {"max_leverage": "6"}
    )
    forged = held | {
        "version": "99",
        "author": "m",
        "document": document_json(loose).decode(),
        "sha256": document_hash(loose),
        "node": "desk9",
    }
    write_as_a_stranger(desk.server.url, forged)
    await eventually(lambda: in_redis(desk.server.url)["node"] != "desk9", timeout_s=2)
    await desk.agree()
    assert desk.two.leverage == 5
    assert any("'desk9'" in why for why in desk.one.raised("POLICY_UNSIGNED"))


@pytest.mark.allow_log("is refused")
@pytest.mark.parametrize(
    "fields",
    [
        {"document": "no json"},
        {"document": "{}", "version": "3"},
        {"document": document_json(SEED).decode(), "sha256": "0" * 64},
        {"document": document_json(SEED).decode(), "heads": "[1]"},
        {"version": "7"},
        {
            "document": document_json(
                with_changes(msgspec.structs.replace(SEED), {"max_leverage": "4000"})
            ).decode()
        },
    ],
    ids=["no json", "empty", "wrong hash", "bad heads", "no document", "beyond the ceiling"],
)
async def test_what_cannot_be_read_is_refused_and_replaced(
    desk: Two, fields: dict[str, str]
) -> None:
    before = desk.one.in_force
    write_as_a_stranger(desk.server.url, fields | {"node": "stranger"})
    await eventually(lambda: in_redis(desk.server.url)["node"] != "stranger", timeout_s=2)
    await desk.agree()
    desk.assert_one_policy()
    assert desk.one.in_force == before
    assert any("'stranger'" in why for why in desk.one.raised("POLICY_REFUSED"))
    assert desk.one.alarms[-1] == ("POLICY_REFUSED", "")


@pytest.mark.allow_log("is refused")
async def test_a_key_of_another_kind_is_replaced(desk: Two) -> None:
    desk.server.command("SET", "seawall:policy", "what is this")
    desk.server.command("XADD", "seawall:changes", "*", "topic", "policy", "node", "stranger")
    await eventually(lambda: b"hash" in desk.server.command("TYPE", "seawall:policy"), timeout_s=3)
    await desk.agree()
    desk.assert_one_policy()


@pytest.mark.allow_log("is refused")
async def test_what_is_signed_and_not_understood_is_left_alone_and_not_confirmed(
    desk: Two,
) -> None:
    """A newer Seawall has fields that this one does not know."""
    held = in_redis(desk.server.url)
    document = json.loads(held["document"]) | {"field_of_the_future": 1}
    text = json.dumps(document)
    signed = held | {
        "document": text,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "node": "newer",
    }
    lines = ["seawall:policy", *(signed[n] for n in ("version", "sha256", "node", "heads"))]
    signed["sig"] = hmac.new(KEY.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    write_as_a_stranger(desk.server.url, signed)
    await eventually(lambda: desk.one.raised("POLICY_REFUSED"), timeout_s=3)
    assert await desk.one.refused_by_the_desk()
    assert in_redis(desk.server.url)["node"] == "newer"
    assert not desk.one.desk.agrees


# --- without a desk key ---------------------------------------------------------------------------


async def test_without_a_key_only_stricter_values_of_others_are_taken_and_said_so(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    url = redis_server.url
    async with policy_node(tmp_path, "desk1", url, key="") as one:
        await eventually(one.is_settled)
        async with policy_node(tmp_path, "desk2", url, key="") as two:
            desk = Two(one, two, redis_server)
            await desk.agree()
            await one.set(max_leverage="10", protective_stop="0.01")
            await eventually(
                lambda: two.policy.active().protective_stop == Decimal("0.01"), timeout_s=2
            )
            await desk.agree()
            assert (one.leverage, two.leverage) == (10, 5)
            note = two.policy.snapshot().note
            assert "no desk key here" in note
            assert "desk1" in note
            # A person at the other node agrees: then it is everybody's.
            await two.set(max_leverage="10")
            await desk.agree()
            assert (one.leverage, two.leverage) == (10, 10)
            versions = [entry.version for entry in await two.policy.keeper.versions()]
            assert versions == sorted(set(versions))


async def test_a_node_without_the_key_cannot_loosen_a_desk_that_has_one(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    url = redis_server.url
    async with policy_node(tmp_path, "desk1", url) as one:
        await eventually(one.is_settled)
        async with policy_node(tmp_path, "desk2", url, key="") as two:
            await eventually(two.is_settled)
            await two.set(max_leverage="10", max_open_positions="2")
            await eventually(lambda: one.policy.active().max_open_positions == 2, timeout_s=3)
            assert one.leverage == 5
            assert any("'desk2'" in why for why in one.raised("POLICY_UNSIGNED"))
            # They do not go on overwriting each other.
            await eventually(lambda: one.desk.agrees and two.desk.agrees, timeout_s=5)
            assert one.policy.keeper.heads == two.policy.keeper.heads
