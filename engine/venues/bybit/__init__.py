"""Bybit v5, USDT perpetuals: `BybitVenue` fills the four ports, `BybitUserStream` its Streams.

Rule: what is said to the venue and what its answers mean is pure (`requests`, `accounts`,
`streams`, `errors`, `rules`, ...); `rest` and `user_stream` alone carry it.
"""

from engine.venues.bybit.user_stream import BybitUserStream
from engine.venues.bybit.venue import BybitVenue

__all__ = ["BybitUserStream", "BybitVenue"]
