"""Our Bybit adapter on a simulated exchange in memory: a story in simulated time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from engine.model.api_key import ApiKey
from engine.model.ids import ClientOrderId
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.reasons import Reason
from engine.model.values import Side
from engine.model.venue import Approved, StreamUpdate
from engine.runtime import Chance, Tasks
from engine.venues.bybit import BybitUserStream, BybitVenue
from engine.venues.bybit.endpoints import POOLS
from engine.venues.bybit.rest import BybitRest
from engine.venues.transport.rate_limits import RateLimits
from tests.contract.harness import BTC, ETH
from tests.simulators.in_memory import BybitDesk, on_bybit
from tests.simulators.in_memory_transport import InMemoryConnections, Line, in_memory_sockets

_STREAM_UP_S = 0.5
PLACE = "POST /v5/order/create"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The adapter, its venue, and what its stream has told."""

    venue: BybitVenue
    rest: BybitRest
    stream: BybitUserStream
    desk: BybitDesk
    line: Line
    heard: list[StreamUpdate]

    def inject(self, **rule: object) -> None:
        self.desk.inject(**rule)

    def requests(self) -> list[str]:
        """What came in to change something, oldest first."""
        return [str(each["request"]) for each in self.desk.exchange.arrivals]

    async def legs(self) -> dict[str, Decimal]:
        """What is held of BTC, by leg; `one` in one-way mode."""
        return {
            each.leg.value if each.leg else "one": each.quantity
            for each in await self.venue.positions()
        }


def intent(number: int, side: Side = Side.BUY, quantity: str = "0.1", **fields: object) -> Intent:
    """A market entry unless the fields say otherwise."""
    named: dict[str, object] = {
        "client_order_id": ClientOrderId(f"node-g1-{number}"),
        "symbol": BTC,
        "side": side,
        "kind": OrderKind.MARKET,
        "purpose": OrderPurpose.ENTRY,
        "quantity": Decimal(quantity),
        "leverage": Decimal(5),
    }
    return Intent(**(named | fields))  # type: ignore[arg-type]


def limit(number: int, price: str = "59000", **fields: object) -> Intent:
    return intent(number, kind=OrderKind.LIMIT, price=Decimal(price), **fields)


def exit_of(number: int, side: Side = Side.SELL, quantity: str = "0.1", **fields: object) -> Intent:
    return intent(number, side, quantity, reduce_only=True, purpose=OrderPurpose.EXIT, **fields)


def stop(number: int, trigger: str = "58000", side: Side = Side.SELL) -> Intent:
    return exit_of(number, side, kind=OrderKind.STOP_MARKET, trigger_price=Decimal(trigger))


def approved(what: Intent) -> Approved:
    return Approved(intent=what, policy_version=1, approved_ns=0)


def on_bybit_adapter(
    story: Callable[[Adapter], Awaitable[None]],
    *,
    hedged: bool = False,
    is_started: bool = True,
    is_dead_mans_switch: bool = False,
    patience_s: float = 5.0,
    secret: str = "test-secret",
    final_check: Callable[[Approved], tuple[Reason, ...]] = lambda approved: (),
) -> None:
    """Run a story on a fresh exchange with prices 60,000 and 3,000."""

    async def run(desk: BybitDesk) -> None:
        faults: list[str] = []
        tasks = Tasks(on_fault=lambda name, error: faults.append(f"{name}: {error!r}"))
        line = Line(clock=desk.clock, tasks=tasks, latency=None, seed=7)
        desk.price(BTC, "60000")
        desk.price(ETH, "3000")
        if hedged:
            desk.exchange.venue.set_hedged(True)
        rest = BybitRest(
            clock=desk.clock,
            key=ApiKey(key="test-key", secret=secret),
            connections=InMemoryConnections(desk.exchange, desk.clock, line=line, tasks=tasks),
            limits=RateLimits(clock=desk.clock, pools=POOLS, patience_s=patience_s),
        )
        stream = BybitUserStream(
            clock=desk.clock,
            chance=Chance(seed=1, name="delays"),
            tasks=tasks,
            rest=rest,
            stream_url="wss://nowhere",
            is_dead_mans_switch=is_dead_mans_switch,
            open_socket=in_memory_sockets(desk.exchange, desk.clock, line=line, tasks=tasks),
        )
        venue = BybitVenue(
            clock=desk.clock, rest=rest, symbols=(BTC, ETH), final_check=final_check, stream=stream
        )
        heard: list[StreamUpdate] = []
        venue.subscribe(heard.append)
        if is_started:
            await venue.start()
            stream.start()
            await desk.clock.sleep(_STREAM_UP_S)
        try:
            await story(
                Adapter(venue=venue, rest=rest, stream=stream, desk=desk, line=line, heard=heard)
            )
        finally:
            await tasks.cancel_all()
        assert not faults, faults

    on_bybit(run)


__all__ = [
    "PLACE",
    "Adapter",
    "approved",
    "exit_of",
    "intent",
    "limit",
    "on_bybit_adapter",
    "stop",
]
