"""Where Bybit v5 is spoken to, for real money and on its test environment.

An address of the configuration (a simulator, a proxy) takes the place of both.
"""

from __future__ import annotations

from engine.model.config import VenueSection
from engine.venues.transport.addresses import Addresses

_LIVE = Addresses(rest_url="https://api.bybit.com", stream_url="wss://stream.bybit.com")
_TESTNET = Addresses(
    rest_url="https://api-testnet.bybit.com", stream_url="wss://stream-testnet.bybit.com"
)


def bybit_addresses(section: VenueSection) -> Addresses:
    """Those that the configuration names, else the environment's own."""
    own = _LIVE if section.environment == "live" else _TESTNET
    return Addresses(
        rest_url=section.rest_url or own.rest_url, stream_url=section.stream_url or own.stream_url
    )


__all__ = ["bybit_addresses"]
