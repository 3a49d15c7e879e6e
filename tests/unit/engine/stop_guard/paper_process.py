"""A process with a paper account, for tests that kill or freeze it.

Usage: `python -m tests.unit.engine.stop_guard.paper_process DATA_DIR [engine]`. It takes the lock,
buys BTC, sells ETH short, leaves a limit order and a protective stop, prints `ready` and waits.
With `engine` it also runs an emergency stop on its latch file, and no control socket: an engine
that does not answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path

from engine.database import DatabaseWriter, DataDirLock
from engine.emergency_stop import (
    EmergencyStop,
    KnownAccount,
    StopHooks,
    StopIdentity,
    StopVenue,
)
from engine.latch import LatchFile
from engine.model.config import PaperSection
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import paper_instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.model.venue import Approved
from engine.runtime import IdSource, SystemClock
from engine.venues.paper import PAPER_MIGRATIONS, PaperVenue
from tests.fakes.stop_desk import ListeningBus

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")


def entry(number: int, symbol: Symbol, side: Side, size: str, price: str | None = None) -> Approved:
    intent = Intent(
        client_order_id=ClientOrderId(f"desk-g1-{number}"),
        symbol=symbol,
        side=side,
        kind=OrderKind.MARKET if price is None else OrderKind.LIMIT,
        purpose=OrderPurpose.ENTRY,
        quantity=Decimal(size),
        price=None if price is None else Decimal(price),
        leverage=Decimal(5),
    )
    return Approved(intent=intent, policy_version=1, approved_ns=0)


async def open_account(data_dir: Path, clock: SystemClock) -> PaperVenue:
    """Positions, a resting entry and a protective stop, all on disk."""
    writer = DatabaseWriter(path=data_dir / "paper.db", migrations=PAPER_MIGRATIONS)
    await writer.open()
    venue = PaperVenue(
        clock=clock,
        writer=writer,
        settings=PaperSection(latency_ms=1),
        instrument=paper_instrument,
        final_check=lambda _: (),
    )
    await venue.start()
    venue.set_marks({BTC: Decimal(60_000), ETH: Decimal(3_000)})
    await venue.place(entry(1, BTC, Side.BUY, "0.5"))
    await venue.place(entry(2, ETH, Side.SELL, "4"))
    await venue.place(entry(3, ETH, Side.SELL, "1", price="3500"))
    stop = Intent(
        client_order_id=ClientOrderId("desk-g1-4"),
        symbol=BTC,
        side=Side.SELL,
        kind=OrderKind.STOP_MARKET,
        purpose=OrderPurpose.PROTECTIVE_STOP,
        quantity=Decimal("0.5"),
        trigger_price=Decimal(58_000),
        reduce_only=True,
    )
    await venue.reduce(stop)
    return venue


async def main(data_dir: Path, *, is_engine: bool) -> None:
    clock = SystemClock()
    lock = DataDirLock(data_dir, purpose="engine")
    lock.acquire()
    latch = LatchFile(data_dir / "latch")
    owner = f"desk:{os.getpid()}"
    found = latch.create_armed(generation=1, owner=owner, written_ns=clock.now_ns())
    venue = await open_account(data_dir, clock)
    if is_engine:
        stop = EmergencyStop(
            venue=StopVenue(exits=venue, reads=venue, streams=venue),
            account=KnownAccount(exposures=tuple, instrument=paper_instrument),
            latch=latch,
            identity=StopIdentity(node="desk", generation=1, owner=owner),
            clock=clock,
            ids=IdSource(),
            bus=ListeningBus(),
            hooks=StopHooks(),
        )
        stop.restore(found)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), is_engine=sys.argv[2:] == ["engine"]))
