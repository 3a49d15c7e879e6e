"""The venue's own dead-man's switch, kept wound while entries rest there: orders only.

Should this engine die or be cut off, its resting entries would fill into positions that nobody
watches. Where the venue counts down for a symbol (Binance), the count is begun as soon as an entry
rests and renewed in time; the venue cancels when it runs out. It closes no position, and whether it
takes conditional orders along is not written anywhere. So it is never wound for a symbol that has a
position or an order that protects one: a stop that is lost there costs more than an entry that
fills, and both the count is stopped and the reason shown. Only the engine winds it: the stop and
its guard leave it alone. An engine that ends in order leaves it running, for its entries are then
nobody's. Seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from engine.bus import EventBus
from engine.execution import ExecutionService
from engine.kernel.venue_desk import VenueDesk
from engine.model.errors import VenueError
from engine.model.events import Event, OrderFilled
from engine.model.ids import Symbol
from engine.model.orders import OrderPurpose
from engine.model.snapshots import DeadManSnapshot
from engine.portfolio import Ledger
from engine.ports import Clock
from engine.runtime import within

_log = logging.getLogger(__name__)
COUNTDOWN_S = 60.0
RENEW_S = 20.0
_LOOK_S = 1.0
_ANSWER_S = 5.0


class DeadMan:
    """Winds and stops the venue's countdown by what rests there."""

    def __init__(
        self,
        *,
        venue: VenueDesk,
        execution: ExecutionService,
        ledger: Ledger,
        bus: EventBus,
        clock: Clock,
    ) -> None:
        self._venue = venue
        self._execution = execution
        self._ledger = ledger
        self._clock = clock
        # When each symbol's countdown was last confirmed, by the monotonic clock.
        self._wound_ns: dict[Symbol, int] = {}
        self._failed: dict[Symbol, str] = {}
        self._look_now = asyncio.Event()
        if self.is_there:
            bus.subscribe(self._on_fill, types=(OrderFilled,), name="dead-man's switch")

    @property
    def is_there(self) -> bool:
        """Whether the venue has one that we use."""
        return not self._venue.countdown_why_not

    def state(self) -> DeadManSnapshot:
        """For status and console."""
        why_not = self._venue.countdown_why_not
        if why_not:
            return DeadManSnapshot(why_not=why_not)
        now_ns = self._clock.monotonic_ns()
        wound = self._wound_ns
        return DeadManSnapshot(
            armed=tuple(sorted(wound)),
            held_off=tuple(sorted(self._resting() & self._protected())),
            failed="; ".join(f"{symbol}: {why}" for symbol, why in self._failed.items()),
            renewed_age_s=(now_ns - min(wound.values())) / 1e9 if wound else None,
        )

    async def watch(self) -> None:
        """Look every second, and at once after a fill, for ever."""
        clock = self._clock
        while True:
            await self.look()
            with contextlib.suppress(TimeoutError):
                await within(clock, _LOOK_S, self._look_now.wait())
            self._look_now.clear()

    async def look(self) -> None:
        """Wind what rests without a position, stop the rest."""
        wanted = self._resting() - self._protected()
        now_ns = self._clock.monotonic_ns()
        for symbol in sorted(set(self._wound_ns) - wanted):
            if await self._set(symbol, 0.0):
                self._wound_ns.pop(symbol, None)
        for symbol in sorted(wanted):
            if now_ns - self._wound_ns.get(symbol, -(10**18)) < RENEW_S * 1e9:
                continue
            if await self._set(symbol, COUNTDOWN_S):
                self._wound_ns[symbol] = now_ns
        for symbol in set(self._failed) - wanted - set(self._wound_ns):
            del self._failed[symbol]

    def _on_fill(self, _: Event) -> None:
        self._look_now.set()

    def _resting(self) -> set[Symbol]:
        """Symbols in which an entry of ours waits at the venue."""
        return {
            record.intent.symbol
            for record in self._execution.desk.open_orders()
            if record.intent.purpose is OrderPurpose.ENTRY
            and record.intent.price is not None
            and not record.external
        }

    def _protected(self) -> set[Symbol]:
        """Symbols with a position, or with an order that only makes sense with one."""
        held = {position.symbol for position in self._ledger.positions()}
        return held | {
            record.intent.symbol
            for record in self._execution.desk.open_orders()
            if record.intent.reduce_only
        }

    async def _set(self, symbol: Symbol, seconds: float) -> bool:
        clock = self._clock
        try:
            work = self._venue.count_down(symbol, seconds=seconds)
            await within(clock, _ANSWER_S, work)
        except (VenueError, TimeoutError) as error:
            if symbol not in self._failed:
                _log.warning("dead-man's switch of %s: %s", symbol, error)
            self._failed[symbol] = str(error) or "no answer"
            return False
        self._failed.pop(symbol, None)
        return True


def dead_man_words(state: DeadManSnapshot) -> str:
    """What the status says of it."""
    if state.why_not:
        return f"not to be had: {state.why_not}"
    if state.failed:
        return f"orders only, NOT WOUND for {state.failed}"
    words = "orders only"
    if state.armed:
        words += f", wound for {', '.join(state.armed)}"
    elif not state.held_off:
        words += ", no entry rests"
    if state.held_off:
        words += f"; not for {', '.join(state.held_off)}: it could take a stop along"
    return words


__all__ = ["COUNTDOWN_S", "RENEW_S", "DeadMan", "dead_man_words"]
