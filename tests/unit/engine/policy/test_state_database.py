"""The policy store on a real database: versions, event and audit entry in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from engine.database import DatabaseReader, DatabaseWriter, load_migrations, write_generation
from engine.journal import Journal
from engine.model.errors import PolicyConflict, StoreError
from engine.model.policy import PolicyDocument, seeded
from engine.model.policy_revision import revisions_json
from engine.policy import PolicyStore, StateDatabaseAuthority
from engine.runtime import IdSource, Stamper, SystemClock
from engine.trade_state import TradeStore
from tests.fakes.policy_authority import FakeEmergency
from tests.fakes.risk_facts import Recorder


@dataclass
class Desk:
    writer: DatabaseWriter
    reader: DatabaseReader
    journal: Journal
    trade_store: TradeStore
    seen: Recorder
    policy: PolicyStore

    async def set(self, **changes: str) -> PolicyDocument:
        return await self.policy.update(
            changes, base_version=self.policy.version, author="op", reason="test"
        )

    async def close(self) -> None:
        await self.reader.close()
        await self.writer.close()


def seed() -> PolicyDocument:
    return seeded(Decimal(100_000), live=False)


async def open_desk(folder: Path) -> Desk:
    path = folder / "state.db"
    clock = SystemClock()
    writer = DatabaseWriter(
        path=path, migrations=load_migrations(files("resources") / "migrations")
    )
    reader = DatabaseReader(path=path)
    journal = Journal(writer=writer, reader=reader, clock=clock)
    trade_store = TradeStore(writer=writer, reader=reader, journal=journal, node="desk")
    await writer.open()
    await reader.open()
    await journal.open(standalone=False)
    seen = Recorder()
    policy = PolicyStore(
        authority=StateDatabaseAuthority(store=trade_store, node="desk", new_line="desk:1"),
        clock=clock,
        stamp=Stamper(clock=clock, ids=IdSource(), source="policy"),
        announce=seen.emit,
        emergency=FakeEmergency(),
        loosening_refused=lambda: None,
        live=False,
        node="desk",
    )
    return Desk(writer, reader, journal, trade_store, seen, policy)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    opened = await open_desk(tmp_path)
    yield opened
    await opened.close()


async def test_versions_survive_a_restart(desk: Desk, tmp_path: Path) -> None:
    assert await desk.policy.open(seed)
    await desk.set(max_leverage="4")
    await desk.policy.set_mode("moderate", author="op2", reason="calm")
    before = desk.policy.get_policy()
    await desk.close()
    again = await open_desk(tmp_path)
    try:
        assert not await again.policy.open(seed)
        assert again.policy.get_policy() == before
        versions = [entry.document.version for entry in await again.policy.history()]
        assert versions == [3, 2, 1]
        assert await again.policy.confirm()
    finally:
        await again.close()


async def test_a_change_its_event_and_its_audit_entry_are_one(desk: Desk) -> None:
    await desk.policy.open(seed)
    await desk.set(max_leverage="4")
    rows = await desk.journal.read_batch(0)
    assert [row.event_id for row in rows] == [event.id for event in desk.seen.events]
    audited = await desk.trade_store.history.audit()
    assert [(entry.who, entry.what, entry.why) for entry in audited] == [
        ("seawall", "policy version 1", "seeded with a new data directory"),
        ("op", "policy version 2", "test"),
    ]
    assert await desk.trade_store.verify_audit() is None


async def test_of_two_editors_the_second_leaves_nothing_behind(desk: Desk) -> None:
    await desk.policy.open(seed)
    one, other = await asyncio.gather(
        desk.set(max_leverage="4"), desk.set(max_leverage="3"), return_exceptions=True
    )
    assert isinstance(one, PolicyDocument)
    assert isinstance(other, PolicyConflict)
    assert len(await desk.trade_store.history.policies()) == 2
    assert len(await desk.trade_store.history.audit()) == 2
    assert len(await desk.journal.read_batch(0)) == 2


@pytest.mark.allow_log("not confirmed")
async def test_a_document_changed_behind_our_back_is_not_confirmed(desk: Desk) -> None:
    await desk.policy.open(seed)
    assert await desk.policy.confirm()
    forged = msgspec.structs.replace(seed(), allow_new_trades=False)
    body = msgspec.json.encode(forged)
    await desk.writer.submit(
        lambda connection: connection.execute("UPDATE policy_versions SET record = ?", (body,))
    )
    assert not await desk.policy.confirm()
    assert desk.policy.get_policy().allow_new_trades


@pytest.mark.allow_log("not confirmed")
async def test_a_closed_database_confirms_nothing(desk: Desk) -> None:
    await desk.policy.open(seed)
    await desk.close()
    assert not await desk.policy.confirm()
    with pytest.raises(StoreError):
        await desk.set(max_leverage="4")
    assert desk.policy.version == 1


async def test_heads_and_their_version_survive_a_restart_and_belong_to_the_change(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.policy.open(seed)
    await desk.set(max_leverage="4")
    heads = desk.policy.keeper.heads
    assert await desk.trade_store.history.policy_heads() == (2, revisions_json(heads))
    await desk.close()
    again = await open_desk(tmp_path)
    try:
        await again.policy.open(seed)
        assert again.policy.keeper.heads == heads
    finally:
        await again.close()


@pytest.mark.allow_log("its descent is lost")
async def test_heads_that_cannot_be_read_are_made_anew_of_what_is_in_force(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.policy.open(seed)
    document = await desk.set(max_leverage="4")
    await desk.trade_store.record_policy_heads("[nonsense", version=2)
    await desk.close()
    again = await open_desk(tmp_path)
    try:
        await again.policy.open(seed)
        [head] = again.policy.keeper.heads
        assert (head.document, sum(head.lineage.values())) == (document, 2)
    finally:
        await again.close()


async def test_a_copied_or_restored_database_counts_on_a_line_of_its_own(desk: Desk) -> None:
    async def line(node: str, new: str) -> str:
        return await desk.trade_store.policy_line(node=node, new_line=new)

    assert await line("desk", "one") == "one"
    assert await line("desk", "two") == "one"
    assert await line("copy", "three") == "three"
    await desk.writer.submit(lambda connection: write_generation(connection, 7, created_ns=1))
    assert await line("copy", "four") == "four"
    assert await line("copy", "five") == "four"
