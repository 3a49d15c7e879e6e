"""Books what the venue says: executions into order, position, trade and account, exactly once.

Every road (stream, reconciliation after a gap, restart) ends in `book_fill`; an execution id is
booked once whichever road it came. Order, position, trade and their events are one transaction.
Money follows the venue: a fill for an order we gave up, or never knew, is still booked. Quantities
in base coin, money in account currency.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from decimal import Decimal

from msgspec.structs import replace

from engine.execution.order_desk import OrderDesk
from engine.execution.recorder import Recorder
from engine.model import events as ev
from engine.model.ids import ExecutionId, Symbol, TraceId
from engine.model.orders import (
    Fill,
    Intent,
    OrderKind,
    OrderPurpose,
    OrderRecord,
    OrderState,
    OrderTrigger,
    PositionRecord,
    TradeRecord,
)
from engine.model.values import ZERO, Side
from engine.model.venue import StreamUpdate, VenueOrder
from engine.portfolio import FillPlan, Ledger
from engine.runtime import Stamper
from engine.trade_state import TradeStore

_log = logging.getLogger(__name__)
_INFERRED = "inferred:"
_FEE_GRID = Decimal("1E-12")
_CUT = "the venue cut it to what there was to reduce"

_TRIGGER_OF_STATE = {
    OrderState.ACCEPTED: OrderTrigger.VENUE_ACCEPTED,
    OrderState.CANCELLED: OrderTrigger.VENUE_CANCELLED,
    OrderState.REJECTED: OrderTrigger.VENUE_REJECTED,
}
_PURPOSE_OF_CONDITIONAL = {
    OrderKind.STOP_MARKET: OrderPurpose.PROTECTIVE_STOP,
    OrderKind.TAKE_PROFIT_MARKET: OrderPurpose.TAKE_PROFIT,
}
# What the venue itself ended; one that only we gave up may turn up at the venue after all.
_ENDED_BY_VENUE = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.DENIED}
)


class Booking:
    """Applies the venue's private stream to our books."""

    def __init__(
        self,
        *,
        desk: OrderDesk,
        ledger: Ledger,
        store: TradeStore,
        recorder: Recorder,
        stamper: Stamper,
        on_booked: Callable[[Symbol], None],
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._store = store
        self._recorder = recorder
        self._stamper = stamper
        self._on_booked = on_booked
        self._known: set[ExecutionId] = set()
        self._buffer: list[StreamUpdate] | None = None
        self._held: set[ExecutionId] = set()
        self.fills = 0
        # The newest execution that the venue told of; what we inferred is not one.
        self.last_fill_ns = 0
        self.inferred_count = 0
        self._inferred: dict[ExecutionId, Fill] = {}

    def restore(
        self,
        known: Iterable[ExecutionId],
        *,
        last_fill_ns: int,
        inferred: Iterable[Fill] = (),
        inferred_count: int = 0,
    ) -> None:
        """Execution ids that are booked already, and what of them was inferred and still waits for
        the true execution.
        """
        self._known.update(known)
        self._inferred = {fill.execution_id: fill for fill in inferred}
        self.inferred_count = inferred_count
        self.last_fill_ns = last_fill_ns

    @property
    def known(self) -> frozenset[ExecutionId] | set[ExecutionId]:
        """Every execution id that was booked; not to be changed."""
        return self._known

    def hold(self) -> None:
        """Buffer stream updates: a reconciliation reads first and applies them afterwards."""
        if self._buffer is None:
            self._buffer = []

    def is_held(self, execution: ExecutionId) -> bool:
        """The stream has told of it already; it waits behind the reconciliation that runs."""
        return execution in self._held

    def release(self) -> None:
        """Apply what was buffered, in order, and go on live."""
        buffered, self._buffer = self._buffer or [], None
        self._held.clear()
        for update in buffered:
            self.on_update(update)

    def on_update(self, update: StreamUpdate) -> None:
        """One message of the private stream."""
        if self._buffer is not None:
            self._buffer.append(update)
            if update.fill is not None:
                self._held.add(update.fill.execution_id)
            return
        if update.fill is not None:
            self.book_fill(update.fill)
        if update.order is not None:
            self.apply_order(update.order)

    def apply_order(self, order: VenueOrder, *, unbooked: Decimal = ZERO) -> None:
        """The venue's word on an order's state; executions come by `book_fill`, and of what has
        filled of an order that we do not know yet `unbooked` are still to come.
        """
        record = self._desk.get(order.client_order_id)
        if record is None:
            if not order.state.is_final:
                self._adopt(replace(order, filled=max(ZERO, order.filled - unbooked)))
            return
        if record.external and order.quantity > record.intent.quantity:
            record = self._desk.learn_size(record, order.quantity)
        trigger, reason = _TRIGGER_OF_STATE.get(order.state), order.reason
        if order.state is OrderState.FILLED and _is_cut(record, order):
            trigger, reason = OrderTrigger.VENUE_CANCELLED, _CUT
        if trigger is None or record.state is order.state:
            return
        if trigger is OrderTrigger.VENUE_ACCEPTED and record.state in _ENDED_BY_VENUE:
            return  # An old answer that was overtaken by the end of the order.
        self._desk.move(
            order.client_order_id,
            trigger,
            venue_order_id=order.venue_order_id,
            reason=reason,
        )
        self._on_booked(order.symbol)

    def _adopt(self, order: VenueOrder) -> None:
        _log.warning("adopted order %s, which was opened elsewhere", order.client_order_id)
        purpose = OrderPurpose.ENTRY
        if order.reduce_only:
            purpose = _PURPOSE_OF_CONDITIONAL.get(order.kind, OrderPurpose.EXIT)
        intent = Intent(
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            kind=order.kind,
            purpose=purpose,
            quantity=order.quantity,
            price=order.price,
            trigger_price=order.trigger_price,
            reduce_only=order.reduce_only,
            trace=TraceId(order.client_order_id),
            created_ns=order.ts_ns,
        )
        self._desk.adopt(
            OrderRecord(
                intent=intent,
                state=OrderState.ACCEPTED,
                venue_order_id=order.venue_order_id,
                filled=order.filled,
                updated_ns=order.ts_ns,
                external=True,
            )
        )

    def book_fill(self, fill: Fill) -> bool:
        """Book one execution; False when it was booked before."""
        if fill.execution_id in self._known:
            return False
        self._known.add(fill.execution_id)
        self.fills += 1
        if is_inferred(fill.execution_id):
            self.inferred_count += 1
            self._inferred[fill.execution_id] = fill
            self._book(fill)
            return True
        self.last_fill_ns = max(self.last_fill_ns, fill.ts_ns)
        rest = self._replace_inferred(fill)
        if rest is not None:
            self._book(rest)
        return True

    def _book(self, fill: Fill) -> None:
        self._known.add(fill.execution_id)
        if self._desk.get(fill.client_order_id) is None:
            self._adopt_filled(fill)
        record = self._desk.fill(fill.client_order_id, fill)
        before = self._ledger.position(fill.symbol)
        plan = self._ledger.plan_fill(fill, intent=record.intent)
        self._ledger.apply(plan)
        saved = (self._desk.filled_event(record, fill), *self._position_events(before, plan))
        self._recorder.save(lambda: self._store.record_fill(record, plan, saved), saved)
        self._on_booked(fill.symbol)

    def _replace_inferred(self, fill: Fill) -> Fill | None:
        """Let a late execution take the place of what was inferred for it; what of it is left is
        booked like any other.

        It is the one that was inferred when it is of the same symbol and side, of the same order
        where that was known, and happened before we concluded that something must have.
        """
        left: Fill | None = fill
        for inferred in tuple(self._inferred.values()):
            if left is None or not _explains(fill, inferred):
                continue
            quantity = min(left.quantity, inferred.quantity)
            part, left = _split(left, quantity)
            self._inferred.pop(inferred.execution_id)
            remaining = replace(inferred, quantity=inferred.quantity - quantity)
            if remaining.quantity:
                self._inferred[inferred.execution_id] = remaining
            self._book_replacement(part, inferred, remaining)
        return left

    def _book_replacement(self, part: Fill, inferred: Fill, remaining: Fill) -> None:
        self._known.add(part.execution_id)
        if self._desk.get(part.client_order_id) is None:
            self._adopt_filled(part)
        if inferred.client_order_id == part.client_order_id:  # It is counted as filled already.
            record = self._desk.reprice(part.client_order_id, part, inferred.price)
        else:
            record = self._desk.fill(part.client_order_id, part)
        plan = self._ledger.plan_replacement(
            part, price_before=inferred.price, inferred_ns=inferred.ts_ns
        )
        self._ledger.apply_replacement(plan)
        saved = (self._desk.filled_event(record, part, replaces=inferred),)
        _log.warning("%s takes the place of %s", part.execution_id, inferred.execution_id)
        self._recorder.save(
            lambda: self._store.record_replacement(record, plan, remaining, saved), saved
        )
        self._on_booked(part.symbol)

    def _adopt_filled(self, fill: Fill) -> None:
        """A fill of an order we never knew: manual, or from before a lost database."""
        intent = Intent(
            client_order_id=fill.client_order_id,
            symbol=fill.symbol,
            side=fill.side,
            kind=OrderKind.MARKET,
            purpose=OrderPurpose.EXIT if self._reduces(fill) else OrderPurpose.ENTRY,
            quantity=fill.quantity,
            trace=TraceId(fill.client_order_id),
            created_ns=fill.ts_ns,
        )
        self._desk.adopt(
            OrderRecord(
                intent=intent,
                state=OrderState.ACCEPTED,
                venue_order_id=fill.venue_order_id,
                updated_ns=fill.ts_ns,
                external=True,
            )
        )

    def _reduces(self, fill: Fill) -> bool:
        position = self._ledger.position(fill.symbol)
        return position is not None and position.quantity * fill.side.sign < 0

    def _position_events(
        self, before: PositionRecord | None, plan: FillPlan
    ) -> tuple[ev.Event, ...]:
        """Trade and position events of a fill, in the order in which they happened."""
        found: list[ev.Event] = []
        if plan.closed is not None:
            found.append(self._trade_event(ev.TradeClosed, plan.closed))
            found.append(self._position_event(ev.PositionClosed, plan.closed.side, before, ZERO))
        if plan.opened and plan.trade is not None:
            found.append(self._trade_event(ev.TradeOpened, plan.trade))
            found.append(
                self._position_event(
                    ev.PositionOpened, plan.trade.side, plan.position, abs(plan.position.quantity)
                )
            )
        return tuple(found)

    def _trade_event(self, kind: type[ev.TradeEvent], trade: TradeRecord) -> ev.TradeEvent:
        return kind(
            **self._stamper(trade.trace or None),
            trade_id=trade.trade_id,
            symbol=trade.symbol,
            side=trade.side,
            quantity=trade.quantity,
            entry_price=trade.entry_price,
            exit_price=trade.exit_price,
            realised=trade.realised,
            fees=trade.fees,
            funding=trade.funding,
            opened_at=trade.opened_ns,
            closed_at=trade.closed_ns,
        )

    def _position_event(
        self,
        kind: type[ev.PositionEvent],
        side: Side,
        position: PositionRecord | None,
        quantity: Decimal,
    ) -> ev.PositionEvent:
        assert position is not None
        return kind(
            **self._stamper(),
            symbol=position.symbol,
            side=side,
            quantity=quantity,
            entry_price=position.entry_price,
            unrealised=ZERO,
        )


def _explains(fill: Fill, inferred: Fill) -> bool:
    same_order = inferred.client_order_id in {fill.client_order_id, inferred.execution_id}
    return (
        same_order
        and fill.symbol == inferred.symbol
        and fill.side is inferred.side
        and fill.ts_ns <= inferred.ts_ns
    )


def _split(fill: Fill, quantity: Decimal) -> tuple[Fill, Fill | None]:
    """The first part of a fill, and the rest under an id of its own."""
    if fill.quantity == quantity:
        return fill, None
    fee = (fill.fee * quantity / fill.quantity).quantize(_FEE_GRID)
    rest = replace(
        fill,
        execution_id=ExecutionId(f"{fill.execution_id}:rest"),
        quantity=fill.quantity - quantity,
        fee=fill.fee - fee,
    )
    return replace(fill, quantity=quantity, fee=fee), rest


def is_inferred(execution: ExecutionId) -> bool:
    """Whether we concluded that it must have happened, and nobody told us."""
    return execution.startswith(_INFERRED)


def _is_cut(record: OrderRecord, order: VenueOrder) -> bool:
    """Whether a venue calls an order filled of which it took only a part: Bybit makes a reduction
    as small as its position. All that it filled is booked, and no more of it will come.
    """
    return ZERO < order.filled == record.filled < record.intent.quantity


__all__ = ["Booking", "is_inferred"]
