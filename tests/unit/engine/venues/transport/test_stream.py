"""A stream that is always there again, against real WebSocket servers that are not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from engine.model.errors import NotExecuted
from engine.runtime import Chance, SimClock, SystemClock, Tasks, run_simulated
from engine.venues.transport.stream import (
    Delays,
    StreamHabits,
    StreamHandlers,
    VenueSocket,
    VenueStream,
    open_websocket,
)
from tests.waiting import eventually


def test_delays_grow_with_jitter_to_a_minute_and_begin_anew_after_a_healthy_one() -> None:
    delays = Delays(chance=Chance(seed=3, name="delays"))
    waited = [delays.after(0.0) for _ in range(40)]
    for number, delay_s in enumerate(waited):
        plain_s = min(1.5**number, 60.0)
        assert plain_s <= delay_s <= min(plain_s * 1.2, 60.0)
    assert len(set(waited[:8])) == 8
    assert delays.after(59.0) >= 60.0
    assert 1.0 <= delays.after(60.0) <= 1.2
    assert 1.5 <= delays.after(0.0) <= 1.8


class _Heard:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.states: list[tuple[bool, str, float]] = []


@asynccontextmanager
async def _streaming(
    serving: Callable[[ServerConnection], Awaitable[None]],
    *,
    silence_max_s: float | None = None,
    life_max_s: float = 3600,
    refusals: int = 0,
) -> AsyncIterator[_Heard]:
    heard = _Heard()
    tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    left = refusals

    async with serve(serving, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        async def address() -> str:
            nonlocal left
            if left:
                left -= 1
                raise NotExecuted("no address yet")
            return f"ws://127.0.0.1:{port}"

        stream = VenueStream(
            clock=SystemClock(),
            chance=Chance(seed=1, name="delays"),
            tasks=tasks,
            handlers=StreamHandlers(
                address=address,
                on_text=heard.texts.append,
                on_state=lambda *state: heard.states.append(state),
            ),
            habits=StreamHabits(silence_max_s=silence_max_s, life_max_s=life_max_s),
        )
        tasks.spawn("stream", stream.run(), forever=True)
        try:
            yield heard
        finally:
            await tasks.cancel_all()


async def test_texts_come_in_order_and_a_lost_stream_is_back_with_the_length_of_the_gap() -> None:
    async def serving(connection: ServerConnection) -> None:
        for text in ("one", "two"):
            await connection.send(text)
        connection.transport.abort()

    async with _streaming(serving) as heard:
        await eventually(lambda: len(heard.texts) == 4)
        assert heard.texts == ["one", "two", "one", "two"]
        (up, _, first_gap), (down, _, _), (back, _, gap_s) = heard.states[:3]
        assert (up, down, back) == (True, False, True)
        assert first_gap == 0
        assert 1.0 <= gap_s < 3.0


async def test_a_silent_stream_is_given_up_and_one_that_speaks_is_not() -> None:
    connections = 0

    async def serving(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await connection.wait_closed()
            return
        with suppress(ConnectionClosed):
            while True:
                await connection.send("tick")
                await SystemClock().sleep(0.05)

    async with _streaming(serving, silence_max_s=0.5) as heard:
        await eventually(lambda: len(heard.texts) > 20)
        assert [connected for connected, _, _ in heard.states] == [True, False, True]
        assert heard.states[1][1].startswith("silent for ")


async def test_the_longest_life_of_a_stream_is_not_waited_for() -> None:
    async def serving(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with _streaming(serving, life_max_s=0.3) as heard:
        await eventually(lambda: len(heard.states) >= 3)
        assert heard.states[1][1].startswith("old")


async def test_an_address_that_cannot_be_had_is_asked_for_again() -> None:
    async def serving(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with _streaming(serving, refusals=1) as heard:
        await eventually(lambda: heard.states)
        assert heard.states == [(True, "", 0.0)]


# --- what a venue wants to be told ---------------------------------------------------------------


class _Line:
    """One end of a connection in simulated time: what it was told, and what it is about to say."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.told: list[str] = []
        self.says: asyncio.Queue[str | None] = asyncio.Queue()
        self.is_over = False
        self._deaf = deaf

    async def receive(self) -> str:
        text = await self.says.get()
        if text is None:
            raise ConnectionResetError("over")
        return text

    async def send(self, text: str) -> None:
        if self._deaf:
            await asyncio.Event().wait()
        self.told.append(text)

    def abort(self) -> None:
        self.is_over = True
        self.says.put_nowait(None)


class _Venue:
    """Opens lines, and hears what its stream says of them."""

    def __init__(
        self,
        clock: SimClock,
        *,
        on_open: Callable[[VenueSocket], Coroutine[Any, Any, None]] | None = None,
        heartbeat: str | None = None,
    ) -> None:
        self.clock = clock
        self.lines: list[_Line] = []
        self.states: list[tuple[bool, str, float]] = []
        self.deaf = False
        self.tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
        self.stream = VenueStream(
            clock=clock,
            chance=Chance(seed=1, name="delays"),
            tasks=self.tasks,
            handlers=StreamHandlers(
                address=self._address,
                on_text=lambda text: None,
                on_state=lambda *state: self.states.append(state),
                on_open=on_open,
            ),
            habits=StreamHabits(heartbeat=heartbeat),
            open_socket=self._open,
        )

    async def _address(self) -> str:
        return "ws://nowhere"

    async def _open(self, address: str) -> VenueSocket:
        self.lines.append(_Line(deaf=self.deaf))
        return self.lines[-1]


def _simulated(story: Callable[[SimClock], Awaitable[None]]) -> None:
    run_simulated(story, start_ns=1)


def test_a_stream_counts_as_connected_when_the_first_words_are_answered() -> None:
    async def story(clock: SimClock) -> None:
        async def greet(socket: VenueSocket) -> None:
            await socket.send("who I am")
            if await socket.receive() != "welcome":
                raise NotExecuted("not welcome")

        venue = _Venue(clock, on_open=greet)
        venue.tasks.spawn("stream", venue.stream.run(), forever=True)
        await clock.sleep(0.1)
        assert venue.lines[0].told == ["who I am"]
        assert not venue.stream.is_connected
        venue.lines[0].says.put_nowait("go away")
        await clock.sleep(0.1)
        assert venue.lines[0].is_over
        assert "not welcome" in venue.stream.why_not
        assert venue.states == []
        await clock.sleep(3)  # The second attempt, which nobody answers, and then the third.
        await clock.sleep(15)
        assert venue.lines[1].is_over
        venue.lines[2].says.put_nowait("welcome")
        await clock.sleep(0.1)
        assert venue.stream.is_connected
        assert venue.stream.why_not == ""
        assert venue.states == [(True, "", 0.0)]
        await venue.tasks.cancel_all()

    _simulated(story)


def test_a_heartbeat_is_sent_every_20_s_and_a_line_that_takes_none_is_given_up() -> None:
    async def story(clock: SimClock) -> None:
        venue = _Venue(clock, heartbeat="beat")
        venue.tasks.spawn("stream", venue.stream.run(), forever=True)
        await clock.sleep(61)
        assert venue.lines[0].told == ["beat"] * 3
        assert len(venue.lines) == 1
        venue.lines[0].abort()
        venue.deaf = True
        await clock.sleep(30)
        assert venue.lines[1].is_over
        causes = [cause for connected, cause, _ in venue.states if not connected]
        assert causes == ["over", "the stream takes nothing (TimeoutError)"]
        await venue.tasks.cancel_all()

    _simulated(story)


def test_without_a_connection_nothing_is_sent() -> None:
    async def story(clock: SimClock) -> None:
        with pytest.raises(NotExecuted, match="not connected"):
            await _Venue(clock).stream.send("hello")

    _simulated(story)


async def test_no_address_and_no_frame_is_logged_however_talkative_the_log_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The library's own log would hold listen keys, and the keys and signatures of a login."""
    caplog.set_level(logging.DEBUG)

    async def echo(connection: ServerConnection) -> None:
        async for text in connection:
            await connection.send(text)

    server_logger = logging.Logger("the test's server")
    async with serve(echo, "127.0.0.1", 0, logger=server_logger) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        socket = await open_websocket(f"ws://127.0.0.1:{port}/private/ws/L1stenKey")
        await socket.send('{"op":"auth","args":["K3y","S1gnature"]}')
        assert "S1gnature" in await socket.receive()
        socket.abort()
    said = "\n".join(f"{record.name} {record.getMessage()}" for record in caplog.records)
    for hidden in ("L1stenKey", "K3y", "S1gnature"):
        assert hidden not in said
