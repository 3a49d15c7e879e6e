"""Indicators, chart frames and trend series: distances, forecasts, gaps."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec
import numpy as np

from console.viewmodels.appearance import Tone
from console.viewmodels.chart_frames import ChartsViewModel
from console.viewmodels.freshness import Engine
from console.viewmodels.indicators import INDICATOR_NAMES, IndicatorsViewModel
from console.viewmodels.trends import GAP_S, TrendSeries, TrendsViewModel
from engine.model.snapshots import EngineSnapshot
from tests.fakes.engine_client import running_snapshot


def seen(snapshot: EngineSnapshot, *, silent_s: float = 0.0) -> Engine:
    return Engine(snapshot=snapshot, silent_s=silent_s)


def with_queue(utilisation: float, *, at_s: float) -> EngineSnapshot:
    base = running_snapshot()
    bus = msgspec.structs.replace(base.bus, utilisation=utilisation)
    return msgspec.structs.replace(base, bus=bus, monotonic_ns=int(at_s * 1e9))


def with_drawdown(value: str | None) -> EngineSnapshot:
    base = running_snapshot()
    drawdown = None if value is None else Decimal(value)
    return msgspec.structs.replace(base, risk=msgspec.structs.replace(base.risk, drawdown=drawdown))


def test_every_bar_has_a_name_a_value_and_limits_in_order() -> None:
    states = IndicatorsViewModel().present(seen(running_snapshot()))
    assert tuple(state.name for state in states) == INDICATOR_NAMES
    for state in states:
        assert state.value
        assert list(state.ticks) == sorted(state.ticks)
        assert all(0 <= tick <= 1 for tick in state.ticks)
        assert state.tone is Tone.NEUTRAL


def test_a_crossed_limit_takes_its_tone() -> None:
    model = IndicatorsViewModel()
    tones = [
        model.present(seen(with_drawdown(value)))[0].tone for value in ("0.01", "0.05", "0.11")
    ]
    assert tones == [Tone.NEUTRAL, Tone.HIGH, Tone.CRITICAL]


def test_an_unknown_drawdown_is_unknown_and_critical() -> None:
    state = IndicatorsViewModel().present(seen(with_drawdown(None)))[0]
    assert (state.value, state.at, state.tone) == ("UNKNOWN", None, Tone.CRITICAL)


def test_a_filling_queue_says_when_it_is_full() -> None:
    """Goal: distance in time (R31). Method: 1 % a second from 10 % leaves 80 s at 20 %."""
    model = IndicatorsViewModel()
    state = None
    for second in range(11):
        snapshot = with_queue(0.10 + second / 100, at_s=second)
        state = model.present(seen(snapshot))[3]
    assert state is not None
    assert state.note == "full in 80 s"


def test_a_steady_queue_forecasts_nothing() -> None:
    model = IndicatorsViewModel()
    notes = {model.present(seen(with_queue(0.1, at_s=second)))[3].note for second in range(11)}
    assert notes == {""}


def test_without_the_engine_every_bar_is_no_data() -> None:
    states = IndicatorsViewModel().present(seen(running_snapshot(), silent_s=11))
    assert {state.value for state in states} == {"NO DATA"}
    assert {state.at for state in states} == {None}


def test_limit_lines_are_coloured_only_once_crossed() -> None:
    model = ChartsViewModel()
    calm = model.drawdown(seen(with_drawdown("0.01")))
    soft = model.drawdown(seen(with_drawdown("0.06")))
    assert [limit.is_crossed for limit in calm.limits] == [False, False]
    assert [limit.is_crossed for limit in soft.limits] == [True, False]
    assert calm.limits[0].label == "soft limit \u22125.0 %: no new positions"
    assert calm.low < -10


def test_a_worse_drawdown_than_the_hard_limit_stays_on_the_chart() -> None:
    assert ChartsViewModel().drawdown(seen(with_drawdown("0.2"))).low < -20


def test_a_hole_in_time_is_a_gap_in_the_series() -> None:
    series = TrendSeries()
    for x_s in (0.0, 1.0, 2.0, 2.0 + GAP_S + 1, 2.0 + GAP_S + 2):
        series.append(x_s, 5.0)
    xs_s, values = series.view()
    assert len(xs_s) == 6
    assert np.isnan(values).sum() == 1
    assert math.isnan(values[3])


def test_the_series_forgets_what_is_older_than_its_window() -> None:
    series = TrendSeries(window_s=100, capacity=1_000)
    for x_s in range(5_000):
        series.append(float(x_s), float(x_s))
    xs_s, values = series.view()
    assert xs_s[0] == 4_899
    assert values[-1] == 4_999
    assert len(series) == 101


def test_time_that_steps_back_starts_anew() -> None:
    series = TrendSeries()
    series.append(10.0, 1.0)
    series.append(3.0, 2.0)
    assert list(series.view()[0]) == [3.0]


def test_drops_are_marked_when_they_happen() -> None:
    trends = TrendsViewModel()
    base = with_queue(0.9, at_s=1)
    trends.take(base)
    dropped = msgspec.structs.replace(
        with_queue(0.95, at_s=2), bus=msgspec.structs.replace(base.bus, dropped=7)
    )
    trends.take(dropped)
    assert trends.drops_s == [2.0]
    assert trends.drawdown.view()[1][-1] < 0
