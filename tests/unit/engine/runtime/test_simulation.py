"""Simulated time: it jumps when idle, keeps order, and holds still for work pending elsewhere."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from engine.runtime import SimClock, SystemClock, Tasks, cancel_and_wait, run_simulated, within

START_NS = 1_700_000_000_000_000_000


def test_a_day_passes_in_well_under_a_second_of_work() -> None:
    async def main(clock: SimClock) -> int:
        await clock.sleep(86_400)
        return clock.now_ns()

    assert run_simulated(main, start_ns=START_NS) == START_NS + 86_400_000_000_000


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    woken: list[tuple[str, int]] = []

    async def sleeper(clock: SimClock, name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic_ns() // 1_000_000_000))

    async def main(clock: SimClock) -> None:
        await asyncio.gather(
            *(sleeper(clock, name, s) for name, s in (("c", 3), ("a", 1), ("b", 2)))
        )

    run_simulated(main, start_ns=START_NS)
    assert woken == [("a", 1), ("b", 2), ("c", 3)]


def test_time_stands_while_a_probe_says_that_work_is_pending() -> None:
    async def main(clock: SimClock) -> tuple[int, bool]:
        pending = 1
        clock.add_busy_probe(lambda: pending)
        loop = asyncio.get_running_loop()
        finished = asyncio.Event()

        def done() -> None:
            nonlocal pending
            pending = 0
            finished.set()

        thread = threading.Timer(0.15, lambda: loop.call_soon_threadsafe(done))
        thread.start()
        napping = loop.create_task(clock.sleep(1))
        await finished.wait()
        before = clock.monotonic_ns()
        await napping
        thread.join()
        return before, clock.monotonic_ns() == 1_000_000_000

    assert run_simulated(main, start_ns=START_NS) == (0, True)


def test_a_timeout_is_in_simulated_time_and_cancels_the_work() -> None:
    cancelled = []

    async def work(clock: SimClock) -> None:
        try:
            await clock.sleep(1_000)
        except asyncio.CancelledError:
            cancelled.append(clock.monotonic_ns())
            raise

    async def main(clock: SimClock) -> None:
        with pytest.raises(TimeoutError, match="within 5 s"):
            await within(clock, 5, work(clock))
        await asyncio.sleep(0)

    began = time.monotonic()
    run_simulated(main, start_ns=START_NS)
    assert cancelled == [5_000_000_000]
    assert time.monotonic() - began < 5


@pytest.mark.allow_log("failed|run for ever")
def test_a_task_that_dies_or_ends_too_soon_is_reported() -> None:
    faults: list[tuple[str, str]] = []

    async def main(clock: SimClock) -> None:
        tasks = Tasks(on_fault=lambda name, error: faults.append((name, repr(error))))

        async def dies() -> None:
            await clock.sleep(1)
            raise ValueError("no")

        async def ends() -> None:
            await clock.sleep(2)

        async def stays() -> None:
            await clock.sleep(10_000)

        tasks.spawn("dies", dies())
        tasks.spawn("ends", ends(), forever=True)
        tasks.spawn("stays", stays(), forever=True)
        await clock.sleep(3)
        assert tasks.names() == ("stays",)
        assert await tasks.cancel_all() == ()
        assert tasks.names() == ()

    run_simulated(main, start_ns=START_NS)
    assert faults == [("dies", "ValueError('no')"), ("ends", "None")]


async def test_a_cancellation_that_a_library_swallowed_is_asked_for_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    task = asyncio.get_running_loop().create_task(stubborn())
    await asyncio.sleep(0)
    assert await cancel_and_wait([task]) == set()
    assert task.cancelled()
    assert swallowed == 2


async def test_a_failure_in_the_moment_of_a_cancel_is_not_left_unlooked_at() -> None:
    """Goal: nothing is logged as never retrieved. Method: the work fails, then we are cancelled."""
    fails = asyncio.Event()
    logged: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))

    async def work() -> None:
        await fails.wait()
        raise ConnectionRefusedError

    waiting = asyncio.ensure_future(within(SystemClock(), 10, work()))
    await asyncio.sleep(0.01)
    fails.set()
    await asyncio.sleep(0)  # It has failed, and nobody who waits has been woken yet.
    waiting.cancel()
    ended = await asyncio.wait({waiting})
    assert waiting.cancelled()
    del waiting, ended
    await asyncio.sleep(0)
    gc.collect()
    assert not logged
