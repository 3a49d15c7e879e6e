"""Binance's endpoints that we use, with what each costs of the venue's limits.

Weight counts for each address and minute; orders count for each account, in ten seconds and in a
minute. Some reads cost far more without a symbol.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.venues.transport.rate_limits import PoolLimit

WEIGHT = "weight_1m"
ORDERS_10S = "orders_10s"
ORDERS_1M = "orders_1m"
# Until exchangeInfo has told today's; these are the documented ones.
POOLS = (
    PoolLimit(name=WEIGHT, limit=2400, window_s=60),
    PoolLimit(name=ORDERS_10S, limit=300, window_s=10),
    PoolLimit(name=ORDERS_1M, limit=1200, window_s=60),
)
# The header that tells how much of a pool is used.
USED_HEADERS = {
    WEIGHT: "x-mbx-used-weight-1m",
    ORDERS_10S: "x-mbx-order-count-10s",
    ORDERS_1M: "x-mbx-order-count-1m",
}


class Security(StrEnum):
    """What a request must carry."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint; `orders` is what it counts in ten seconds and in a minute."""

    method: str
    path: str
    weight: int = 1
    weight_without_symbol: int | None = None
    orders: tuple[int, int] = (0, 0)
    security: Security = Security.SIGNED

    def costs(self, *, with_symbol: bool) -> dict[str, int]:
        """What a request takes from each pool."""
        weight = self.weight
        if not with_symbol and self.weight_without_symbol is not None:
            weight = self.weight_without_symbol
        costs = {WEIGHT: weight, ORDERS_10S: self.orders[0], ORDERS_1M: self.orders[1]}
        # Weight is named even at no cost: whoever is banned by address waits with it.
        return {name: cost for name, cost in costs.items() if cost or name == WEIGHT}


TIME = Endpoint(method="GET", path="/fapi/v1/time", security=Security.NONE)
EXCHANGE = Endpoint(method="GET", path="/fapi/v1/exchangeInfo", security=Security.NONE)
MARK = Endpoint(
    method="GET",
    path="/fapi/v1/premiumIndex",
    weight_without_symbol=10,
    security=Security.NONE,
)
PLACE = Endpoint(method="POST", path="/fapi/v1/order", weight=0, orders=(1, 1))
CANCEL = Endpoint(method="DELETE", path="/fapi/v1/order")
CANCEL_ALL = Endpoint(method="DELETE", path="/fapi/v1/allOpenOrders")
PLACE_BATCH = Endpoint(method="POST", path="/fapi/v1/batchOrders", weight=5, orders=(5, 1))
CANCEL_BATCH = Endpoint(method="DELETE", path="/fapi/v1/batchOrders")
ORDER = Endpoint(method="GET", path="/fapi/v1/order")
OPEN_ORDERS = Endpoint(method="GET", path="/fapi/v1/openOrders", weight_without_symbol=40)
PLACE_ALGO = Endpoint(method="POST", path="/fapi/v1/algoOrder", weight=0, orders=(1, 1))
CANCEL_ALGO = Endpoint(method="DELETE", path="/fapi/v1/algoOrder")
CANCEL_ALL_ALGO = Endpoint(method="DELETE", path="/fapi/v1/algoOpenOrders")
ALGO_ORDER = Endpoint(method="GET", path="/fapi/v1/algoOrder")
OPEN_ALGO_ORDERS = Endpoint(method="GET", path="/fapi/v1/openAlgoOrders", weight_without_symbol=40)
COUNTDOWN = Endpoint(method="POST", path="/fapi/v1/countdownCancelAll", weight=10)
TRADES = Endpoint(method="GET", path="/fapi/v1/userTrades", weight=5)
INCOME = Endpoint(method="GET", path="/fapi/v1/income", weight=30)
POSITIONS = Endpoint(method="GET", path="/fapi/v3/positionRisk", weight=5)
BALANCE = Endpoint(method="GET", path="/fapi/v3/balance", weight=5)
LEVERAGE = Endpoint(method="POST", path="/fapi/v1/leverage")
MODE = Endpoint(method="GET", path="/fapi/v1/positionSide/dual", weight=30)
SET_MODE = Endpoint(method="POST", path="/fapi/v1/positionSide/dual")
OPEN_LISTEN_KEY = Endpoint(method="POST", path="/fapi/v1/listenKey", security=Security.KEY)
KEEP_LISTEN_KEY = Endpoint(method="PUT", path="/fapi/v1/listenKey", security=Security.KEY)

__all__ = [
    "ALGO_ORDER",
    "BALANCE",
    "CANCEL",
    "CANCEL_ALGO",
    "CANCEL_ALL",
    "CANCEL_ALL_ALGO",
    "CANCEL_BATCH",
    "COUNTDOWN",
    "EXCHANGE",
    "INCOME",
    "KEEP_LISTEN_KEY",
    "LEVERAGE",
    "MARK",
    "MODE",
    "OPEN_ALGO_ORDERS",
    "OPEN_LISTEN_KEY",
    "OPEN_ORDERS",
    "ORDER",
    "ORDERS_1M",
    "ORDERS_10S",
    "PLACE",
    "PLACE_ALGO",
    "PLACE_BATCH",
    "POOLS",
    "POSITIONS",
    "SET_MODE",
    "TIME",
    "TRADES",
    "USED_HEADERS",
    "WEIGHT",
    "Endpoint",
    "Security",
]
