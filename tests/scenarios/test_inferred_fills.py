"""Stories of fills that had to be inferred, and of the true executions that come late for them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.model import events as ev
from engine.model.ids import ExecutionId, Symbol
from engine.model.orders import Fill, OrderState
from engine.model.values import Side
from engine.model.venue import StreamUpdate
from tests.desk import BTC, ETH, Desk, story
from tests.elsewhere import intent_of, order_elsewhere

pytestmark = pytest.mark.allow_log("divergence: |adopted order|takes the place of|cancel of")


class _Late:
    """A venue whose list of executions lags behind its positions until `tell`."""

    def __init__(self, desk: Desk) -> None:
        self._reads: Any = desk.kernel.parts.venue
        self._told = self._reads.executions
        self._is_late = True
        self._reads.executions = self._executions

    async def _executions(self, *, since_ns: int, symbol: Symbol | None = None) -> Any:
        fills = await self._told(since_ns=since_ns, symbol=symbol)
        return () if self._is_late else fills

    async def all(self) -> tuple[Fill, ...]:
        return await self._told(since_ns=0, symbol=None)  # type: ignore[no-any-return]

    def tell(self) -> None:
        self._is_late = False


def _inferred(desk: Desk) -> list[str]:
    known = desk.kernel.parts.execution.booking.known
    return sorted(str(one) for one in known if one.startswith("inferred:"))


async def _run(desk: Desk) -> None:
    await desk.kernel.parts.execution.reconciliation.run()


@story()
async def test_a_fill_of_our_own_order_is_inferred_by_the_order_and_replaced(desk: Desk) -> None:
    """Goal: the id says which order and how much of it; the true execution books nothing twice,
    and price and fee become the true ones to the last digit."""
    parts = desk.kernel.parts
    late = _Late(desk)
    parts.venue.faults.lose_updates = 2
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.venue_positions() != {})
    await desk.until(lambda: desk.state_of(signal) is OrderState.ACCEPTED)
    await _run(desk)
    record = desk.order_of(signal)
    assert record is not None
    size = desk.venue_positions()[BTC]
    assert desk.quantity() == size
    assert _inferred(desk) == [f"inferred:{record.venue_order_id}:{size:f}"]
    assert desk.state_of(signal) is OrderState.FILLED
    assert record.fees == 0
    late.tell()
    await _run(desk)
    (true,) = await late.all()
    after = desk.order_of(signal)
    assert after is not None
    assert (after.filled, after.fees) == (size, true.fee)
    assert after.filled_notional == size * true.price
    assert desk.quantity() == size
    position = parts.ledger.position(BTC)
    assert position is not None
    assert position.entry_price == true.price
    balance = await parts.venue.balance()
    assert parts.ledger.account().balance == balance.balance
    replacing = [event for event in desk.heard(ev.OrderFilled) if event.replaces]
    assert [event.execution_id for event in replacing] == [true.execution_id]
    await desk.until(desk.protected)


@story()
async def test_a_late_execution_after_a_restart_replaces_what_was_inferred(desk: Desk) -> None:
    """Goal: the inferred fill is known to be one by the next engine as well, and by the disk."""
    late = _Late(desk)
    desk.kernel.parts.venue.faults.lose_updates = 2
    await order_elsewhere(desk, intent_of(ETH, "by-hand"))
    await _run(desk)
    assert desk.quantity(ETH) == Decimal("0.1")
    assert _inferred(desk) == ["inferred:ETHUSDT:0.1:1"]
    await desk.until(lambda: desk.protected(ETH))
    (true,) = await late.all()
    desk.kernel.parts.venue.executions = late._told  # type: ignore[method-assign]
    await desk.restart()
    # Found at the start already: the venue lists it now.
    assert desk.quantity(ETH) == Decimal("0.1")
    position = desk.kernel.parts.ledger.position(ETH)
    assert position is not None
    assert position.entry_price == true.price
    await desk.restart()
    assert desk.quantity(ETH) == Decimal("0.1")
    assert desk.kernel.parts.ledger.account().positions_open == 1
    fills = await desk.kernel.parts.storage.store.history.fills(limit=10)
    sizes = {str(fill.execution_id): fill.quantity for fill in fills}
    assert sizes["inferred:ETHUSDT:0.1:1"] == 0
    assert sizes[true.execution_id] == Decimal("0.1")


@story()
async def test_a_close_that_was_inferred_gets_its_true_price_and_fee(desk: Desk) -> None:
    """Goal: what was realised follows, also when the position is gone."""
    await desk.enter()
    late = _Late(desk)
    parts = desk.kernel.parts
    parts.venue.faults.lose_updates = 3
    desk.market.move(BTC, "60300")
    sold = intent_of(BTC, "sold", side=Side.SELL, reduce_only=True, quantity=desk.quantity())
    await order_elsewhere(desk, sold)
    desk.market.move(BTC, "60400")
    await _run(desk)
    assert desk.quantity() == 0
    gap = parts.ledger.account().balance - (await parts.venue.balance()).balance
    assert gap > 0
    late.tell()
    await _run(desk)
    assert parts.ledger.account().balance == (await parts.venue.balance()).balance


@story()
async def test_a_later_execution_of_the_same_side_replaces_nothing(desk: Desk) -> None:
    """Goal: what happened after the inference is another execution, whoever's it is."""
    late = _Late(desk)
    desk.kernel.parts.venue.faults.lose_updates = 2
    await order_elsewhere(desk, intent_of(ETH, "first"))
    await _run(desk)
    await desk.sleep(2)
    await order_elsewhere(desk, intent_of(ETH, "second"))
    await desk.until(lambda: desk.quantity(ETH) == Decimal("0.2"))
    assert not [event for event in desk.heard(ev.OrderFilled) if event.replaces]
    late.tell()
    await _run(desk)
    assert desk.quantity(ETH) == Decimal("0.2")
    assert len([event for event in desk.heard(ev.OrderFilled) if event.replaces]) == 1


@story()
async def test_a_larger_late_execution_replaces_a_part_and_is_booked_for_the_rest(
    desk: Desk,
) -> None:
    """Goal: neither quantity nor fee is lost or counted twice when sizes differ."""
    late = _Late(desk)
    parts = desk.kernel.parts
    parts.venue.faults.lose_updates = 2
    await order_elsewhere(desk, intent_of(ETH, "by-hand", quantity=Decimal("0.3")))
    await _run(desk)
    (true,) = await late.all()
    inferred = parts.execution.booking._inferred
    (name,) = inferred
    # As if only a part had been seen then: the rest of the books is put right by hand.
    half = Fill(
        execution_id=ExecutionId("half"),
        client_order_id=true.client_order_id,
        venue_order_id=None,
        symbol=ETH,
        side=Side.SELL,
        quantity=Decimal("0.2"),
        price=inferred[name].price,
        fee=Decimal(0),
        fee_currency="USDT",
        ts_ns=desk.clock.now_ns() + 1,
    )
    parts.execution.on_update(StreamUpdate(ts_ns=half.ts_ns, fill=half))
    inferred[name] = Fill(
        **{
            field: getattr(inferred[name], field)
            for field in Fill.__struct_fields__
            if field != "quantity"
        },
        quantity=Decimal("0.1"),
    )
    parts.execution.on_update(StreamUpdate(ts_ns=true.ts_ns, fill=true))
    assert desk.quantity(ETH) == Decimal("0.3")
    assert parts.ledger.account().fees == true.fee
    assert not inferred
    late.tell()
    await _run(desk)
    assert desk.quantity(ETH) == Decimal("0.3")
