"""Stories of orders of which nobody knows what became: looked up, never guessed, never doubled."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.model import events as ev
from engine.model.errors import NotExecuted
from engine.model.ids import ClientOrderId
from engine.model.orders import OrderKind, OrderPurpose, OrderState
from engine.model.reasons import ReasonCode
from engine.model.values import Side
from engine.model.venue import Approved, OrderAck
from engine.venues.paper.faults import Fault
from tests.desk import BTC, ETH, Desk, story
from tests.elsewhere import intent_of, order_elsewhere

pytestmark = pytest.mark.allow_log("divergence: |adopted order|unresolved|order desk-g1-|cancel of")


def _record(desk: Desk, name: str) -> OrderState | None:
    record = desk.kernel.parts.execution.desk.get(ClientOrderId(name))
    return None if record is None else record.state


async def _forget_at_venue(desk: Desk, identifier: str) -> None:
    """The venue loses an order: neither its books nor its file know it any more."""
    parts = desk.kernel.parts
    matching = parts.venue._matching
    assert matching is not None
    for orders in matching.books._open.values():
        orders.pop(ClientOrderId(identifier), None)
    await parts.venue._writer.submit(
        lambda c: c.execute("DELETE FROM orders WHERE client_order_id = ?", (identifier,)).rowcount
    )


@story()
async def test_a_market_order_without_its_fill_is_looked_up_after_five_seconds(desk: Desk) -> None:
    """Goal: the venue took it and the stream lost the fill; nobody waits for the next comparison.
    Method: lose both updates; the watchdog looks every two seconds at what waits for five."""
    desk.kernel.parts.venue.faults.lose_updates = 2
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(signal) is OrderState.ACCEPTED)
    took_s = await desk.until(lambda: desk.state_of(signal) is OrderState.FILLED)
    assert 5.0 <= took_s <= 8.0
    assert desk.quantity() == desk.venue_positions()[BTC]
    await desk.until(desk.protected)
    kinds = [(one.kind, one.symbol) for one in desk.heard(ev.ExecutionDivergence)]
    assert kinds == [("missed_fill", BTC)]


@story()
async def test_a_close_whose_sender_is_gone_is_looked_up(desk: Desk) -> None:
    """Goal: the emergency stop sends without us; what it sent and nobody answered is asked for."""
    await desk.enter()
    execution = desk.kernel.parts.execution
    intent = intent_of(
        BTC, "desk-g1-900", side=Side.SELL, reduce_only=True, purpose=OrderPurpose.EMERGENCY_CLOSE
    )
    execution.record_closing(intent)
    assert _record(desk, "desk-g1-900") is OrderState.SUBMITTED
    took_s = await desk.until(
        lambda: _record(desk, "desk-g1-900") is OrderState.ABANDONED, timeout_s=60
    )
    # Looked up from the fifth second on, and absent only after half a minute.
    assert 31.0 <= took_s <= 38.0


@story()
async def test_a_lost_order_is_cancelled_until_the_venue_says_that_it_has_none(desk: Desk) -> None:
    """Goal: lost is not gone: asked for and cancelled, then given up; a late fill still books."""
    await desk.enter()
    parts = desk.kernel.parts
    (stop,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    name = str(stop.client_order_id)
    await _forget_at_venue(desk, name)
    await desk.until(lambda: _record(desk, name) is OrderState.LOST, timeout_s=130)
    cancels: list[str] = []
    cancel = parts.venue.cancel

    async def watched(symbol: object, identifier: ClientOrderId) -> None:
        cancels.append(identifier)
        await cancel(symbol, identifier)  # type: ignore[arg-type]

    parts.venue.cancel = watched  # type: ignore[method-assign, assignment]
    await desk.until(lambda: _record(desk, name) is OrderState.ABANDONED, timeout_s=60)
    parts.venue.cancel = cancel  # type: ignore[method-assign]
    assert cancels.count(name) >= 2
    await desk.until(desk.protected)
    # And then it fills after all: money follows the venue.
    quantity = desk.quantity()
    await order_elsewhere(
        desk, intent_of(BTC, name, side=Side.SELL, reduce_only=True, quantity=quantity)
    )
    await desk.until(lambda: desk.quantity() == 0)
    assert _record(desk, name) is OrderState.FILLED
    alarms = {alarm.code for alarm in parts.alarms.snapshot()}
    assert "ILLEGAL_TRANSITION" not in alarms


@story()
async def test_a_fill_of_a_lost_order_is_booked(desk: Desk) -> None:
    await desk.enter()
    (stop,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    await _forget_at_venue(desk, stop.client_order_id)
    await desk.until(lambda: _record(desk, stop.client_order_id) is OrderState.LOST, timeout_s=130)
    intent = intent_of(
        BTC, stop.client_order_id, side=Side.SELL, reduce_only=True, quantity=desk.quantity()
    )
    await order_elsewhere(desk, intent)
    await desk.until(lambda: desk.quantity() == 0)
    assert _record(desk, stop.client_order_id) is OrderState.FILLED


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_ANSWER])
def test_a_cancel_without_an_answer_is_settled(fault: Fault, tmp_path: Path) -> None:
    """Goal: before or after its effect, the order ends as the venue has it, and soon."""

    @story()
    async def tell(desk: Desk) -> None:
        intent = intent_of(ETH, "by-hand", kind=OrderKind.LIMIT, price=Decimal(2000))
        await order_elsewhere(desk, intent)
        await desk.until(desk.orders)
        desk.kernel.parts.venue.faults.script("cancel", fault)
        if fault is Fault.LOST_ANSWER:
            desk.kernel.parts.venue.faults.lose_updates = 1
        await desk.kernel.client.halt(reason="story")
        took_s = await desk.until(lambda: _record(desk, "by-hand") is OrderState.CANCELLED)
        assert took_s <= 9.0
        assert desk.open_at_venue() == []

    tell(tmp_path)


@story()
async def test_an_order_that_was_given_up_and_turns_up_is_taken_in_again(desk: Desk) -> None:
    """Goal: abandoned is our word, not the venue's. Method: it rests there a minute later."""
    desk.kernel.parts.venue.faults.script("place", Fault.LOST_REQUEST)
    signal = desk.signal(Side.BUY, ETH)
    await desk.until(lambda: desk.state_of(signal) is OrderState.ABANDONED, timeout_s=50)
    record = desk.order_of(signal)
    assert record is not None
    desk.kernel.parts.venue.faults.lose_updates = 1
    late = intent_of(ETH, record.client_order_id, kind=OrderKind.LIMIT, price=Decimal(2400))
    await order_elsewhere(desk, late)
    await desk.until(lambda: desk.heard(ev.ExecutionDivergence), timeout_s=70)
    assert desk.state_of(signal) is OrderState.ACCEPTED
    assert [(one.kind, one.ours) for one in desk.heard(ev.ExecutionDivergence)] == [
        ("orphan_order", "abandoned")
    ]


@story()
async def test_an_unresolved_entry_of_before_a_restart_stays_unresolved(desk: Desk) -> None:
    """Goal: the next start neither sends it again nor forgets it: its symbol is shut until the
    venue has said, or its absence counts."""
    desk.kernel.parts.venue.faults.script("place", Fault.LOST_REQUEST)
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(signal) is OrderState.UNRESOLVED)
    record = desk.order_of(signal)
    assert record is not None
    await desk.restart()
    assert _record(desk, record.client_order_id) is OrderState.UNRESOLVED
    desk.signal(Side.BUY)
    await desk.until(lambda: desk.heard(ev.SignalBlocked))
    assert "symbol_unresolved" in desk.heard(ev.SignalBlocked)[0].reason_codes
    await desk.until(
        lambda: _record(desk, record.client_order_id) is OrderState.ABANDONED, timeout_s=45
    )
    assert desk.entries_at_venue() == 0
    await desk.enter()
    assert desk.entries_at_venue() == 1


@story()
async def test_an_entry_that_may_only_leave_much_later_is_given_up(desk: Desk) -> None:
    """Goal: told to wait a minute, an entry does not come back at another price."""
    entries = desk.kernel.parts.execution.entries
    place, asked = entries._entry.place, []

    async def busy(approved: Approved) -> OrderAck:
        asked.append(approved)
        raise NotExecuted("-1003: too many requests", retry_after_s=60)

    entries._entry.place = busy  # type: ignore[method-assign]
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(signal) is OrderState.REJECTED)
    entries._entry.place = place  # type: ignore[method-assign]
    await desk.sleep(70)
    assert len(asked) == 1
    assert desk.entries_at_venue() == 0


@story()
async def test_a_fill_of_an_order_that_cannot_fill_any_more_is_money_and_an_alarm(
    desk: Desk,
) -> None:
    """Goal: an execution beyond an order's size is booked, and somebody is told."""
    await desk.enter()
    parts = desk.kernel.parts
    record = next(iter(parts.execution.desk.latest_entries(BTC)))
    assert record.state is OrderState.FILLED
    before = desk.quantity()
    # At the venue a filled order's id may be used again: it fills once more, under our id.
    again = intent_of(BTC, record.client_order_id, quantity=Decimal("0.01"))
    await order_elsewhere(desk, again)
    await desk.until(lambda: desk.quantity() == before + Decimal("0.01"))
    after = parts.execution.desk.get(record.client_order_id)
    assert after is not None
    assert (after.state, after.filled) == (OrderState.FILLED, before + Decimal("0.01"))
    assert "ILLEGAL_TRANSITION" in {alarm.code for alarm in parts.alarms.snapshot()}


@story()
async def test_an_answer_that_fails_after_the_stream_has_told_makes_nothing_unknown(
    desk: Desk,
) -> None:
    """Goal: whoever knows first is believed. Method: the order takes effect and its answer is
    lost, so that the stream's fill is there long before nobody waits any more."""
    desk.kernel.parts.venue.faults.script("place", Fault.LOST_ANSWER)
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.state_of(signal) is OrderState.FILLED)
    await desk.sleep(10.0)
    assert desk.state_of(signal) is OrderState.FILLED
    assert desk.heard(ev.OrderUnresolved) == []
    assert desk.heard(ev.AlarmRaised) == []


@story()
async def test_an_order_adopted_from_a_venue_whose_clock_is_ahead_still_changes_on_the_disk(
    desk: Desk,
) -> None:
    """Goal: what was adopted ends on the disk too. Method: the venue's word is a minute ahead."""
    parts = desk.kernel.parts
    resting = intent_of(BTC, "web-1", kind=OrderKind.LIMIT, price=Decimal(50_000))
    await order_elsewhere(desk, resting)
    await desk.until(lambda: _record(desk, "web-1") is OrderState.ACCEPTED)
    record = parts.execution.desk.get(ClientOrderId("web-1"))
    assert record is not None
    ahead = msgspec.structs.replace(record, updated_ns=record.updated_ns + 60_000_000_000)
    parts.execution.desk.adopt(ahead)
    await parts.venue.cancel(BTC, ClientOrderId("web-1"))
    await desk.until(lambda: _record(desk, "web-1") is OrderState.CANCELLED)
    await desk.sleep(1.0)
    with closing(sqlite3.connect(desk.data_dir / "state.db")) as database:
        found = database.execute("SELECT state FROM orders WHERE client_order_id = 'web-1'")
        assert found.fetchall() == [("cancelled",)]


@pytest.mark.parametrize("place", ["open orders", "executions", "nowhere for a while"])
def test_an_order_that_its_id_does_not_find_is_looked_for_everywhere(
    place: str, tmp_path: Path
) -> None:
    """Goal: a venue whose query by id lags proves nothing: what rests or has filled is found among
    the open orders or in the executions, and what is nowhere is not given up before its time."""

    @story()
    async def tell(desk: Desk) -> None:
        venue = desk.kernel.parts.venue
        ask = venue.order

        async def blind(symbol: object, identifier: object) -> None:
            return None

        venue.order = blind  # type: ignore[method-assign, assignment]
        if place == "open orders":
            await order_elsewhere(
                desk, intent_of(ETH, "by-hand", kind=OrderKind.LIMIT, price=Decimal(2000))
            )
            await desk.until(desk.orders)
            found = desk.kernel.parts.execution.look_up
            await found.look_up(ClientOrderId("by-hand"))
            await desk.sleep(40)
            await found.look_up(ClientOrderId("by-hand"))
            assert _record(desk, "by-hand") is OrderState.ACCEPTED
            return
        fault = Fault.LOST_ANSWER if place == "executions" else Fault.LOST_REQUEST
        venue.faults.script("place", fault)
        venue.faults.lose_updates = 2 if fault is Fault.LOST_ANSWER else 0
        signal = desk.signal(Side.BUY)
        await desk.until(lambda: desk.state_of(signal) is OrderState.UNRESOLVED)
        if place == "executions":
            took_s = await desk.until(lambda: desk.state_of(signal) is OrderState.FILLED)
            assert took_s < 3.0
            return
        await desk.sleep(25)
        assert desk.state_of(signal) is OrderState.UNRESOLVED
        record = desk.order_of(signal)
        assert record is not None
        # It was on its way all the time.
        await order_elsewhere(
            desk, intent_of(BTC, record.client_order_id, quantity=record.intent.quantity)
        )
        await desk.until(lambda: desk.state_of(signal) is OrderState.FILLED)
        venue.order = ask  # type: ignore[method-assign]

    tell(tmp_path)


@story()
async def test_an_entry_on_its_way_is_stopped_when_another_in_its_symbol_becomes_unknown(
    desk: Desk,
) -> None:
    """Goal: no entry leaves while its symbol is unresolved, however long ago the gate let it
    through. Method: the final check is asked for an approved one after another became unknown."""
    execution, gatekeeper = desk.kernel.parts.execution, desk.kernel.parts.gatekeeper
    entry = intent_of(BTC, "desk-g1-901")
    version = desk.kernel.parts.policy.version
    approved = Approved(intent=entry, policy_version=version, approved_ns=0)
    assert gatekeeper.final_check(approved) == ()
    await execution.desk.intend(intent_of(BTC, "desk-g1-902"))
    execution.desk.unanswered(ClientOrderId("desk-g1-902"))
    codes = [reason.code for reason in gatekeeper.final_check(approved)]
    assert codes == [ReasonCode.SYMBOL_UNRESOLVED]
    other = Approved(intent=intent_of(ETH, "desk-g1-903"), policy_version=version, approved_ns=0)
    assert gatekeeper.final_check(other) == ()
