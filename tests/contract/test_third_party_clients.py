"""Clients that are not ours trade on the simulators, unmodified, and the books agree with them.

Each runs in a process of its own and prints what it was answered and pushed; here that is compared
with the simulator's own books. The libraries also check: Binance's SDK reads every answer into
strict models. What is proven is the simulator, on which our own clients are then judged.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.runtime import SystemClock, Tasks
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Exchange, Settings
from tests.simulators.wire import SimulatorServer

_PROGRAMS = Path(__file__).parent / "clients"
_LIMIT_S = 50.0


class Served:
    """An exchange behind sockets, and client programs against it."""

    def __init__(self, *, exchange: Exchange, server: SimulatorServer) -> None:
        self.exchange = exchange
        self._addresses = server.addresses()

    async def run(self, program: str) -> Any:
        """Run a client's whole cycle; returns what it printed."""
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_PROGRAMS / program),
            *self._addresses.values(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, complaints = await asyncio.wait_for(client.communicate(), _LIMIT_S)
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
        assert client.returncode == 0, complaints.decode()[-3000:]
        return json.loads(said)

    @property
    def books(self) -> Any:
        return self.exchange.books()


@asynccontextmanager
async def _served(make: Callable[..., Exchange]) -> AsyncIterator[Served]:
    tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    exchange = make(clock=SystemClock(), tasks=tasks, settings=Settings())
    server = SimulatorServer(exchange=exchange, tasks=tasks)
    await server.start()
    try:
        yield Served(exchange=exchange, server=server)
    finally:
        await server.close()
        await tasks.cancel_all()


@pytest.fixture
async def binance() -> AsyncIterator[Served]:
    async with _served(BinanceExchange) as served:
        yield served


@pytest.fixture
async def bybit() -> AsyncIterator[Served]:
    async with _served(BybitExchange) as served:
        yield served


def _codes_and_states(items: list[Any]) -> list[Any]:
    return [each.get("status", each.get("code")) for each in items]


def _assert_trades_agree(trades: list[Any], books: Any) -> None:
    """The client's trades are the venue's fills, to the last digit that the wire has."""
    assert [
        (each["id"], each["orderId"], Decimal(each["qty"]), Decimal(each["price"]))
        for each in trades
    ] == [
        (
            each["execution_id"],
            each["order_id"],
            Decimal(each["quantity"]),
            Decimal(each["price"]),
        )
        for each in books["fills"]
    ]
    earned = sum(Decimal(each["realizedPnl"]) - Decimal(each["commission"]) for each in trades)
    assert Decimal(books["initial"]) + earned == Decimal(books["balance"])


def _pushed_fills(pushed: list[Any], kind: str) -> set[int]:
    if kind == "lite":
        return {each["t"] for each in pushed if "t" in each}
    return {each["o"]["t"] for each in pushed if each.get("o", {}).get("x") == "TRADE"}


@pytest.mark.timeout(60)
async def test_binances_own_sdk_trades_a_whole_cycle(binance: Served) -> None:
    done = await binance.run("binance_sdk_program.py")
    books, orders, conditionals = binance.books, done["orders"], done["conditionals"]
    assert [each["symbol"] for each in done["public"]["info"]["symbols"]][:2] == [
        "BTCUSDT",
        "ETHUSDT",
    ]
    assert orders["amended"]["origQty"] == orders["queried"]["origQty"] == "0.200"
    assert orders["cancelled"]["status"] == "CANCELED"
    assert (orders["filled"]["status"], orders["maker"]["status"]) == ("FILLED", "FILLED")
    assert _codes_and_states(orders["batch"]) == ["NEW", -2022]
    assert [each["clientOrderId"] for each in orders["open"]] == ["sdk-4"]
    assert "-4013" in orders["refused"]
    assert "-4120" in conditionals["old_endpoint"]
    assert [each["clientAlgoId"] for each in conditionals["open"]] == ["sdk-a", "sdk-b"]
    assert conditionals["triggered"]["algoStatus"] == "FINISHED"
    account = done["account"]
    _assert_trades_agree(account["trades"], books)
    assert account["positions_v3"][0]["positionAmt"] == "0.100"
    assert [each["quantity"] for each in books["positions"]] == ["0.1"]
    assert Decimal(account["balance"][0]["balance"]) == Decimal(books["balance"])
    fills = {each["execution_id"] for each in books["fills"]}
    assert _pushed_fills(done["pushed"]["user"], "whole") == fills
    assert _pushed_fills(done["pushed"]["user"], "lite") == fills
    assert all(done["pushed"].values())
    # It sent nothing that it did not tell of, and the venue knows nothing more.
    assert len(books["orders"]) == 5
    assert {each["interval"] for each in orders["rate_limits"]} == {"MINUTE", "SECOND"}


@pytest.mark.timeout(60)
async def test_python_binance_trades_a_whole_cycle_in_hedge_mode(binance: Served) -> None:
    done = await binance.run("python_binance_program.py")
    books, orders, conditionals = binance.books, done["orders"], done["conditionals"]
    assert (orders["placed"]["status"], orders["amended"]["origQty"]) == ("NEW", "0.200")
    assert orders["cancelled"]["status"] == "CANCELED"
    assert orders["filled"]["executedQty"] == "0.300"
    assert _codes_and_states(orders["batch"]) == ["NEW", -4013]
    assert (orders["partly"]["status"], orders["partly"]["executedQty"]) == (
        "PARTIALLY_FILLED",
        "0.040",
    )
    assert orders["too_much"] == -2022
    assert conditionals["cancelled"]["clientAlgoId"] == "py-b"
    assert conditionals["triggered"]["algoStatus"] == "FINISHED"
    account = done["account"]
    _assert_trades_agree(account["trades"], books)
    amounts = {each["positionSide"]: each["positionAmt"] for each in account["positions"]}
    assert amounts["SHORT"] == "-0.100"
    assert [(each["leg"], each["quantity"]) for each in books["positions"]] == [("SHORT", "-0.1")]
    assert account["mode"] == {"dualSidePosition": True}
    user = done["pushed"]["user"]
    fills = {each["execution_id"] for each in books["fills"]}
    assert _pushed_fills(user, "whole") == _pushed_fills(user, "lite") == fills
    states = [each["o"]["X"] for each in user if each["e"] == "ALGO_UPDATE"]
    assert states == ["NEW", "NEW", "CANCELED", "TRIGGERING", "TRIGGERED", "FINISHED"]
    streams = {each["stream"] for each in done["pushed"]["market"] + done["pushed"]["public"]}
    assert streams >= {"btcusdt@aggTrade", "btcusdt@bookTicker", "btcusdt@depth@100ms"}


@pytest.mark.timeout(60)
async def test_pybit_trades_a_whole_cycle(bybit: Served) -> None:
    done = await bybit.run("pybit_program.py")
    books, orders, conditionals = bybit.books, done["orders"], done["conditionals"]
    assert (orders["same_leverage"], orders["duplicate"], orders["refused"]) == (
        110043,
        110072,
        110003,
    )
    states = {
        name: orders[name]["orderStatus"]
        for name in ("amended", "cancelled", "filled", "maker", "post_only")
    }
    assert states == {
        "amended": "New",
        "cancelled": "Cancelled",
        "filled": "Filled",
        "maker": "Filled",
        "post_only": "Cancelled",
    }
    assert orders["amended"]["qty"] == "0.2"
    assert [each["code"] for each in orders["batch"]["retExtInfo"]["list"]] == [0, 10001, 0]
    assert len(orders["open"]) == len(orders["cancel_all"]["list"]) == 2
    assert conditionals["untriggered"]["orderStatus"] == "Untriggered"
    assert conditionals["dropped"]["orderStatus"] == "Deactivated"
    held = conditionals["position"]
    assert (held["side"], held["size"], held["stopLoss"]) == ("Buy", "0.2", "63000")
    assert conditionals["triggered"]["orderStatus"] == "Filled"
    # The position's own stop has closed it, and nothing of its stops is left.
    assert (conditionals["flat"]["side"], conditionals["flat"]["size"]) == ("", "0")
    assert conditionals["left"] == []
    assert [each["orderLinkId"] for each in done["by_socket"]] == ["pb-ws"]
    _assert_executions_agree(done["account"]["executions"], books)
    assert Decimal(done["account"]["wallet"]["totalWalletBalance"]) == Decimal(books["balance"])
    pushed = [row for each in done["pushed"]["execution"] for row in each["data"]]
    assert [row["execId"] for row in pushed] == [
        row["execId"] for row in reversed(done["account"]["executions"])
    ]
    assert all(done["pushed"].values())
    assert done["pushed"]["orderbook"][0]["type"] == "snapshot"


def _assert_executions_agree(executions: list[Any], books: Any) -> None:
    wire_ids = {each["order_id"]: each["wire_id"] for each in books["orders"]}
    assert [
        (each["orderId"], Decimal(each["execQty"]), Decimal(each["execPrice"]))
        for each in reversed(executions)
    ] == [
        (wire_ids[each["order_id"]], Decimal(each["quantity"]), Decimal(each["price"]))
        for each in books["fills"]
    ]
    earned = sum(Decimal(each["execPnl"]) - Decimal(each["execFee"]) for each in executions)
    assert Decimal(books["initial"]) + earned == Decimal(books["balance"])
