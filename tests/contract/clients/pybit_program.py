"""pybit, unmodified, through a whole trading cycle: `PROGRAM REST STREAM CONTROL` (URLs).

Run as a process of its own, because the library's threads outlive what uses them. Prints one JSON
document of what the library returned and what its streams brought; the test compares it with the
simulator's books.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pybit._websocket_trading
import pybit.unified_trading
from pybit.exceptions import InvalidRequestError

_PATIENCE_S = 10.0
_HANG_S = 40.0
_BTC = {"category": "linear", "symbol": "BTCUSDT"}


def _control(url: str, what: str, document: object) -> None:
    body = json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/{what}", body)):
        pass


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the stream did not bring what was waited for")
        time.sleep(0.01)


def _code_of(act: Callable[[], object]) -> int:
    try:
        act()
    except InvalidRequestError as error:
        return int(error.status_code)
    return 0


def _public(http: Any) -> dict[str, Any]:
    return {
        "time": http.get_server_time()["result"],
        "instruments": http.get_instruments_info(category="linear")["result"]["list"],
        "orderbook": http.get_orderbook(**_BTC, limit=5)["result"],
        "tickers": http.get_tickers(**_BTC)["result"]["list"],
        "trades": http.get_public_trade_history(**_BTC)["result"]["list"],
    }


def _order(http: Any, **parameters: Any) -> Any:
    """An order as the venue now knows it."""
    return http.get_open_orders(**_BTC, **parameters)["result"]["list"][0]


def _orders(http: Any, control_url: str) -> dict[str, Any]:
    """Place, amend, cancel, fill, batches, reads."""
    done: dict[str, Any] = {}
    http.set_leverage(**_BTC, buyLeverage="10", sellLeverage="10")
    done["same_leverage"] = _code_of(
        lambda: http.set_leverage(**_BTC, buyLeverage="10", sellLeverage="10")
    )
    limit = {**_BTC, "side": "Buy", "orderType": "Limit"}
    done["placed"] = http.place_order(**limit, qty="0.1", price="64000", orderLinkId="pb-1")
    http.amend_order(**_BTC, orderLinkId="pb-1", qty="0.2", price="64100")
    done["amended"] = _order(http, orderLinkId="pb-1")
    http.cancel_order(**_BTC, orderLinkId="pb-1")
    done["cancelled"] = _order(http, orderLinkId="pb-1")
    done["duplicate"] = _code_of(
        lambda: http.place_order(**limit, qty="0.1", price="64000", orderLinkId="pb-1")
    )
    http.place_order(**_BTC, side="Buy", orderType="Market", qty="0.3", orderLinkId="pb-2")
    done["filled"] = _order(http, orderLinkId="pb-2")
    http.place_order(
        **_BTC, side="Sell", orderType="Limit", qty="0.1", price="65500", reduceOnly=True,
        orderLinkId="pb-3",
    )  # fmt: skip
    _control(control_url, "price", {"symbol": "BTCUSDT", "price": "65500"})
    done["maker"] = _order(http, orderLinkId="pb-3")
    http.place_order(**limit, qty="0.1", price="66000", timeInForce="PostOnly", orderLinkId="pb-4")
    done["post_only"] = _order(http, orderLinkId="pb-4")
    batch = [
        {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": qty, "price": "63000"}
        for qty in ("0.1", "0", "0.2")
    ]
    done["batch"] = http.place_batch_order(category="linear", request=batch)
    done["open"] = http.get_open_orders(category="linear", settleCoin="USDT")["result"]["list"]
    done["cancel_all"] = http.cancel_all_orders(**_BTC)["result"]
    done["refused"] = _code_of(lambda: http.place_order(**limit, qty="0.1", price="90000"))
    return done


def _conditionals(http: Any, control_url: str) -> dict[str, Any]:
    """A conditional order that is dropped, one that triggers, and the position's own stops."""
    done: dict[str, Any] = {}
    stop = {
        **_BTC,
        "side": "Sell",
        "orderType": "Market",
        "qty": "0.05",
        "triggerDirection": 2,
        "reduceOnly": True,
    }
    http.place_order(**stop, triggerPrice="61000", orderLinkId="pb-a")
    http.place_order(**stop, triggerPrice="64000", orderLinkId="pb-b")
    done["untriggered"] = _order(http, orderLinkId="pb-a")
    http.cancel_order(**_BTC, orderLinkId="pb-a")
    done["dropped"] = http.get_order_history(**_BTC, orderLinkId="pb-a")["result"]["list"][0]
    http.set_trading_stop(
        **_BTC, tpslMode="Full", positionIdx=0, stopLoss="63000", takeProfit="70000"
    )
    done["position"] = http.get_positions(**_BTC)["result"]["list"][0]
    _control(control_url, "price", {"symbol": "BTCUSDT", "price": "64000"})
    done["triggered"] = _order(http, orderLinkId="pb-b")
    _control(control_url, "price", {"symbol": "BTCUSDT", "price": "62990"})
    done["flat"] = http.get_positions(**_BTC)["result"]["list"][0]
    done["left"] = http.get_open_orders(**_BTC)["result"]["list"]
    return done


def _account(http: Any) -> dict[str, Any]:
    return {
        "wallet": http.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0],
        "executions": http.get_executions(category="linear")["result"]["list"],
        "closed": http.get_closed_pnl(**_BTC)["result"]["list"],
        "fees": http.get_fee_rates(**_BTC)["result"]["list"],
        "info": http.get_account_info()["result"],
    }


def _streams(stream_url: str) -> tuple[Any, Any, dict[str, list[Any]]]:
    keys = {"api_key": "test-key", "api_secret": "test-secret", "testnet": False}
    pybit.unified_trading.PUBLIC_WSS = f"{stream_url}/v5/public/{{CHANNEL_TYPE}}"
    pybit.unified_trading.PRIVATE_WSS = f"{stream_url}/v5/private"
    pybit._websocket_trading.TRADE_WSS = f"{stream_url}/v5/trade"
    pushed: dict[str, list[Any]] = {}

    def keep(name: str) -> Callable[[Any], None]:
        pushed[name] = []
        return pushed[name].append

    public = pybit.unified_trading.WebSocket(testnet=False, channel_type="linear")
    public.orderbook_stream(50, "BTCUSDT", keep("orderbook"))
    public.trade_stream("BTCUSDT", keep("trades"))
    public.ticker_stream("BTCUSDT", keep("tickers"))
    private = pybit.unified_trading.WebSocket(
        channel_type="private", private_auth_expire=10, **keys
    )
    _until(lambda: private.auth)
    private.order_stream(keep("order"))
    private.execution_stream(keep("execution"))
    private.position_stream(keep("position"))
    private.wallet_stream(keep("wallet"))
    trading = pybit.unified_trading.WebSocketTrading(private_auth_expire=10, **keys)
    _until(lambda: trading.auth and pushed["orderbook"])
    return private, trading, pushed


def _by_socket(trading: Any, pushed: dict[str, list[Any]]) -> list[Any]:
    """An order over the order-entry connection; the private stream tells what became of it.

    Not its callback, which the library registers only after it has sent the order.
    """
    trading.place_order(
        lambda _: None, **_BTC, side="Buy", orderType="Market", qty="0.01", orderLinkId="pb-ws"
    )

    def filled() -> list[Any]:
        rows = [row for message in pushed["order"] for row in message["data"]]
        return [
            row for row in rows if (row["orderLinkId"], row["orderStatus"]) == ("pb-ws", "Filled")
        ]

    _until(filled)
    return filled()


def main() -> None:
    # A library that hangs says where.
    faulthandler.dump_traceback_later(_HANG_S, exit=True)
    rest_url, stream_url, control_url = sys.argv[1:4]
    http = pybit.unified_trading.HTTP(testnet=False, api_key="test-key", api_secret="test-secret")
    http.endpoint = rest_url
    _, trading, pushed = _streams(stream_url)
    done: dict[str, Any] = {"public": _public(http)}
    done["orders"] = _orders(http, control_url)
    done["conditionals"] = _conditionals(http, control_url)
    done["by_socket"] = _by_socket(trading, pushed)
    done["account"] = _account(http)
    count = len(done["account"]["executions"])
    _until(lambda: sum(len(each["data"]) for each in pushed["execution"]) >= count)
    done["pushed"] = pushed
    sys.stdout.write(json.dumps(done))
    sys.stdout.flush()
    # The library's threads have no way to be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
