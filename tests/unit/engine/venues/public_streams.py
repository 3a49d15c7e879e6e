"""Public streams of a simulated venue, in memory: a feed, what it pushed, and the line between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from engine.model.ids import Symbol
from engine.ports import Clock
from engine.runtime import Chance, Tasks
from engine.venues.transport.market_feed import Channel, VenueFeed
from tests.fakes.market_sink import RecordingSink
from tests.simulators.exchange import Exchange
from tests.simulators.in_memory import BinanceDesk, BybitDesk, on_binance, on_bybit
from tests.simulators.in_memory_transport import Line, in_memory_sockets
from tests.waiting import eventually

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")


class Feeding:
    """A running feed and what it told."""

    def __init__(
        self, *, exchange: Exchange, clock: Clock, channels: Sequence[Channel], tasks: Tasks
    ) -> None:
        self.exchange = exchange
        self.clock = clock
        self.sink = RecordingSink()
        self.line = Line(clock=clock, tasks=tasks)
        self.feed = VenueFeed(
            venue="simulated",
            channels=channels,
            clock=clock,
            chance=Chance(seed=1, name="feed"),
            tasks=tasks,
            open_socket=in_memory_sockets(exchange, clock, line=self.line, tasks=tasks),
        )
        tasks.spawn("feed", self.feed.run(self.sink))

    async def is_up(self) -> None:
        """Until every connection is there."""
        await eventually(lambda: len(self.exchange.sessions) == len(self.ups()))

    def ups(self) -> list[str]:
        return [name for name, connected, _, _ in self.sink.streams if connected]

    def gaps(self) -> list[tuple[str, float]]:
        """Returns after a loss: the connection's name and the length of the gap."""
        return [(name, gap_s) for name, up, _, gap_s in self.sink.streams if up and gap_s]

    def causes(self) -> list[str]:
        return [cause for _, up, cause, _ in self.sink.streams if not up]


Story = Callable[[Feeding], Awaitable[None]]


async def _told(
    exchange: Exchange, clock: Clock, channels: Sequence[Channel], story: Story
) -> None:
    faults: list[str] = []
    tasks = Tasks(on_fault=lambda name, error: faults.append(f"{name}: {error!r}"))
    feeding = Feeding(exchange=exchange, clock=clock, channels=channels, tasks=tasks)
    try:
        await clock.sleep(1.5)
        await story(feeding)
    finally:
        await tasks.cancel_all()
    assert not faults, faults


def on_binance_feed(channels: Sequence[Channel], story: Story) -> None:
    async def run(desk: BinanceDesk) -> None:
        await _told(desk.exchange, desk.clock, channels, story)

    on_binance(run)


def on_bybit_feed(channels: Sequence[Channel], story: Story) -> None:
    async def run(desk: BybitDesk) -> None:
        await _told(desk.exchange, desk.clock, channels, story)

    on_bybit(run)


__all__ = ["BTC", "ETH", "Feeding", "on_binance_feed", "on_bybit_feed"]
