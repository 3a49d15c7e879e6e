"""Our Binance adapter, ready for the contract: against the simulated venue, over real sockets."""

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
from engine.venues.binance.endpoints import POOLS
from engine.venues.binance.rest import BinanceRest
from engine.venues.binance.user_stream import KEEP_ALIVE_S, BinanceUserStream
from engine.venues.binance.venue import BinanceVenue
from engine.venues.transport.http import HttpConnections
from engine.venues.transport.rate_limits import RateLimits
from tests.contract.harness import BTC, ETH, VenuePorts, VenueUnderTest
from tests.simulators.binance import BinanceExchange
from tests.simulators.exchange import Settings
from tests.simulators.faults import Fault, FaultRule
from tests.simulators.wire import SimulatorServer
from tests.waiting import eventually

# Long enough for a machine under load, for a lost answer has to be waited for.
ANSWER_TIMEOUT_S = 1.0
# Where each operation of the ports meets the venue.
_SUBJECTS = {
    "place": "POST /fapi/v1/order",
    "reduce": "POST /fapi/v1/order",
    "cancel": "DELETE /fapi/v1/order",
    "positions": "GET /fapi/v3/positionRisk",
    "open_orders": "GET /fapi/v1/openAlgoOrders",
    "order": "GET /fapi/v1/order",
    "executions": "GET /fapi/v1/userTrades",
    "balance": "GET /fapi/v3/balance",
}
_FAULTS = {
    "refuse": {"kind": Fault.ERROR, "answer": "rejected_400"},
    "not_executed": {"kind": Fault.ERROR, "answer": "unavailable_503"},
    "lost_request": {"kind": Fault.TIMEOUT_BEFORE},
    "lost_answer": {"kind": Fault.TIMEOUT_AFTER},
}


class BinanceDesk:
    """A simulated Binance on sockets, and adapters to it."""

    def __init__(self, *, exchange: BinanceExchange, server: SimulatorServer) -> None:
        self.exchange = exchange
        self.url = server.addresses()["rest_url"]
        self.stream_url = server.addresses()["stream_url"]

    def inject(self, **rule: object) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    def requests(self) -> list[str]:
        """What came in to change something, oldest first."""
        return [str(each["request"]) for each in self.exchange.arrivals]

    @asynccontextmanager
    async def adapter(
        self,
        *,
        final_check: Callable[[Approved], tuple[Reason, ...]] = lambda approved: (),
        secret: str = "test-secret",
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        patience_s: float = 5.0,
        is_started: bool = True,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> AsyncIterator[tuple[BinanceVenue, BinanceRest]]:
        clock = SystemClock()
        connections = HttpConnections(
            base_url=self.url,
            clock=clock,
            emergency_slots=4,
            ordinary_slots=4,
            answer_timeout_s=answer_timeout_s,
        )
        rest = BinanceRest(
            clock=clock,
            key=ApiKey(key="test-key", secret=secret),
            connections=connections,
            limits=RateLimits(clock=clock, pools=POOLS, patience_s=patience_s),
        )
        tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
        stream = BinanceUserStream(
            clock=clock,
            chance=Chance(seed=1, name="delays"),
            tasks=tasks,
            rest=rest,
            stream_url=self.stream_url,
            keep_alive_s=keep_alive_s,
        )
        venue = BinanceVenue(
            clock=clock, rest=rest, symbols=(BTC, ETH), final_check=final_check, stream=stream
        )
        try:
            await connections.warm()
            if is_started:
                await venue.start()
                stream.start()
                await eventually(venue.is_connected)
            yield venue, rest
        finally:
            await tasks.cancel_all()
            await connections.close()


@asynccontextmanager
async def binance_desk() -> AsyncIterator[BinanceDesk]:
    """A simulated Binance with prices 60,000 and 3,000."""
    tasks = Tasks(on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    exchange = BinanceExchange(clock=SystemClock(), tasks=tasks, settings=Settings())
    server = SimulatorServer(exchange=exchange, tasks=tasks)
    await server.start()
    exchange.venue.set_price(BTC, Decimal(60000))
    exchange.venue.set_price(ETH, Decimal(3000))
    try:
        yield BinanceDesk(exchange=exchange, server=server)
    finally:
        await server.close()
        await tasks.cancel_all()


@asynccontextmanager
async def binance_under_test(_path: Path) -> AsyncIterator[VenueUnderTest]:
    """The adapter behind the contract's harness; its restart is a new adapter."""
    async with binance_desk() as desk, AsyncExitStack() as stack:

        def check(approved: Approved) -> tuple[Reason, ...]:
            harness.checks += 1
            return tuple(harness.refuse_entries)

        def trade(symbol: Symbol, price: str) -> None:
            desk.exchange.venue.set_price(symbol, Decimal(price))

        def script(operation: str, fault: str) -> None:
            desk.inject(on=_SUBJECTS[operation], **_FAULTS[fault])

        async def start() -> VenuePorts:
            adapter = desk.adapter(final_check=check)
            venue, _ = await stack.enter_async_context(adapter)
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
            began_ns=desk.exchange.clock.now_ns() - 60_000_000_000,
        )
        harness.ports = await start()
        yield harness


__all__ = ["ANSWER_TIMEOUT_S", "BinanceDesk", "binance_desk", "binance_under_test"]
