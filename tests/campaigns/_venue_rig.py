"""A simulated exchange that lives on, and engines that live and die on it, in simulated time.

The engine is the real kernel on a real data directory, with a line in memory under its adapters.
`Rig.kill` ends one as SIGKILL does: at that very step nothing leaves any more, and the next engine
is built on a copy of the files as they are on the disk; the abandoned one is cleared away on files
that nobody looks at again. Time stands while an engine is built or cleared away, so that a seed
repeats. Prices are the exchange's own, told once a second and at each move. On the loop only.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from engine.intelligence.volatility_breakout import BreakoutParameters
from engine.kernel import Kernel, KernelOptions, build_kernel
from engine.kernel.venue_desk import VenueTransport
from engine.model.config import (
    Configuration,
    EngineSection,
    MarketSection,
    NodeSection,
    PolicySection,
    RedisSection,
    VenueSection,
)
from engine.model.errors import StoreError
from engine.model.ids import SignalId, Symbol, TraceId
from engine.model.policy import seeded, with_changes
from engine.model.signals import Signal
from engine.model.values import Side
from engine.ports import MarketSink
from engine.runtime import SimClock, Tasks
from engine.venues.transport.http import Outgoing
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Exchange, Settings
from tests.simulators.in_memory_transport import (
    InMemoryConnections,
    Latency,
    Line,
    in_memory_sockets,
)
from tests.venue_auditor import Window

__all__ = ["NODE", "SYMBOLS", "Engine", "Rig", "exchange_keys"]

NODE = "desk"
SYMBOLS = tuple(Symbol(name) for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"))
_EXCHANGES: Mapping[str, Callable[..., Exchange]] = {
    "binance": BinanceExchange,
    "bybit": BybitExchange,
}
_BALANCE = Decimal(100_000)
_NEVER = 10_000_000
# Nothing of an engine, in the copy that the next one is built on.
_NOT_COPIED = shutil.ignore_patterns("engine.sock", "*-shm")


@contextmanager
def exchange_keys() -> Iterator[None]:
    """The simulated account's keys, where a headless engine looks for them."""
    names = {"SEAWALL_API_KEY": "test-key", "SEAWALL_API_SECRET": "test-secret"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Feed:
    """Implements `engine.ports.MarketFeed`: what the exchange's last prices are."""

    name = "the simulated exchange"
    symbols = SYMBOLS

    def __init__(self, rig: Rig, line: Line) -> None:
        self._rig = rig
        self._line = line
        self._sink: MarketSink | None = None

    async def run(self, sink: MarketSink) -> None:
        self._sink = sink
        while True:
            for symbol in SYMBOLS:
                self.say(symbol)
            await self._rig.clock.sleep(1.0)

    def say(self, symbol: Symbol) -> None:
        """One trade at the exchange's last price; nothing without a line."""
        if self._sink is not None and self._line.is_up:
            price = self._rig.price(symbol)
            now_ns = self._rig.clock.now_ns()
            self._sink.on_trade(symbol, price, Decimal("0.01"), Side.BUY, now_ns)


class Engine:
    """One life: a kernel, its line, its folder."""

    def __init__(self, *, kernel: Kernel, line: Line, feed: _Feed, folder: Path) -> None:
        self.kernel = kernel
        self.line = line
        self.feed = feed
        self.folder = folder
        self.is_dead = False
        self.starting: asyncio.Task[None] | None = None
        # Where a death that loses commits takes them from.
        self.leak: _Leak | None = None

    def pending(self) -> int:
        """Work on a thread; time stands for it while this engine lives."""
        if self.is_dead:
            return 0
        parts = self.kernel.parts
        return (
            parts.storage.writer.pending
            + parts.storage.reader.pending
            + parts.venue.pending
            + parts.stop.pending_writes()
            + parts.backups.pending
        )


class Rig:
    """The exchange and the engine of now."""

    def __init__(
        self,
        *,
        clock: SimClock,
        folder: Path,
        venue: str,
        seed: int,
        latency: Latency | None = None,
        policy: Mapping[str, str] | None = None,
    ) -> None:
        self.clock = clock
        self.venue = venue
        self.seed = seed
        self.latency = latency or Latency()
        self.faults: list[str] = []
        # Times without an engine or without a line, for the auditor.
        self.excused: list[Window] = []
        self.lives = 0
        self._folder = folder
        self._tasks = Tasks(on_fault=lambda name, error: self.faults.append(f"{name}: {error!r}"))
        self.exchange = _EXCHANGES[venue](
            clock=clock, tasks=self._tasks, settings=Settings(balance=_BALANCE, seed=seed)
        )
        self.engine: Engine | None = None
        self._signals = 0
        self._holds = 0
        self._clearing = 0
        self._cleared = asyncio.Event()
        self._cleared.set()
        self._down_since_ns: int | None = None
        self._away: tuple[int, str] | None = None
        self._policy = folder / "policy.json"
        changes = {"allow_new_trades": "true", **(policy or {})}
        document = with_changes(seeded(_BALANCE, live=True), changes)
        self._policy.write_bytes(msgspec.json.encode(document))
        # Asked right before (False) and right after (True) the bytes of a request leave.
        self.on_bytes: Callable[[Outgoing | None], None] = lambda outgoing: None
        clock.add_busy_probe(lambda: self._holds)

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """The exchange begins to live."""
        self.exchange.start()
        self._down_since_ns = self.clock.now_ns()

    async def abandon(self) -> None:
        """End everything, whatever state it is in."""
        if self.engine is not None:
            self.kill()
        await self._cleared.wait()
        self.exchange.close()
        await self._tasks.cancel_all()

    @property
    def data_dir(self) -> Path:
        return self._folder / f"data-{self.lives}"

    @property
    def kernel(self) -> Kernel:
        assert self.engine is not None, "no engine runs"
        return self.engine.kernel

    async def open(self) -> None:
        """Build and start an engine on the files of the last one; `trade` says START LIVE."""
        line = Line(
            clock=self.clock,
            tasks=self._tasks,
            latency=self.latency,
            seed=self.seed * 1000 + self.lives,
        )
        if self._away is not None:
            line.fail(refuses=self._away[1] == "refuses")
        self._holds += 1
        try:
            kernel = await build_kernel(
                self._options(), clock=self.clock, transport=self._transport(line)
            )
        finally:
            self._holds -= 1
        feed = _Feed(self, line)
        parts = dataclasses.replace(kernel.parts, feed=feed)
        kernel = Kernel(parts=parts, client=kernel.client, faults=kernel.faults)
        # No channel, no entry, no age at which it leaves: only the schedule trades.
        parts.strategy._parameters = BreakoutParameters(
            window=_NEVER, hold_s_max=_NEVER, entries_in_hand=0
        )
        engine = self.engine = Engine(kernel=kernel, line=line, feed=feed, folder=self.data_dir)
        self.clock.add_busy_probe(engine.pending)
        engine.starting = self._tasks.spawn("start", kernel.start())
        await asyncio.wait({engine.starting})  # It may be killed meanwhile.

    def _options(self) -> KernelOptions:
        return KernelOptions(
            configuration=Configuration(
                engine=EngineSection(mode="live"),
                node=NodeSection(name=NODE),
                redis=RedisSection(mode="standalone"),
                venue=VenueSection(name=self.venue),  # type: ignore[arg-type]
                market=MarketSection(seed=self.seed, symbols=SYMBOLS),
                policy=PolicySection(file=str(self._policy)),
            ),
            data_dir=self.data_dir,
        )

    def _transport(self, line: Line) -> VenueTransport:
        return VenueTransport(
            connections=lambda url: _Watched(
                self.exchange, self.clock, line=line, tasks=self._tasks, rig=self
            ),
            open_socket=in_memory_sockets(self.exchange, self.clock, line=line, tasks=self._tasks),
        )

    def is_trading(self) -> bool:
        return self.engine is not None and self.kernel.parts.mode.base.value == "running"

    def is_latched(self) -> bool:
        return self.engine is not None and self.kernel.parts.stop.is_latched()

    async def trade(self) -> bool:
        """START LIVE, as an operator says it after every start."""
        result = await self.kernel.client.start(reason="campaign", confirm_live=NODE)
        if result.ok:
            self.up()
        return result.ok

    def up(self) -> None:
        """The engine runs, and has its books from the venue: no excuse from here on."""
        if self._down_since_ns is not None:
            self._excuse(self._down_since_ns, "no engine")
            self._down_since_ns = None

    async def stop(self) -> None:
        """An orderly stop."""
        engine = self.engine
        assert engine is not None
        self._note_down()
        self._holds += 1
        try:
            await engine.kernel.stop()
        finally:
            self._holds -= 1
        if self.engine is engine:  # It may be killed while it stops.
            self._bury(engine)
            self.engine = None

    def kill(self) -> None:
        """SIGKILL, now: the files stay as they are on the disk, and nothing else does."""
        engine = self.engine
        assert engine is not None
        self._note_down()
        engine.line.die()
        self._quiet_disk(engine)
        before = self.data_dir
        self.lives += 1
        shutil.copytree(before, self.data_dir, ignore=_NOT_COPIED)
        self._bury(engine)
        self.engine = None
        self._clearing += 1
        self._cleared.clear()
        self._tasks.spawn("clearing away", self._clear_away(engine))

    def lose_commits(self, *, after: int) -> None:
        """The process ends after so many more jobs of the writer; none after those gets to the
        disk.
        """
        engine = self.engine
        assert engine is not None
        writer = engine.kernel.parts.storage.writer
        loop = asyncio.get_running_loop()
        engine.leak = _Leak(
            writer._queue, left=after, on_first=lambda: loop.call_soon(self._end, engine)
        )
        writer._queue = engine.leak  # type: ignore[assignment]

    def keep_commits(self) -> None:
        """A death that waits for the writer's jobs comes no more."""
        if self.engine is not None and self.engine.leak is not None:
            self.engine.leak.mend()

    def _end(self, engine: Engine) -> None:
        if self.engine is engine:
            self.kill()

    def _bury(self, engine: Engine) -> None:
        engine.is_dead = True
        if engine.starting is not None:
            engine.starting.cancel()
        self.clock.remove_busy_probe(engine.pending)
        self.faults += engine.kernel.faults

    def _quiet_disk(self, engine: Engine) -> None:
        """Wait for the writer's thread to have committed what it has; it needs no loop for that."""
        writer = engine.kernel.parts.storage.writer
        while not writer._queue.empty() or writer._in_hand:
            time.sleep(0.0005)

    async def _clear_away(self, engine: Engine) -> None:
        self._holds += 1
        try:
            for _, _, told in engine.leak.lost if engine.leak else ():
                if not told.done():
                    told.set_exception(StoreError("the process has ended"))
            parts = engine.kernel.parts
            with suppress(Exception):  # It is dead: what it says no longer matters.
                await parts.tasks.cancel_all()
                await parts.stop.aclose()
                await parts.tasks.cancel_all()
                await parts.venue.close()
                await parts.backups.aclose()
                await parts.storage.close()
        finally:
            self._holds -= 1
            self._clearing -= 1
            if not self._clearing:
                self._cleared.set()

    def _note_down(self) -> None:
        if self._down_since_ns is None:
            self._down_since_ns = self.clock.now_ns()

    def _excuse(self, from_ns: int, why: str) -> None:
        self.excused.append(Window(from_ns=from_ns, to_ns=self.clock.now_ns(), why=why))

    # --- the line -------------------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        return self._away is not None

    def go_away(self, *, refuses: bool) -> None:
        """The venue can be reached by nobody."""
        self._away = (self.clock.now_ns(), "refuses" if refuses else "swallows")
        if self.engine is not None:
            self.engine.line.fail(refuses=refuses)

    def come_back(self) -> None:
        if self._away is None:
            return
        self._excuse(self._away[0], f"the venue {self._away[1]}")
        self._away = None
        if self.engine is not None:
            self.engine.line.mend()

    # --- the market and others ------------------------------------------------------------------

    def price(self, symbol: Symbol) -> Decimal:
        return self.exchange.venue.markets[symbol].last

    def move(self, symbol: Symbol, price: Decimal) -> None:
        """The market goes to a price."""
        self.exchange.venue.set_price(symbol, price)
        if self.engine is not None:
            self.engine.feed.say(symbol)

    # --- the engine's own -----------------------------------------------------------------------

    def signal(self, symbol: Symbol, side: Side, confidence: float, *, is_exit: bool) -> None:
        self._signals += 1
        self.kernel.parts.execution.signals.submit(
            Signal(
                id=SignalId(f"campaign-{self._signals}"),
                symbol=symbol,
                side=side,
                confidence=confidence,
                strategy="campaign",
                ts_ns=self.clock.now_ns(),
                trace=TraceId(f"campaign-{self._signals}"),
                is_exit=is_exit,
            )
        )

    def unsettled(self) -> list[str]:
        """Orders of the engine whose fate it does not know."""
        return [
            f"{record.client_order_id} {record.state.value}"
            for record in self.kernel.parts.execution.desk.open_orders()
            if record.state.value not in {"accepted", "partially_filled"}
        ]


class _Leak:
    """A writer's queue that takes so many more jobs, and nothing after them."""

    def __init__(self, queue: Any, *, left: int, on_first: Callable[[], object]) -> None:
        self._queue = queue
        self._left = left
        self._on_first = on_first
        self.lost: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def mend(self) -> None:
        if not self.lost:
            self._left = _NEVER

    def put(self, job: Any) -> None:
        if job is None or self._left > 0:
            self._left -= job is not None
            self._queue.put(job)
            return
        if not self.lost:
            self._on_first()
        self.lost.append(job)


class _Watched(InMemoryConnections):
    """Tells the rig of the moment before bytes leave and of the one after."""

    def __init__(self, *arguments: Any, rig: Rig, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._rig = rig

    async def send(self, lane: Any, make: Callable[[], Outgoing]) -> Any:
        def watched() -> Outgoing:
            self._rig.on_bytes(None)
            outgoing = make()
            self._rig.on_bytes(outgoing)
            return outgoing

        return await super().send(lane, watched)
