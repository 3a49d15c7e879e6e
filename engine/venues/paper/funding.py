"""When the paper venue's positions pay funding, and at which rate.

By the feed's own words where it has them (an exchange's public streams name rate and time of each
symbol's next payment); otherwise at a configured rate at 00:00, 08:00 and 16:00 UTC, and never at a
rate of zero. A word about the next payment that comes before the last one was taken does not undo
it: venues speak of the next one as soon as the last is over by their own clock, which may be ahead
of ours. What falls due while no engine runs is not paid. Pure; times UTC nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from engine.model.ids import Symbol

_NS = 1_000_000_000
INTERVAL_NS = 8 * 3600 * _NS
# How far the venue's clock may be ahead of ours.
_SKEW_NS = 60 * _NS
NEVER_NS = 2**63 - 1


class Due(msgspec.Struct, frozen=True):
    """One payment of a symbol; longs pay shorts at a positive rate."""

    symbol: Symbol
    rate: Decimal
    due_ns: int


class FundingTimes:
    """What is due next. `next_ns` is the earliest time at which anything may be."""

    def __init__(self, *, rate: Decimal) -> None:
        """`rate` is the configured one."""
        self._rate = rate
        self._told: dict[Symbol, Due] = {}
        self._owed: list[Due] = []
        self._regular_ns = NEVER_NS
        self.next_ns = NEVER_NS

    def begin(self, now_ns: int) -> None:
        """The regular times count from now on."""
        if self._rate:
            self._regular_ns = (now_ns // INTERVAL_NS + 1) * INTERVAL_NS
        self._reckon()

    def tell(self, symbol: Symbol, rate: Decimal, due_ns: int, now_ns: int) -> None:
        """The feed's word on a symbol's next payment."""
        last = self._told.get(symbol)
        if last is not None and last.due_ns < due_ns and last.due_ns <= now_ns + _SKEW_NS:
            self._owed.append(last)
        self._told[symbol] = Due(symbol, rate, due_ns)
        self._reckon()

    def take(self, now_ns: int, held: Iterable[Symbol]) -> list[Due]:
        """Everything that is due now, each once. Symbols that are held and that the feed is silent
        about pay at the regular times.
        """
        taken, self._owed = self._owed, []
        for due in tuple(self._told.values()):
            if due.due_ns <= now_ns:
                taken.append(due)
                del self._told[due.symbol]
        if self._regular_ns <= now_ns:
            due_ns = self._regular_ns
            spoken_of = {due.symbol for due in taken} | self._told.keys()
            taken += [Due(symbol, self._rate, due_ns) for symbol in held if symbol not in spoken_of]
            self._regular_ns = (now_ns // INTERVAL_NS + 1) * INTERVAL_NS
        self._reckon()
        return taken

    def _reckon(self) -> None:
        told_ns = min((due.due_ns for due in self._told.values()), default=NEVER_NS)
        self.next_ns = 0 if self._owed else min(told_ns, self._regular_ns)


__all__ = ["INTERVAL_NS", "NEVER_NS", "Due", "FundingTimes"]
