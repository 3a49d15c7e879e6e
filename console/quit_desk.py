"""Closing the window: asks in the page when something is open, never just dies (R25).

What: the question, its answers, and closing by itself once a stop that was asked for here is flat.
Thread: GUI loop. Fails: a question that is dismissed is answered with Stay.
"""

from collections.abc import Callable

from console.messages import OperatorMessages
from console.qt import ConsoleTasks, SheetHost
from console.theme import LiveTheme
from console.viewmodels.appearance import Tone
from console.viewmodels.freshness import Engine
from console.viewmodels.quitting import QuitViewModel
from console.views.quit_sheet import QuitSheet
from engine.model.emergency import EmergencyState

__all__ = ["QuitDesk"]


class QuitDesk:
    """Decides when the window may go; ``on_stop`` trips, ``on_close`` closes."""

    def __init__(
        self,
        *,
        sheets: SheetHost,
        tasks: ConsoleTasks,
        messages: OperatorMessages,
        theme: LiveTheme,
        on_stop: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        self._sheets = sheets
        self._tasks = tasks
        self._messages = messages
        self._theme = theme
        self._on_stop = on_stop
        self._on_close = on_close
        self._quit = QuitViewModel()
        self._engine: Engine | None = None
        self._close_when_flat = False
        self.may_close = False

    def take(self, engine: Engine) -> None:
        """The engine now; closes when what was asked to be stopped is flat."""
        self._engine = engine
        if self._close_when_flat and engine.snapshot.emergency.state is EmergencyState.FLAT:
            self._close()

    def request(self) -> None:
        """Ask in the page when something is open; close otherwise."""
        if self._quit.question(self._engine) is None:
            self._close()
        elif not isinstance(self._sheets.current, QuitSheet):
            self._tasks.spawn("quit question", self._ask())

    async def _ask(self) -> None:
        question = self._quit.question(self._engine)
        if question is None:
            self._close()
            return
        answer = await self._sheets.ask(QuitSheet(theme=self._theme, question=question))
        if answer == "stop_and_close":
            self._close_when_flat = True
            self._on_stop()
            self._messages.say(
                "The window closes when the venue confirms that all is flat", Tone.NEUTRAL
            )
        elif answer == "close":
            self._close()

    def _close(self) -> None:
        if not self.may_close:
            self.may_close = True
            self._on_close()
