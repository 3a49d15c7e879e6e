"""What of Bybit only reads: the paths that a connection which must change nothing may ask for.

Written out rather than derived, so that a new endpoint is forbidden until somebody lists it.
"""

from __future__ import annotations

from engine.venues.bybit import endpoints

# Without a key.
PUBLIC_PATHS = frozenset({endpoints.TIME.path, endpoints.CONTRACTS.path, endpoints.TICKERS.path})
# Of the account, with its key.
ACCOUNT_PATHS = frozenset(
    {
        endpoints.ORDERS.path,
        endpoints.ENDED_ORDERS.path,
        endpoints.EXECUTIONS.path,
        endpoints.POSITIONS.path,
        endpoints.WALLET.path,
        endpoints.MOVEMENTS.path,
        endpoints.PROTECTION.path,
        endpoints.KEY_RIGHTS.path,
    }
)
READ_PATHS = PUBLIC_PATHS | ACCOUNT_PATHS
# Under these a stream says what everybody hears.
PUBLIC_STREAM_PATHS = ("/v5/public",)

__all__ = ["ACCOUNT_PATHS", "PUBLIC_PATHS", "PUBLIC_STREAM_PATHS", "READ_PATHS"]
