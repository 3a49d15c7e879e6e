"""The simulated venue decides like a venue: matching, legs, margin, triggers, sums of money."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.ids import Symbol
from engine.model.values import ZERO, Side
from engine.runtime import Chance, SimClock, Tasks, run_simulated
from tests.simulators.core.model import (
    ConditionalRequest,
    ConditionalStatus,
    Expiry,
    IncomeKind,
    Kind,
    Leg,
    Order,
    OrderRequest,
    Status,
    TimeInForce,
    TriggerKind,
)
from tests.simulators.core.refusals import Reason, Refusal
from tests.simulators.core.timers import Timers
from tests.simulators.core.venue import Rules, Venue

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
_START_NS = 1_795_000_000_000_000_000
Story = Callable[[Venue], Awaitable[None]]


def on_venue(story: Story, *, balance: int = 100_000, seed: int = 1) -> None:
    async def run(clock: SimClock) -> None:
        failed: list[str] = []
        tasks = Tasks(on_fault=lambda name, error: failed.append(f"{name} {error!r}"))
        venue = Venue(
            clock=clock,
            timers=Timers(clock=clock, tasks=tasks),
            rules=Rules(),
            balance=Decimal(balance),
            seed=seed,
        )
        try:
            await story(venue)
        finally:
            await tasks.cancel_all()
        assert not failed

    run_simulated(run, start_ns=_START_NS)


class _Ids:
    number = 0


def order(
    venue: Venue, side: Side, quantity: str, price: str | None = None, **more: object
) -> Order:
    """Place an order under a fresh id."""
    _Ids.number += 1
    named: dict[str, object] = {
        "symbol": BTC,
        "side": side,
        "kind": Kind.MARKET if price is None else Kind.LIMIT,
        "quantity": Decimal(quantity),
        "price": None if price is None else Decimal(price),
        "client_id": f"t-{_Ids.number}",
    }
    return venue.place(OrderRequest(**{**named, **more}))  # type: ignore[arg-type]


def conditional(side: Side, at: str | None, **more: object) -> ConditionalRequest:
    _Ids.number += 1
    named: dict[str, object] = {
        "symbol": BTC,
        "side": side,
        "trigger": TriggerKind.STOP,
        "kind": Kind.MARKET,
        "quantity": Decimal("0.1"),
        "trigger_price": None if at is None else Decimal(at),
        "client_id": f"c-{_Ids.number}",
    }
    return ConditionalRequest(**{**named, **more})  # type: ignore[arg-type]


def held(venue: Venue, leg: Leg = Leg.BOTH, symbol: Symbol = BTC) -> Decimal:
    return venue.account.quantity((symbol, leg))


# --- matching -----------------------------------------------------------------------------------


def test_a_market_order_eats_the_book_level_by_level() -> None:
    async def story(venue: Venue) -> None:
        levels = venue.markets[BTC].depth(Side.BUY)
        taken = order(venue, Side.BUY, str(levels[0][1] + Decimal("0.1")))
        fills = venue.account.executions
        assert [fill.price for fill in fills] == [levels[0][0], levels[1][0]]
        assert [fill.quantity for fill in fills] == [levels[0][1], Decimal("0.1")]
        assert taken.status is Status.FILLED
        assert held(venue) == taken.quantity
        assert venue.markets[BTC].best(Side.BUY) == (
            levels[1][0],
            levels[1][1] - Decimal("0.1"),
        )

    on_venue(story)


def test_a_resting_order_fills_as_maker_when_the_price_comes_partly_if_little_trades() -> None:
    async def story(venue: Venue) -> None:
        resting = order(venue, Side.BUY, "0.5", "64000")
        venue.set_price(BTC, Decimal("64000.1"))
        assert resting.status is Status.NEW
        venue.set_price(BTC, Decimal(64000), quantity=Decimal("0.2"))
        assert (resting.status, resting.filled) == (Status.PARTIALLY_FILLED, Decimal("0.2"))
        venue.set_price(BTC, Decimal(63000))
        assert resting.status is Status.FILLED
        assert {fill.price for fill in venue.account.executions} == {Decimal(64000)}
        assert all(fill.is_maker for fill in venue.account.executions)
        assert venue.account.executions[0].fee == Decimal("0.2") * 64000 * venue.rules.maker_fee

    on_venue(story)


def test_what_may_not_rest_expires_or_is_refused() -> None:
    async def story(venue: Venue) -> None:
        best, size = venue.markets[BTC].depth(Side.BUY)[0]
        too_much = str(size + 1)
        for refused, reason in (
            (TimeInForce.FOK, Reason.FOK_KILLED),
            (TimeInForce.POST_ONLY, Reason.WOULD_TAKE),
        ):
            with pytest.raises(Refusal) as raised:
                order(venue, Side.BUY, too_much, str(best), time_in_force=refused)
            assert raised.value.reason is reason
        assert not venue.books.orders
        ended = order(venue, Side.BUY, too_much, str(best), time_in_force=TimeInForce.IOC)
        assert (ended.status, ended.expiry) == (Status.EXPIRED, Expiry.IMMEDIATE_REST)
        assert ended.filled == size

    on_venue(story)


def test_an_order_never_meets_its_own_account() -> None:
    async def story(venue: Venue) -> None:
        own = order(venue, Side.SELL, "0.1", "65000.0")
        taker = order(venue, Side.BUY, "0.1", "65000.0")
        assert (own.status, own.expiry) == (Status.EXPIRED_IN_MATCH, Expiry.SELF_TRADE)
        assert taker.status is Status.NEW
        assert not venue.account.executions

    on_venue(story)


def test_an_amended_order_goes_to_the_end_of_its_queue() -> None:
    async def story(venue: Venue) -> None:
        first, second = (order(venue, Side.BUY, "0.1", "64000") for _ in range(2))
        venue.amend(first, quantity=Decimal("0.2"), price=Decimal(64000))
        venue.set_price(BTC, Decimal(64000), quantity=Decimal("0.1"))
        assert (second.status, first.status) == (Status.FILLED, Status.NEW)
        venue.set_price(BTC, Decimal(64000), quantity=Decimal("0.1"))
        assert first.filled == Decimal("0.1")
        # Amended down to what is filled already: nothing is left of it.
        assert (
            venue.amend(first, quantity=Decimal("0.1"), price=Decimal(64000)).status
            is Status.CANCELED
        )

    on_venue(story)


def test_a_late_fill_leaves_time_to_cancel() -> None:
    async def story(venue: Venue) -> None:
        venue.late_fills_s += [5.0, 5.0]
        kept, cancelled = order(venue, Side.BUY, "0.1"), order(venue, Side.BUY, "0.2")
        assert kept.status is Status.NEW
        venue.cancel(cancelled)
        await venue.clock.sleep(5.1)
        assert kept.status is Status.FILLED
        assert held(venue) == Decimal("0.1")

    on_venue(story)


# --- legs and reducing --------------------------------------------------------------------------


def test_reduce_only_takes_off_what_is_there_and_never_flips() -> None:
    async def story(venue: Venue) -> None:
        with pytest.raises(Refusal, match="nothing_to_reduce"):
            order(venue, Side.SELL, "0.1", reduce_only=True)
        order(venue, Side.BUY, "0.2")
        resting = order(venue, Side.SELL, "0.2", "66000", reduce_only=True)
        closing = order(venue, Side.SELL, "0.5", reduce_only=True)
        assert (closing.status, closing.filled) == (Status.EXPIRED, Decimal("0.2"))
        assert held(venue) == ZERO
        # The one that rested could only open a reversed position now.
        assert (resting.status, resting.expiry) == (Status.EXPIRED, Expiry.WOULD_REVERSE)

    on_venue(story)


def test_in_hedge_mode_the_legs_live_apart() -> None:
    async def story(venue: Venue) -> None:
        venue.set_hedged(True)
        with pytest.raises(Refusal, match="wrong_leg"):
            order(venue, Side.BUY, "0.1")
        order(venue, Side.BUY, "0.3", leg=Leg.LONG)
        order(venue, Side.SELL, "0.2", leg=Leg.SHORT)
        assert (held(venue, Leg.LONG), held(venue, Leg.SHORT)) == (Decimal("0.3"), Decimal("-0.2"))
        with pytest.raises(Refusal, match="nothing_to_reduce"):
            order(venue, Side.SELL, "0.4", leg=Leg.LONG)
        order(venue, Side.SELL, "0.3", leg=Leg.LONG)
        assert (held(venue, Leg.LONG), held(venue, Leg.SHORT)) == (ZERO, Decimal("-0.2"))
        with pytest.raises(Refusal, match="mode_with_position"):
            venue.set_hedged(False)

    on_venue(story)


# --- margin and liquidation ---------------------------------------------------------------------


def test_margin_counts_what_rests_and_brackets_bound_the_size() -> None:
    async def story(venue: Venue) -> None:
        venue.set_leverage(BTC, 10)
        order(venue, Side.BUY, "10", "64000")
        with pytest.raises(Refusal, match="margin_insufficient"):
            order(venue, Side.BUY, "10", "64000")
        # The other way is covered by what is held for this one.
        order(venue, Side.SELL, "9", "66000")
        venue.set_leverage(ETH, 100)
        with pytest.raises(Refusal, match="position_too_large"):
            order(venue, Side.BUY, "260", "3200", symbol=ETH)

    on_venue(story)


def test_a_position_that_margin_no_longer_carries_is_closed_by_the_venue() -> None:
    async def story(venue: Venue) -> None:
        order(venue, Side.BUY, "25")
        resting = order(venue, Side.BUY, "0.1", "60000")
        venue.set_price(BTC, Decimal(62000))
        assert held(venue) == 25
        venue.set_price(BTC, Decimal(61000))
        assert held(venue) == ZERO
        assert (resting.status, resting.expiry) == (Status.EXPIRED, Expiry.LIQUIDATION)
        closing = [each for each in venue.books.orders.values() if each.is_liquidation]
        assert closing
        assert closing[0].client_id.startswith("autoclose-")

    on_venue(story)


def test_an_isolated_position_falls_alone() -> None:
    async def story(venue: Venue) -> None:
        venue.set_isolated(BTC, True)
        order(venue, Side.BUY, "1")
        order(venue, Side.BUY, "1", symbol=ETH)
        assert venue.account.isolated_wallets[(BTC, Leg.BOTH)] == Decimal("65000.1") / 20
        venue.set_price(BTC, Decimal(61900))
        assert held(venue) == ZERO
        assert held(venue, symbol=ETH) == 1
        assert venue.account.balance > 96_000

    on_venue(story)


def test_longs_pay_shorts_on_the_hour_of_funding() -> None:
    async def story(venue: Venue) -> None:
        venue.start()
        order(venue, Side.BUY, "1")
        before = venue.account.balance
        interval_s = venue.contracts[BTC].funding_interval_h * 3600
        await venue.clock.sleep(interval_s)
        paid = [each for each in venue.account.incomes if each.kind is IncomeKind.FUNDING_FEE]
        assert [each.amount for each in paid] == [Decimal("-6.5")]
        assert venue.account.balance == before - Decimal("6.5")
        assert paid[0].ts_ns % (interval_s * 1_000_000_000) == 0

    on_venue(story)


# --- conditional orders -------------------------------------------------------------------------


def test_a_stop_waits_triggers_and_closes_the_position() -> None:
    async def story(venue: Venue) -> None:
        order(venue, Side.BUY, "0.3")
        stop = venue.place_conditional(
            conditional(Side.SELL, "64000", quantity=ZERO, close_position=True, reduce_only=True)
        )
        venue.set_price(BTC, Decimal("64000.1"))
        assert stop.status is ConditionalStatus.NEW
        venue.set_price(BTC, Decimal(64000))
        assert stop.status is ConditionalStatus.FINISHED
        assert stop.actual_quantity == Decimal("0.3")
        assert venue.books.orders[stop.order_id].client_id == stop.client_id
        assert held(venue) == ZERO

    on_venue(story)


def test_a_trigger_that_finds_nothing_to_reduce_is_rejected() -> None:
    async def story(venue: Venue) -> None:
        stop = venue.place_conditional(conditional(Side.SELL, "64000", reduce_only=True))
        venue.set_price(BTC, Decimal(63000))
        assert (stop.status, stop.order_id) == (ConditionalStatus.REJECTED, 0)
        assert not venue.books.orders

    on_venue(story)


def test_triggers_at_once_are_refused_and_take_profits_wait_on_the_other_side() -> None:
    async def story(venue: Venue) -> None:
        order(venue, Side.BUY, "0.1")
        with pytest.raises(Refusal, match="would_trigger"):
            venue.place_conditional(conditional(Side.SELL, "66000"))
        profit = venue.place_conditional(
            conditional(Side.SELL, "66000", trigger=TriggerKind.TAKE_PROFIT, reduce_only=True)
        )
        venue.set_price(BTC, Decimal(66000))
        assert profit.status is ConditionalStatus.FINISHED

    on_venue(story)


def test_a_trailing_stop_follows_from_its_activation_and_fires_on_the_fall() -> None:
    async def story(venue: Venue) -> None:
        order(venue, Side.BUY, "0.1")
        trailing = venue.place_conditional(
            conditional(
                Side.SELL,
                None,
                trigger=TriggerKind.TRAILING,
                activation_price=Decimal(66000),
                callback_ratio=Decimal("0.01"),
                reduce_only=True,
            )
        )
        for price in (64000, 65900):
            venue.set_price(BTC, Decimal(price))
            assert trailing.status is ConditionalStatus.NEW
        for price in (66000, 70000, 69400):
            venue.set_price(BTC, Decimal(price))
        assert trailing.trigger_price == Decimal(69300)
        venue.set_price(BTC, Decimal(69300))
        assert trailing.status is ConditionalStatus.FINISHED

    on_venue(story)


def test_the_countdown_cancels_orders_and_leaves_conditional_ones() -> None:
    async def story(venue: Venue) -> None:
        resting = order(venue, Side.BUY, "0.1", "64000")
        stop = venue.place_conditional(conditional(Side.SELL, "60000"))
        venue.set_countdown(BTC, 10)
        await venue.clock.sleep(9)
        venue.set_countdown(BTC, 10)
        await venue.clock.sleep(9)
        assert resting.status is Status.NEW
        await venue.clock.sleep(1.1)
        assert resting.status is Status.CANCELED
        assert stop.status is ConditionalStatus.NEW

    on_venue(story)


# --- money that adds up -------------------------------------------------------------------------


def _live_randomly(venue: Venue, chance: Chance, steps: int) -> None:
    for _ in range(steps):
        try:
            _one_step(venue, chance)
        except Refusal:
            continue


def _one_step(venue: Venue, chance: Chance) -> None:
    symbol = chance.choice((BTC, ETH))
    leg = chance.choice(venue.account.legs())
    last = venue.markets[symbol].last
    side = chance.choice((Side.BUY, Side.SELL))
    quantity = str(Decimal(chance.randrange(1, 400)) / 1000)
    near = (last * Decimal(chance.randrange(980, 1020)) / 1000).quantize(Decimal(1))
    match chance.randrange(7):
        case 0 | 1:
            reduces = not venue.account.is_hedged and chance.random() < 0.3
            order(venue, side, quantity, symbol=symbol, leg=leg, reduce_only=reduces)
        case 2:
            order(venue, side, quantity, str(near), symbol=symbol, leg=leg)
        case 3:
            venue.set_price(symbol, near, quantity=Decimal(quantity))
        case 4:
            trigger = chance.choice((TriggerKind.STOP, TriggerKind.TAKE_PROFIT))
            venue.place_conditional(
                conditional(side, str(near), symbol=symbol, trigger=trigger, leg=leg)
            )
        case 5:
            venue.settle_funding(symbol, Decimal(chance.randrange(-5, 6)) / 10_000)
        case _:
            resting = venue.books.open_orders()
            venue.cancel(chance.choice(resting) if resting else None)


@given(seed=st.integers(0, 10_000), hedged=st.booleans())
@settings(max_examples=15, deadline=None)
def test_whatever_happens_the_books_add_up(seed: int, hedged: bool) -> None:
    async def story(venue: Venue) -> None:
        if hedged:
            venue.set_hedged(True)
        _live_randomly(venue, Chance(seed=seed, name="life"), 120)
        account = venue.account
        fills = account.executions
        for key in itertools.product((BTC, ETH), account.legs()):
            moved = (
                each.side.sign * each.quantity for each in fills if (each.symbol, each.leg) == key
            )
            total = sum(moved, ZERO)
            assert total == account.quantity(key)
            assert total * {Leg.LONG: 1, Leg.SHORT: -1, Leg.BOTH: 0}[key[1]] >= 0
        earned = sum((each.realised - each.fee for each in fills), ZERO)
        funded = (e.amount for e in account.incomes if e.kind is IncomeKind.FUNDING_FEE)
        assert account.balance == account.initial + earned + sum(funded, ZERO)
        for each in venue.books.orders.values():
            own = (fill.quantity for fill in fills if fill.order_id == each.order_id)
            assert sum(own, ZERO) == each.filled <= each.quantity
        await asyncio.sleep(0)

    on_venue(story, seed=seed)
