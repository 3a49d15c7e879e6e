"""What a ticket would come to, by the very functions and facts of the gate.

Changes nothing: no order id is taken, no intent made, no event told, no refusal counted. The
liquidation price is estimated on paper only, by the paper venue's own rule: other venues' margin
brackets are not read.
"""

from __future__ import annotations

import msgspec

from engine.kernel.parts import Parts
from engine.kernel.ticket_shape import Shape, entry_intent, exit_intent, shape_of
from engine.model.errors import Refused
from engine.model.ids import ClientOrderId, TraceId
from engine.model.instrument import Instrument
from engine.model.ticket import Ticket, TicketPreview
from engine.model.values import ZERO
from engine.risk import check_exit, limits_for, liquidation_price, quantity_left
from engine.venues.paper import MAINTENANCE_RATIO

_PREVIEW_ID = ClientOrderId("preview")


class TicketPreviews:
    """Reads the engine's parts and judges a ticket."""

    def __init__(self, *, parts: Parts) -> None:
        self._parts = parts

    def preview(self, ticket: Ticket) -> TicketPreview:
        """Every figure and every reason, by the gate's own facts and functions."""
        shape = self.shape(ticket)
        mark = self._parts.market.last_price(ticket.symbol)
        preview = TicketPreview(
            ts_ns=self._parts.clock.now_ns(),
            problems=shape.problems,
            quantity=shape.quantity or None,
            price=shape.price,
            mark_price=mark,
        )
        if shape.problems or shape.instrument is None:
            return preview
        if ticket.reduce_only:
            return self._preview_exit(ticket, shape, preview)
        return self._preview_entry(ticket, shape, shape.instrument, preview)

    def _preview_entry(
        self, ticket: Ticket, shape: Shape, instrument: Instrument, preview: TicketPreview
    ) -> TicketPreview:
        parts = self._parts
        now_ns = parts.clock.now_ns()
        intent = entry_intent(
            ticket, shape, client_order_id=_PREVIEW_ID, trace=TraceId(""), now_ns=now_ns
        )
        facts, profile = parts.gatekeeper.facts(intent), parts.policy.active()
        reasons = parts.gatekeeper.reasons_against(
            intent, override_duplicate=ticket.override_duplicate
        )
        held = facts.positions.get(ticket.symbol, ZERO)
        preview = msgspec.structs.replace(
            preview,
            reasons=reasons,
            leverage=shape.leverage,
            position_after=held + intent.quantity * ticket.side.sign,
        )
        if shape.reference is None:
            return preview
        rooms = limits_for(intent, facts, profile)
        notional = intent.quantity * shape.reference
        return msgspec.structs.replace(
            preview,
            notional=notional,
            margin=notional / shape.leverage,
            stop_price=shape.at(shape.stop_loss, ticket.side, is_stop=True),
            take_profit_price=shape.at(shape.take_profit, ticket.side, is_stop=False),
            limits=rooms,
            quantity_max=quantity_left(
                rooms, price=shape.reference, leverage=shape.leverage, instrument=instrument
            ),
            liquidation_price=liquidation_price(
                intent, facts, entry=shape.reference, maintenance_ratio=MAINTENANCE_RATIO
            )
            # Other venues' brackets are not read: there it is not known.
            if parts.venue.name == "paper"
            else None,
        )

    def _preview_exit(self, ticket: Ticket, shape: Shape, preview: TicketPreview) -> TicketPreview:
        parts = self._parts
        held = parts.ledger.quantity(ticket.symbol)
        intent = exit_intent(
            ticket, shape, client_order_id=_PREVIEW_ID, now_ns=parts.clock.now_ns()
        )
        working = parts.execution.desk.open_orders(ticket.symbol)
        reasons = check_exit(intent, position=held, working=working)
        room = abs(held) if held * ticket.side.sign < 0 else ZERO
        return msgspec.structs.replace(
            preview,
            reasons=reasons,
            notional=None if shape.reference is None else shape.quantity * shape.reference,
            position_after=held + shape.quantity * ticket.side.sign,
            quantity_max=room,
        )

    def shape(self, ticket: Ticket) -> Shape:
        """The ticket fitted to the venue and the policy in force."""
        parts = self._parts
        instrument: Instrument | None
        try:
            instrument = parts.venue.instrument(ticket.symbol)
        except Refused:
            instrument = None
        return shape_of(
            ticket,
            instrument=instrument,
            mark=parts.market.last_price(ticket.symbol),
            profile=parts.policy.active(),
        )


__all__ = ["TicketPreviews"]
