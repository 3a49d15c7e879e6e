"""Whose books a data directory holds: those of one mode at one venue, from its first start on.

Why: simulated orders and real ones must never meet in one set of books, and a stop must know which
account it stops. So another mode, venue or environment needs a data directory of its own; a
mistyped configuration is refused before anything is asked of a venue. Fails: ConfigurationError.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.database import DatabaseReader
from engine.kernel.data_directory import DataDirectory
from engine.kernel.standing import BOOKS_OF
from engine.kernel.storage import Storage
from engine.model.config import Configuration
from engine.model.errors import ConfigurationError, StoreError
from engine.trade_state import TradeHistory

_PAPER = "paper"


def whose_books(configuration: Configuration) -> str:
    """The mode, and where an exchange is meant, which one: `dry_run binance testnet`."""
    mode, venue = configuration.engine.mode, configuration.venue
    return _PAPER if mode == _PAPER else f"{mode} {venue.name} {venue.environment}"


async def claim_books(storage: Storage, configuration: Configuration) -> None:
    """Write down whose they are, at the first start; ConfigurationError when they are another's."""
    wanted, state = whose_books(configuration), storage.open_state
    # What an older version wrote is paper's: it could do nothing else.
    known = state.standing.get(BOOKS_OF) or (_PAPER if state.totals_json is not None else wanted)
    if known != wanted:
        raise ConfigurationError(
            "engine.mode",
            f"{storage.directory.root} holds the books of '{known}', and the configuration says"
            f" '{wanted}': put the configuration right, or name another --data-dir",
        )
    if BOOKS_OF not in state.standing:
        await storage.store.record_standing(BOOKS_OF, wanted)


def mode_on_disk(data_dir: Path) -> str:
    """The mode whose books are there; empty where nobody wrote it down, or it cannot be read.

    For the command line, which has no loop.
    """
    path = DataDirectory(data_dir).state_db
    if not path.exists():
        return ""
    try:
        return asyncio.run(_read(path)).partition(" ")[0]
    except StoreError:
        return ""


async def _read(path: Path) -> str:
    reader = DatabaseReader(path=path)
    await reader.open()
    try:
        return await TradeHistory(reader=reader).standing(BOOKS_OF) or ""
    finally:
        await reader.close()


__all__ = ["claim_books", "mode_on_disk", "whose_books"]
