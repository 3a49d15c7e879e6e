"""Campaign: `seawall run --headless` live on a simulated exchange over sockets, killed again and
again, judged by the exchange's own books.

Each seed takes one venue (even ones Binance, odd ones Bybit) and lets several engines live on one
data directory, each a process of its own: tickets and closes come over its control socket, prices
move, answers are lost before and after they took effect, streams are cut; and at a random moment,
starting up or trading, comes SIGKILL. The last engine finds everything and is stopped in order.

Invariants: those of `tests.venue_auditor`. When a thing dies at a random moment is not repeatable
to the microsecond; the plan of each death is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import sqlite3
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from engine.control import ControlClient, NoEngine
from engine.control.client import CommandFailed, NoAnswer
from engine.model.ids import Symbol
from engine.model.policy import seeded, with_changes
from engine.model.values import round_to_tick
from engine.runtime import SystemClock, Tasks
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Exchange, Settings
from tests.simulators.faults import Fault, FaultRule
from tests.simulators.wire import SimulatorServer
from tests.venue_auditor import Run, Window, judged, problems_of
from tests.waiting import eventually

SEED_LIMIT_S = 180
# Each takes half a minute of real time; the whole campaign runs fifty.
SEEDS_IN_TESTS = 2
_ROOT = Path(__file__).resolve().parents[2]
_NODE = "desk"
_SYMBOLS = tuple(Symbol(name) for name in ("BTCUSDT", "ETHUSDT"))
_ORDER = {"binance": "POST /fapi/v1/order", "bybit": "POST /v5/order/create"}
_KINDS: dict[str, type[Exchange]] = {"binance": BinanceExchange, "bybit": BybitExchange}
_QUANTITY = {"BTCUSDT": "0.01", "ETHUSDT": "0.2"}
_START_LIMIT_S = 60.0
# Absence counts after 31 s; then a little for whoever had to wait for a processor.
_REST_LIMIT_S = 75.0
_GONE = (NoEngine, NoAnswer, CommandFailed, OSError)


def run_seed(seed: int, workdir: Path) -> dict[str, object]:
    """One exchange, several engines; see the module."""
    return asyncio.run(_campaign(seed, workdir))


class _Killed:
    """One exchange and the engines that die on it."""

    def __init__(self, *, seed: int, folder: Path, tasks: Tasks) -> None:
        self.chance = random.Random(seed)
        self.venue = "bybit" if seed % 2 else "binance"
        self.folder = folder
        self.data = folder / "data"
        self.clock = SystemClock()
        self.exchange = _KINDS[self.venue](
            clock=self.clock, tasks=tasks, settings=Settings(seed=seed)
        )
        self.server = SimulatorServer(exchange=self.exchange, tasks=tasks)
        self.excused: list[Window] = []
        self.deaths: list[str] = []
        self._down_since_ns = self.clock.now_ns()

    # --- engines --------------------------------------------------------------------------------

    def configure(self) -> Path:
        changes = {"allow_new_trades": "true", "max_orders_per_minute": "600"}
        document = with_changes(seeded(Decimal(100_000), live=True), changes)
        policy = self.folder / "policy.json"
        policy.write_bytes(msgspec.json.encode(document))
        urls = self.server.addresses()
        names = ", ".join(f'"{symbol}"' for symbol in _SYMBOLS)
        lines = (
            *("[engine]", 'mode = "live"', "[node]", f'name = "{_NODE}"'),
            *("[redis]", 'mode = "standalone"'),
            *("[venue]", f'name = "{self.venue}"', f'rest_url = "{urls["rest_url"]}"'),
            f'stream_url = "{urls["stream_url"]}"',
            *("[market]", 'feed = "venue"', f"symbols = [{names}]"),
            *("[policy]", f'file = "{policy}"'),
        )
        path = self.folder / "seawall.toml"
        path.write_text("\n".join(lines))
        return path

    async def engine(self, config: Path) -> Process:
        settings = self.exchange.settings
        keys = {"SEAWALL_API_KEY": settings.key, "SEAWALL_API_SECRET": settings.secret}
        with (self.folder / "engine.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "console", "run", "--headless", "--confirm-live", _NODE),
                *("--config", str(config), "--data-dir", str(self.data)),
                cwd=_ROOT,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **keys, "PYTHONPATH": str(_ROOT)},
            )

    async def ask(self, verb: str, **args: str) -> Any:
        """What the engine answers; None when there is none that does."""
        client = ControlClient(self.data)
        try:
            return await asyncio.to_thread(client.call, verb, args, timeout_s=5.0)
        except _GONE:
            return None

    async def until_running(self, process: Process) -> None:
        until = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < until:
            status = await self.ask("status")
            if status is not None and status["state"] == "running":
                self._excuse()
                return
            assert process.returncode is None, f"the engine ended by itself: {self.log_tail()}"
            await asyncio.sleep(0.1)
        raise AssertionError(f"not running within {_START_LIMIT_S:g} s: {self.log_tail()}")

    def log_tail(self) -> str:
        return (self.folder / "engine.log").read_text(errors="replace")[-1500:]

    async def kill(self, process: Process, where: str) -> None:
        self.deaths.append(where)
        self._down_since_ns = self.clock.now_ns()
        process.kill()
        await process.wait()

    def _excuse(self) -> None:
        window = Window(from_ns=self._down_since_ns, to_ns=self.clock.now_ns(), why="no engine")
        self.excused.append(window)

    # --- a life ---------------------------------------------------------------------------------

    async def live_and_die(self, config: Path) -> None:
        """The first one always comes to trade, or there would be nothing to lose."""
        process = await self.engine(config)
        try:
            if self.deaths and self.chance.random() < 0.2:
                await asyncio.sleep(self.chance.uniform(0.3, 3.0))
                await self.kill(process, "starting")
                return
            await self.until_running(process)
            trading = asyncio.ensure_future(self.trade())
            await asyncio.sleep(self.chance.uniform(0.5, 6.0))
            await self.kill(process, "trading")
            trading.cancel()
            await asyncio.gather(trading, return_exceptions=True)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def trade(self) -> None:
        """Tickets, closes, prices and faults, as fast as the answers come."""
        while True:
            symbol = self.chance.choice(_SYMBOLS)
            self.stir(symbol)
            if self.chance.random() < 0.4:
                self.hurt()
            if self.chance.random() < 0.7:
                side = self.chance.choice(("BUY", "SELL"))
                ticket = {"symbol": symbol, "side": side, "quantity": _QUANTITY[symbol]}
                await self.ask("order.place", reason="campaign", **ticket)
            else:
                await self.ask("order.close", symbol=symbol, reason="campaign")
            await asyncio.sleep(self.chance.random() * 0.3)

    def stir(self, symbol: Symbol) -> None:
        market = self.exchange.venue.markets[symbol]
        price = market.last * Decimal(str(round(1 + self.chance.gauss(0, 0.002), 6)))
        self.exchange.venue.set_price(symbol, round_to_tick(price, market.contract.tick_size))

    def hurt(self) -> None:
        kind = self.chance.choice(
            (
                Fault.TIMEOUT_AFTER,
                Fault.DROP_BEFORE,
                Fault.DROP_AFTER,
                Fault.CUT_STREAMS,
                Fault.SLOW,
            )
        )
        seconds = self.chance.uniform(0.1, 2.0) if kind is Fault.SLOW else 0.0
        on = "*" if kind is Fault.CUT_STREAMS else _ORDER[self.venue]
        self.exchange.inject([FaultRule(kind=kind, on=on, seconds=seconds)])

    # --- the end --------------------------------------------------------------------------------

    async def settle(self, config: Path) -> None:
        """The last engine, with nothing against it, until nothing is unknown; then an end."""
        self.exchange.faults.clear()
        process = await self.engine(config)
        try:
            await self.until_running(process)
            with suppress(AssertionError):  # What is left then is the auditor's to say.
                await eventually(
                    lambda: not problems_of(self.run()), timeout_s=_REST_LIMIT_S, interval_s=1.0
                )
            process.terminate()
            await asyncio.wait_for(process.wait(), 30.0)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def run(self) -> Run:
        return Run(
            books=self.exchange.books(),
            state_db=self.data / "state.db",
            excused=tuple(self.excused),
        )


async def _campaign(seed: int, folder: Path) -> dict[str, object]:
    failed: list[str] = []
    tasks = Tasks(on_fault=lambda name, error: failed.append(f"{name}: {error!r}"))
    one = _Killed(seed=seed, folder=folder, tasks=tasks)
    await one.server.start()
    try:
        config = one.configure()
        for _ in range(one.chance.randint(2, 3)):
            await one.live_and_die(config)
        await one.settle(config)
        run = one.run()
        problems = [*problems_of(run), *failed]
        assert not problems, f"{one.venue} seed {seed} {one.deaths}: " + "; ".join(problems[:8])
        with closing(sqlite3.connect(run.state_db)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counted = dataclasses.asdict(judged(run))
        return {"venue": one.venue, "deaths": one.deaths, **counted}
    finally:
        await one.server.close()
        await tasks.cancel_all()


__all__ = ["SEEDS_IN_TESTS", "SEED_LIMIT_S", "run_seed"]
