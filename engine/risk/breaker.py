"""The drawdown breaker: holds entries at the soft limit, trips the emergency stop at the hard ones.

Measures: drawdown from the persisted peak, daily loss, losing trades in a row, minimum balance.
Every threshold comes from the policy at the moment of the check. Money in account currency, losses
as positive fractions. Synchronous, on the loop, called on every change of equity: a few
microseconds.

Order of things: the trip comes first and the telling after it, so that no subscriber can hold up
the stop. Each crossing is told once; it is over below the limit less 0.5 %, or after `rearm` (a
reset).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from engine.model.emergency import TripSource
from engine.model.events import (
    CircuitBreakerTriggered,
    DrawdownHardBreach,
    DrawdownSoftBreach,
    Event,
)
from engine.model.ids import Symbol
from engine.model.policy import Profile
from engine.model.values import ONE, ZERO
from engine.risk.facts import DrawdownState
from engine.runtime import Stamper

# Below a limit by this much (or by half of a limit that is smaller still) a crossing is over.
CLEAR_BELOW = Decimal("0.005")
Trip = Callable[[TripSource, str], object]


class _Crossing:
    """Remembers whether a limit is crossed, so that a crossing is told once."""

    __slots__ = ("crossed",)

    def __init__(self) -> None:
        self.crossed = False

    def begins(self, *, beyond: bool, clear: bool) -> bool:
        """True exactly when the limit is crossed now and was not before."""
        if self.crossed:
            self.crossed = not clear
            return False
        self.crossed = beyond
        return beyond


def _clear_line(limit: Decimal) -> Decimal:
    return limit - min(CLEAR_BELOW, limit / 2)


def percent(fraction: Decimal) -> str:
    """A fraction in per cent with enough digits to see a crossing, e.g. `10.03 %`."""
    return f"{fraction * 100:.2f} %"


class DrawdownBreaker:
    """Judges every new equity. `profile` is the policy's active profile now, `trip` the emergency
    stop.

    Guarantees: a hard limit that is crossed has tripped when `on_equity` returns. Does not: value
    positions, persist the peak, or decide which mark counts (`MarkFilter`).
    """

    def __init__(
        self,
        *,
        profile: Callable[[], Profile],
        trip: Trip,
        emit: Callable[[Event], object],
        stamp: Stamper,
    ) -> None:
        self._profile = profile
        self._trip = trip
        self._emit = emit
        self._stamp = stamp
        self._soft, self._hard = _Crossing(), _Crossing()
        self._daily, self._streak, self._balance = _Crossing(), _Crossing(), _Crossing()
        self._drawdown: Decimal | None = None
        self._daily_loss = ZERO
        self._blind: frozenset[Symbol] = frozenset()
        self.checks = 0

    @property
    def state(self) -> DrawdownState:
        """UNKNOWN before the first equity and while a position cannot be priced."""
        if self._blind or self._drawdown is None:
            return DrawdownState.UNKNOWN
        if self._hard.crossed:
            return DrawdownState.HARD
        return DrawdownState.SOFT if self._soft.crossed else DrawdownState.NORMAL

    @property
    def drawdown(self) -> Decimal | None:
        """The drawdown, or None while it is not known."""
        return None if self._blind else self._drawdown

    @property
    def daily_loss(self) -> Decimal:
        """Loss since the day's start, zero when it is a profit."""
        return self._daily_loss

    def set_blind(self, symbols: frozenset[Symbol]) -> None:
        """Positions that nobody can price (from `MarkWatch`)."""
        self._blind = symbols

    def rearm(self) -> None:
        """After a reset: forget every crossing, so that what is still beyond its limit trips
        again.
        """
        for crossing in (self._soft, self._hard, self._daily, self._streak, self._balance):
            crossing.crossed = False

    def on_equity(self, equity: Decimal, peak: Decimal, day_start: Decimal) -> None:
        """Judge a new equity against its peak and the equity at the day's start (midnight UTC)."""
        self.checks += 1
        limits = self._profile()
        # An equity that nothing can be divided by is lost money, not a division by zero.
        drawdown = ONE if peak <= 0 else (peak - equity) / peak if equity < peak else ZERO
        self._drawdown = drawdown
        hard, soft = limits.drawdown_hard, limits.drawdown_soft
        if drawdown >= hard or self._hard.crossed:
            self._judge_hard(drawdown, hard, equity, peak)
        if drawdown >= soft or self._soft.crossed:
            self._judge_soft(drawdown, soft, equity, peak)
        daily = ZERO
        if equity < day_start:
            daily = (day_start - equity) / day_start if day_start > 0 else ONE
        self._daily_loss = daily
        if daily >= limits.max_daily_loss or self._daily.crossed:
            self._judge_daily(daily, limits.max_daily_loss, drawdown)
        if equity < limits.min_balance or self._balance.crossed:
            self._judge_balance(equity, limits.min_balance, drawdown)

    def on_loss_streak(self, losses: int) -> None:
        """Judge the number of losing trades in a row, after each closed trade."""
        limit = self._profile().max_consecutive_losses
        beyond = limit > 0 and losses >= limit
        if self._streak.begins(beyond=beyond, clear=not beyond):
            self._trip_and_tell(
                TripSource.LOSS_STREAK,
                f"{losses} losing trades in a row, the limit is {limit}",
                metric="loss_streak",
                value=Decimal(losses),
                threshold=Decimal(limit),
            )

    def would_trip(
        self, *, equity: Decimal, peak: Decimal, day_start: Decimal, losses: int
    ) -> tuple[str, ...]:
        """Measures that would trip again at once, by the names that a reset re-bases them with.

        `min_balance` is not among the re-bases: it must change, or capital be added, first.
        """
        limits = self._profile()
        found = []
        if peak <= 0 or (peak - equity) / peak >= limits.drawdown_hard:
            found.append("peak")
        if day_start <= 0 or (day_start - equity) / day_start >= limits.max_daily_loss:
            found.append("day")
        if 0 < limits.max_consecutive_losses <= losses:
            found.append("streak")
        if equity < limits.min_balance:
            found.append("min_balance")
        return tuple(found)

    def _judge_hard(
        self, drawdown: Decimal, limit: Decimal, equity: Decimal, peak: Decimal
    ) -> None:
        if not self._hard.begins(beyond=drawdown >= limit, clear=drawdown < _clear_line(limit)):
            return
        self._trip_and_tell(
            TripSource.DRAWDOWN,
            f"drawdown {percent(drawdown)} of the peak {peak:.2f}, "
            f"the hard limit is {percent(limit)}",
            metric="drawdown",
            value=drawdown,
            threshold=limit,
        )
        self._emit(
            DrawdownHardBreach(
                **self._stamp(), drawdown=drawdown, threshold=limit, equity=equity, peak=peak
            )
        )

    def _judge_soft(
        self, drawdown: Decimal, limit: Decimal, equity: Decimal, peak: Decimal
    ) -> None:
        if self._soft.begins(beyond=drawdown >= limit, clear=drawdown < _clear_line(limit)):
            self._emit(
                DrawdownSoftBreach(
                    **self._stamp(), drawdown=drawdown, threshold=limit, equity=equity, peak=peak
                )
            )

    def _judge_daily(self, loss: Decimal, limit: Decimal, drawdown: Decimal) -> None:
        if self._daily.begins(beyond=loss >= limit, clear=loss < _clear_line(limit)):
            self._trip_and_tell(
                TripSource.DAILY_LOSS,
                f"loss of {percent(loss)} since the day's start, the limit is {percent(limit)}",
                metric="daily_loss",
                value=loss,
                threshold=limit,
            )

    def _judge_balance(self, equity: Decimal, limit: Decimal, drawdown: Decimal) -> None:
        clear = equity >= limit * (1 + CLEAR_BELOW)
        if self._balance.begins(beyond=equity < limit, clear=clear):
            self._trip_and_tell(
                TripSource.MIN_BALANCE,
                f"equity {equity:.2f} is below the minimum of {limit:.2f}",
                metric="min_balance",
                value=equity,
                threshold=limit,
            )

    def _trip_and_tell(
        self, source: TripSource, reason: str, *, metric: str, value: Decimal, threshold: Decimal
    ) -> None:
        self._trip(source, reason)
        self._emit(
            CircuitBreakerTriggered(
                **self._stamp(),
                reason=reason,
                current_drawdown=ZERO if self._drawdown is None else self._drawdown,
                max_drawdown=self._profile().drawdown_hard,
                metric=metric,
                value=value,
                threshold=threshold,
            )
        )


__all__ = ["CLEAR_BELOW", "DrawdownBreaker", "Trip", "percent"]
