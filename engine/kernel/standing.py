"""Names of what an operator said that outlives a restart (table `standing`)."""

from __future__ import annotations

NEEDS_START = "needs_start"
HALTED = "halted"
REDUCE_ONLY = "reduce_only"

__all__ = ["HALTED", "NEEDS_START", "REDUCE_ONLY"]
