"""End to end: `seawall order …` against a real engine in a process of its own, by its socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from console.cli import main
from engine.control import ControlClient, NoEngine
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(120)
_ROOT = Path(__file__).resolve().parents[2]
_BEGIN_NS = 1_767_225_600_000_000_000
_CONFIG = '[redis]\nmode = "standalone"\n'


@contextmanager
def running(data: Path, recording: Path) -> Iterator[None]:
    """An engine on a market that stands still, so that only the story trades."""
    config = data.with_suffix(".toml")
    config.write_text(_CONFIG)
    with (data.parent / "engine.log").open("wb") as said:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "console", "run", "--headless", "--json"),
                *("--replay", str(recording), "--speed", "1"),
                *("--config", str(config), "--data-dir", str(data)),
            ],
            cwd=_ROOT,
            env=dict(os.environ),
            stdout=said,
            stderr=said,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def still_market(path: Path) -> Path:
    """Two trades a second at one price, for two minutes."""
    rows = ["ts_ns,symbol,price,quantity,side"]
    rows += [f"{_BEGIN_NS + number * 500_000_000},BTCUSDT,60000,0.01,BUY" for number in range(240)]
    path.write_text("\n".join(rows) + "\n")
    return path


class Shell:
    """Runs `seawall order …` and reads its answer."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._data = data
        self._capsys = capsys
        self.said = ""

    def run(self, *words: str) -> tuple[int, Any]:
        status = main(["order", *words, "--json", "--data-dir", str(self._data)])
        out, self.said = self._capsys.readouterr()
        return status, json.loads(out)

    def text(self, *words: str) -> tuple[int, str]:
        status = main(["order", *words, "--data-dir", str(self._data)])
        out, self.said = self._capsys.readouterr()
        return status, out


async def test_an_order_from_a_shell_from_preview_to_close(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "desk"
    shell = Shell(data, capsys)

    def trades() -> bool:
        try:
            status = ControlClient(data).call("status")
        except NoEngine:
            return False
        return bool(status["state"] == "running" and not status["gate"])

    with running(data, still_market(tmp_path / "still.csv")):
        await eventually(trades, timeout_s=60)
        asked = ("btcusdt", "buy", "--quantity", "0.0105", "--leverage", "2")
        status, preview = shell.run("preview", *asked)
        assert (status, preview["ok"], preview["quantity"]) == (0, True, "0.01")
        assert preview["notional"] == "600"
        assert {room["name"] for room in preview["limits"]} >= {"max_order_notional", "margin"}

        status, placed = shell.run("place", *asked, "--reason", "from a shell")
        assert (status, placed["ok"]) == (0, True), placed
        assert placed["order"]["client_order_id"] == "desk-g1-1"
        again, refused = shell.run("place", *asked)
        assert (again, [one["code"] for one in refused["reasons"]]) == (1, ["duplicate_order"])
        status, resting = shell.run(
            *("place", "BTCUSDT", "buy", "--notional", "600", "--limit", "59500")
        )
        assert (status, resting["order"]["state"]) == (0, "accepted")

        status, cancelled = shell.run("cancel", resting["order"]["client_order_id"])
        assert (status, cancelled["order"]["state"]) == (0, "cancelled")
        status, words = shell.text("cancel", resting["order"]["client_order_id"])
        assert status == 1
        assert "is cancelled; it cannot be cancelled" in words

        status, part = shell.run("close", "BTCUSDT", "--quantity", "0.004")
        assert (status, part["order"]["reduce_only"]) == (0, True), part
        status, closed = shell.run("close", "BTCUSDT", "--all", "--reason", "enough")
        assert (status, closed["order"]["state"]) == (0, "filled"), closed
        status, listed = shell.run("list")
        filled = [one for one in listed["recent"] if one["state"] == "filled"]
        assert [Decimal(one["quantity"]) for one in filled] == [
            Decimal("0.006"),
            Decimal("0.004"),
            Decimal("0.01"),
        ]
        assert "filled 0.01: filled" in shell.text("list")[1]

        # What is wrong is named by its option, with status 2.
        for words_given, named in (
            (("place", "BTCUSDT", "buy", "--quantity", "much"), "--quantity"),
            (("place", "BTCUSDT", "buy", "--quantity", "0.00001"), "--quantity"),
            (("place", "BTCUSDT", "buy", "--quantity", "1", "--limit", "-3"), "--limit"),
            (("preview", "BTCUSDT", "sell", "--notional", "9", "--stop-loss", "9%"), "--stop-loss"),
            (("close", "BTCUSDT", "--quantity", "x"), "--quantity"),
        ):
            assert shell.run(*words_given)[0] == 2
            assert f"{named}: " in shell.said
        assert shell.text("preview", "BTCUSDT", "buy", "--quantity", "9")[0] == 1


def test_without_an_engine_nothing_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["order", "list", "--data-dir", str(tmp_path)]) == 1
    assert "no engine runs" in capsys.readouterr().err
