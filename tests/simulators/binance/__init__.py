"""Binance USDT-M futures in its own words: REST, market and user streams, limits, error codes.

Rule: no sockets and no clock but the exchange's; decisions are the core's, words are here.
"""

from tests.simulators.binance.exchange import BinanceExchange

__all__ = ["BinanceExchange"]
