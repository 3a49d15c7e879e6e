"""How long an order waits for its intent to be durable: p50 and p99 of `record_intent`, one by one.

Baseline: one bare SQLite transaction a time, `synchronous=FULL`, that writes the same two rows
(intent and event).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from statistics import median
from time import perf_counter_ns

import msgspec

from engine.model.ids import ClientOrderId, TraceId
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.trade_state import TradeStore
from engine.trade_state.changes import put_intent
from tests.benchmarks.figures import Bar, Effort, Figure, percentile
from tests.benchmarks.sample_events import SYMBOLS, intended
from tests.benchmarks.state_database import (
    INSERT_OUTBOX,
    NODE,
    bare_database,
    outbox_row,
    state_database,
)

__all__ = ["measure"]

_INTENTS = 2_000
_TURNS = 10  # Ours and the baseline take turns this often within a round.


def measure(effort: Effort) -> Figure:
    count = effort.count(_INTENTS)
    rounds = [asyncio.run(_round(count)) for _ in range(effort.rounds)]
    ours = [percentile(mine, 0.5) for mine, _ in rounds]
    bare = [percentile(plain, 0.5) for _, plain in rounds]
    p99_us = median(percentile(mine, 0.99) for mine, _ in rounds)
    ratio = median(ours) / median(bare)
    bars = [
        Bar(f"p50 {ratio:.2f} × a bare commit, at most 2", ratio <= 2),
        Bar(f"p99 {p99_us / 1000:.2f} ms, at most 5", p99_us <= 5_000),
    ]
    return Figure(
        name="intent_commit",
        unit="µs p50",
        better="lower",
        ours=ours,
        baseline_name="bare SQLite commit of the same rows, FULL",
        baseline=bare,
        bars=bars if effort.is_full else [],
        notes=[f"p99 {p99_us:.0f} µs"],
    )


async def _round(count: int) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    bare: list[float] = []
    numbers = range(1, count + 1)
    share = max(1, count // _TURNS)
    async with state_database() as database:
        with bare_database() as connection:
            for start in range(0, count, share):
                ours += await _durable(database.store, numbers[start : start + share])
                bare += _bare(connection, numbers[start : start + share])
    return ours, bare


async def _durable(store: TradeStore, numbers: Sequence[int]) -> list[float]:
    waits = []
    for number in numbers:
        intent, event = _intent(number), intended(number)
        began = perf_counter_ns()
        await store.record_intent(intent, (event,))
        waits.append((perf_counter_ns() - began) / 1_000)
    return waits


def _bare(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[float]:
    waits = []
    for number in numbers:
        intent, event = _intent(number), intended(number)
        began = perf_counter_ns()
        connection.execute("BEGIN IMMEDIATE")
        put_intent(connection, intent, node=NODE)
        connection.execute(INSERT_OUTBOX, outbox_row(number, event))
        connection.execute("COMMIT")
        waits.append((perf_counter_ns() - began) / 1_000)
    return waits


def _intent(number: int) -> Intent:
    return msgspec.structs.replace(
        _MODEL, client_order_id=ClientOrderId(f"{NODE}-g1-{number}"), created_ns=number
    )


_MODEL = Intent(
    client_order_id=ClientOrderId(""),
    symbol=SYMBOLS[0],
    side=Side.BUY,
    kind=OrderKind.MARKET,
    purpose=OrderPurpose.ENTRY,
    quantity=Decimal("0.010"),
    leverage=Decimal(5),
    policy_version=3,
    trace=TraceId("e9f86d08188-1"),
    stop_loss=Decimal("0.03"),
    strategy="breakout",
)
