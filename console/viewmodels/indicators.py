"""Key indicators: each quantity as a bar with its normal band and its limits.

Each also says how far the next limit is, when it moves towards it.
Why rates are kept here: "full in 40 s" (R31) needs the movement over the last seconds, which no
single snapshot holds. Fractions are positive; positions on a bar are fractions of its full scale.
"""

from collections import deque
from decimal import Decimal
from typing import Final

from console.viewmodels.appearance import IndicatorState, Tone
from console.viewmodels.formatting import duration, money, percent
from console.viewmodels.freshness import Engine, Freshness, age_words
from engine.model.limits import BUS_CRITICAL_UTILISATION, BUS_WARNING_UTILISATION
from engine.model.snapshots import EngineSnapshot

__all__ = ["INDICATOR_NAMES", "IndicatorsViewModel"]

INDICATOR_NAMES: Final = (
    "Drawdown from peak",
    "Loss today",
    "Gross exposure",
    "Event queue",
    "Order round trip p99",
    "Loop lag p99",
)
_RATE_WINDOW_S: Final = 20.0
_RATE_MIN_S: Final = 4.0
_FORECAST_MAX_S: Final = 600.0
_HEADROOM: Final = 1.15  # A bar's full scale lies this much above its last limit.
_ROUND_TRIP_HIGH_MS: Final = 600.0
_LAG_WARN_MS: Final = 50.0
_LAG_GATE_MS: Final = 250.0


class _Rate:
    """Movement of one value over the last seconds, to say when it meets its limit."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()

    def until(self, limit: float, value: float, at_s: float) -> float | None:
        """Seconds until ``limit`` if the value goes on as it did, or None."""
        if self._points and at_s <= self._points[-1][0]:
            if at_s < self._points[-1][0]:
                self._points.clear()
        else:
            self._points.append((at_s, value))
        while self._points and at_s - self._points[0][0] > _RATE_WINDOW_S:
            self._points.popleft()
        if len(self._points) < 2 or value >= limit:
            return None
        since, before = self._points[0]
        if at_s - since < _RATE_MIN_S or value <= before:
            return None
        seconds = (limit - value) / ((value - before) / (at_s - since))
        return seconds if seconds <= _FORECAST_MAX_S else None


class IndicatorsViewModel:
    """Makes the bars from a snapshot; remembers the last seconds for the forecasts."""

    def __init__(self) -> None:
        self._queue_rate = _Rate()
        self._drawdown_rate = _Rate()

    def present(self, engine: Engine) -> tuple[IndicatorState, ...]:
        """One state per bar, in a fixed order."""
        snapshot = engine.snapshot
        market = engine.freshness
        machine = Freshness.OLD if engine.is_silent else Freshness.PLAIN
        if engine.silent_s >= 10:
            machine = Freshness.NO_DATA
        return (
            self._drawdown(engine, market),
            _daily_loss(engine, market),
            _exposure(engine, market),
            self._queue(engine, machine),
            _round_trip(snapshot, machine),
            _loop_lag(snapshot, machine),
        )

    def _drawdown(self, engine: Engine, freshness: Freshness) -> IndicatorState:
        risk = engine.snapshot.risk
        soft, hard = float(risk.drawdown_soft), float(risk.drawdown_hard)
        if risk.drawdown is None:
            return _bar("Drawdown from peak", "UNKNOWN", None, (soft, hard), tone=Tone.CRITICAL)
        value = float(risk.drawdown)
        seconds = self._drawdown_rate.until(soft, value, engine.snapshot.ts_ns / 1e9)
        note = f"soft limit in {duration(seconds)}" if seconds else ""
        return _bar(
            "Drawdown from peak",
            percent(risk.drawdown),
            value,
            (soft, hard),
            note=note or age_words(engine.market_age_s, freshness),
            freshness=freshness,
            unit_text=f"limits {percent(risk.drawdown_soft)} and {percent(risk.drawdown_hard)}",
        )

    def _queue(self, engine: Engine, freshness: Freshness) -> IndicatorState:
        bus = engine.snapshot.bus
        seconds = self._queue_rate.until(1.0, bus.utilisation, engine.snapshot.monotonic_ns / 1e9)
        note = f"full in {duration(seconds)}" if seconds else ""
        if not note and bus.dropped:
            note = f"{money(Decimal(bus.dropped), places=0)} ticks dropped"
        state = _bar(
            "Event queue",
            percent(bus.utilisation, places=0),
            bus.utilisation,
            (BUS_WARNING_UTILISATION, BUS_CRITICAL_UTILISATION),
            note=note,
            freshness=freshness,
            full_scale=1.0,
            unit_text=f"{bus.size} of {bus.capacity} events, {bus.dropped} dropped",
        )
        return state


def _bar(
    name: str,
    value: str,
    at: float | None,
    limits: tuple[float, ...],
    *,
    note: str = "",
    freshness: Freshness = Freshness.PLAIN,
    full_scale: float | None = None,
    unit_text: str = "",
    tone: Tone | None = None,
) -> IndicatorState:
    scale = full_scale or max((*limits, 1e-9)) * _HEADROOM
    if freshness is Freshness.NO_DATA:
        at, value, note = None, "NO DATA", ""
    crossed = sum(1 for limit in limits if at is not None and limit > 0 and at >= limit)
    if tone is None:
        # The last limit of several is the critical one; a single limit is high.
        tone = Tone.NEUTRAL
        if crossed:
            tone = Tone.CRITICAL if crossed == len(limits) > 1 else Tone.HIGH
    return IndicatorState(
        name=name,
        value=value,
        at=None if at is None else at / scale,
        normal_to=limits[0] / scale if limits else 1.0,
        ticks=tuple(limit / scale for limit in limits),
        tone=tone,
        is_stale=freshness is not Freshness.PLAIN,
        note=note,
        description=unit_text,
    )


def _daily_loss(engine: Engine, freshness: Freshness) -> IndicatorState:
    risk = engine.snapshot.risk
    loss = max(risk.daily_loss, Decimal(0))
    limit = float(risk.max_daily_loss)
    tone = Tone.CRITICAL if loss >= risk.max_daily_loss > 0 else None
    return _bar(
        "Loss today",
        percent(loss),
        float(loss),
        (limit,),
        freshness=freshness,
        tone=tone,
        unit_text=f"limit {percent(risk.max_daily_loss)} of the day's start",
    )


def _exposure(engine: Engine, freshness: Freshness) -> IndicatorState:
    risk = engine.snapshot.risk
    return _bar(
        "Gross exposure",
        f"{money(risk.gross_exposure)} ×",
        float(risk.gross_exposure),
        (float(risk.max_gross_exposure),),
        freshness=freshness,
        unit_text=f"limit {money(risk.max_gross_exposure)} times equity",
    )


def _round_trip(snapshot: EngineSnapshot, freshness: Freshness) -> IndicatorState:
    value = snapshot.risk.order_round_trip_ms_p99
    if value is None:
        state = _bar("Order round trip p99", "none yet", None, (_ROUND_TRIP_HIGH_MS,))
        return state
    return _bar(
        "Order round trip p99",
        f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms",
        value,
        (_ROUND_TRIP_HIGH_MS,),
        freshness=freshness,
    )


def _loop_lag(snapshot: EngineSnapshot, freshness: Freshness) -> IndicatorState:
    value = snapshot.loop_lag.p99
    return _bar(
        "Loop lag p99",
        f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms",
        value,
        (_LAG_WARN_MS, _LAG_GATE_MS),
        freshness=freshness,
        unit_text="entries are held above 250 ms",
    )
