"""The recorder: durable before visible, in order, and nothing lost while the disk refuses."""

from __future__ import annotations

import asyncio

import pytest

from engine.bus import EventBus
from engine.execution.recorder import Recorder
from engine.model.errors import StoreError
from engine.model.events import EngineStateChanged, Event
from engine.runtime import IdSource, Stamper, SystemClock, read_stopwatch_ns
from tests.fakes.event_log import MemoryEventLog


class _Disk:
    """Commits when it is told to, or refuses."""

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[None]] = []
        self.written: list[str] = []

    def write(self, name: str) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(
            lambda done: self.written.append(name) if done.exception() is None else None
        )
        self.futures.append(future)
        return future


class _Bench:
    """A recorder on a real bus, with a disk that the test moves."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.stamp = Stamper(clock=clock, ids=IdSource(seed=1), source="test")
        self.bus = EventBus(
            clock=clock, stopwatch=read_stopwatch_ns, log=MemoryEventLog(), stamper=self.stamp
        )
        self.heard: list[str] = []
        self.bus.subscribe(self._hear)
        self.disk = _Disk()
        self.caught_up = 0
        self.recorder = Recorder(bus=self.bus, clock=clock, on_caught_up=self._catch_up)

    def _catch_up(self) -> None:
        self.caught_up += 1

    def _hear(self, event: Event) -> None:
        assert isinstance(event, EngineStateChanged)
        self.heard.append(event.state)

    def save(self, name: str) -> asyncio.Future[None]:
        event = EngineStateChanged(**self.stamp(), state=name, why="")
        return self.recorder.save(lambda: self.disk.write(name), (event,))

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await self.bus.drain(1.0)


async def test_an_event_is_seen_after_its_commit_and_not_before() -> None:
    bench = _Bench()
    done = bench.save("one")
    await bench.settle()
    assert bench.heard == []
    assert not done.done()
    bench.disk.futures[0].set_result(None)
    await bench.settle()
    assert bench.heard == ["one"]
    await done


@pytest.mark.allow_log("could not be saved and is kept")
async def test_a_refused_change_waits_with_everything_after_it_behind_it() -> None:
    bench = _Bench()
    first = bench.save("one")
    bench.disk.futures[0].set_exception(StoreError("full"))
    await bench.settle()
    with pytest.raises(StoreError, match="full"):
        await first
    assert not bench.recorder.is_healthy
    second = bench.save("two")
    with pytest.raises(StoreError, match="still waiting"):
        await second
    assert len(bench.disk.futures) == 1, "nothing overtakes the one that waits"
    assert bench.recorder.backlog == 2
    retry = asyncio.ensure_future(bench.recorder.retry_backlog())
    for number in (1, 2):
        await bench.settle()
        assert len(bench.disk.futures) == number + 1
        bench.disk.futures[number].set_result(None)
    await retry
    await bench.settle()
    assert bench.disk.written == ["one", "two"]
    assert bench.heard == ["one", "two"]
    assert bench.recorder.is_healthy
    assert bench.caught_up == 1, "what has no time of its own is saved once more"


@pytest.mark.allow_log("could not be saved and is kept")
async def test_a_retry_stops_at_the_first_that_is_refused_again() -> None:
    bench = _Bench()
    bench.save("one")
    bench.disk.futures[0].set_exception(StoreError("full"))
    await bench.settle()
    bench.save("two")
    retry = asyncio.ensure_future(bench.recorder.retry_backlog())
    await bench.settle()
    bench.disk.futures[1].set_exception(StoreError("full"))
    await retry
    assert bench.recorder.backlog == 2
    assert bench.heard == []
    assert bench.caught_up == 0
