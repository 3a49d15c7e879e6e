"""Our Binance adapter on the simulated venue, over real sockets: faults, limits, clocks, secrets.

What every venue must do is in tests/contract; here is what is Binance's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
import pytest

from engine.model.errors import Denied, EngineError, NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderState
from engine.model.reasons import Reason, ReasonCode
from engine.model.values import Side
from engine.model.venue import Approved
from engine.venues.binance import account as account_module
from engine.venues.binance.endpoints import WEIGHT
from engine.venues.binance.venue import BinanceVenue
from tests.contract.binance_under_test import BinanceDesk, binance_desk
from tests.contract.harness import BTC, ETH
from tests.waiting import eventually

_PLACE = "POST /fapi/v1/order"
_SOL = Symbol("SOLUSDT")


@pytest.fixture
async def desk() -> AsyncIterator[BinanceDesk]:
    async with binance_desk() as running:
        yield running


@pytest.fixture
async def venue(desk: BinanceDesk) -> AsyncIterator[BinanceVenue]:
    async with desk.adapter() as (adapter, _):
        yield adapter


def _intent(number: int, side: Side = Side.BUY, quantity: str = "0.1", **fields: object) -> Intent:
    given = {
        "client_order_id": ClientOrderId(f"node-g1-{number}"),
        "symbol": BTC,
        "side": side,
        "kind": OrderKind.MARKET,
        "purpose": OrderPurpose.ENTRY,
        "quantity": Decimal(quantity),
        "leverage": Decimal(5),
        **fields,
    }
    return msgspec.convert(given, Intent)


def _approved(intent: Intent) -> Approved:
    return Approved(intent=intent, policy_version=1, approved_ns=0)


def _limit(number: int, price: str = "59000", **fields: object) -> Intent:
    return _intent(number, kind=OrderKind.LIMIT, price=Decimal(price), **fields)


def _exit(number: int, **fields: object) -> Intent:
    return _intent(number, Side.SELL, reduce_only=True, purpose=OrderPurpose.EXIT, **fields)


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
                ("unknown_503", OutcomeUnknown, True),
                ("unknown_503", OutcomeUnknown, False),
                ("timeout_503", OutcomeUnknown, True),
                ("timeout_408", OutcomeUnknown, True),
                ("unexpected_503", OutcomeUnknown, False),
                ("unknown_500", OutcomeUnknown, True),
                ("gateway_502", OutcomeUnknown, True),
                ("gateway_504", OutcomeUnknown, True),
                ("forbidden_403", OutcomeUnknown, False),
                ("unavailable_503", NotExecuted, False),
                ("internal_503", NotExecuted, False),
                ("throttled_503", NotExecuted, False),
                ("matching_window_400", NotExecuted, False),
                ("rejected_400", Refused, False),
            )
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
async def test_each_fault_is_what_it_is_and_nothing_is_sent_twice(
    desk: BinanceDesk,
    venue: BinanceVenue,
    fault: dict[str, object],
    error: type[EngineError],
    took_effect: bool,
) -> None:
    intent = _limit(1)
    desk.inject(on=_PLACE, **msgspec.convert(fault, dict[str, object]))
    with pytest.raises(error):
        await venue.place(_approved(intent))
    assert desk.requests().count(_PLACE) == 1
    found = await venue.order(BTC, intent.client_order_id)
    assert (found is not None) == took_effect


async def test_an_id_that_stands_as_this_very_order_is_an_acknowledgement(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    """ "Not executed" was a lie of the venue: the second attempt must not lose the order."""
    desk.inject(kind="error", on=_PLACE, answer="unavailable_503", took_effect=True)
    with pytest.raises(NotExecuted):
        await venue.place(_approved(_limit(1)))
    acknowledged = await venue.place(_approved(_limit(1)))
    (order,) = await venue.open_orders()
    assert acknowledged.venue_order_id == order.venue_order_id
    with pytest.raises(Refused, match="-4116"):
        await venue.place(_approved(_limit(1, price="58000")))


async def test_an_id_that_stands_and_cannot_be_looked_up_is_unknown(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    await venue.place(_approved(_limit(1)))
    desk.inject(kind="error", on="GET /fapi/v1/order", answer="unavailable_503")
    with pytest.raises(OutcomeUnknown, match="looked up"):
        await venue.place(_approved(_limit(1)))


# --- the final check, and time -------------------------------------------------------------------


async def test_the_final_check_is_asked_once_the_leverage_is_set_and_the_line_is_free(
    desk: BinanceDesk,
) -> None:
    said: list[list[str]] = []

    def check(approved: Approved) -> tuple[Reason, ...]:
        said.append(desk.requests())
        return (Reason(code=ReasonCode.HALTED, detail="by desk"),)

    async with desk.adapter(final_check=check) as (venue, _):
        with pytest.raises(Denied, match="halted by desk"):
            await venue.place(_approved(_limit(1)))
    assert said == [["POST /fapi/v1/listenKey", "POST /fapi/v1/leverage"]]
    assert _PLACE not in desk.requests()


async def test_an_entry_that_is_frozen_on_its_way_is_refused_by_its_receive_window(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    await venue.place(_approved(_limit(1)))
    desk.inject(kind="clock_skew", seconds=1.5)  # As if 1.5 s had passed on the way.
    with pytest.raises(NotExecuted, match="-1021"):
        await venue.place(_approved(_limit(2)))
    parameters = str(desk.exchange.arrivals[-1]["parameters"])
    assert "recvWindow=1000" in parameters
    # The clocks were compared again, and the next one goes through.
    await venue.place(_approved(_limit(2)))
    assert len(await venue.open_orders()) == 2


async def test_an_exit_has_a_wider_window_than_an_entry(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    await venue.place(_approved(_intent(1)))
    desk.inject(kind="clock_skew", seconds=1.5)
    await venue.reduce(_exit(2))
    assert await venue.positions() == ()


@pytest.mark.parametrize("seconds", [-40.0, 40.0])
async def test_the_venues_clock_is_gone_by_however_wrong_ours_is(
    desk: BinanceDesk, seconds: float
) -> None:
    desk.inject(kind="clock_skew", seconds=seconds)
    async with desk.adapter() as (venue, rest):
        assert rest.offset_ns / 1e9 == pytest.approx(seconds, abs=0.5)
        await venue.place(_approved(_limit(1)))


# --- limits --------------------------------------------------------------------------------------


async def test_429_and_418_rest_for_as_long_as_the_venue_says(desk: BinanceDesk) -> None:
    for kind, seconds in (("rate_limited", 7), ("banned", 90)):
        async with desk.adapter() as (venue, _):
            desk.inject(kind=kind, on="GET /fapi/v3/balance", seconds=seconds)
            with pytest.raises(NotExecuted) as told:
                await venue.balance()
            assert told.value.retry_after_s == pytest.approx(seconds, abs=1.1)
            seen = len(desk.requests())
            # Nothing more is asked meanwhile, and an exit is told at once for how long.
            for refused in (venue.balance(), venue.cancel(BTC, ClientOrderId("x"))):
                with pytest.raises(NotExecuted) as waits:
                    await refused
                assert waits.value.retry_after_s == pytest.approx(seconds, abs=1.5)
            assert len(desk.requests()) == seen
        desk.exchange.desk.limits = type(desk.exchange.desk.limits)()


async def test_too_many_orders_hold_up_orders_and_nothing_else(desk: BinanceDesk) -> None:
    async with desk.adapter() as (venue, _):
        limits = desk.exchange.desk.limits
        limits.admit_orders(300, 0, desk.exchange.clock.now_ns())  # Another client's orders.
        with pytest.raises(NotExecuted, match="-1015"):
            await venue.place(_approved(_limit(1)))
        assert await venue.open_orders() == ()


async def test_limits_are_those_that_the_venue_declares_and_counts(desk: BinanceDesk) -> None:
    async with desk.adapter() as (venue, rest):
        before = rest.limits.used(WEIGHT)

        async def is_counted() -> bool:
            # Behind our address. At the turn of the venue's minute no count is believed.
            desk.exchange.desk.limits.admit(100, desk.exchange.clock.now_ns())
            await venue.balance()
            return rest.limits.used(WEIGHT) >= before + 105

        await eventually(is_counted, interval_s=0.5)


@pytest.mark.timeout(60)
async def test_a_burst_of_2000_reads_is_never_too_much_and_an_exit_passes_in_the_middle(
    desk: BinanceDesk,
) -> None:
    async with desk.adapter(patience_s=0.2, answer_timeout_s=20) as (venue, rest):
        await venue.place(_approved(_intent(1)))
        asking = [
            asyncio.ensure_future(venue.order(BTC, ClientOrderId("node-g1-1"))) for _ in range(2000)
        ]
        await asyncio.sleep(0)
        await venue.reduce(_exit(2))
        done = sum(1 for each in asking if each.done() and each.exception() is None)
        assert done < 1000  # The exit did not wait for them.
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(each) for each in results if isinstance(each, Exception)} <= {NotExecuted}
        assert not any("HTTP" in str(each) for each in results if isinstance(each, Exception))
        assert sum(1 for each in results if not isinstance(each, Exception)) > 1700
        assert rest.limits.used(WEIGHT) <= 1920 + 10
        assert await venue.emergency_reads.positions() == ()


# --- orders of both kinds ------------------------------------------------------------------------


async def test_an_order_is_found_and_cancelled_by_its_id_whichever_kind_it_is(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    await venue.place(_approved(_intent(1)))
    stop = _exit(2, kind=OrderKind.STOP_MARKET, trigger_price=Decimal(58000))
    await venue.reduce(stop)
    await venue.place(_approved(_limit(3)))
    # Another adapter has learned nothing of either.
    async with desk.adapter() as (fresh, _):
        found = await fresh.order(BTC, stop.client_order_id)
        assert found is not None
        assert found.trigger_price == 58000
        assert await fresh.order(ETH, stop.client_order_id) is None
        await fresh.cancel(BTC, stop.client_order_id)
        await fresh.cancel(BTC, ClientOrderId("node-g1-3"))
        assert await fresh.open_orders() == ()


async def test_a_triggered_stop_has_the_fills_of_the_order_it_became(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    await venue.place(_approved(_intent(1)))
    stop = _exit(2, kind=OrderKind.STOP_MARKET, trigger_price=Decimal(58000))
    await venue.reduce(stop)
    desk.exchange.venue.set_price(BTC, Decimal(57999))
    for adapter in (venue, venue.emergency_reads):
        found = await adapter.order(BTC, stop.client_order_id)
        assert found is not None
        assert (found.state, found.filled) == (OrderState.FILLED, Decimal("0.1"))
    fills = await venue.executions(since_ns=0)
    assert [fill.client_order_id for fill in fills] == ["node-g1-1", "node-g1-2"]


async def test_the_dead_mans_switch_ends_orders_unless_it_is_renewed(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    await venue.place(_approved(_limit(1)))
    await venue.settings.count_down(BTC, seconds=30)
    await venue.settings.count_down(BTC, seconds=0)
    assert len(await venue.open_orders()) == 1
    await venue.settings.count_down(BTC, seconds=0.05)

    async def is_empty() -> bool:
        return await venue.open_orders() == ()

    await eventually(is_empty)


# --- reads to the end ----------------------------------------------------------------------------


async def test_executions_are_read_to_the_last_page_and_a_failed_page_fails_the_read(
    desk: BinanceDesk, venue: BinanceVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_module, "PAGE", 2)
    for number in range(1, 8):
        await venue.place(_approved(_intent(number, quantity="0.01")))
    since_ns = desk.exchange.clock.now_ns() - 60_000_000_000
    fills = await venue.executions(since_ns=since_ns)
    assert [fill.client_order_id for fill in fills] == [f"node-g1-{n}" for n in range(1, 8)]
    assert len({fill.execution_id for fill in fills}) == 7
    for skip in range(4):
        desk.inject(kind="drop_after", on="GET /fapi/v1/userTrades", skip=skip)
        with pytest.raises(OutcomeUnknown):
            await venue.executions(since_ns=since_ns)
        desk.exchange.faults.clear()


async def test_executions_of_others_on_this_account_are_found_with_their_ids(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    async with desk.adapter() as (other, _):
        manual = _intent(900, symbol=_SOL, quantity="1")
        await other.place(_approved(manual))
        await other.reduce(_exit(901, symbol=_SOL, quantity="1"))
    fills = await venue.executions(since_ns=desk.exchange.clock.now_ns() - 60_000_000_000)
    assert [(fill.symbol, fill.client_order_id) for fill in fills] == [
        (_SOL, "node-g1-900"),
        (_SOL, "node-g1-901"),
    ]


# --- settings ------------------------------------------------------------------------------------


async def test_the_leverage_is_set_once_and_an_unknown_one_sends_no_entry(
    desk: BinanceDesk, venue: BinanceVenue
) -> None:
    desk.inject(kind="timeout_after", on="POST /fapi/v1/leverage")
    with pytest.raises(NotExecuted, match="leverage"):
        await venue.place(_approved(_limit(1)))
    assert _PLACE not in desk.requests()
    await venue.place(_approved(_limit(1)))
    await venue.place(_approved(_limit(2)))
    assert desk.requests().count("POST /fapi/v1/leverage") == 2
    await venue.place(_approved(_limit(3, leverage=Decimal(7))))
    assert desk.exchange.venue.account.leverage[BTC] == 7


async def test_a_symbol_that_is_not_traded_can_be_closed_and_not_entered(
    desk: BinanceDesk,
) -> None:
    async with desk.adapter() as (venue, _):
        await venue.place(_approved(_intent(1)))
        venue._instruments.clear()
        with pytest.raises(Refused, match="-1121"):
            await venue.place(_approved(_intent(2)))
        await venue.reduce(_exit(3))
        assert await venue.positions() == ()


async def test_filters_that_have_grown_old_keep_an_entry_back_and_no_exit(
    desk: BinanceDesk,
) -> None:
    async with desk.adapter() as (venue, _):
        await venue.place(_approved(_intent(1)))
        coarse = msgspec.structs.replace(
            venue.instrument(BTC), quantity_step=Decimal(7), quantity_min=Decimal(7)
        )
        venue._instruments[BTC] = coarse
        with pytest.raises(Refused, match="-4003"):
            await venue.place(_approved(_intent(2)))
        await venue.reduce(_exit(3))
        assert await venue.positions() == ()


# --- secrets -------------------------------------------------------------------------------------


async def test_no_secret_is_in_a_log_an_error_or_a_repr(
    desk: BinanceDesk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    async with desk.adapter(secret="a-wrong-secret", is_started=False) as (venue, rest):
        texts += [repr(venue), repr(rest), repr(vars(rest)), repr(vars(venue))]
        for fault in ({"kind": "drop_before"}, {"kind": "malformed_answer"}, {}):
            if fault:
                desk.inject(on="GET /fapi/v3/balance", **fault)
            with pytest.raises((OutcomeUnknown, Refused)) as raised:
                await venue.balance()
            error: BaseException | None = raised.value
            while error is not None:
                texts += [str(error), repr(error)]
                error = error.__cause__
    texts += [record.getMessage() for record in caplog.records]
    assert any("-1022" in text for text in texts)
    for text in texts:
        assert "a-wrong-secret" not in text
        assert "test-key" not in text
        assert "signature=" not in text
