"""Panic on an exchange without an engine: simulated venues in a process of their own, over sockets,
an engine that is killed or frozen, and the venue's own books as the judge.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.emergency_stop import is_closing_order
from engine.latch import LatchFile, StopState
from engine.model.api_key import ApiKey
from engine.model.config import Configuration
from engine.model.errors import ConfigurationError
from engine.model.ids import ClientOrderId
from engine.stop_guard import offline_panic
from tests.unit.engine.stop_guard.exchange_process import KEY, live_configuration
from tests.unit.engine.stop_guard.test_offline_panic import books as paper_books
from tests.unit.engine.stop_guard.test_offline_panic import killed_desk

both_venues = pytest.mark.parametrize("venue", ["binance", "bybit"])


@dataclass(frozen=True)
class Simulator:
    """A simulated exchange in another process."""

    venue: str
    rest_url: str
    stream_url: str
    control_url: str

    def books(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.control_url}/books") as answer:
            return dict(json.load(answer))

    def control(self, what: str, document: object) -> None:
        body = json.dumps(document).encode()
        with urllib.request.urlopen(f"{self.control_url}/{what}", data=body) as answer:
            answer.read()

    def configuration(self, mode: str = "live") -> Configuration:
        return live_configuration(self.venue, self.rest_url, self.stream_url, mode=mode)


@contextmanager
def running(module: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process and the line that it printed when it was ready."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().decode()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def simulator(venue: str) -> Iterator[Simulator]:
    with running("tests.simulators", venue) as (_, line):
        simulator = Simulator(venue=venue, **json.loads(line))
        for symbol, price in (("BTCUSDT", "60000"), ("ETHUSDT", "3000")):
            simulator.control("price", {"symbol": symbol, "price": price})
        yield simulator


@contextmanager
def engine(data_dir: Path, simulator: Simulator) -> Iterator[subprocess.Popen[bytes]]:
    module = "tests.unit.engine.stop_guard.exchange_process"
    arguments = (str(data_dir), simulator.venue, simulator.rest_url, simulator.stream_url)
    with running(module, *arguments) as (process, line):
        assert line == "ready\n"
        yield process


async def find_key() -> ApiKey:
    return KEY


def open_at_venue(simulator: Simulator) -> dict[str, int]:
    books = simulator.books()
    return {
        "positions": len([each for each in books["positions"] if float(each["quantity"])]),
        "orders": len([o for o in books["orders"] if o["status"] in {"NEW", "PARTIALLY_FILLED"}]),
        "conditionals": len([c for c in books["conditionals"] if c["status"] == "NEW"]),
    }


_NOTHING = {"positions": 0, "orders": 0, "conditionals": 0}
_ALL = {"positions": 2, "orders": 1, "conditionals": 1}


@both_venues
def test_a_killed_engine_s_account_is_flattened_at_the_exchange(
    simulator: Simulator, tmp_path: Path
) -> None:
    with engine(tmp_path, simulator) as process:
        process.kill()
        process.wait()
    assert open_at_venue(simulator) == _ALL
    answer = offline_panic(
        tmp_path,
        reason="from another shell",
        wait_s=15,
        configuration=simulator.configuration(),
        find_key=find_key,
    )
    assert answer["ok"], answer
    assert answer["emergency"]["state"] == "flat"
    assert answer["emergency"]["positions_open"] == answer["emergency"]["orders_open"] == 0
    assert open_at_venue(simulator) == _NOTHING
    orders = simulator.books()["orders"]
    closing = [o for o in orders if is_closing_order(ClientOrderId(o["client_id"]))]
    assert {(o["symbol"], o["side"]) for o in closing} == {("BTCUSDT", "SELL"), ("ETHUSDT", "BUY")}
    latch = LatchFile(tmp_path / "latch").read()
    assert (latch.latched, latch.state, latch.fence) == (True, StopState.FLAT, 1)


@both_venues
def test_a_frozen_engine_keeps_no_account_open(simulator: Simulator, tmp_path: Path) -> None:
    """Goal: the account is at the exchange, so nobody waits for a process that does not answer."""
    with engine(tmp_path, simulator) as process:
        os.kill(process.pid, signal.SIGSTOP)
        answer = offline_panic(
            tmp_path,
            reason="frozen",
            wait_s=15,
            configuration=simulator.configuration(),
            find_key=find_key,
        )
        assert answer["ok"], answer
        assert open_at_venue(simulator) == _NOTHING


@pytest.mark.parametrize("venue", ["binance"])
def test_from_a_shell_with_the_key_in_the_environment(simulator: Simulator, tmp_path: Path) -> None:
    with engine(tmp_path, simulator) as process:
        process.kill()
        process.wait()
    file = tmp_path / "seawall.toml"
    file.write_text(
        '[engine]\nmode = "live"\n[market]\nfeed = "venue"\n[venue]\nname = "binance"\n'
        f'rest_url = "{simulator.rest_url}"\nstream_url = "{simulator.stream_url}"\n'
    )
    command = [sys.executable, "-m", "console", "--config", str(file)]
    command += ["--data-dir", str(tmp_path), "panic", "--json", "--wait", "15s"]
    keys = {"SEAWALL_API_KEY": KEY.key, "SEAWALL_API_SECRET": KEY.secret}
    done = subprocess.run(
        command, capture_output=True, env={**os.environ, **keys}, check=False, timeout=18
    )
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["emergency"]["state"] == "flat"
    assert open_at_venue(simulator) == _NOTHING
    assert KEY.secret.encode() not in done.stdout + done.stderr


@pytest.mark.parametrize("venue", ["binance"])
def test_in_a_dry_run_nothing_is_touched_at_the_venue(simulator: Simulator, tmp_path: Path) -> None:
    """Goal: its orders are in the simulated books, and only those are acted on."""
    killed_desk(tmp_path)
    simulator.control("faults", [{"kind": "error", "answer": "unknown_500", "times": None}])
    answer = offline_panic(
        tmp_path,
        reason="dry",
        wait_s=15,
        configuration=simulator.configuration("dry_run"),
        find_key=find_key,
    )
    assert answer["ok"], answer
    assert paper_books(tmp_path)["positions"] == []
    assert simulator.books()["requests"] == []
    # Not even a read: each would have met the fault.
    assert simulator.books()["faults_done"] == {}


@pytest.mark.allow_log("filters and clocks")
@both_venues
def test_a_venue_that_refuses_connections_is_never_flat(tmp_path: Path, venue: str) -> None:
    answer = offline_panic(
        tmp_path,
        reason="panic",
        wait_s=1,
        configuration=live_configuration(venue, "http://127.0.0.1:9", "ws://127.0.0.1:9"),
        find_key=find_key,
    )
    assert not answer["ok"]
    assert answer["emergency"]["state"] != "flat"
    assert LatchFile(tmp_path / "latch").read().latched


def test_without_a_key_it_latches_and_says_what_is_missing(tmp_path: Path) -> None:
    async def none() -> ApiKey:
        raise ConfigurationError("", "there is no API key for binance, account desk")

    configuration = live_configuration("binance", "http://127.0.0.1:9", "ws://127.0.0.1:9")
    answer = offline_panic(
        tmp_path, reason="panic", wait_s=1, configuration=configuration, find_key=none
    )
    assert not answer["ok"]
    assert "binance cannot be asked to close anything" in answer["unmet"][0]["why"]
    assert LatchFile(tmp_path / "latch").read().latched


def test_a_configuration_that_cannot_be_read_keeps_nobody_from_latching(tmp_path: Path) -> None:
    file = tmp_path / "seawall.toml"
    file.write_text("[engine]\nmode = 'lively'\n")
    data_dir = tmp_path / "data"
    command = [sys.executable, "-m", "console", "--config", str(file)]
    command += ["--data-dir", str(data_dir), "panic", "--json", "--wait", "1s"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=18)
    assert done.returncode == 1, done
    answer = json.loads(done.stdout)
    assert answer["unmet"][0]["condition"] == "configuration"
    assert LatchFile(data_dir / "latch").read().latched
