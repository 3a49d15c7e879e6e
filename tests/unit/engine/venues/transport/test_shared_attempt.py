"""Whoever waits for another's attempt takes over its end; whoever comes later makes its own."""

from __future__ import annotations

import asyncio

import pytest

from engine.model.errors import NotExecuted, OutcomeUnknown, VenueError
from engine.venues.transport.shared_attempt import SharedAttempt


class _Attempts:
    def __init__(self, error: VenueError | None = None) -> None:
        self.made = 0
        self.error = error
        self.go = asyncio.Event()

    async def __call__(self) -> None:
        self.made += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error


async def _waiting(shared: SharedAttempt, attempts: _Attempts) -> list[asyncio.Task[None]]:
    waiting = [asyncio.create_task(shared.run(attempts)) for _ in range(5)]
    await asyncio.sleep(0)
    attempts.go.set()
    return waiting


async def test_five_ask_and_one_attempt_is_made() -> None:
    shared, attempts = SharedAttempt(), _Attempts()
    await asyncio.gather(*await _waiting(shared, attempts))
    assert attempts.made == 1
    await shared.run(attempts)
    assert attempts.made == 2


async def test_its_failure_is_everybodys_with_its_pause() -> None:
    shared, attempts = SharedAttempt(), _Attempts(NotExecuted("too many", retry_after_s=7))
    ended = await asyncio.gather(*await _waiting(shared, attempts), return_exceptions=True)
    assert attempts.made == 1
    assert [error.retry_after_s for error in ended if isinstance(error, NotExecuted)] == [7] * 5


async def test_an_unknown_end_is_unknown_to_the_one_who_asked_alone() -> None:
    shared, attempts = SharedAttempt(), _Attempts(OutcomeUnknown("no answer"))
    first, *others = await asyncio.gather(*await _waiting(shared, attempts), return_exceptions=True)
    assert isinstance(first, OutcomeUnknown)
    assert all(isinstance(error, NotExecuted) for error in others)
    with pytest.raises(OutcomeUnknown):
        await shared.run(attempts)
    assert attempts.made == 2
