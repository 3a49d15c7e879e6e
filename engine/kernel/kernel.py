"""`Kernel`: the life of an engine: gated start, standing tasks, staged stop.

Start is a gate (load, link, reconcile, then risk may be taken) and recovery after a crash is the
same path. A step that fails leaves the engine in STANDBY with the reason, and is tried again. Stop
has named stages with a timeout each. The kernel never asks which event loop runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from engine.kernel.alarm_watch import AlarmWatch
from engine.kernel.client import LocalClient
from engine.kernel.first_books import FirstBooks
from engine.kernel.parts import Parts
from engine.kernel.resting_entries import RestingEntries
from engine.kernel.retention import Retention
from engine.kernel.snapshot_maker import RECENT_ORDERS
from engine.kernel.standing import NEEDS_START
from engine.kernel.state_loss import StateLoss
from engine.kernel.summary import digest, run_summary
from engine.kernel.wallet_keeper import WalletKeeper
from engine.model.errors import StoreError, VenueError
from engine.model.events import RecoveryStep
from engine.model.limits import LEDGER_TOLERANCE
from engine.model.orders import OrderKind, OrderRecord, OrderState
from engine.model.snapshots import EngineState
from engine.model.values import ZERO
from engine.portfolio import net_of
from engine.redis_link import LINK_FAULTS
from engine.runtime import SimClock, cancel_and_wait

_log = logging.getLogger(__name__)
_LINK_WAIT_S = 5.0
_RETRY_S = 2.0
_SETTLE_S = 3.0
_SETTLE_LOOK_S = 0.02
_STAGE_S = 10.0
_ALL = 10_000_000
_UNANSWERED = frozenset({OrderState.INTENDED, OrderState.SUBMITTED})
_COMPARE_TRIES = 5
_COMPARE_AGAIN_S = 0.2


def _when_made(record: OrderRecord) -> tuple[int, int, str]:
    """Order in which orders were made: by time, then by number (a longer id is a later one)."""
    identifier = record.client_order_id
    return record.intent.created_ns, len(identifier), identifier


class Kernel:
    """One engine. Built by `engine.kernel.build`, which hands it its parts."""

    def __init__(self, *, parts: Parts, client: LocalClient, faults: list[str]) -> None:
        self._parts = parts
        self.client = client
        self._feed_done = asyncio.Event()
        self._feed: asyncio.Task[None] | None = None
        self._began_ns = parts.stopwatch()
        self._started = False
        self._alarm_watch = AlarmWatch(parts=parts)
        self._books = FirstBooks(parts=parts)
        self._wallet = WalletKeeper(parts=parts)
        self._standby_why = ""
        self._failed = ("", "")
        # What went wrong inside this process; a run with any is not ok.
        self.faults = faults

    @property
    def parts(self) -> Parts:
        """For the composition roots, tests and benchmarks."""
        return self._parts

    # --- start ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the gate step by step; returns when READY, RUNNING, LATCHED or STANDBY."""
        parts = self._parts
        parts.mode.go(EngineState.STARTING, "starting")
        parts.desk_emergency.begin()
        await self._step("link", self._link)
        if parts.storage.loss is not None:
            self._tell_loss(parts.storage.loss)
        is_ready = await self._meet_venue()
        self._started = True
        parts.account.judge()
        self._start_tasks()
        if not is_ready:
            self._stand_by()
            parts.tasks.spawn("standby", self._leave_standby())
            return
        self._open_gate()

    def _tell_loss(self, loss: StateLoss) -> None:
        parts = self._parts
        parts.alarms.raise_alarm("DATABASE_RESTORED", loss.text)
        if loss.taken_ok is not None:
            parts.bus.emit(
                RecoveryStep(
                    **parts.stamper(), step="take_back", ok=loss.taken_ok, duration_ms=loss.taken_ms
                )
            )

    async def _step(self, name: str, step: Callable[[], Awaitable[bool]]) -> bool:
        """One step of the start, told of; one that fails again for the same reason tells nothing
        new, for a venue may be away for a day.
        """
        began = self._parts.stopwatch()
        ok = await step()
        why = "" if ok else self._standby_why
        if why and self._failed == (name, why):
            return False
        self._failed = (name, why)
        if why:
            _log.warning("the start, step %s: %s", name, why)
        self._parts.bus.emit(
            RecoveryStep(
                **self._parts.stamper(),
                step=name,
                ok=ok,
                duration_ms=(self._parts.stopwatch() - began) / 1e6,
            )
        )
        return ok

    async def _link(self) -> bool:
        """Give Redis a moment to answer; without it the start goes on and the gate stays shut."""
        parts = self._parts
        parts.tasks.spawn("desk emergency", parts.desk_emergency.run_exchange(), forever=True)
        await parts.redis.start()
        deadline_ns = parts.io_clock.monotonic_ns() + round(_LINK_WAIT_S * 1e9)
        while parts.redis.recovering and parts.io_clock.monotonic_ns() < deadline_ns:
            await parts.io_clock.sleep(0.02)
        return not parts.redis.recovering

    async def reconcile_after_outage(self) -> bool:
        """A step of the recovery after Redis came back; before the start there is nothing to do."""
        return not self._started or await self._reconcile()

    def after_clock_jump(self, text: str) -> None:
        """Time jumped: nothing that was known then is known now."""
        self._parts.alarms.raise_alarm("CLOCK_JUMP", text)
        self._parts.tasks.spawn("after clock jump", self._settle_clock_jump())

    async def _settle_clock_jump(self) -> None:
        if await self._reconcile():
            self._parts.clock_jump.settle()
            self._parts.alarms.clear_alarm("CLOCK_JUMP")

    async def _meet_venue(self) -> bool:
        """From the first request to books that are the venue's own; the first failure ends it."""
        return await self._step("venue", self._connect) and await self._step(
            "reconcile", self._reconcile
        )

    async def _connect(self) -> bool:
        """Clocks and filters, then the books (once), then the private stream: no update is heard
        before there are books to put it in.
        """
        venue = self._parts.venue
        return await self._asked(venue.start, self._books.open, venue.listen)

    async def _reconcile(self) -> bool:
        return await self._asked(
            self._wallet.run, self._parts.execution.reconciliation.run, self._books.settle
        )

    async def _asked(self, *questions: Callable[[], Awaitable[object]]) -> bool:
        """Whether the venue answered them all; what it did not say is the reason of standby."""
        try:
            for question in questions:
                await question()
        except (VenueError, TimeoutError, StoreError) as error:
            self._standby_why = str(error) or "no answer in time"
            return False
        return True

    def _stand_by(self) -> None:
        parts = self._parts
        why = f"{parts.venue.name} is not ready: {self._standby_why}"
        parts.mode.go(EngineState.STANDBY, why)

    async def _leave_standby(self) -> None:
        while not await self._meet_venue():
            self._stand_by()
            await self._parts.clock.sleep(_RETRY_S)
        self._parts.account.judge()
        self._open_gate()

    def _open_gate(self) -> None:
        """Simulated books trade by themselves, except after a reset: then START, over restarts.
        Live never does: it waits for START LIVE in every run.
        """
        parts = self._parts
        standing = parts.storage.open_state.standing
        if NEEDS_START in standing or parts.stop.is_latched():
            parts.mode.go(EngineState.READY, standing.get(NEEDS_START, "waiting for a reset"))
        elif parts.options.effective.engine.mode == "live":
            parts.mode.go(EngineState.READY, "live: waiting for START LIVE")
        else:
            is_dry = parts.options.effective.engine.mode == "dry_run"
            why = "dry run: simulated books" if is_dry else "paper trading"
            parts.mode.go(EngineState.RUNNING, why)

    # --- standing tasks -------------------------------------------------------------------------

    def _start_tasks(self) -> None:
        parts = self._parts
        parts.execution.start()
        spawn = parts.tasks.spawn
        spawn("policy", parts.policy.run(), forever=True)
        if parts.desk_policy is not None:
            spawn("policy of the desk", parts.desk_policy.follow(), forever=True)
            spawn("policy of the desk, asked", parts.desk_policy.ask(), forever=True)
        spawn("marks", parts.mark_watch.run(), forever=True)
        spawn("wallet", self._wallet.watch(), forever=True)
        if parts.dead_man.is_there:
            spawn("dead-man's switch", parts.dead_man.watch(), forever=True)
        spawn("backups", parts.backups.run(), forever=True)
        spawn("retention", self._retention().run(), forever=True)
        spawn("alarms", self._alarm_watch.run(), forever=True)
        spawn("desk records", parts.desk_emergency.run_records(), forever=True)
        spawn("resting entries", RestingEntries(parts=parts).watch(), forever=True)
        spawn("orders of before", self._remember_orders())
        self._feed = spawn("feed", self._run_feed())
        if not isinstance(parts.clock, SimClock):
            spawn("clock jump", parts.clock_jump.run(), forever=True)
            parts.loop_lag.start()

    async def _remember_orders(self) -> None:
        """What ended in earlier runs, for the faces."""
        history = self._parts.storage.store.history
        with contextlib.suppress(StoreError):
            self._parts.execution.desk.remember(await history.orders(limit=RECENT_ORDERS))

    async def _run_feed(self) -> None:
        """Push the market until it ends (a recording does; the simulated one never)."""
        try:
            await self._parts.feed.run(self._parts.market)
        finally:
            self._feed_done.set()

    def _retention(self) -> Retention:
        parts = self._parts
        return Retention(
            journal=parts.storage.journal,
            backups=parts.backups,
            redis=parts.redis,
            bus=parts.bus,
            stamper=parts.stamper,
            clock=parts.clock,
        )

    # --- running and stopping -------------------------------------------------------------------

    async def run_until_feed_ends(self) -> None:
        """Wait for the end of a recording, and for what is in flight to settle."""
        await self._feed_done.wait()
        await self._parts.clock.sleep(_SETTLE_S)

    async def end_trading(self) -> None:
        """No entries and no market from here on, and what is under way settles, so that a summary
        tells of the end and not of a moment before it. A few seconds at most.
        """
        parts = self._parts
        parts.mode.go(EngineState.STOPPING, "stopping")
        if self._feed is not None:
            await cancel_and_wait([self._feed])
        until_ns = parts.clock.monotonic_ns() + round(_SETTLE_S * 1e9)
        while self._is_under_way() and parts.clock.monotonic_ns() < until_ns:
            await parts.clock.sleep(_SETTLE_LOOK_S)

    def _is_under_way(self) -> bool:
        """Whether an order waits for its answer or its fill; what rests at the venue does not."""
        return any(
            record.intent.kind is OrderKind.MARKET or record.state in _UNANSWERED
            for record in self._parts.execution.desk.open_orders()
        )

    async def stop(self) -> None:
        """Stop in stages; positions stay where they are, with their stops at the venue."""
        parts = self._parts
        parts.mode.go(EngineState.STOPPING, "stopping")
        await self._stage("tasks", self._end_tasks())
        await self._stage("emergency stop", parts.stop.aclose())
        await self._stage("bus", parts.bus.drain(_STAGE_S))
        await self._stage("venue", parts.venue.close())
        # What an answer or a fill began while the rest was ended.
        await self._stage("late tasks", self._end_tasks())
        # The last event; the link still mirrors it.
        parts.mode.go(EngineState.OFF, "stopped")
        await self._stage("desk", self._tell_desk())
        await self._stage("redis", self._drain_redis())
        await self._stage("backup", parts.backups.aclose())
        await self._stage("storage", parts.storage.close())

    async def _end_tasks(self) -> None:
        parts = self._parts
        parts.loop_lag.stop()
        stuck = await parts.tasks.cancel_all()
        if stuck:
            _log.error("still running after the stop: %s", ", ".join(stuck))

    async def _tell_desk(self) -> None:
        # A stop that was pressed a moment ago; if it fails, the next start does it.
        with contextlib.suppress(*LINK_FAULTS):
            await self._parts.desk_emergency.tell()

    async def _drain_redis(self) -> None:
        # Only what is committed is mirrored: let the last event get there first.
        with contextlib.suppress(StoreError):
            await self._parts.storage.writer.submit(lambda _: None)
        await self._parts.redis.drain(_STAGE_S)
        await self._parts.redis.close()

    async def _stage(self, name: str, work: Awaitable[Any]) -> None:
        """A stage in real time: a stage that hangs must not keep the process alive."""
        try:
            async with asyncio.timeout(_STAGE_S + 2.0):
                await work
        except TimeoutError:
            _log.error("stage %s of the stop did not end in time", name)
            self.faults.append(f"stop stage {name} timed out")

    # --- summary --------------------------------------------------------------------------------

    async def summary(self) -> dict[str, Any]:
        """The run summary; call it after `end_trading` and before `stop`."""
        parts = self._parts
        history = parts.storage.store.history
        orders = sorted(await history.orders(limit=_ALL), key=_when_made)
        fills = sorted(await history.fills(limit=_ALL), key=lambda fill: (fill.ts_ns, fill.symbol))
        try:
            balanced = await self._books_equal_the_venues()
        except (VenueError, TimeoutError) as error:
            _log.error("not compared with the venue at the end: %s", error)
            balanced = False
        outages = [self._outage(from_ns, to_ns) for from_ns, to_ns in parts.redis.outages]
        return run_summary(
            self.client.snapshot(),
            ok=balanced and not self.faults,
            seed=parts.options.effective.market.seed,
            duration_s=(parts.stopwatch() - self._began_ns) / 1e9,
            orders=len(orders),
            books=parts.ledger.books(),
            outages=outages,
            run_digest=digest(orders, fills),
        )

    def journal_figures(self) -> dict[str, int]:
        """The journal's counts now; also valid after the stop."""
        journal = self._parts.storage.journal.snapshot()
        return {
            "written": journal.written,
            "acknowledged": journal.acknowledged,
            "pending": journal.pending,
            "dead_lettered": journal.dead_lettered,
            "shed": journal.shed,
        }

    def _outage(self, from_ns: int, to_ns: int | None) -> dict[str, int]:
        until_ns = self._parts.clock.now_ns() if to_ns is None else to_ns
        sent = self._parts.gatekeeper.entries_sent_between(from_ns, until_ns)
        return {"from_ns": from_ns, "to_ns": until_ns, "entries_sent": sent}

    async def _books_equal_the_venues(self) -> bool:
        """Positions and balance are the venue's own: simulated books to the last decimal, an
        exchange's balance but for its rounding.

        A fill may fall between the reads while the engine trades: they differ only when they go on
        differing. What moved the wallet since the last look is booked first.
        """
        await self._wallet.run()
        parts = self._parts
        is_live = parts.options.effective.engine.mode == "live"
        tolerance = LEDGER_TOLERANCE if is_live else ZERO
        for attempt in range(_COMPARE_TRIES):
            if attempt:
                await parts.clock.sleep(_COMPARE_AGAIN_S)
            positions = net_of(await parts.venue.reads.positions())
            theirs = {entry.symbol: entry.quantity for entry in positions}
            balance = (await parts.venue.reads.balance()).balance
            ours = {entry.symbol: entry.quantity for entry in parts.ledger.positions()}
            gap = abs(balance - parts.ledger.account().balance)
            if theirs == ours and gap <= tolerance:
                return True
            _log.info("our books %s are not the venue's %s, try %d", ours, theirs, attempt + 1)
        _log.error("our books differ from the venue's")
        return False


__all__ = ["Kernel"]
