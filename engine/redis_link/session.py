"""A session: connections to one Redis server, from a successful PING to the first fault.

One carries the node's events, one what the desk shares, so that neither waits for the other. The
third only watches: it renews the lease, then waits half a second for a line in the desk's stream of
changes. A killed server ends that wait at once, because the socket is closed; a frozen one leaves
it without an answer for longer than the socket's timeout. redis-py's own retries, health checks and
pub/sub notice neither in time, so all of them are switched off. Two more read the commands stream.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from engine.model.limits import REDIS_PING_INTERVAL_S
from engine.model.redis_url import RedisAddress
from engine.redis_link.connection import make_client
from engine.redis_link.desk_connection import CHANGES_KEY
from engine.redis_link.lease import Lease
from engine.redis_link.node_stream import Command, NodeStream


class Session:
    """The connections. Every fault is raised to the caller; none is retried here."""

    def __init__(self, *, address: RedisAddress, ca_file: str, node: str, lease: Lease) -> None:
        self._commands = make_client(address, ca_file)
        self._watcher = make_client(address, ca_file)
        self._desk = make_client(address, ca_file)
        # What lies in the commands stream is anybody's: as it came, without redis-py's readings.
        self._scout = _raw(make_client(address, ca_file))
        self._consumer = _raw(make_client(address, ca_file))
        # redis-py does not type these.
        self._command: Command = self._commands.execute_command
        self._watch: Command = self._watcher.execute_command
        # The newest change that was heard of; the server's own word for "from now on" would lose
        # those between two waits.
        self._heard = b"0-0"
        self._lease = lease
        self.stream = NodeStream(
            execute=self._command, node=node, lease_key=lease.key, session=lease.session
        )
        self.run_id = ""

    @property
    def desk(self) -> Command:
        """Sends one command on the connection for what the desk shares."""
        command: Command = self._desk.execute_command
        return command

    @property
    def scout(self) -> Command:
        """For looking ahead in the commands stream."""
        command: Command = self._scout.execute_command
        return command

    @property
    def consumer(self) -> Command:
        """For working off the commands stream."""
        command: Command = self._consumer.execute_command
        return command

    async def open(self) -> None:
        """Connect, learn which run of the server this is, and take the name.

        NameInUse when another engine has it.
        """
        await self._command("PING")
        server: Any = await self._commands.info("server")
        self.run_id = str(server.get("run_id", ""))
        await self.desk("PING")
        newest: Any = await self._watch("XREVRANGE", CHANGES_KEY, "+", "-", "COUNT", 1)
        if newest:
            self._heard = newest[0][0]
        await self._lease.renew(self._watch)

    async def beat(self, heartbeat: str) -> None:
        """Renew the lease and leave a heartbeat. A write, so it fails where nothing can be
        written."""
        await self._lease.renew(self._watch, heartbeat)

    async def release(self, heartbeat: str) -> None:
        """Let the next engine have the name at once."""
        await self._lease.release(self._watch, heartbeat)

    async def wait_for_changes(self) -> frozenset[str]:
        """The topics that were changed on the desk, or none after half a second.

        Raises as soon as the server is gone, and soon after it is frozen.
        """
        answer: Any = await self._watch(
            *("XREAD", "BLOCK", round(REDIS_PING_INTERVAL_S * 1000)),
            *("STREAMS", CHANGES_KEY, self._heard),
        )
        if not answer:
            return frozenset()
        [(_, entries)] = answer
        self._heard = entries[-1][0]
        return frozenset(_topic(fields) for _, fields in entries)

    async def close(self) -> None:
        """Drop the connections; what a frozen server still has to read is not waited for."""
        clients = (self._commands, self._watcher, self._desk, self._scout, self._consumer)
        for client in clients:
            await client.connection_pool.disconnect()


def _raw(client: Redis) -> Redis:
    client.response_callbacks.clear()
    return client


def _topic(fields: dict[bytes, bytes]) -> str:
    """What a line of the changes names; "" when it is not one of ours."""
    return fields.get(b"topic", b"").decode(errors="replace")


__all__ = ["Session"]
