"""Stories of an operator's orders: preview, place, cancel, close, and what may not be done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.api import CommandResult
from engine.model import events as ev
from engine.model.emergency import TripSource
from engine.model.ids import Symbol
from engine.model.orders import OrderKind, OrderPurpose, OrderState
from engine.model.reasons import ReasonCode
from engine.model.snapshots import EngineState, OrderSnapshot
from engine.model.ticket import Ticket
from engine.model.values import Side
from engine.venues.paper.faults import Fault
from tests.desk import BTC, ETH, Desk, story

D = Decimal
WHY = {"author": "op1", "reason": "a story"}


def ticket(side: Side = Side.BUY, symbol: Symbol = BTC, **fields: Any) -> Ticket:
    texts = {name: D(value) if isinstance(value, str) else value for name, value in fields.items()}
    if "notional" not in texts:
        texts.setdefault("quantity", D("0.01"))
    return Ticket(symbol=symbol, side=side, **texts)


async def place(desk: Desk, side: Side = Side.BUY, symbol: Symbol = BTC, **fields: Any) -> Any:
    return await desk.kernel.client.submit(ticket(side, symbol, **fields), **WHY)


def order(result: CommandResult) -> OrderSnapshot:
    assert result.order is not None, result
    return result.order


def codes(result: CommandResult) -> set[ReasonCode]:
    return {reason.code for reason in result.reasons}


def audit(desk: Desk) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(desk.data_dir / "state.db")) as connection:
        rows = connection.execute("SELECT who, what, why FROM audit ORDER BY seq").fetchall()
    return [row for row in rows if "order" in row[1] or "close" in row[1]]


def state_of(desk: Desk, result: CommandResult) -> OrderState:
    record = desk.kernel.parts.execution.desk.get(order(result).client_order_id)
    assert record is not None
    return record.state


# --- placing ----------------------------------------------------------------------------------


@story()
async def test_a_ticket_becomes_a_protected_position(desk: Desk) -> None:
    """Goal: one order at the venue, the path of signals, a stop under it, an audit entry."""
    result = await place(desk, quantity="0.0127", stop_loss="0.02", leverage="3")
    assert result.ok, result
    assert order(result).quantity == D("0.012")  # Down to the venue's step.
    assert order(result).strategy == "operator"
    await desk.until(desk.protected)
    assert desk.entries_at_venue() == 1
    assert desk.quantity() == D("0.012")
    (stop,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    position = desk.kernel.parts.ledger.position(BTC)
    assert position is not None
    assert stop.intent.trigger_price == (position.entry_price * D("0.98")).quantize(D("0.1"))
    record = desk.kernel.parts.execution.desk.get(order(result).client_order_id)
    assert record is not None
    assert (record.intent.leverage, record.intent.policy_version) == (D(3), 1)
    told = [event.TYPE for event in desk.events if event.trace == record.intent.trace]
    assert told[:3] == ["order.intended", "order.submitted", "order.accepted"]
    assert audit(desk) == [("op1", "order: BUY 0.0127 BTCUSDT at market", "a story")]


@story()
async def test_a_notional_is_rounded_down_to_the_step(desk: Desk) -> None:
    result = await place(desk, notional="1000", symbol=ETH)
    assert order(result).quantity == D("0.4")
    await desk.until(lambda: desk.protected(ETH))


REFUSED: list[tuple[str, dict[str, Any], dict[str, str], set[ReasonCode]]] = [
    ("too large", {"quantity": "5"}, {}, {ReasonCode.MAX_ORDER_NOTIONAL}),
    ("far away", {"price": "50000"}, {}, {ReasonCode.PRICE_COLLAR}),
    ("leverage", {"leverage": "20"}, {}, {ReasonCode.MAX_LEVERAGE}),
    ("tiny", {"symbol": ETH, "quantity": "0.001"}, {}, {ReasonCode.BELOW_VENUE_MINIMUM}),
    (
        "switched off",
        {},
        {"allow_new_trades": "false"},
        {ReasonCode.NEW_TRADES_NOT_ALLOWED},
    ),
    (
        "not on the market",
        {"symbol": Symbol("DOGEUSDT")},
        {},
        {ReasonCode.NO_MARK, ReasonCode.MARKET_DATA_STALE},
    ),
]


@pytest.mark.parametrize(
    ("fields", "policy", "wanted"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_the_preview_says_what_the_gate_says_and_leaves_no_trace(
    fields: dict[str, Any], policy: dict[str, str], wanted: set[ReasonCode], tmp_path: Path
) -> None:
    @story(policy=policy)
    async def tell(desk: Desk) -> None:
        parts = desk.kernel.parts
        asked = ticket(**fields)
        events, blocks = len(desk.events), parts.gatekeeper.blocks
        before = parts.execution.entries.next_id()
        preview = desk.kernel.client.preview(asked)
        assert {reason.code for reason in preview.reasons} >= wanted
        assert not preview.passes
        assert all(reason.detail for reason in preview.reasons)
        assert parts.execution.desk.intents == 0
        assert parts.gatekeeper.blocks == blocks
        assert [e for e in desk.events[events:] if e.TYPE.startswith("order")] == []
        # No number of an order was used up.
        after = parts.execution.entries.next_id()
        assert int(after.rsplit("-", 1)[1]) == int(before.rsplit("-", 1)[1]) + 1
        result = await desk.kernel.client.submit(asked, **WHY)
        assert not result.ok
        assert result.reasons == preview.reasons
        assert parts.execution.desk.intents == 0
        assert desk.venue_orders() == []
        refusal = audit(desk)[-1][1]
        assert refusal.startswith("order refused: ")
        assert all(str(reason.code) in refusal for reason in result.reasons)

    tell(tmp_path)


@story()
async def test_a_preview_has_every_figure(desk: Desk) -> None:
    preview = desk.kernel.client.preview(
        ticket(quantity="0.0105", price="59900.07", leverage="2", take_profit="0.05")
    )
    assert preview.passes
    assert (preview.quantity, preview.price) == (D("0.010"), D("59900.1"))
    assert preview.mark_price == D(60_000)
    assert preview.notional == D("599.001")
    assert preview.margin == D("299.5005")
    assert preview.stop_price == D("58103.1")
    assert preview.take_profit_price == D("62895.1")
    assert preview.position_after == D("0.010")
    rooms = {room.name: room for room in preview.limits}
    assert (
        rooms["max_order_notional"].limit == desk.kernel.client.policy().active.max_order_notional
    )
    assert rooms["max_order_notional"].after == D(600)  # Valued as the gate does, at the mark.
    assert rooms["max_orders_per_minute"].after == 1
    assert preview.quantity_max is not None
    assert preview.quantity_max > D("0.010")
    fits = desk.kernel.client.preview(ticket(quantity=str(preview.quantity_max), leverage="2"))
    more = desk.kernel.client.preview(
        ticket(quantity=str(preview.quantity_max + D("0.01")), leverage="2")
    )
    assert fits.passes
    assert not more.passes
    # A hundredth of a coin against 100,000: the market cannot fall that far.
    assert preview.liquidation_price is None


@story(
    policy={
        "max_leverage": "10",
        "position_fraction": "0.5",
        "max_gross_exposure": "5",
        "max_order_notional": "1000000",
        "max_position_notional": "1000000",
    }
)
async def test_the_liquidation_price_is_where_the_venue_liquidates(desk: Desk) -> None:
    """Goal: the estimate of the preview, held against what the paper venue then does."""
    asked = ticket(quantity="6", leverage="10")
    estimate = desk.kernel.client.preview(asked).liquidation_price
    assert estimate is not None
    assert D(40_000) < estimate < D(50_000)
    assert (await desk.kernel.client.submit(asked, **WHY)).ok
    await desk.until(lambda: desk.venue_positions().get(BTC) == 6)
    account = desk.kernel.parts.ledger.account()
    # Spread and fee are not in the estimate: a thousandth of the price.
    entry = desk.kernel.parts.ledger.position(BTC)
    assert entry is not None
    true = (6 * entry.entry_price - account.balance) / (6 * (1 - D("0.004")))
    assert abs(true - estimate) / estimate < D("0.002")


@story()
async def test_an_identical_ticket_is_refused_unless_it_is_wanted(desk: Desk) -> None:
    first = await place(desk)
    again = await place(desk)
    assert codes(again) == {ReasonCode.DUPLICATE_ORDER}
    assert order(first).client_order_id in again.reasons[0].detail
    assert not desk.kernel.client.preview(ticket()).passes
    assert desk.kernel.client.preview(ticket(override_duplicate=True)).passes
    wanted = await place(desk, override_duplicate=True)
    assert wanted.ok
    assert desk.entries_at_venue() == 2
    await desk.until(lambda: desk.quantity() == D("0.02"))
    await desk.until(desk.protected)
    assert audit(desk)[-1][1].endswith("although identical to a recent one")


@story()
async def test_two_tickets_in_the_same_moment_are_judged_one_after_the_other(desk: Desk) -> None:
    """Goal: the second sees the first in flight; nothing can slip between gate and books."""
    spawn = desk.kernel.parts.tasks.spawn
    tasks = [spawn(f"press {number}", place(desk)) for number in range(5)]
    await desk.until(lambda: all(task.done() for task in tasks))
    results = [task.result() for task in tasks]
    assert [result.ok for result in results].count(True) == 1
    assert desk.entries_at_venue() == 1
    await desk.until(desk.protected)


# --- resting ----------------------------------------------------------------------------------


@story()
async def test_a_resting_limit_entry_is_protected_at_its_first_fill(desk: Desk) -> None:
    result = await place(desk, price="59500")
    assert result.ok
    assert order(result).state == "accepted"
    await desk.sleep(30)
    assert desk.quantity() == 0
    assert order(result).client_order_id in desk.open_at_venue()
    desk.market.move(BTC, "59499")
    took_s = await desk.until(desk.protected)
    assert took_s < 5.0
    position = desk.kernel.parts.ledger.position(BTC)
    assert position is not None
    assert position.entry_price == D(59_500)
    assert state_of(desk, result) is OrderState.FILLED


@story()
async def test_a_resting_entry_survives_a_restart_and_fills_afterwards(desk: Desk) -> None:
    result = await place(desk, price="59500")
    await desk.restart()
    assert state_of(desk, result) is OrderState.ACCEPTED
    assert order(result).client_order_id in desk.open_at_venue()
    shown = {one.client_order_id for one in desk.kernel.client.snapshot().orders}
    assert order(result).client_order_id in shown
    desk.market.move(BTC, "59499")
    await desk.until(desk.protected)
    assert desk.quantity() == D("0.01")


async def _halt(desk: Desk) -> None:
    await desk.kernel.client.halt(reason="a story")


async def _reduce_only(desk: Desk) -> None:
    await desk.kernel.client.reduce_only(on=True, reason="a story")


async def _no_new_trades(desk: Desk) -> None:
    version = desk.kernel.client.policy().version
    changed = await desk.kernel.client.update_policy(
        {"allow_new_trades": "false"}, base_version=version, author="op1", reason="a story"
    )
    assert changed.ok


@pytest.mark.parametrize("act", [_halt, _reduce_only, _no_new_trades])
def test_what_forbids_new_risk_cancels_resting_entries(act: Any, tmp_path: Path) -> None:
    @story()
    async def tell(desk: Desk) -> None:
        result = await place(desk, price="59500")
        await act(desk)
        await desk.until(lambda: state_of(desk, result) is OrderState.CANCELLED, timeout_s=3)
        desk.market.move(BTC, "59400")
        await desk.sleep(2)
        assert desk.quantity() == 0

    tell(tmp_path)


@story()
async def test_a_silent_market_leaves_a_resting_entry_where_it_is(desk: Desk) -> None:
    """Goal: what only makes sending impossible for a while is no reason to take orders back."""
    result = await place(desk, price="59500")
    desk.market.silent = True
    await desk.sleep(20)
    assert ReasonCode.MARKET_DATA_STALE in codes(await place(desk, symbol=ETH))
    assert state_of(desk, result) is OrderState.ACCEPTED


# --- cancelling -------------------------------------------------------------------------------


@story()
async def test_a_resting_order_is_cancelled(desk: Desk) -> None:
    placed = await place(desk, price="59500")
    result = await desk.kernel.client.cancel_order(order(placed).client_order_id, **WHY)
    assert result.ok, result
    assert order(result).state == "cancelled"
    assert desk.open_at_venue() == []
    recent = desk.kernel.client.snapshot().recent_orders
    assert recent[0].client_order_id == order(placed).client_order_id
    await desk.restart()
    await desk.until(lambda: desk.kernel.client.snapshot().recent_orders)
    assert desk.kernel.client.snapshot().recent_orders[0].state == "cancelled"


@story()
async def test_what_has_ended_or_protects_is_not_cancelled(desk: Desk) -> None:
    placed = await place(desk)
    await desk.until(desk.protected)
    filled = await desk.kernel.client.cancel_order(order(placed).client_order_id, **WHY)
    assert not filled.ok
    assert "is filled; it cannot be cancelled" in filled.message
    (stop,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    kept = await desk.kernel.client.cancel_order(stop.client_order_id, **WHY)
    assert not kept.ok
    assert "belongs to a position" in kept.message
    assert desk.protected()
    unknown = await desk.kernel.client.cancel_order("desk-g1-99", **WHY)
    assert unknown.problems == {"order": "not known"}


@story()
@pytest.mark.allow_log("divergence: ")
async def test_a_cancel_that_comes_too_late_says_what_became_of_the_order(desk: Desk) -> None:
    """Goal: the fill's push is lost, the venue says "not open": it is looked up, not guessed."""
    placed = await place(desk, price="59500")
    desk.kernel.parts.venue.faults.hold_updates = True
    desk.market.move(BTC, "59499")
    await desk.sleep(0.1)
    result = await desk.kernel.client.cancel_order(order(placed).client_order_id, **WHY)
    desk.kernel.parts.venue.release_updates()
    assert not result.ok
    assert "is filled" in result.message
    assert desk.quantity() == D("0.01")
    await desk.until(desk.protected)


# --- closing ----------------------------------------------------------------------------------


@story()
async def test_a_position_is_closed_in_parts_and_whole(desk: Desk) -> None:
    await place(desk, quantity="0.03")
    await desk.until(desk.protected)
    part = await desk.kernel.client.close_position(BTC, quantity=D("0.01"), **WHY)
    assert part.ok, part
    assert desk.quantity() == D("0.02")
    # The stop follows the size.
    await desk.until(lambda: desk.protected() and len(desk.orders()) == 1)
    assert desk.orders()[0].intent.quantity == D("0.02")
    whole = await desk.kernel.client.close_position(BTC, quantity=None, **WHY)
    assert whole.ok, whole
    assert desk.quantity() == 0
    await desk.until(lambda: desk.open_at_venue() == [])
    assert [entry[1] for entry in audit(desk)][-2:] == [
        "close 0.01 of BTCUSDT",
        "close all of BTCUSDT",
    ]


@story()
async def test_what_cannot_be_closed_is_said_by_its_field(desk: Desk) -> None:
    close = desk.kernel.client.close_position
    nothing = await close(BTC, quantity=None, **WHY)
    assert not nothing.ok
    assert "no position" in nothing.message
    assert (await close(BTC, quantity=D(1), **WHY)).problems.keys() == {"symbol"}
    await place(desk)
    await desk.until(desk.protected)
    assert "0.01" in (await close(BTC, quantity=D(1), **WHY)).problems["quantity"]
    assert "step" in (await close(BTC, quantity=D("0.0001"), **WHY)).problems["quantity"]
    assert desk.quantity() == D("0.01")


@story()
async def test_a_reduce_only_ticket_never_turns_a_position(desk: Desk) -> None:
    await place(desk, quantity="0.02")
    await desk.until(desk.protected)
    wrong = await place(desk, Side.BUY, reduce_only=True)
    assert codes(wrong) == {ReasonCode.WOULD_NOT_REDUCE}
    larger = await place(desk, Side.SELL, quantity="0.03", reduce_only=True)
    assert codes(larger) == {ReasonCode.WOULD_NOT_REDUCE}
    preview = desk.kernel.client.preview(ticket(Side.SELL, quantity="0.03", reduce_only=True))
    assert {reason.code for reason in preview.reasons} == {ReasonCode.WOULD_NOT_REDUCE}
    assert preview.quantity_max == D("0.02")
    good = await place(desk, Side.SELL, quantity="0.005", reduce_only=True)
    assert good.ok
    assert desk.quantity() == D("0.015")


@story()
async def test_a_resting_exit_makes_way_for_a_close(desk: Desk) -> None:
    """Goal: a limit order that rests to reduce the whole position holds up no close of it."""
    await place(desk, quantity="0.02")
    await desk.until(desk.protected)
    resting = await place(desk, Side.SELL, quantity="0.02", price="60900", reduce_only=True)
    assert resting.ok
    assert (order(resting).kind, order(resting).state) == (str(OrderKind.LIMIT), "accepted")
    part = await desk.kernel.client.close_position(BTC, quantity=D("0.005"), **WHY)
    assert part.ok, part
    assert state_of(desk, resting) is OrderState.CANCELLED
    await place(desk, Side.SELL, quantity="0.015", price="60900", reduce_only=True)
    signal = desk.exit(BTC)
    await desk.until(lambda: desk.quantity() == 0)
    assert signal.is_exit
    await desk.until(lambda: desk.open_at_venue() == [])


@story()
async def test_a_resting_exit_fills_at_its_price(desk: Desk) -> None:
    await place(desk, quantity="0.02")
    await desk.until(desk.protected)
    await place(desk, Side.SELL, quantity="0.02", price="60900", reduce_only=True)
    desk.market.move(BTC, "60901")
    await desk.until(lambda: desk.quantity() == 0)
    await desk.until(lambda: desk.open_at_venue() == [])


# --- while something is wrong -----------------------------------------------------------------


@story()
async def test_a_halt_refuses_entries_and_no_exit(desk: Desk) -> None:
    await place(desk, quantity="0.02")
    await desk.until(desk.protected)
    await _halt(desk)
    assert ReasonCode.HALTED in codes(await place(desk, quantity="0.011"))
    assert (await place(desk, Side.SELL, quantity="0.005", reduce_only=True)).ok
    assert (await desk.kernel.client.close_position(BTC, quantity=None, **WHY)).ok
    assert desk.quantity() == 0


@story()
async def test_under_a_latch_entries_are_refused_and_exits_go(desk: Desk) -> None:
    """Goal: with closing paused an operator can close by hand, as the stop's panel says."""
    await place(desk, quantity="0.02")
    await desk.until(desk.protected)
    client = desk.kernel.client
    desk.kernel.parts.venue.faults.script("positions", *[Fault.NOT_EXECUTED] * 200)
    client.trip(source=TripSource.BUTTON, reason="a story")
    await client.pause_closing(paused=True, reason="by hand")
    assert desk.state() is EngineState.LATCHED
    desk.kernel.parts.venue.faults.clear()
    refused = await place(desk, quantity="0.011")
    assert ReasonCode.LATCHED in codes(refused)
    assert ReasonCode.LATCHED in {
        reason.code for reason in client.preview(ticket(quantity="0.011")).reasons
    }
    closed = await client.close_position(BTC, quantity=None, **WHY)
    assert closed.ok, closed
    assert desk.quantity() == 0


@story()
@pytest.mark.allow_log("order desk-g1-1: ")
async def test_an_unresolved_order_shuts_its_symbol_and_is_said(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.script("place", Fault.LOST_REQUEST)
    lost = await place(desk)
    assert not lost.ok
    assert order(lost).state == "unresolved"
    assert "do not send it again" in lost.message
    preview = desk.kernel.client.preview(ticket(quantity="0.02"))
    assert [reason.code for reason in preview.reasons] == [ReasonCode.SYMBOL_UNRESOLVED]
    assert order(lost).client_order_id in preview.reasons[0].detail
    again = await place(desk, override_duplicate=True)
    assert codes(again) == {ReasonCode.SYMBOL_UNRESOLVED}
    assert (await place(desk, Side.BUY, ETH, quantity="0.2")).ok
    shown = {one.client_order_id: one.state for one in desk.kernel.client.snapshot().orders}
    assert shown[order(lost).client_order_id] == "unresolved"
    await desk.until(lambda: state_of(desk, lost) is OrderState.ABANDONED, timeout_s=40)
    assert (await place(desk)).ok
    assert len(desk.heard(ev.OrderUnresolved)) == 1


@story()
@pytest.mark.allow_log("order desk-g1-1: ")
async def test_a_venues_refusal_is_told_in_its_words(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.script("place", Fault.REFUSE)
    refused = await place(desk)
    assert not refused.ok
    assert order(refused).state == "rejected"
    assert "-2010" in refused.message


@story()
async def test_who_asked_may_go_away_and_the_order_gets_to_its_end(desk: Desk) -> None:
    asking = desk.kernel.parts.tasks.spawn("asking", place(desk))
    await desk.until(lambda: desk.kernel.parts.execution.desk.intents)
    asking.cancel()
    await desk.until(desk.protected)
    assert desk.quantity() == D("0.01")
