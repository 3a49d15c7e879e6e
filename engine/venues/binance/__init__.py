"""Binance USDT-M futures: `BinanceVenue` fills the four ports, `BinanceUserStream` its Streams.

The engine does not trade on it yet: docs/known_weaknesses.md.
"""

from engine.venues.binance.user_stream import BinanceUserStream
from engine.venues.binance.venue import BinanceVenue

__all__ = ["BinanceUserStream", "BinanceVenue"]
