"""Durable events a second through the journal's group commit, and what each costs the loop.

Baseline: the same rows, encoded beforehand, by bare SQLite in transactions of 500 with
`synchronous=FULL`. The loop's cost is the processor time of the loop's own thread, everything
counted: submitting, the news of the commits, the futures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median
from time import perf_counter, thread_time_ns

from engine.model.events import Event
from tests.benchmarks.figures import Bar, Effort, Figure, alternate_async
from tests.benchmarks.sample_events import intended
from tests.benchmarks.state_database import (
    INSERT_OUTBOX,
    bare_database,
    outbox_row,
    state_database,
)

__all__ = ["measure"]

_EVENTS = 30_000
_BATCH = 500


def measure(effort: Effort) -> Figure:
    events = [intended(number) for number in range(effort.count(_EVENTS))]
    loop_us: list[float] = []
    ours, bare = asyncio.run(_both(events, loop_us, effort.rounds))
    ratio = median(ours) / median(bare)
    on_loop_us = median(loop_us[1:])  # The first round only warms up.
    bars = [
        Bar(f"{ratio:.0%} of bare SQLite, at least 80 %", ratio >= 0.8),
        Bar(f"{on_loop_us:.1f} µs of the loop an event, at most 8", on_loop_us <= 8),
    ]
    return Figure(
        name="journal_append",
        unit="durable events/s",
        better="higher",
        ours=ours,
        baseline_name="bare SQLite, the same rows in batches of 500, FULL",
        baseline=bare,
        bars=bars if effort.is_full else [],
        notes=[f"{on_loop_us:.1f} µs of the loop's thread an event"],
    )


async def _both(events: Sequence[Event], loop_us: list[float], rounds: int) -> list[list[float]]:
    async def journal_side() -> float:
        rate, cost_us = await _through_the_journal(events)
        loop_us.append(cost_us)
        return rate

    async def bare_side() -> float:
        return _bare(events)

    return await alternate_async(rounds, journal_side, bare_side)


async def _through_the_journal(events: Sequence[Event]) -> tuple[float, float]:
    async with state_database() as database:
        append = database.journal.append
        began, began_cpu_ns = perf_counter(), thread_time_ns()
        commits = []
        for event in events:
            commits.append(append(event))
            if len(commits) % _BATCH == 0:
                await asyncio.sleep(0)  # A real loop has other work; commits are told meanwhile.
        await commits[-1]  # Futures are done in the order of submission.
        took, cost_ns = perf_counter() - began, thread_time_ns() - began_cpu_ns
        if any(commit.exception() for commit in commits):
            raise RuntimeError("an append failed: this measures something else")
        if database.journal.tail_seq() != len(events):
            raise RuntimeError("events are missing: this measures something else")
    return len(events) / took, cost_ns / 1_000 / len(events)


def _bare(events: Sequence[Event]) -> float:
    rows = [outbox_row(seq, event) for seq, event in enumerate(events, 1)]
    with bare_database() as connection:
        began = perf_counter()
        for start in range(0, len(rows), _BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT_OUTBOX, rows[start : start + _BATCH])
            connection.execute("COMMIT")
        return len(rows) / (perf_counter() - began)
