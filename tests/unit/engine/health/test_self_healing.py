"""Restarts: 1, 2, 4, 8, 16 s, then it says that it gave up; a healthy minute forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from engine.health import ComponentHealth, ComponentState, SelfHealing
from engine.runtime import SimClock, Tasks, run_simulated
from tests.fakes.risk_facts import NOW_NS

pytestmark = pytest.mark.allow_log("part failed")


class Desk:
    def __init__(self, clock: SimClock, *, chance: float = 0.0) -> None:
        self.clock = clock
        self.health = ComponentHealth(clock=clock)
        self.health.register("part", "A part")
        self.starts: list[float] = []
        self.gave_up: list[tuple[str, str]] = []
        self.retried: list[str] = []
        self.healing = SelfHealing(
            clock=clock,
            tasks=Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error}")),
            health=self.health,
            chance=lambda: chance,
            on_gave_up=lambda name, error: self.gave_up.append((name, error)),
            on_retried=self.retried.append,
        )

    async def run_for(self, seconds: float, part: Callable[[], Awaitable[None]]) -> None:
        async def started() -> None:
            self.starts.append(round(self.clock.monotonic_ns() / 1e9, 3))
            await part()

        task = asyncio.get_running_loop().create_task(self.healing.keep_running("part", started))
        await self.clock.sleep(seconds)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def broken() -> None:
    raise ValueError("no such table")


def test_pauses_double_and_then_it_gives_up() -> None:
    async def story(clock: SimClock) -> None:
        desk = Desk(clock)
        await desk.run_for(1_000, broken)
        assert desk.starts == [0, 1, 3, 7, 15, 31]
        assert desk.gave_up == [("part", "ValueError: no such table")]
        assert desk.health.state("part") is ComponentState.FAILED

    run_simulated(story, start_ns=NOW_NS)


def test_chance_adds_at_most_a_tenth() -> None:
    async def story(clock: SimClock) -> None:
        desk = Desk(clock, chance=1.0)
        await desk.run_for(10, broken)
        assert desk.starts == [0, 1.1, 3.3, 7.7]

    run_simulated(story, start_ns=NOW_NS)


def test_a_healthy_minute_forgets_the_failures() -> None:
    async def story(clock: SimClock) -> None:
        desk = Desk(clock)

        async def fails_after_a_minute() -> None:
            await clock.sleep(61)
            raise ConnectionError

        await desk.run_for(1_000, fails_after_a_minute)
        assert desk.gave_up == []
        pauses = [b - a - 61 for a, b in zip(desk.starts, desk.starts[1:], strict=False)]
        assert pauses == [1] * len(pauses)
        assert len(pauses) > 10

    run_simulated(story, start_ns=NOW_NS)


def test_an_operator_can_try_again() -> None:
    async def story(clock: SimClock) -> None:
        desk = Desk(clock)

        async def retry_later() -> None:
            await clock.sleep(100)
            assert desk.healing.given_up == ("part",)
            assert desk.healing.retry("part")
            await clock.sleep(1)
            assert not desk.healing.given_up

        later = asyncio.get_running_loop().create_task(retry_later())
        await desk.run_for(102.5, broken)
        await later
        assert desk.starts == [0, 1, 3, 7, 15, 31, 100, 101]
        assert desk.retried == ["part"]
        assert not desk.healing.retry("part")

    run_simulated(story, start_ns=NOW_NS)


def test_a_part_that_ends_is_a_failure_too_and_health_shows_after_a_minute() -> None:
    async def story(clock: SimClock) -> None:
        desk = Desk(clock)
        lives = iter([0.0, 3_600.0])

        async def part() -> None:
            await clock.sleep(next(lives))

        await desk.run_for(30, part)
        assert desk.starts == [0, 1]
        assert desk.health.state("part") is ComponentState.RECOVERING
        desk.starts.clear()
        lives = iter([3_600.0])
        await desk.run_for(61, part)
        assert desk.health.state("part") is ComponentState.OK

    run_simulated(story, start_ns=NOW_NS)


def test_cancelling_cancels_the_part() -> None:
    async def story(clock: SimClock) -> None:
        desk = Desk(clock)
        ended: list[str] = []

        async def part() -> None:
            try:
                await clock.sleep(3_600)
            finally:
                ended.append("cleaned up")

        await desk.run_for(5, part)
        assert ended == ["cleaned up"]

    run_simulated(story, start_ns=NOW_NS)
