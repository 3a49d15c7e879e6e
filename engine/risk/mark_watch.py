"""Not blind: with a position open and no mark for 2 s, the venue is asked for one each second.

Without an answer nobody knows what the position is worth: the drawdown is UNKNOWN, which the kernel
turns into a P1 alarm and the gate into a refusal. Ages in seconds of the monotonic clock. One task
on the loop; reads of several symbols go out together, so that one that hangs does not hold up
others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal

from engine.model.errors import VenueError
from engine.model.ids import Symbol
from engine.ports.clock import Clock
from engine.risk.mark_filter import MarkFilter
from engine.runtime import within

_log = logging.getLogger(__name__)
SILENT_NS_MAX = 2_000_000_000
READ_INTERVAL_NS = 1_000_000_000
READ_TIMEOUT_S = 0.9
_LOOK_INTERVAL_S = 0.5
# With nothing to watch, a look costs as little as a longer sleep can make it.
_IDLE_INTERVAL_S = 1.0


class MarkWatch:
    """Watches the marks of open positions.

    `read_mark` asks the venue (a VenueError or None means no answer), `count` hands a mark that
    was read to the books, `on_blind` hears the symbols nobody can price, whenever that set
    changes.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        marks: MarkFilter,
        open_symbols: Callable[[], Iterable[Symbol]],
        read_mark: Callable[[Symbol], Awaitable[Decimal | None]],
        count: Callable[[Symbol, Decimal], None],
        on_blind: Callable[[frozenset[Symbol]], None],
    ) -> None:
        self._clock = clock
        self._marks = marks
        self._open_symbols = open_symbols
        self._read_mark = read_mark
        self._count = count
        self._on_blind = on_blind
        self._noticed: dict[Symbol, int] = {}
        self._asked: dict[Symbol, int] = {}
        self._blind: frozenset[Symbol] = frozenset()

    @property
    def blind(self) -> frozenset[Symbol]:
        """Symbols with a position and without a price."""
        return self._blind

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            pause_s = _LOOK_INTERVAL_S if self._noticed else _IDLE_INTERVAL_S
            due_s = self._marks.due_in_s()
            await self._clock.sleep(pause_s if due_s is None else min(pause_s, due_s))

    async def look(self) -> None:
        """One look: count what has waited long enough, ask the venue about silent symbols."""
        for symbol, price in self._marks.due():
            self._count(symbol, price)
        now = self._clock.monotonic_ns()
        opened = set(self._open_symbols())
        if opened or self._noticed:
            self._noticed = {symbol: self._noticed.get(symbol, now) for symbol in opened}
        silent = {symbol for symbol in opened if now - self._heard_ns(symbol) >= SILENT_NS_MAX}
        if not (silent or self._blind):
            return  # Nearly always, and four times a second.
        due = now - READ_INTERVAL_NS
        ask = sorted(symbol for symbol in silent if self._asked.get(symbol, due) <= due)
        answers = await asyncio.gather(*(self._ask(symbol, now) for symbol in ask))
        failed = {symbol for symbol, answered in zip(ask, answers, strict=True) if not answered}
        still_silent = (self._blind & silent) - set(ask)
        self._set_blind(frozenset(failed | still_silent))

    def _heard_ns(self, symbol: Symbol) -> int:
        counted = self._marks.last_counted_ns(symbol)
        return self._noticed[symbol] if counted is None else counted

    async def _ask(self, symbol: Symbol, now: int) -> bool:
        self._asked[symbol] = now
        try:
            price = await within(self._clock, READ_TIMEOUT_S, self._read(symbol))
        except (VenueError, TimeoutError) as error:
            _log.info("the venue gave no mark for %s: %s", symbol, error)
            return False
        if price is None or price <= 0:
            return False
        self._count(symbol, self._marks.confirm(symbol, price))
        return True

    async def _read(self, symbol: Symbol) -> Decimal | None:
        return await self._read_mark(symbol)

    def _set_blind(self, blind: frozenset[Symbol]) -> None:
        if blind != self._blind:
            self._blind = blind
            self._on_blind(blind)


__all__ = ["MarkWatch"]
