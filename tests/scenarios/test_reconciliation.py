"""Stories of two sets of books that differ: each divergence planted, found, repaired, told once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from engine.model import events as ev
from engine.model.errors import NotExecuted
from engine.model.ids import ExecutionId, Symbol
from engine.model.orders import Fill, OrderKind, OrderPurpose, OrderState
from engine.model.values import Side
from engine.runtime import SimClock, run_simulated
from engine.venues.paper.faults import Fault
from tests.desk import BTC, ETH, START_NS, Desk, story
from tests.elsewhere import intent_of, order_elsewhere

pytestmark = pytest.mark.allow_log("divergence: |adopted order|is still unresolved")


def _kinds(desk: Desk) -> list[tuple[str, str]]:
    return [(event.kind, event.symbol) for event in desk.heard(ev.ExecutionDivergence)]


async def _next_run(desk: Desk) -> None:
    runs = len(desk.heard(ev.PositionsReconciled))
    await desk.until(lambda: len(desk.heard(ev.PositionsReconciled)) > runs, timeout_s=70)


@story()
async def test_a_missed_fill_is_booked_once(desk: Desk) -> None:
    """Goal: the stream lost it, the next run books it, and its late arrival changes nothing."""
    parts = desk.kernel.parts
    late: list[Fill] = []
    parts.venue.subscribe(lambda update: late.append(update.fill) if update.fill else None)
    parts.venue.faults.hold_updates = True
    signal = desk.signal(Side.BUY)
    await desk.until(lambda: desk.venue_positions() != {})
    await desk.sleep(1)
    assert desk.quantity() == 0
    await _next_run(desk)
    assert desk.quantity() == desk.venue_positions()[BTC]
    assert desk.state_of(signal) is OrderState.FILLED
    assert _kinds(desk) == [("missed_fill", BTC)]
    parts.venue.release_updates()  # Here it comes after all.
    assert late
    await desk.sleep(1)
    assert desk.quantity() == desk.venue_positions()[BTC]
    assert parts.execution.booking.fills == 1
    assert desk.protected()
    await _next_run(desk)
    assert len(_kinds(desk)) == 1


@story()
async def test_a_fill_missed_over_a_restart_is_booked_at_the_start(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.lose_updates = 2
    desk.signal(Side.BUY)
    await desk.until(lambda: desk.venue_positions() != {})
    assert desk.quantity() == 0
    await desk.restart()
    assert desk.quantity() == desk.venue_positions()[BTC]
    await desk.until(desk.protected)


@story()
async def test_an_order_opened_elsewhere_is_adopted(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.lose_updates = 1
    intent = intent_of(ETH, "by-hand", kind=OrderKind.LIMIT, price=Decimal(2000))
    await order_elsewhere(desk, intent)
    assert not desk.orders()
    await _next_run(desk)
    (record,) = desk.orders()
    assert record.external
    assert record.state is OrderState.ACCEPTED
    assert _kinds(desk) == [("orphan_order", ETH)]
    desk.market.move(ETH, "1990")  # It fills, and what it opened is protected like ours.
    await desk.until(lambda: desk.protected(ETH))
    assert desk.quantity(ETH) == Decimal("0.1")


@story()
async def test_a_position_opened_elsewhere_becomes_ours_with_its_stop(desk: Desk) -> None:
    desk.kernel.parts.venue.faults.lose_updates = 2
    await order_elsewhere(desk, intent_of(ETH, "by-hand"))
    assert desk.quantity(ETH) == 0
    await _next_run(desk)
    assert desk.quantity(ETH) == Decimal("0.1")
    await desk.until(lambda: desk.protected(ETH))
    assert {kind for kind, _ in _kinds(desk)} == {"missed_fill"}


@story()
async def test_a_position_closed_elsewhere_is_closed_here(desk: Desk) -> None:
    await desk.enter()
    desk.kernel.parts.venue.faults.lose_updates = 3
    await order_elsewhere(
        desk,
        intent_of(BTC, "by-hand", side=Side.SELL, reduce_only=True, quantity=desk.quantity() / 2),
    )
    half = desk.quantity() / 2
    await _next_run(desk)
    assert desk.quantity() == half == desk.venue_positions()[BTC]
    await desk.until(lambda: [o.intent.quantity for o in desk.orders()] == [half])


def _rewrite_venue(desk: Desk, symbol: Symbol, quantity: str | None) -> None:
    """The venue's own file says something that no execution explains."""
    with closing(sqlite3.connect(desk.data_dir / "paper.db")) as connection, connection:
        if quantity is None:
            connection.execute("DELETE FROM positions WHERE symbol = ?", (symbol,))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (symbol, quantity, "60000")
            )


@pytest.mark.parametrize(
    ("kind", "before", "venue"),
    [("phantom", True, None), ("orphan", False, "0.05"), ("size_mismatch", True, "0.05")],
)
def test_a_position_that_no_execution_explains_follows_the_venue(
    kind: str, before: bool, venue: str | None, tmp_path: Path
) -> None:
    """Goal: after two equal reads a second apart our books take the venue's size, once."""

    async def tell(clock: SimClock) -> None:
        desk = Desk(clock=clock, folder=tmp_path)
        await desk.open()
        try:
            if before:
                await desk.enter()
            await desk.close()
            _rewrite_venue(desk, BTC, venue)
            await desk.open()
            theirs = desk.venue_positions().get(BTC, Decimal(0))
            assert theirs == Decimal(venue or 0)
            assert desk.quantity() == theirs
            assert [found for found, _ in _kinds(desk)].count(kind) == 1
            inferred = desk.kernel.parts.execution.booking.known
            assert sum(str(one).startswith("inferred:") for one in inferred) == 1
            runs = len(_kinds(desk))
            await _next_run(desk)
            assert len(_kinds(desk)) == runs
            assert desk.quantity() == theirs
        finally:
            await desk.close()

    run_simulated(tell, start_ns=START_NS)


@story()
async def test_a_difference_that_is_gone_at_the_second_read_is_not_booked_twice(
    desk: Desk,
) -> None:
    """Goal: an execution between the two reads is on its way by the stream, not missing."""
    parts = desk.kernel.parts
    reads = parts.execution.reconciliation._reads
    told = reads.executions

    async def blind(*, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        return ()

    parts.venue.faults.hold_updates = True
    desk.signal(Side.BUY)
    await desk.until(lambda: desk.venue_positions() != {})
    reads.executions = blind  # type: ignore[method-assign]
    runs = len(desk.heard(ev.PositionsReconciled))
    await desk.until(lambda: parts.execution.reconciliation._running, timeout_s=70)
    await desk.sleep(0.3)
    reads.executions = told  # type: ignore[method-assign]
    await desk.until(lambda: len(desk.heard(ev.PositionsReconciled)) > runs)
    parts.venue.release_updates()
    await desk.sleep(1)
    assert desk.quantity() == desk.venue_positions()[BTC]
    assert parts.execution.booking.fills == 1
    assert not any(one.startswith("inferred") for one in parts.execution.booking.known)


@story()
async def test_a_failed_read_never_means_empty(desk: Desk) -> None:
    """Goal: a run whose read failed changes nothing and says so."""
    await desk.enter()
    size = desk.quantity()
    for operation in ("open_orders", "executions", "positions"):
        desk.kernel.parts.venue.faults.script(operation, Fault.NOT_EXECUTED)
        with pytest.raises(NotExecuted):
            await desk.kernel.parts.execution.reconciliation.run()
        assert desk.quantity() == size
        assert desk.protected()
    assert ExecutionId("none") not in desk.kernel.parts.execution.booking.known
    await desk.kernel.parts.execution.reconciliation.run()
    assert _kinds(desk) == []


@story()
@pytest.mark.allow_log("the start, step reconcile")
async def test_a_venue_that_does_not_answer_leaves_the_engine_in_standby(desk: Desk) -> None:
    """Goal: no gate before the first reconciliation; it opens by itself when the venue answers."""
    await desk.enter()
    await desk.close()
    await desk.build()
    desk.kernel.parts.venue.faults.script("positions", *[Fault.NOT_EXECUTED] * 3)
    await desk.kernel.start()
    assert desk.state().value == "standby"
    desk.signal(Side.BUY, ETH)
    await desk.sleep(1)
    assert desk.entries_at_venue() == 1
    await desk.until(lambda: desk.state().value == "running", timeout_s=30)
    await desk.enter(Side.BUY, ETH)


@story()
@pytest.mark.allow_log("cancel of desk-g1-2: -2011")
async def test_a_stop_that_the_venue_forgot_is_lost_and_replaced(desk: Desk) -> None:
    """Goal: accepted and no longer known is lost, not gone; the position has a stop again."""
    await desk.enter()
    (stop,) = desk.orders(OrderPurpose.PROTECTIVE_STOP)
    venue = desk.kernel.parts.venue
    assert venue._matching is not None
    venue._matching.books._open[BTC].clear()
    await desk.kernel.parts.venue.writer.submit(
        lambda c: c.execute("DELETE FROM orders WHERE reduce_only = 1").rowcount
    )
    execution = desk.kernel.parts.execution
    lost = execution.desk.get
    await desk.until(
        lambda: getattr(lost(stop.client_order_id), "state", None) is OrderState.LOST,
        timeout_s=130,
    )
    took_s = await desk.until(desk.protected)
    assert took_s < 6.0
    alarms = {alarm.code for alarm in desk.kernel.parts.alarms.snapshot()}
    assert "ILLEGAL_TRANSITION" not in alarms
    assert len(desk.open_at_venue()) == 1
