"""The replayed market: a recording pushed at its own pace or as fast as the engine can take it.

Trading time is the recording's local receive time. At speed `max` the clock is a simulated one that
stands at each entry's time when it is pushed; at speed `1` a real clock (its UTC shifted to the
recording's) paces it. It waits for room in the queue instead of letting ticks be conflated.
Times never go back: an entry that claims to be older than the one before it gets that one's time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from engine.market.pacing import SleepsUntil, sleeper
from engine.market.recording import Recording, RecordingCounts, Trade
from engine.model.ids import Symbol
from engine.ports import Clock, MarketSink

_log = logging.getLogger(__name__)
Speed = Literal["1", "max"]
# At full speed on a clock that cannot jump, others get a turn this often.
_YIELD_EVERY = 64


class ReplayFeed:
    """Implements `engine.ports.MarketFeed` on a recorded file; returns at its end.

    Without `symbols` everything that was recorded is pushed.
    """

    def __init__(
        self, *, clock: Clock, path: Path, speed: Speed, symbols: Sequence[Symbol]
    ) -> None:
        self._clock = clock
        self._path = path
        self._speed = speed
        self._wanted = frozenset(symbols)
        # In the order given, or in the order in which they turned up.
        self._symbols = dict.fromkeys(symbols)
        self._recording = Recording(path=path)

    @property
    def name(self) -> str:
        return f"replay of {self._path.name}"

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(self._symbols)

    @property
    def counts(self) -> RecordingCounts:
        """What was read so far, of all symbols."""
        return self._recording.counts

    async def run(self, sink: MarketSink) -> None:
        """Push everything wanted, in order, then return."""
        wanted = self._wanted
        jumps = self._speed == "1" or isinstance(self._clock, SleepsUntil)
        sleep_until = sleeper(self._clock)
        last_ns = 0
        pushed = 0
        for entry in self._recording:
            if wanted and entry.symbol not in wanted:
                continue
            await sink.room()
            pushed += 1
            if entry.ts_ns > last_ns:
                last_ns = entry.ts_ns
                if jumps and last_ns > self._clock.now_ns():
                    await sleep_until(last_ns)
            self._symbols.setdefault(entry.symbol)
            if pushed % _YIELD_EVERY == 0:
                await self._clock.sleep(0)
            if isinstance(entry, Trade):
                sink.on_trade(entry.symbol, entry.price, entry.quantity, entry.side, last_ns)
            else:
                sink.on_quote(entry.symbol, entry.bid, entry.ask, last_ns)
        counts = self._recording.counts
        if pushed == 0:
            _log.warning("%s held nothing of %s", self._path.name, ", ".join(wanted) or "use")
        if counts.broken:
            _log.warning("%s: %d lines could not be read", self._path.name, counts.broken)


__all__ = ["ReplayFeed", "Speed"]
