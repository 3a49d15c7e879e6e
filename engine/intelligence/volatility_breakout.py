"""A volatility breakout: buys what leaves its recent range upwards, sells what leaves it
downwards.

The rule, for each symbol, on closes of whole seconds: - the channel is highest and lowest of the
last `window` closes, sigma the standard deviation of their one-second returns (a window that did
not move has none, and makes no signal); - entry: the price is outside the channel by
`entry_sigmas` × sigma, the symbol is flat, the last exit is `rest_s` ago, and the turnover budget
is not used up; - exit: the price is back on the wrong side of the channel's middle line, or the
position is older than `hold_s_max`; - confidence: 0.5 at the threshold, rising with the distance
beyond it towards 1.

The turnover budget: each entry that became a position costs one of `entries_in_hand`, and one
comes back every `entry_back_s`. It is there because every round trip pays fees and spread.

What it is not: a source of profit. No edge is claimed or known; on recorded minutes it loses about
its costs. It exists so that the whole path from a price to a filled order is exercised by a rule
that anyone can check by hand. Statistics are floats and never become money. Deterministic; O(1) a
tick and O(window) a second. On the loop only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from math import sqrt

import msgspec

from engine.model.ids import SignalId, Symbol, TraceId
from engine.model.signals import Signal
from engine.model.values import PositionSide, Side
from engine.runtime import IdSource

_NS = 1_000_000_000
STRATEGY = "volatility_breakout"


class BreakoutParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, counts, and multiples of sigma."""

    window: int = 15
    entry_sigmas: float = 1.0
    # Distance beyond the threshold, in sigmas, at which confidence is half way from 0.5 to 1.
    confidence_sigmas: float = 3.0
    hold_s_max: int = 120
    rest_s: int = 5
    # A signal that led to nothing is given again after this long at the earliest.
    repeat_s: int = 6
    entries_in_hand: int = 15
    entry_back_s: int = 1_200


class _Market:
    """What is known of one symbol. Levels are infinite until the window is full."""

    __slots__ = (
        "budget",
        "budget_s",
        "close",
        "closes",
        "held",
        "held_since_s",
        "lower",
        "middle",
        "quiet_until_s",
        "second",
        "sigma",
        "upper",
    )

    def __init__(self, *, window: int, budget: float) -> None:
        self.closes: deque[float] = deque(maxlen=window)
        self.second = -1
        self.close = 0.0
        self.upper = float("inf")
        self.lower = float("-inf")
        self.middle = 0.0
        self.sigma = 0.0
        self.held = PositionSide.FLAT
        self.held_since_s = 0
        self.quiet_until_s = 0
        self.budget = budget
        self.budget_s = 0


class VolatilityBreakout:
    """The rule above. `position_side` tells the side that is open now, by our own books."""

    def __init__(
        self,
        *,
        ids: IdSource,
        position_side: Callable[[Symbol], PositionSide],
        parameters: BreakoutParameters | None = None,
    ) -> None:
        self._ids = ids
        self._position_side = position_side
        self._parameters = parameters or BreakoutParameters()
        self._markets: dict[Symbol, _Market] = {}

    def on_trade(self, symbol: Symbol, price: Decimal, ts_ns: int) -> Signal | None:
        """A trade of the market; the signal it leads to, if any."""
        market = self._markets.get(symbol)
        if market is None:
            settings = self._parameters
            market = _Market(window=settings.window, budget=float(settings.entries_in_hand))
            self._markets[symbol] = market
        second = ts_ns // _NS
        if second > market.second:
            self._begin_second(symbol, market, second)
        value = float(price)
        market.close = value
        if market.held is PositionSide.FLAT:
            if not market.lower <= value <= market.upper:
                return self._enter(symbol, market, value, ts_ns)
        elif second >= market.quiet_until_s:
            return self._leave(symbol, market, value, ts_ns)
        return None

    # --- once a second ---------------------------------------------------------------------------

    def _begin_second(self, symbol: Symbol, market: _Market, second: int) -> None:
        closes = market.closes
        if market.second >= 0:
            # Seconds without a trade closed where the last one did.
            missed = min(second - market.second, self._parameters.window)
            closes.extend([market.close] * missed)
        market.second = second
        self._follow_position(symbol, market, second)
        if len(closes) == self._parameters.window:
            self._draw_channel(market)

    def _follow_position(self, symbol: Symbol, market: _Market, second: int) -> None:
        """Learn from the books whether our signals became positions, and keep the budget."""
        settings = self._parameters
        market.budget = min(
            float(settings.entries_in_hand),
            market.budget + (second - market.budget_s) / settings.entry_back_s,
        )
        market.budget_s = second
        held = self._position_side(symbol)
        if held is market.held:
            return
        if held is PositionSide.FLAT:
            market.quiet_until_s = second + settings.rest_s
        else:
            market.held_since_s = second
            market.quiet_until_s = second
            if market.held is PositionSide.FLAT:
                market.budget -= 1.0
        market.held = held

    def _draw_channel(self, market: _Market) -> None:
        closes = market.closes
        high, low = max(closes), min(closes)
        total = squares = 0.0
        previous = closes[0]
        for close in closes:
            change = close - previous
            total += change
            squares += change * change
            previous = close
        steps = len(closes) - 1
        market.sigma = sigma = sqrt(max(0.0, squares / steps - (total / steps) ** 2))
        market.middle = (high + low) / 2.0
        if sigma > 0.0:
            distance = self._parameters.entry_sigmas * sigma
            market.upper, market.lower = high + distance, low - distance
        else:
            market.upper, market.lower = float("inf"), float("-inf")

    # --- signals ---------------------------------------------------------------------------

    def _enter(self, symbol: Symbol, market: _Market, value: float, ts_ns: int) -> Signal | None:
        if market.second < market.quiet_until_s or market.budget < 1.0:
            return None
        market.quiet_until_s = market.second + self._parameters.repeat_s
        beyond = max(value - market.upper, market.lower - value) / market.sigma
        confidence = 1.0 - 0.5 / (1.0 + beyond / self._parameters.confidence_sigmas)
        side = Side.BUY if value > market.upper else Side.SELL
        return self._signal(symbol, side, confidence, ts_ns, is_exit=False)

    def _leave(self, symbol: Symbol, market: _Market, value: float, ts_ns: int) -> Signal | None:
        is_long = market.held is PositionSide.LONG
        # After a restart there is a position and no channel yet.
        has_channel = market.middle > 0.0
        is_wrong = has_channel and (value < market.middle if is_long else value > market.middle)
        is_old = market.second - market.held_since_s >= self._parameters.hold_s_max
        if not (is_wrong or is_old):
            return None
        market.quiet_until_s = market.second + self._parameters.repeat_s
        return self._signal(symbol, Side.SELL if is_long else Side.BUY, 1.0, ts_ns, is_exit=True)

    def _signal(
        self, symbol: Symbol, side: Side, confidence: float, ts_ns: int, *, is_exit: bool
    ) -> Signal:
        identifier = self._ids.next("s")
        return Signal(
            id=SignalId(identifier),
            symbol=symbol,
            side=side,
            confidence=confidence,
            strategy=STRATEGY,
            ts_ns=ts_ns,
            trace=TraceId(identifier),
            is_exit=is_exit,
        )


__all__ = ["STRATEGY", "BreakoutParameters", "VolatilityBreakout"]
