"""START: a hold where nothing real is at stake, a sheet with the account's name where it is."""

from console.commands import CommandDesk
from console.qt import ConsoleTasks, SheetHost
from console.theme import LiveTheme
from console.viewmodels.start_live import StartLiveQuestion, start_live_question
from console.views.start_live_sheet import StartLiveSheet
from engine.api import EngineClient
from engine.model.snapshots import EngineSnapshot

__all__ = ["StartDesk"]


class StartDesk:
    """Carries START to the engine."""

    def __init__(
        self,
        *,
        client: EngineClient,
        commands: CommandDesk,
        sheets: SheetHost,
        tasks: ConsoleTasks,
        theme: LiveTheme,
        author: str,
    ) -> None:
        self._client = client
        self._commands = commands
        self._sheets = sheets
        self._tasks = tasks
        self._theme = theme
        self._author = author

    def start(self, snapshot: EngineSnapshot) -> None:
        """The START row was held, or pressed where a sheet asks first."""
        question = start_live_question(snapshot)
        if question is None:
            self._send("START", "")
        elif not isinstance(self._sheets.current, StartLiveSheet):
            self._tasks.spawn("START LIVE question", self._ask(question))

    async def _ask(self, question: StartLiveQuestion) -> None:
        sheet = StartLiveSheet(theme=self._theme, question=question)
        if await self._sheets.ask(sheet) == "start":
            self._send("START LIVE", sheet.typed)

    def _send(self, words: str, confirm_live: str) -> None:
        self._commands.send(
            "start",
            words,
            lambda: self._client.start(
                reason="held in the main window", author=self._author, confirm_live=confirm_live
            ),
        )
