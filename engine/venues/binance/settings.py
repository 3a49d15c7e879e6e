"""What is set at the venue for the account or a symbol: position mode, leverage, countdown.

Each setting that an order depends on is set, or asked for, before the order leaves; an order behind
a setting that failed has not been sent. On the loop only.
"""

from __future__ import annotations

from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import Symbol
from engine.venues.binance import endpoints
from engine.venues.binance.account import PositionMode
from engine.venues.binance.decoding import (
    CountdownAnswer,
    DoneAnswer,
    LeverageAnswer,
    ModeAnswer,
)
from engine.venues.binance.errors import NO_CHANGE_CODES
from engine.venues.binance.rest import BinanceRest
from engine.venues.transport.rate_limits import Lane


class BinanceSettings:
    """Reads and makes settings; keeps what it knows of them."""

    def __init__(self, *, rest: BinanceRest, mode: PositionMode) -> None:
        self._rest = rest
        self._mode = mode
        self._leverages: dict[Symbol, int] = {}

    async def read_mode(self, lane: Lane = Lane.READ) -> bool:
        """Whether the account holds long and short positions side by side."""
        answer = await self._rest.call(endpoints.MODE, {}, ModeAnswer, lane=lane)
        self._mode.is_hedged = answer.dual_side_position
        return answer.dual_side_position

    async def use_mode(self, *, hedged: bool) -> None:
        """Set the account's position mode; Refused while there are positions or orders."""
        try:
            await self._rest.call(
                endpoints.SET_MODE,
                {"dualSidePosition": "true" if hedged else "false"},
                DoneAnswer,
                lane=Lane.ENTRY,
            )
        except Refused as refused:
            if refused.code not in NO_CHANGE_CODES:
                raise
        self._mode.is_hedged = hedged

    async def use_leverage(self, symbol: Symbol, leverage: int) -> None:
        """Set a symbol's leverage unless it is known to be so. The entry behind it has not been
        sent, whatever becomes of this.
        """
        if self._leverages.get(symbol) == leverage:
            return
        self._leverages.pop(symbol, None)
        try:
            await self._rest.call(
                endpoints.LEVERAGE,
                {"symbol": symbol, "leverage": str(leverage)},
                LeverageAnswer,
                lane=Lane.ENTRY,
            )
        except OutcomeUnknown as error:
            raise NotExecuted(
                f"the entry was not sent: whether {symbol} has leverage {leverage} is unknown"
            ) from error
        self._leverages[symbol] = leverage

    async def count_down(self, symbol: Symbol, *, seconds: float) -> None:
        """The venue's dead-man's switch: cancel a symbol's ordinary orders unless this is called
        again in time; 0 switches it off. Positions stay, and so may conditional orders.
        """
        await self._rest.call(
            endpoints.COUNTDOWN,
            {"symbol": symbol, "countdownTime": str(round(seconds * 1000))},
            CountdownAnswer,
            lane=Lane.EXIT,
        )


__all__ = ["BinanceSettings"]
