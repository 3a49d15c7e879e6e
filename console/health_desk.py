"""The Health page's conduct: paints what is shown of it, fetches dead letters, sends its commands.

Dead letters are read from the disk, so they are fetched when the page is opened and when their
number has changed, never with a frame. A requeue asks for its reason in a sheet.
Thread: GUI loop. Fails: refusals arrive as results and are told on the message line.
"""

from typing import Final

from PySide6.QtCore import QObject

from console.commands import CommandDesk
from console.qt import ConsoleTasks, SheetHost
from console.theme import LiveTheme
from console.viewmodels.buffer import BufferState
from console.viewmodels.chart_frames import ChartsViewModel
from console.viewmodels.freshness import Engine
from console.viewmodels.health_events import HealthEventsViewModel
from console.viewmodels.health_links import HealthLinksViewModel
from console.viewmodels.links import LinkRow
from console.viewmodels.trends import TrendsViewModel
from console.views.health_view import HealthView
from console.views.requeue_sheet import RequeueSheet
from engine.api import CommandResult, EngineClient
from engine.model.records import DeadLetter

__all__ = ["HealthDesk"]

_BACKUP: Final = "backup"
_REQUEUE: Final = "requeue"
_BACKUP_REASON: Final = "asked for on the Health page"


class HealthDesk(QObject):
    """Connects one Health page to one engine."""

    def __init__(
        self,
        *,
        client: EngineClient,
        view: HealthView,
        sheets: SheetHost,
        commands: CommandDesk,
        tasks: ConsoleTasks,
        theme: LiveTheme,
        author: str,
    ) -> None:
        super().__init__(view)
        self._client = client
        self._view = view
        self._sheets = sheets
        self._commands = commands
        self._tasks = tasks
        self._theme = theme
        self._author = author
        self._links = HealthLinksViewModel()
        self._events = HealthEventsViewModel()
        self._charts = ChartsViewModel()
        self._letters: tuple[DeadLetter, ...] = ()
        self._letters_of: int | None = None
        self._engine: Engine | None = None
        view.links.backup_pressed.connect(self._back_up)
        view.events.requeue_pressed.connect(self._ask_to_requeue)
        view.events.letter_chosen.connect(lambda _: self._paint_letters())
        commands.pending_changed.connect(self._paint_letters)

    def opened(self) -> None:
        """The page comes to the front: what is on the disk is read anew."""
        self._letters_of = None

    def paint_words(
        self, engine: Engine, *, rows: tuple[LinkRow, ...], buffer: BufferState
    ) -> None:
        """Words and figures of the half that is shown; rows and buffer are the overview's."""
        self._engine = engine
        if self._view.part == "links":
            age_max_s = float(self._client.policy().active.max_policy_age_s)
            state = self._links.present(
                engine,
                rows=rows,
                buffer=buffer,
                policy_age_max_s=age_max_s,
                is_backing_up=self._commands.is_pending(_BACKUP),
            )
            self._view.links.show_state(state)
            return
        dead = engine.snapshot.journal.dead_lettered
        if dead != self._letters_of:
            self._letters_of = dead
            self._tasks.spawn("dead letters", self._read_letters())
        self._paint_letters()

    def paint_tables(self, engine: Engine) -> None:
        """The tables of the bus."""
        if self._view.part == "events":
            self._view.events.show_state(self._events.present(engine))

    def paint_charts(self, engine: Engine, trends: TrendsViewModel) -> None:
        """The chart of the half that is shown."""
        if self._view.part == "links":
            frame = self._links.buffer_chart(engine, trends.buffer)
            self._view.links.show_chart(trends.buffer, frame)
        else:
            self._view.events.show_chart(trends, self._charts.queue(engine))

    def _paint_letters(self) -> None:
        if self._engine is None:
            return
        state = self._events.dead_letters(
            self._letters,
            chosen=self._view.events.letters.chosen_key,
            now_ns=self._engine.snapshot.ts_ns,
            is_pending=self._commands.is_pending(_REQUEUE),
        )
        self._view.events.show_letters(state)

    async def _read_letters(self) -> None:
        self._letters = await self._client.dead_letters()
        self._paint_letters()

    def _back_up(self) -> None:
        self._commands.send(
            _BACKUP,
            "Backup",
            lambda: self._client.back_up(
                author=self._author, reason="asked for on the Health page"
            ),
        )

    def _ask_to_requeue(self, key: str) -> None:
        letter = next((one for one in self._letters if str(one.seq) == key), None)
        if letter is not None and letter.requeued_seq is None:
            self._tasks.spawn("requeue question", self._requeue(letter))

    async def _requeue(self, letter: DeadLetter) -> None:
        sheet = RequeueSheet(theme=self._theme, letter=letter)
        if await self._sheets.ask(sheet) != "requeue":
            return
        reason = sheet.reason
        self._commands.send(
            _REQUEUE,
            f"Requeue of dead letter {letter.seq}",
            lambda: self._client.requeue(letter.seq, author=self._author, reason=reason),
            on_result=self._on_requeued,
        )

    def _on_requeued(self, _: CommandResult) -> None:
        self._tasks.spawn("dead letters", self._read_letters())
