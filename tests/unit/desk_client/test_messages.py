"""The client's own side, without a server: what it shows and what it refuses to send."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from desk_client import DeskClient
from desk_client.messages import to_event

_ROOT = Path(__file__).resolve().parents[3]


def test_a_short_key_is_refused_and_no_key_is_shown() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes") as refused:
        DeskClient("redis://localhost", "desk", "hunter2")
    assert "hunter2" not in str(refused.value)
    key = "0123456789abcdef"
    with DeskClient("redis://localhost", "desk", key) as client:
        assert repr(client) == "DeskClient(node='desk', key=***)"


def test_it_needs_redis_and_nothing_of_ours() -> None:
    """Goal: a service can copy the folder. Method: import it and look at what came along."""
    code = (
        "import sys, desk_client;"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'engine', 'console',"
        " 'PySide6', 'msgspec', 'qasync', 'numpy'}))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == ""


def test_an_entry_that_is_no_event_is_refused() -> None:
    with pytest.raises(ValueError, match="has no field 'id'"):
        to_event(b"1-1", {b"type": b"signal.received"})
