"""Binance's own SDK, unmodified, through a whole trading cycle: `PROGRAM REST_URL STREAM_URL
CONTROL_URL`.

Run as a process of its own, because the library's threads, loops and warnings are not ours. Prints
one JSON document of what the library returned and what its streams brought; the test compares it
with the simulator's books. The library checks every answer against its own models, strictly.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketStreams
from binance_common.errors import Error
from binance_sdk_derivatives_trading_usds_futures import derivatives_trading_usds_futures as sdk
from binance_sdk_derivatives_trading_usds_futures.rest_api.models import enums

_PATIENCE_S = 10.0


def _control(url: str, what: str, document: object) -> None:
    body = json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/{what}", body)):
        pass


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(int(_PATIENCE_S / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError("the stream did not bring what was waited for")


def _plain(data: Any) -> Any:
    if isinstance(data, list):
        return [_plain(each) for each in data]
    return data.to_dict() if hasattr(data, "to_dict") else data


def _code_of(act: Callable[[], object]) -> str:
    """What the library raises: its class and the venue's words."""
    try:
        act()
    except Error as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def _public(rest: Any) -> dict[str, Any]:
    return {
        "time": _plain(rest.check_server_time().data()),
        "info": _plain(rest.exchange_information().data()),
        "depth": _plain(rest.order_book("BTCUSDT", limit=20).data()),
        "mark": _plain(rest.mark_price("BTCUSDT").data()),
        "book_ticker": _plain(rest.symbol_order_book_ticker("BTCUSDT").data()),
        "ticker_24h": _plain(rest.ticker24hr_price_change_statistics("BTCUSDT").data()),
        "trades": _plain(rest.recent_trades_list("BTCUSDT").data()),
    }


def _orders(rest: Any, control_url: str) -> dict[str, Any]:
    """Place, amend, cancel, fill, batches, reads."""
    buy, sell = enums.NewOrderSideEnum.BUY, enums.NewOrderSideEnum.SELL
    limit, market = enums.NewOrderTypeEnum.LIMIT, enums.NewOrderTypeEnum.MARKET
    gtc = enums.NewOrderTimeInForceEnum.GTC
    result = enums.NewOrderNewOrderRespTypeEnum.RESULT
    done: dict[str, Any] = {}
    done["leverage"] = _plain(rest.change_initial_leverage("BTCUSDT", 10).data())
    placed = rest.new_order(
        "BTCUSDT", buy, limit, time_in_force=gtc, quantity=0.1, price=64000.0,
        new_client_order_id="sdk-1",
    )  # fmt: skip
    done["rate_limits"] = [vars(each) for each in placed.rate_limits]
    done["placed"] = _plain(placed.data())
    modify_buy = enums.ModifyOrderSideEnum.BUY
    done["amended"] = _plain(
        rest.modify_order("BTCUSDT", modify_buy, 0.2, 64100.0, orig_client_order_id="sdk-1").data()
    )
    done["queried"] = _plain(rest.query_order("BTCUSDT", orig_client_order_id="sdk-1").data())
    done["cancelled"] = _plain(rest.cancel_order("BTCUSDT", orig_client_order_id="sdk-1").data())
    done["filled"] = _plain(
        rest.new_order(
            "BTCUSDT", buy, market, quantity=0.3, new_order_resp_type=result,
            new_client_order_id="sdk-2",
        ).data()
    )  # fmt: skip
    rest.new_order(
        "BTCUSDT", sell, limit, time_in_force=gtc, quantity=0.1, price=65500.0,
        new_client_order_id="sdk-3", reduce_only=enums.NewOrderReduceOnlyEnum.TRUE,
    )  # fmt: skip
    _control(control_url, "price", {"symbol": "BTCUSDT", "price": "65500"})
    done["maker"] = _plain(rest.query_order("BTCUSDT", orig_client_order_id="sdk-3").data())
    done["batch"] = _plain(
        rest.place_multiple_orders(
            [
                {"symbol": "ETHUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
                 "quantity": "0.5", "price": "3000", "newClientOrderId": "sdk-4"},
                {"symbol": "ETHUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.5",
                 "reduceOnly": "true"},
            ]
        ).data()
    )  # fmt: skip
    done["open"] = _plain(rest.current_all_open_orders().data())
    done["cancel_all"] = _plain(rest.cancel_all_open_orders("ETHUSDT").data())
    done["countdown"] = _plain(rest.auto_cancel_all_open_orders("BTCUSDT", 60000).data())
    done["refused"] = _code_of(
        lambda: rest.new_order("BTCUSDT", buy, limit, time_in_force=gtc, quantity=0.1, price=1.0)
    )
    return done


def _conditionals(rest: Any, control_url: str) -> dict[str, Any]:
    conditional = enums.NewAlgoOrderAlgoTypeEnum.CONDITIONAL
    sell = enums.NewAlgoOrderSideEnum.SELL
    stop = enums.NewAlgoOrderTypeEnum.STOP_MARKET
    done: dict[str, Any] = {}
    done["old_endpoint"] = _code_of(
        lambda: rest.new_order(
            "BTCUSDT", enums.NewOrderSideEnum.SELL, enums.NewOrderTypeEnum.STOP_MARKET, quantity=0.1
        )
    )
    for name, price in (("sdk-a", 63000.0), ("sdk-b", 62000.0)):
        done[name] = _plain(
            rest.new_algo_order(
                conditional, "BTCUSDT", sell, stop, quantity=0.1, trigger_price=price,
                client_algo_id=name, reduce_only=enums.NewAlgoOrderReduceOnlyEnum.TRUE,
            ).data()
        )  # fmt: skip
    done["open"] = _plain(rest.current_all_algo_open_orders(symbol="BTCUSDT").data())
    done["cancelled"] = _plain(rest.cancel_algo_order(client_algo_id="sdk-b").data())
    _control(control_url, "price", {"symbol": "BTCUSDT", "price": "62990"})
    done["triggered"] = _plain(rest.query_algo_order(client_algo_id="sdk-a").data())
    done["all"] = _plain(rest.query_all_algo_orders("BTCUSDT").data())
    done["cancel_all"] = _plain(rest.cancel_all_algo_open_orders("BTCUSDT").data())
    return done


def _account(rest: Any) -> dict[str, Any]:
    return {
        "positions_v2": _plain(rest.position_information_v2("BTCUSDT").data()),
        "positions_v3": _plain(rest.position_information_v3("BTCUSDT").data()),
        "account_v2": _plain(rest.account_information_v2().data()),
        "account_v3": _plain(rest.account_information_v3().data()),
        "balance": _plain(rest.futures_account_balance_v3().data()),
        "trades": _plain(rest.account_trade_list("BTCUSDT").data()),
        "orders": _plain(rest.all_orders("BTCUSDT").data()),
        "income": _plain(rest.get_income_history().data()),
        "fees": _plain(rest.user_commission_rate("BTCUSDT").data()),
        "mode": _plain(rest.get_current_position_mode().data()),
        "brackets": _plain(rest.notional_and_leverage_brackets().data()),
        "configuration": _plain(rest.futures_account_configuration().data()),
        "symbols": _plain(rest.symbol_configuration("BTCUSDT").data()),
        "order_limits": _plain(rest.query_user_rate_limit().data()),
    }


async def _run(rest_url: str, stream_url: str, control_url: str) -> dict[str, Any]:
    client = sdk.DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(
            api_key="test-key", api_secret="test-secret", base_path=rest_url, timeout=5000
        ),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=stream_url),
    )
    rest = client.rest_api
    listen_key = rest.start_user_data_stream().data().listen_key
    done: dict[str, Any] = {"listen_key": listen_key, "public": _public(rest)}
    connection = await client.websocket_streams.create_connection()
    pushed: dict[str, list[Any]] = {"user": [], "trades": [], "marks": [], "books": [], "depth": []}

    def keep(name: str) -> Callable[[Any], None]:
        return lambda data: pushed[name].append(_plain(getattr(data, "actual_instance", data)))

    for name, stream in (
        ("user", await connection.user_data(listen_key)),
        ("trades", await connection.aggregate_trade_streams(symbol="btcusdt")),
        ("marks", await connection.mark_price_stream(symbol="btcusdt")),
        ("books", await connection.individual_symbol_book_ticker_streams(symbol="btcusdt")),
        ("depth", await connection.diff_book_depth_streams(symbol="btcusdt")),
    ):
        stream.on("message", keep(name))
    done["orders"] = await asyncio.to_thread(_orders, rest, control_url)
    done["conditionals"] = await asyncio.to_thread(_conditionals, rest, control_url)
    done["account"] = await asyncio.to_thread(_account, rest)
    finished = lambda: any("FINISHED" in json.dumps(each) for each in pushed["user"])  # noqa: E731
    await _until(lambda: finished() and all(pushed.values()))
    done["kept_alive"] = _plain(rest.keepalive_user_data_stream().data())
    done["pushed"] = pushed
    await connection.close_connection(close_session=True)
    rest.close_user_data_stream()
    return done


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_run(*sys.argv[1:4])), default=str))
