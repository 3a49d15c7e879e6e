"""What Binance tells everybody by REST: contracts with their filters, and mark prices. No key.

For whoever trades on paper at Binance's prices. A contract that cannot be read is not offered, the
others are. Fails as the reads of a port do.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from engine.model.errors import OutcomeUnknown
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.venues.binance import endpoints
from engine.venues.binance.decoding import ExchangeAnswer, Undecodable, number, to_instrument
from engine.venues.binance.rest import BinanceRest


class _MarkAnswer(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    mark_price: str


def perpetuals(exchange: ExchangeAnswer) -> dict[Symbol, Instrument]:
    """The perpetual contracts that trade now."""
    found: dict[Symbol, Instrument] = {}
    for answer in exchange.symbols:
        if answer.contract_type != "PERPETUAL" or answer.status != "TRADING":
            continue
        try:
            found[Symbol(answer.symbol)] = to_instrument(answer)
        except Undecodable:
            continue
    return found


class BinancePublic:
    """Reads that need no key."""

    def __init__(self, *, rest: BinanceRest) -> None:
        self._rest = rest

    async def contracts(self) -> Mapping[Symbol, Instrument]:
        """Every contract that trades now."""
        return perpetuals(await self._rest.call(endpoints.EXCHANGE, {}, ExchangeAnswer))

    async def mark(self, symbol: Symbol) -> Decimal:
        """The mark price now."""
        answer = await self._rest.call(endpoints.MARK, {"symbol": symbol}, _MarkAnswer)
        try:
            price = number(answer.mark_price, "markPrice")
        except Undecodable as error:
            raise OutcomeUnknown(f"premiumIndex: {error}") from error
        if answer.symbol != symbol or price <= 0:
            raise OutcomeUnknown(f"premiumIndex: {answer.symbol} at {price} for {symbol}")
        return price


__all__ = ["BinancePublic", "perpetuals"]
