"""The lease of a node's name: `seawall:NODE:lease`, a JSON with owner, session and fencing number.

Two engines of one name would write over each other, so whoever wants to use a name first takes its
lease, and renews it with every heartbeat. A lease that was not renewed for 3 s by the server's
clock may be taken over; the fencing number goes up each time, and the append script refuses a
session that does not hold the lease, so that an engine which slept through the loss of its lease
writes nothing any more.

The key never expires: with it the fencing number would be gone. The owner is the machine and the
data directory, of which the operating system's lock allows one engine; so an engine that comes back
after a crash takes its own name over at once, while another one waits. The heartbeat is a write, so
a server that can be read and not written to is noticed by it within half a second.
"""

from __future__ import annotations

import os
from typing import Any

from engine.redis_link.faults import name_in_use
from engine.redis_link.node_stream import Command

LEASE_MS = 3_000
NODES_KEY = "seawall:nodes"
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = {}
local text = redis.call('GET', KEYS[1])
if text then
  local ok, read = pcall(cjson.decode, text)
  if ok and type(read) == 'table' then held = read end
end
local fence = tonumber(held.fence) or 0
local until_ms = tonumber(held.until_ms) or 0
local known = tonumber(ARGV[3])
if held.session ~= ARGV[2] then
  local same = held.owner == ARGV[1] and known == 0
  if until_ms > now and not same then
    return {0, fence, text}
  end
  fence = math.max(fence, known) + 1
end
redis.call('SET', KEYS[1], string.format('{"owner":%s,"session":%s,"fence":%d,"until_ms":%.0f}',
  cjson.encode(ARGV[1]), cjson.encode(ARGV[2]), fence, now + tonumber(ARGV[4])))
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], ARGV[6], ARGV[5]) end
return {1, fence, ''}
"""


class Lease:
    """One engine's claim to its node's name, over all sessions of the link."""

    def __init__(self, *, node: str, owner: str, number: str) -> None:
        """`number` is of this run of the engine only."""
        self._node = node
        self._owner = owner
        self.session = f"{os.getpid()}-{number}"
        self.key = f"seawall:{node}:lease"
        # The highest fencing number that this run has held; 0 before the first.
        self.fence = 0

    @property
    def owner(self) -> str:
        return self._owner

    async def renew(self, execute: Command, heartbeat: str = "") -> None:
        """Take or keep the name; NameInUse when it is somebody else's."""
        await self._run(execute, LEASE_MS, heartbeat)

    async def release(self, execute: Command, heartbeat: str) -> None:
        """Let the next one have the name at once; the fencing number stays."""
        await self._run(execute, 0, heartbeat)

    async def _run(self, execute: Command, length_ms: int, heartbeat: str) -> None:
        arguments = (
            *(2, self.key, NODES_KEY, self._owner, self.session),
            *(self.fence, length_ms, heartbeat, self._node),
        )
        answer: Any = await execute("EVAL", _SCRIPT, *arguments)
        if not answer[0]:
            raise name_in_use(self._node, answer[2])
        self.fence = int(answer[1])


__all__ = ["LEASE_MS", "NODES_KEY", "Lease"]
