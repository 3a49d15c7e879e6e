"""The stop on Binance and Bybit as they are: our adapters, their dialects, in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.emergency_stop import Exposure
from engine.model.emergency import EmergencyState
from engine.model.events import AlarmRaised
from engine.model.ids import Symbol
from engine.model.instrument import PAPER_INSTRUMENTS, Instrument
from engine.model.orders import OrderKind
from engine.model.values import Side
from tests.simulators.core.model import Leg
from tests.simulators.in_memory_transport import Latency
from tests.unit.engine.emergency_stop.exchange_stop import (
    BTC,
    ETH,
    SOL,
    XRP,
    ExchangeStop,
    exposure,
    on_exchange,
)

both_venues = pytest.mark.parametrize("venue", ["binance", "bybit"])


_STEADY = Latency(least_s=0.01, most_s=0.01)


# --- the ordinary stop ----------------------------------------------------------------------------


@both_venues
def test_everything_is_cancelled_and_closed_whoever_opened_it(venue: str, tmp_path: Path) -> None:
    """Goal: largest risk first, side by side, protected until zero, verified twice."""

    async def story(desk: ExchangeStop) -> None:
        desk.hold(SOL, "-40")
        desk.hold(BTC, "1.5")
        desk.hold(ETH, "-20")
        desk.rest(XRP, "1000", "1.9")
        desk.rest(BTC, "0.5", "59000")
        desk.protect(BTC, "-1.5", "55000")
        desk.protect(ETH, "20", "3300")
        desk.press()
        took_s = await desk.until_flat()
        assert 1.0 <= took_s < 3.0
        cancels = desk.sent(desk.words.cancel_all)
        # What our books know starts at once, the largest risk first; the rest is found.
        assert [each["symbol"] for each in cancels][:3] == [BTC, ETH, SOL]
        assert {each["symbol"] for each in cancels} == {BTC, ETH, SOL, XRP}
        assert desk.sizes(BTC) == ["1.5"]
        assert desk.sizes(ETH) == ["20"]
        flat = await desk.finished()
        assert flat.positions_closed == 3
        assert flat.orders_cancelled == 4
        # The stop of BTC was cancelled only after BTC read zero.
        closed_s = float(desk.sent(desk.words.place, BTC)[0]["at_s"])
        last_cancel = desk.sent(desk.words.cancel_all_conditional, BTC)[-1]
        assert float(last_cancel["at_s"]) > closed_s

    known = (exposure(SOL, "-40"), exposure(BTC, "1.5"), exposure(ETH, "-20"))
    on_exchange(tmp_path, story, venue=venue, known=known, latency=_STEADY)


def _small(largest: str) -> Callable[[Symbol], Instrument]:
    """The filters with a maximum for one market order that the test can reach."""
    return lambda symbol: msgspec.structs.replace(
        PAPER_INSTRUMENTS[symbol], quantity_max=Decimal(largest)
    )


@both_venues
def test_a_close_is_split_by_the_maximum_for_one_market_order(venue: str, tmp_path: Path) -> None:
    async def story(desk: ExchangeStop) -> None:
        for _ in range(5):
            desk.hold(XRP, "50000")
        desk.press()
        await desk.until_flat()
        assert desk.sizes(XRP)[:3] == ["100000", "100000", "50000"]

    on_exchange(tmp_path, story, venue=venue, instrument=_small("100000"))


def test_a_maximum_that_the_venue_has_lowered_is_found_out(tmp_path: Path) -> None:
    """Goal: filters of yesterday never keep a position open. Method: -4005 until it is halved."""

    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "2")
        _contract(desk, BTC, market_quantity_max=Decimal("0.6"))
        desk.press()
        await desk.until_flat()
        assert desk.sizes(BTC) == ["2", "1", "0.5", "0.5", "0.5", "0.5"]

    on_exchange(tmp_path, story)


def _contract(desk: ExchangeStop, symbol: Symbol, **changes: object) -> None:
    """The venue changes a filter."""
    venue = desk.exchange.venue
    changed = msgspec.structs.replace(venue.contracts[symbol], **changes)
    venue.contracts[symbol] = changed  # type: ignore[index]
    venue.markets[symbol].contract = changed


@pytest.mark.allow_log("the instrument")
@both_venues
def test_a_contract_that_is_not_listed_any_more_is_closed_all_the_same(
    venue: str, tmp_path: Path
) -> None:
    def unlisted(symbol: Symbol) -> Instrument:
        raise LookupError(symbol)

    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.234")
        desk.press()
        await desk.until_flat()
        assert desk.sizes(BTC) == ["1.234"]

    on_exchange(tmp_path, story, venue=venue, instrument=unlisted)


# --- what venues answer ---------------------------------------------------------------------------


@pytest.mark.parametrize("took_effect", [False, True])
@pytest.mark.parametrize(
    ("venue", "answer"),
    [
        *(
            ("binance", name)
            for name in (
                "timeout_408",
                "timeout_503",
                "unknown_503",
                "unexpected_503",
                "unknown_500",
                "gateway_502",
                "gateway_504",
                "forbidden_403",
            )
        ),
        *(
            ("bybit", name)
            for name in ("timeout_10000", "server_10016", "overloaded_429", "gateway_502")
        ),
    ],
)
def test_an_unknown_end_of_a_close_is_read_and_never_guessed(
    venue: str, answer: str, took_effect: bool, tmp_path: Path
) -> None:
    """Goal: -1007, the 5xx kinds and their like. A close that did happen is not sent again."""

    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.inject(kind="error", on=desk.words.place, answer=answer, took_effect=took_effect)
        desk.press()
        await desk.until_flat(within_s=10)
        assert desk.sizes(BTC) == (["1.5"] if took_effect else ["1.5", "1.5"])

    on_exchange(tmp_path, story, venue=venue)


@pytest.mark.parametrize(
    ("venue", "answer"),
    [
        ("binance", "unavailable_503"),
        ("binance", "internal_503"),
        ("binance", "throttled_503"),
        ("binance", "matching_window_400"),
        ("bybit", "rate_10006"),
        ("bybit", "stale_10002"),
    ],
)
def test_what_was_not_executed_is_sent_again_at_once_and_for_ever(
    venue: str, answer: str, tmp_path: Path
) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.rest(BTC, "0.1", "50000")
        desk.inject(kind="error", on=desk.words.place, answer=answer, times=6)
        desk.inject(kind="error", on=desk.words.cancel_all, answer=answer, times=3)
        desk.press()
        await desk.until_flat(within_s=25)
        assert len(desk.sizes(BTC)) == 7

    on_exchange(tmp_path, story, venue=venue)


@both_venues
def test_a_cancel_that_is_never_answered_holds_up_no_close_for_longer_than_two_seconds(
    venue: str, tmp_path: Path
) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.rest(ETH, "1", "2500")
        for _ in range(3):
            desk.inject(kind="timeout_before", on=desk.words.cancel_all)
        desk.press()
        began_s = desk.clock.now_ns() / 1e9
        await desk.until(lambda: not desk.held(), within_s=5)
        assert float(desk.sent(desk.words.place, BTC)[0]["at_s"]) - began_s < 2.5
        await desk.until_flat(within_s=30)

    on_exchange(tmp_path, story, venue=venue, known=(exposure(BTC, "1.5"),))


@both_venues
def test_a_position_that_is_gone_when_its_close_arrives_is_flat(venue: str, tmp_path: Path) -> None:
    """Goal: -2022 and 110017 say that there is nothing to reduce; it is read at once."""

    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.press()
        # Another hand closes it between our read and our order.
        await desk.until(lambda: desk.row(BTC).left == Decimal("1.5"))
        desk.hold(BTC, "-1.5")
        await desk.until_flat(within_s=10)
        assert len(desk.sizes(BTC)) == 1

    on_exchange(tmp_path, story, venue=venue, latency=_STEADY, known=(exposure(BTC, "1.5"),))


@pytest.mark.parametrize("code", ["rejected_400", "open_orders_400"])
def test_refusals_because_of_resting_stops_end_with_the_stops(code: str, tmp_path: Path) -> None:
    """Goal: -4118, and a refusal of unknown reason twice, cancel the protective stops."""

    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.protect(BTC, "-1.5", "55000")
        await desk.clock.sleep(1)
        times = 1 if code == "open_orders_400" else 2
        desk.inject(kind="error", on=desk.words.place, answer=code, times=times)
        desk.press()
        await desk.until_flat(within_s=15)
        last_close_s = float(desk.sent(desk.words.place, BTC)[-1]["at_s"])
        cancels = desk.sent(desk.words.cancel_all_conditional, BTC)
        assert float(cancels[0]["at_s"]) < last_close_s

    on_exchange(tmp_path, story, latency=_STEADY)


def test_a_ban_is_waited_for_exactly_as_long_as_the_venue_states(tmp_path: Path) -> None:
    """Goal: 418. Nothing leaves before its end, and the stop goes on right after it."""

    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.inject(kind="banned", on="GET /fapi/v3/positionRisk", seconds=20)
        desk.press()
        began_s = desk.clock.now_ns() / 1e9
        await desk.until(lambda: desk.exchange.faults.done.get("banned"))
        await desk.until_flat(within_s=40)
        closed_s = float(desk.sent(desk.words.place, BTC)[0]["at_s"])
        assert 20 <= closed_s - began_s < 22.5
        # Nobody knocked meanwhile: each knock would have made it longer.
        knocks = [
            each
            for each in desk.exchange.arrivals
            if 0.5 < int(str(each["ts_ns"])) / 1e9 - began_s < 20
        ]
        assert not knocks

    on_exchange(tmp_path, story)


def test_a_refusal_for_too_many_requests_rests_the_stop_for_the_stated_time_and_no_longer(
    tmp_path: Path,
) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        # What is asked beside it while the venue refuses makes that last until its minute ends.
        desk.inject(kind="rate_limited", on="GET /fapi/v3/positionRisk", seconds=2)
        left_s = 60 - desk.clock.now_ns() / 1e9 % 60
        desk.press()
        took_s = await desk.until_flat(within_s=100)
        assert left_s <= took_s < left_s + 4
        assert "banned" not in desk.exchange.faults.done

    on_exchange(tmp_path, story)


# --- price bands ----------------------------------------------------------------------------------


@both_venues
def test_after_three_refused_market_orders_a_limit_takes_what_lies_in_the_band(
    venue: str, tmp_path: Path
) -> None:
    """Goal: a book beyond the bound of market orders and within the band of prices."""

    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "0.5")
        _contract(desk, BTC, market_take_bound=Decimal("0.01"))
        desk.price(BTC, "58500", mark="60000")  # 2.5 % away.
        desk.press()
        await desk.until_flat(within_s=30)
        kinds = [(i.kind, i.reduce_only) for i in desk.intents if i.symbol == BTC]
        assert kinds == [(OrderKind.MARKET, True)] * 3 + [(OrderKind.LIMIT, True)]

    on_exchange(tmp_path, story, venue=venue)  # Binance refuses them, Bybit lets them expire.


@both_venues
def test_where_the_book_lies_beyond_the_band_the_limit_rests_at_its_end_and_market_is_tried_again(
    venue: str, tmp_path: Path
) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "0.5")
        desk.price(BTC, "40000", mark="60000")
        desk.press()
        await desk.until(lambda: len(desk.intents) >= 5, within_s=30)
        kinds = [i.kind for i in desk.intents]
        assert kinds[:5] == [OrderKind.MARKET] * 3 + [OrderKind.LIMIT, OrderKind.MARKET]
        band = Decimal("0.15") if venue == "binance" else Decimal("0.05")
        assert desk.intents[3].price == 60000 * (1 - band)
        assert desk.state is not EmergencyState.FLAT
        await desk.until(lambda: desk.row(BTC).state_words == "MARKET HALTED", within_s=10)
        # The limit was taken back before the next market order: never two of ours at once.
        assert len(desk.exchange.venue.books.open_orders(BTC)) <= 1
        desk.price(BTC, "59000")
        await desk.until_flat(within_s=15)

    on_exchange(tmp_path, story, venue=venue)


def test_a_resting_limit_is_filled_when_buyers_come_back(tmp_path: Path) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "0.5")
        desk.price(BTC, "40000", mark="60000")
        desk.press()
        books = desk.exchange.venue.books
        await desk.until(lambda: books.open_orders(BTC), within_s=30)
        desk.price(BTC, "52000", mark="60000")
        await desk.until(lambda: not desk.held(), within_s=2)
        assert desk.intents[-1].kind is OrderKind.LIMIT
        await desk.until_flat(within_s=10)

    on_exchange(tmp_path, story)


# --- late and appearing ---------------------------------------------------------------------------


@both_venues
def test_a_close_that_fills_late_is_waited_for_and_the_proof_begins_anew(
    venue: str, tmp_path: Path
) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.inject(kind="late_fill", on=desk.words.place, seconds=1.2)
        desk.press()
        await desk.until_flat(within_s=20)
        assert desk.sizes(BTC) == ["1.5"]

    on_exchange(tmp_path, story, venue=venue)


@both_venues
def test_orders_and_positions_that_appear_during_the_stop_and_after_it_are_closed_too(
    venue: str, tmp_path: Path
) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.press()
        await desk.until(lambda: not desk.held())
        desk.rest(ETH, "1", "2500")
        desk.hold(SOL, "30")
        desk.protect(SOL, "-30", "120")
        await desk.until_flat(within_s=20)
        # And again, out of nothing, when it was flat.
        desk.hold(XRP, "500")
        desk.rest(BTC, "0.1", "40000")
        await desk.until(lambda: desk.state is not EmergencyState.FLAT, within_s=10)
        await desk.until_flat(within_s=20)

    on_exchange(tmp_path, story, venue=venue)


@both_venues
def test_with_the_private_stream_down_nothing_is_missed(venue: str, tmp_path: Path) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.rest(ETH, "1", "2500")
        desk.exchange.timers.every(0.5, "cut", lambda: desk.inject(kind="cut_streams"))
        desk.press()
        await desk.until_flat(within_s=10)
        desk.hold(SOL, "30")
        await desk.until(lambda: desk.state is not EmergencyState.FLAT, within_s=10)
        await desk.until_flat(within_s=20)

    on_exchange(tmp_path, story, venue=venue)


@both_venues
def test_a_venue_that_cannot_be_reached_is_never_taken_for_flat(venue: str, tmp_path: Path) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5")
        desk.line.fail(refuses=False)
        desk.press()
        await desk.clock.sleep(45)
        assert desk.state is EmergencyState.INCOMPLETE
        desk.line.mend()
        await desk.until_flat(within_s=20)
        desk.line.fail(refuses=True)
        await desk.clock.sleep(10)
        assert desk.stop.flat_proof() is None

    on_exchange(tmp_path, story, venue=venue)


# --- hedge mode -----------------------------------------------------------------------------------


@both_venues
def test_in_hedge_mode_each_leg_is_closed_by_its_own_order(venue: str, tmp_path: Path) -> None:
    """Goal: both legs of a symbol at once, each with a side of its own, both named."""

    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5", Leg.LONG)
        desk.hold(BTC, "-0.7", Leg.SHORT)
        desk.hold(ETH, "-20", Leg.SHORT)
        desk.protect(BTC, "-1.5", "55000", Leg.LONG)
        desk.protect(BTC, "0.7", "66000", Leg.SHORT)
        desk.rest(ETH, "1", "2500", Leg.LONG)
        desk.press()
        await desk.until(lambda: desk.stop.snapshot().positions_open == 3)
        await desk.until_flat(within_s=10)
        closes = {(i.symbol, i.side, i.quantity) for i in desk.intents}
        assert closes == {
            (BTC, Side.SELL, Decimal("1.5")),
            (BTC, Side.BUY, Decimal("0.7")),
            (ETH, Side.BUY, Decimal(20)),
        }
        assert len(desk.intents) == 3
        assert all(intent.reduce_only for intent in desk.intents)
        assert desk.row(BTC, "LONG").quantity_at_trip == Decimal("1.5")
        assert desk.row(BTC, "SHORT").quantity_at_trip == Decimal("0.7")
        flat = await desk.finished()
        assert flat.positions_closed == 3

    # What our books know of a symbol may be the sum of both.
    on_exchange(
        tmp_path,
        story,
        venue=venue,
        hedged=True,
        known=(Exposure(symbol=BTC, quantity=Decimal("0.8")),),
        latency=_STEADY,
    )


def test_in_hedge_mode_a_leg_keeps_its_stop_until_it_is_closed_itself(tmp_path: Path) -> None:
    async def story(desk: ExchangeStop) -> None:
        desk.hold(BTC, "1.5", Leg.LONG)
        desk.hold(BTC, "-0.7", Leg.SHORT)
        desk.protect(BTC, "0.7", "66000", Leg.SHORT)
        await desk.clock.sleep(1)
        # The short leg's close is not taken for a while; its stop must outlive the long leg.
        desk.price(BTC, "60000")
        desk.inject(kind="error", on=desk.words.place, answer="throttled_503", times=9, skip=1)
        desk.press()
        await desk.until(lambda: len(desk.held()) == 1, within_s=5)
        [left] = desk.held()
        if left == "BTCUSDT SHORT":
            await desk.clock.sleep(0.5)
            assert list(desk.exchange.venue.books.waiting(BTC))
            assert "66000" in desk.row(BTC, "SHORT").protected
        # Alarms name the leg.
        desk.stop.pause(paused=True, reason="a look")
        await desk.clock.sleep(0.1)
        alarm = next(e for e in desk.bus.events if isinstance(e, AlarmRaised))
        assert f"with {left.replace('SHORT', 'short').replace('LONG', 'long')} open" in alarm.text
        desk.stop.pause(paused=False, reason="")
        await desk.until_flat(within_s=30)

    on_exchange(tmp_path, story, hedged=True, latency=_STEADY)
