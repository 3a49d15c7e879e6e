"""Bybit v5 linear in its own words: REST, public, private and order-entry streams, codes, limits.

Rule: no sockets and no clock but the exchange's; decisions are the core's, words are here.
"""

from tests.simulators.bybit.exchange import BybitExchange

__all__ = ["BybitExchange"]
