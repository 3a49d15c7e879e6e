"""python-binance, unmodified, through a whole trading cycle: `PROGRAM REST STREAM CONTROL` (URLs).

Run as a process of its own, because the library keeps loops and warnings that are not ours. Prints
one JSON document of what the library returned and what its streams brought; the test compares it
with the simulator's books. This one trades in hedge mode.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from typing import Any

from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException

_BTC = {"symbol": "BTCUSDT"}
_LONG = {**_BTC, "positionSide": "LONG"}
_PATIENCE_S = 10.0


async def _control(url: str, what: str, document: object) -> None:
    def send() -> None:
        body = json.dumps(document).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/{what}", body)):
            pass

    await asyncio.to_thread(send)


async def _code_of(call: Any) -> int:
    try:
        await call
    except BinanceAPIException as error:
        return int(error.code)
    return 0


async def _orders(client: AsyncClient, control_url: str) -> dict[str, Any]:
    """Place, amend, cancel, fill, batches, reads."""
    done: dict[str, Any] = {}
    done["mode"] = await client.futures_change_position_mode(dualSidePosition="true")
    done["leverage"] = await client.futures_change_leverage(leverage=10, **_BTC)
    limit = {**_LONG, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    placed = await client.futures_create_order(
        quantity="0.1", price="64000", newClientOrderId="py-1", **limit
    )
    done["placed"] = placed
    done["amended"] = await client.futures_modify_order(
        side="BUY", orderId=placed["orderId"], quantity="0.2", price="64100", **_BTC
    )
    done["queried"] = await client.futures_get_order(origClientOrderId="py-1", **_BTC)
    done["cancelled"] = await client.futures_cancel_order(origClientOrderId="py-1", **_BTC)
    done["filled"] = await client.futures_create_order(
        **_LONG, side="BUY", type="MARKET", quantity="0.3", newOrderRespType="RESULT"
    )
    await client.futures_create_order(
        **_BTC, positionSide="SHORT", side="SELL", type="MARKET", quantity="0.1"
    )
    batch = [{**limit, "quantity": "0.1", "price": price} for price in ("63000", "1")]
    done["batch"] = await client.futures_place_batch_order(batchOrders=batch)
    done["open"] = await client.futures_get_open_orders(**_BTC)
    await _control(control_url, "price", {**_BTC, "price": "63000", "quantity": "0.04"})
    done["partly"] = await client.futures_get_order(orderId=done["batch"][0]["orderId"], **_BTC)
    done["cancel_all"] = await client.futures_cancel_all_open_orders(**_BTC)
    done["countdown"] = await client.futures_countdown_cancel_all(countdownTime=0, **_BTC)
    done["too_much"] = await _code_of(
        client.futures_create_order(**_LONG, side="SELL", type="MARKET", quantity="5")
    )
    return done


async def _conditionals(client: AsyncClient, control_url: str) -> dict[str, Any]:
    stop = {**_LONG, "side": "SELL", "type": "STOP_MARKET"}
    done: dict[str, Any] = {}
    # The library sends conditional types to the endpoint they have moved to by itself.
    done["kept"] = await client.futures_create_order(
        **stop, stopPrice="61000", closePosition="true", clientAlgoId="py-a"
    )
    done["dropped"] = await client.futures_create_order(
        **stop, stopPrice="60000", quantity="0.1", clientAlgoId="py-b"
    )
    done["open"] = await client.futures_get_open_algo_orders(**_BTC)
    done["cancelled"] = await client.futures_cancel_algo_order(clientAlgoId="py-b", **_BTC)
    await _control(control_url, "price", {**_BTC, "price": "60999"})
    done["triggered"] = await client.futures_get_algo_order(clientAlgoId="py-a")
    done["cancel_all"] = await client.futures_cancel_all_algo_open_orders(**_BTC)
    return done


async def _account(client: AsyncClient) -> dict[str, Any]:
    return {
        "positions": await client.futures_position_information(**_BTC),
        "account": await client.futures_account(),
        "balance": await client.futures_account_balance(),
        "trades": await client.futures_account_trades(**_BTC),
        "orders": await client.futures_get_all_orders(**_BTC),
        "income": await client.futures_income_history(),
        "mode": await client.futures_get_position_mode(),
        "fees": await client.futures_commission_rate(**_BTC),
        "brackets": await client.futures_leverage_bracket(),
    }


async def _take_until(socket: Any, last: str) -> list[Any]:
    """What the stream brings, up to the event of this status."""
    pushed: list[Any] = []
    while not pushed or pushed[-1].get("o", {}).get("X") != last:
        pushed.append(await asyncio.wait_for(socket.recv(), _PATIENCE_S))
    return pushed


async def _wake(client: AsyncClient) -> None:
    """The library's sockets leave when they next hear something, else after ten seconds."""
    leverage = 11
    while True:
        await client.futures_change_leverage(leverage=leverage, **_BTC)
        leverage = 21 - leverage
        await asyncio.sleep(0.05)


async def _run(rest_url: str, stream_url: str, control_url: str) -> dict[str, Any]:
    client = AsyncClient("test-key", "test-secret")
    client.FUTURES_URL = f"{rest_url}/fapi"
    streams = BinanceSocketManager(client)
    streams.FSTREAM_URL = f"{stream_url}/"
    done: dict[str, Any] = {
        "ping": await client.futures_ping(),
        "info": await client.futures_exchange_info(),
        "depth": await client.futures_order_book(limit=20, **_BTC),
        "mark": await client.futures_mark_price(**_BTC),
        "ticker": await client.futures_ticker(**_BTC),
    }
    market = ["btcusdt@aggTrade", "btcusdt@markPrice@1s"]
    public = ["btcusdt@bookTicker", "btcusdt@depth@100ms"]
    async with (
        streams.futures_user_socket() as user,
        streams.futures_multiplex_socket(market, category="market") as trades,
        streams.futures_multiplex_socket(public, category="public") as books,
    ):
        done["orders"] = await _orders(client, control_url)
        done["conditionals"] = await _conditionals(client, control_url)
        done["account"] = await _account(client)
        done["pushed"] = {
            "user": await _take_until(user, "FINISHED"),
            "market": [await asyncio.wait_for(trades.recv(), _PATIENCE_S) for _ in range(4)],
            "public": [await asyncio.wait_for(books.recv(), _PATIENCE_S) for _ in range(4)],
        }
        waking = asyncio.get_running_loop().create_task(_wake(client))
    waking.cancel()
    await client.close_connection()
    return done


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_run(*sys.argv[1:4]))))
