"""A desk for stories on an exchange: the whole kernel, live, on a simulated exchange in memory.

Everything of ours is real, the adapter included; only the bytes never touch a socket. The story's
market moves the exchange's own prices, and the same trades reach the engine as its feed. When a
story ends, our books must be the exchange's own: positions, balance, orders.

`exchange_story` makes a test of an `async def test_...(desk)`. Units as in `tests.desk`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.kernel import KernelOptions, build_kernel
from engine.kernel.headless import hold_time_for
from engine.kernel.keys import stored_text
from engine.kernel.venue_desk import VenueTransport
from engine.model.api_key import ApiKey
from engine.model.config import (
    Configuration,
    EngineSection,
    MarketSection,
    NodeSection,
    PolicySection,
    RedisSection,
    VenueSection,
)
from engine.model.ids import Symbol
from engine.model.policy import seeded, with_changes
from engine.ports import Clock, MarketSink
from engine.runtime import SimClock, Tasks, run_simulated
from tests.desk import START_NS, Desk, ScriptedMarket, with_feed
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Exchange, Settings
from tests.simulators.faults import FaultRule
from tests.simulators.in_memory_transport import InMemoryConnections, Line, in_memory_sockets

__all__ = ["ACCOUNT", "ExchangeDesk", "Vault", "exchange_story"]

ACCOUNT = "px-01"
_BALANCE = Decimal(100_000)
_EXCHANGES: Mapping[str, type[Exchange]] = {"binance": BinanceExchange, "bybit": BybitExchange}


@contextmanager
def _held(clock: Clock) -> Iterator[None]:
    """Simulated time stands still: an engine that is being built works on threads that no clock
    knows of, and the exchange's own timers would carry its time away.
    """

    def always() -> int:
        return 1

    if not isinstance(clock, SimClock):
        yield
        return
    clock.add_busy_probe(always)
    try:
        yield
    finally:
        clock.remove_busy_probe(always)


class Vault:
    """A vault that holds one key for every account."""

    name = "the story's vault"

    def __init__(self, settings: Settings) -> None:
        self._text = stored_text(ApiKey(key=settings.key, secret=settings.secret))

    def read(self, entry: str) -> str | None:
        return self._text if entry.startswith("api-key/") else None


class _ExchangeMarket(ScriptedMarket):
    """Moves the exchange, and says the same to the engine."""

    def __init__(self, *, exchange: Exchange, clock: Clock, prices: Mapping[Symbol, Any]) -> None:
        super().__init__(clock=clock, prices=prices)
        self._exchange = exchange

    async def run(self, sink: MarketSink) -> None:
        for symbol, price in self.prices.items():
            self._exchange.venue.set_price(symbol, price)
        await super().run(sink)

    def move(self, symbol: Symbol, price: Decimal | str) -> None:
        self._exchange.venue.set_price(symbol, Decimal(price))
        super().move(symbol, price)


class ExchangeDesk(Desk):
    """One live engine on one folder, and its exchange."""

    def __init__(
        self,
        *,
        clock: Clock,
        folder: Path,
        policy: Mapping[str, str] | None = None,
        venue: str = "binance",
        seeded_policy: bool = False,
        **more: Any,
    ) -> None:
        """`seeded_policy`: the engine seeds its own, which allows no new trades."""
        super().__init__(clock=clock, folder=folder, **more)
        policy_path = "" if seeded_policy else _live_policy(folder, policy or {})
        self.options = KernelOptions(
            configuration=Configuration(
                engine=EngineSection(mode="live"),
                node=NodeSection(name=ACCOUNT),
                redis=RedisSection(mode="standalone"),
                venue=VenueSection(name=venue),
                market=MarketSection(symbols=tuple(self.prices)),
                policy=PolicySection(file=policy_path),
            ),
            data_dir=self.data_dir,
        )
        self._failed: list[str] = []
        # The exchange outlives every engine on it.
        self._exchange_tasks = Tasks(on_fault=self._on_fault)
        self._settings = Settings(balance=_BALANCE)
        self.exchange = _EXCHANGES[venue](
            clock=clock, tasks=self._exchange_tasks, settings=self._settings
        )
        self.line: Line

    def _on_fault(self, name: str, error: BaseException | None) -> None:
        self._failed.append(f"{name}: {error!r}")

    # --- life -----------------------------------------------------------------------------------

    def open_exchange(self) -> None:
        """Begin the exchange's own life, with the story's prices."""
        self.exchange.start()
        for symbol, price in self.prices.items():
            self.exchange.venue.set_price(symbol, Decimal(price))

    async def close_exchange(self) -> None:
        self.exchange.close()
        await self._exchange_tasks.cancel_all()
        assert not self._failed, self._failed

    def new_line(self) -> Line:
        """The way from the next engine to the exchange."""
        self.line = Line(clock=self.clock, tasks=self._exchange_tasks)
        return self.line

    async def build(self) -> None:
        line = getattr(self, "line", None) or self.new_line()
        transport = VenueTransport(
            connections=lambda url: InMemoryConnections(
                self.exchange, self.clock, line=line, tasks=self._exchange_tasks
            ),
            open_socket=in_memory_sockets(
                self.exchange, self.clock, line=line, tasks=self._exchange_tasks
            ),
        )
        with _held(self.clock):
            kernel = await build_kernel(
                self.options, clock=self.clock, vault=Vault(self._settings), transport=transport
            )
            if isinstance(self.clock, SimClock):
                hold_time_for(kernel, self.clock)
        self.market = _ExchangeMarket(exchange=self.exchange, clock=self.clock, prices=self.prices)
        self.kernel = with_feed(kernel, self.market)
        self.quieten(kernel)
        self.kernel.parts.bus.subscribe(self.events.append, name="story")

    def forget_everything(self) -> None:
        """The next engine begins with a new data directory, on the same account."""
        self.data_dir = self.folder / "another"
        self.options = dataclasses.replace(self.options, data_dir=self.data_dir)

    def confirm_live(self, account: str) -> None:
        """As typed on the command line."""
        options = dataclasses.replace(self.options, confirm_live=account)
        parts = dataclasses.replace(self.kernel.parts, options=options)
        self.kernel._parts = parts

    async def go_live(self) -> None:
        """START LIVE, as the operator gives it."""
        result = await self.kernel.client.start(reason="story", confirm_live=ACCOUNT)
        assert result.ok, result.unmet

    # --- what a story sees ------------------------------------------------------------------------

    def books(self) -> dict[str, Any]:
        """The exchange's own, exact."""
        return self.exchange.books()

    def inject(self, **rule: Any) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    def venue_positions(self) -> dict[str, Decimal]:
        rows = {row["symbol"]: Decimal(row["quantity"]) for row in self.books()["positions"]}
        return {symbol: quantity for symbol, quantity in rows.items() if quantity}

    def open_at_venue(self) -> list[str]:
        books = self.books()
        return [row["client_id"] for row in _open(books["orders"])] + self.stops_at_venue()

    def stops_at_venue(self) -> list[str]:
        """Client ids of the conditional orders that wait."""
        return [row["client_id"] for row in _open(self.books()["conditionals"])]

    def sent(self, subject: str) -> list[dict[str, Any]]:
        """Requests that came in to change something, e.g. `POST /fapi/v1/order`."""
        return [row for row in self.books()["requests"] if row["request"] == subject]

    async def assert_sound(self) -> None:
        """Our books are the exchange's, and nothing broke."""
        parts = self.kernel.parts
        summary = await self.kernel.summary()
        assert self.faults_expected or not self.kernel.faults, self.kernel.faults
        ours = {str(row.symbol): row.quantity for row in parts.ledger.positions()}
        assert ours == self.venue_positions()
        assert Decimal(summary["books"]["balance"]) == Decimal(self.books()["balance"])
        listed = sorted(record.client_order_id for record in parts.execution.desk.open_orders())
        assert listed == sorted(self.open_at_venue())
        assert not self._failed, self._failed


_OPEN = frozenset({"NEW", "PARTIALLY_FILLED"})


def _open(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["status"] in _OPEN]


def _live_policy(folder: Path, changes: Mapping[str, str]) -> str:
    allowed = {"allow_new_trades": "true", **changes}
    document = with_changes(seeded(_BALANCE, live=True, ts_ns=START_NS), allowed)
    path = folder / "live-policy.json"
    path.write_bytes(msgspec.json.encode(document))
    return str(path)


def exchange_story(
    **options: Any,
) -> Callable[[Callable[[ExchangeDesk], Awaitable[None]]], Callable[..., None]]:
    """Make a test of a story; `options` are the desk's. `start=False` leaves it unopened,
    `live=False` READY; `venues` plays it at each of them.
    """
    start, live = options.pop("start", True), options.pop("live", True)
    venues = options.pop("venues", (options.pop("venue", "binance"),))

    def wrap(tell: Callable[[ExchangeDesk], Awaitable[None]]) -> Callable[..., None]:
        async def play(clock: SimClock, folder: Path) -> None:
            desk = ExchangeDesk(clock=clock, folder=folder, **options)
            desk.open_exchange()
            try:
                if start:
                    await desk.open()
                    if live:
                        await desk.go_live()
                await tell(desk)
                await desk.sleep(1.0)  # What is in flight settles.
                await desk.assert_sound()
            finally:
                await desk.close()
                await desk.close_exchange()

        def test(tmp_path: Path, venue: str) -> None:
            options["venue"] = venue
            run_simulated(lambda clock: play(clock, tmp_path), start_ns=START_NS)

        functools.update_wrapper(test, tell)
        del test.__wrapped__  # type: ignore[attr-defined]  # Its signature is not the test's.
        return pytest.mark.parametrize("venue", venues)(test)

    return wrap
