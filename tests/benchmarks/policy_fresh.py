"""How soon the desk's newest policy is in force and confirmed once Redis is back.

A node with a real database: its Redis is killed and comes back with a change that another node made
meanwhile. Ours: from the moment the link has found the server (or the change was written, if that
is later) until the change is in force here, in the database, and confirmed by a second read. What
the link waits between two attempts is in the notes; `resume` judges it. Baseline: one GET of a
document of the same size on a connection that stands.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec
import redis.asyncio

from engine.model.desk_key import DeskKey
from engine.model.errors import OperatorMessage
from engine.model.events import Event, LinkChanged
from engine.model.policy import document_json, with_changes
from engine.model.policy_revision import Revision
from engine.model.snapshots import LinkState
from engine.policy.merge import successor_lineage
from engine.redis_link import DeskConnection, RedisSharedPolicy
from tests.benchmarks.figures import Bar, Effort, Figure
from tests.faults.policy_desk import KEY, PolicyNode, policy_node
from tests.real_redis import RealRedis, find_redis_server
from tests.waiting import eventually

__all__ = ["measure"]

_LIMIT_MS = 100.0


def measure(effort: Effort) -> Figure:
    binary = find_redis_server()
    if binary is None:
        raise OperatorMessage("policy_fresh: no redis-server or valkey-server was found here")
    server = RealRedis(binary=binary)
    try:
        server.start()
        ours, since_answer, bare = asyncio.run(_rounds(server, 2 * effort.rounds))
    finally:
        server.close()
    worst = max(ours)
    return Figure(
        name="policy_fresh",
        unit="ms from the link's return to a fresh policy",
        better="lower",
        ours=ours,
        baseline_name="one GET of a document of the same size, redis-py",
        baseline=bare,
        bars=[Bar(f"{worst:.1f} ms at worst, under 100", worst < _LIMIT_MS)],
        notes=[
            f"from the server's first answer, with the link's wait: {median(since_answer):.0f} ms,"
            f" {max(since_answer):.0f} at worst"
        ],
    )


async def _rounds(server: RealRedis, rounds: int) -> tuple[list[float], list[float], list[float]]:
    ours: list[float] = []
    since_answer: list[float] = []
    bare: list[float] = []
    with TemporaryDirectory(prefix="seawall-bench-") as folder:
        async with policy_node(Path(folder), "desk1", server.url) as node:
            await eventually(node.is_settled)
            for number in range(rounds + 1):
                fresh_ms, answered_ms = await _outage(server, node, leverage=2 + number % 3)
                get_ms = await _get(server, document_json(node.in_force))
                if number:
                    ours.append(fresh_ms)
                    since_answer.append(answered_ms)
                    bare.append(get_ms)
    return ours, since_answer, bare


async def _outage(server: RealRedis, node: PolicyNode, *, leverage: int) -> tuple[float, float]:
    found = _when_found(node)
    await asyncio.to_thread(server.kill)
    await node.until_lost()
    before = node.policy.version
    await asyncio.to_thread(server.start)
    answered = perf_counter()
    await _change_elsewhere(server, node, leverage)
    written = perf_counter()
    await eventually(
        lambda: node.leverage == leverage and node.is_settled(), timeout_s=10, interval_s=0.0005
    )
    fresh = perf_counter()
    if node.policy.version <= before or not node.policy.is_fresh():
        raise RuntimeError("nothing was taken: this measures something else")
    return (fresh - max(await found, written)) * 1_000, (fresh - answered) * 1_000


def _when_found(node: PolicyNode) -> asyncio.Future[float]:
    """The moment the link has the server again."""
    moment: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    was_down = False

    def changed(event: Event) -> None:
        nonlocal was_down
        assert isinstance(event, LinkChanged)
        if event.state == LinkState.DOWN.value:
            was_down = True
        elif was_down and not moment.done():
            moment.set_result(perf_counter())

    node.bus.subscribe(changed, types=(LinkChanged,), name="found")
    return moment


async def _change_elsewhere(server: RealRedis, node: PolicyNode, leverage: int) -> None:
    """What another node of the desk, which was back first, has written."""
    client = redis.asyncio.Redis.from_url(server.url, protocol=2)
    connection = DeskConnection()
    connection.attach(client.execute_command)
    shared = RedisSharedPolicy(desk=connection, key=DeskKey(KEY), node="desk2")
    heads = node.policy.keeper.heads
    lineage = successor_lineage(heads, line="desk2", above=node.policy.version)
    document = msgspec.structs.replace(
        with_changes(node.in_force, {"max_leverage": str(leverage)}),
        version=sum(lineage.values()),
        author="bench",
        reason="bench",
        ts_ns=node.clock.now_ns(),
    )
    revision = Revision(document=document, lineage=lineage, node="desk2")
    try:
        reading = await shared.read()
        if not await shared.write(document, (revision,), based_on=reading):
            raise RuntimeError("the node was faster: this measures something else")
    finally:
        await client.aclose()


async def _get(server: RealRedis, text: bytes) -> float:
    client = redis.asyncio.Redis.from_url(server.url, protocol=2)
    try:
        await client.set("bench:policy", text)
        began = perf_counter()
        await client.get("bench:policy")
        return (perf_counter() - began) * 1_000
    finally:
        await client.aclose()
