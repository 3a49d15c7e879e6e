"""A simulated exchange in a process of its own, on loopback: for kills, and for honest timings."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_END_S = 10.0
_CONTROL_S = 10.0


class SimulatorProcess:
    """A running simulator and its control address; `simulator_process` makes one."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.rest_url = addresses["rest_url"]
        self.stream_url = addresses["stream_url"]
        self._control_url = addresses["control_url"]

    def books(self) -> dict[str, Any]:
        """The exchange's own, exact."""
        with urllib.request.urlopen(f"{self._control_url}/books", timeout=_CONTROL_S) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def move(self, symbol: str, price: str) -> None:
        """A trade at a new price."""
        self._tell("price", {"symbol": symbol, "price": price})

    def inject(self, *rules: dict[str, Any]) -> None:
        """Faults to come; `tests.simulators.faults` has their form."""
        self._tell("faults", list(rules))

    def _tell(self, what: str, document: object) -> None:
        body = json.dumps(document).encode()
        with urllib.request.urlopen(
            f"{self._control_url}/{what}", data=body, timeout=_CONTROL_S
        ) as answer:
            answer.read()


@contextmanager
def simulator_process(venue: str, *arguments: str) -> Iterator[SimulatorProcess]:
    """Start one on a free port, and end it with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.simulators", venue, *arguments],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator of {venue} did not start")
        yield SimulatorProcess(json.loads(line))
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


__all__ = ["SimulatorProcess", "simulator_process"]
