"""The foot of the rail: hold and allow entries, reduce only on and off.

Why here: three commands with one conduct, sent once, shown as pending, told by the engine's
snapshot. Thread: GUI loop. Fails: a refusal is told on the message line.
"""

from typing import Final

from console.commands import CommandDesk
from console.viewmodels.entries import EntriesViewModel
from console.viewmodels.freshness import Engine
from console.views.rail_view import RailView
from engine.api import EngineClient

__all__ = ["EntriesDesk"]

_HERE: Final = "in the main window"


class EntriesDesk:
    """Connects the rail's switches to one engine."""

    def __init__(
        self, *, client: EngineClient, rail: RailView, commands: CommandDesk, author: str
    ) -> None:
        self._client = client
        self._rail = rail
        self._commands = commands
        self._author = author
        self._entries = EntriesViewModel()
        rail.hold_pressed.connect(self.hold)
        rail.allow_held.connect(self.allow)
        rail.reduce_pressed.connect(lambda: self.reduce_only(on=True))
        rail.unreduce_held.connect(lambda: self.reduce_only(on=False))

    def paint(self, engine: Engine) -> None:
        """What is in force, and what can be pressed."""
        is_pending = self._commands.is_pending("halt") or self._commands.is_pending("resume")
        self._rail.show_entries(self._entries.present(engine, is_pending=is_pending))
        is_switching = self._commands.is_pending("reduce_only")
        self._rail.show_reduce_only(self._entries.reduce_only(engine, is_pending=is_switching))

    def hold(self) -> None:
        """No new risk; exits go on."""
        self._commands.send(
            "halt",
            "Hold entries",
            lambda: self._client.halt(reason=f"held {_HERE}", author=self._author),
        )

    def allow(self) -> None:
        """End of a hold."""
        self._commands.send(
            "resume",
            "Allow entries",
            lambda: self._client.resume(reason=f"allowed {_HERE}", author=self._author),
        )

    def reduce_only(self, *, on: bool) -> None:
        """Exits and nothing else; one key for both, so that they are never under way at once."""
        self._commands.send(
            "reduce_only",
            "Reduce only" if on else "End of reduce only",
            lambda: self._client.reduce_only(
                on=on, reason=f"switched {_HERE}", author=self._author
            ),
        )
