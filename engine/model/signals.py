"""A signal: somebody's opinion that a symbol will move, with a confidence between 0 and 1.

It becomes an order only through queue, permission, sizing and gate. Distances are fractions of the
entry price; times UTC nanoseconds.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.model.ids import SignalId, Symbol, TraceId
from engine.model.values import Side


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """`is_exit` asks to close the symbol's position instead of opening one; exits skip the
    queue.
    """

    id: SignalId
    symbol: Symbol
    side: Side
    confidence: float
    strategy: str
    ts_ns: int
    trace: TraceId
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    is_exit: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence must be between 0 and 1, not {self.confidence}")


__all__ = ["Signal"]
