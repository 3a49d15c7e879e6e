"""Binance USDT-M futures: `BinanceVenue` fills the ports for entries, exits and account reads.

It has no private stream yet and the engine does not trade on it: docs/known_weaknesses.md.
"""

from engine.venues.binance.venue import BinanceVenue

__all__ = ["BinanceVenue"]
