"""`python -m tests.simulators binance|bybit`: a simulated exchange on loopback, until interrupted.

Prints one JSON line when it is ready: {"rest_url", "stream_url", "control_url"}. Exit status 2 for
a wrong use. The same seed gives the same books, ids and faults.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

from engine.runtime import SystemClock, Tasks
from tests.simulators.binance import BinanceExchange
from tests.simulators.bybit import BybitExchange
from tests.simulators.exchange import Exchange, Settings
from tests.simulators.faults import read_rules
from tests.simulators.wire import SimulatorServer

_EXCHANGES: Mapping[str, Callable[..., Exchange]] = {
    "binance": BinanceExchange,
    "bybit": BybitExchange,
}
_log = logging.getLogger(__name__)


def main() -> int:
    chosen = _parse(sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    return asyncio.run(_run(chosen))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulators", description=__doc__)
    parser.add_argument("venue", choices=sorted(_EXCHANGES))
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--key", default="test-key")
    parser.add_argument("--secret", default="test-secret")
    parser.add_argument("--balance", type=_amount, default=Decimal(100_000))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--more-contracts", type=int, default=0, metavar="N", help="small coins beside the usual"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE", help="JSON: a list of fault rules")
    chosen = parser.parse_args(arguments)
    try:
        chosen.rules = read_rules(chosen.faults.read_bytes()) if chosen.faults else []
    except (OSError, ValueError) as error:
        parser.error(f"--faults: {error}")
    return chosen


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error


async def _run(chosen: argparse.Namespace) -> int:
    tasks = Tasks(on_fault=lambda name, error: _log.error("%s ended: %r", name, error))
    settings = Settings(
        key=chosen.key,
        secret=chosen.secret,
        balance=chosen.balance,
        seed=chosen.seed,
        more_contracts=chosen.more_contracts,
    )
    exchange = _EXCHANGES[chosen.venue](clock=SystemClock(), tasks=tasks, settings=settings)
    try:
        exchange.inject(chosen.rules)
    except ValueError as error:
        sys.stderr.write(f"--faults: {error}\n")
        return 2
    server = SimulatorServer(exchange=exchange, tasks=tasks)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await server.start(port=chosen.port)
    except OSError as error:
        sys.stderr.write(f"--port: {error}\n")
        await server.close()
        await tasks.cancel_all()
        return 2
    try:
        sys.stdout.write(json.dumps(server.addresses()) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await server.close()
        await tasks.cancel_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
