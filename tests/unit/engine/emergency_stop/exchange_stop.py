"""An emergency stop on a simulated exchange in memory, through our own adapter to it.

A story is run in simulated time on a started adapter, with a real latch file. Positions and orders
are put into the exchange's own books by another hand, so that nothing of ours knows of them, and
those books say in the end whether all is closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

import msgspec

from engine.emergency_stop import (
    EmergencyStop,
    Exposure,
    KnownAccount,
    StopHooks,
    StopIdentity,
    StopVenue,
)
from engine.latch import LatchFile
from engine.model.api_key import ApiKey
from engine.model.emergency import EmergencyState, PositionProgress, TripSource
from engine.model.events import EmergencyFlat
from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent
from engine.model.values import Side
from engine.runtime import Chance, IdSource, SimClock, Tasks
from engine.venues.binance import BinanceUserStream, BinanceVenue
from engine.venues.binance.endpoints import POOLS as BINANCE_POOLS
from engine.venues.binance.rest import BinanceRest
from engine.venues.bybit import BybitUserStream, BybitVenue
from engine.venues.bybit.endpoints import POOLS as BYBIT_POOLS
from engine.venues.bybit.rest import BybitRest
from engine.venues.transport.http import Connections
from engine.venues.transport.rate_limits import RateLimits
from engine.venues.transport.stream import OpenSocket
from tests.fakes.stop_desk import ListeningBus
from tests.simulators.core.model import ConditionalRequest, Kind, Leg, OrderRequest, TriggerKind
from tests.simulators.exchange import Exchange
from tests.simulators.faults import FaultRule
from tests.simulators.in_memory import BinanceDesk, BybitDesk, on_binance, on_bybit
from tests.simulators.in_memory_transport import (
    InMemoryConnections,
    Latency,
    Line,
    in_memory_sockets,
)

BTC, ETH, SOL, XRP = (Symbol(f"{base}USDT") for base in ("BTC", "ETH", "SOL", "XRP"))
PRICES = {BTC: "60000", ETH: "3000", SOL: "150", XRP: "2"}
Venue = BinanceVenue | BybitVenue
_KEY = ApiKey(key="test-key", secret="test-secret")
_STREAM_UP_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the two venues call the same thing."""

    place: str
    cancel_all: str
    cancel_all_conditional: str
    positions: str
    size: str
    unknown: str
    not_executed: str


WORDS = {
    "binance": Words(
        place="POST /fapi/v1/order",
        cancel_all="DELETE /fapi/v1/allOpenOrders",
        cancel_all_conditional="DELETE /fapi/v1/algoOpenOrders",
        positions="GET /fapi/v3/positionRisk",
        size="quantity",
        unknown="timeout_503",
        not_executed="unavailable_503",
    ),
    "bybit": Words(
        place="POST /v5/order/create",
        cancel_all="POST /v5/order/cancel-all",
        cancel_all_conditional="POST /v5/order/cancel-all",
        positions="GET /v5/position/list",
        size="qty",
        unknown="timeout_10000",
        not_executed="rate_10006",
    ),
}


@dataclass
class ExchangeStop:
    """The stop, and the exchange that it stops on."""

    exchange: Exchange
    clock: SimClock
    adapter: Venue
    line: Line
    stop: EmergencyStop
    latch: LatchFile
    bus: ListeningBus
    words: Words
    intents: list[Intent] = field(default_factory=list)

    # --- the exchange ----------------------------------------------------------------------------

    def hold(self, symbol: Symbol, quantity: str, leg: Leg = Leg.BOTH) -> None:
        """Another hand opens a position."""
        signed = Decimal(quantity)
        self._place(symbol, signed, Kind.MARKET, leg=leg)

    def rest(self, symbol: Symbol, quantity: str, price: str, leg: Leg = Leg.BOTH) -> None:
        """It rests a limit order."""
        self._place(symbol, Decimal(quantity), Kind.LIMIT, price=Decimal(price), leg=leg)

    def _place(
        self,
        symbol: Symbol,
        signed: Decimal,
        kind: Kind,
        *,
        price: Decimal | None = None,
        leg: Leg = Leg.BOTH,
    ) -> None:
        self._named += 1
        self.exchange.venue.place(
            OrderRequest(
                symbol=symbol,
                side=Side.BUY if signed > 0 else Side.SELL,
                kind=kind,
                quantity=abs(signed),
                price=price,
                leg=leg,
                client_id=f"another-{self._named}",
            )
        )

    _named: int = 0

    def protect(self, symbol: Symbol, quantity: str, trigger: str, leg: Leg = Leg.BOTH) -> None:
        """It rests a protective stop; the quantity is signed as the stop's side."""
        signed = Decimal(quantity)
        self._named += 1
        self.exchange.venue.place_conditional(
            ConditionalRequest(
                symbol=symbol,
                side=Side.BUY if signed > 0 else Side.SELL,
                trigger=TriggerKind.STOP,
                kind=Kind.MARKET,
                quantity=abs(signed),
                trigger_price=Decimal(trigger),
                leg=leg,
                client_id=f"another-{self._named}",
                reduce_only=True,
            )
        )

    def price(self, symbol: Symbol, price: str, *, mark: str | None = None) -> None:
        """The market moves; with a mark of its own the mark lags behind."""
        venue = self.exchange.venue
        venue.set_price(symbol, Decimal(price))
        if mark is not None:
            venue.markets[symbol].mark = Decimal(mark)

    def inject(self, **rule: object) -> None:
        self.exchange.inject([msgspec.convert(rule, FaultRule)])

    def held(self) -> dict[str, Decimal]:
        positions = self.exchange.venue.account.positions
        return {
            symbol if leg is Leg.BOTH else f"{symbol} {leg.value}": each.quantity
            for (symbol, leg), each in positions.items()
            if each.quantity
        }

    def sent(self, subject: str, symbol: Symbol | None = None) -> list[dict[str, str]]:
        """The parameters of what came in to change something, oldest first."""
        found = []
        for each in self.exchange.arrivals:
            text = str(each["parameters"])
            if text.startswith("{"):
                fields = msgspec.json.decode(text, type=dict[str, object])
                parameters = {name: str(value) for name, value in fields.items()}
            else:
                parameters = dict(parse_qsl(text))
            if each["request"] == subject and symbol in {None, parameters.get("symbol")}:
                found.append({**parameters, "at_s": str(int(str(each["ts_ns"])) / 1e9)})
        return found

    def sizes(self, symbol: Symbol) -> list[str]:
        """What our orders on a symbol asked for."""
        return [each[self.words.size] for each in self.sent(self.words.place, symbol)]

    # --- the stop --------------------------------------------------------------------------------

    @property
    def state(self) -> EmergencyState:
        return self.stop.snapshot().state

    def row(self, symbol: str, side: str = "") -> PositionProgress:
        rows = self.stop.snapshot().positions
        return next(r for r in rows if r.symbol == symbol and side in {"", r.side})

    def rows(self) -> list[str]:
        rows = self.stop.snapshot().positions
        return [f"{r.symbol} {r.side} {r.left}: {r.state_words} {r.last_answer}" for r in rows]

    def press(self) -> None:
        self.stop.trip(source=TripSource.BUTTON, reason="test")

    async def until(self, condition: Callable[[], object], *, within_s: float = 60.0) -> float:
        began = self.clock.monotonic_ns()
        while not condition():
            passed_s = (self.clock.monotonic_ns() - began) / 1e9
            assert passed_s < within_s, f"not within {within_s} simulated seconds: {self.rows()}"
            await self.clock.sleep(0.01)
        return (self.clock.monotonic_ns() - began) / 1e9

    async def until_flat(self, *, within_s: float = 60.0) -> float:
        """Until the stop says so; the exchange's books must agree."""
        took_s = await self.until(lambda: self.state is EmergencyState.FLAT, within_s=within_s)
        self.check_flat()
        return took_s

    def check_flat(self) -> None:
        venue = self.exchange.venue
        assert not self.held(), self.held()
        assert not list(venue.books.open_orders()), "ordinary orders are open"
        assert not list(venue.books.waiting()), "conditional orders are open"
        assert self.stop.is_latched()

    async def finished(self) -> EmergencyFlat:
        """The event that says so, which comes when the fills were collected."""
        await self.until(lambda: any(isinstance(e, EmergencyFlat) for e in self.bus.events))
        return next(each for each in self.bus.events if isinstance(each, EmergencyFlat))


Story = Callable[[ExchangeStop], Awaitable[None]]


def on_exchange(
    folder: Path,
    story: Story,
    *,
    venue: str = "binance",
    hedged: bool = False,
    known: tuple[Exposure, ...] = (),
    latency: Latency | None = None,
    instrument: Callable[[Symbol], Instrument] | None = None,
) -> None:
    """Run a story with a stop that is armed; `known` is what our own books say is open."""

    async def run(desk: BinanceDesk | BybitDesk) -> None:
        exchange, clock = desk.exchange, desk.clock
        assert isinstance(clock, SimClock)
        for symbol, price in PRICES.items():
            exchange.venue.set_price(symbol, Decimal(price))
        if hedged:
            exchange.venue.set_hedged(True)
        faults: list[str] = []
        tasks = Tasks(on_fault=lambda name, error: faults.append(f"{name}: {error!r}"))
        line = Line(clock=clock, tasks=tasks, latency=latency, seed=7)
        adapter, stream = _adapter(
            venue,
            clock,
            tasks,
            InMemoryConnections(exchange, clock, line=line, tasks=tasks),
            in_memory_sockets(exchange, clock, line=line, tasks=tasks),
        )
        await adapter.start()
        stream.start()
        await clock.sleep(_STREAM_UP_S)
        desk_of_stop = _armed(folder, exchange, clock, adapter, line, known, instrument, venue)
        try:
            await story(desk_of_stop)
        finally:
            await desk_of_stop.stop.aclose()
            await tasks.cancel_all()
        assert not faults, faults

    if venue == "binance":
        on_binance(run, balance="10000000")
    else:
        on_bybit(run, balance="10000000")


def _adapter(
    name: str, clock: SimClock, tasks: Tasks, connections: Connections, open_socket: OpenSocket
) -> tuple[Venue, BinanceUserStream | BybitUserStream]:
    pools = BINANCE_POOLS if name == "binance" else BYBIT_POOLS
    limits = RateLimits(clock=clock, pools=pools)
    chance = Chance(seed=1, name="delays")
    symbols = (BTC, ETH, SOL, XRP)
    if name == "binance":
        rest = BinanceRest(clock=clock, key=_KEY, connections=connections, limits=limits)
        stream = BinanceUserStream(
            clock=clock,
            chance=chance,
            tasks=tasks,
            rest=rest,
            stream_url="wss://nowhere",
            open_socket=open_socket,
        )
        venue = BinanceVenue(
            clock=clock, rest=rest, symbols=symbols, final_check=lambda _: (), stream=stream
        )
        return venue, stream
    bybit_rest = BybitRest(clock=clock, key=_KEY, connections=connections, limits=limits)
    bybit_stream = BybitUserStream(
        clock=clock,
        chance=chance,
        tasks=tasks,
        rest=bybit_rest,
        stream_url="wss://nowhere",
        open_socket=open_socket,
    )
    bybit = BybitVenue(
        clock=clock, rest=bybit_rest, symbols=symbols, final_check=lambda _: (), stream=bybit_stream
    )
    return bybit, bybit_stream


def _armed(
    folder: Path,
    exchange: Exchange,
    clock: SimClock,
    adapter: Venue,
    line: Line,
    known: tuple[Exposure, ...],
    instrument: Callable[[Symbol], Instrument] | None,
    venue: str,
) -> ExchangeStop:
    latch = LatchFile(folder / "latch")
    latch.create_armed(generation=1, owner="engine-1", written_ns=clock.now_ns())
    bus, intents = ListeningBus(), list[Intent]()
    stop = EmergencyStop(
        venue=StopVenue(exits=adapter, reads=adapter.emergency_reads, streams=adapter),
        account=KnownAccount(exposures=lambda: known, instrument=instrument or adapter.instrument),
        latch=latch,
        identity=StopIdentity(node="desk", generation=1, owner="engine-1"),
        clock=clock,
        ids=IdSource(),
        bus=bus,
        hooks=StopHooks(record_closing=intents.append),
    )
    stop.restore(latch.read())
    return ExchangeStop(
        exchange=exchange,
        clock=clock,
        adapter=adapter,
        line=line,
        stop=stop,
        latch=latch,
        bus=bus,
        words=WORDS[venue],
        intents=intents,
    )


def exposure(symbol: Symbol, quantity: str) -> Exposure:
    return Exposure(symbol=symbol, quantity=Decimal(quantity), mark=Decimal(PRICES[symbol]))


__all__ = ["BTC", "ETH", "SOL", "XRP", "ExchangeStop", "exposure", "on_exchange"]
