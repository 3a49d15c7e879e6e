"""Our Binance adapter on a simulated exchange in memory: a story in simulated time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from engine.model.api_key import ApiKey
from engine.model.reasons import Reason
from engine.model.venue import Approved, StreamUpdate
from engine.runtime import Chance, Tasks
from engine.venues.binance.endpoints import POOLS
from engine.venues.binance.rest import BinanceRest
from engine.venues.binance.user_stream import BinanceUserStream
from engine.venues.binance.venue import BinanceVenue
from engine.venues.transport.rate_limits import RateLimits
from tests.contract.harness import BTC, ETH
from tests.simulators.in_memory import BinanceDesk, on_binance
from tests.simulators.in_memory_transport import InMemoryConnections, Line, in_memory_sockets

_STREAM_UP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The adapter, its venue, and what its stream has told."""

    venue: BinanceVenue
    rest: BinanceRest
    desk: BinanceDesk
    heard: list[StreamUpdate]


def on_binance_adapter(
    story: Callable[[Adapter], Awaitable[None]],
    *,
    hedged: bool = False,
    is_started: bool = True,
    final_check: Callable[[Approved], tuple[Reason, ...]] = lambda approved: (),
) -> None:
    """Run a story on a fresh exchange with prices 60,000 and 3,000."""

    async def run(desk: BinanceDesk) -> None:
        faults: list[str] = []
        tasks = Tasks(on_fault=lambda name, error: faults.append(f"{name}: {error!r}"))
        line = Line(clock=desk.clock, tasks=tasks, latency=None, seed=7)
        desk.exchange.venue.set_price(BTC, Decimal(60000))
        desk.exchange.venue.set_price(ETH, Decimal(3000))
        if hedged:
            desk.exchange.venue.set_hedged(True)
        rest = BinanceRest(
            clock=desk.clock,
            key=ApiKey(key="test-key", secret="test-secret"),
            connections=InMemoryConnections(desk.exchange, desk.clock, line=line, tasks=tasks),
            limits=RateLimits(clock=desk.clock, pools=POOLS),
        )
        stream = BinanceUserStream(
            clock=desk.clock,
            chance=Chance(seed=1, name="delays"),
            tasks=tasks,
            rest=rest,
            stream_url="wss://nowhere",
            open_socket=in_memory_sockets(desk.exchange, desk.clock, line=line, tasks=tasks),
        )
        venue = BinanceVenue(
            clock=desk.clock, rest=rest, symbols=(BTC, ETH), final_check=final_check, stream=stream
        )
        heard: list[StreamUpdate] = []
        venue.subscribe(heard.append)
        if is_started:
            await venue.start()
            stream.start()
            await desk.clock.sleep(_STREAM_UP_S)
        try:
            await story(Adapter(venue=venue, rest=rest, desk=desk, heard=heard))
        finally:
            await tasks.cancel_all()
        assert not faults, faults

    on_binance(run)


__all__ = ["Adapter", "on_binance_adapter"]
