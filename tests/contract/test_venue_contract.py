"""The contract every venue must keep, case by case (VC-nn), spoken in the harness's words.

A venue joins by a line in `VENUES`. The cases say what execution and the emergency stop rely on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path

import pytest

from engine.model.errors import Denied, NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import ClientOrderId
from engine.model.orders import OrderKind, OrderState
from engine.model.reasons import Reason, ReasonCode
from engine.model.values import Side
from tests.contract.binance_under_test import binance_under_test
from tests.contract.bybit_under_test import bybit_under_test
from tests.contract.harness import BTC, ETH, VenueUnderTest
from tests.contract.paper_under_test import paper_under_test
from tests.waiting import eventually

VENUES: dict[str, Callable[[Path], AbstractAsyncContextManager[VenueUnderTest]]] = {
    "binance": binance_under_test,
    "bybit": bybit_under_test,
    "paper": paper_under_test,
}


@pytest.fixture(params=sorted(VENUES))
async def venue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VenueUnderTest]:
    async with VENUES[request.param](tmp_path / "venue.db") as under_test:
        yield under_test


# --- VC-01 to VC-09: entries ---------------------------------------------------------------------


async def test_vc01_a_market_entry_opens_a_position_and_pays_spread_and_fee(
    venue: VenueUnderTest,
) -> None:
    intent = await venue.enter(venue.intent(Side.BUY, "0.100"))
    (fill,) = await venue.fills()
    assert fill.client_order_id == intent.client_order_id
    assert fill.quantity == Decimal("0.1")
    assert fill.price > 60000
    assert fill.fee > 0
    (position,) = await venue.ports.positions()
    assert position.quantity == Decimal("0.1")
    assert position.entry_price == fill.price
    assert (await venue.ports.balance()).balance == 100_000 - fill.fee
    assert (await venue.order(intent)).state is OrderState.FILLED


async def test_vc02_a_short_position_is_negative(venue: VenueUnderTest) -> None:
    await venue.enter(venue.intent(Side.SELL, "0.100"))
    assert await venue.quantity() == Decimal("-0.1")
    (fill,) = await venue.fills()
    assert fill.price < 60000


async def test_vc03_the_stream_tells_acceptance_before_fills_and_each_fill_once(
    venue: VenueUnderTest,
) -> None:
    intent = await venue.enter(venue.intent(Side.BUY, "0.100"))
    await eventually(lambda: venue.heard_fills())
    orders = [update.order for update in venue.heard if update.order is not None]
    assert [order.state for order in orders] == [OrderState.ACCEPTED, OrderState.FILLED]
    assert {order.client_order_id for order in orders} == {intent.client_order_id}
    assert tuple(venue.heard_fills()) == await venue.fills()


async def test_vc04_the_final_check_is_asked_for_every_entry_and_its_no_is_denied(
    venue: VenueUnderTest,
) -> None:
    await venue.enter(venue.intent(Side.BUY, "0.100"))
    assert venue.checks == 1
    venue.refuse_entries.append(Reason(code=ReasonCode.LATCHED, detail="stopped"))
    with pytest.raises(Denied, match="latched") as denied:
        await venue.enter(venue.intent(Side.BUY, "0.100"))
    assert denied.value.reason_codes == ("latched",)
    assert len(await venue.fills()) == 1


async def test_vc05_the_final_check_never_stands_before_an_exit(venue: VenueUnderTest) -> None:
    await venue.enter(venue.intent(Side.BUY, "0.100"))
    venue.refuse_entries.append(Reason(code=ReasonCode.LATCHED))
    await venue.exit(venue.intent(Side.SELL, "0.100", reduce_only=True))
    assert await venue.quantity() == 0
    assert venue.checks == 1


@pytest.mark.parametrize(
    ("quantity", "price", "leverage", "code"),
    [
        ("0.0001", None, 5, "-4003"),
        ("0.1005", None, 5, "-1111"),
        ("121", None, 125, "-4005"),
        ("0.100", "59000.05", 5, "-4014"),
        ("0.001", "100", 5, "-4164"),
        ("0.100", None, 126, "-4028"),
        ("10", None, 5, "-2019"),
    ],
)
async def test_vc06_what_breaks_a_filter_is_refused_and_leaves_nothing(
    venue: VenueUnderTest, quantity: str, price: str | None, leverage: int, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        await venue.enter(venue.intent(Side.BUY, quantity, price=price, leverage=leverage))
    assert refused.value.code == venue.code(code)
    assert await venue.ports.open_orders() == ()
    assert await venue.fills() == ()


async def test_vc07_a_limit_entry_rests_and_fills_as_maker_when_traded_through(
    venue: VenueUnderTest,
) -> None:
    intent = await venue.enter(venue.intent(Side.BUY, "0.100", price="59000"))
    (order,) = await venue.ports.open_orders()
    assert order.client_order_id == intent.client_order_id
    assert order.state is OrderState.ACCEPTED
    venue.trade(BTC, "59000")
    assert await venue.quantity() == (Decimal("0.1") if venue.fills_at_touch else 0)
    venue.trade(BTC, "58999.9")
    assert await venue.quantity() == Decimal("0.1")
    (fill,) = await venue.fills()
    assert fill.price == 59000
    assert fill.is_maker
    assert await venue.ports.open_orders() == ()


async def test_vc08_a_limit_entry_that_crosses_fills_at_once_no_worse_than_its_price(
    venue: VenueUnderTest,
) -> None:
    await venue.enter(venue.intent(Side.SELL, "0.100", price="59000"))
    (fill,) = await venue.fills()
    assert 59000 <= fill.price < 60000
    assert not fill.is_maker


async def test_vc09_a_client_order_id_is_a_duplicate_among_open_orders_if_not_for_ever(
    venue: VenueUnderTest,
) -> None:
    """A trap, kept on purpose: on some venues a filled order's id is filled a second time."""
    resting = await venue.enter(venue.intent(Side.BUY, "0.100", price="59000"))
    with pytest.raises(Refused) as refused:
        await venue.enter(venue.intent(Side.BUY, "0.1", identifier=resting.client_order_id))
    assert refused.value.code == venue.code("-4116")
    filled = await venue.enter(venue.intent(Side.BUY, "0.100"))
    await venue.enter(venue.intent(Side.BUY, "0.100", identifier=filled.client_order_id))
    assert await venue.quantity() == Decimal("0.1" if venue.ids_are_for_ever else "0.2")


# --- VC-10 to VC-19: exits -----------------------------------------------------------------------


async def test_vc10_reduce_only_is_refused_when_there_is_nothing_to_reduce(
    venue: VenueUnderTest,
) -> None:
    with pytest.raises(Refused) as refused:
        await venue.exit(venue.intent(Side.SELL, "0.100", reduce_only=True))
    assert refused.value.code == venue.code("-2022")
    await venue.enter(venue.intent(Side.BUY, "0.100"))
    with pytest.raises(Refused):
        await venue.exit(venue.intent(Side.BUY, "0.100", reduce_only=True))


async def test_vc11_reduce_only_never_flips(venue: VenueUnderTest) -> None:
    await venue.enter(venue.intent(Side.SELL, "0.100"))
    intent = await venue.exit(venue.intent(Side.BUY, "0.300", reduce_only=True))
    assert await venue.quantity() == 0
    order = await venue.order(intent)
    assert order.state is venue.overlong_close_ends
    assert order.filled == Decimal("0.1")


async def test_vc12_a_stop_rests_and_triggers_at_its_price(venue: VenueUnderTest) -> None:
    await venue.enter(venue.intent(Side.BUY, "0.100"))
    stop = await venue.exit(venue.intent(Side.SELL, "0.100", stop="58000", reduce_only=True))
    (order,) = await venue.ports.open_orders()
    assert order.is_conditional
    assert order.trigger_price == 58000
    venue.trade(BTC, "58000.1")
    assert await venue.quantity() == Decimal("0.1")
    venue.trade(BTC, "58000")
    assert await venue.quantity() == 0
    assert (await venue.order(stop)).state is OrderState.FILLED


async def test_vc13_a_stop_that_would_trigger_at_once_is_refused(venue: VenueUnderTest) -> None:
    await venue.enter(venue.intent(Side.SELL, "0.100"))
    venue.trade(BTC, "60000")  # Where a book moves with our own fill.
    with pytest.raises(Refused) as refused:
        await venue.exit(venue.intent(Side.BUY, "0.100", stop="60000", reduce_only=True))
    assert refused.value.code == venue.code("-2021")


async def test_vc14_a_stop_outlives_its_position_and_never_opens_one(venue: VenueUnderTest) -> None:
    await venue.enter(venue.intent(Side.BUY, "0.100"))
    stop = await venue.exit(venue.intent(Side.SELL, "0.100", stop="58000", reduce_only=True))
    await venue.exit(venue.intent(Side.SELL, "0.100", reduce_only=True))
    assert len(await venue.ports.open_orders()) == 1
    venue.trade(BTC, "57000")
    assert await venue.quantity() == 0
    order = await venue.order(stop)
    # A venue cancels it when it triggers, or refuses what it would become.
    assert order.state is venue.idle_stop_ends
    assert order.filled == 0
    assert len(await venue.fills()) == 2


async def test_vc15_cancel_takes_an_order_away_and_is_refused_when_there_is_none(
    venue: VenueUnderTest,
) -> None:
    intent = await venue.enter(venue.intent(Side.BUY, "0.100", price="59000"))
    await venue.ports.cancel(BTC, intent.client_order_id)
    assert await venue.ports.open_orders() == ()
    assert (await venue.order(intent)).state is OrderState.CANCELLED
    for symbol, identifier in ((BTC, intent.client_order_id), (ETH, ClientOrderId("none"))):
        with pytest.raises(Refused) as refused:
            await venue.ports.cancel(symbol, identifier)
        assert refused.value.code == venue.code("-2011")


async def test_vc18_the_stream_tells_of_a_cancel(venue: VenueUnderTest) -> None:
    intent = await venue.enter(venue.intent(Side.BUY, "0.100", price="59000"))
    await venue.ports.cancel(BTC, intent.client_order_id)
    cancelled = await venue.order(intent)
    assert cancelled.state is OrderState.CANCELLED
    await eventually(lambda: venue.heard and venue.heard[-1].order == cancelled)


async def test_vc16_cancel_all_tells_ordinary_from_conditional_and_symbols_apart(
    venue: VenueUnderTest,
) -> None:
    await venue.enter(venue.intent(Side.BUY, "0.100"))
    await venue.enter(venue.intent(Side.BUY, "0.100", price="59000"))
    await venue.enter(venue.intent(Side.BUY, "0.100", price="58900"))
    await venue.enter(venue.intent(Side.BUY, "1", price="2000", symbol=ETH))
    stop = await venue.exit(venue.intent(Side.SELL, "0.100", stop="58000", reduce_only=True))
    assert await venue.ports.cancel_all(BTC, conditional=False) == 2
    left = {order.client_order_id for order in await venue.ports.open_orders()}
    assert stop.client_order_id in left
    assert len(left) == 2
    assert await venue.ports.cancel_all(BTC, conditional=True) == 1
    assert await venue.ports.cancel_all(BTC, conditional=True) == 0
    assert len(await venue.ports.open_orders()) == 1


async def test_vc17_a_close_needs_no_margin_and_no_minimum_notional(venue: VenueUnderTest) -> None:
    await venue.enter(venue.intent(Side.BUY, "8", leverage=5))
    venue.trade(BTC, "51000")
    await venue.exit(venue.intent(Side.SELL, "7.999", reduce_only=True))
    venue.trade(BTC, "4000")
    await venue.exit(venue.intent(Side.SELL, "0.001", reduce_only=True))
    assert await venue.quantity() == 0


# --- VC-20 to VC-29: reads, streams, restarts ----------------------------------------------------


async def test_vc20_an_unknown_order_is_none_and_executions_begin_at_a_time(
    venue: VenueUnderTest,
) -> None:
    assert await venue.ports.order(BTC, ClientOrderId("none")) is None
    await venue.enter(venue.intent(Side.BUY, "0.100"))
    (fill,) = await venue.fills()
    assert await venue.ports.executions(since_ns=fill.ts_ns) == (fill,)
    assert await venue.ports.executions(since_ns=fill.ts_ns + 1) == ()


@pytest.mark.parametrize("read", ["positions", "open_orders", "balance", "order", "executions"])
async def test_vc21_a_failed_read_raises_and_is_never_empty(
    venue: VenueUnderTest, read: str
) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "positions": lambda: venue.ports.positions(),
        "open_orders": lambda: venue.ports.open_orders(),
        "balance": lambda: venue.ports.balance(),
        "order": lambda: venue.ports.order(BTC, ClientOrderId("none")),
        "executions": lambda: venue.ports.executions(since_ns=0),
    }
    venue.script(read, "lost_answer")
    with pytest.raises(OutcomeUnknown):
        await calls[read]()
    await calls[read]()


async def test_vc22_a_dropped_stream_says_so_and_what_it_missed_is_in_the_executions(
    venue: VenueUnderTest,
) -> None:
    assert venue.ports.is_connected()
    venue.disconnect()
    await eventually(lambda: not venue.ports.is_connected())
    await venue.enter(venue.intent(Side.BUY, "0.100"))
    venue.reconnect()
    await eventually(venue.ports.is_connected)
    assert [update.connected for update in venue.heard] == [False, True]
    assert len(await venue.fills()) == 1


async def test_vc23_after_a_restart_positions_orders_fills_and_balance_are_the_same(
    venue: VenueUnderTest,
) -> None:
    await venue.enter(venue.intent(Side.BUY, "0.300"))
    await venue.exit(venue.intent(Side.SELL, "0.100", reduce_only=True))
    await venue.enter(venue.intent(Side.BUY, "0.100", price="59000"))
    await venue.exit(venue.intent(Side.SELL, "0.100", stop="58000", reduce_only=True))

    async def everything() -> tuple[object, ...]:
        ports = venue.ports
        return (
            await ports.positions(),
            await ports.open_orders(),
            await ports.balance(),
            await venue.fills(),
        )

    before = await everything()
    await venue.restart()
    assert await everything() == before
    venue.trade(BTC, "57000")
    assert await venue.quantity() == Decimal("0.2")
    identifiers = [fill.execution_id for fill in await venue.fills()]
    assert len(set(identifiers)) == len(identifiers) == 4


# --- VC-30 to VC-39: unknown outcomes ------------------------------------------------------------


async def test_vc30_a_lost_answer_is_unknown_and_it_happened(venue: VenueUnderTest) -> None:
    intent = venue.intent(Side.BUY, "0.100")
    venue.script("place", "lost_answer")
    with pytest.raises(OutcomeUnknown):
        await venue.enter(intent)
    assert (await venue.order(intent)).state is OrderState.FILLED
    assert await venue.quantity() == Decimal("0.1")


async def test_vc31_a_lost_request_is_unknown_and_it_did_not_happen(venue: VenueUnderTest) -> None:
    intent = venue.intent(Side.BUY, "0.100")
    venue.script("place", "lost_request")
    with pytest.raises(OutcomeUnknown):
        await venue.enter(intent)
    assert await venue.ports.order(BTC, intent.client_order_id) is None
    assert await venue.quantity() == 0


async def test_vc32_not_executed_and_refused_did_not_happen(venue: VenueUnderTest) -> None:
    venue.script("place", "not_executed")
    with pytest.raises(NotExecuted):
        await venue.enter(venue.intent(Side.BUY, "0.100"))
    venue.script("place", "refuse")
    with pytest.raises(Refused):
        await venue.enter(venue.intent(Side.BUY, "0.100"))
    assert await venue.fills() == ()


@pytest.mark.parametrize(("fault", "left"), [("lost_answer", 0), ("lost_request", 1)])
async def test_vc33_a_cancel_without_an_answer_is_unknown_too(
    venue: VenueUnderTest, fault: str, left: int
) -> None:
    intent = await venue.enter(venue.intent(Side.BUY, "0.100", price="59000"))
    venue.script("cancel", fault)
    with pytest.raises(OutcomeUnknown):
        await venue.ports.cancel(BTC, intent.client_order_id)
    assert len(await venue.ports.open_orders()) == left


async def test_vc25_open_orders_and_executions_can_be_asked_of_one_symbol(
    venue: VenueUnderTest,
) -> None:
    """Looking one order up must not cost what reading the whole account costs."""
    for symbol, price in ((BTC, "50000"), (ETH, "2000")):
        await venue.enter(venue.intent(Side.BUY, "0.100", symbol=symbol))
        await venue.enter(venue.intent(Side.BUY, "0.100", symbol=symbol, price=price))
    await eventually(lambda: len(venue.heard_fills()) == 2)
    for symbol in (BTC, ETH):
        (order,) = await venue.ports.open_orders(symbol)
        (fill,) = await venue.ports.executions(since_ns=0, symbol=symbol)
        assert (order.symbol, fill.symbol) == (symbol, symbol)
    assert len(await venue.ports.open_orders()) == len(await venue.fills()) == 2


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
async def test_vc19_a_take_profit_rests_on_the_winning_side_until_the_price_is_there(
    venue: VenueUnderTest, side: Side
) -> None:
    closing, level = (Side.SELL, 62000) if side is Side.BUY else (Side.BUY, 58000)
    await venue.enter(venue.intent(side, "0.100"))
    profit = await venue.exit(venue.intent(closing, "0.100", profit=str(level), reduce_only=True))
    order = await venue.order(profit)
    assert (order.kind, order.trigger_price) == (OrderKind.TAKE_PROFIT_MARKET, level)
    assert order.reduce_only
    assert [one.client_order_id for one in await venue.ports.open_orders()] == [
        order.client_order_id
    ]
    venue.trade(BTC, str(level - side.sign * 100))
    assert await venue.quantity() == side.sign * Decimal("0.1")
    venue.trade(BTC, str(level + side.sign * 10))
    await eventually(lambda: len(venue.heard_fills()) == 2)
    assert await venue.quantity() == 0
    assert venue.heard_fills()[-1].client_order_id == profit.client_order_id
    assert await venue.ports.open_orders() == ()
