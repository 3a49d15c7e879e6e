"""`seawall status` when no engine runs: what the latch file and the state database say.

Reads only; takes no lock and changes nothing. What cannot be read is said, never guessed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from engine.database import DatabaseReader
from engine.kernel.data_directory import DataDirectory
from engine.kernel.standing import BOOKS_OF
from engine.latch import LatchFile, LatchState
from engine.model.errors import StoreError
from engine.model.policy import document_hash
from engine.model.values import PositionSide, plain
from engine.trade_state import TradeHistory


def status_from_disk(data_dir: Path) -> dict[str, Any]:
    """The status document as far as the disk knows it."""
    directory = DataDirectory(data_dir)
    if directory.is_new and not directory.latch.exists():
        return {
            "running": False,
            "mode": None,
            "state": "off",
            "why": f"there is no data directory at {data_dir} yet",
            "emergency": {
                "state": "armed",
                "latched": False,
                "reason": "",
                "since": None,
                "trips": [],
                "positions_open": 0,
                "orders_open": 0,
            },
            "safeguards": {},
        }
    latch = LatchFile(directory.latch).read()
    status: dict[str, Any] = {
        "running": False,
        "mode": "paper",
        "state": "latched" if latch.latched else "off",
        "why": latch.damage or "no engine is running",
        "safeguards": {},
    }
    try:
        status |= asyncio.run(_from_database(directory.state_db))
    except StoreError as error:
        status |= {"why": f"{status['why']}; the database cannot be read: {error}"}
    status["emergency"] = _emergency(latch, status)
    return status


async def _from_database(path: Path) -> dict[str, Any]:
    reader = DatabaseReader(path=path)
    await reader.open()
    try:
        history = TradeHistory(reader=reader)
        policies = await history.policies(limit=1)
        positions = await history.open_positions()
        orders = await history.open_orders()
        mode, _, place = (await history.standing(BOOKS_OF) or "paper").partition(" ")
    finally:
        await reader.close()
    found: dict[str, Any] = {
        "mode": mode,
        "positions": [
            {
                "venue": place.partition(" ")[0] or "paper",
                "symbol": position.symbol,
                "side": PositionSide.of(position.quantity).value,
                "quantity": plain(abs(position.quantity)),
                "entry_price": plain(position.entry_price),
                "mark_price": None,
                "unrealised": None,
                "protected": any(
                    order.intent.symbol == position.symbol
                    and order.intent.trigger_price is not None
                    for order in orders
                ),
            }
            for position in positions
        ],
        "orders": [
            {
                "client_order_id": order.client_order_id,
                "symbol": order.intent.symbol,
                "side": order.intent.side.value,
                "quantity": plain(order.intent.quantity),
                "filled": plain(order.filled),
                "state": order.state.value,
            }
            for order in orders
        ],
    }
    if policies:
        document = policies[0]
        found["policy"] = {
            "version": document.version,
            "profile": document.profile,
            "age_s": None,
            "source": "state database",
            "sha256": document_hash(document),
            "allow_new_trades": document.allow_new_trades,
        }
    return found


def _emergency(latch: LatchState, status: dict[str, Any]) -> dict[str, Any]:
    return {
        "state": latch.state.value,
        "latched": latch.latched,
        "reason": latch.trips[0].reason if latch.trips else latch.damage,
        "since": latch.trips[0].ts_ns if latch.trips else None,
        "paused": latch.paused,
        "trips": [
            {
                "id": trip.trip_id,
                "source": trip.source,
                "reason": trip.reason,
                "ts_ns": trip.ts_ns,
                "scope": trip.scope,
                "node": trip.node,
            }
            for trip in latch.trips
        ],
        "positions_open": len(status.get("positions", [])),
        "orders_open": len(status.get("orders", [])),
    }


__all__ = ["status_from_disk"]
