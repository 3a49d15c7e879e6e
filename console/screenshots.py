"""Pictures of every page in its main states, from a real engine driven through its own door.

What: opens the window offscreen, waits for the engine to trade, and photographs the overview, the
Orders page with a ticket that would be sent and one that would be refused, the policy page with and
without a draft, both halves of the Health page, an outage of Redis, the question on quitting, the
stop, the flat desk, the reset sheet and READY, in the order in which an operator would meet them.
Nothing is drawn from examples but one thing: the outage is staged, since
the command ends nobody's server. The engine's own snapshots are shown with the link's figures
replaced; the pictures of a server that was really killed are the tests'
(`tests/e2e/console_in_an_outage.py`).
Units: seconds for waits, pixels for sizes. Fails: a state the engine does not reach in its time is
photographed as it is, and the file's name stays: the picture then shows what was there.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from PySide6.QtWidgets import QApplication, QLineEdit

from console.bootstrap import BuildEngine, make_application
from console.qt import ConsoleEventLoop
from console.theme import THEMES, LiveTheme
from console.window import MainWindow
from engine.api import EngineClient
from engine.model.emergency import EmergencyState, ResetRequest
from engine.model.reasons import Reason, ReasonCode
from engine.model.snapshots import (
    AlarmSnapshot,
    EngineSnapshot,
    EngineState,
    LinkHistorySnapshot,
    LinkState,
    OutageSnapshot,
    RecoverySnapshot,
)

__all__ = ["photograph"]

_SETTLE_S: Final = 0.3
_POLL_S: Final = 0.05
_STAGED_DOWN_S: Final = 6.0
_STAGED_REPLAY_S: Final = 2.0
_STAGED_EVENTS_PER_S: Final = 180
_STAGED_CAUSE: Final = "nothing listens at its address"
DEFAULT_SIZE: Final = (1366, 700)


Stage = Callable[[EngineSnapshot], EngineSnapshot]


class _StagedClient:
    """The engine's own door, but for what a stage replaces in its snapshots."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self.stage: Stage = lambda snapshot: snapshot

    def snapshot(self) -> EngineSnapshot:
        return self.stage(self._client.snapshot())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def _link_as(
    snapshot: EngineSnapshot,
    *,
    pending: int,
    oldest_s: float,
    gate: tuple[Reason, ...],
    **fields: Any,
) -> EngineSnapshot:
    """The snapshot with its Redis link, and all that follows from it, replaced."""
    redis = msgspec.structs.replace(snapshot.redis, was_up=True, **fields)
    links = tuple(
        msgspec.structs.replace(
            link,
            state=redis.state,
            cause=redis.cause,
            age_s=redis.last_answer_age_s,
            was_up=True,
            down_s=redis.down_s,
            tries=redis.tries,
        )
        if link.name == "redis"
        else link
        for link in snapshot.links
    )
    journal = msgspec.structs.replace(
        snapshot.journal,
        pending=pending,
        written=snapshot.journal.written + pending,
        bytes=snapshot.journal.bytes + 400 * pending,
        oldest_pending_age_s=oldest_s,
    )
    policy = snapshot.policy
    if snapshot.policy.source == "redis":
        policy = msgspec.structs.replace(policy, source="local snapshot", age_s=oldest_s)
    return msgspec.structs.replace(
        snapshot, redis=redis, links=links, journal=journal, gate=gate, policy=policy
    )


def _down_since(begin: EngineSnapshot) -> Stage:
    """Redis has been away since ``begin``, and what is written waits for it."""

    def stage(snapshot: EngineSnapshot) -> EngineSnapshot:
        down_s = (snapshot.monotonic_ns - begin.monotonic_ns) / 1e9
        down = _link_as(
            snapshot,
            pending=round(down_s * _STAGED_EVENTS_PER_S),
            oldest_s=down_s,
            gate=(
                Reason(code=ReasonCode.REDIS_DOWN, detail=_STAGED_CAUSE),
                Reason(code=ReasonCode.RECOVERING),
            ),
            state=LinkState.DOWN,
            cause=_STAGED_CAUSE,
            down_s=down_s,
            last_answer_age_s=down_s,
            tries=round(down_s) + 1,
        )
        alarm = AlarmSnapshot(
            id="staged",
            code="REDIS_DOWN",
            priority=2,
            text=f"Redis down: {_STAGED_CAUSE}",
            action="Check the server and the network.",
            ts_ns=begin.ts_ns,
        )
        outage = OutageSnapshot(from_ns=begin.ts_ns, to_ns=None, cause=_STAGED_CAUSE)
        return msgspec.structs.replace(
            down,
            alarms=(alarm, *snapshot.alarms) if down_s > 3 else snapshot.alarms,
            link_history=LinkHistorySnapshot(outages=(outage,), outages_total=1),
        )

    return stage


def _replaying_since(begin: EngineSnapshot) -> Stage:
    """Redis is back since ``begin``, and what waited then goes out."""

    def stage(snapshot: EngineSnapshot) -> EngineSnapshot:
        passed_s = (snapshot.monotonic_ns - begin.monotonic_ns) / 1e9
        total = begin.journal.pending
        left = max(1, round(total * (1.0 - passed_s / (2 * _STAGED_REPLAY_S))))
        outage = msgspec.structs.replace(begin.link_history.outages[0], to_ns=begin.ts_ns)
        replaying = _link_as(
            snapshot,
            pending=left,
            oldest_s=left / _STAGED_EVENTS_PER_S,
            gate=(Reason(code=ReasonCode.RECOVERING),),
            state=LinkState.REPLAYING,
            cause="reconnected",
            down_s=None,
            tries=0,
            replay_remaining=left,
            replay_total=total,
        )
        return msgspec.structs.replace(
            replaying,
            alarms=begin.alarms,
            link_history=LinkHistorySnapshot(
                outages=(outage,),
                outages_total=1,
                recovery=RecoverySnapshot(began_ns=begin.ts_ns),
            ),
        )

    return stage


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    window: MainWindow
    client: _StagedClient
    folder: Path
    suffix: str
    written: list[Path]

    async def keep(self, name: str) -> None:
        """Photograph what is on the window now."""
        self.window.pacer.refresh_now()
        await asyncio.sleep(_SETTLE_S)
        self.window.pacer.refresh_now()
        path = self.folder / f"{name}_{self.suffix}.png"
        if not self.window.grab().save(str(path)):
            raise OSError(f"cannot write {path}")
        self.written.append(path)

    async def staged(
        self, stage: Callable[[EngineSnapshot], Stage], wait_s: float, *pages: tuple[str, str]
    ) -> None:
        """Show the engine with this stage for a while, and photograph pages of it."""
        self.client.stage = stage(self.client.snapshot())
        await asyncio.sleep(wait_s)
        for page, name in pages:
            self.window.show_page(page)
            await self.keep(name)

    async def until(self, is_there: Callable[[EngineSnapshot], bool], wait_s: float) -> None:
        """Wait for the engine to reach a state, for so long."""
        for _ in range(int(wait_s / _POLL_S)):
            engine = self.window.engine
            if engine is not None and is_there(engine.snapshot):
                return
            await asyncio.sleep(_POLL_S)


def photograph(
    build: BuildEngine,
    folder: Path,
    *,
    size: tuple[int, int] | None = None,
    theme_name: str | None = None,
    warm_up_s: float = 45.0,
) -> list[Path]:
    """Write the pictures; both themes unless one is named. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    # Pictures need no screen, and must not open a window on one.
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    application = make_application()
    theme = LiveTheme(application=application)
    names = [theme_name] if theme_name else list(THEMES)
    written: list[Path] = []
    loop = ConsoleEventLoop(application)
    try:
        for name in names:
            theme.switch(THEMES[name])
            shoot = _shoot(
                build,
                folder,
                application=application,
                theme=theme,
                size=size or DEFAULT_SIZE,
                warm_up_s=warm_up_s,
            )
            written += loop.run_until_complete(shoot)
    finally:
        loop.close()
    return written


async def _shoot(
    build: BuildEngine,
    folder: Path,
    *,
    application: QApplication,
    theme: LiveTheme,
    size: tuple[int, int],
    warm_up_s: float,
) -> list[Path]:
    engine = await build()
    client = _StagedClient(engine.client)
    window = MainWindow(
        client=cast(EngineClient, client),
        theme=theme,
        application=application,
        loop=asyncio.get_running_loop(),
    )
    window.resize(*size)
    window.show()
    window.begin()
    suffix = f"{theme.current.name}_{size[0]}x{size[1]}"
    session = _Session(window=window, client=client, folder=folder, suffix=suffix, written=[])
    try:
        await engine.start()
        await session.until(lambda now: bool(now.positions), warm_up_s)
        await _pages(session)
        await _outage(session)
        await _stop_and_reset(session)
    finally:
        await window.end()
        await engine.stop()
        window.hide()
        window.deleteLater()
    return session.written


async def _pages(session: _Session) -> None:
    window = session.window
    await session.keep("overview_running")
    await _orders(session)
    window.show_page("policy")
    await session.keep("policy")
    for field, text in (("max_daily_loss", "4 %"), ("drawdown_soft", "6 %")):
        editor = window.policy_view.fields.editor(field)
        if isinstance(editor, QLineEdit):
            editor.setText(text)
            editor.textEdited.emit(text)
    await session.keep("policy_draft")
    window.policy_view.discard_pressed.emit()
    window.show_page("health")
    await session.keep("health_links")
    window.health_view.show_part("events")
    await session.keep("health_events")
    window.health_view.show_part("links")
    window.show_page("overview")
    if window.engine is not None and window.engine.snapshot.positions:
        window.request_close()
        await session.keep("quit_question")
        window.sheets.dismiss()


async def _orders(session: _Session) -> None:
    """The ticket as it would be sent, as it would be refused, and a close that asks how much."""
    window = session.window
    window.show_page("orders")
    engine = window.engine
    if engine is None or not engine.snapshot.positions:
        await session.keep("orders")
        return
    held, page = engine.snapshot.positions[0], window.orders_view
    taken = {str(position.symbol) for position in engine.snapshot.positions}
    free = [str(symbol) for symbol in engine.snapshot.symbols if str(symbol) not in taken]
    typed = {"symbol": (free or [str(held.symbol)])[0], "amount": "500", "take_profit": "4 %"}
    page.ticket.unit_button(notional=True).click()
    for name, text in typed.items():
        page.ticket.edit(name).setText(text)
    await asyncio.sleep(_SETTLE_S)
    page.held.choose(str(held.symbol))
    page.orders.setFocus()
    await session.keep("orders")
    page.ticket.edit("amount").setText("1000000")
    page.open_close_button.click()
    await asyncio.sleep(_SETTLE_S)
    await session.keep("orders_refused")
    page.close_line.keep_button.click()
    for name in typed:
        page.ticket.edit(name).setText("")


async def _outage(session: _Session) -> None:
    await session.staged(
        _down_since,
        _STAGED_DOWN_S,
        ("overview", "overview_redis_down"),
        ("health", "health_redis_down"),
        ("alarms", "alarms_redis_down"),
    )
    session.window.show_page("overview")
    await session.staged(_replaying_since, _STAGED_REPLAY_S, ("overview", "overview_replaying"))
    session.client.stage = lambda snapshot: snapshot


async def _stop_and_reset(session: _Session) -> None:
    window = session.window
    window.stop_button.fire("button")
    await session.keep("overview_stopping")
    await session.until(lambda now: now.emergency.state is EmergencyState.FLAT, 30.0)
    await session.keep("overview_flat")
    window.stop_desk.open_reset()
    await session.keep("reset_sheet")
    window.sheets.dismiss()
    await _reset(session)
    await session.until(lambda now: now.state is EngineState.READY, 5.0)
    await session.keep("overview_ready")


async def _reset(session: _Session) -> None:
    """Reset once its conditions are met; links must have been up for a minute, so this may wait."""

    def conditions_met(now: EngineSnapshot) -> bool:
        return all(condition.met for condition in now.reset_conditions)

    for alarm in session.window.alarm_ids():
        await session.window.client.acknowledge_alarm(alarm)
    await session.until(conditions_met, 75.0)
    engine = session.window.engine
    if engine is None:
        return
    emergency = engine.snapshot.emergency
    await session.window.client.reset(
        ResetRequest(
            cause="rehearsal or test",
            reason="screenshots of the console",
            clear=tuple(trip.id for trip in emergency.trips),
            rebase=tuple(engine.snapshot.would_trip_again),
        )
    )
