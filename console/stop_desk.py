"""The latched view's conduct: the face, the progress panel, pause, copy, and the reset sheet.

Thread: GUI loop. Nothing here can undo a trip: pausing keeps the latch, and a reset goes through
the engine's conditions and a 1.5 s hold.
"""

from PySide6.QtCore import QObject

from console.commands import CommandDesk
from console.qt import ConsoleTasks, SheetHost
from console.theme import LiveTheme
from console.viewmodels.freshness import Engine
from console.viewmodels.identity import StopFaceViewModel
from console.viewmodels.reset import ResetSheetViewModel
from console.viewmodels.stop_progress import StopProgressState, StopProgressViewModel, details_text
from console.views.reset_sheet import ResetSheet
from console.views.stop_panel_view import StopPanelView
from console.widgets import StopButton
from engine.api import CommandResult, EngineClient

__all__ = ["StopDesk"]


class StopDesk(QObject):
    """Connects the stop panel and the reset sheet to one engine."""

    def __init__(
        self,
        *,
        client: EngineClient,
        panel: StopPanelView,
        sheets: SheetHost,
        commands: CommandDesk,
        tasks: ConsoleTasks,
        theme: LiveTheme,
        author: str,
    ) -> None:
        super().__init__(panel)
        self._client = client
        self._panel = panel
        self._sheets = sheets
        self._commands = commands
        self._tasks = tasks
        self._theme = theme
        self._author = author
        self._face = StopFaceViewModel()
        self._progress = StopProgressViewModel()
        self._reset = ResetSheetViewModel(judge=self._client.reset_conditions)
        self._engine: Engine | None = None
        self._sheet: ResetSheet | None = None
        self.state: StopProgressState | None = None
        panel.pause_pressed.connect(self._pause)
        panel.copy_pressed.connect(self._copy)
        panel.reset_pressed.connect(self.open_reset)

    def paint_face(self, button: StopButton, engine: Engine | None) -> None:
        """What the stop's face says now."""
        button.show_face(self._face.present(engine))

    def note_press(self, button: StopButton, engine: Engine | None) -> None:
        """Show a press at once, before any answer (R11)."""
        self._face.note_press()
        self.paint_face(button, engine)

    def take(self, engine: Engine) -> None:
        """The newest snapshot."""
        self._engine = engine
        self.state = self._progress.present(engine)
        self._paint_sheet()

    def open_reset(self) -> None:
        """Open the reset sheet; it resets nothing by itself."""
        if self._engine is None or self.state is None or self._sheet is not None:
            return
        self._tasks.spawn("reset sheet", self._ask())

    async def _ask(self) -> None:
        sheet = ResetSheet(theme=self._theme, model=self._reset)
        self._sheet = sheet
        sheet.changed.connect(self._paint_sheet)
        self._paint_sheet()
        try:
            answer = await self._sheets.ask(sheet)
        finally:
            self._sheet = None
        if answer == "reset" and self._engine is not None:
            request = self._reset.request(self._engine, author=self._author)
            self._commands.send(
                "reset", "Reset", lambda: self._client.reset(request), on_result=self._on_reset
            )

    def _on_reset(self, result: CommandResult) -> None:
        if result.ok:
            # The next stop starts with a clean sheet: nothing ticked for this one may count for
            # that.
            self._reset = ResetSheetViewModel(judge=self._client.reset_conditions)

    def _paint_sheet(self) -> None:
        if self._sheet is not None and self._engine is not None:
            self._sheet.show_state(self._reset.present(self._engine))

    def _pause(self) -> None:
        if self.state is None:
            return
        paused = not self.state.is_paused
        title = "Pause closing" if paused else "Go on closing"
        self._commands.send(
            "pause",
            title,
            lambda: self._client.pause_closing(
                paused=paused, reason="in the main window", author=self._author
            ),
        )

    def _copy(self) -> None:
        if self._engine is not None:
            self._panel.copy(details_text(self._engine))
            self._commands.say("Details copied to the clipboard")
