"""Market frames a second from socket to event: the whole feed, on recorded frames.

Ours: a `VenueFeed` on Binance's reader into the market hub and a real bus: one event a trade, and
each quote where the paper venue deals at it. Baseline: the same frames from the same server (a
process of its own) read with `websockets` and decoded by msgspec into typed structs, and nothing
done with them. The frames are those of a recorded stream: best quotes as they came, trades told as
the aggregate trades that the feed subscribes to.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from time import perf_counter

import msgspec
from websockets.asyncio.client import connect

from engine.bus import EventBus
from engine.kernel.market_hub import MarketHub
from engine.model.config import PaperSection
from engine.model.errors import OperatorMessage
from engine.model.events import Event, MarketTick
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.runtime import Chance, IdSource, Stamper, SystemClock, Tasks, read_stopwatch_ns
from engine.venues.binance.market_stream import QUOTE_SILENCE_S, BinanceMarketReader
from engine.venues.paper.pricing import Prices
from engine.venues.transport.market_feed import Channel, VenueFeed
from tests.benchmarks.figures import Bar, Effort, Figure, alternate_async

__all__ = ["measure"]

_SYMBOL = Symbol("BTCUSDT")
_RECORDED = "marketdata/binance_usdm_btcusdt_20240808_rawws.gz"
_FRAMES = 80_000
_SHARE_LEAST = 0.7
# Of a trade of our own at the end, by which it is known.
_LAST_PRICE = Decimal("0.01")
_LAST = (
    '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"0.01",'
    '"q":"1","f":1,"l":1,"T":1,"m":true}}'
)
_TRADE = re.compile(r'"e":"trade"(.*)"t":(\d+)')


class _Trade(msgspec.Struct, tag_field="e", tag="aggTrade"):
    s: str
    p: Decimal
    q: Decimal
    T: int
    m: bool


class _Quote(msgspec.Struct, tag_field="e", tag="bookTicker"):
    s: str
    b: Decimal
    a: Decimal
    T: int


class _Envelope(msgspec.Struct):
    data: _Trade | _Quote


class _PaperPrices:
    """What the paper venue does with each price while nothing of ours rests or is held."""

    def __init__(self) -> None:
        self._prices = Prices(settings=PaperSection())

    def on_trade(
        self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
    ) -> None:
        self._prices.last[symbol] = price

    def on_quote(self, symbol: Symbol, bid: Decimal, ask: Decimal, ts_ns: int) -> None:
        self._prices.quotes[symbol] = (bid, ask)

    def on_price(self, symbol: Symbol, price: Decimal, ts_ns: int) -> None:
        self._prices.last[symbol] = price

    def on_funding(self, symbol: Symbol, rate: Decimal, due_ns: int) -> None:
        """None is due."""


class _Hub(MarketHub):
    """The hub, and whether the last frame has come to it."""

    def __init__(self, *, bus: EventBus, clock: SystemClock, stamper: Stamper) -> None:
        super().__init__(bus=bus, clock=clock, stamper=stamper, venue=_PaperPrices())
        self.done = asyncio.Event()

    def on_trade(
        self,
        symbol: Symbol,
        price: Decimal,
        quantity: Decimal,
        side: Side,
        ts_ns: int,
        venue_ns: int = 0,
    ) -> None:
        super().on_trade(symbol, price, quantity, side, ts_ns, venue_ns)
        if price == _LAST_PRICE:
            self.done.set()


def measure(effort: Effort) -> Figure:
    frames = _frames(effort.count(_FRAMES, least=500))
    trades = sum('"aggTrade"' in frame for frame in frames)
    ours, bare = asyncio.run(_both(frames, effort.rounds))
    share = sorted(ours)[len(ours) // 2] / sorted(bare)[len(bare) // 2]
    bar = Bar(f"{share:.0%} of bare, at least {_SHARE_LEAST:.0%}", share >= _SHARE_LEAST)
    return Figure(
        name="feed_decode",
        unit="frames/s",
        better="higher",
        ours=ours,
        baseline_name="websockets + msgspec, nothing done with it",
        baseline=bare,
        bars=[bar] if effort.is_full else [],
        notes=[f"{len(frames):,} recorded frames, {trades:,} of them trades"],
    )


def _frames(count: int) -> list[str]:
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("SEAWALL_TEST_DATA", str(root.parent / "shared")))
    path = folder / _RECORDED
    if not path.exists():
        raise OperatorMessage(f"feed_decode: no recorded frames at {path}; set SEAWALL_TEST_DATA")
    frames: list[str] = []
    with gzip.open(path, "rt") as file:
        for line in file:
            frame = line.partition(" ")[2].strip()
            if '"e":"trade"' in frame:
                frame = _TRADE.sub(r'"e":"aggTrade"\1"a":\2,"f":\2,"l":\2', frame)
            elif '"e":"bookTicker"' not in frame:
                continue
            frames.append(frame)
            if len(frames) == count:
                break
    return [*frames, _LAST]


async def _both(frames: Sequence[str], rounds: int) -> list[list[float]]:
    async with _served(frames) as port:
        address = f"ws://127.0.0.1:{port}"

        async def ours() -> float:
            return len(frames) / await _through_the_feed(address)

        async def bare() -> float:
            return len(frames) / await _bare(address, len(frames))

        return await alternate_async(rounds, ours, bare)


@asynccontextmanager
async def _served(frames: Sequence[str]) -> AsyncIterator[int]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames"
        file.write_text("\n".join(frames))
        command = [sys.executable, "-m", "tests.benchmarks.frames_server", str(file)]
        server = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            yield int(await server.stdout.readline())
        finally:
            server.terminate()
            await server.wait()


async def _through_the_feed(address: str) -> float:
    clock = SystemClock()
    stamper = Stamper(clock=clock, ids=IdSource(), source="bench")
    bus = EventBus(clock=clock, stopwatch=read_stopwatch_ns, log=None, stamper=stamper)
    heard: list[Event] = []
    bus.subscribe(heard.append, types=(MarketTick,), name="listener")
    hub = _Hub(bus=bus, clock=clock, stamper=stamper)
    channel = Channel(
        name="recorded",
        address=address,
        symbols=(_SYMBOL,),
        open_reader=lambda sink, clock: BinanceMarketReader(
            sink=sink, clock=clock, symbols=(_SYMBOL,)
        ),
        silence_max_s=QUOTE_SILENCE_S,
    )
    faults: list[str] = []
    tasks = Tasks(on_fault=lambda name, error: faults.append(f"{name}: {error!r}"))
    feed = VenueFeed(
        venue="recorded",
        channels=(channel,),
        clock=clock,
        chance=Chance(seed=1, name="feed"),
        tasks=tasks,
    )
    began = perf_counter()
    tasks.spawn("feed", feed.run(hub))
    await hub.done.wait()
    took = perf_counter() - began
    await tasks.cancel_all()
    if faults or feed.refusals or not heard:
        raise RuntimeError(f"the feed lost frames: {faults}, {feed.refusals} refused")
    return took


async def _bare(address: str, count: int) -> float:
    decode = msgspec.json.Decoder(_Envelope).decode
    began = perf_counter()
    async with connect(address, compression=None, proxy=None, close_timeout=0.1) as socket:
        left = count
        async for text in socket:
            decode(text)
            left -= 1
            if not left:
                break
        took = perf_counter() - began
        socket.transport.abort()
    return took
