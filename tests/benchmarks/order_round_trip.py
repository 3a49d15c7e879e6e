"""An entry from sizing to its acknowledgement over real sockets, on the whole kernel.

Sizing, gate, durable intent, final check, signed POST and its reading, one order after another.

Every order is a limit order below the market, so that nothing fills and no stop is placed; it is
cancelled before the next, unmeasured. The simulated Binance runs in a process of its own. Baseline:
the same signed request by a bare aiohttp session on a kept connection to another such process, its
answer decoded. (httpx takes longer than aiohttp, so the bar is stricter than with it.)
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from urllib.parse import urlencode

import aiohttp
import msgspec

from engine.kernel import Kernel, KernelOptions, build_kernel
from engine.model.config import (
    Configuration,
    EngineSection,
    MarketSection,
    NodeSection,
    PolicySection,
    RedisSection,
    VenueSection,
)
from engine.model.ids import ClientOrderId, SignalId, TraceId
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.policy import seeded, with_changes
from engine.model.signals import Signal
from engine.model.values import Side
from engine.runtime import SystemClock
from tests.benchmarks.figures import Bar, Effort, Figure, percentile
from tests.desk import BTC, ScriptedMarket, with_feed
from tests.simulators.exchange import Settings
from tests.simulators.process import SimulatorProcess, simulator_process
from tests.venue_desk import ACCOUNT, Vault
from tests.waiting import eventually

__all__ = ["measure"]

# Of all rounds together: below what the venue admits in ten seconds, of which we plan with 80 %.
_ORDERS = 200
_TURNS = 5
_LIMIT_MS = 1.0
_PRICE = Decimal(60_000)
_BELOW = Decimal(59_500)
_TICK = Decimal("0.1")


def measure(effort: Effort) -> Figure:
    count = effort.count(_ORDERS)
    with (
        TemporaryDirectory(prefix="seawall-bench-") as folder,
        simulator_process("binance") as ours_at,
        simulator_process("binance") as bare_at,
    ):
        for simulator in (ours_at, bare_at):
            simulator.move(BTC, str(_PRICE))
        ours, bare = asyncio.run(_alternate(Path(folder), ours_at, bare_at, count))
    above_ms = median(ours) - median(bare)
    return Figure(
        name="order_round_trip",
        unit="ms p50",
        better="lower",
        ours=ours,
        baseline_name="bare signed POST by aiohttp, decoded",
        baseline=bare,
        bars=[Bar(f"p50 {above_ms:.2f} ms above, under 1 ms", above_ms < _LIMIT_MS)]
        if effort.is_full
        else [],
        notes=[
            f"p99 {percentile(ours, 0.99):.2f} ms, bare {percentile(bare, 0.99):.2f} ms,"
            f" over {len(ours)} orders each"
        ],
    )


async def _alternate(
    folder: Path, ours_at: SimulatorProcess, bare_at: SimulatorProcess, count: int
) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    bare: list[float] = []
    share = max(1, count // _TURNS)
    async with _kernel(folder, ours_at) as kernel, _Bare(bare_at) as plain:
        await _ours(kernel, range(2))  # The leverage is set, the connections are warm.
        await plain.orders(range(2))
        for start in range(2, count + 2, share):
            numbers = range(start, start + share)
            ours += await _ours(kernel, numbers)
            bare += await plain.orders(numbers)
    return ours, bare


# --- ours ----------------------------------------------------------------------------------------


@asynccontextmanager
async def _kernel(folder: Path, simulator: SimulatorProcess) -> AsyncIterator[Kernel]:
    """A live engine on the simulator, with a market that stands still."""
    clock = SystemClock()
    settings = Settings()
    limits = {"allow_new_trades": "true", "max_orders_per_minute": "1200"}
    policy = folder / "policy.json"
    document = with_changes(seeded(settings.balance, live=True, ts_ns=clock.now_ns()), limits)
    policy.write_bytes(msgspec.json.encode(document))
    kernel = await build_kernel(
        KernelOptions(
            configuration=Configuration(
                engine=EngineSection(mode="live"),
                node=NodeSection(name=ACCOUNT),
                redis=RedisSection(mode="standalone"),
                venue=VenueSection(rest_url=simulator.rest_url, stream_url=simulator.stream_url),
                market=MarketSection(symbols=(BTC,)),
                policy=PolicySection(file=str(policy)),
            ),
            data_dir=folder / "data",
        ),
        clock=clock,
        vault=Vault(settings),
    )
    kernel.parts.strategy.on_trade = lambda *_: None  # type: ignore[method-assign]  # Ours alone.
    kernel = with_feed(kernel, ScriptedMarket(clock=clock, prices={BTC: _PRICE}))
    await kernel.start()
    try:
        await eventually(lambda: kernel.parts.market.last_price(BTC))
        started = await kernel.client.start(reason="bench", confirm_live=ACCOUNT)
        if not started.ok:
            raise RuntimeError(f"the engine does not start: {started.unmet}")
        yield kernel
    finally:
        await kernel.stop()


async def _ours(kernel: Kernel, numbers: range) -> list[float]:
    waits = []
    execution = kernel.parts.execution
    for number in numbers:
        signal = _signal(number, kernel.parts.clock.now_ns())
        began = perf_counter_ns()
        intent = _intent(kernel, signal, number)
        sent = await execution.entries.place(intent)
        if not isinstance(sent, asyncio.Task):
            raise RuntimeError(f"an entry was refused: {sent}")  # noqa: TRY004 - No type error.
        await sent
        waits.append((perf_counter_ns() - began) / 1e6)
        record = execution.desk.get(intent.client_order_id)
        assert record is not None
        await execution.exits.cancel(record)
        await eventually(lambda: not list(execution.desk.open_orders()))
    return waits


def _signal(number: int, now_ns: int) -> Signal:
    return Signal(
        id=SignalId(f"s-{number}"),
        symbol=BTC,
        side=Side.BUY,
        confidence=0.9,
        strategy="bench",
        ts_ns=now_ns,
        trace=TraceId(f"s-{number}"),
    )


def _intent(kernel: Kernel, signal: Signal, number: int) -> Intent:
    """What execution makes of a signal, but with a limit; each price is another, for an order like
    one of the last five seconds is refused.
    """
    sized = kernel.parts.gatekeeper.size_entry(signal)
    if sized.reasons:
        raise RuntimeError(f"an entry has no size: {sized.reasons}")
    return Intent(
        client_order_id=ClientOrderId(f"{ACCOUNT}-g1-bench{number}"),
        symbol=signal.symbol,
        side=signal.side,
        kind=OrderKind.LIMIT,
        purpose=OrderPurpose.ENTRY,
        quantity=sized.quantity,
        price=_BELOW + _TICK * number,
        leverage=sized.leverage,
        trace=signal.trace,
        signal_id=signal.id,
        stop_loss=sized.stop_loss,
        strategy=signal.strategy,
        created_ns=kernel.parts.clock.now_ns(),
    )


# --- bare ----------------------------------------------------------------------------------------


class _Bare:
    """The same requests by a session that does nothing else."""

    def __init__(self, simulator: SimulatorProcess) -> None:
        self._url = f"{simulator.rest_url}/fapi/v1/order"
        self._settings = Settings()

    async def __aenter__(self) -> _Bare:
        self._session = aiohttp.ClientSession(headers={"X-MBX-APIKEY": self._settings.key})
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self._session.close()

    async def orders(self, numbers: range) -> list[float]:
        waits = []
        for number in numbers:
            named = {"symbol": BTC, "newClientOrderId": f"bare-{number}"}
            began = perf_counter_ns()
            await self._request(
                "POST",
                {
                    **named,
                    "side": "BUY",
                    "type": "LIMIT",
                    "quantity": "0.1",
                    "price": str(_BELOW + _TICK * number),
                    "timeInForce": "GTC",
                },
            )
            waits.append((perf_counter_ns() - began) / 1e6)
            await self._request(
                "DELETE", {"symbol": BTC, "origClientOrderId": named["newClientOrderId"]}
            )
        return waits

    async def _request(self, method: str, parameters: dict[str, str]) -> None:
        query = urlencode(
            {**parameters, "recvWindow": "5000", "timestamp": str(time.time_ns() // 1_000_000)}
        )
        secret = self._settings.secret.encode()
        signature = hmac.new(secret, query.encode(), hashlib.sha256).hexdigest()
        url = f"{self._url}?{query}&signature={signature}"
        async with self._session.request(method, url) as answer:
            document = msgspec.json.decode(await answer.read())
            if answer.status != 200:
                raise RuntimeError(f"the bare request was refused: {document}")
