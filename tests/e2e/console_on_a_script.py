"""A console on a scripted engine, as a process of its own, for tests with a real display.

Run as `python -m tests.e2e.console_on_a_script`. Prints one JSON line when the window is there
(places in screen pixels) and one for each trip. Ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from PySide6.QtWidgets import QComboBox, QLineEdit, QWidget

from console.bootstrap import make_application
from console.qt import ConsoleEventLoop
from console.theme import LiveTheme
from console.window import MainWindow
from engine.model.emergency import Scope, Trip, TripSource
from tests.fakes.engine_client import FakeEngineClient


def say(**fields: Any) -> None:
    """One line for the test that reads us."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class TellingClient(FakeEngineClient):
    """Says every trip at once."""

    def trip(self, *, source: TripSource, reason: str, scope: Scope = Scope.NODE) -> Trip:
        trip = super().trip(source=source, reason=reason, scope=scope)
        say(trip=source.value)
        return trip


def centre(widget: QWidget) -> list[int]:
    """Where a widget's middle is on the screen."""
    point = widget.mapToGlobal(widget.rect().center())
    return [point.x(), point.y()]


async def main(window: MainWindow) -> None:
    """Open the policy page, tell where things are, then what is there, until a signal ends us."""
    window.begin()
    window.show_page("policy")
    window.policy_view.fields.show_section("Orders")
    await asyncio.sleep(0.5)  # The window manager places the window first.
    combo = window.policy_view.fields.editor("allow_naked")
    field = window.policy_view.fields.editor("price_collar")
    assert isinstance(combo, QComboBox)
    assert isinstance(field, QLineEdit)
    say(
        stop=centre(window.stop_button),
        combo=centre(combo),
        field=centre(field),
    )
    told: set[str] = set()
    while True:
        await asyncio.sleep(0.02)
        now = {"popup"} if combo.view().isVisible() else set()
        now |= {"field"} if field.hasFocus() else set()
        for word in now - told:
            say(there=word)
        told |= now


if __name__ == "__main__":
    application = make_application()
    loop = ConsoleEventLoop(application)
    window = MainWindow(
        client=TellingClient(),
        theme=LiveTheme(application=application),
        application=application,
        loop=loop,
    )
    window.resize(1366, 700)
    window.show()
    loop.run_until_complete(main(window))
