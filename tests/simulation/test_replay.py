"""The recorded minutes of real trades through the whole engine, twice, and audited from outside."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.kernel import KernelOptions, run_headless
from engine.model.config import Configuration
from tests import books_auditor

_TICKS = 21_313


def _recording(recorded_data: Path) -> Path:
    path = recorded_data / "marketdata" / "binance_usdm_btcusdt_20240808_rawws.gz"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return path


def _replay(path: Path, data_dir: Path, *, seed: int) -> dict[str, Any]:
    return run_headless(
        KernelOptions(
            configuration=Configuration(), data_dir=data_dir, replay=path, speed="max", seed=seed
        ),
        duration_s=None,
    )


@pytest.mark.timeout(120)
def test_a_recording_is_traded_with_balanced_books_and_repeats(
    recorded_data: Path, tmp_path: Path
) -> None:
    """Goal: every trade seen, ten round trips, books that balance, the same run twice."""
    path = _recording(recorded_data)
    first, second = (_replay(path, tmp_path / name, seed=7) for name in ("one", "two"))
    paper = tmp_path / "one" / "paper.db"
    assert first["ok"]
    assert first["ticks"] == _TICKS
    books = books_auditor.audit(paper)
    assert books.closed >= 10
    assert books.fills == first["fills"]
    assert books_auditor.problems_of(paper) == []
    assert books_auditor.differences_from(paper, first["books"]) == []
    assert first["digest"] == second["digest"]
    assert first["books"] == second["books"]
    summary = tmp_path / "summary.json"
    summary.write_text(json.dumps(first))
    finished = subprocess.run(
        [sys.executable, str(Path(books_auditor.__file__)), str(paper), str(summary)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.startswith("balanced:")
    _assert_the_auditor_can_fail(paper, first["books"])


def _assert_the_auditor_can_fail(paper: Path, books: dict[str, Any]) -> None:
    """A last decimal that is wrong, anywhere, is found."""
    for name in ("balance", "realised", "fees", "equity"):
        wrong = {**books, name: books[name][:-1] + str((int(books[name][-1]) + 1) % 10)}
        found = books_auditor.differences_from(paper, wrong)
        assert len(found) == 1
        assert found[0].startswith(name)
    with closing(sqlite3.connect(paper)) as connection, connection:
        connection.execute("DELETE FROM fills WHERE rowid = (SELECT max(rowid) FROM fills)")
    assert len(books_auditor.problems_of(paper)) >= 2
