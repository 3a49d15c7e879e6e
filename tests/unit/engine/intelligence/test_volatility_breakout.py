"""The breakout rule: its channel, its exits, its budget, and what it does on real minutes."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from engine.intelligence import BreakoutParameters, VolatilityBreakout
from engine.market import ReplayFeed, SimulatedFeed, first_ts_ns
from engine.model.ids import Symbol
from engine.model.signals import Signal
from engine.model.values import PositionSide, Side
from engine.runtime import IdSource, SimClock, run_simulated

BTC = Symbol("BTCUSDT")
SYMBOLS = tuple(Symbol(name) for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"))
NS = 1_000_000_000
SMALL = BreakoutParameters(window=4, rest_s=2, repeat_s=3, hold_s_max=10, entries_in_hand=2)
# Taker's fee, half the spread and a little impact, as a fraction of the notional of each side.
COST = Decimal("0.00056")


class Desk:
    """Fills every signal at once at the price that caused it, less costs; a tenth of equity
    each.
    """

    def __init__(self, parameters: BreakoutParameters | None = None) -> None:
        self.sides: dict[Symbol, PositionSide] = {}
        self.entries: dict[Symbol, tuple[Decimal, Decimal]] = {}
        self.signals: list[Signal] = []
        self.trips = 0
        self.equity = self.peak = Decimal(100_000)
        self.drawdown = Decimal(0)
        self.fills = True
        self.rule = VolatilityBreakout(
            ids=IdSource(seed=1),
            position_side=lambda symbol: self.sides.get(symbol, PositionSide.FLAT),
            parameters=parameters,
        )

    def on_trade(
        self,
        symbol: Symbol,
        price: Decimal,
        quantity: Decimal,
        side: Side,
        ts_ns: int,
        venue_ns: int = 0,
    ) -> None:
        signal = self.rule.on_trade(symbol, price, ts_ns)
        if signal is None:
            return
        self.signals.append(signal)
        if not self.fills:
            return
        if not signal.is_exit:
            is_long = signal.side is Side.BUY
            self.sides[symbol] = PositionSide.LONG if is_long else PositionSide.SHORT
            self.entries[symbol] = (price, self.equity / 10)
            return
        sign = 1 if self.sides.pop(symbol) is PositionSide.LONG else -1
        entry, notional = self.entries.pop(symbol)
        self.trips += 1
        self.equity += notional * (sign * (price / entry - 1) - 2 * COST)
        self.peak = max(self.peak, self.equity)
        self.drawdown = max(self.drawdown, 1 - self.equity / self.peak)

    def on_quote(
        self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int, venue_ns: int = 0
    ) -> None:
        pass

    def on_mark(self, symbol: Symbol, price: Decimal, ts_ns: int, venue_ns: int = 0) -> None:
        pass

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        pass

    def on_stream(self, stream: str, connected: bool, cause: str, gap_s: float) -> None:
        pass

    async def room(self) -> None:
        pass

    def play(self, prices: str, *, start_s: int = 0) -> list[tuple[int, Side, bool]]:
        """One price a second; which seconds made which signals."""
        found = []
        for number, text in enumerate(prices.split()):
            known = len(self.signals)
            self.on_trade(BTC, Decimal(text), Decimal(1), Side.BUY, (start_s + number) * NS)
            found += [(start_s + number, each.side, each.is_exit) for each in self.signals[known:]]
        return found


def test_it_enters_only_outside_a_full_channel_by_the_threshold() -> None:
    # Closes 100 101 100 101: channel 100..101, returns ±1 of mean 1/3, sigma about 0.94.
    assert Desk(SMALL).play("100 101 100 101 101.9") == []
    assert Desk(SMALL).play("100 101 100 101 102") == [(4, Side.BUY, False)]
    assert Desk(SMALL).play("100 101 100 101 99") == [(4, Side.SELL, False)]
    assert Desk(SMALL).play("100 101 100 110") == []


def test_a_market_that_stands_still_makes_no_signal() -> None:
    assert Desk(SMALL).play("100 100 100 100 100 101") == []


def test_it_leaves_on_the_wrong_side_of_the_middle_line() -> None:
    # At second 6 the channel is 100..102.5 with its middle at 101.25.
    found = Desk(SMALL).play("100 101 100 101 102 102.5 101.2")
    assert found == [(4, Side.BUY, False), (6, Side.SELL, True)]


def test_it_leaves_when_it_has_held_long_enough() -> None:
    rising = " ".join(str(102 + step) for step in range(14))
    found = Desk(SMALL).play(f"100 101 100 101 {rising}")
    assert found == [(4, Side.BUY, False), (15, Side.SELL, True)]


def test_it_rests_after_an_exit_and_repeats_a_signal_that_led_to_nothing() -> None:
    desk = Desk(SMALL)
    desk.fills = False
    assert [second for second, _, _ in desk.play("100 101 100 101 105 110 115 120")] == [4, 7]


def test_its_budget_is_used_up_by_positions_and_comes_back_with_time() -> None:
    zigzag = "100 101 100 101 102 103 100 100 101 100 101 100 97 96 100 100 101 100 101 100 97 96"
    desk = Desk(SMALL)
    desk.play(zigzag)
    assert desk.trips == 2
    desk.play(zigzag, start_s=30)
    assert desk.trips == 2
    desk.play(zigzag, start_s=60 + SMALL.entry_back_s)
    assert desk.trips == 3


def test_seconds_without_a_trade_close_where_the_last_one_did() -> None:
    desk = Desk(SMALL)
    desk.play("100 101 100 101")
    desk.on_trade(BTC, Decimal(102), Decimal(1), Side.BUY, 60 * NS)
    assert desk.signals == []


def test_confidence_rises_with_the_distance_and_stays_below_one() -> None:
    near, far = Desk(SMALL), Desk(SMALL)
    near.play("100 101 100 101 102")
    far.play("100 101 100 101 200")
    assert 0.5 <= near.signals[0].confidence < far.signals[0].confidence < 1.0
    assert near.signals[0].strategy == "volatility_breakout"
    assert str(near.signals[0].trace) == str(near.signals[0].id)


def test_symbols_do_not_disturb_each_other() -> None:
    desk = Desk(SMALL)
    for second, text in enumerate("100 101 100 101 102".split()):
        desk.on_trade(BTC, Decimal(text), Decimal(1), Side.BUY, second * NS)
        desk.on_trade(SYMBOLS[1], Decimal(3000), Decimal(1), Side.BUY, second * NS)
    assert [signal.symbol for signal in desk.signals] == [BTC]


@pytest.mark.parametrize("name", ["btcusdt", "ethusdt"])
def test_it_makes_at_least_ten_round_trips_on_real_calm_minutes(
    recorded_data: Path, name: str
) -> None:
    path = recorded_data / "marketdata" / f"binance_usdm_{name}_20240808_rawws.gz"

    async def body(clock: SimClock) -> Desk:
        desk = Desk()
        symbols = (Symbol(name.upper()),)
        await ReplayFeed(clock=clock, path=path, speed="max", symbols=symbols).run(desk)
        return desk

    desks = [run_simulated(body, start_ns=first_ts_ns(path)) for _ in range(2)]
    assert desks[0].trips >= 10
    assert desks[0].signals == desks[1].signals
    # Honest: it loses, and about what it pays.
    assert Decimal("0.995") < desks[0].equity / 100_000 < 1


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_first_half_hour_of_the_simulated_market_trades_soon_and_loses_little(
    seed: int,
) -> None:
    async def body(clock: SimClock) -> Desk:
        desk = Desk()
        feed = SimulatedFeed(
            clock=clock, symbols=SYMBOLS, seed=seed, scenario="normal", start_prices={}
        )
        running = asyncio.get_running_loop().create_task(feed.run(desk))
        await clock.sleep(1800)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return desk

    desk = run_simulated(body, start_ns=0)
    assert desk.signals[0].ts_ns < 60 * NS
    assert desk.drawdown < Decimal("0.02")
