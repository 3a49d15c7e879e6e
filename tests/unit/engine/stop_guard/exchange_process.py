"""A process that trades an account at an exchange, for tests that kill or freeze it.

Usage: `python -m tests.unit.engine.stop_guard.exchange_process DATA_DIR VENUE REST_URL STREAM_URL`.
It takes the lock, buys BTC, sells ETH short, leaves a limit order and a protective stop, prints
`ready` and waits: an engine that does not answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path

from engine.database import DataDirLock
from engine.latch import LatchFile
from engine.model.api_key import ApiKey
from engine.model.config import Configuration, EngineSection, VenueSection
from engine.model.ids import ClientOrderId
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.runtime import Chance, SystemClock, Tasks
from engine.venues.exchange import ExchangeNeeds, build_exchange, network
from tests.unit.engine.stop_guard.paper_process import BTC, ETH, entry

KEY = ApiKey(key="test-key", secret="test-secret")


def live_configuration(
    venue: str, rest_url: str, stream_url: str, *, mode: str = "live"
) -> Configuration:
    return Configuration(
        engine=EngineSection(mode=mode),  # type: ignore[arg-type]
        venue=VenueSection(
            name=venue,  # type: ignore[arg-type]
            rest_url=rest_url,
            stream_url=stream_url,
        ),
    )


async def main(data_dir: Path, venue: str, rest_url: str, stream_url: str) -> None:
    clock = SystemClock()
    lock = DataDirLock(data_dir, purpose="engine")
    lock.acquire()
    owner = f"desk:{os.getpid()}"
    LatchFile(data_dir / "latch").create_armed(generation=1, owner=owner, written_ns=clock.now_ns())
    tasks = Tasks(on_fault=lambda name, error: sys.exit(f"{name}: {error!r}"))
    parts = build_exchange(
        live_configuration(venue, rest_url, stream_url),
        ExchangeNeeds(
            clock=clock,
            chance=Chance(seed=1, name="delays"),
            tasks=tasks,
            final_check=lambda _: (),
            key=KEY,
            transport=network(clock),
        ),
    )
    await parts.venue.start()
    await parts.venue.place(entry(1, BTC, Side.BUY, "0.5"))
    await parts.venue.place(entry(2, ETH, Side.SELL, "4"))
    await parts.venue.place(entry(3, ETH, Side.SELL, "1", price="3500"))
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
    await parts.venue.reduce(stop)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:5]))
