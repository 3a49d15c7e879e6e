"""Names of what outlives a restart (table `standing`): what an operator said, whose the books are,
when those of an account began (by the venue's clock), how far its wallet is booked, and that START
LIVE was once confirmed.
"""

from __future__ import annotations

NEEDS_START = "needs_start"
HALTED = "halted"
REDUCE_ONLY = "reduce_only"
BOOKS_OPENED = "books_opened_ns"
BOOKS_OF = "books_of"
WALLET_SEEN = "wallet_seen"
LIVE_CONFIRMED = "live_confirmed"

__all__ = [
    "BOOKS_OF",
    "BOOKS_OPENED",
    "HALTED",
    "LIVE_CONFIRMED",
    "NEEDS_START",
    "REDUCE_ONLY",
    "WALLET_SEEN",
]
