"""A live engine on a simulated Binance over real sockets, with stopwatches where its bytes leave.

The market is the benchmark's own and stands still unless it is moved; the strategy is silent. What
leaves is noted in the step in which it is signed, which is the one in which it is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from time import perf_counter_ns

import msgspec

from engine.kernel import Kernel, KernelOptions, build_kernel
from engine.kernel.venue_desk import VenueTransport, network
from engine.model.config import (
    Configuration,
    EngineSection,
    MarketSection,
    NodeSection,
    PolicySection,
    RedisSection,
    VenueSection,
)
from engine.model.ids import SignalId, Symbol, TraceId
from engine.model.policy import seeded, with_changes
from engine.model.signals import Signal
from engine.model.values import Side
from engine.ports import Clock
from engine.runtime import SystemClock
from engine.venues.transport.http import Connections, HttpAnswer, Outgoing
from engine.venues.transport.rate_limits import Lane
from tests.desk import ScriptedMarket, with_feed
from tests.simulators.exchange import Settings
from tests.simulators.process import SimulatorProcess
from tests.venue_desk import ACCOUNT, Vault
from tests.waiting import eventually

__all__ = ["LiveDesk", "live_desk"]


class _Timed:
    """Connections that note when what leaves."""

    def __init__(
        self, connections: Connections, left: list[tuple[int, str]], statuses: Counter[int]
    ) -> None:
        self._connections = connections
        self._left = left
        self._statuses = statuses

    @property
    def warm_connections(self) -> int:
        return self._connections.warm_connections

    async def send(self, lane: Lane, make: Callable[[], Outgoing]) -> HttpAnswer:
        def timed() -> Outgoing:
            outgoing = make()
            self._left.append((perf_counter_ns(), f"{outgoing.method} {outgoing.target}"))
            return outgoing

        answer = await self._connections.send(lane, timed)
        self._statuses[answer.status] += 1
        return answer

    async def warm(self) -> int:
        return await self._connections.warm()

    async def keep_warm(self) -> None:
        await self._connections.keep_warm()

    async def close(self) -> None:
        await self._connections.close()


@dataclass
class LiveDesk:
    """A running engine; `left` holds each request with the moment in which it left."""

    kernel: Kernel
    market: ScriptedMarket
    left: list[tuple[int, str]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    _signals: int = 0

    def signal(self, symbol: Symbol, side: Side = Side.BUY, confidence: float = 0.9) -> None:
        self._signals += 1
        parts = self.kernel.parts
        parts.execution.signals.submit(
            Signal(
                id=SignalId(f"s-{self._signals}"),
                symbol=symbol,
                side=side,
                confidence=confidence,
                strategy="bench",
                ts_ns=parts.clock.now_ns(),
                trace=TraceId(f"s-{self._signals}"),
            )
        )

    async def open(self, symbols: tuple[Symbol, ...]) -> None:
        """A position in each, with its stop at the venue."""
        for symbol in symbols:
            self.signal(symbol)
        protection = self.kernel.parts.execution.protection
        await eventually(
            lambda: all(protection.trigger_price(symbol) is not None for symbol in symbols),
            timeout_s=60,
        )

    def refused(self) -> int:
        """Answers that refuse for asking too often."""
        return self.statuses[418] + self.statuses[429]

    def first(self, subject: str, *, since_ns: int) -> int | None:
        """When the first such request left, since then."""
        return next(
            (at for at, what in self.left if at >= since_ns and what.startswith(subject)), None
        )


@asynccontextmanager
async def live_desk(
    folder: Path,
    simulator: SimulatorProcess,
    prices: Mapping[Symbol, Decimal],
    limits: Mapping[str, str],
) -> AsyncIterator[LiveDesk]:
    """An engine that has been started, live."""
    clock, settings = SystemClock(), Settings()
    left: list[tuple[int, str]] = []
    statuses: Counter[int] = Counter()
    policy = folder / "policy.json"
    allowed = {"allow_new_trades": "true", "max_orders_per_minute": "1200", **limits}
    document = with_changes(seeded(settings.balance, live=True, ts_ns=clock.now_ns()), allowed)
    policy.write_bytes(msgspec.json.encode(document))
    kernel = await build_kernel(
        KernelOptions(
            configuration=Configuration(
                engine=EngineSection(mode="live"),
                node=NodeSection(name=ACCOUNT),
                redis=RedisSection(mode="standalone"),
                venue=VenueSection(rest_url=simulator.rest_url, stream_url=simulator.stream_url),
                market=MarketSection(symbols=tuple(prices)),
                policy=PolicySection(file=str(policy)),
            ),
            data_dir=folder / "data",
        ),
        clock=clock,
        vault=Vault(settings),
        transport=_timed(clock, left, statuses),
    )
    kernel.parts.strategy.on_trade = lambda *_: None  # type: ignore[method-assign]  # Ours alone.
    market = ScriptedMarket(clock=clock, prices=prices)
    kernel = with_feed(kernel, market)
    await kernel.start()
    try:
        await eventually(lambda: len(kernel.parts.market.last_prices()) == len(prices))
        started = await kernel.client.start(reason="bench", confirm_live=ACCOUNT)
        if not started.ok:
            raise RuntimeError(f"the engine does not start: {started.unmet}")
        yield LiveDesk(kernel=kernel, market=market, left=left, statuses=statuses)
    finally:
        await kernel.stop()


def _timed(clock: Clock, left: list[tuple[int, str]], statuses: Counter[int]) -> VenueTransport:
    real = network(clock)
    return VenueTransport(
        connections=lambda url: _Timed(real.connections(url), left, statuses),
        open_socket=real.open_socket,
    )
