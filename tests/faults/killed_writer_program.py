"""The program that `test_killed_writer` kills: writes intents and fills until it dies.

Prints the id of each change once its future is resolved, unbuffered, several changes in flight at a
time so that groups form.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import msgspec

from engine.database import DatabaseReader, DatabaseWriter, load_migrations
from engine.journal import Journal
from engine.model.events import OrderFilled, OrderIntended
from engine.model.ids import EventId, ExecutionId, Symbol, TraceId, client_order_id
from engine.model.orders import (
    Fill,
    Intent,
    OrderKind,
    OrderPurpose,
    OrderRecord,
    OrderState,
    PositionRecord,
    TradeRecord,
)
from engine.model.values import Side
from engine.runtime import SystemClock
from engine.trade_state import TradeStore

BTC = Symbol("BTCUSDT")
ONE = Decimal(1)
IN_FLIGHT = 25


class Totals(msgspec.Struct, frozen=True):
    fees: Decimal


@dataclass(frozen=True)
class Booked:
    fill: Fill
    position: PositionRecord
    totals: Totals
    trade: TradeRecord | None = None
    closed: TradeRecord | None = None


async def main(path: Path, generation: int) -> None:
    writer = DatabaseWriter(
        path=path, migrations=load_migrations(files("resources") / "migrations")
    )
    reader = DatabaseReader(path=path)
    journal = Journal(writer=writer, reader=reader, clock=SystemClock())
    store = TradeStore(writer=writer, reader=reader, journal=journal, node="desk")
    await writer.open()
    await reader.open()
    await journal.open(standalone=False)
    booked = len((await store.load_open()).executions)
    number = 0
    while True:
        changes = []
        for _ in range(IN_FLIGHT):
            number += 1
            booked += 1
            changes += order_and_fill(store, generation, number, booked)
        await asyncio.gather(*changes)


def order_and_fill(
    store: TradeStore, generation: int, number: int, booked: int
) -> list[asyncio.Future[bool] | asyncio.Future[None]]:
    identifier = client_order_id("desk", generation, number)
    execution = ExecutionId(f"x-{generation}-{number}")
    intent = Intent(
        client_order_id=identifier,
        symbol=BTC,
        side=Side.BUY,
        kind=OrderKind.MARKET,
        purpose=OrderPurpose.ENTRY,
        quantity=ONE,
        created_ns=number,
    )
    fill = Fill(
        execution_id=execution,
        client_order_id=identifier,
        venue_order_id=None,
        symbol=BTC,
        side=Side.BUY,
        quantity=ONE,
        price=Decimal(60_000),
        fee=ONE,
        fee_currency="USDT",
        ts_ns=number,
    )
    intended = OrderIntended(
        id=EventId(f"i-{identifier}"),
        ts_ns=number,
        source="test",
        trace=TraceId(identifier),
        client_order_id=identifier,
        symbol=BTC,
        side=Side.BUY,
        quantity=ONE,
    )
    filled = OrderFilled(
        id=EventId(f"f-{identifier}"),
        ts_ns=number,
        source="test",
        trace=TraceId(identifier),
        client_order_id=identifier,
        symbol=BTC,
        side=Side.BUY,
        quantity=ONE,
        execution_id=execution,
        last_quantity=ONE,
        last_price=fill.price,
        fee=ONE,
        fee_currency="USDT",
    )
    position = PositionRecord(symbol=BTC, quantity=Decimal(booked), entry_price=fill.price)
    order = OrderRecord(intent=intent, state=OrderState.FILLED, updated_ns=number)
    first = store.record_intent(intent, [intended])
    second = store.record_fill(order, Booked(fill, position, Totals(Decimal(booked))), [filled])
    first.add_done_callback(lambda future: say(future, identifier))
    second.add_done_callback(lambda future: say(future, execution))
    return [first, second]


def say(future: asyncio.Future[bool] | asyncio.Future[None], name: str) -> None:
    if future.exception() is None:
        os.write(1, f"{name}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) + 1))
