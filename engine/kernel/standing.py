"""Names of what outlives a restart (table `standing`): what an operator said, and when the books of
an account began, by its venue's clock.
"""

from __future__ import annotations

NEEDS_START = "needs_start"
HALTED = "halted"
REDUCE_ONLY = "reduce_only"
BOOKS_OPENED = "books_opened_ns"

__all__ = ["BOOKS_OPENED", "HALTED", "NEEDS_START", "REDUCE_ONLY"]
