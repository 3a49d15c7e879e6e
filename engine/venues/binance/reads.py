"""What of Binance only reads: the paths that a connection which must change nothing may ask for.

Written out rather than derived, so that a new endpoint is forbidden until somebody lists it. Not
here, although they change no order: the listen keys, which are made with POST.
"""

from __future__ import annotations

from engine.venues.binance import endpoints

# Without a key.
PUBLIC_PATHS = frozenset({endpoints.TIME.path, endpoints.EXCHANGE.path, endpoints.MARK.path})
# Of the account, with its key.
ACCOUNT_PATHS = frozenset(
    {
        endpoints.ORDER.path,
        endpoints.OPEN_ORDERS.path,
        endpoints.ALGO_ORDER.path,
        endpoints.OPEN_ALGO_ORDERS.path,
        endpoints.TRADES.path,
        endpoints.INCOME.path,
        endpoints.POSITIONS.path,
        endpoints.BALANCE.path,
        endpoints.MODE.path,
    }
)
READ_PATHS = PUBLIC_PATHS | ACCOUNT_PATHS
# Under these a stream says what everybody hears.
PUBLIC_STREAM_PATHS = ("/public", "/market")

__all__ = ["ACCOUNT_PATHS", "PUBLIC_PATHS", "PUBLIC_STREAM_PATHS", "READ_PATHS"]
