"""The stop on a scripted venue in simulated time: a test for each row of the "What if…" table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from engine.emergency_stop import is_closing_order, symbol_closer
from engine.emergency_stop.next_step import ClosingFacts, Step, next_step
from engine.latch import LatchTrip, StopState
from engine.model.emergency import EmergencyState, Scope, StageState, Trip, TripSource
from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.events import EmergencyFlat, EmergencyReset, EmergencyTriggered
from engine.model.ids import Symbol, TripId
from engine.model.values import Side
from engine.runtime import SimClock, Tasks, run_simulated
from tests.fakes.scripted_venue import Call, Fault, ScriptedVenue
from tests.fakes.stop_desk import START_NS, StopDesk, make_desk
from tests.waiting import eventually

Story = Callable[[StopDesk], Awaitable[None]]


def on_desk(folder: Path, story: Story, **options: object) -> None:
    """Run a story on a fresh desk in simulated time and leave nothing behind."""

    async def main(clock: SimClock) -> None:
        desk = make_desk(clock, folder, **options)  # type: ignore[arg-type]
        try:
            await story(desk)
        finally:
            await desk.aclose()

    run_simulated(main, start_ns=START_NS)


def press(desk: StopDesk, source: TripSource = TripSource.BUTTON) -> None:
    desk.stop.trip(source=source, reason="test")


def phases(desk: StopDesk) -> list[str]:
    return [event.phase for event in desk.bus.events if type(event) is EmergencyTriggered]


# --- The ordinary stop --------------------------------------------------------------------------


def test_a_trip_latches_before_it_returns_and_ends_flat(tmp_path: Path) -> None:
    """Goal: BLOCK, CANCEL, RE-READ, CLOSE, VERIFY in this order, with what it cost."""

    async def story(desk: StopDesk) -> None:
        venue = desk.venue
        venue.hold("BTCUSDT", "2.5", "60000")
        venue.rest("BTCUSDT", "entry-1", side=Side.BUY)
        venue.rest("BTCUSDT", "stop-1", trigger="58000", reduce_only=True)
        venue.slippage = Decimal(6)
        assert not desk.stop.is_latched()
        press(desk)
        assert desk.stop.is_latched()
        took_s = await desk.until_flat()
        assert venue.truth.is_flat
        assert 1.0 <= took_s < 2.0
        names = [call.name for call in venue.calls if call.symbol == "BTCUSDT"]
        assert names[:3] == ["cancel_all", "reduce", "cancel_all"]
        first_close = venue.named("reduce")[0].at_s
        assert any(c.at_s < first_close for c in venue.named("positions"))
        assert venue.named("cancel_all")[1].at_s > first_close  # Protected until it read zero.
        await desk.until(lambda: "completed" in phases(desk))
        assert phases(desk) == ["tripped", "completed"]
        flat = next(event for event in desk.bus.events if isinstance(event, EmergencyFlat))
        assert (flat.positions_closed, flat.orders_cancelled) == (1, 2)
        assert flat.slippage == Decimal("15.0")  # 2.5 sold 6 below the mark at the trip.
        assert desk.row("BTCUSDT").state_words.startswith("FLAT ")
        shot = desk.stop.snapshot()
        assert [stage.state for stage in shot.stages] == [StageState.DONE] * 4
        assert shot.latched
        assert shot.flat_since_ns is not None

    on_desk(tmp_path, story)


def test_every_close_is_reduce_only_recorded_before_it_is_sent_and_numbered_apart(
    tmp_path: Path,
) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        desk.venue.hold("ETHUSDT", "-3")
        press(desk)
        await desk.until_flat()
        sent = [call.intent for call in desk.venue.named("reduce")]
        assert sent == desk.intents
        assert {i.symbol: (i.side, i.quantity) for i in desk.intents} == {
            "BTCUSDT": (Side.SELL, Decimal(1)),
            "ETHUSDT": (Side.BUY, Decimal(3)),
        }
        assert all(i.reduce_only and is_closing_order(i.client_order_id) for i in desk.intents)
        assert {i.client_order_id for i in desk.intents} == {"desk-g1-s1-1", "desk-g1-s1-2"}

    on_desk(tmp_path, story)


def test_largest_risk_first_and_cancels_leave_in_the_turn_after_the_press(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("XRPUSDT", "1000", "0.5")
        desk.venue.hold("BTCUSDT", "1", "60000")
        desk.venue.hold("ETHUSDT", "2", "3000")
        press(desk)
        assert desk.venue.calls == []
        await asyncio.sleep(0)  # One turn: the closers' tasks.
        await asyncio.sleep(0)  # The next: `within` has put each call on its way.
        first = [c.symbol for c in desk.venue.calls if c.name == "cancel_all"]
        assert first == ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
        await desk.until_flat()

    on_desk(tmp_path, story)


def test_what_our_books_do_not_know_is_found_and_closed(tmp_path: Path) -> None:
    """Goal: orders placed by hand, conditional entries and foreign positions all go."""

    async def story(desk: StopDesk) -> None:
        desk.venue.hold("SOLUSDT", "-7")
        desk.venue.rest("DOGEUSDT", "by-hand")
        desk.venue.rest("ADAUSDT", "stop-entry", trigger="1.2")
        press(desk)
        await desk.until_flat()
        assert desk.venue.truth.is_flat
        assert desk.stop.snapshot().orders_cancelled == 2

    on_desk(tmp_path, story, known=())


def test_nothing_open_is_flat_after_two_reads(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        press(desk)
        assert 1.0 <= await desk.until_flat() < 1.5
        assert desk.venue.named("reduce") == []

    on_desk(tmp_path, story)


# --- What if… -----------------------------------------------------------------------------------


@pytest.mark.allow_log("emergency stop goes on without")
def test_bus_and_recorders_that_fail_change_nothing(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.bus.error = RuntimeError("bus gone")
        desk.venue.hold("BTCUSDT", "1")
        press(desk)
        await desk.until_flat(within_s=3)

    on_desk(tmp_path, story)


def test_one_symbol_that_hangs_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Goal: rule R12. Method: every call for XRP is lost; BTC and ETH read zero in their time."""

    async def story(desk: StopDesk) -> None:
        for symbol in ("XRPUSDT", "BTCUSDT", "ETHUSDT"):
            desk.venue.hold(symbol, "5")

        def lose_xrp(call: Call) -> Fault | None:
            return Fault(loses_request=True) if call.symbol == "XRPUSDT" else None

        desk.venue.script = lose_xrp
        press(desk)
        took_s = await desk.until(lambda: all(desk.row(s).is_flat for s in ("BTCUSDT", "ETHUSDT")))
        assert took_s < 2.5
        assert desk.row("XRPUSDT").left == 5
        await desk.until(lambda: desk.row("XRPUSDT").state_words == "UNKNOWN (no answer)")
        assert desk.state is EmergencyState.FLATTENING
        await desk.until(lambda: desk.state is EmergencyState.INCOMPLETE)
        assert phases(desk) == ["tripped", "incomplete"]
        desk.venue.script = lambda _: None
        await desk.until_flat()
        assert phases(desk)[-1] == "completed" or await desk.until(
            lambda: phases(desk)[-1] == "completed"
        )

    on_desk(tmp_path, story)


def test_a_hanging_cancel_holds_up_the_close_for_two_seconds_and_is_repeated(
    tmp_path: Path,
) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "5")
        desk.venue.rest("BTCUSDT", "entry-1")
        lost = iter([True])

        def lose_first_cancel(call: Call) -> Fault | None:
            is_first = call.name == "cancel_all" and next(lost, False)
            return Fault(loses_request=True) if is_first else None

        desk.venue.script = lose_first_cancel
        press(desk)
        await desk.until_flat()
        assert 2.0 <= desk.venue.named("reduce")[0].at_s < 2.2
        ordinary = [c for c in desk.venue.named("cancel_all") if not c.conditional]
        assert len(ordinary) >= 2

    on_desk(tmp_path, story)


def test_a_close_without_answer_is_read_again_and_sent_under_a_new_id(tmp_path: Path) -> None:
    """Goal: an unknown close that did execute is not sent twice; one that did not is."""

    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "5")
        desk.venue.hold("ETHUSDT", "5")
        first = {"BTCUSDT": True, "ETHUSDT": True}

        def unknown_first(call: Call) -> Fault | None:
            if call.name != "reduce" or not first.pop(str(call.symbol), False):
                return None
            if call.symbol == "BTCUSDT":
                return Fault(error=OutcomeUnknown("connection dropped"))
            return Fault(loses_answer=True)

        desk.venue.script = unknown_first
        press(desk)
        await desk.until_flat()
        btc = [c.intent.client_order_id for c in desk.venue.named("reduce", "BTCUSDT") if c.intent]
        assert len(btc) == len(set(btc)) == 2
        assert len(desk.venue.named("reduce", "ETHUSDT")) == 1

    on_desk(tmp_path, story)


def test_a_refusal_because_of_stops_cancels_them_and_closes_at_once(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "5")
        desk.venue.rest("BTCUSDT", "stop-1", trigger="90", reduce_only=True)
        desk.venue.refuses_close_with_stops.add(Symbol("BTCUSDT"))
        press(desk)
        await desk.until(lambda: desk.venue.truth.is_flat)
        assert desk.clock.monotonic_ns() < 0.5e9
        await desk.until_flat()

    on_desk(tmp_path, story)


def test_an_unexplained_refusal_twice_makes_the_stops_suspect(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "5")
        desk.venue.rest("BTCUSDT", "stop-1", trigger="90", reduce_only=True)

        def refuse_while_stops_rest(call: Call) -> Fault | None:
            if call.name == "reduce" and desk.venue.truth.orders:
                return Fault(error=Refused("110090", "position limit"))
            return None

        desk.venue.script = refuse_while_stops_rest
        press(desk)
        await desk.until_flat(within_s=5)

    on_desk(tmp_path, story)


def test_a_halted_market_keeps_the_stop_and_is_tried_until_it_opens(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("XRPUSDT", "5")
        desk.venue.rest("XRPUSDT", "stop-1", trigger="0.519", reduce_only=True)
        desk.venue.script = lambda call: (
            Fault(error=Refused("market_halted", "no market orders now"))
            if call.name == "reduce"
            else None
        )
        press(desk)
        await desk.until(lambda: desk.state is EmergencyState.INCOMPLETE)
        row = desk.row("XRPUSDT")
        assert row.state_words == "MARKET HALTED"
        assert row.protected == "STOP 0.519 resting"
        assert "market_halted" in row.last_answer
        desk.venue.script = lambda _: None
        await desk.until_flat(within_s=5)

    on_desk(tmp_path, story)


def test_a_rate_limit_is_waited_out_and_said(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "5")
        left = iter([True])

        def limit_once(call: Call) -> Fault | None:
            if call.name == "reduce" and next(left, False):
                return Fault(error=NotExecuted("429", retry_after_s=12.0))
            return None

        desk.venue.script = limit_once
        press(desk)
        await desk.until(lambda: desk.row("BTCUSDT").next_try_ns is not None)
        assert desk.row("BTCUSDT").state_words.startswith("RETRY 1 in 1")
        assert 12.0 <= await desk.until(lambda: desk.venue.truth.is_flat) < 13.0
        assert len(desk.venue.named("reduce")) == 2
        await desk.until_flat()

    on_desk(tmp_path, story)


def test_partial_fills_and_clips_go_on_until_zero(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "35")
        desk.venue.script = lambda call: (
            Fault(fills_at_most=Decimal(4)) if call.name == "reduce" else None
        )
        press(desk)
        await desk.until(lambda: desk.row("BTCUSDT").state_words.startswith("PARTIAL "))
        await desk.until_flat()
        sizes = [intent.quantity for intent in desk.intents]
        assert sizes[:4] == [10, 10, 10, 5]
        assert max(sizes) == 10

    on_desk(tmp_path, story)


def test_dust_is_residual_and_flat_only_when_accepted_by_name(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "0.0003")
        desk.venue.rest("BTCUSDT", "stop-1", trigger="90", reduce_only=True)
        press(desk)
        await desk.until(lambda: desk.stop.flat_proof() is not None)
        assert desk.row("BTCUSDT").state_words == "RESIDUAL 0.0003 (< min 0.001)"
        assert desk.venue.truth.orders == {}
        assert desk.venue.named("reduce") == []
        assert desk.state is EmergencyState.FLATTENING
        unmet = await desk.stop.clear(desk.clearing())
        assert [c.condition for c in unmet] == ["flat"]
        assert "BTCUSDT" in unmet[0].why
        assert desk.stop.is_latched()
        assert not await desk.stop.clear(desk.clearing(), accept_residual=[Symbol("BTCUSDT")])
        assert not desk.stop.is_latched()

    on_desk(tmp_path, story)


def test_a_fill_after_flat_reopens_the_row_and_is_closed(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        press(desk)
        await desk.until_flat()
        await desk.clock.sleep(10)
        desk.venue.fill_entry("BTCUSDT", "2")
        await desk.until(lambda: desk.state is EmergencyState.FLATTENING, within_s=1)
        await desk.until_flat(within_s=3)
        assert desk.venue.truth.is_flat
        assert [e.code for e in desk.bus.named("alarm.raised")] == ["position_after_flat"]  # type: ignore[attr-defined]

    on_desk(tmp_path, story)


def test_a_fill_after_flat_without_a_stream_is_found_by_the_watch(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.is_stream_up = False
        press(desk)
        await desk.until_flat()
        desk.venue.fill_entry("ETHUSDT", "-2")
        await desk.until(lambda: desk.state is EmergencyState.FLATTENING, within_s=5.5)
        await desk.until_flat()
        await desk.clock.sleep(90)
        desk.venue.fill_entry("ETHUSDT", "1")
        await desk.until(lambda: desk.venue.truth.is_flat, within_s=61.5)
        await desk.until_flat()

    on_desk(tmp_path, story)


def test_a_failed_read_never_counts_as_flat(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.script = lambda call: (
            Fault(error=OutcomeUnknown("timeout")) if call.name == "open_orders" else None
        )
        press(desk)
        await desk.until(lambda: desk.state is EmergencyState.INCOMPLETE)
        assert desk.stop.flat_proof() is None
        desk.venue.script = lambda call: (
            Fault(loses_answer=True) if call.name == "positions" else None
        )
        await desk.clock.sleep(20)
        assert desk.state is EmergencyState.INCOMPLETE
        desk.venue.script = lambda _: None
        await desk.until_flat(within_s=5)

    on_desk(tmp_path, story)


def test_a_second_press_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        first = desk.stop.trip(source=TripSource.BUTTON, reason="first")
        again = desk.stop.trip(source=TripSource.BUTTON, reason="second")
        assert again == first
        other = desk.stop.trip(source=TripSource.DRAWDOWN, reason="10 %")
        assert other.id != first.id
        await desk.until_flat()
        assert desk.stop.snapshot().presses == 3
        assert desk.trips == [first, other]
        assert len(desk.venue.named("reduce")) == 1

    on_desk(tmp_path, story)


def test_pause_keeps_positions_blocks_entries_and_alarms_each_minute(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "5")
        desk.venue.rest("BTCUSDT", "entry-1")
        desk.venue.rest("BTCUSDT", "stop-1", trigger="90", reduce_only=True)
        press(desk)
        assert desk.stop.pause(paused=True, reason="wrong press")
        await desk.clock.sleep(125)
        assert desk.venue.truth.positions == {"BTCUSDT": Decimal(5)}
        assert list(desk.venue.truth.orders) == ["stop-1"]
        assert desk.row("BTCUSDT").state_words == "PAUSED"
        assert desk.stop.is_latched()
        assert desk.latch.read().paused
        paused = [e for e in desk.bus.named("alarm.raised") if e.code == "closing_paused"]  # type: ignore[attr-defined]
        assert len(paused) == 3
        assert desk.stop.pause(paused=False, reason="go on")
        await desk.until_flat(within_s=3)

    on_desk(tmp_path, story)


def test_pause_without_a_stop_is_refused(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        assert not desk.stop.pause(paused=True, reason="nothing to pause")

    on_desk(tmp_path, story)


def test_nothing_it_stops_can_cancel_it(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        kernel = Tasks(on_fault=lambda *_: None)

        async def trips_and_is_cancelled() -> None:
            press(desk)
            await desk.clock.sleep(60)

        kernel.spawn("engine", trips_and_is_cancelled())
        await desk.clock.sleep(0.01)
        await kernel.cancel_all()
        await desk.until_flat(within_s=3)

    on_desk(tmp_path, story)


@pytest.mark.allow_log("emergency stop goes on without: the instrument")
def test_without_the_venues_filters_the_whole_position_is_closed(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "37")
        press(desk)
        await desk.until_flat(within_s=3)
        assert [intent.quantity for intent in desk.intents] == [37]

    def knows_nothing(symbol: Symbol) -> object:
        raise KeyError(symbol)

    on_desk(tmp_path, story, instrument=knows_nothing)


@pytest.mark.allow_log("part of the emergency stop failed")
def test_a_programmers_error_in_a_closer_starts_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        press(desk)
        await desk.until_flat(within_s=5)

    broken = iter([True, True])

    def breaks_twice(facts: ClosingFacts) -> Step:
        if next(broken, False):
            raise KeyError("a programmer's error")
        return next_step(facts)

    monkeypatch.setattr(symbol_closer, "next_step", breaks_twice)
    on_desk(tmp_path, story)


# --- The latch file and restarts ----------------------------------------------------------------


def test_the_file_follows_every_state(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        trip = desk.stop.trip(source=TripSource.BUTTON, reason="operator")
        await desk.clock.sleep(0.001)
        written = desk.latch.read()
        assert (written.latched, written.state) == (True, StopState.FLATTENING)
        assert [t.trip_id for t in written.trips] == [trip.id]
        await desk.until_flat()
        await desk.until(lambda: desk.latch.read().state is StopState.FLAT)

    on_desk(tmp_path, story)


def test_a_restart_while_flattening_goes_on_with_ids_of_its_own(tmp_path: Path) -> None:
    async def main(clock: SimClock) -> None:
        venue = ScriptedVenue(clock=clock)
        venue.hold("BTCUSDT", "5")
        venue.script = lambda call: (
            Fault(fills_at_most=Decimal("0.5")) if call.name == "reduce" else None
        )
        first = make_desk(clock, tmp_path, venue=venue)
        press(first)
        await clock.sleep(0.3)
        await first.stop.aclose()  # The process ends; the venue does not.
        clock.remove_busy_probe(first.stop.pending_writes)
        venue.script = lambda _: None
        second = make_desk(clock, tmp_path, venue=venue, known=(), owner="engine-2")
        assert second.stop.is_latched()
        assert [t.source for t in second.stop.trips] == [TripSource.BUTTON]
        await second.until_flat()
        used = {intent.client_order_id for intent in first.intents}
        assert used
        assert not used & {intent.client_order_id for intent in second.intents}
        assert second.trips == []  # Not a new trip.
        await second.aclose()

    run_simulated(main, start_ns=START_NS)


def test_a_pause_survives_a_restart(tmp_path: Path) -> None:
    async def main(clock: SimClock) -> None:
        first = make_desk(clock, tmp_path)
        first.venue.hold("BTCUSDT", "5")
        press(first)
        first.stop.pause(paused=True, reason="wrong press")
        await first.aclose()
        second = make_desk(clock, tmp_path, venue=first.venue)
        await clock.sleep(10)
        assert second.stop.snapshot().paused
        assert second.venue.truth.positions == {"BTCUSDT": Decimal(5)}
        await second.aclose()

    run_simulated(main, start_ns=START_NS)


def test_a_damaged_latch_is_a_stop_with_the_damage_as_its_reason(tmp_path: Path) -> None:
    async def main(clock: SimClock) -> None:
        first = make_desk(clock, tmp_path)
        await first.aclose()
        first.latch.path.write_bytes(b"torn")
        desk = make_desk(clock, tmp_path, venue=first.venue)
        desk.venue.hold("BTCUSDT", "1")
        assert desk.stop.is_latched()
        assert [t.source for t in desk.stop.trips] == [TripSource.LATCH_FILE]
        assert "4 bytes" in desk.stop.snapshot().damage
        await desk.until_flat()
        assert desk.intents[0].client_order_id != "desk-g1-s1-1"  # The clock vouches for the fence.
        assert not desk.latch.read().damage
        await desk.aclose()

    run_simulated(main, start_ns=START_NS)


def test_before_restore_it_is_latched(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        assert desk.stop.is_latched()
        press(desk)  # Heard before the file was read: kept.
        desk.stop.restore(desk.latch.read())
        assert [t.source for t in desk.stop.trips] == [TripSource.BUTTON]
        await desk.until_flat()

    on_desk(tmp_path, story, restore=False)


@pytest.mark.allow_log("latch file could not be written")
def test_a_disk_that_refuses_is_alarmed_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        await desk.clock.sleep(0.01)
        real = desk.latch.update

        def refuse(change: object) -> object:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(desk.latch, "update", refuse)
        press(desk)
        await desk.until_flat(within_s=3)
        assert "No space left" in desk.stop.snapshot().damage
        assert [e.code for e in desk.bus.named("alarm.raised")] == ["latch_not_written"]  # type: ignore[attr-defined]
        unmet = await desk.stop.clear(desk.clearing())
        assert [c.condition for c in unmet] == ["latch_file"]
        assert desk.stop.is_latched()
        monkeypatch.setattr(desk.latch, "update", real)
        while desk.stop.snapshot().damage:  # The retry is on real time.
            await asyncio.sleep(0)
            await desk.clock.sleep(0.001)
        assert desk.latch.read().latched

    on_desk(tmp_path, story)


# --- Other nodes --------------------------------------------------------------------------------


def _foreign(name: str = "x-foreign", scope: Scope = Scope.DESK) -> Trip:
    return Trip(
        id=TripId(name),
        source=TripSource.BUTTON,
        reason="at alpha",
        ts_ns=START_NS,
        scope=scope,
        node="alpha",
    )


def test_a_trip_of_another_node_is_adopted_under_its_own_id(tmp_path: Path) -> None:
    """Goal: latched in the call, closed, recorded and in the file with its node; once."""

    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        trip = _foreign()
        assert desk.stop.adopt(trip)
        assert desk.stop.is_latched()
        assert not desk.stop.adopt(trip)
        await desk.until_flat()
        assert desk.stop.trips == (trip,)
        assert desk.trips == [trip]
        assert desk.stop.snapshot().presses == 0
        [written] = desk.latch.read().trips
        assert (written.trip_id, written.node, written.scope) == (trip.id, "alpha", "desk")
        [tripped] = [e for e in desk.bus.events if type(e) is EmergencyTriggered][:1]
        assert (tripped.node, tripped.scope) == ("alpha", "desk")

    on_desk(tmp_path, story)


def test_an_adopted_trip_keeps_its_node_over_a_restart(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.stop.adopt(_foreign())
        await desk.until_flat()
        await desk.until(lambda: not desk.stop.pending_writes())
        again = make_desk(desk.clock, tmp_path, venue=desk.venue, owner="engine-2")
        try:
            assert again.stop.trips == (_foreign(),)
        finally:
            await again.stop.aclose()
            desk.clock.remove_busy_probe(again.stop.pending_writes)

    on_desk(tmp_path, story)


def test_a_press_here_is_a_trip_of_its_own_beside_another_nodes(tmp_path: Path) -> None:
    """Goal: a reset at the other node, which was not shown this press, does not take it with it."""

    async def story(desk: StopDesk) -> None:
        desk.stop.adopt(_foreign())
        own = desk.stop.trip(source=TripSource.BUTTON, reason="here too", scope=Scope.DESK)
        assert own.node == "desk"
        assert [t.id for t in desk.stop.trips] == ["x-foreign", own.id]
        again = desk.stop.trip(source=TripSource.BUTTON, reason="and again", scope=Scope.DESK)
        assert again is own

    on_desk(tmp_path, story)


def test_a_press_after_a_reset_elsewhere_is_news(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        first = desk.stop.trip(source=TripSource.BUTTON, reason="first", scope=Scope.DESK)
        desk.stop.note_cleared_elsewhere((first.id,))
        assert desk.stop.is_latched(), "the latch is for a person here to open"
        second = desk.stop.trip(source=TripSource.BUTTON, reason="second", scope=Scope.DESK)
        assert second.id != first.id
        await desk.until_flat()
        assert [c.condition for c in await desk.stop.clear(desk.clearing(first))] == ["trips_named"]
        assert await desk.stop.clear(desk.clearing(first, second)) == ()

    on_desk(tmp_path, story)


def test_a_trip_of_the_desk_during_the_reset_wins(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        press(desk)
        await desk.until_flat()
        reset = asyncio.get_running_loop().create_task(desk.stop.clear(desk.clearing()))
        await asyncio.sleep(0)
        desk.stop.adopt(_foreign())
        assert [c.condition for c in await reset] == ["trips_named"]
        assert desk.stop.is_latched()
        await desk.until(lambda: not desk.stop.pending_writes())
        assert {t.trip_id for t in desk.latch.read().trips} >= {"x-foreign"}

    on_desk(tmp_path, story)


# --- Reset --------------------------------------------------------------------------------------


def test_reset_needs_every_trip_by_name_and_flat_and_starts_nothing(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        button = desk.stop.trip(source=TripSource.BUTTON, reason="operator")
        desk.stop.trip(source=TripSource.DRAWDOWN, reason="10 %")
        assert {c.condition for c in await desk.stop.clear(desk.clearing(button))} == {
            "trips_named",
            "flat",
        }
        await desk.until_flat()
        assert [c.condition for c in await desk.stop.clear(desk.clearing(button))] == [
            "trips_named"
        ]
        assert desk.stop.is_latched()
        assert await desk.stop.clear(desk.clearing()) == ()
        assert not desk.stop.is_latched()
        assert not desk.latch.read().latched  # On the disk before it answered.
        assert desk.state is EmergencyState.ARMED
        assert any(isinstance(e, EmergencyReset) for e in desk.bus.events)
        calls = len(desk.venue.calls)
        await desk.clock.sleep(600)
        assert len(desk.venue.calls) == calls

    on_desk(tmp_path, story)


def test_a_press_during_the_reset_wins(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        press(desk)
        await desk.until_flat()
        reset = asyncio.get_running_loop().create_task(desk.stop.clear(desk.clearing()))
        await asyncio.sleep(0)
        press(desk)  # The same source again, while the file is being written.
        assert await reset != ()
        assert desk.stop.is_latched()
        await desk.until(lambda: not desk.stop.pending_writes())
        assert desk.latch.read().latched

    on_desk(tmp_path, story)


def test_after_a_reset_it_stops_again(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        for _ in range(3):
            desk.venue.hold("BTCUSDT", "1")
            press(desk)
            await desk.until_flat()
            assert await desk.stop.clear(desk.clearing()) == ()
        assert len({intent.client_order_id for intent in desk.intents}) == 3

    on_desk(tmp_path, story)


# --- The latch file, written from outside -------------------------------------------------------


def write_outside(desk: StopDesk, *, trip_id: str = "outside-1") -> None:
    """What `seawall panic` does when the engine does not answer."""
    trip = LatchTrip(trip_id=trip_id, source="command_line", reason="panic", ts_ns=1)
    desk.latch.update(
        lambda old: replace(
            old, state=StopState.FLATTENING, latched=True, trips=(*old.trips, trip), damage=""
        )
    )


def test_a_latch_written_from_outside_is_a_stop(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "1")
        write_outside(desk)
        await desk.stop.poll_latch_file()
        assert desk.stop.is_latched()
        assert [(t.id, t.source) for t in desk.stop.trips] == [
            ("outside-1", TripSource.COMMAND_LINE)
        ]
        await desk.until_flat()
        assert [trip.id for trip in desk.trips] == ["outside-1"]
        assert phases(desk)[0] == "tripped"

    on_desk(tmp_path, story)


def test_a_latch_written_from_outside_is_found_within_a_second(tmp_path: Path) -> None:
    """Goal: nobody has to ask. Method: a real clock and a real second."""

    async def main() -> float:
        clock = SimClock(start_ns=START_NS)
        desk = make_desk(clock, tmp_path)
        await desk.stop.poll_latch_file()
        write_outside(desk)
        began = time.monotonic()
        await eventually(desk.stop.is_latched, timeout_s=3)
        took_s = time.monotonic() - began
        await desk.aclose()
        return took_s

    assert asyncio.run(main()) < 1.3


def test_another_trip_in_the_file_must_be_named_too(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        press(desk)
        await desk.until_flat()
        named = desk.clearing()
        write_outside(desk)
        unmet = await desk.stop.clear(named)  # The file is read again before it is armed.
        assert [condition.condition for condition in unmet] == ["trips_named"]
        assert desk.stop.is_latched()
        assert {trip.source for trip in desk.stop.trips} == {
            TripSource.BUTTON,
            TripSource.COMMAND_LINE,
        }
        assert await desk.stop.clear(desk.clearing()) == ()

    on_desk(tmp_path, story)


def test_a_file_armed_behind_our_back_is_latched_again(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        press(desk)
        await desk.until_flat()
        desk.latch.update(lambda old: replace(old, state=StopState.ARMED, latched=False, trips=()))
        await desk.stop.poll_latch_file()
        await desk.until(lambda: not desk.stop.pending_writes())
        assert desk.stop.is_latched()
        # Whoever armed it is a cause of its own, which a reset has to name.
        assert [t.source for t in desk.latch.read().trips] == ["button", "disagreement"]

    on_desk(tmp_path, story)


def test_a_file_that_is_torn_while_we_run_is_a_stop_and_is_healed(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.latch.path.write_bytes(b"")
        await desk.stop.poll_latch_file()
        assert [t.source for t in desk.stop.trips] == [TripSource.LATCH_FILE]
        await desk.until_flat()
        await desk.stop.poll_latch_file()
        assert not desk.latch.read().damage
        assert desk.stop.latch_problem == ""
        assert await desk.stop.clear(desk.clearing()) == ()

    on_desk(tmp_path, story)


def test_the_two_reads_are_a_second_apart_however_often_it_looks(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        press(desk)
        began_ns = desk.clock.monotonic_ns()
        while desk.state is not EmergencyState.FLAT:
            press(desk)  # Each press makes it look again at once.
            await desk.clock.sleep(0.05)
        assert desk.clock.monotonic_ns() - began_ns >= 1_000_000_000
        proof = desk.stop.flat_proof()
        assert proof is not None
        assert proof.second_began_ns - proof.first_ended_ns >= 1_000_000_000

    on_desk(tmp_path, story)


def test_a_pause_between_two_clips_keeps_the_rest(tmp_path: Path) -> None:
    async def story(desk: StopDesk) -> None:
        desk.venue.hold("BTCUSDT", "35")
        press(desk)
        await desk.until(lambda: desk.venue.named("reduce"))
        desk.stop.pause(paused=True, reason="wrong press")
        await desk.clock.sleep(5)
        assert desk.venue.truth.positions == {"BTCUSDT": Decimal(25)}
        assert desk.row("BTCUSDT").state_words == "PAUSED"

    on_desk(tmp_path, story)
