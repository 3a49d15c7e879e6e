"""The main window: header with the stop, rail, pages, sheets; one pacer, one filter.

What: puts the parts together and carries operators' gestures to the engine. Why one class: this
is the console's shell; every decision lies in a view-model, every command in a desk.
Safety: the stop works by press, by chord and through popups; a trip closes any sheet and brings
the overview to the front; there is no modal window anywhere, and that is asserted twice a second.
Thread: GUI loop. Times are the window's monotonic clock in nanoseconds.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from PySide6.QtCore import Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QCloseEvent,
    QKeySequence,
    QShortcut,
)
from PySide6.QtWidgets import QApplication, QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from console.actions import ACTIONS
from console.commands import CommandDesk
from console.entries_desk import EntriesDesk
from console.health_desk import HealthDesk
from console.messages import OperatorMessages
from console.orders_desk import OrdersDesk
from console.pacer import CHART_HZ, TABLE_HZ, TEXT_HZ, FramePacer
from console.policy_desk import PolicyDesk
from console.qt import ConsoleTasks, PageRegion, SheetHost, named_timer
from console.quit_desk import QuitDesk
from console.regions import RegionRing
from console.start_desk import StartDesk
from console.stop_desk import StopDesk
from console.stop_filter import StopFilter
from console.theme import DAY, DUSK, LiveTheme
from console.viewmodels.alarms import AlarmsViewModel
from console.viewmodels.alarms_page import AlarmsPageViewModel
from console.viewmodels.buffer import BufferViewModel
from console.viewmodels.chart_frames import ChartsViewModel
from console.viewmodels.entries import EntriesViewModel
from console.viewmodels.freshness import Engine, FreshnessTracker
from console.viewmodels.identity import IdentityViewModel, desk_words
from console.viewmodels.indicators import IndicatorsViewModel
from console.viewmodels.links import LinksViewModel
from console.viewmodels.positions import PositionsViewModel
from console.viewmodels.trends import WINDOW_S, TrendsViewModel
from console.views.alarms_view import AlarmsView
from console.views.header_view import HeaderView
from console.views.health_view import HealthView
from console.views.orders_view import OrdersView
from console.views.overview_view import OverviewView
from console.views.policy_view import PolicyView
from console.views.rail_view import RailView
from console.widgets import StopButton
from engine.api import EngineClient
from engine.model.emergency import EmergencyState, TripSource
from engine.model.events import Event
from engine.model.snapshots import EngineSnapshot

__all__ = ["MainWindow"]

_log = logging.getLogger(__name__)
_PAGES: Final = (
    ("overview", "Overview", "Alt+1"),
    ("orders", "Orders", "Alt+2"),
    ("policy", "Policy", "Alt+3"),
    ("alarms", "Alarms", "Alt+4"),
    ("health", "Health", "Alt+8"),
)
_MODAL_WATCH_MS: Final = 500


class MainWindow(QWidget):
    """The console. ``closed`` is emitted once, when the window really goes."""

    closed = Signal()

    def __init__(
        self,
        *,
        client: EngineClient,
        theme: LiveTheme,
        application: QApplication,
        loop: asyncio.AbstractEventLoop,
        author: str = "operator",
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setWindowTitle("Seawall")
        self.setAccessibleName("Seawall console")
        self._client = client
        self._theme = theme
        self._monotonic_ns = monotonic_ns
        self._engine: Engine | None = None
        self._was_latched: tuple[bool, EmergencyState] | None = None
        self._author = author
        self._make_parts(loop, author)
        self._make_viewmodels()
        self._lay_out()
        self._filter = StopFilter(
            application=application, button=self.stop_button, on_chord=self._on_chord
        )
        self._connect()
        self._shortcuts = self._bind_actions()
        self.pacer = FramePacer(owner=self, take=client.snapshot)
        self.pacer.add("text", rate_hz=TEXT_HZ, phase=1, paint=self._paint_text)
        self.pacer.add("tables", rate_hz=TABLE_HZ, phase=3, paint=self._paint_tables)
        self.pacer.add("drawdown", rate_hz=CHART_HZ, phase=0, paint=self._paint_drawdown)
        self.pacer.add("queue", rate_hz=CHART_HZ, phase=2, paint=self._paint_queue)
        self._unsubscribe: Callable[[], None] = lambda: None

    # Assembly.

    def _make_parts(self, loop: asyncio.AbstractEventLoop, author: str) -> None:
        self.messages = OperatorMessages()
        self.tasks = ConsoleTasks(loop=loop, report=self.messages.fail)
        self.commands = CommandDesk(tasks=self.tasks, messages=self.messages)
        self.stop_button = StopButton(theme=self._theme)
        self.header = HeaderView(theme=self._theme, stop=self.stop_button)
        self.rail = RailView(theme=self._theme, pages=_PAGES)
        self._region = PageRegion()
        self._stack = QStackedWidget(self._region)
        self.overview = OverviewView(theme=self._theme)
        self.orders_view = OrdersView(theme=self._theme)
        self.policy_view = PolicyView(theme=self._theme)
        self.alarms_view = AlarmsView(theme=self._theme)
        self.health_view = HealthView(theme=self._theme)
        self._views: dict[str, QWidget] = {
            "overview": self.overview,
            "orders": self.orders_view,
            "policy": self.policy_view,
            "alarms": self.alarms_view,
            "health": self.health_view,
        }
        self.sheets = SheetHost(region=self._region, theme=self._theme)
        self._quit = QuitDesk(
            sheets=self.sheets,
            tasks=self.tasks,
            messages=self.messages,
            theme=self._theme,
            on_stop=lambda: self._trip(TripSource.QUIT, "stop and close on quitting"),
            on_close=self._really_close,
        )
        self._entries_desk = EntriesDesk(
            client=self._client, rail=self.rail, commands=self.commands, author=author
        )
        self.orders_desk = OrdersDesk(
            client=self._client, view=self.orders_view, commands=self.commands, author=author
        )
        self.policy_desk = PolicyDesk(
            client=self._client,
            view=self.policy_view,
            desk=self.commands,
            tasks=self.tasks,
            author=author,
        )
        self.stop_desk = StopDesk(
            client=self._client,
            panel=self.overview.stop_panel,
            sheets=self.sheets,
            commands=self.commands,
            tasks=self.tasks,
            theme=self._theme,
            author=author,
        )
        self.start_desk = StartDesk(
            client=self._client,
            commands=self.commands,
            sheets=self.sheets,
            tasks=self.tasks,
            theme=self._theme,
            author=author,
        )
        self.health_desk = HealthDesk(
            client=self._client,
            view=self.health_view,
            sheets=self.sheets,
            commands=self.commands,
            tasks=self.tasks,
            theme=self._theme,
            author=author,
        )

    def _make_viewmodels(self) -> None:
        self._tracker = FreshnessTracker()
        self._identity = IdentityViewModel()
        self._alarms = AlarmsViewModel()
        self._alarms_page = AlarmsPageViewModel()
        self._indicators = IndicatorsViewModel()
        self._links = LinksViewModel()
        self._buffer = BufferViewModel()
        self._positions = PositionsViewModel()
        self._charts = ChartsViewModel()
        self._entries = EntriesViewModel()
        self.trends = TrendsViewModel()

    def _lay_out(self) -> None:
        for view in self._views.values():
            self._stack.addWidget(view)
        inner = QVBoxLayout(self._region)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addWidget(self._stack)
        body = QHBoxLayout()
        body.setContentsMargins(12, 0, 12, 12)
        body.setSpacing(12)
        body.addWidget(self.rail)
        body.addWidget(self._region, 1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(self.header)
        outer.addLayout(body, 1)
        self._regions = RegionRing(
            window=self, regions=(self.rail, self._region), target=self._front_widget
        )
        self.rail.show_page("overview")

    def _connect(self) -> None:
        self.stop_button.pressed.connect(
            lambda _: self._trip(TripSource.BUTTON, "pressed in the main window")
        )
        self.rail.page_chosen.connect(self.show_page)
        self.health_view.part_chosen.connect(lambda _: self.pacer.refresh_soon())
        self.overview.start_row.start_held.connect(self._start)
        self.overview.acknowledged.connect(self._acknowledge)
        self.alarms_view.acknowledged.connect(self._acknowledge)
        self.alarms_view.alarm_chosen.connect(lambda _: self._paint_alarms())
        self.messages.changed.connect(self._paint_message)
        self.commands.answered.connect(lambda _: self.pacer.refresh_now())
        self.commands.pending_changed.connect(self._paint_controls)
        self._modal_watch = named_timer(
            self, "no modal window", interval_ms=_MODAL_WATCH_MS, callback=self._watch_for_modal
        )

    def _bind_actions(self) -> list[QShortcut]:
        handlers: dict[str, Callable[[], None]] = {
            "page.overview": lambda: self.show_page("overview"),
            "page.orders": lambda: self.show_page("orders"),
            "page.policy": lambda: self.show_page("policy"),
            "page.alarms": lambda: self.show_page("alarms"),
            "page.health": lambda: self.show_page("health"),
            "entries.hold": self._entries_desk.hold,
            "reduce_only.on": lambda: self._entries_desk.reduce_only(on=True),
            "reset.open": self.stop_desk.open_reset,
            "policy.apply": self._apply_policy,
            "theme.switch": self.switch_theme,
            "region.next": self._regions.next,
            "region.previous": self._regions.previous,
            "window.close": self.request_close,
        }
        shortcuts = []
        for action in ACTIONS:
            if action.is_fixed:
                continue
            for keys in action.keys:
                shortcut = QShortcut(QKeySequence(keys), self)
                shortcut.setAutoRepeat(False)
                handler = handlers[action.id]
                is_enabled = action.is_enabled
                shortcut.activated.connect(
                    lambda handler=handler, ok=is_enabled: handler() if ok(self._engine) else None
                )
                shortcuts.append(shortcut)
        return shortcuts

    # Life.

    def begin(self) -> None:
        """Subscribe, paint once and keep the pace; needs the loop to run."""
        self._unsubscribe = self._client.subscribe(self._on_safety_event)
        self.setFocus()
        self.pacer.start()
        self._modal_watch.start()
        self.tasks.spawn("equity history", self._load_history())

    async def end(self) -> None:
        """Stop painting and end the window's tasks; the engine is not touched."""
        self.pacer.stop()
        self._modal_watch.stop()
        self._unsubscribe()
        self._filter.remove()
        self.sheets.dismiss()
        self.messages.clear()
        await self.tasks.aclose()

    async def _load_history(self) -> None:
        since_ns = self._client.snapshot().ts_ns - int(WINDOW_S * 1e9)
        points = await self._client.equity_history(since_ns=since_ns)
        self.trends.load_drawdown([(point.ts_ns / 1e9, float(point.drawdown)) for point in points])

    @property
    def engine(self) -> Engine | None:
        """What was painted last."""
        return self._engine

    @property
    def client(self) -> EngineClient:
        """The engine's door."""
        return self._client

    def alarm_ids(self) -> tuple[str, ...]:
        """Alarms nobody has acknowledged."""
        alarms = () if self._engine is None else self._engine.snapshot.alarms
        return tuple(alarm.id for alarm in alarms if alarm.state in {"new", "returned"})

    # Painting.

    def _see(self, snapshot: EngineSnapshot | None) -> Engine | None:
        self._engine = self._tracker.see(snapshot, now_ns=self._monotonic_ns())
        return self._engine

    def _paint_text(self, snapshot: EngineSnapshot | None) -> None:
        engine = self._see(snapshot)
        self.stop_desk.paint_face(self.stop_button, engine)
        if engine is None:
            return
        self.header.show_identity(self._identity.present(engine), desk_words(engine))
        self.header.show_alarms(self._alarms.line(engine))
        self.stop_desk.take(engine)
        self.overview.show_stop(self.stop_desk.state)
        self._paint_controls()
        links, buffer = self._links.present(engine), self._buffer.present(engine)
        self.overview.show_words(
            indicators=self._indicators.present(engine),
            links=links,
            buffer=buffer,
            alarms=self._alarms.strip(engine),
            alarms_hidden=self._alarms.hidden_count(engine),
        )
        if self._stack.currentWidget() is self.policy_view:
            self.policy_desk.take(engine)
        if self.orders_view.isVisible():
            self.orders_desk.paint_words(engine)
        self._paint_alarms()
        if self.health_view.isVisible():
            self.health_desk.paint_words(engine, rows=links, buffer=buffer)
        self._announce(engine)
        self._quit.take(engine)

    def _paint_tables(self, snapshot: EngineSnapshot | None) -> None:
        engine = self._see(snapshot)
        if engine is not None and self.overview.isVisible():
            self.overview.show_positions(self._positions.present(engine))
        if engine is not None and self.orders_view.isVisible():
            self.orders_desk.paint_tables(engine)
        if engine is not None and self.health_view.isVisible():
            self.health_desk.paint_tables(engine)

    def _paint_drawdown(self, snapshot: EngineSnapshot | None) -> None:
        engine = self._see(snapshot)
        if engine is None:
            return
        if not engine.is_silent:
            self.trends.take(engine.snapshot)
        if self.overview.isVisible():
            self.overview.show_drawdown(self.trends, self._charts.drawdown(engine))

    def _paint_queue(self, snapshot: EngineSnapshot | None) -> None:
        engine = self._see(snapshot)
        if engine is not None and self.overview.isVisible():
            self.overview.show_queue(self.trends, self._charts.queue(engine))
        if engine is not None and self.health_view.isVisible():
            self.health_desk.paint_charts(engine, self.trends)

    def _paint_alarms(self) -> None:
        if self._engine is not None and self.alarms_view.isVisible():
            chosen = self.alarms_view.table.chosen_key
            self.alarms_view.show_state(self._alarms_page.present(self._engine, chosen=chosen))

    def _paint_controls(self) -> None:
        if self._engine is None:
            return
        self._entries_desk.paint(self._engine)
        start = self._entries.start(self._engine, is_pending=self.commands.is_pending("start"))
        self.overview.show_start(start)

    def _paint_message(self) -> None:
        self.header.show_message(self.messages.text, self.messages.tone)

    def _announce(self, engine: Engine) -> None:
        emergency = engine.snapshot.emergency
        now = (emergency.latched, emergency.state)
        if now == self._was_latched:
            return
        if self._was_latched is not None:
            words = self._identity.present(engine).engine.text
            event = QAccessibleAnnouncementEvent(self, words)
            event.setPoliteness(QAccessible.AnnouncementPoliteness.Assertive)
            QAccessible.updateAccessibility(event)
        self._was_latched = now

    # The stop.

    def _on_chord(self) -> None:
        self._trip(TripSource.CHORD, "chord in the main window")

    def _trip(self, source: TripSource, reason: str) -> None:
        # The engine first: on return no entry can leave. Everything on the screen comes after.
        try:
            self._client.trip(source=source, reason=reason)
        except Exception:  # A slot is a supervised place; a failing trip must be told in words.
            _log.exception("the engine did not take the stop")
            self.messages.fail(
                "The engine did not take the stop. Press again, or run: seawall panic"
            )
        self.stop_desk.note_press(self.stop_button, self._engine)
        self.sheets.dismiss()
        self.show_page("overview")
        # The face is told above; the rest is painted in the next turn, behind the first cancels.
        self.pacer.refresh_soon()

    def _on_safety_event(self, event: Event) -> None:
        # Safety events bypass the pace: the picture follows in the loop's next turn. Painting here
        # would stand between a breach and the stop's first request.
        self.pacer.refresh_soon()

    # Commands.

    def _start(self) -> None:
        if self._engine is not None:
            self.start_desk.start(self._engine.snapshot)

    def _acknowledge(self, alarm: str) -> None:
        self.commands.send(
            f"acknowledge {alarm}", "Acknowledge", lambda: self._client.acknowledge_alarm(alarm)
        )

    def _apply_policy(self) -> None:
        if self._stack.currentWidget() is self.policy_view:
            self.policy_desk.apply_by_key()

    # Pages, theme, closing.

    def show_page(self, page: str) -> None:
        """Bring a page to the front."""
        self._stack.setCurrentWidget(self._views[page])
        self.rail.show_page(page)
        if self._engine is not None and page == "policy":
            self.policy_desk.take(self._engine)
        if page == "health":
            self.health_desk.opened()
        if page in ("health", "orders"):
            self.pacer.refresh_soon()
        self._paint_alarms()

    def switch_theme(self) -> None:
        """Dusk to day and back."""
        self._theme.switch(DAY if self._theme.current is DUSK else DUSK)

    def _front_widget(self) -> QWidget:
        return self.sheets.current or self._stack.currentWidget() or self

    def request_close(self) -> None:
        """Ask in the page when something is open; close otherwise."""
        self._quit.request()

    def _really_close(self) -> None:
        self.close()
        self.closed.emit()

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._quit.may_close:
            event.accept()
            return
        # Closing the window only requests; it never just dies with positions open (R25).
        event.ignore()
        self.request_close()

    def _watch_for_modal(self) -> None:
        if QApplication.activeModalWidget() is not None:
            _log.error("a modal window is open: %r", QApplication.activeModalWidget())
            self.messages.fail(
                "A modal window is open; that is a fault. Use Ctrl+Shift+F12 to stop."
            )
