"""The adapter on a simulated Bybit in memory: what each fault proves, checks, modes, secrets."""

from __future__ import annotations

import logging
from decimal import Decimal

import msgspec
import pytest

from engine.model.errors import Denied, EngineError, NotExecuted, OutcomeUnknown, Refused
from engine.model.orders import OrderState
from engine.model.reasons import Reason, ReasonCode
from engine.model.values import Side
from engine.model.venue import Approved
from tests.contract.bybit_in_memory import (
    PLACE,
    Adapter,
    approved,
    exit_of,
    intent,
    limit,
    on_bybit_adapter,
    stop,
)
from tests.contract.harness import BTC, ETH
from tests.simulators.core.model import Leg as WireLeg

_LEVERAGE = "POST /v5/position/set-leverage"

# --- what an answer proves -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "took_effect"),
    [
        ({"kind": "timeout_before"}, OutcomeUnknown, False),
        ({"kind": "timeout_after"}, OutcomeUnknown, True),
        ({"kind": "drop_before"}, OutcomeUnknown, False),
        ({"kind": "drop_after"}, OutcomeUnknown, True),
        ({"kind": "malformed_answer"}, OutcomeUnknown, True),
        *(
            ({"kind": "error", "answer": answer, "took_effect": took}, error, took)
            for answer, error, took in (
                ("timeout_10000", OutcomeUnknown, True),
                ("duplicate_10014", OutcomeUnknown, True),
                ("server_10016", OutcomeUnknown, True),
                ("server_10016", OutcomeUnknown, False),
                ("restarting_10019", OutcomeUnknown, True),
                ("overloaded_429", OutcomeUnknown, True),
                ("processing_110079", OutcomeUnknown, True),
                ("unknown_500000", OutcomeUnknown, True),
                ("gateway_502", OutcomeUnknown, True),
                ("unavailable_503", OutcomeUnknown, False),
                ("rate_10006", NotExecuted, False),
                ("stale_10002", NotExecuted, False),
                ("rejected_10001", Refused, False),
            )
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_each_fault_is_what_it_is_and_nothing_is_sent_twice(
    fault: dict[str, object], error: type[EngineError], took_effect: bool
) -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(on=PLACE, **fault)
        with pytest.raises(error):
            await adapter.venue.place(approved(limit(1)))
        assert adapter.requests().count(PLACE) == 1
        found = await adapter.venue.order(BTC, limit(1).client_order_id)
        assert (found is not None) == took_effect

    on_bybit_adapter(story)


def test_an_id_that_stands_as_this_very_order_is_an_acknowledgement() -> None:
    """ "Not executed" was a lie of the venue: the second attempt must not lose the order."""

    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="error", on=PLACE, answer="rate_10006", took_effect=True)
        with pytest.raises(NotExecuted):
            await adapter.venue.place(approved(limit(1)))
        acknowledged = await adapter.venue.place(approved(limit(1)))
        (order,) = await adapter.venue.open_orders()
        assert acknowledged.venue_order_id == order.venue_order_id
        with pytest.raises(Refused, match="110072"):
            await adapter.venue.place(approved(limit(1, price="58000")))
        # Also when it has ended, and when the venue has cut it to what there was to reduce.
        await adapter.venue.place(approved(intent(2)))
        first = await adapter.venue.reduce(exit_of(3, quantity="0.3"))
        assert await adapter.venue.reduce(exit_of(3, quantity="0.3")) == first
        assert await adapter.legs() == {}

    on_bybit_adapter(story)


def test_a_stop_that_was_triggered_stands_as_the_order_it_became() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        first = await adapter.venue.reduce(stop(2))
        adapter.desk.price(BTC, "57999")
        assert await adapter.venue.reduce(stop(2)) == first
        found = await adapter.venue.order(BTC, stop(2).client_order_id)
        assert found is not None
        assert (found.state, found.filled) == (OrderState.FILLED, Decimal("0.1"))

    on_bybit_adapter(story)


def test_an_id_that_stands_and_cannot_be_looked_up_is_unknown() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(limit(1)))
        for fault in ("unavailable_503", "gateway_502"):
            adapter.inject(kind="error", on="GET /v5/order/realtime", answer=fault)
            with pytest.raises(OutcomeUnknown, match="looked up"):
                await adapter.venue.place(approved(limit(1)))

    on_bybit_adapter(story)


def test_an_order_that_has_executions_is_never_said_not_to_exist() -> None:
    """Open orders and the history lag; whatever was executed, exists."""

    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="hidden", on=PLACE, seconds=5)
        await adapter.venue.place(approved(intent(1)))
        with pytest.raises(OutcomeUnknown, match="has executions"):
            await adapter.venue.order(BTC, intent(1).client_order_id)
        assert await adapter.venue.order(ETH, intent(1).client_order_id) is None
        await adapter.desk.clock.sleep(5.1)
        found = await adapter.venue.order(BTC, intent(1).client_order_id)
        assert found is not None
        assert found.state is OrderState.FILLED

    on_bybit_adapter(story)


def test_an_order_that_is_acknowledged_and_then_rejected_is_told_so() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        await adapter.venue.reduce(stop(2))
        await adapter.venue.reduce(exit_of(3))
        adapter.desk.price(BTC, "57999")
        await adapter.desk.clock.sleep(0.1)
        ours = stop(2).client_order_id
        told = [each.order for each in adapter.heard if each.order is not None]
        states = [order.state for order in told if order.client_order_id == ours]
        assert (states[0], states[-1]) == (OrderState.ACCEPTED, OrderState.REJECTED)
        found = await adapter.venue.order(BTC, ours)
        assert found is not None
        assert found.state is OrderState.REJECTED

    on_bybit_adapter(story)


# --- the final check, and time -------------------------------------------------------------------


def test_the_final_check_is_asked_once_the_leverage_is_set_and_the_line_is_free() -> None:
    said: list[list[str]] = []
    adapters: list[Adapter] = []

    def check(_approved: Approved) -> tuple[Reason, ...]:
        said.append(adapters[0].requests())
        return (Reason(code=ReasonCode.HALTED, detail="by desk"),)

    async def story(adapter: Adapter) -> None:
        adapters.append(adapter)
        with pytest.raises(Denied, match="halted by desk"):
            await adapter.venue.place(approved(limit(1)))
        with pytest.raises(Denied, match="halted by desk"):
            await adapter.venue.amend(approved(limit(1)))
        assert said == [[_LEVERAGE], [_LEVERAGE]]
        assert adapter.requests() == [_LEVERAGE]

    on_bybit_adapter(story, final_check=check)


def test_an_entry_that_is_frozen_on_its_way_is_refused_by_its_receive_window() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        adapter.inject(kind="clock_skew", seconds=1.5)  # As if 1.5 s had passed on the way.
        with pytest.raises(NotExecuted, match="10002"):
            await adapter.venue.place(approved(limit(2)))
        # The clocks were compared again, and the next one goes through.
        await adapter.venue.place(approved(limit(2)))
        adapter.inject(kind="clock_skew", seconds=3.0)
        await adapter.venue.reduce(exit_of(3))  # An exit has a wider window.
        assert await adapter.legs() == {}

    on_bybit_adapter(story)


@pytest.mark.parametrize("seconds", [-40.0, 40.0])
def test_the_venues_clock_is_gone_by_however_wrong_ours_is(seconds: float) -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="clock_skew", seconds=seconds)
        await adapter.venue.start()
        assert adapter.rest.offset_ns / 1e9 == pytest.approx(seconds, abs=0.01)
        await adapter.venue.place(approved(limit(1)))

    on_bybit_adapter(story, is_started=False)


def test_an_exit_leaves_although_the_clocks_cannot_be_compared() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        adapter.inject(kind="error", on="POST *", answer="stale_10002")
        with pytest.raises(NotExecuted):
            await adapter.venue.place(approved(limit(2)))
        adapter.inject(kind="drop_after", on="GET /v5/market/time", times=None)
        # An entry without a known time is not sent, and so its outcome is known.
        with pytest.raises(NotExecuted, match="time is not known"):
            await adapter.venue.place(approved(limit(2)))
        await adapter.venue.reduce(exit_of(3))
        assert not adapter.desk.exchange.venue.account.quantity((BTC, WireLeg.BOTH))

    on_bybit_adapter(story)


# --- no filter before an exit --------------------------------------------------------------------


def test_filters_that_have_grown_old_keep_an_entry_back_and_no_exit() -> None:
    async def story(adapter: Adapter) -> None:
        venue = adapter.venue
        await venue.place(approved(intent(1)))
        known = venue._contracts[BTC]
        venue._contracts[BTC] = msgspec.structs.replace(
            known,
            instrument=msgspec.structs.replace(
                known.instrument, quantity_step=Decimal(7), quantity_min=Decimal(7)
            ),
        )
        with pytest.raises(Refused, match="below 7"):
            await venue.place(approved(intent(2)))
        await venue.reduce(exit_of(3))
        assert await adapter.legs() == {}

    on_bybit_adapter(story)


def test_a_symbol_that_is_not_traded_can_be_closed_and_not_entered() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        adapter.venue._contracts.clear()
        with pytest.raises(Refused, match="10029"):
            await adapter.venue.place(approved(intent(2)))
        await adapter.venue.reduce(exit_of(3))
        assert await adapter.legs() == {}
        await adapter.venue.read_exchange()
        assert adapter.venue.instrument(BTC).quantity_step == Decimal("0.001")

    on_bybit_adapter(story)


def test_an_exit_off_the_grid_is_sent_as_it_is_and_refused_by_the_venue() -> None:
    """To round it here would send another order than the one that is written down."""

    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        with pytest.raises(Refused, match="10001"):
            await adapter.venue.reduce(exit_of(2, quantity="0.0505"))
        sent = msgspec.json.decode(str(adapter.desk.exchange.arrivals[-1]["parameters"]))
        assert sent["qty"] == "0.0505"

    on_bybit_adapter(story)


# --- changes, cancels ----------------------------------------------------------------------------


def test_a_resting_order_is_made_what_was_approved() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(limit(1)))
        await adapter.venue.amend(approved(limit(1, price="58500", quantity=Decimal("0.2"))))
        (order,) = await adapter.venue.open_orders()
        assert (order.price, order.quantity) == (58500, Decimal("0.2"))
        with pytest.raises(Refused, match="110094"):
            await adapter.venue.amend(approved(limit(1, price="10")))
        await adapter.venue.place(approved(intent(2)))
        await adapter.venue.reduce(stop(3))
        await adapter.venue.amend_exit(stop(3, trigger="57000"))
        triggers = {order.trigger_price for order in await adapter.venue.open_orders()}
        assert triggers == {None, Decimal(57000)}
        with pytest.raises(Refused, match="110001"):
            await adapter.venue.amend_exit(stop(4))

    on_bybit_adapter(story)


def test_cancelling_all_takes_a_positions_own_stops_with_the_conditional_ones() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        await adapter.venue.place(approved(limit(2)))
        await adapter.venue.reduce(stop(3))
        await adapter.venue.settings.set_stops(
            BTC, position_side=Side.BUY, stop_loss=Decimal(57000), take_profit=Decimal(70000)
        )
        assert len(await adapter.venue.open_orders(BTC)) == 4
        assert await adapter.venue.open_orders(ETH) == ()
        assert await adapter.venue.cancel_all(BTC, conditional=False) == 1
        assert await adapter.venue.cancel_all(BTC, conditional=True) == 3
        assert await adapter.venue.open_orders() == ()

    on_bybit_adapter(story)


def test_an_order_that_only_the_venue_names_can_be_found_and_cancelled() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        await adapter.venue.settings.set_stops(
            BTC, position_side=Side.BUY, stop_loss=Decimal(57000)
        )
        (own,) = await adapter.venue.open_orders()
        assert own.client_order_id == f"@{own.venue_order_id}"
        assert await adapter.venue.order(BTC, own.client_order_id) == own
        await adapter.venue.cancel(BTC, own.client_order_id)
        assert await adapter.venue.open_orders() == ()

    on_bybit_adapter(story)


# --- secrets -------------------------------------------------------------------------------------


def test_no_secret_is_in_a_log_an_error_or_a_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []

    async def story(adapter: Adapter) -> None:
        rest, venue = adapter.rest, adapter.venue
        texts.extend([repr(venue), repr(rest), repr(vars(rest)), repr(vars(venue))])
        for fault in ({"kind": "drop_before"}, {"kind": "malformed_answer"}, {}):
            if fault:
                adapter.inject(on="GET /v5/account/wallet-balance", **fault)
            with pytest.raises((OutcomeUnknown, NotExecuted, Refused)) as raised:
                await venue.balance()
            error: BaseException | None = raised.value
            while error is not None:
                texts.extend([str(error), repr(error)])
                error = error.__cause__

    on_bybit_adapter(story, is_started=False, secret="a-wrong-secret")
    texts += [record.getMessage() for record in caplog.records]
    assert any("10004" in text for text in texts)
    for text in texts:
        assert "a-wrong-secret" not in text
        assert "test-key" not in text
