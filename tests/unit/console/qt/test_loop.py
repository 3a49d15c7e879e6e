"""The console's event loop: order, precision, fairness, timers, threads, sockets, children."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from console.qt.loop import ConsoleEventLoop
from tests.waiting import eventually


@pytest.fixture
def loop(qapp: QApplication) -> Iterator[ConsoleEventLoop]:
    loop = ConsoleEventLoop(qapp)
    yield loop
    loop.close()


def test_callbacks_run_in_the_order_they_were_asked_for(loop: ConsoleEventLoop) -> None:
    order: list[int] = []

    async def main() -> None:
        for number in range(5_000):
            loop.call_soon(order.append, number)
        await eventually(lambda: len(order) == 5_000)

    loop.run_until_complete(main())
    assert order == list(range(5_000))


def test_short_sleeps_are_never_early_and_hardly_late(loop: ConsoleEventLoop) -> None:
    """Goal: no coarse timers. Method: the median of fifty 2 ms sleeps; one may meet a neighbour."""
    errors_ms: list[float] = []

    async def main() -> None:
        for _ in range(50):
            began = time.perf_counter()
            await asyncio.sleep(0.002)
            errors_ms.append((time.perf_counter() - began - 0.002) * 1_000)

    loop.run_until_complete(main())
    assert min(errors_ms) > -0.1
    assert sorted(errors_ms)[25] < 5


def test_timers_fire_in_the_order_of_their_times(loop: ConsoleEventLoop) -> None:
    order: list[str] = []

    async def main() -> None:
        loop.call_later(0.03, order.append, "third")
        loop.call_later(0.01, order.append, "first")
        loop.call_later(0.02, order.append, "second")
        await asyncio.sleep(0.06)

    loop.run_until_complete(main())
    assert order == ["first", "second", "third"]


def test_cancelled_timeouts_do_not_pile_up(loop: ConsoleEventLoop) -> None:
    async def main() -> None:
        for _ in range(20_000):
            loop.call_later(3_600, print).cancel()

    loop.run_until_complete(main())
    assert loop.timers_waiting() < 600


def test_a_cancelled_callback_does_not_run(loop: ConsoleEventLoop) -> None:
    ran: list[str] = []

    async def main() -> None:
        loop.call_soon(ran.append, "soon").cancel()
        loop.call_later(0.001, ran.append, "later").cancel()
        await asyncio.sleep(0.02)

    loop.run_until_complete(main())
    assert ran == []


def test_qt_gets_its_turn_under_a_flood_of_callbacks(loop: ConsoleEventLoop) -> None:
    """Goal: painting and input never starve. Method: a Qt timer ticks while callbacks breed."""
    ticks: list[float] = []
    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    is_over = False

    def breed() -> None:
        if not is_over:
            loop.call_soon(breed)

    async def main() -> None:
        nonlocal is_over
        timer.start()
        for _ in range(20):
            loop.call_soon(breed)
        await asyncio.sleep(0.5)
        is_over = True
        timer.stop()

    loop.run_until_complete(main())
    assert len(ticks) > 15


def test_many_threads_may_call(loop: ConsoleEventLoop) -> None:
    seen: list[tuple[int, int]] = []
    threads = 8

    def call(thread: int) -> None:
        for number in range(500):
            loop.call_soon_threadsafe(seen.append, (thread, number))

    async def main() -> None:
        workers = [threading.Thread(target=call, args=(at,)) for at in range(threads)]
        for worker in workers:
            worker.start()
        await eventually(lambda: len(seen) == threads * 500)
        for worker in workers:
            worker.join()

    loop.run_until_complete(main())
    for thread in range(threads):
        assert [number for at, number in seen if at == thread] == list(range(500))


def test_sockets_timeouts_and_children_work(loop: ConsoleEventLoop) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()

    async def main() -> tuple[bytes, int | None]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        answer = await asyncio.wait_for(reader.readexactly(5), timeout=2)
        writer.close()
        server.close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), timeout=0.01)
        child = await asyncio.create_subprocess_exec("true")
        return answer, await child.wait()

    assert loop.run_until_complete(main()) == (b"hello", 0)


def test_a_failing_callback_goes_to_the_handler_and_stops_nothing(loop: ConsoleEventLoop) -> None:
    failures: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail() -> None:
        raise ValueError("broken")

    async def main() -> str:
        loop.call_soon(fail)
        await asyncio.sleep(0.01)
        return "went on"

    assert loop.run_until_complete(main()) == "went on"
    assert [type(failure) for failure in failures] == [ValueError]


def test_what_was_left_over_runs_with_the_next_run(loop: ConsoleEventLoop) -> None:
    ran: list[str] = []
    loop.call_soon(ran.append, "before")
    loop.run_until_complete(asyncio.sleep(0))
    assert ran == ["before"]
