"""Canary: the Qt binding must not lose references to None.

PySide6 6.12.0 under Python 3.11 loses one reference to `None` with each Qt call that returns
nothing; a label refreshed ten times a second kills the process within minutes
(docs/adr/0004). The pinned version does not, and this test keeps it so.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from PySide6.QtWidgets import QLabel

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

_CALLS = 3000
_REFERENCES_LOST_MAX = 200  # Other code takes and gives back some; a leak loses one a call.


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="None is immortal since Python 3.12: nothing to lose"
)
def test_qt_calls_without_a_result_keep_their_reference_to_none(qtbot: QtBot) -> None:
    label = QLabel()
    qtbot.addWidget(label)
    before = sys.getrefcount(None)
    for number in range(_CALLS):
        label.setText(f"{number}")
        label.update()
    lost = before - sys.getrefcount(None)
    assert lost <= _REFERENCES_LOST_MAX, f"{lost} references to None lost in {2 * _CALLS} calls"
