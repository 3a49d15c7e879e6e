"""What an operator may do with orders: preview, place, cancel, close.

An entry takes the path of signals from the gate on: gate, durable intent, final check, venue; so a
process that is killed anywhere on it is settled by the same restart. An exit goes by `ExitSender`,
which no halt, latch, throttle or duplicate rule stops. A preview asks the same judges and leaves no
trace: no id, no intent, no event, no count. Everything else is audited: an entry before its order
exists, an exit beside it, as the disk may not hold an exit up. Answers are results, never
exceptions. Seconds on the trading clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import msgspec

from engine.api import CommandResult
from engine.kernel.order_view import order_snapshot
from engine.kernel.parts import Parts
from engine.kernel.ticket_preview import TicketPreviews
from engine.kernel.ticket_shape import Shape, entry_intent
from engine.model.errors import (
    Denied,
    NotExecuted,
    OutcomeUnknown,
    Refused,
    StoreError,
    VenueError,
)
from engine.model.ids import ClientOrderId, Symbol, TraceId
from engine.model.orders import OrderPurpose, OrderRecord, OrderState
from engine.model.reasons import Reason, ReasonCode
from engine.model.ticket import Ticket, TicketPreview
from engine.model.values import ZERO, Side, plain
from engine.runtime import within

_log = logging.getLogger(__name__)
# A venue answers within 5 s or not at all; what is retried meanwhile is told as it is.
_ANSWER_S = 5.5
_SETTLE_S = 2.0
_LOOK_S = 0.02
_FAILED = frozenset(
    {OrderState.REJECTED, OrderState.DENIED, OrderState.ABANDONED, OrderState.UNRESOLVED}
)
_UNKNOWN_WORDS = "nobody knows yet what became of it; it is being looked up, do not send it again"


class TicketDesk:
    """Carries an operator's orders."""

    def __init__(self, *, parts: Parts, answer: Callable[[], CommandResult]) -> None:
        """`answer` makes a positive result with the engine's state as it is now."""
        self._parts = parts
        self._answer = answer
        self._previews = TicketPreviews(parts=parts)

    def preview(self, ticket: Ticket) -> TicketPreview:
        """What the ticket comes to, and every reason against it now."""
        return self._previews.preview(ticket)

    # --- place ----------------------------------------------------------------------------------

    async def submit(self, ticket: Ticket, *, author: str, reason: str) -> CommandResult:
        """Send what the ticket asks for; the answer has the order as it is known then."""
        if problems := self._previews.shape(ticket).problems:
            return self._refused("the ticket cannot be sent", problems=problems)
        if ticket.reduce_only:
            return await self._reduce(ticket, author=author, reason=reason)
        try:
            await self._audit(author, f"order: {_ticket_words(ticket)}", reason)
        except StoreError as error:
            down = Reason(code=ReasonCode.STORE_UNHEALTHY, detail=str(error))
            return self._refused("not sent", reasons=(down,))
        # In a task of its own: whoever asked may go away, the order has to get to its end.
        placing = self._parts.tasks.spawn(f"ticket {ticket.symbol}", self._place(ticket))
        placed = await asyncio.shield(placing)
        if isinstance(placed, CommandResult):
            if placed.reasons:
                codes = ", ".join(str(one.code) for one in placed.reasons)
                await self._audited(author, f"order refused: {codes}", reason)
            return placed
        identifier, sending = placed
        try:
            await within(self._parts.clock, _ANSWER_S, _ended(sending))
        except TimeoutError:
            _log.info("order %s has no final answer yet", identifier)
        return self._order_answer(identifier)

    async def _place(
        self, ticket: Ticket
    ) -> CommandResult | tuple[ClientOrderId, asyncio.Task[None]]:
        parts = self._parts
        # Anew: the audit entry took a moment, and a notional follows the price.
        shape = self._previews.shape(ticket)
        if shape.problems:
            return self._refused("the ticket cannot be sent", problems=shape.problems)
        intent = entry_intent(
            ticket,
            shape,
            client_order_id=parts.execution.entries.next_id(),
            trace=TraceId(parts.ids.next("t")),
            now_ns=parts.clock.now_ns(),
        )
        sending = await parts.execution.entries.place(
            intent, override_duplicate=ticket.override_duplicate
        )
        if isinstance(sending, tuple):
            return self._refused("the gate refuses it", reasons=sending)
        return intent.client_order_id, sending

    async def _reduce(self, ticket: Ticket, *, author: str, reason: str) -> CommandResult:
        self._audit_beside(author, f"order: {_ticket_words(ticket)}", reason)
        shape = self._previews.shape(ticket)
        return await self._exit(
            lambda: self._parts.execution.exits.reduce(
                ticket.symbol, side=ticket.side, quantity=shape.quantity, price=shape.price
            )
        )

    # --- cancel ---------------------------------------------------------------------------------

    async def cancel(self, client_order_id: str, *, author: str, reason: str) -> CommandResult:
        """Cancel one order. Refused for one that has ended, and for what rests with a position."""
        identifier = ClientOrderId(client_order_id)
        desk = self._parts.execution.desk
        record = desk.get(identifier)
        if record is None:
            return self._refused(
                f"no order {client_order_id} is open", problems={"order": "not known"}
            )
        if record.state.is_final:
            return self._order_answer(identifier, ok=False, after="; it cannot be cancelled")
        if self._protects(record):
            words = "; it belongs to a position and goes when that is closed"
            return self._order_answer(identifier, ok=False, after=words)
        self._audit_beside(author, f"cancel order {client_order_id}", reason)
        try:
            await self._parts.execution.exits.cancel(record)
        except Refused as error:
            await self._look_up(identifier)
            return self._order_answer(identifier, ok=False, after=f"; {error}")
        except NotExecuted as error:
            return self._order_answer(identifier, ok=False, after=f"; not cancelled: {error}")
        except (OutcomeUnknown, TimeoutError) as error:
            words = f"; the cancel has no answer ({error}) and nobody knows yet what became of it"
            return self._order_answer(identifier, ok=False, after=words)
        await self._until_final(identifier)
        return self._order_answer(identifier, wanted=OrderState.CANCELLED)

    def _protects(self, record: OrderRecord) -> bool:
        rests = record.intent.purpose.rests_with_position and not record.external
        return rests and self._parts.ledger.quantity(record.intent.symbol) != ZERO

    async def _look_up(self, identifier: ClientOrderId) -> None:
        """The venue has no such open order: learn what became of it."""
        try:
            await self._parts.execution.look_up.look_up(identifier)
        except (VenueError, TimeoutError) as error:
            _log.warning("order %s: %s", identifier, error)

    async def _until_final(self, identifier: ClientOrderId) -> None:
        """The stream tells of the cancel, a moment after its acknowledgement."""
        clock, desk = self._parts.clock, self._parts.execution.desk
        until_ns = clock.monotonic_ns() + round(_SETTLE_S * 1e9)
        while clock.monotonic_ns() < until_ns:
            record = desk.get(identifier)
            if record is None or record.state.is_final:
                return
            await clock.sleep(_LOOK_S)

    # --- close ----------------------------------------------------------------------------------

    async def close(
        self, symbol: Symbol, *, quantity: Decimal | None, author: str, reason: str
    ) -> CommandResult:
        """Close the position, or a part of it, at market."""
        exits = self._parts.execution.exits
        amount = "all" if quantity is None else plain(quantity)
        held = self._parts.ledger.quantity(symbol)
        if quantity is None or quantity == abs(held):
            self._audit_beside(author, f"close {amount} of {symbol}", reason)
            return await self._exit(
                lambda: exits.close(symbol, purpose=OrderPurpose.EXIT),
                nothing=f"{symbol}: there is no position, or a close of it is under way",
            )
        shape = self._previews.shape(Ticket(symbol=symbol, side=Side.BUY, quantity=quantity))
        if problems := self._close_problems(symbol, quantity, held, shape):
            return self._refused("nothing was closed", problems=problems)
        self._audit_beside(author, f"close {amount} of {symbol}", reason)
        side = Side.SELL if held > 0 else Side.BUY
        return await self._exit(lambda: exits.reduce(symbol, side=side, quantity=shape.quantity))

    @staticmethod
    def _close_problems(
        symbol: Symbol, quantity: Decimal, held: Decimal, shape: Shape
    ) -> dict[str, str]:
        if held == ZERO:
            return {"symbol": f"there is no position in {symbol}"}
        if quantity > abs(held):
            return {"quantity": f"more than the {plain(abs(held))} that are held"}
        found = shape.problems.keys() & {"quantity", "symbol"}
        return {name: shape.problems[name] for name in found}

    async def _exit(
        self,
        send: Callable[[], Coroutine[Any, Any, OrderRecord | None]],
        *,
        nothing: str = "",
    ) -> CommandResult:
        """Carry an exit in a task of its own, and say what became of it."""
        sending = self._parts.tasks.spawn("exit by the operator", _caught(send))
        record = await asyncio.shield(sending)
        if record is None:
            return self._refused(nothing)
        if isinstance(record, Denied):
            reason = Reason(code=ReasonCode.WOULD_NOT_REDUCE, detail=str(record))
            return self._refused("nothing was sent", reasons=(reason,))
        if isinstance(record, OrderRecord):
            if record.intent.price is None:
                await self._until_final(record.client_order_id)
            return self._order_answer(record.client_order_id)
        unknown = isinstance(record, OutcomeUnknown | TimeoutError)
        words = _UNKNOWN_WORDS if unknown else "the position is as it was, with its stop"
        return self._refused(f"{record}; {words}")

    # --- answers --------------------------------------------------------------------------------

    def _order_answer(
        self,
        identifier: ClientOrderId,
        *,
        ok: bool = True,
        wanted: OrderState | None = None,
        after: str = "",
    ) -> CommandResult:
        """The order as it is known now; `wanted`: any other state is not what was asked for."""
        record = self._parts.execution.desk.get(identifier)
        assert record is not None
        order = order_snapshot(record, now_ns=self._parts.clock.now_ns())
        good = ok and (record.state not in _FAILED if wanted is None else record.state is wanted)
        if record.state is OrderState.UNRESOLVED and not after:
            after = f": {_UNKNOWN_WORDS}"
        told = record.reason not in ("", record.state.value) and not good
        why = f" ({record.reason})" if told else ""
        words = f"{_order_words(record)} is {record.state.value.replace('_', ' ')}{why}{after}"
        return msgspec.structs.replace(self._answer(), ok=good, message=words, order=order)

    def _refused(
        self,
        message: str,
        *,
        problems: dict[str, str] | None = None,
        reasons: tuple[Reason, ...] = (),
    ) -> CommandResult:
        return msgspec.structs.replace(
            self._answer(), ok=False, message=message, problems=problems or {}, reasons=reasons
        )

    # --- audit ----------------------------------------------------------------------------------

    async def _audit(self, who: str, what: str, why: str) -> None:
        await self._parts.storage.store.append_audit(
            who=who, what=what, why=why, where="engine", ts_ns=self._parts.clock.now_ns()
        )

    def _audit_beside(self, who: str, what: str, why: str) -> None:
        """Audit what must not wait for the disk; with the disk down the log file has it."""

        self._parts.tasks.spawn("audit of an exit", self._audited(who, what, why))

    async def _audited(self, who: str, what: str, why: str) -> None:
        """An audit entry that nothing depends on."""
        try:
            await self._audit(who, what, why)
        except StoreError as error:
            _log.warning("not in the audit trail: %s: %s (%s): %s", who, what, why, error)


async def _caught(
    send: Callable[[], Coroutine[Any, Any, OrderRecord | None]],
) -> OrderRecord | Exception | None:
    """An exit's order, or what the venue or our own check said instead."""
    try:
        return await send()
    except (Denied, VenueError, TimeoutError) as error:
        return error


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait for a task that goes on when the waiting ends."""
    await asyncio.shield(task)


def _order_words(record: OrderRecord) -> str:
    intent = record.intent
    at = "at market" if intent.price is None else f"at {plain(intent.price)}"
    if intent.trigger_price is not None:
        at = f"stop {plain(intent.trigger_price)}"
    return f"{record.client_order_id}: {intent.side} {plain(intent.quantity)} {intent.symbol} {at}"


def _ticket_words(ticket: Ticket) -> str:
    amount = (
        f"{plain(ticket.quantity)} {ticket.symbol}"
        if ticket.quantity is not None
        else f"{ticket.symbol} for {plain(ticket.notional or ZERO)}"
    )
    at = "at market" if ticket.price is None else f"at {plain(ticket.price)}"
    more = " reduce-only" if ticket.reduce_only else ""
    more += ", although identical to a recent one" if ticket.override_duplicate else ""
    return f"{ticket.side} {amount} {at}{more}"


__all__ = ["TicketDesk"]
