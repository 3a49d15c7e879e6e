"""Takes signals in, and lets the best of them through to the entry sender at the allowed rate.

Every signal ends in exactly one of executed, dropped, expired, blocked, or is pending; each ending
is an event with its reasons. Exit signals do not queue: exits are never blocked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from engine.bus import EventBus
from engine.execution.entries import EntrySender
from engine.execution.exits import ExitSender
from engine.execution.recorder import announce
from engine.execution.signal_queue import SignalQueue
from engine.model import events as ev
from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.orders import OrderPurpose
from engine.model.policy import Profile
from engine.model.reasons import ReasonCode
from engine.model.signals import Signal
from engine.model.snapshots import SignalCounts
from engine.ports import Clock
from engine.runtime import Stamper, Tasks

_log = logging.getLogger(__name__)
_LOOK_S_MAX = 0.5


class SignalDesk:
    """From signal to attempt."""

    def __init__(
        self,
        *,
        entries: EntrySender,
        exits: ExitSender,
        bus: EventBus,
        clock: Clock,
        stamper: Stamper,
        tasks: Tasks,
        profile: Callable[[], Profile],
    ) -> None:
        self._entries = entries
        self._exits = exits
        self._bus = bus
        self._clock = clock
        self._stamper = stamper
        self._tasks = tasks
        self._profile = profile
        self._queue = SignalQueue()
        self._wake = asyncio.Event()
        self._entering = 0
        self._counts = dict.fromkeys(("received", "executed", "dropped", "expired", "blocked"), 0)

    def counts(self) -> SignalCounts:
        return SignalCounts(**self._counts, pending=len(self._queue) + self._entering)

    def received(self, signal: Signal) -> ev.SignalEvent:
        """The event of its arrival, for whoever makes it durable before the signal is submitted."""
        return self._event(ev.SignalReceived, signal)

    def submit(self, signal: Signal, *, received: ev.SignalEvent | None = None) -> None:
        """Take a signal; never waits. `received`: its arrival's event, which is in the journal."""
        if signal.is_exit:
            self._tasks.spawn(f"exit {signal.symbol}", self._exit(signal))
            return
        self._counts["received"] += 1
        announce(self._bus, received or self.received(signal), journaled=received is not None)
        profile = self._profile()
        # Whose time is over loses its place first, and is not called the victim of a full queue.
        self._expire(profile)
        victims = self._queue.trim(capacity=profile.signal_queue)
        offer = self._queue.offer(signal, capacity=profile.signal_queue)
        for victim in (*victims, *((offer.victim,) if offer.victim is not None else ())):
            self._counts["dropped"] += 1
            announce(self._bus, self._event(ev.SignalDropped, victim, ReasonCode.QUEUE_FULL))
        self._wake.set()

    def _expire(self, profile: Profile) -> None:
        now_ns = self._clock.now_ns()
        for signal in self._queue.expire(now_ns=now_ns, ttl_s=profile.signal_ttl_s):
            self._counts["expired"] += 1
            announce(self._bus, self._event(ev.SignalExpired, signal, ReasonCode.SIGNAL_EXPIRED))

    async def serve(self) -> None:
        """Let signals through, best first, for ever."""
        while True:
            await self._wake.wait()
            profile = self._profile()
            now_ns = self._clock.now_ns()
            self._expire(profile)
            best = self._queue.take(now_ns=now_ns, rate_per_s=profile.signal_rate)
            if best is not None:
                self._entering += 1
                self._tasks.spawn(f"enter {best.symbol}", self._enter(best))
            if not len(self._queue):
                self._wake.clear()
            elif best is None:
                wait_s = self._queue.wait_s(now_ns=now_ns, rate_per_s=profile.signal_rate)
                # Not longer than this, so that what expires meanwhile is said in time.
                await self._clock.sleep(min(max(wait_s, 0.01), _LOOK_S_MAX))

    async def _enter(self, signal: Signal) -> None:
        try:
            reasons = await self._entries.enter(signal)
        finally:
            self._entering -= 1
        if reasons:
            self._counts["blocked"] += 1
            codes = tuple(reason.code for reason in reasons)
            announce(self._bus, self._event(ev.SignalBlocked, signal, *codes))
        else:
            self._counts["executed"] += 1

    async def _exit(self, signal: Signal) -> None:
        try:
            await self._exits.close(signal.symbol, purpose=OrderPurpose.EXIT, trace=signal.trace)
        except (Refused, NotExecuted, OutcomeUnknown, TimeoutError):
            # The position stays, protected by its stop; the strategy asks again, reconciliation
            # looks.
            _log.exception("exit of %s failed", signal.symbol)

    def _event(
        self, kind: type[ev.SignalEvent], signal: Signal, *codes: ReasonCode
    ) -> ev.SignalEvent:
        return kind(
            **self._stamper(signal.trace),
            signal_id=signal.id,
            symbol=signal.symbol,
            side=signal.side,
            confidence=signal.confidence,
            strategy=signal.strategy,
            reason_codes=tuple(str(code) for code in codes),
        )


__all__ = ["SignalDesk"]
