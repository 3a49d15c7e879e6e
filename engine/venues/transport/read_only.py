"""A transport that can read and nothing else: for a dry run, and for public prices under paper.

It stands between an adapter and the real connections and lets a request pass only when it is a GET
without a body to a path on a list of reads; the look is taken in the very step in which the bytes
would leave, so that nothing an adapter or its caller does can get an order past it. Sockets: only
addresses under the paths of public streams. Anything else is a programmer's error (InvariantBroken)
and not one byte of it leaves. The lists are the adapters' (`engine.venues.*.reads`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from engine.model.errors import require
from engine.venues.transport.http import Connections, HttpAnswer, Outgoing
from engine.venues.transport.rate_limits import Lane
from engine.venues.transport.stream import OpenSocket, VenueSocket


class ReadOnlyConnections:
    """Implements `Connections`."""

    def __init__(self, connections: Connections, *, paths: Iterable[str]) -> None:
        """`paths` are what may be read, each in full and without a query."""
        self._connections = connections
        self._paths = frozenset(paths)

    def __repr__(self) -> str:
        return f"ReadOnlyConnections({self._connections!r}, {len(self._paths)} paths)"

    @property
    def warm_connections(self) -> int:
        """How many idle connections of the emergency lane are open."""
        return self._connections.warm_connections

    async def send(self, lane: Lane, make: Callable[[], Outgoing]) -> HttpAnswer:
        """Send it when it only reads; InvariantBroken otherwise, and nothing is sent."""

        def make_a_read() -> Outgoing:
            outgoing = make()
            path = outgoing.target.partition("?")[0]
            require(
                outgoing.method == "GET" and not outgoing.body and path in self._paths,
                f"this connection only reads: {outgoing.method} {path} was not sent",
            )
            return outgoing

        return await self._connections.send(lane, make_a_read)

    async def warm(self) -> int:
        """Open the emergency lane's connections ahead, for its reads."""
        return await self._connections.warm()

    async def keep_warm(self) -> None:
        """Runs for ever: opens again what the venue has closed."""
        await self._connections.keep_warm()

    async def close(self) -> None:
        await self._connections.close()


def public_sockets(open_socket: OpenSocket, *, paths: Iterable[str]) -> OpenSocket:
    """Opens only addresses whose path lies under one of `paths`; InvariantBroken otherwise."""
    roots = tuple(f"{path.rstrip('/')}/" for path in paths)

    async def open_public(address: str) -> VenueSocket:
        path = urlsplit(address).path
        # A listen key may stand in the path of an address that is refused: only its root is told.
        require(
            f"{path}/".startswith(roots) and ".." not in path,
            f"this stream is not a public one: {path.split('/')[1:2]} was not opened",
        )
        return await open_socket(address)

    return open_public


__all__ = ["ReadOnlyConnections", "public_sockets"]
