"""A desk for stories: the real kernel on a data directory, with a market that the test moves.

Real: SQLite files, journal, policy, ledger, paper venue with its own books, stop, gate, execution.
The test's own: the market (a feed that says what it is told, and repeats it once a second so that
no price grows old unless the test wants it), and time (`SimClock`, unless a system clock is given).
`story` makes a test of an `async def test_...(desk)`; when a story ends the books must be balanced
by the independent auditor, equal to the venue's, and the kernel must have had no fault.

Units: seconds, base coin, account currency, UTC nanoseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from engine.intelligence.volatility_breakout import BreakoutParameters
from engine.kernel import Kernel, KernelOptions, build_kernel
from engine.kernel.headless import hold_time_for
from engine.model.config import Configuration, NodeSection, PaperSection, PolicySection
from engine.model.config import RedisSection as Redis
from engine.model.events import Event
from engine.model.ids import SignalId, Symbol, TraceId
from engine.model.orders import Intent, OrderPurpose, OrderRecord, OrderState
from engine.model.policy import PolicyDocument, seeded, with_changes
from engine.model.signals import Signal
from engine.model.snapshots import EngineState
from engine.model.values import Side
from engine.ports import Clock, MarketSink
from engine.runtime import SimClock, run_simulated
from tests import books_auditor

__all__ = [
    "BTC",
    "ETH",
    "START_NS",
    "Desk",
    "ScriptedMarket",
    "policy_file",
    "story",
    "venue_rows",
    "with_feed",
]

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
START_NS = 1_767_225_600_000_000_000  # 2026-01-01 00:00:00 UTC
_INITIAL = Decimal(100_000)
_REPEAT_S = 1.0
_NEVER = 10_000_000


class ScriptedMarket:
    """A feed that says what it is told; implements `engine.ports.MarketFeed`."""

    def __init__(self, *, clock: Clock, prices: Mapping[Symbol, str | Decimal]) -> None:
        self._clock = clock
        self._sink: MarketSink | None = None
        self.prices = {symbol: Decimal(price) for symbol, price in prices.items()}
        # While True nothing is repeated, so prices grow old.
        self.silent = False

    @property
    def name(self) -> str:
        return "scripted"

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(self.prices)

    async def run(self, sink: MarketSink) -> None:
        self._sink = sink
        while True:
            if not self.silent:
                for symbol in tuple(self.prices):
                    self._say(symbol)
            await self._clock.sleep(_REPEAT_S)

    def move(self, symbol: Symbol, price: Decimal | str) -> None:
        """One trade at a new price."""
        self.prices[symbol] = Decimal(price)
        self._say(symbol)

    def _say(self, symbol: Symbol) -> None:
        assert self._sink is not None, "the kernel does not run yet"
        price = self.prices[symbol]
        self._sink.on_trade(symbol, price, Decimal("0.01"), Side.BUY, self._clock.now_ns())


def with_feed(kernel: Kernel, feed: ScriptedMarket) -> Kernel:
    """The same kernel on another market."""
    parts = dataclasses.replace(kernel.parts, feed=feed)
    return Kernel(parts=parts, client=kernel.client, faults=kernel.faults)


def policy_file(folder: Path, changes: Mapping[str, str], *, initial: Decimal = _INITIAL) -> str:
    """The seeded policy with changes, written where a new data directory reads it."""
    document: PolicyDocument = with_changes(seeded(initial, live=False, ts_ns=START_NS), changes)
    path = folder / "policy.json"
    path.write_bytes(msgspec.json.encode(document))
    return str(path)


def venue_rows(data_dir: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of the venue's own file, read beside the engine."""
    with closing(sqlite3.connect(data_dir / "paper.db")) as connection:
        return connection.execute(sql).fetchall()


class Desk:
    """One engine on one folder, and what a story says to it."""

    def __init__(
        self,
        *,
        clock: Clock,
        folder: Path,
        policy: Mapping[str, str] | None = None,
        latency_ms: int = 20,
        prices: Mapping[Symbol, str | Decimal] | None = None,
        redis_url: str = "",
        node: str = "desk",
        trades_itself: bool = False,
    ) -> None:
        """`trades_itself`: the built-in strategy trades too; otherwise only the story does."""
        self.clock = clock
        self.folder = folder
        self.data_dir = folder / "data"
        self.prices: dict[Symbol, str | Decimal] = dict(prices or {BTC: "60000", ETH: "2500"})
        self.events: list[Event] = []
        self.faults_expected = False
        self._trades_itself = trades_itself
        self._signals = 0
        self.options = KernelOptions(
            configuration=Configuration(
                node=NodeSection(name=node),
                redis=Redis(mode="url" if redis_url else "standalone", url=redis_url),
                paper=PaperSection(initial_balance=_INITIAL, latency_ms=latency_ms),
                policy=PolicySection(file=policy_file(folder, policy or {})),
            ),
            data_dir=self.data_dir,
        )
        self.kernel: Kernel
        self.market: ScriptedMarket

    # --- life -----------------------------------------------------------------------------------

    async def build(self) -> None:
        """Open the folder; nothing lives yet."""
        kernel = await build_kernel(self.options, clock=self.clock)
        if isinstance(self.clock, SimClock):
            hold_time_for(kernel, self.clock)
        self.market = ScriptedMarket(clock=self.clock, prices=self.prices)
        self.kernel = with_feed(kernel, self.market)
        self.quieten(kernel)
        self.kernel.parts.bus.subscribe(self.events.append, name="story")

    def quieten(self, kernel: Kernel) -> None:
        """The built-in strategy is silent unless it is wanted."""
        if not self._trades_itself:  # No channel, no entry, no age at which it leaves.
            kernel.parts.strategy._parameters = BreakoutParameters(
                window=_NEVER, hold_s_max=_NEVER, entries_in_hand=0
            )

    async def open(self) -> None:
        """Build and start; returns when the first prices are known."""
        await self.build()
        await self.kernel.start()
        await self.until(lambda: len(self.kernel.parts.market.ages_s()) == len(self.prices))

    async def close(self) -> None:
        """Stop in order."""
        self.prices = dict(self.market.prices)
        await self.kernel.stop()

    async def restart(self) -> None:
        """Stop and build a new engine on the same folder."""
        await self.close()
        await self.open()

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)

    async def until(self, condition: Callable[[], object], *, timeout_s: float = 10.0) -> float:
        """Wait on the clock for a condition; how many seconds it took."""
        began_ns = self.clock.monotonic_ns()
        while not condition():
            waited_s = (self.clock.monotonic_ns() - began_ns) / 1e9
            assert waited_s <= timeout_s, f"not within {timeout_s} s"
            await self.clock.sleep(0.01)
        return (self.clock.monotonic_ns() - began_ns) / 1e9

    # --- what a story does ------------------------------------------------------------------------

    def signal(
        self,
        side: Side = Side.BUY,
        symbol: Symbol = BTC,
        *,
        confidence: float = 0.9,
        stop_loss: str | None = None,
        take_profit: str | None = None,
    ) -> Signal:
        """Say that a symbol will move; returns what was said."""
        return self._say(
            symbol, side, confidence, is_exit=False, stop=stop_loss, profit=take_profit
        )

    def exit(self, symbol: Symbol = BTC) -> Signal:
        """Ask to close a symbol."""
        return self._say(symbol, Side.SELL, 1.0, is_exit=True)

    def _say(
        self,
        symbol: Symbol,
        side: Side,
        confidence: float,
        *,
        is_exit: bool,
        stop: str | None = None,
        profit: str | None = None,
    ) -> Signal:
        self._signals += 1
        signal = Signal(
            id=SignalId(f"story-{self.clock.now_ns()}-{self._signals}"),
            symbol=symbol,
            side=side,
            confidence=confidence,
            strategy="story",
            ts_ns=self.clock.now_ns(),
            trace=TraceId(f"story-{self._signals}"),
            stop_loss=Decimal(stop) if stop else None,
            take_profit=Decimal(profit) if profit else None,
            is_exit=is_exit,
        )
        self.kernel.parts.execution.signals.submit(signal)
        return signal

    async def enter(self, side: Side = Side.BUY, symbol: Symbol = BTC) -> None:
        """A position with its stop accepted."""
        self.signal(side, symbol)
        await self.until(lambda: self.protected(symbol))

    # --- what a story sees ------------------------------------------------------------------------

    def quantity(self, symbol: Symbol = BTC) -> Decimal:
        """Signed, by our books."""
        return self.kernel.parts.ledger.quantity(symbol)

    def protected(self, symbol: Symbol = BTC) -> bool:
        return self.kernel.parts.execution.protection.trigger_price(symbol) is not None

    def orders(self, purpose: OrderPurpose | None = None) -> list[OrderRecord]:
        """Orders that are not final, by our books."""
        return [
            record
            for record in self.kernel.parts.execution.desk.open_orders()
            if purpose is None or record.intent.purpose is purpose
        ]

    def order_of(self, signal: Signal) -> OrderRecord | None:
        """The order that a signal became."""
        desk = self.kernel.parts.execution.desk
        found: list[Intent] = [one for one in desk.recent(since_ns=0) if one.signal_id == signal.id]
        return desk.get(found[0].client_order_id) if found else None

    def state_of(self, signal: Signal) -> OrderState | None:
        record = self.order_of(signal)
        return None if record is None else record.state

    def heard(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def venue_positions(self) -> dict[str, Decimal]:
        """By the venue's own file."""
        rows = venue_rows(self.data_dir, "SELECT symbol, quantity FROM positions")
        return {symbol: Decimal(quantity) for symbol, quantity in rows}

    def venue_orders(self) -> list[tuple[Any, ...]]:
        """(client order id, side, kind, state, reduce only), oldest first, by the venue's file."""
        return venue_rows(
            self.data_dir,
            "SELECT client_order_id, side, kind, state, reduce_only FROM orders ORDER BY rowid",
        )

    def entries_at_venue(self) -> int:
        return sum(1 for row in self.venue_orders() if not row[4])

    def open_at_venue(self) -> list[str]:
        rows = venue_rows(self.data_dir, "SELECT client_order_id FROM orders WHERE is_open = 1")
        return [row[0] for row in rows]

    def state(self) -> EngineState:
        return self.kernel.parts.mode.state

    def gate(self) -> set[str]:
        """Codes of what holds every entry back."""
        return {reason.code.value for reason in self.kernel.parts.gatekeeper.standing()}

    async def assert_sound(self) -> None:
        """Books balanced, equal to the venue's, and nothing broke."""
        parts = self.kernel.parts
        summary = await self.kernel.summary()
        assert self.faults_expected or not self.kernel.faults, self.kernel.faults
        assert books_auditor.problems_of(self.data_dir / "paper.db") == []
        found = books_auditor.differences_from(self.data_dir / "paper.db", summary["books"])
        assert found == []
        assert {str(p.symbol): p.quantity for p in parts.ledger.positions()} == (
            self.venue_positions()
        )
        for name in ("state.db", "paper.db"):
            with closing(sqlite3.connect(self.data_dir / name)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def story(**options: Any) -> Callable[[Callable[[Desk], Awaitable[None]]], Callable[..., None]]:
    """Make a test of a story; `options` are `Desk`'s, and `start=False` leaves it unopened."""
    start = options.pop("start", True)

    def wrap(tell: Callable[[Desk], Awaitable[None]]) -> Callable[..., None]:
        async def play(clock: SimClock, folder: Path) -> None:
            desk = Desk(clock=clock, folder=folder, **options)
            if start:
                await desk.open()
            try:
                await tell(desk)
                await desk.sleep(1.0)  # What is in flight settles.
                await desk.assert_sound()
            finally:
                await desk.close()

        def test(tmp_path: Path) -> None:
            run_simulated(lambda clock: play(clock, tmp_path), start_ns=START_NS)

        functools.update_wrapper(test, tell)
        del test.__wrapped__  # type: ignore[attr-defined]  # Its signature is not the test's.
        return test

    return wrap
