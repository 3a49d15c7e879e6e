"""Bybit's endpoints that we use, with the limit of each.

An account may ask so many times in any one second, endpoint by endpoint; a batch counts each of its
orders, in a pool apart from single orders. An address may ask 600 times in five seconds, whatever
it asks. What an answer's headers say of an endpoint's limit outranks this table.
"""

from __future__ import annotations

import msgspec

from engine.venues.bybit.errors import RequestKind
from engine.venues.transport.rate_limits import PoolLimit

ADDRESS = "address"
# The venue counts a second; bytes do not all travel equally fast, so we count a little more.
_WINDOW_S = 1.1
_ADDRESS_WINDOW_S = 5.1


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint; its path names its pool. Zero `per_second` is limited by address alone."""

    method: str
    path: str
    kind: RequestKind = RequestKind.READ
    per_second: int = 50
    is_signed: bool = True

    def costs(self, *, orders: int = 1) -> dict[str, int]:
        """What a request takes from each pool; `orders` is how many a batch holds."""
        return {ADDRESS: 1, self.path: orders} if self.per_second else {ADDRESS: 1}


_ORDER, _SETTING = "/v5/order", RequestKind.SETTING

TIME = Endpoint(method="GET", path="/v5/market/time", per_second=0, is_signed=False)
CONTRACTS = Endpoint(
    method="GET", path="/v5/market/instruments-info", per_second=0, is_signed=False
)
TICKERS = Endpoint(method="GET", path="/v5/market/tickers", per_second=0, is_signed=False)
PLACE = Endpoint(method="POST", path=f"{_ORDER}/create", kind=RequestKind.PLACE, per_second=10)
AMEND = Endpoint(method="POST", path=f"{_ORDER}/amend", kind=RequestKind.AMEND, per_second=10)
CANCEL = Endpoint(method="POST", path=f"{_ORDER}/cancel", kind=RequestKind.CANCEL, per_second=10)
CANCEL_ALL = Endpoint(
    method="POST", path=f"{_ORDER}/cancel-all", kind=RequestKind.CANCEL, per_second=10
)
PLACE_BATCH = Endpoint(
    method="POST", path=f"{_ORDER}/create-batch", kind=RequestKind.PLACE, per_second=10
)
AMEND_BATCH = Endpoint(
    method="POST", path=f"{_ORDER}/amend-batch", kind=RequestKind.AMEND, per_second=10
)
CANCEL_BATCH = Endpoint(
    method="POST", path=f"{_ORDER}/cancel-batch", kind=RequestKind.CANCEL, per_second=10
)
ORDERS = Endpoint(method="GET", path=f"{_ORDER}/realtime")
ENDED_ORDERS = Endpoint(method="GET", path=f"{_ORDER}/history")
EXECUTIONS = Endpoint(method="GET", path="/v5/execution/list")
POSITIONS = Endpoint(method="GET", path="/v5/position/list")
WALLET = Endpoint(method="GET", path="/v5/account/wallet-balance")
MOVEMENTS = Endpoint(method="GET", path="/v5/account/transaction-log", per_second=25)
LEVERAGE = Endpoint(method="POST", path="/v5/position/set-leverage", kind=_SETTING, per_second=10)
MODE = Endpoint(method="POST", path="/v5/position/switch-mode", kind=_SETTING, per_second=10)
STOPS = Endpoint(method="POST", path="/v5/position/trading-stop", kind=_SETTING, per_second=10)
SET_PROTECTION = Endpoint(
    method="POST", path=f"{_ORDER}/disconnected-cancel-all", kind=_SETTING, per_second=5
)
PROTECTION = Endpoint(method="GET", path="/v5/account/query-dcp-info", per_second=5)
KEY_RIGHTS = Endpoint(method="GET", path="/v5/user/query-api", per_second=10)

_ALL = (
    TIME,
    CONTRACTS,
    TICKERS,
    PLACE,
    AMEND,
    CANCEL,
    CANCEL_ALL,
    PLACE_BATCH,
    AMEND_BATCH,
    CANCEL_BATCH,
    ORDERS,
    ENDED_ORDERS,
    EXECUTIONS,
    POSITIONS,
    WALLET,
    MOVEMENTS,
    LEVERAGE,
    MODE,
    STOPS,
    SET_PROTECTION,
    PROTECTION,
    KEY_RIGHTS,
)


def pool_of(path: str, per_second: int) -> PoolLimit:
    """The limit of one endpoint: the venue counts the last second, wherever it began."""
    return PoolLimit(name=path, limit=per_second, window_s=_WINDOW_S, is_rolling=True)


POOLS = (
    PoolLimit(name=ADDRESS, limit=600, window_s=_ADDRESS_WINDOW_S, is_rolling=True),
    *(pool_of(each.path, each.per_second) for each in _ALL if each.per_second),
)

__all__ = [
    "ADDRESS",
    "AMEND",
    "AMEND_BATCH",
    "CANCEL",
    "CANCEL_ALL",
    "CANCEL_BATCH",
    "CONTRACTS",
    "ENDED_ORDERS",
    "EXECUTIONS",
    "KEY_RIGHTS",
    "LEVERAGE",
    "MODE",
    "MOVEMENTS",
    "ORDERS",
    "PLACE",
    "PLACE_BATCH",
    "POOLS",
    "POSITIONS",
    "PROTECTION",
    "SET_PROTECTION",
    "STOPS",
    "TICKERS",
    "TIME",
    "WALLET",
    "Endpoint",
    "pool_of",
]
