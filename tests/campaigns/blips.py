"""Campaign: one request in twenty meets a blip of the network, and no order is doubled or lost.

The whole engine, live, on a simulated exchange in simulated time: Binance for even seeds, Bybit for
odd ones. Every request, reads and cancels too, may lose its connection or its answer, before or
after it took effect. Signals open and close positions all the while. Then the network is quiet for
more than a minute, in which everything unknown has to come to its end.

The auditor reads the exchange's own books: each of our ids there at most once; of every order that
the gate approved our last word is a final one and the true one, with what it filled to the last
digit; positions and balance are equal. At least 999 of 1,000 orders must, over the campaign; here
every one of a seed must.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from engine.model.orders import OrderRecord, OrderState
from engine.model.values import Side
from engine.runtime import SimClock, run_simulated
from tests.desk import BTC, ETH, START_NS
from tests.venue_desk import ExchangeDesk

SEED_LIMIT_S = 90
_SHARE = 0.05
_KINDS = ("drop_before", "drop_after", "timeout_before", "timeout_after")
_STEPS = 80
_STEP_S = 0.7
_QUIET_S = 70.0
_END_S = 30.0
# What never came to the exchange, or was refused there.
_NOWHERE = frozenset({OrderState.ABANDONED, OrderState.REJECTED, OrderState.DENIED})


def run_seed(seed: int, workdir: Path) -> dict[str, object]:
    """One engine among blips; see the module."""
    venue = "bybit" if seed % 2 else "binance"

    async def main(clock: SimClock) -> dict[str, object]:
        policy = {"max_orders_per_minute": "1200", "signal_rate": "50"}
        desk = ExchangeDesk(clock=clock, folder=workdir, venue=venue, policy=policy)
        desk.open_exchange()
        try:
            await desk.open()
            await desk.go_live()
            counted = await _trade(desk, random.Random(seed))
            await desk.assert_sound()
            return {"venue": venue, **counted}
        finally:
            await desk.close()
            await desk.close_exchange()

    return run_simulated(main, start_ns=START_NS)


async def _trade(desk: ExchangeDesk, chance: random.Random) -> dict[str, object]:
    for kind in _KINDS:
        # Each is drawn for itself, one after the other.
        desk.inject(kind=kind, times=None, probability=_SHARE / len(_KINDS))
    for _ in range(_STEPS):
        symbol = chance.choice((BTC, ETH))
        held = desk.quantity(symbol)
        if held:
            # In its favour, or a streak of losses would trip the stop.
            price = desk.market.prices[symbol] * (1 + Decimal("0.003") * (1 if held > 0 else -1))
            desk.market.move(symbol, price.quantize(Decimal("0.1")))
            desk.exit(symbol)
        else:
            desk.signal(chance.choice((Side.BUY, Side.SELL)), symbol)
        await desk.sleep(_STEP_S * (0.5 + chance.random()))
    blips = sum(desk.exchange.faults.done.get(kind, 0) for kind in _KINDS)
    desk.exchange.faults.clear()
    await desk.sleep(_QUIET_S)
    for symbol in (BTC, ETH):
        if desk.quantity(symbol):
            desk.exit(symbol)  # With it goes its stop: then nothing may be open.
    await desk.sleep(_END_S)
    records = _records(desk)
    wrong = _judge(records, desk.books())
    assert not wrong, wrong[:5]
    states = Counter(record.state.value for record in records)
    return {"orders": len(records), "blips": blips, **states}


def _records(desk: ExchangeDesk) -> list[OrderRecord]:
    """Every order of ours, as the state database has it."""
    with closing(sqlite3.connect(desk.data_dir / "state.db")) as connection:
        rows = connection.execute("SELECT record FROM orders").fetchall()
    records = [msgspec.json.decode(row[0], type=OrderRecord) for row in rows]
    return [record for record in records if not record.external]


def _judge(records: list[OrderRecord], books: Mapping[str, Any]) -> list[str]:
    """What is not true of our last word, a sentence each."""
    orders = [row for row in books["orders"] if not row.get("conditional_id")]
    times = Counter(row["client_id"] for row in (*orders, *books["conditionals"]))
    wrong = [f"{name} is there {count} times" for name, count in times.items() if count > 1]
    there = {row["client_id"]: row for row in orders}
    waiting = {row["client_id"]: row for row in books["conditionals"]}
    became = {row["order_id"]: row for row in books["orders"]}
    for record in records:
        name = str(record.client_order_id)
        row = there.get(name)
        if name in waiting:
            row = became.get(waiting[name]["order_id"]) or {"filled": "0"}
        if not record.state.is_final:
            wrong.append(f"{name} is {record.state.value} still")
        elif row is None and record.state not in _NOWHERE:
            wrong.append(f"{name} is {record.state.value} and not at the exchange")
        elif row is not None and Decimal(row["filled"]) != record.filled:
            wrong.append(f"{name} filled {row['filled']} there and {record.filled} here")
    known = {str(record.client_order_id) for record in records}
    wrong += [f"{name} is at the exchange and not ours" for name in times if name not in known]
    return wrong
