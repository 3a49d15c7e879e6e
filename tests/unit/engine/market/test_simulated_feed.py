"""The simulated market: repeatable, on the grid, at its pace, with the crash that was promised."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

import pytest

from engine.market import SimulatedFeed
from engine.model.errors import ConfigurationError
from engine.model.ids import Symbol
from engine.model.instrument import paper_instrument
from engine.runtime import Chance, SimClock, SystemClock, run_simulated
from tests.fakes.market_sink import RecordingSink
from tests.waiting import eventually

SYMBOLS = tuple(Symbol(name) for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"))
START_NS = 1_700_000_000_000_000_000


def simulate(
    seconds: float,
    *,
    symbols: tuple[Symbol, ...] = SYMBOLS,
    seed: int = 1,
    scenario: str = "normal",
    start_prices: dict[Symbol, Decimal] | None = None,
) -> RecordingSink:
    async def body(clock: SimClock) -> RecordingSink:
        sink = RecordingSink()
        feed = SimulatedFeed(
            clock=clock,
            symbols=symbols,
            seed=seed,
            scenario=scenario,
            start_prices=start_prices or {},
        )
        running = asyncio.get_running_loop().create_task(feed.run(sink))
        await clock.sleep(seconds)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return sink

    return run_simulated(body, start_ns=START_NS)


def prices(sink: RecordingSink) -> dict[Symbol, list[Decimal]]:
    found: dict[Symbol, list[Decimal]] = defaultdict(list)
    for symbol, price, _, _, _ in sink.trades:
        found[symbol].append(price)
    return found


def test_the_same_seed_is_the_same_market_and_another_is_another() -> None:
    assert simulate(60).trades == simulate(60).trades
    assert simulate(60).trades != simulate(60, seed=2).trades


def test_adding_a_symbol_does_not_change_the_others() -> None:
    few = prices(simulate(60, symbols=SYMBOLS[:2]))
    assert prices(simulate(60))[SYMBOLS[0]] == few[SYMBOLS[0]]


def test_two_trades_a_second_for_each_symbol_at_the_clocks_time() -> None:
    sink = simulate(10)
    times = [ts_ns for symbol, _, _, _, ts_ns in sink.trades if symbol == SYMBOLS[3]]
    # The step at ten seconds and the end of the test fall together.
    assert times[:20] == [START_NS + step * 500_000_000 for step in range(20)]
    assert sink.quotes == []


def test_prices_and_quantities_are_on_the_instruments_grid() -> None:
    for symbol, price, quantity, _, _ in simulate(60, scenario="volatile").trades:
        instrument = paper_instrument(symbol)
        assert price % instrument.tick_size == 0
        assert quantity % instrument.quantity_step == 0
        assert price > 0
        assert quantity > 0


def test_prices_go_on_from_the_last_mark() -> None:
    mark = Decimal("70123.4")
    first = prices(simulate(1, start_prices={SYMBOLS[0]: mark}))[SYMBOLS[0]][0]
    assert abs(first - mark) / mark < Decimal("0.001")


def test_the_crash_falls_twelve_per_cent_after_ten_minutes_in_small_steps() -> None:
    for path in prices(simulate(640, scenario="crash")).values():
        before, after = path[1199], path[1261]
        assert Decimal("0.10") < (before - after) / before < Decimal("0.14")
        steps = [abs(b - a) / a for a, b in pairwise(path)]
        assert max(steps) < Decimal("0.02")
        assert abs(path[1199] - path[0]) / path[0] < Decimal("0.03")


def test_scenarios_differ_in_how_far_prices_move() -> None:
    spread = {}
    for scenario in ("calm", "normal", "volatile"):
        path = prices(simulate(1800, scenario=scenario))[SYMBOLS[0]]
        spread[scenario] = max(path) / min(path)
    assert spread["calm"] < spread["normal"] < spread["volatile"]


def test_an_unknown_scenario_names_the_field() -> None:
    clock = SimClock(start_ns=0)
    with pytest.raises(ConfigurationError, match=r"market\.scenario"):
        SimulatedFeed(clock=clock, symbols=SYMBOLS, seed=1, scenario="boom", start_prices={})


def test_its_name_says_seed_and_scenario() -> None:
    feed = SimulatedFeed(
        clock=SimClock(start_ns=0), symbols=SYMBOLS, seed=7, scenario="calm", start_prices={}
    )
    assert feed.name == "simulated (seed 7, calm)"
    assert feed.symbols == SYMBOLS


async def test_it_runs_on_the_real_clock_too() -> None:
    sink = RecordingSink()
    feed = SimulatedFeed(
        clock=SystemClock(), symbols=SYMBOLS, seed=1, scenario="calm", start_prices={}
    )
    running = asyncio.get_running_loop().create_task(feed.run(sink))
    await eventually(lambda: len(sink.trades) >= 8)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sink.trades[4][4] - sink.trades[0][4] > 400_000_000


def test_chance_is_fixed_by_seed_and_name() -> None:
    # The value is written down: a change of it would change every seeded run.
    assert Chance(seed=1, name="market BTCUSDT").random() == 0.2978840581858111
