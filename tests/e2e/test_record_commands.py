"""The commands about records as an operator types them: real processes on a real data directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.control import ControlClient, NoEngine
from engine.database import check_integrity
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(90)
_ROOT = Path(__file__).resolve().parents[2]


def seawall(data_dir: Path, *words: str, status: int = 0) -> str:
    """Run one command; returns what it printed on standard output, or on error when refused."""
    done = subprocess.run(
        [sys.executable, "-m", "console", *words, "--data-dir", str(data_dir)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stderr if status else done.stdout


def answer(data_dir: Path, *words: str) -> Any:
    return json.loads(seawall(data_dir, *words, "--json"))


def traded(data_dir: Path) -> None:
    """A data directory with a short history, and no engine on it."""
    seawall(data_dir, "run", "--headless", "--for", "3s")


@contextmanager
def running(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An engine in a process of its own, ended in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "console", "run", "--headless", "--data-dir", str(data_dir)],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)


async def is_up(data_dir: Path) -> None:
    def answers() -> bool:
        try:
            status: dict[str, Any] = ControlClient(data_dir).call("status")
        except NoEngine:
            return False
        return bool(status["state"] == "running")

    await eventually(answers, timeout_s=30)


async def test_backup_with_and_without_an_engine(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    assert "there is no state database" in seawall(data_dir, "backup", status=1)
    with running(data_dir):
        await is_up(data_dir)
        online = answer(data_dir, "backup", "--reason", "a test")
    offline = answer(data_dir, "backup")
    for made in (online, offline):
        assert made["ok"]
        assert check_integrity(Path(made["path"])) == []
    assert offline["made_ns"] > online["made_ns"]
    assert "backup made and checked" in seawall(data_dir, "backup")
