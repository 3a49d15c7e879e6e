"""Our Bybit adapter, ready for the contract: against the simulated venue, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import cast

import msgspec
import pytest

from engine.model.api_key import ApiKey
from engine.model.ids import Symbol
from engine.model.orders import OrderState
from engine.model.reasons import Reason
from engine.model.venue import Approved
from engine.runtime import Chance, SystemClock, Tasks
from engine.venues.bybit import BybitUserStream, BybitVenue
from engine.venues.bybit.endpoints import POOLS
from engine.venues.bybit.rest import BybitRest
from engine.venues.transport.http import HttpConnections
from engine.venues.transport.rate_limits import RateLimits
from tests.contract.harness import BTC, ETH, VenuePorts, VenueUnderTest
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Settings
from tests.simulators.faults import Fault, FaultRule
from tests.simulators.wire import SimulatorServer
from tests.waiting import eventually

# Long enough for a machine under load, for a lost answer has to be waited for.
ANSWER_TIMEOUT_S = 1.0
# Where each operation of the ports meets the venue.
_SUBJECTS = {
    "place": "POST /v5/order/create",
    "reduce": "POST /v5/order/create",
    "cancel": "POST /v5/order/cancel",
    "positions": "GET /v5/position/list",
    "open_orders": "GET /v5/order/realtime",
    "order": "GET /v5/order/realtime",
    "executions": "GET /v5/execution/list",
    "balance": "GET /v5/account/wallet-balance",
}
_FAULTS = {
    "refuse": {"kind": Fault.ERROR, "answer": "rejected_10001"},
    "not_executed": {"kind": Fault.ERROR, "answer": "rate_10006"},
    "lost_request": {"kind": Fault.TIMEOUT_BEFORE},
    "lost_answer": {"kind": Fault.TIMEOUT_AFTER},
}
# What Bybit calls the contract's refusals, which are in Binance's codes.
_CODES = {
    "-4003": "10001",
    "-1111": "10001",
    "-4005": "10001",
    "-4014": "10001",
    "-4164": "110094",
    "-4028": "110013",
    "-2019": "110007",
    "-4116": "110072",
    "-2022": "110017",
    "-2021": "110092",
    "-2011": "110001",
}


class BybitDesk:
    """A simulated Bybit on sockets, and adapters to it."""

    def __init__(self, *, exchange: BybitExchange, server: SimulatorServer) -> None:
        self.exchange = exchange
        self.url = server.addresses()["rest_url"]
        self.stream_url = server.addresses()["stream_url"]

    def inject(self, **rule: object) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    @asynccontextmanager
    async def adapter(
        self, *, final_check: Callable[[Approved], tuple[Reason, ...]] = lambda approved: ()
    ) -> AsyncIterator[BybitVenue]:
        clock = SystemClock()
        connections = HttpConnections(
            base_url=self.url,
            clock=clock,
            emergency_slots=4,
            ordinary_slots=4,
            answer_timeout_s=ANSWER_TIMEOUT_S,
        )
        rest = BybitRest(
            clock=clock,
            key=ApiKey(key="test-key", secret="test-secret"),
            connections=connections,
            limits=RateLimits(clock=clock, pools=POOLS),
        )
        tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
        stream = BybitUserStream(
            clock=clock,
            chance=Chance(seed=1, name="delays"),
            tasks=tasks,
            rest=rest,
            stream_url=self.stream_url,
        )
        venue = BybitVenue(
            clock=clock, rest=rest, symbols=(BTC, ETH), final_check=final_check, stream=stream
        )
        try:
            await connections.warm()
            await venue.start()
            stream.start()
            await eventually(venue.is_connected)
            yield venue
        finally:
            await tasks.cancel_all()
            await connections.close()


@asynccontextmanager
async def bybit_desk() -> AsyncIterator[BybitDesk]:
    """A simulated Bybit with prices 60,000 and 3,000."""
    tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    exchange = BybitExchange(clock=SystemClock(), tasks=tasks, settings=Settings())
    server = SimulatorServer(exchange=exchange, tasks=tasks)
    await server.start()
    exchange.venue.set_price(BTC, Decimal(60000))
    exchange.venue.set_price(ETH, Decimal(3000))
    try:
        yield BybitDesk(exchange=exchange, server=server)
    finally:
        await server.close()
        await tasks.cancel_all()


@asynccontextmanager
async def bybit_under_test(_path: Path) -> AsyncIterator[VenueUnderTest]:
    """The adapter behind the contract's harness; its restart is a new adapter."""
    async with bybit_desk() as desk, AsyncExitStack() as stack:

        def check(approved: Approved) -> tuple[Reason, ...]:
            harness.checks += 1
            return tuple(harness.refuse_entries)

        def trade(symbol: Symbol, price: str) -> None:
            desk.exchange.venue.set_price(symbol, Decimal(price))

        def script(operation: str, fault: str) -> None:
            desk.inject(on=_SUBJECTS[operation], **_FAULTS[fault])

        async def start() -> VenuePorts:
            venue = await stack.enter_async_context(desk.adapter(final_check=check))
            venue.subscribe(harness.heard.append)
            return venue

        async def restart() -> None:
            await stack.aclose()
            harness.ports = await start()

        harness = VenueUnderTest(
            ports=cast(VenuePorts, None),  # Started below: it reports to the harness.
            trade=trade,
            script=script,
            disconnect=lambda: desk.inject(kind=Fault.CUT_STREAMS),
            reconnect=lambda: None,  # By itself, after a second.
            restart=restart,
            fills_at_touch=True,
            idle_stop_ends=OrderState.REJECTED,
            overlong_close_ends=OrderState.FILLED,
            ids_are_for_ever=True,
            codes=_CODES,
            began_ns=desk.exchange.clock.now_ns() - 60_000_000_000,
        )
        harness.ports = await start()
        yield harness


__all__ = ["BybitDesk", "bybit_desk", "bybit_under_test"]
