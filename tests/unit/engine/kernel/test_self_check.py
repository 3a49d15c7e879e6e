"""The self-test's look at the files: sound ones pass, and each kind of damage is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.kernel import database_findings, latch_findings
from engine.latch import LatchFile


def _database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t(a TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 900,)] * 200)
        connection.commit()


def test_sound_databases_have_no_findings(tmp_path: Path) -> None:
    _database(tmp_path / "state.db")
    _database(tmp_path / "paper.db")
    assert database_findings(tmp_path) == []


def test_a_missing_and_a_torn_database_are_named(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    _database(path)
    content = bytearray(path.read_bytes())
    content[8192:40960] = bytes(32768)
    path.write_bytes(content)
    findings = database_findings(tmp_path)
    assert any(finding.startswith("state.db") for finding in findings)
    assert any(finding.startswith("paper.db") for finding in findings)


def test_the_latch_is_sound(tmp_path: Path) -> None:
    assert latch_findings(tmp_path) == []


def test_a_latch_that_reads_armed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the check can fail. Method: a reader that always says armed."""
    real = LatchFile.create_armed

    def create_and_stay_armed(latch: LatchFile, **fields: object) -> object:
        state = real(latch, **fields)  # type: ignore[arg-type]  # as it was called
        monkeypatch.setattr(LatchFile, "read", lambda _: state)
        return state

    monkeypatch.setattr(LatchFile, "create_armed", create_and_stay_armed)
    findings = latch_findings(tmp_path)
    assert len(findings) == 3, findings
