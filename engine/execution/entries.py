"""Sends entries: signal → size → gate → durable intent → venue, and what became of it. An
operator's ticket comes with its size and takes the same path from the gate on.

Retry (R-EXE-4): *not executed* is tried again after 1, 2, 4 s with jitter (the final check is asked
anew each time), unless the venue wants it later than eight seconds from then; *unknown* is never
resent: the order is unresolved, its symbol shut, and `LookUp` asks until the venue says what it
was. Rejected is final. The final check sits in the transport. Times in seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from engine.execution.collaborators import Identity, Judgement, Timing, VenuePorts
from engine.execution.look_up import LookUp
from engine.execution.order_desk import OrderDesk
from engine.model import events as ev
from engine.model.errors import Denied, NotExecuted, OutcomeUnknown, Refused, StoreError
from engine.model.ids import ClientOrderId
from engine.model.orders import (
    Intent,
    OrderKind,
    OrderPurpose,
    OrderState,
    OrderTrigger,
)
from engine.model.reasons import Reason, ReasonCode
from engine.model.signals import Signal
from engine.model.venue import Approved
from engine.runtime import Tasks, within

_log = logging.getLogger(__name__)
_ANSWER_S = 5.0
_RETRY_S = (1.0, 2.0, 4.0)
# An entry that may only leave later than this is given up: it was judged by another price.
_RETRY_PAUSE_S_MAX = 8.0
_ROUND_TRIPS_KEPT = 1_024
_OUTCOMES_KEPT = 100


class EntrySender:
    """Turns signals into entries, one attempt of risk at a time."""

    def __init__(
        self,
        *,
        venue: VenuePorts,
        desk: OrderDesk,
        look_up: LookUp,
        timing: Timing,
        identity: Identity,
        judgement: Judgement,
        tasks: Tasks,
    ) -> None:
        self._entry = venue.entry
        self._desk = desk
        self._look_up = look_up
        self._clock = timing.clock
        self._stopwatch = timing.stopwatch
        self._jitter = timing.jitter
        self._order_ids = identity.order_ids
        self._stamper = identity.stamper
        self._judgement = judgement
        self._tasks = tasks
        self.retries = 0
        self.sent = 0
        self.rejected = 0
        # The last outcomes, True for a rejected one.
        self._outcomes: deque[bool] = deque(maxlen=_OUTCOMES_KEPT)
        self._round_trips_ms: deque[float] = deque(maxlen=_ROUND_TRIPS_KEPT)

    def round_trip_ms_p99(self) -> float | None:
        """99th percentile of the last 1,024 answers, in milliseconds."""
        if not self._round_trips_ms:
            return None
        ordered = sorted(self._round_trips_ms)
        return ordered[int(0.99 * (len(ordered) - 1))]

    def recent_rejects(self) -> tuple[int, int]:
        """Rejected ones, and how many, of the last 100 entries that were answered."""
        return sum(self._outcomes), len(self._outcomes)

    async def enter(self, signal: Signal) -> tuple[Reason, ...]:
        """Carry one signal to the venue; the reasons when it was blocked, empty when it was
        sent.
        """
        sized = self._judgement.size_entry(signal)
        if sized.reasons:
            return sized.reasons
        intent = Intent(
            client_order_id=self._order_ids.next(),
            symbol=signal.symbol,
            side=signal.side,
            kind=OrderKind.MARKET,
            purpose=OrderPurpose.ENTRY,
            quantity=sized.quantity,
            leverage=sized.leverage,
            trace=signal.trace,
            signal_id=signal.id,
            stop_loss=signal.stop_loss or sized.stop_loss,
            take_profit=signal.take_profit,
            strategy=signal.strategy,
            created_ns=self._clock.now_ns(),
        )
        executed = ev.SignalExecuted(
            **self._stamper(signal.trace),
            signal_id=signal.id,
            symbol=signal.symbol,
            side=signal.side,
            confidence=signal.confidence,
            strategy=signal.strategy,
        )
        allowed = await self._intend(intent, executed)
        if not isinstance(allowed, Approved):
            return allowed
        await self._send(allowed)
        return ()

    def next_id(self) -> ClientOrderId:
        """An id for an order that is about to be placed."""
        return self._order_ids.next()

    async def place(
        self, intent: Intent, *, override_duplicate: bool = False
    ) -> tuple[Reason, ...] | asyncio.Task[None]:
        """Carry an operator's entry: the reasons when it was refused, else the task that sends it.

        The intent is durable when this returns; what becomes of it is in the order's record.
        """
        allowed = await self._intend(intent, override_duplicate=override_duplicate)
        if not isinstance(allowed, Approved):
            return allowed
        return self._tasks.spawn(f"send {intent.client_order_id}", self._send(allowed))

    async def _intend(
        self, intent: Intent, *events: ev.Event, override_duplicate: bool = False
    ) -> Approved | tuple[Reason, ...]:
        """The gate, and in the same step the books, so that the next one is judged with this one
        counted; returns when the intent is durable.
        """
        allowed = self._judgement.permission(intent, override_duplicate=override_duplicate)
        if not isinstance(allowed, Approved):
            return allowed
        try:
            await self._desk.intend(allowed.intent, *events)
        except StoreError as error:
            self._desk.move(intent.client_order_id, OrderTrigger.DENIED_BY_US)
            return (Reason(code=ReasonCode.STORE_UNHEALTHY, detail=str(error)),)
        return allowed

    async def _send(self, approved: Approved) -> None:
        identifier = approved.intent.client_order_id
        for attempt in range(len(_RETRY_S) + 1):
            try:
                await self._attempt(approved)
            except Denied as error:
                self._end(identifier, OrderTrigger.DENIED_BY_US, error, error.reason_codes)
            except Refused as error:
                self.rejected += 1
                self._outcomes.append(True)
                self._end(identifier, OrderTrigger.VENUE_REJECTED, error, (error.code,))
            except NotExecuted as error:
                if attempt < len(_RETRY_S) and error.retry_after_s <= _RETRY_PAUSE_S_MAX:
                    self.retries += 1
                    pause = max(_RETRY_S[attempt], error.retry_after_s)
                    await self._clock.sleep(pause * (1 + 0.1 * self._jitter()))
                    continue
                self._end(identifier, OrderTrigger.VENUE_REJECTED, error, ("not_executed",))
            except (OutcomeUnknown, TimeoutError) as error:
                _log.warning("order %s: %s", identifier, error)
                self._desk.unanswered(identifier, reason=str(error), reason_codes=("no_answer",))
                self._look_up.resolve(identifier)
            return

    async def _attempt(self, approved: Approved) -> None:
        identifier = approved.intent.client_order_id
        record = self._desk.get(identifier)
        if record is not None and record.state is OrderState.INTENDED:
            self._desk.move(identifier, OrderTrigger.SENT)
        self.sent += 1
        self._look_up.sent(identifier)
        began = self._stopwatch()
        ack = await within(self._clock, _ANSWER_S, self._entry.place(approved))
        self._round_trips_ms.append((self._stopwatch() - began) / 1_000_000)
        self._outcomes.append(False)
        record = self._desk.get(identifier)
        if record is not None and not record.state.is_final:  # The stream may have been faster.
            self._desk.move(
                identifier, OrderTrigger.VENUE_ACCEPTED, venue_order_id=ack.venue_order_id
            )

    def _end(
        self,
        identifier: ClientOrderId,
        trigger: OrderTrigger,
        error: Exception,
        codes: tuple[str, ...],
    ) -> None:
        _log.warning("order %s: %s", identifier, error)
        self._desk.move(identifier, trigger, reason=str(error), reason_codes=codes)


__all__ = ["EntrySender"]
