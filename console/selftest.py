"""The self-test: proves this installation end to end, frozen or not, in under a minute.

What: the libraries and resources are there; an engine handed in by the command line trades a market
that the self-test writes, and its books are the paper venue's; the databases are sound and the
latch is what it must be; then the window opens on that engine and its stop is pressed
(`console.selftest_window`). Everything happens in a temporary data directory.
Why no Qt here: the platform must be chosen before Qt loads. Units: seconds, UTC nanoseconds.
Fails: never; what goes wrong in a check is that check's finding, and the rest goes on.
"""

import importlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from console.bootstrap import HostedEngine

__all__ = [
    "LIBRARIES",
    "RESOURCES",
    "CheckFailed",
    "EngineUnderTest",
    "HostedTest",
    "Report",
    "run_selftest",
]

LIBRARIES: Final = {
    "PySide6-Essentials": ("PySide6.QtCore", "PySide6.QtGui", "PySide6.QtWidgets"),
    "shiboken6": ("shiboken6",),
    "pyqtgraph": ("pyqtgraph",),
    "qasync": ("qasync",),
    "redis": ("redis.asyncio",),
    "hiredis": ("hiredis",),
    "aiosqlite": ("aiosqlite",),
    "numpy": ("numpy",),
    "msgspec": ("msgspec",),
    "platformdirs": ("platformdirs",),
    "keyring": ("keyring", "keyring.backends.null"),
    "h11": ("h11",),
    "certifi": ("certifi",),
    "websockets": ("websockets.asyncio.client",),
}
RESOURCES: Final = (
    "fonts/IBMPlexSans-Bold.ttf",
    "fonts/IBMPlexSans-LICENSE.txt",
    "fonts/IBMPlexSans-Regular.ttf",
    "fonts/IBMPlexSans-SemiBold.ttf",
    "migrations/0001_foundation.sql",
    "migrations/0002_journal.sql",
    "migrations/0003_trade_state.sql",
    "migrations/0004_standing.sql",
    "migrations/0005_journal_shed.sql",
    "migrations/0006_commands.sql",
    "styles/console.qss",
)
_NS: Final = 1_000_000_000
_SYMBOL: Final = "BTCUSDT"
_TRADED_S: Final = 165
_WINDOW_S: Final = 60
_TRADES_PER_S: Final = 5


class CheckFailed(Exception):
    """A check's finding, in words for an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedTest:
    """An engine for the window, and its run summary (whose `ok` compares books with the venue)."""

    engine: "HostedEngine"
    summary: Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUnderTest:
    """What the self-test needs of an engine; the command line hands it in.

    `replay` runs a recording at full speed in a data directory and returns the run summary; `host`
    builds an engine on the same directory that follows another recording at its own pace.
    """

    replay: Callable[[Path, Path], dict[str, Any]]
    host: Callable[[Path, Path], Awaitable[HostedTest]]
    database_findings: Callable[[Path], list[str]]
    latch_findings: Callable[[Path], list[str]]
    status_from_disk: Callable[[Path], dict[str, Any]]


class Report:
    """Collects the checks; a check that raises has failed, and the next one is tried all the
    same.
    """

    def __init__(self) -> None:
        self.checks: list[dict[str, Any]] = []

    @contextmanager
    def check(self, name: str) -> Iterator[list[str]]:
        """One check. What is appended to the list is said of it when it passes."""
        notes: list[str] = []
        try:
            yield notes
        except CheckFailed as finding:
            self._add(name, ok=False, why=str(finding))
        except Exception as error:
            # This program's outermost place: whatever broke is what the self-test was asked for.
            self._add(name, ok=False, why=f"{type(error).__name__}: {error}")
        else:
            self._add(name, ok=True, why="; ".join(notes))

    def _add(self, name: str, *, ok: bool, why: str) -> None:
        self.checks.append({"name": name, "ok": ok, "why": why})

    @property
    def ok(self) -> bool:
        return all(check["ok"] for check in self.checks)


def run_selftest(engine: EngineUnderTest) -> dict[str, Any]:
    """Run every check; the contract's `{"ok", "checks": [{"name", "ok", "why"}]}`."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    report = Report()
    # The traded part ends now, so that the window's engine goes on where the trading ended.
    began_ns = time.time_ns() - _TRADED_S * _NS
    _libraries(report)
    _resources(report)
    with tempfile.TemporaryDirectory(prefix="seawall-selftest-") as temporary:
        folder = Path(temporary)
        data_dir = folder / "data"
        _latch(report, engine, folder / "latch")
        recording = folder / "traded.csv"
        written = _write_market(recording, began_ns=began_ns, first_s=0, length_s=_TRADED_S)
        _trading(report, engine, data_dir, recording, written)
        with report.check("window"):
            # Late: Qt must not be loaded before its platform is chosen.
            from console.selftest_window import check_window

            live = folder / "live.csv"
            _write_market(live, began_ns=began_ns, first_s=_TRADED_S, length_s=_WINDOW_S)
            check_window(report, lambda: engine.host(data_dir, live))
        _after_the_stop(report, engine, data_dir)
    return {"ok": report.ok, "checks": report.checks}


def _libraries(report: Report) -> None:
    for library, modules in LIBRARIES.items():
        with report.check(f"library {library}"):
            for module in modules:
                importlib.import_module(module)


def _resources(report: Report) -> None:
    with report.check("resources") as notes:
        root = files("resources")
        # A file that is there and empty is as bad as one that is not.
        missing = [name for name in RESOURCES if not _has_content(root / name)]
        if missing:
            raise CheckFailed(f"missing or empty: {', '.join(missing)}")
        notes.append(f"{len(RESOURCES)} files")


def _has_content(entry: Any) -> bool:
    return entry.is_file() and bool(entry.read_bytes())


def _latch(report: Report, engine: EngineUnderTest, folder: Path) -> None:
    with report.check("latch file"):
        folder.mkdir()
        findings = engine.latch_findings(folder)
        if findings:
            raise CheckFailed("; ".join(findings))


def _trading(
    report: Report, engine: EngineUnderTest, data_dir: Path, recording: Path, written: int
) -> None:
    with report.check("trading") as notes:
        summary = engine.replay(data_dir, recording)
        if not summary["ok"]:
            raise CheckFailed("the engine's books are not the paper venue's, or a part failed")
        if summary["ticks"] != written:
            raise CheckFailed(f"{summary['ticks']} of {written} trades of the market arrived")
        if summary["fills"] < 3 or summary["open_positions"] != 1:
            raise CheckFailed(
                f"{summary['fills']} fills and {summary['open_positions']} open positions: "
                "a round trip and an open position were expected"
            )
        notes.append(f"{summary['fills']} fills, books equal to the paper venue's")
    _databases(report, engine, data_dir, "databases after trading")


def _databases(report: Report, engine: EngineUnderTest, data_dir: Path, name: str) -> None:
    with report.check(name):
        findings = engine.database_findings(data_dir)
        if findings:
            raise CheckFailed("; ".join(findings))


def _after_the_stop(report: Report, engine: EngineUnderTest, data_dir: Path) -> None:
    _databases(report, engine, data_dir, "databases after the stop")
    with report.check("latched on disk"):
        status = engine.status_from_disk(data_dir)
        emergency = status["emergency"]
        if not emergency["latched"] or emergency["state"] != "flat":
            raise CheckFailed(f"the disk says {emergency['state']}, latched {emergency['latched']}")
        if status.get("positions") or status.get("orders"):
            raise CheckFailed("the disk knows open positions or orders after the stop")


def _write_market(path: Path, *, began_ns: int, first_s: int, length_s: int) -> int:
    """Write a market that leaves its range again and again; the last move goes on into the window.

    Both recordings are one market: 40 seconds up, 35 down, twice over, and then up.
    """
    lines = ["ts_ns,symbol,price,quantity,side"]
    for number in range(first_s * _TRADES_PER_S, (first_s + length_s) * _TRADES_PER_S):
        ts_ns = began_ns + number * _NS // _TRADES_PER_S
        side = "BUY" if number % 2 else "SELL"
        lines.append(f"{ts_ns},{_SYMBOL},{_price(number)},0.050,{side}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines) - 1


def _price(number: int) -> str:
    """In whole tenths: a zigzag with a small tremor, so that there is a volatility to measure."""
    second = number / _TRADES_PER_S
    phase = min(second, 150.0) % 75.0
    climb = phase if phase <= 40.0 else 40.0 - (phase - 40.0) * 40.0 / 35.0
    if second > 150.0:
        climb = second - 150.0  # The last rise goes on: a position opened in it stays open.
    tenths = 600_000 + round(climb * 200) + (number * 7 % 11 - 5) * 4
    return f"{tenths // 10}.{tenths % 10}"
