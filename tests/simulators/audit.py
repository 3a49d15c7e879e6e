"""What happened at a simulated exchange, in its order and by the true time: the auditor's list.

The venue's own stamps are of the venue's own clock, which a fault may set wrong; `at_ns` here is
the injected clock's. Rows are plain: {"at_ns", "kind", ...} with kind `request` (what came in to
change something), `order`, `conditional` (each with its state after the change) and `fault`.
Quantities and prices are texts. The newest 200,000 are kept.
"""

from __future__ import annotations

from collections import deque

from engine.model.values import plain
from engine.ports.clock import Clock
from tests.simulators.core.model import ConditionalChanged, Event, OrderChanged
from tests.simulators.faults import FaultRule

Row = dict[str, object]
_ROWS_MAX = 200_000


class AuditList:
    """Listens to the core and to the faults; the exchange adds the requests."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rows: deque[Row] = deque(maxlen=_ROWS_MAX)

    def note(self, kind: str, **values: object) -> Row:
        row: Row = {"at_ns": self._clock.now_ns(), "kind": kind, **values}
        self.rows.append(row)
        return row

    def fault(self, rule: FaultRule, subject: str) -> None:
        self.note("fault", fault=rule.kind.value, on=subject, seconds=rule.seconds)

    def hear(self, event: Event) -> None:
        """An event of the core."""
        if isinstance(event, OrderChanged):
            self._order(event)
        elif isinstance(event, ConditionalChanged):
            self._conditional(event)

    def _order(self, event: OrderChanged) -> None:
        order, execution = event.order, event.execution
        row = self.note(
            "order",
            order_id=order.order_id,
            client_id=order.client_id,
            symbol=order.symbol,
            side=order.side.value,
            leg=order.leg.value,
            quantity=plain(order.quantity),
            filled=plain(order.filled),
            reduce_only=order.reduce_only,
            status=order.status.value,
            conditional_id=order.conditional_id,
            is_liquidation=order.is_liquidation,
        )
        if execution is not None:
            row["execution_id"] = execution.execution_id
            row["last_quantity"] = plain(execution.quantity)
            row["last_price"] = plain(execution.price)

    def _conditional(self, event: ConditionalChanged) -> None:
        conditional = event.conditional
        request = conditional.request
        trigger = conditional.trigger_price
        self.note(
            "conditional",
            conditional_id=conditional.conditional_id,
            client_id=conditional.client_id,
            symbol=request.symbol,
            side=request.side.value,
            leg=request.leg.value,
            quantity=plain(request.quantity),
            trigger_price="" if trigger is None else plain(trigger),
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            status=conditional.status.value,
            order_id=conditional.order_id,
        )


__all__ = ["AuditList", "Row"]
