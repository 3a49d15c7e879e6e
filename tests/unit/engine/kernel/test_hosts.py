"""The kernel does not know its host: it starts, trades and stops on three event loops alike."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.model.snapshots import EngineState
from engine.runtime import SystemClock
from tests.desk import Desk


async def _life(folder: Path) -> None:
    desk = Desk(clock=SystemClock(), folder=folder, latency_ms=1)
    await desk.open()
    try:
        assert desk.state() is EngineState.RUNNING
        await desk.enter()
        desk.exit()
        await desk.until(lambda: desk.quantity() == 0)
        await desk.until(lambda: not desk.orders())
        await desk.assert_sound()
    finally:
        await desk.close()
    assert desk.state() is EngineState.OFF


def _asyncio(folder: Path) -> None:
    asyncio.run(_life(folder))


def _uvloop(folder: Path) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not for this platform")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_life(folder))


def _qasync(folder: Path) -> None:
    from PySide6.QtWidgets import QApplication

    from console.qt.loop import ConsoleEventLoop

    application = QApplication.instance() or QApplication([])
    assert isinstance(application, QApplication)
    with asyncio.Runner(loop_factory=lambda: ConsoleEventLoop(application)) as runner:
        runner.run(_life(folder))


@pytest.mark.parametrize("host", [_asyncio, _uvloop, _qasync])
def test_the_engine_lives_on(host: Callable[[Path], None], tmp_path: Path) -> None:
    host(tmp_path)


def test_an_engine_without_a_window_imports_no_qt() -> None:
    program = (
        "import sys, engine.kernel, engine.kernel.headless; "
        "print(sorted(n for n in sys.modules if 'PySide' in n or 'qasync' in n or n == 'console'))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).resolve().parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.strip() == "[]"
