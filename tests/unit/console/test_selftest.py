"""The self-test passes on a sound installation, and finds what is broken in another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QApplication

from console.bootstrap import HostedEngine
from console.selftest import LIBRARIES, RESOURCES, EngineUnderTest, HostedTest, run_selftest
from engine.model.emergency import Trip
from tests.fakes.engine_client import FakeEngineClient, running_snapshot

_ROOT = Path(__file__).resolve().parents[3]
_SOUND = {"ok": True, "ticks": 825, "fills": 9, "open_positions": 1, "books": {}}
_FLAT_ON_DISK = {"emergency": {"latched": True, "state": "flat"}}


def test_libraries_are_those_of_the_project() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [re.split(r"[=<>\[;]", entry)[0] for entry in project["dependencies"]]
    assert sorted(LIBRARIES) == sorted(named)


def test_resources_are_those_of_the_project() -> None:
    folder = _ROOT / "resources"
    there = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py"
    ]
    assert sorted(there) == sorted(RESOURCES)


@pytest.mark.timeout(90)
def test_a_sound_installation_passes(tmp_path: Path) -> None:
    """Goal: the whole, as an operator runs it. Method: the program, no display, any folder."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    environment.pop("QT_QPA_PLATFORM", None)
    environment.pop("DISPLAY", None)
    finished = subprocess.run(
        [sys.executable, "-m", "console", "selftest", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,  # The contract: under a minute.
        check=False,
    )
    outcome = json.loads(finished.stdout)
    assert [check for check in outcome["checks"] if not check["ok"]] == []
    assert (outcome["ok"], finished.returncode) == (True, 0)
    names = {check["name"] for check in outcome["checks"]}
    assert {"trading", "drawdown chart", "stop by a mouse press", "latched on disk"} <= names
    assert list(tmp_path.iterdir()) == []


class _DeafEngine(FakeEngineClient):
    """Takes a stop and does nothing about it."""

    def trip(self, **asked: Any) -> Trip:
        snapshot = self.snapshot()
        trip = super().trip(**asked)
        self.show(snapshot)
        return trip


async def _nothing() -> dict[str, Any]:
    return dict(_SOUND)


def _engine(client: FakeEngineClient, **parts: Any) -> EngineUnderTest:
    async def host(data_dir: Path, recording: Path) -> HostedTest:
        return HostedTest(
            engine=HostedEngine(client=client, start=_nothing, stop=_nothing), summary=_nothing
        )

    sound: dict[str, Any] = {
        "replay": lambda data_dir, recording: dict(_SOUND),
        "host": host,
        "database_findings": lambda data_dir: [],
        "latch_findings": lambda folder: [],
        "status_from_disk": lambda data_dir: _FLAT_ON_DISK,
    }
    return EngineUnderTest(**(sound | parts))


def _failed(outcome: dict[str, Any]) -> dict[str, str]:
    assert outcome["ok"] is (not any(not check["ok"] for check in outcome["checks"]))
    return {check["name"]: check["why"] for check in outcome["checks"] if not check["ok"]}


def test_an_engine_that_ignores_the_stop_is_found(
    qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_FLAT_S", "_START_S"):
        monkeypatch.setattr(f"console.selftest_window.{limit}", 0.1)
    failed = _failed(run_selftest(_engine(_DeafEngine(running_snapshot()))))
    assert "not latched when the press returned" in failed["stop by a mouse press"]
    assert "not proven flat" in failed["flat, proven by the venue"]
    assert "reset without its conditions is refused" in failed


def test_one_broken_part_does_not_hide_another(qapp: QApplication) -> None:
    """Goal: every finding is told. Method: break four parts at once."""

    async def no_engine(data_dir: Path, recording: Path) -> HostedTest:
        raise OSError("no space left")

    engine = _engine(
        FakeEngineClient(),
        replay=lambda data_dir, recording: {**_SOUND, "ok": False},
        host=no_engine,
        database_findings=lambda data_dir: ["state.db: torn"],
        latch_findings=lambda folder: ["a missing latch file does not read as latched"],
        status_from_disk=lambda data_dir: {"emergency": {"latched": False, "state": "armed"}},
    )
    failed = _failed(run_selftest(engine))
    assert set(failed) == {
        "latch file",
        "trading",
        "databases after trading",
        "window",
        "databases after the stop",
        "latched on disk",
    }
    assert failed["window"] == "OSError: no space left"


@pytest.mark.parametrize(
    ("changed", "finding"),
    [({"ticks": 800}, "800 of 825"), ({"fills": 0}, "0 fills"), ({"open_positions": 0}, "open")],
)
def test_a_market_that_was_not_traded_is_found(
    qapp: QApplication, changed: dict[str, Any], finding: str
) -> None:
    async def no_engine(data_dir: Path, recording: Path) -> HostedTest:
        raise OSError("not looked at here")

    engine = _engine(
        FakeEngineClient(), replay=lambda data_dir, recording: _SOUND | changed, host=no_engine
    )
    assert finding in _failed(run_selftest(engine))["trading"]
