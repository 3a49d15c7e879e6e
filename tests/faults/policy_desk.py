"""A node with a policy of its own database, shared over a real Redis: what the kernel plugs
together, and nothing else.

`restart` makes a new node on the same database, as a process that was killed and came back.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import redis

from engine.model.config import RedisSection
from engine.model.desk_key import DeskKey
from engine.model.errors import EngineError
from engine.model.events import Event, PolicyChanged, PolicyConflicted, RedisLost, RedisRecovered
from engine.model.policy import PolicyDocument, document_hash, document_json, seeded
from engine.policy import DeskPolicy, PolicyStore, StateDatabaseAuthority
from engine.redis_link import (
    POLICY_TOPIC,
    LinkSettings,
    RecoveryPart,
    RedisSharedPolicy,
    choose,
)
from engine.runtime import Tasks
from engine.trade_state import TradeStore
from tests.fakes.policy_authority import FakeEmergency
from tests.faults.link_desk import LinkDesk
from tests.waiting import eventually

__all__ = ["KEY", "PolicyNode", "in_redis", "policy_node", "write_as_a_stranger"]

KEY = "a desk key for tests only"


def in_redis(url: str) -> dict[str, str]:
    """The hash as it stands, over a connection of the test's own."""
    client = redis.Redis.from_url(url, decode_responses=True, protocol=2)
    try:
        found: Any = client.hgetall("seawall:policy")
        return dict(found)
    finally:
        client.close()


def write_as_a_stranger(url: str, fields: dict[str, str] | PolicyDocument) -> None:
    """What somebody without our script, our key and our manners writes."""
    client = redis.Redis.from_url(url)
    if isinstance(fields, PolicyDocument):
        fields = {
            "version": str(fields.version),
            "document": document_json(fields).decode(),
            "sha256": document_hash(fields),
            "author": fields.author,
            "node": "stranger",
        }
    try:
        client.delete("seawall:policy")
        client.hset("seawall:policy", mapping=fields)
        client.xadd("seawall:changes", {"topic": "policy", "node": "stranger"})
    finally:
        client.close()


class PolicyNode(LinkDesk):
    """One node: real database, journal, bus, link, and the policy on top of them."""

    def __init__(self, *, path: Path, settings: LinkSettings, key: str, initial: str) -> None:
        super().__init__(path=path, settings=settings, seed=1)
        self.node = settings.node
        self.emergency = FakeEmergency()
        self.alarms: list[tuple[str, str]] = []
        self.loosening_refused: str | None = None
        self._initial = Decimal(initial)
        self.trade_store = TradeStore(
            writer=self.writer, reader=self.reader, journal=self.journal, node=self.node
        )
        self.policy = PolicyStore(
            authority=StateDatabaseAuthority(
                store=self.trade_store, node=self.node, new_line=f"{self.node}:{self.stamp()['id']}"
            ),
            clock=self.clock,
            stamp=self.stamp,
            announce=lambda event: self.bus.emit(event, journaled=True),
            emergency=self.emergency,
            loosening_refused=lambda: self.loosening_refused,
            live=False,
            node=self.node,
        )
        self.tasks = Tasks(on_fault=lambda name, error: self.faults.append(f"{name}: {error!r}"))
        self.desk = DeskPolicy(
            shared=RedisSharedPolicy(desk=self.link.desk, key=DeskKey(key), node=self.node),
            keeper=self.policy.keeper,
            io_clock=self.clock,
            tasks=self.tasks,
            on_alarm=lambda code, why: self.alarms.append((code, why)),
        )
        self.policy.share(self.desk)
        self.link.hear(POLICY_TOPIC, self.desk.heard)

    def _recovery(self) -> tuple[RecoveryPart, ...]:
        replay, reconcile = super()._recovery()
        return (replay, RecoveryPart(name="policy", run=self.desk.recover), reconcile)

    async def open(self) -> None:
        await self.writer.open()
        await self.reader.open()
        await self.journal.open(standalone=False)
        await self.policy.open(lambda: seeded(self._initial, live=False, ts_ns=self.clock.now_ns()))

    async def start(self) -> None:
        """The link, and what follows the desk; returns when the first attempt is over."""
        await self.link.start()
        self.tasks.spawn("follow", self.desk.follow(), forever=True)
        self.tasks.spawn("ask", self.desk.ask(), forever=True)

    async def close(self) -> None:
        await self.tasks.cancel_all()
        await self.link.close()
        await self.bus.drain(5.0)
        await self.reader.close()
        await self.writer.close()

    # --- what a test says and sees --------------------------------------------------------------

    async def set(self, *, author: str = "op", **changes: str) -> PolicyDocument:
        return await self.policy.update(
            changes, base_version=self.policy.version, author=author, reason="test"
        )

    @property
    def in_force(self) -> PolicyDocument:
        return self.policy.get_policy()

    @property
    def leverage(self) -> int:
        return int(self.policy.active().max_leverage)

    def is_settled(self) -> bool:
        """Up, recovered, and the desk's Redis holds what this node knows."""
        return self.link.is_up() and not self.link.recovering and self.desk.agrees

    def heard_changes(self) -> list[PolicyChanged]:
        return self.heard_of(PolicyChanged)

    def conflicts(self) -> list[PolicyConflicted]:
        return self.heard_of(PolicyConflicted)

    def raised(self, code: str) -> list[str]:
        return [why for name, why in self.alarms if name == code and why]

    def recoveries(self) -> int:
        return len(self.heard_of(RedisRecovered))

    def losses(self) -> int:
        return len(self.heard_of(RedisLost))

    async def until_lost(self) -> None:
        await eventually(lambda: not self.link.is_up(), timeout_s=8)

    async def refused_by_the_desk(self) -> bool:
        """Whether an exchange now fails, or ends without agreement."""
        try:
            return not await self.desk.exchange()
        except EngineError:
            return True

    def events_of(self, kind: type[Event]) -> list[Any]:
        return self.heard_of(kind)

    def shared(self) -> dict[str, Any]:
        """What Redis holds, decoded."""
        found: dict[str, Any] = dict(in_redis(self.settings.url))
        if "document" in found:
            found["document"] = json.loads(found["document"])
        return found


Start = Callable[..., Awaitable[PolicyNode]]


@asynccontextmanager
async def policy_node(
    folder: Path,
    node: str,
    url: str,
    *,
    key: str = KEY,
    initial: str = "100000",
    start: bool = True,
) -> AsyncIterator[PolicyNode]:
    """A node on its own database in a folder, started; closed in order at the end."""
    settings = choose(
        RedisSection(mode="url", url=url),
        node=node,
        run_folder=folder / "run",
        was_linked=False,
    )
    found = PolicyNode(path=folder / f"{node}.db", settings=settings, key=key, initial=initial)
    await found.open()
    try:
        if start:
            await found.start()
        yield found
    finally:
        await found.close()
