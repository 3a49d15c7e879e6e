"""Fifty positions flat and verified on the simulated Binance, over real sockets.

From the press to the second of two empty readings of the whole account, a second apart: the stop
with our adapter, without a kernel around it. Each round has an exchange of its own, in a process of
its own, with fifty open positions, a resting entry and a protective stop on each. Baseline: a bare
aiohttp client that knows beforehand what is open and sends the same requests, as many at once, with
the same second between its two readings.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Iterable
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from urllib.parse import urlencode

import aiohttp
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
from engine.model.config import Configuration, EngineSection, MarketSection, VenueSection
from engine.model.emergency import EmergencyState, TripSource
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.model.venue import Approved
from engine.runtime import Chance, IdSource, SystemClock, Tasks
from engine.venues.exchange import ExchangeNeeds, ExchangeParts, build_exchange, network
from tests.benchmarks.figures import Bar, Effort, Figure
from tests.fakes.stop_desk import ListeningBus
from tests.simulators.exchange import Settings
from tests.simulators.process import SimulatorProcess, simulator_process
from tests.waiting import eventually

__all__ = ["measure"]

_POSITIONS = 50
_LIMIT_RATIO = 1.3
_QUANTITY = Decimal(100)
_PRICE = Decimal("2.2")
_CONNECTIONS = 20
_GAP_S = 1.0


def measure(effort: Effort) -> Figure:
    positions = effort.count(_POSITIONS, least=3)
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(effort.rounds if effort.is_full else 1):
        ours.append(_round(positions, is_bare=False))
        bare.append(_round(positions, is_bare=True))
    ratio = median(ours) / median(bare)
    return Figure(
        name="flatten_50",
        unit="s",
        better="lower",
        ours=ours,
        baseline_name="bare aiohttp client with the same requests and the same second of gap",
        baseline=bare,
        bars=[Bar(f"{ratio:.2f} ×, at most {_LIMIT_RATIO} ×", ratio <= _LIMIT_RATIO)]
        if effort.is_full
        else [],
        notes=[f"{positions} positions, each with a resting entry and a protective stop"],
    )


def _round(positions: int, *, is_bare: bool) -> float:
    with (
        simulator_process(
            "binance", "--more-contracts", str(positions), "--balance", "10000000"
        ) as simulator,
        TemporaryDirectory(prefix="seawall-bench-") as folder,
    ):
        symbols = tuple(Symbol(f"S{number:02d}USDT") for number in range(positions))
        took_s = asyncio.run(_flatten(simulator, symbols, Path(folder), is_bare=is_bare))
        books = simulator.books()
    left = [row for row in books["positions"] if Decimal(row["quantity"])]
    open_orders = [row for row in books["orders"] if row["status"] == "NEW"]
    waiting = [row for row in books["conditionals"] if row["status"] == "NEW"]
    if left or open_orders or waiting:
        raise RuntimeError(f"not flat: {left} {open_orders} {waiting}")
    return took_s


async def _flatten(
    simulator: SimulatorProcess, symbols: tuple[Symbol, ...], folder: Path, *, is_bare: bool
) -> float:
    clock = SystemClock()
    tasks = Tasks(on_fault=lambda name, error: None)
    parts = build_exchange(_configuration(simulator, symbols), _needs(clock, tasks))
    try:
        await parts.venue.start()
        await parts.connections.warm()
        await _open(parts, symbols)
        # Limits begin anew: opening many must not be paid for by closing them.
        await asyncio.sleep(10.5 if len(symbols) > 10 else 0)
        if is_bare:
            async with _Bare(simulator) as client:
                return await client.flatten(symbols)
        return await _stop(parts, symbols, folder, clock)
    finally:
        await tasks.cancel_all()
        await parts.connections.close()


def _configuration(simulator: SimulatorProcess, symbols: tuple[Symbol, ...]) -> Configuration:
    return Configuration(
        engine=EngineSection(mode="live"),
        venue=VenueSection(rest_url=simulator.rest_url, stream_url=simulator.stream_url),
        market=MarketSection(symbols=symbols),
    )


def _needs(clock: SystemClock, tasks: Tasks) -> ExchangeNeeds:
    settings = Settings()
    return ExchangeNeeds(
        clock=clock,
        chance=Chance(seed=1, name="delays"),
        tasks=tasks,
        final_check=lambda _: (),
        key=ApiKey(key=settings.key, secret=settings.secret),
        transport=network(clock),
    )


async def _open(parts: ExchangeParts, symbols: tuple[Symbol, ...]) -> None:
    """A position, a resting entry and a protective stop each."""
    for number, symbol in enumerate(symbols):
        name = f"bench-g1-{number}"
        entry = Intent(
            client_order_id=ClientOrderId(f"{name}-e"),
            symbol=symbol,
            side=Side.BUY,
            kind=OrderKind.MARKET,
            purpose=OrderPurpose.ENTRY,
            quantity=_QUANTITY,
        )
        resting = msgspec.structs.replace(
            entry,
            client_order_id=ClientOrderId(f"{name}-r"),
            kind=OrderKind.LIMIT,
            price=Decimal("2.0"),
        )
        protective = msgspec.structs.replace(
            entry,
            client_order_id=ClientOrderId(f"{name}-p"),
            side=Side.SELL,
            kind=OrderKind.STOP_MARKET,
            purpose=OrderPurpose.PROTECTIVE_STOP,
            trigger_price=Decimal("1.9"),
            reduce_only=True,
        )
        for intent in (entry, resting):
            await parts.venue.place(Approved(intent=intent, policy_version=1, approved_ns=0))
        await parts.venue.reduce(protective)


async def _stop(
    parts: ExchangeParts, symbols: tuple[Symbol, ...], folder: Path, clock: SystemClock
) -> float:
    latch = LatchFile(folder / "latch")
    latch.create_armed(generation=1, owner="bench", written_ns=clock.now_ns())
    known = tuple(Exposure(symbol=each, quantity=_QUANTITY, mark=_PRICE) for each in symbols)
    stop = EmergencyStop(
        venue=StopVenue(exits=parts.venue, reads=parts.venue.emergency_reads, streams=parts.stream),
        account=KnownAccount(exposures=lambda: known, instrument=parts.venue.instrument),
        latch=latch,
        identity=StopIdentity(node="bench", generation=1, owner="bench"),
        clock=clock,
        ids=IdSource(),
        bus=ListeningBus(),
        hooks=StopHooks(),
    )
    stop.restore(latch.read())
    parts.stream.start()
    await eventually(parts.stream.is_connected)
    try:
        began = perf_counter_ns()
        stop.trip(source=TripSource.BUTTON, reason="bench")
        await eventually(lambda: stop.snapshot().state is EmergencyState.FLAT, timeout_s=60)
        return (perf_counter_ns() - began) / 1e9
    finally:
        await stop.aclose()


# --- bare ----------------------------------------------------------------------------------------


class _Bare:
    """The same requests by a client that does nothing else."""

    def __init__(self, simulator: SimulatorProcess) -> None:
        self._url = simulator.rest_url
        self._settings = Settings()
        self._room = asyncio.Semaphore(_CONNECTIONS)

    async def __aenter__(self) -> _Bare:
        self._session = aiohttp.ClientSession(
            headers={"X-MBX-APIKEY": self._settings.key},
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
        )
        # Warm, as ours are.
        await asyncio.gather(*(self._ask("GET", "/fapi/v1/openOrders", symbol="S00USDT"),) * 1)
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self._session.close()

    async def flatten(self, symbols: tuple[Symbol, ...]) -> float:
        began = perf_counter_ns()
        await _all(self._cancel(symbol, "openOrders", "allOpenOrders") for symbol in symbols)
        await self._ask("GET", "/fapi/v3/positionRisk")
        await _all(self._close(symbol) for symbol in symbols)
        await self._ask("GET", "/fapi/v3/positionRisk")
        await _all(self._cancel(symbol, "openAlgoOrders", "algoOpenOrders") for symbol in symbols)
        await self._look()
        await asyncio.sleep(_GAP_S)
        await self._look()
        return (perf_counter_ns() - began) / 1e9

    async def _cancel(self, symbol: Symbol, count: str, cancel: str) -> None:
        """The count of what is cancelled, and the cancel."""
        await _all(
            (
                self._ask("GET", f"/fapi/v1/{count}", symbol=symbol),
                self._ask("DELETE", f"/fapi/v1/{cancel}", symbol=symbol),
            )
        )

    async def _close(self, symbol: Symbol) -> None:
        await self._ask(
            "POST",
            "/fapi/v1/order",
            symbol=symbol,
            side="SELL",
            type="MARKET",
            quantity=str(_QUANTITY),
            reduceOnly="true",
            newClientOrderId=f"bare-{symbol}",
        )

    async def _look(self) -> None:
        paths = ("/fapi/v3/positionRisk", "/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders")
        await _all(self._ask("GET", path) for path in paths)

    async def _ask(self, method: str, path: str, **named: str) -> object:
        query = urlencode(
            {**named, "recvWindow": "5000", "timestamp": str(time.time_ns() // 10**6)}
        )
        secret = self._settings.secret.encode()
        signature = hmac.new(secret, query.encode(), hashlib.sha256).hexdigest()
        async with (
            self._room,
            self._session.request(
                method, f"{self._url}{path}?{query}&signature={signature}"
            ) as answer,
        ):
            body = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{method} {path}: {answer.status} {body!r}")
            return msgspec.json.decode(body)


async def _all(requests: Iterable[Awaitable[object]]) -> None:
    await asyncio.gather(*requests)
