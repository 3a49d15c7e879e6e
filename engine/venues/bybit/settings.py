"""Settings of a Bybit account: leverage, position mode, a position's own stops, disconnection.

Each is as it was asked for when the call returns: "not modified" is success. A symbol's leverage is
set when it needs another than it last had from us; a change made elsewhere goes unseen. Protection
against disconnection is the venue's dead-man's switch: it cancels futures orders, never positions,
and only for accounts that Bybit has enabled it for.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.venues.bybit import requests
from engine.venues.bybit.account import CURRENCY, BybitAccount, PositionModes
from engine.venues.bybit.accounts import decode_protection
from engine.venues.bybit.rest import BybitRest
from engine.venues.transport.rate_limits import Lane

_NOT_PERMITTED = "10005"


class BybitSettings:
    """Reads and changes them."""

    def __init__(self, *, rest: BybitRest, account: BybitAccount, modes: PositionModes) -> None:
        self._rest = rest
        self._account = account
        self._modes = modes
        self._leverages: dict[Symbol, Decimal] = {}

    async def use_leverage(self, symbol: Symbol, leverage: Decimal) -> None:
        """Set a symbol's leverage unless it is known to be so. The entry behind it has not been
        sent, whatever becomes of this.
        """
        if self._leverages.get(symbol) == leverage:
            return
        self._leverages.pop(symbol, None)
        request = requests.set_leverage(symbol, leverage)
        try:
            await self._rest.call(request, _done, lane=Lane.ENTRY)
        except OutcomeUnknown as error:
            raise NotExecuted(
                f"the entry was not sent: whether {symbol} has leverage {leverage} is unknown"
            ) from error
        self._leverages[symbol] = leverage

    # --- position mode ---------------------------------------------------------------------------

    async def read_modes(self, symbols: Iterable[Symbol]) -> None:
        """Learn the mode of these symbols; the first one's is taken for all that nobody asked
        for.
        """
        for number, symbol in enumerate(symbols):
            is_hedged = await self._account.is_hedged(symbol)
            if not number:
                self._modes.set_all(is_hedged=is_hedged)
            self._modes.set(symbol, is_hedged=is_hedged)

    async def use_mode(self, *, hedged: bool) -> None:
        """Set every USDT contract to one mode; Refused while there are positions or orders."""
        request = requests.set_position_mode(CURRENCY, is_hedged=hedged)
        await self._rest.call(request, _done, lane=Lane.ENTRY)
        self._modes.set_all(is_hedged=hedged)

    # --- a position's own stops ------------------------------------------------------------------

    async def set_stops(
        self,
        symbol: Symbol,
        *,
        position_side: Side,
        stop_loss: Decimal | None = None,
        take_profit: Decimal | None = None,
    ) -> None:
        """Stops that close the whole position, long on BUY; zero takes one away, None leaves it."""
        request = requests.trading_stop(
            symbol,
            position_side=position_side,
            stop_loss=stop_loss,
            take_profit=take_profit,
            is_hedged=self._modes.is_hedged(symbol),
        )
        await self._rest.call(request, _done, lane=Lane.EXIT)

    # --- disconnection ---------------------------------------------------------------------------

    async def protection_s(self) -> int | None:
        """How long the watched streams may be gone; None where Bybit has not enabled it."""
        try:
            return await self._rest.call(requests.protection(), decode_protection)
        except Refused as refused:
            if refused.code == _NOT_PERMITTED:
                return None
            raise

    async def set_protection(self, window_s: int) -> None:
        """Change the window (3 to 300 s); it takes some ten seconds to apply. Refused for an
        account that Bybit has not enabled it for.
        """
        await self._rest.call(requests.set_protection(window_s), _done, lane=Lane.EXIT)


def _done(_body: bytes) -> None:
    """The envelope has said it already."""


__all__ = ["BybitSettings"]
