"""The processes of the benchmark `recover`.

    python -m tests.benchmarks.killed_engine prepare DIR ROWS ORDERS    ends by SIGKILL
    python -m tests.benchmarks.killed_engine recover|check DIR

The last two print words on what they did and, at the end, the monotonic time of being ready.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.kernel import Kernel

__all__ = ["main"]

_WAL_ROWS = 5_000
_BATCH = 10_000
_NODE = "desk"
_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")


def main(what: str, folder: Path, *arguments: str) -> None:
    if what == "check":
        with closing(sqlite3.connect(folder / "state.db")) as connection:
            found = connection.execute("PRAGMA quick_check").fetchall()
            _ready("checked" if found == [("ok",)] else f"damaged: {found}")
    elif what == "recover":
        asyncio.run(_recover(folder))
    else:
        asyncio.run(_first_start(folder))
        rows, orders = (int(number) for number in arguments)
        _fill(folder / "state.db", rows, orders)


def _ready(words: str) -> None:
    sys.stdout.write(f"{words} {time.monotonic_ns()}")
    sys.stdout.flush()


async def _built(folder: Path) -> Kernel:
    # Here and not above: the imports are part of a start, and not of the bare check.
    from engine.kernel import KernelOptions, build_kernel
    from engine.model.config import Configuration, NodeSection, RedisSection
    from engine.runtime import SystemClock

    configuration = Configuration(
        node=NodeSection(name=_NODE), redis=RedisSection(mode="standalone")
    )
    options = KernelOptions(configuration=configuration, data_dir=folder)
    return await build_kernel(options, clock=SystemClock())


async def _first_start(folder: Path) -> None:
    """A directory as an engine leaves it, with latch, policy and the venue's books."""
    kernel = await _built(folder)
    await kernel.start()
    await kernel.stop()


async def _recover(folder: Path) -> None:
    began = time.monotonic()
    kernel = await _built(folder)
    open_orders = sum(1 for _ in kernel.parts.execution.desk.open_orders())
    rows = kernel.parts.storage.journal.tail_seq()
    _ready(f"{open_orders} orders, {rows} rows, {time.monotonic() - began:.2f} s with its imports")
    os._exit(0)  # What comes next is the venue's.


def _fill(state: Path, rows: int, orders: int) -> None:
    """Rows as the engine writes them; the newest stay in the WAL of a process that is killed."""
    from tests.benchmarks.sample_events import intended
    from tests.benchmarks.state_database import INSERT_OUTBOX, outbox_row

    connection = sqlite3.connect(state, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("BEGIN")
    _put_orders(connection, orders)
    first = connection.execute("SELECT coalesce(max(seq), 0) FROM outbox").fetchone()[0] + 1
    settled = max(0, rows - _WAL_ROWS)
    for start in range(0, settled, _BATCH):
        numbers = range(start, min(start + _BATCH, settled))
        connection.executemany(
            INSERT_OUTBOX, (outbox_row(first + number, intended(number)) for number in numbers)
        )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for number in range(settled, rows):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT_OUTBOX, outbox_row(first + number, intended(number)))
        connection.execute("COMMIT")
    state.with_name("lock").write_text(f'{{"pid": {os.getpid()}, "purpose": "engine"}}')
    os.kill(os.getpid(), signal.SIGKILL)


def _put_orders(connection: sqlite3.Connection, count: int) -> None:
    from engine.model.ids import ClientOrderId, Symbol, TraceId, VenueOrderId
    from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderRecord, OrderState
    from engine.model.values import Side
    from engine.trade_state import changes

    now_ns = time.time_ns()
    [known] = connection.execute("SELECT coalesce(max(number), 0) FROM intents").fetchone()
    for number in range(known + 1, known + 1 + count):
        identifier = ClientOrderId(f"{_NODE}-g1-{number}")
        intent = Intent(
            client_order_id=identifier,
            symbol=Symbol(_SYMBOLS[number % len(_SYMBOLS)]),
            side=Side.BUY,
            kind=OrderKind.LIMIT,
            purpose=OrderPurpose.ENTRY,
            quantity=Decimal("0.010"),
            price=Decimal("50000.10"),
            trace=TraceId(f"t-{number}"),
            strategy="breakout",
            created_ns=now_ns + number,
        )
        changes.put_intent(connection, intent, node=_NODE)
        changes.put_order(
            connection,
            OrderRecord(
                intent=intent,
                state=OrderState.ACCEPTED,
                venue_order_id=VenueOrderId(str(8_000_000_000 + number)),
                updated_ns=now_ns + number,
            ),
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
