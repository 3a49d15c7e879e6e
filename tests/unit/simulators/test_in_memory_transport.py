"""The transport in memory knows of a request exactly what the one over sockets knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from engine.model.errors import Denied, NotExecuted, OutcomeUnknown
from engine.runtime import Tasks
from engine.venues.transport.http import HttpAnswer, Outgoing
from engine.venues.transport.rate_limits import Lane
from tests.simulators.in_memory import BinanceDesk, on_binance
from tests.simulators.in_memory_transport import (
    PING_LIMIT_S,
    InMemoryConnections,
    InMemorySocket,
    Latency,
    Line,
    in_memory_sockets,
)

_NS = 1_000_000_000


class Client:
    """A line to the simulated venue, and what goes over it."""

    def __init__(self, desk: BinanceDesk, latency: Latency | None) -> None:
        self.desk = desk
        self.clock = desk.clock
        self.faults: list[str] = []
        self.tasks = Tasks(on_fault=lambda name, error: self.faults.append(f"{name}: {error!r}"))
        self.line = Line(clock=desk.clock, tasks=self.tasks, latency=latency, seed=7)
        self.connections = InMemoryConnections(
            desk.exchange, desk.clock, line=self.line, tasks=self.tasks
        )
        self.open = in_memory_sockets(desk.exchange, desk.clock, line=self.line, tasks=self.tasks)

    async def make_key(self) -> HttpAnswer:
        """Make a listen key: the smallest thing that changes something."""
        return await self.connections.send(Lane.ENTRY, self.outgoing)

    def outgoing(self) -> Outgoing:
        headers = {"X-MBX-APIKEY": "test-key"}
        return Outgoing(method="POST", target="/fapi/v1/listenKey", headers=headers)

    def arrivals(self) -> list[dict[str, object]]:
        return list(self.desk.exchange.arrivals)

    async def stream(self) -> InMemorySocket:
        key = msgspec.json.decode((await self.make_key()).body)["listenKey"]
        return await self.open(f"wss://anywhere/private/ws/{key}")

    def speak(self) -> None:
        """Something that the private stream tells."""
        self.desk.exchange.venue.set_leverage(self.desk.exchange.symbol("BTCUSDT"), self._next())

    def _next(self) -> int:
        return self.desk.exchange.venue.account.leverage[self.desk.exchange.symbol("BTCUSDT")] + 1


def on_line(story: Callable[[Client], Awaitable[None]], *, latency: Latency | None = None) -> None:
    async def run(desk: BinanceDesk) -> None:
        client = Client(desk, latency)
        try:
            await story(client)
        finally:
            await client.tasks.cancel_all()
        assert not client.faults, client.faults

    on_binance(run)


def test_a_request_is_made_in_the_step_in_which_the_exchange_has_it() -> None:
    async def story(client: Client) -> None:
        seen: list[tuple[int, int]] = []

        def make() -> Outgoing:
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: seen.append((len(client.arrivals()), client.clock.now_ns())))
            assert not client.arrivals()
            return client.outgoing()

        answer = await client.connections.send(Lane.ENTRY, make)
        assert answer.status == 200
        assert seen == [(1, client.arrivals()[0]["ts_ns"])], "nothing came in between"
        assert client.connections.sent == 1

    on_line(story)


def test_a_no_of_the_final_check_lets_nothing_leave() -> None:
    async def story(client: Client) -> None:
        def make() -> Outgoing:
            raise Denied(("latched",), "stopped")

        with pytest.raises(Denied):
            await client.connections.send(Lane.ENTRY, make)
        assert client.arrivals() == []

    on_line(story)


@pytest.mark.parametrize(
    ("fault", "took_effect"), [("timeout_before", False), ("timeout_after", True)]
)
def test_no_answer_in_time_is_unknown_whether_or_not_it_took_effect(
    fault: str, took_effect: bool
) -> None:
    async def story(client: Client) -> None:
        client.desk.inject(kind=fault)
        began = client.clock.monotonic_ns()
        with pytest.raises(OutcomeUnknown, match="no answer in 10 s"):
            await client.make_key()
        assert client.clock.monotonic_ns() - began == 10 * _NS
        assert (client.desk.exchange.desk.listen_keys.current is not None) is took_effect

    on_line(story)


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_connection_that_ends_without_an_answer_is_unknown(fault: str) -> None:
    async def story(client: Client) -> None:
        client.desk.inject(kind=fault)
        with pytest.raises(OutcomeUnknown, match="connection ended"):
            await client.make_key()

    on_line(story)


def test_what_has_left_arrives_although_its_sender_has_given_up() -> None:
    async def story(client: Client) -> None:
        sending = asyncio.get_running_loop().create_task(client.make_key())
        await client.clock.sleep(1.0)
        assert client.arrivals() == []
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await client.clock.sleep(3.0)
        assert len(client.arrivals()) == 1

    on_line(story, latency=Latency(least_s=2.0, most_s=3.0))


def test_latencies_are_drawn_from_the_seed_and_slow_ones_are_rare() -> None:
    async def story(client: Client) -> None:
        took_s = []
        for _ in range(50):
            began = client.clock.monotonic_ns()
            await client.make_key()
            took_s.append((client.clock.monotonic_ns() - began) / _NS)
        slow = [one for one in took_s if one > 0.2]
        assert min(took_s) >= 0.02
        assert 1 <= len(slow) <= 20
        assert max(took_s) <= 4.0

    on_line(story, latency=Latency(least_s=0.01, most_s=0.1, slow_share=0.05, slow_most_s=2.0))


def test_a_venue_that_refuses_connections_has_got_nothing() -> None:
    async def story(client: Client) -> None:
        client.line.fail(refuses=True)
        with pytest.raises(NotExecuted):
            await client.make_key()
        assert client.connections.warm_connections == 0
        client.line.mend()
        assert (await client.make_key()).status == 200
        assert len(client.arrivals()) == 1

    on_line(story)


def test_a_venue_that_cannot_be_reached_has_got_nothing_after_the_time_to_connect() -> None:
    async def story(client: Client) -> None:
        client.line.fail(refuses=False)
        began = client.clock.monotonic_ns()
        with pytest.raises(NotExecuted):
            await client.make_key()
        assert client.clock.monotonic_ns() - began == 3 * _NS
        assert client.arrivals() == []

    on_line(story)


@pytest.mark.parametrize(("back_after_s", "arrived"), [(5.0, 2), (15.0, 1)])
def test_what_is_sent_into_nothing_is_unknown_and_arrives_if_it_is_waited_for(
    back_after_s: float, arrived: int
) -> None:
    async def story(client: Client) -> None:
        await client.make_key()  # Its connection stays open.
        client.line.fail(refuses=False)
        sending = asyncio.get_running_loop().create_task(client.make_key())
        await client.clock.sleep(back_after_s)
        client.line.mend()
        if arrived == 1:
            with pytest.raises(OutcomeUnknown):
                await sending
        else:
            assert (await sending).status == 200
        assert len(client.arrivals()) == arrived

    on_line(story)


def test_connections_of_the_emergency_lane_are_opened_ahead_and_end_with_the_venue() -> None:
    async def story(client: Client) -> None:
        assert client.connections.warm_connections == 0
        assert await client.connections.warm() == 20
        await client.connections.send(Lane.EXIT, client.outgoing)
        assert client.connections.warm_connections == 20
        client.line.fail(refuses=True)
        assert client.connections.warm_connections == 0
        assert await client.connections.warm() == 0

    on_line(story)


def test_an_ended_process_sends_nothing_more_and_what_had_left_arrives() -> None:
    async def story(client: Client) -> None:
        loop = asyncio.get_running_loop()
        before = loop.create_task(client.make_key())
        await client.clock.sleep(0.5)
        client.line.die()
        after = loop.create_task(client.make_key())
        await client.clock.sleep(20.0)
        assert len(client.arrivals()) == 1
        assert not after.done()
        for task in (before, after):
            task.cancel()
        await asyncio.gather(before, after, return_exceptions=True)

    on_line(story, latency=Latency(least_s=1.0, most_s=2.0))


# --- streams --------------------------------------------------------------------------------------


async def _heard(socket: InMemorySocket, number: int) -> list[Any]:
    return [msgspec.json.decode(await socket.receive()) for _ in range(number)]


def test_pushes_arrive_late_and_in_their_order() -> None:
    async def story(client: Client) -> None:
        socket = await client.stream()
        began = client.clock.monotonic_ns()
        for _ in range(20):
            client.speak()
        heard = await _heard(socket, 20)
        leverages = [each["ac"]["l"] for each in heard]
        assert leverages == sorted(leverages)
        assert 0.1 <= (client.clock.monotonic_ns() - began) / _NS <= 0.5

    on_line(story, latency=Latency(least_s=0.1, most_s=0.5))


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_lost_stream_is_an_error_on_our_side_and_gone_at_the_venue(is_ours: bool) -> None:
    async def story(client: Client) -> None:
        socket = await client.stream()
        if is_ours:
            socket.abort()
        else:
            client.desk.inject(kind="cut_streams")
        with pytest.raises(OSError, match="ended"):
            await socket.receive()
        assert not client.desk.exchange.sessions
        with pytest.raises(OSError, match="ended"):
            await socket.send("{}")

    on_line(story)


def test_what_was_pushed_before_the_end_is_heard_before_it() -> None:
    async def story(client: Client) -> None:
        socket = await client.stream()
        client.speak()
        socket.session.close()
        assert len(await _heard(socket, 1)) == 1
        with pytest.raises(OSError, match="ended"):
            await socket.receive()

    on_line(story)


def test_a_stream_into_nothing_is_given_up_for_its_pings_and_lives_on_before() -> None:
    async def story(client: Client) -> None:
        socket = await client.stream()
        client.line.fail(refuses=False)
        client.speak()
        await client.clock.sleep(PING_LIMIT_S / 2)
        client.line.mend()
        assert len(await _heard(socket, 1)) == 1, "late, not lost"
        client.line.fail(refuses=False)
        with pytest.raises(OSError, match="ended"):
            await socket.receive()
        with pytest.raises(OSError, match="cannot be reached"):
            await client.open("wss://anywhere/private/ws/key")

    on_line(story)


def test_an_address_that_the_venue_refuses_is_an_os_error() -> None:
    async def story(client: Client) -> None:
        with pytest.raises(OSError, match="404"):
            await client.open("wss://anywhere/nothing")

    on_line(story)
