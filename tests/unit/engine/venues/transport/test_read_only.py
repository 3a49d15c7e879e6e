"""Connections that only read: what is no read is stopped in the step in which it would leave."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.model.errors import InvariantBroken
from engine.venues.transport.http import HttpAnswer, Outgoing
from engine.venues.transport.rate_limits import Lane
from engine.venues.transport.read_only import ReadOnlyConnections, public_sockets
from engine.venues.transport.stream import VenueSocket


class _Recorder:
    """Connections that keep what left."""

    def __init__(self) -> None:
        self.left: list[Outgoing] = []
        self.warm_connections = 0

    async def send(self, lane: Lane, make: Callable[[], Outgoing]) -> HttpAnswer:
        self.left.append(make())
        return HttpAnswer(status=200, headers={}, body=b"{}")

    async def warm(self) -> int:
        self.warm_connections = 3
        return 3

    async def keep_warm(self) -> None:
        self.warm_connections = 20

    async def close(self) -> None:
        self.warm_connections = 0


async def _send(outgoing: Outgoing) -> list[Outgoing]:
    recorder = _Recorder()
    connections = ReadOnlyConnections(recorder, paths=("/v1/time", "/v1/order"))
    try:
        await connections.send(Lane.EXIT, lambda: outgoing)
    finally:
        left = recorder.left
    return left


@pytest.mark.parametrize("target", ["/v1/time", "/v1/order", "/v1/order?symbol=BTCUSDT"])
async def test_a_read_on_the_list_passes_as_it_is(target: str) -> None:
    read = Outgoing(method="GET", target=target, headers={"A": "b"})
    assert await _send(read) == [read]


@pytest.mark.parametrize(
    "outgoing",
    [
        Outgoing(method="POST", target="/v1/order"),
        Outgoing(method="PUT", target="/v1/order"),
        Outgoing(method="DELETE", target="/v1/order?id=1"),
        Outgoing(method="get", target="/v1/order"),
        Outgoing(method="GET", target="/v1/order", body=b"{}"),
        Outgoing(method="GET", target="/v1/order/"),
        Outgoing(method="GET", target="/v1/time/../order/create"),
        Outgoing(method="GET", target="/v1/leverage"),
        Outgoing(method="GET", target="http://elsewhere/v1/time"),
        Outgoing(method="GET", target=""),
    ],
)
async def test_anything_else_is_a_fault_and_no_byte_of_it_leaves(outgoing: Outgoing) -> None:
    recorder = _Recorder()
    connections = ReadOnlyConnections(recorder, paths=("/v1/time", "/v1/order"))
    for lane in Lane:
        with pytest.raises(InvariantBroken, match="only reads"):
            await connections.send(lane, lambda: outgoing)
    assert recorder.left == []


async def test_what_a_refusal_says_holds_no_query_and_no_header() -> None:
    connections = ReadOnlyConnections(_Recorder(), paths=())
    outgoing = Outgoing(
        method="POST", target="/v1/order?signature=5ecret", headers={"KEY": "5ecret"}
    )
    with pytest.raises(InvariantBroken) as refused:
        await connections.send(Lane.ENTRY, lambda: outgoing)
    assert "5ecret" not in f"{refused.value} {connections!r}"


async def test_the_rest_is_the_real_connections() -> None:
    connections = ReadOnlyConnections(_Recorder(), paths=())
    assert await connections.warm() == 3
    await connections.keep_warm()
    assert connections.warm_connections == 20
    await connections.close()
    assert connections.warm_connections == 0


class _Socket:
    async def receive(self) -> str:
        return ""

    async def send(self, text: str) -> None:
        """Says nothing."""

    def abort(self) -> None:
        """Has nothing to end."""


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("wss://host/public/ws/btcusdt@bookTicker", True),
        ("wss://host/market/stream?streams=btcusdt@aggTrade", True),
        ("wss://host/v5/public/linear", True),
        ("wss://host/private/ws/L1stenKey", False),
        ("wss://host/v5/private", False),
        ("wss://host/v5/trade", False),
        ("wss://host/ws-fapi/v1", False),
        ("wss://host/publicly/ws", False),
        ("wss://host/public/../private/ws/L1stenKey", False),
        ("wss://host", False),
    ],
)
async def test_a_socket_is_opened_to_public_streams_alone(address: str, is_public: bool) -> None:
    opened: list[str] = []

    async def open_socket(asked: str) -> VenueSocket:
        opened.append(asked)
        return _Socket()

    open_public = public_sockets(open_socket, paths=("/public", "/market", "/v5/public"))
    if is_public:
        await open_public(address)
        assert opened == [address]
        return
    with pytest.raises(InvariantBroken) as refused:
        await open_public(address)
    assert opened == []
    assert "L1stenKey" not in str(refused.value)
