"""What Bybit tells everybody by REST: contracts with their filters, and mark prices. No key.

For the adapter, and for whoever trades on paper at Bybit's prices. A contract that cannot be read
is not offered, the others are. Fails as the reads of a port do.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from engine.model.errors import NotExecuted
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.venues.bybit import requests
from engine.venues.bybit.instruments import Contract, decode_contracts
from engine.venues.bybit.rest import BybitRest
from engine.venues.bybit.streams import decode_tickers


class BybitPublic:
    """Reads that need no key."""

    def __init__(self, *, rest: BybitRest) -> None:
        self._rest = rest

    async def contracts(self) -> Mapping[Symbol, Instrument]:
        """Every contract that trades now."""
        found = await self.contracts_in_full()
        return {symbol: contract.instrument for symbol, contract in found.items()}

    async def contracts_in_full(self) -> dict[Symbol, Contract]:
        """The same with what only Bybit knows of them, to the end of the list."""
        contracts: dict[Symbol, Contract] = {}
        cursor, seen = "", {""}
        while True:
            page = await self._rest.call(requests.contracts(cursor), decode_contracts)
            for contract in page.contracts:
                if contract.is_trading:
                    contracts[contract.instrument.symbol] = contract
            cursor = page.next_cursor
            if not cursor:
                return contracts
            if cursor in seen:
                raise NotExecuted("the list of contracts leads to where it came from")
            seen.add(cursor)

    async def mark(self, symbol: Symbol) -> Decimal:
        """The mark price now."""
        for ticker in await self._rest.call(requests.ticker(symbol), decode_tickers):
            if ticker.symbol == symbol and ticker.mark_price is not None:
                return ticker.mark_price
        raise NotExecuted(f"the venue has no mark of {symbol}")


__all__ = ["BybitPublic"]
