"""A real Redis is killed under the real window: what the operator reads, stage by stage.

Goal: the console shows the state of the link with its cause, the buffer filling and draining, the
replay's progress and what it cost, while it happens. Method: the program of
`console_in_an_outage` as a process of its own, offscreen and on a real display; it says what stood
on the window when each picture was taken.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtGui import QImage

from tests.real_display import RealDisplay
from tests.real_redis import find_redis_server

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(find_redis_server() is None, reason="no redis-server or valkey-server here"),
]
_THIN = "\u2009"
Told = dict[tuple[str, str], dict[str, Any]]


def go_through(folder: Path, environment: Mapping[str, str], *words: str) -> Told:
    """Run the program to its end; what it told, by stage and page."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.e2e.console_in_an_outage", str(folder), *words],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    told = [json.loads(line) for line in finished.stdout.splitlines()]
    return {(one["stage"], one["page"]): one for one in told}


def chip(shown: Mapping[str, Any], pattern: str) -> str:
    """The one chip on the window that reads like this."""
    found = [text for text in shown["chips"] if re.fullmatch(pattern, text)]
    assert len(found) == 1, f"{pattern!r} is not once in {shown['chips']}"
    return str(found[0])


def text(shown: Mapping[str, Any], pattern: str) -> str:
    found = [one for one in shown["texts"] if re.fullmatch(pattern, one)]
    assert found, f"{pattern!r} is not in {shown['texts']}"
    return str(found[0])


def assert_told_truly(told: Told) -> None:
    """Every stage of the outage can be read off the window."""
    assert "UP" in told["1_up", "overview"]["chips"]
    assert "CONFIRMED" in told["1_up", "overview"]["chips"]
    early, late = told["2_down", "overview"], told["3_down_longer", "overview"]
    chip(early, r"DOWN \d+ s")
    chip(late, r"DOWN \d+ s")
    assert late["pending"] > early["pending"] > 0
    assert re.fullmatch(r"filling, full in \d+ (s|min|h|d)", "".join(late["notes"]))
    text(late, r".+ \(try \d+\)")
    text(late, r"oldest [\d.]+ s · .+ of 100 MB")
    text(told["3_down_longer", "health-links"], r"OUTAGES OF REDIS IN THIS RUN: 1")
    replaying = told["4_replaying", "overview"]
    left = chip(replaying, rf"REPLAYING [\d{_THIN}]+ left")
    assert int(re.sub(r"\D", "", left)) > 0
    assert 0.0 < replaying["progress"][0] < 1.0
    text(replaying, r"done in \d+ (s|min)")
    over = told["5_recovered", "health-links"]
    assert over["pending"] < late["pending"]
    summary = text(over, r"Last recovery: away .+ replayed, gate open after .+")
    replayed = re.search(rf"([\d{_THIN}]+) events replayed", summary)
    assert replayed is not None
    assert int(re.sub(r"\D", "", replayed[1])) >= late["pending"]


def assert_painted(told: Told, size: tuple[int, int]) -> None:
    """Every picture is there, of the window's size, and not of one colour."""
    for one in told.values():
        picture = QImage(one["picture"])
        assert (picture.width(), picture.height()) == size, one["picture"]
        colours = {picture.pixel(x, y) for x in range(0, size[0], 7) for y in range(0, size[1], 7)}
        assert len(colours) > 8, one["picture"]


def test_an_outage_can_be_read_off_the_window(tmp_path: Path) -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "QT_API": "pyside6"}
    told = go_through(tmp_path, environment, "--outage-s", "11")
    assert_told_truly(told)
    assert_painted(told, (1366, 700))


def test_the_same_on_a_real_display(display: RealDisplay, tmp_path: Path) -> None:
    told = go_through(
        tmp_path, display.environment(), "--outage-s", "5", "--theme", "day", "--size", "1280x700"
    )
    assert_told_truly(told)
    assert_painted(told, (1280, 700))
