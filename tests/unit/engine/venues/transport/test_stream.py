"""A stream that is always there again, against real WebSocket servers that are not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from engine.model.errors import NotExecuted
from engine.runtime import Chance, SystemClock, Tasks
from engine.venues.transport.stream import Delays, VenueStream
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
            address=address,
            on_text=heard.texts.append,
            on_state=lambda *state: heard.states.append(state),
            silence_max_s=silence_max_s,
            life_max_s=life_max_s,
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
