"""The policy store: one editor wins, nothing wrong gets in, and its age is the truth."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import msgspec
import pytest

from engine.model.emergency import TripSource
from engine.model.errors import PolicyConflict, PolicyInvalid, StoreError
from engine.model.events import PolicyChanged
from engine.model.policy import FIELDS, PolicyDocument, document_hash, seeded
from engine.policy import PolicyStore
from engine.runtime import IdSource, SimClock, Stamper
from tests.fakes.policy_authority import FakeAuthority, FakeEmergency
from tests.fakes.risk_facts import NOW_NS, Recorder

D = Decimal


class Desk:
    def __init__(self, authority: FakeAuthority | None = None) -> None:
        self.clock = SimClock(start_ns=NOW_NS)
        self.authority = authority or FakeAuthority()
        self.emergency = FakeEmergency()
        self.seen = Recorder()
        self.tight_only: str | None = None
        self.store = PolicyStore(
            authority=self.authority,
            clock=self.clock,
            stamp=Stamper(clock=self.clock, ids=IdSource(seed=1), source="policy"),
            announce=self.seen.emit,
            emergency=self.emergency,
            loosening_refused=lambda: self.tight_only,
            live=False,
            node="desk",
        )

    def pass_time(self, seconds: float) -> None:
        self.clock._elapsed_ns += round(seconds * 1e9)

    async def set(self, **changes: str) -> PolicyDocument:
        return await self.store.update(
            changes, base_version=self.store.version, author="op", reason="test"
        )


def seed() -> PolicyDocument:
    return seeded(D(100_000), live=False, ts_ns=NOW_NS)


async def opened() -> Desk:
    desk = Desk()
    assert await desk.store.open(seed)
    return desk


async def test_seeded_at_the_first_start_only() -> None:
    desk = await opened()
    assert desk.store.get_policy() == seed()
    assert desk.authority.journal[0].version == 1
    again = Desk(desk.authority)
    assert not await again.store.open(lambda: pytest.fail("seeded twice"))
    assert again.store.get_policy() == seed()


async def test_what_is_stored_must_be_valid_under_this_version() -> None:
    desk = await opened()
    broken = desk.authority.documents[0].profiles | {"extra": seed().active}
    desk.authority.documents[0] = msgspec.structs.replace(seed(), profiles=broken)
    with pytest.raises(PolicyInvalid) as caught:
        await Desk(desk.authority).store.open(seed)
    assert set(caught.value.problems) == {"profiles"}


async def test_an_update_is_durable_with_its_event_and_then_told() -> None:
    desk = await opened()
    document = await desk.set(drawdown_soft="4%")
    assert (document.version, document.author, document.reason) == (2, "op", "test")
    assert desk.store.active().drawdown_soft == D("0.04")
    assert desk.authority.documents[-1] == document
    event = desk.authority.journal[-1]
    assert event.changes == {"conservative.drawdown_soft": ("0.05", "0.04")}
    assert desk.seen.events[-1] is event


async def test_the_second_of_two_editors_gets_a_conflict() -> None:
    desk = await opened()
    one, other = await asyncio.gather(
        desk.set(max_leverage="4"), desk.set(max_leverage="3"), return_exceptions=True
    )
    assert isinstance(one, PolicyDocument)
    assert isinstance(other, PolicyConflict)
    assert (other.base_version, other.current_version) == (1, 2)
    assert desk.store.active().max_leverage == D(4)
    with pytest.raises(PolicyConflict):
        await desk.store.update({}, base_version=1, author="op", reason="old page")


async def test_an_invalid_policy_is_refused_with_every_field_and_the_old_one_stays() -> None:
    desk = await opened()
    with pytest.raises(PolicyInvalid) as caught:
        await desk.set(drawdown_soft="0.3", max_leverage="200", max_open_positions="-1")
    assert set(caught.value.problems) == {
        "conservative.drawdown_soft",
        "conservative.max_leverage",
        "conservative.max_open_positions",
        "conservative.protective_stop",
    }
    with pytest.raises(PolicyInvalid) as caught:
        await desk.set(drawdown_sofd="0.3", max_leverage="many")
    assert set(caught.value.problems) == {"drawdown_sofd", "max_leverage"}
    assert desk.store.version == 1


@pytest.mark.parametrize("spec", FIELDS, ids=lambda spec: spec.name)
async def test_no_editor_passes_a_ceiling(spec) -> None:  # type: ignore[no-untyped-def]
    desk = await opened()
    value = "maybe" if spec.kind == "flag" else str(spec.ceiling + 1)
    with pytest.raises(PolicyInvalid) as caught:
        await desk.set(**{spec.name: value})
    assert any(name.endswith(spec.name) for name in caught.value.problems)


async def test_a_reason_is_required_and_no_change_is_no_version() -> None:
    desk = await opened()
    with pytest.raises(PolicyInvalid) as caught:
        await desk.store.set_mode("defensive", author="op", reason="  ")
    assert set(caught.value.problems) == {"reason"}
    assert (await desk.set(max_leverage="5")).version == 1
    assert len(desk.authority.documents) == 1


async def test_switching_the_mode_is_one_action() -> None:
    desk = await opened()
    await desk.store.set_mode("aggressive", author="op", reason="calm market")
    assert desk.store.active().max_leverage == D(20)
    with pytest.raises(PolicyInvalid) as caught:
        await desk.store.set_mode("reckless", author="op", reason="why not")
    assert set(caught.value.problems) == {"profile"}


async def test_history_and_rollback_make_a_new_version() -> None:
    desk = await opened()
    await desk.set(max_leverage="4")
    await desk.set(max_leverage="3", **{"aggressive.max_leverage": "10"})
    document = await desk.store.rollback(2, author="op2", reason="too tight")
    assert (document.version, document.active.max_leverage) == (4, D(4))
    history = await desk.store.history()
    assert [entry.document.version for entry in history] == [4, 3, 2, 1]
    assert history[0].changes == {
        "aggressive.max_leverage": ("10", "20"),
        "conservative.max_leverage": ("3", "4"),
    }
    assert history[-1].changes == {}
    with pytest.raises(PolicyInvalid):
        await desk.store.rollback(99, author="op", reason="no such thing")


async def test_only_tighter_limits_while_latched() -> None:
    desk = await opened()
    desk.tight_only = "the emergency stop is latched"
    assert (await desk.set(max_leverage="4")).version == 2
    for changes in ({"max_leverage": "5"}, {"aggressive.max_leverage": "25"}, {"min_balance": "1"}):
        with pytest.raises(PolicyInvalid, match="latched"):
            await desk.set(**changes)
    with pytest.raises(PolicyInvalid, match="latched"):
        await desk.store.set_mode("aggressive", author="op", reason="more")
    with pytest.raises(PolicyInvalid, match="latched"):
        await desk.store.rollback(1, author="op", reason="back")
    with pytest.raises(PolicyInvalid, match="latched"):
        desk.store.check({"max_leverage": "5"})
    assert desk.store.version == 2


async def test_the_minimum_balance_may_be_lowered_when_it_is_what_tripped() -> None:
    desk = await opened()
    desk.emergency.trip(source=TripSource.MIN_BALANCE, reason="equity below the minimum")
    desk.tight_only = "the emergency stop is latched"
    assert (await desk.set(min_balance="40000")).active.min_balance == D(40_000)
    with pytest.raises(PolicyInvalid, match="latched"):
        await desk.set(min_balance="30000", max_leverage="6")


async def test_a_change_the_disk_refuses_leaves_the_old_policy() -> None:
    desk = await opened()
    desk.authority.down = True
    with pytest.raises(StoreError):
        await desk.set(max_leverage="4")
    assert desk.store.version == 1
    assert len(desk.seen.events) == 1


async def test_the_age_grows_from_the_last_confirmation() -> None:
    desk = await opened()
    desk.pass_time(10)
    assert desk.store.age_s() == 10
    assert await desk.store.confirm()
    assert desk.store.age_s() == 0


@pytest.mark.allow_log("not confirmed")
async def test_an_authority_that_does_not_answer_lets_it_grow_until_no_trade_may_open() -> None:
    desk = await opened()
    desk.authority.down = True
    desk.pass_time(299)
    assert not await desk.store.confirm()
    assert desk.store.can_open_new_trades()
    desk.pass_time(2)
    assert not desk.store.can_open_new_trades()
    assert desk.store.snapshot().age_s == 301
    assert "does not answer" in desk.store.fault
    desk.authority.down = False
    assert await desk.store.confirm()
    assert desk.store.can_open_new_trades()
    assert desk.store.fault == ""


@pytest.mark.allow_log("not confirmed")
async def test_another_document_under_our_version_is_no_confirmation() -> None:
    desk = await opened()
    other = msgspec.structs.replace(seed(), allow_new_trades=False)
    desk.authority.documents[0] = other
    assert not await desk.store.confirm()
    desk.authority.documents.clear()
    assert not await desk.store.confirm()


async def test_a_change_whose_answer_was_lost_is_found_by_confirming() -> None:
    desk = await opened()
    twin = Desk(desk.authority)
    await twin.store.open(seed)
    await twin.set(max_leverage="4")
    assert await desk.store.confirm()
    assert desk.store.version == 2
    event = desk.seen.events[-1]
    assert isinstance(event, PolicyChanged)
    assert event.changes == {"conservative.max_leverage": ("5", "4")}


async def test_emergency_mode_is_derived_from_trips() -> None:
    desk = await opened()
    assert not desk.store.is_emergency_mode()
    assert desk.store.can_open_new_trades()
    desk.store.set_emergency_mode("operator")
    assert desk.store.is_emergency_mode()
    assert (desk.store.emergency_reason(), desk.store.emergency_activated_at()) == ("operator", 1)
    assert not desk.store.can_open_new_trades()
    await desk.set(max_leverage="4")
    await desk.store.rollback(1, author="op", reason="back")
    assert desk.store.is_emergency_mode(), "no change of the policy touches the trips"


async def test_snapshot_says_what_is_in_force() -> None:
    desk = await opened()
    snapshot = desk.store.snapshot()
    assert (snapshot.version, snapshot.profile, snapshot.source) == (
        1,
        "conservative",
        "state database",
    )
    assert snapshot.sha256 == document_hash(seed())
    await desk.set(allow_new_trades="false")
    assert not desk.store.snapshot().allow_new_trades
    assert not desk.store.can_open_new_trades()
