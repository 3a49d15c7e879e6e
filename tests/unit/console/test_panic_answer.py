"""What `seawall panic` waits for: flat, and with scope desk that the desk has been told."""

from __future__ import annotations

from typing import Any

import pytest

from console.cli import _panic_unmet
from engine.model.emergency import Scope


def _result(**changes: Any) -> dict[str, Any]:
    emergency = {
        "state": "flat",
        "positions_open": 0,
        "orders_open": 0,
        "untold": [],
        "desk_why": "",
    }
    return {"state": "latched", "emergency": emergency | changes}


@pytest.mark.parametrize(
    ("changes", "scope", "unmet"),
    [
        ({}, Scope.NODE, []),
        ({}, Scope.DESK, []),
        ({"state": "flattening", "positions_open": 2}, Scope.NODE, ["flat"]),
        ({"untold": ["x1"], "desk_why": "no Redis"}, Scope.NODE, []),
        ({"untold": ["x1"], "desk_why": "no Redis"}, Scope.DESK, ["desk"]),
        ({"state": "incomplete", "untold": ["x1"]}, Scope.DESK, ["flat", "desk"]),
    ],
)
def test_what_is_missing(changes: dict[str, Any], scope: Scope, unmet: list[str]) -> None:
    found = _panic_unmet(_result(**changes), scope)
    assert [entry["condition"] for entry in found] == unmet
    for entry in found:
        if entry["condition"] == "flat":
            assert f"{changes.get('positions_open', 0)} positions" in entry["why"]
        else:
            assert entry["why"] == changes.get("desk_why", "")
