"""The emergency stop: one call that lets no entry leave any more and closes what is open.

Order of a trip, all in the caller's own call: the latch in memory; the latch file, handed to a
thread; the closers, each a task that the loop runs next, largest risk first; last, and only then,
the event and the trip record, so that no subscriber stands before the first cancel. Nothing of it
is awaited.

It needs the venue's exits and reads. Redis, the database, the bus and the disk are told and may
all be gone. Until `restore` has said what the latch file holds, it is latched: unknown is never
armed.

Loop: every method belongs on the event loop; `trip` alone may be called from any thread. Fails:
`trip` never raises; `clear` answers with what stands in its way. Times are UTC nanoseconds,
durations seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import replace

from engine.emergency_stop.collaborators import (
    EventSink,
    KnownAccount,
    LatchStore,
    StopHooks,
    StopIdentity,
    StopVenue,
)
from engine.emergency_stop.flattening import FlatProof, Flattening
from engine.emergency_stop.latch_keeper import LatchKeeper
from engine.emergency_stop.latch_words import (
    armed_change,
    from_latch_trip,
    latched_change,
    to_latch_trip,
)
from engine.emergency_stop.order_series import ClosingOrderIds, next_fence
from engine.emergency_stop.reports import StopReports
from engine.emergency_stop.supervision import quietly
from engine.emergency_stop.wording import position_row, stages
from engine.latch import LatchState, StopState
from engine.model.emergency import (
    Clearing,
    Condition,
    EmergencySnapshot,
    EmergencyState,
    Scope,
    Trip,
    TripSource,
)
from engine.model.ids import Symbol, TripId
from engine.model.limits import STOP_INCOMPLETE_AFTER_S
from engine.ports.clock import Clock
from engine.runtime import IdSource, Stamper, Tasks, within

_log = logging.getLogger(__name__)
PAUSE_ALARM_INTERVAL_S = 60.0
# A restarted stop lets its fence reach the disk before it sends, but not for longer than this.
_FENCE_WAIT_S = 0.25


class EmergencyStop:
    """Implements `LatchView`. Latched from `trip` until `clear`, over restarts."""

    def __init__(
        self,
        *,
        venue: StopVenue,
        account: KnownAccount,
        latch: LatchStore,
        identity: StopIdentity,
        clock: Clock,
        ids: IdSource,
        bus: EventSink,
        hooks: StopHooks,
    ) -> None:
        self._venue = venue
        self._account = account
        self._identity = identity
        self._clock = clock
        self._ids = ids
        self._hooks = hooks
        self._keeper = LatchKeeper(latch=latch, on_seen=self._on_seen, on_error=self._on_error)
        self._reports = StopReports(
            bus=bus, stamp=Stamper(clock=clock, ids=ids, source="emergency_stop"), clock=clock
        )
        self._tasks = _own_tasks()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._latched = True
        self._state = EmergencyState.INCOMPLETE
        self._paused = False
        self._pause_reason = ""
        self._trips: list[Trip] = []
        self._unannounced: list[Trip] = []
        self._cleared: set[str] = set()
        self._cleared_elsewhere: set[str] = set()
        self._version = 0
        self._is_clearing = False
        self._episode = 0
        self._presses = 0
        self._block_s = 0.0
        self._damage = ""
        self._write_error = ""
        self._flat_since_ns: int | None = None
        self._closing_ids: ClosingOrderIds | None = None
        self._fence = 0
        self._flattening: Flattening | None = None

    # --- The latch ------------------------------------------------------------------------------

    def is_latched(self) -> bool:
        """True from a trip until a reset; also before `restore`."""
        return self._latched

    @property
    def trips(self) -> tuple[Trip, ...]:
        """Every trip that a reset has to name."""
        return tuple(self._trips)

    @property
    def latch_problem(self) -> str:
        """Why the latch file does not say what it should, or nothing: a reset needs it sound."""
        return self._write_error

    async def poll_latch_file(self) -> None:
        """Look at the latch file now. It is looked at every (real) second without being asked."""
        await asyncio.shield(asyncio.wrap_future(self._keeper.look()))

    def pending_writes(self) -> int:
        """Latch writes under way; a simulation's busy probe."""
        return self._keeper.pending()

    def restore(self, found: LatchState) -> None:
        """Take over what the latch file says; latched goes on where it was. Once, at the start.

        Raises the fence, so that no closing order id of an earlier process is used again.
        """
        self._loop = asyncio.get_running_loop()
        now_ns = self._clock.now_ns()
        self._fence = next_fence(last=found.fence, is_certain=not found.damage, now_ns=now_ns)
        self._closing_ids = ClosingOrderIds(
            node=self._identity.node, generation=self._identity.generation, fence=self._fence
        )
        self._damage = found.damage
        early = tuple(self._trips)
        known = [from_latch_trip(trip, node=self._identity.node) for trip in found.trips]
        self._trips = known + [trip for trip in early if trip.id not in {t.id for t in known}]
        self._latched = found.latched or bool(early)
        self._paused = found.paused and found.latched
        self._state = EmergencyState.ARMED
        if self._latched:
            self._state = EmergencyState(found.state.value)
            if early or self._state in {EmergencyState.ARMED, EmergencyState.FLAT}:
                # What was flat when the process ended has to be proven again.
                self._state = EmergencyState.FLATTENING
        if found.damage or (self._latched and not self._trips):
            self._add_trip(
                TripSource.LATCH_FILE, found.damage or "the latch file named no trip", Scope.NODE
            )
        self._keeper.start(found)
        self._store()
        if self._latched:
            self._loop.call_soon(self._announce)
            self._tasks.spawn("stop-go-on", self._go_on())

    async def _go_on(self) -> None:
        """After a restart: the new fence first, if the disk is quick about it."""
        try:
            await within(self._clock, _FENCE_WAIT_S, self._written())
        except TimeoutError:
            _log.warning("closing goes on before the new fence is on the disk")
        if self._paused:
            self._tasks.spawn("stop-pause-alarm", self._alarm_while_paused())
        self._begin()

    async def _written(self) -> None:
        while self._keeper.pending():
            await self._clock.sleep(0.005)

    # --- Tripping -------------------------------------------------------------------------------

    def trip(self, *, source: TripSource, reason: str, scope: Scope = Scope.NODE) -> Trip:
        """Stop. When this returns no entry leaves; the closing goes on by itself.

        A source that has tripped already changes nothing: its trip is returned, the press counted.
        """
        started_ns = self._clock.monotonic_ns()
        was_latched = self._latched
        self._latched = True
        self._presses += 1
        self._version += 1  # A reset under way must not win over a press.
        for known in self._trips:
            if known.source is source and known.scope is scope and self._counts_for(known):
                quietly("looking again", self._look_again)
                return known
        trip = self._add_trip(source, reason, scope)
        self._latched_by_trip(was_latched=was_latched, started_ns=started_ns)
        return trip

    def _counts_for(self, known: Trip) -> bool:
        """Whether a press of its kind says nothing new: not when it was another node's, nor when
        the rest of the desk has been told that it is over.
        """
        return known.node == self._identity.node and known.id not in self._cleared_elsewhere

    def adopt(self, trip: Trip) -> bool:
        """Stop for a trip that was made elsewhere and keeps its id: another node's of scope desk,
        or one that only the database knew. False when it is known.
        """
        if any(known.id == trip.id for known in self._trips):
            return False
        self._cleared.discard(trip.id)
        started_ns, was_latched = self._clock.monotonic_ns(), self._latched
        self._adopt(trip)
        self._latched_by_trip(was_latched=was_latched, started_ns=started_ns)
        return True

    def note_cleared_elsewhere(self, trips: Collection[TripId]) -> None:
        """Another node's person has cleared these for the desk. The latch stays; but a press of
        the same kind is news again.
        """
        self._cleared_elsewhere.update(trips)

    def _latched_by_trip(self, *, was_latched: bool, started_ns: int) -> None:
        quietly("storing the latch", lambda: self._store(at_once=True))
        if not was_latched:
            self._block_s = (self._clock.monotonic_ns() - started_ns) / 1_000_000_000
        quietly("starting to close", self._start_closing)

    def _add_trip(self, source: TripSource, reason: str, scope: Scope) -> Trip:
        trip = Trip(
            id=TripId(self._ids.next("x")),
            source=source,
            reason=reason,
            ts_ns=self._clock.now_ns(),
            scope=scope,
            node=self._identity.node,
        )
        self._adopt(trip)
        return trip

    def _adopt(self, trip: Trip) -> None:
        """Make a trip part of the stop, whoever made it."""
        self._latched = True
        self._trips.append(trip)
        self._version += 1
        self._unannounced.append(trip)
        if self._state is EmergencyState.ARMED:
            self._state = EmergencyState.FLATTENING

    def _announce(self) -> None:
        while self._unannounced:
            self._announce_one(self._unannounced.pop(0))

    def _announce_one(self, trip: Trip) -> None:
        self._reports.tripped(trip)
        quietly("the trip's record", lambda: self._hooks.on_trip(trip))

    def _start_closing(self) -> None:
        """Start the closers now when on the loop, else as soon as the loop turns."""
        if self._loop is None:
            return  # `restore` begins.
        try:
            on_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            self._begin_and_announce()
        else:
            self._loop.call_soon_threadsafe(self._begin_and_announce)

    def _begin_and_announce(self) -> None:
        quietly("the closers", self._begin)
        # Behind the closers in the loop's queue: recording never stands before a cancel.
        asyncio.get_running_loop().call_soon(self._announce)

    def _begin(self) -> None:
        if self._flattening is not None or not self._latched or self._closing_ids is None:
            self._look_again()
            return
        self._flattening = Flattening(
            venue=self._venue,
            account=self._account,
            clock=self._clock,
            tasks=_own_tasks(),
            ids=self._closing_ids,
            hooks=self._hooks,
            is_paused=lambda: self._paused,
            on_proof=self._on_proof,
        )
        self._flattening.begin(self._trips[0])
        self._tasks.spawn("stop-incomplete", self._incomplete_unless_flat())

    def _look_again(self) -> None:
        if self._flattening is not None:
            self._flattening.look_now()

    # --- Progress -------------------------------------------------------------------------------

    def _on_proof(self, proof: FlatProof | None) -> None:
        is_flat = proof is not None and proof.is_flat
        if is_flat:
            self._flat_since_ns = self._clock.now_ns()
            self._become(EmergencyState.FLAT)
            self._episode += 1
            self._tasks.spawn("stop-report", self._report_flat())
        elif self._state is EmergencyState.FLAT:
            self._flat_since_ns = None
            self._become(EmergencyState.FLATTENING)
            self._reports.reopened(self._open_names())
            self._tasks.spawn("stop-incomplete", self._incomplete_unless_flat())

    async def _report_flat(self) -> None:
        flattening = self._flattening
        if flattening is None:
            return
        duration_s = flattening.verified_after_s or 0.0
        await flattening.collect_fills()
        if self._trips:
            self._reports.flat(self._trips[0], flattening, duration_s=duration_s)

    async def _incomplete_unless_flat(self) -> None:
        self._episode += 1
        episode = self._episode
        await self._clock.sleep(STOP_INCOMPLETE_AFTER_S)
        if self._state is EmergencyState.FLATTENING and self._episode == episode:
            self._become(EmergencyState.INCOMPLETE)
            if self._flattening is not None and self._trips:
                self._reports.incomplete(self._trips[0], self._flattening, self._open_names())

    def _open_names(self) -> tuple[str, ...]:
        """What is open, or may be; in hedge mode with its leg."""
        if self._flattening is None:
            return ()
        return tuple(
            each.symbol if each.leg is None else f"{each.symbol} {each.leg.value}"
            for each in self._flattening.closers
            if each.left != 0
        )

    def _become(self, state: EmergencyState) -> None:
        if state is not self._state:
            self._state = state
            self._store()

    # --- The latch file -------------------------------------------------------------------------

    def _latch_state(self) -> LatchState:
        return LatchState(
            state=StopState(self._state.value),
            latched=self._latched,
            generation=self._identity.generation,
            owner=self._identity.owner,
            written_ns=self._clock.now_ns(),
            fence=self._fence,
            paused=self._paused,
            trips=tuple(to_latch_trip(trip) for trip in self._trips),
        )

    def _store(self, *, at_once: bool = False) -> None:
        """Hand the state to the thread. While a reset is being written only a trip goes past it."""
        if self._is_clearing and not at_once:
            return
        self._keeper.write(latched_change(self._latch_state())).add_done_callback(
            lambda done: done.exception()
        )

    def _on_error(self, text: str) -> None:
        if text and not self._write_error:
            self._reports.latch_not_written(text)
        self._write_error = text

    def _on_seen(self, found: LatchState) -> None:
        """The file says what we did not write: a stop from outside, or somebody's hand on it."""
        known = {trip.id for trip in self._trips} | self._cleared
        news = [trip for trip in found.trips if found.latched and trip.trip_id not in known]
        if not news and found.latched == self._latched and not found.damage:
            return
        for trip in news:
            self._adopt(from_latch_trip(trip, node=self._identity.node))
        self._damage = found.damage or self._damage
        is_named = any(trip.source is TripSource.LATCH_FILE for trip in self._trips)
        if (found.damage and not is_named) or (found.latched and not self._trips):
            why = found.damage or "the latch file says latched and names no trip"
            self._add_trip(TripSource.LATCH_FILE, why, Scope.NODE)
        if self._latched and not found.latched and not self._is_clearing:
            self._add_disagreement("somebody armed the latch file while the stop is latched")
        if self._latched:
            self._store()  # Also when the file was armed behind our back: a difference is a stop.
            self._begin_and_announce()

    def _add_disagreement(self, why: str) -> None:
        if not any(trip.source is TripSource.DISAGREEMENT for trip in self._trips):
            self._add_trip(TripSource.DISAGREEMENT, why, Scope.NODE)

    # --- Pause ----------------------------------------------------------------------------------

    def pause(self, *, paused: bool, reason: str) -> bool:
        """Hold or go on with closing positions; the latch stays. False when there is no stop."""
        if not self._latched:
            return False
        if paused != self._paused:
            self._paused = paused
            self._pause_reason = reason
            self._store()
            if paused:
                self._tasks.spawn("stop-pause-alarm", self._alarm_while_paused())
            else:
                self._reports.pause_ended()
                if self._flattening is not None:
                    self._flattening.go_on()
        return True

    async def _alarm_while_paused(self) -> None:
        while self._paused:
            self._reports.paused(self._open_names(), self._pause_reason)
            await self._clock.sleep(PAUSE_ALARM_INTERVAL_S)

    # --- Reset ----------------------------------------------------------------------------------

    def flat_proof(self) -> FlatProof | None:
        """The two reads that show nothing open but residuals, while the newest read agrees."""
        flattening = self._flattening
        if flattening is None or flattening.last_read_failure is not None:
            return None
        return flattening.proof

    def obstacles(
        self, named: Collection[str], accept_residual: Collection[Symbol] = ()
    ) -> tuple[Condition, ...]:
        """What keeps `clear` from clearing now."""
        unmet: list[Condition] = []
        missing = [trip for trip in self._trips if trip.id not in named]
        if missing:
            listed = ", ".join(f"{trip.id} ({trip.source.value})" for trip in missing)
            unmet.append(Condition(condition="trips_named", met=False, why=f"not named: {listed}"))
        proof = self.flat_proof()
        if proof is None:
            why = "the venue has not shown twice that nothing is open"
            unmet.append(Condition(condition="flat", met=False, why=why))
        else:
            left = [s for s, _ in proof.residual if s not in accept_residual]
            if left:
                why = f"residual not accepted by name: {', '.join(left)}"
                unmet.append(Condition(condition="flat", met=False, why=why))
        return tuple(unmet)

    async def clear(
        self, clearing: Clearing, *, accept_residual: Collection[Symbol] = ()
    ) -> tuple[Condition, ...]:
        """End the stop; returns what stood in the way, empty when cleared. Starts nothing.

        The file is armed on the disk before the memory is, and before this answers.
        """
        if not self._latched:
            return ()
        unmet = self.obstacles(clearing.trips, accept_residual)
        if unmet:
            return unmet
        version = self._version
        self._is_clearing = True
        try:
            written = await asyncio.shield(asyncio.wrap_future(self._arm_file(clearing)))
        except Exception as error:  # Supervised place: a disk may fail in any way.
            why = f"the latch file could not be armed: {error}"
            return (Condition(condition="latch_file", met=False, why=why),)
        else:
            if written.latched or self._version != version:
                self._on_seen(written)
                why = "the stop was pressed or tripped again meanwhile"
                return (Condition(condition="trips_named", met=False, why=why),)
            await self._disarm(clearing)
            return ()
        finally:
            self._is_clearing = False
            if self._latched:
                self._store()

    def _arm_file(self, clearing: Clearing) -> Future[LatchState]:
        version = self._version
        ours = replace(
            self._latch_state(), state=StopState.ARMED, latched=False, paused=False, trips=()
        )
        change = armed_change(
            ours, named=clearing.trips, is_current=lambda: self._version == version
        )
        return self._keeper.write(change, is_owed=False)

    async def _disarm(self, clearing: Clearing) -> None:
        trip = self._trips[0]
        self._cleared.update(clearing.trips)
        self._trips.clear()
        self._latched = self._paused = False
        self._state = EmergencyState.ARMED
        self._presses = 0
        self._damage = ""
        self._flat_since_ns = None
        self._version += 1
        self._is_clearing = False
        flattening, self._flattening = self._flattening, None
        # A trip from now on gets tasks of its own, beside the old ones that are ending.
        tasks, self._tasks = self._tasks, _own_tasks()
        self._reports.reset(trip, clearing)
        if flattening is not None:
            await flattening.aclose()
        await tasks.cancel_all()

    async def aclose(self) -> None:
        """End of the process: tasks end, queued latch writes are done; the latch stays as it is."""
        if self._flattening is not None:
            await self._flattening.aclose()
        await self._tasks.cancel_all()
        self._keeper.close()

    # --- What the operator sees -----------------------------------------------------------------

    def snapshot(self) -> EmergencySnapshot:
        """The stop now; cheap."""
        flattening = self._flattening
        closers = () if flattening is None else flattening.closers
        now_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        rows = tuple(
            position_row(
                closer,
                is_paused=self._paused,
                now_ns=now_ns,
                monotonic_ns=monotonic_ns,
            )
            for closer in closers
            if closer.quantity_at_trip or closer.left
        )
        tries = [row.next_try_ns for row in rows if row.next_try_ns is not None]
        return EmergencySnapshot(
            state=self._state,
            latched=self._latched,
            paused=self._paused,
            trips=tuple(self._trips),
            reason=self._trips[0].reason if self._trips else "",
            since_ns=self._trips[0].ts_ns if self._trips else None,
            stages=stages(flattening, block_s=self._block_s),
            positions=rows,
            positions_open=self._positions_open(rows_open=sum(1 for row in rows if row.left != 0)),
            orders_open=(flattening.orders_open or 0) if flattening else 0,
            orders_cancelled=flattening.orders_cancelled() if flattening else 0,
            positions_closed=flattening.positions_closed() if flattening else 0,
            slippage=flattening.slippage() if flattening else self._reports.last_slippage,
            presses=self._presses,
            flat_since_ns=self._flat_since_ns,
            damage=self._damage or self._write_error,
            next_try_ns=min(tries) if tries else None,
        )

    def _positions_open(self, *, rows_open: int) -> int:
        """By the newest account-wide read; before the first one by the rows."""
        if self._flattening is None or self._flattening.positions_open is None:
            return rows_open
        return max(rows_open, self._flattening.positions_open)


def _own_tasks() -> Tasks:
    return Tasks(on_fault=lambda name, _: _log.error("%s has ended", name))


__all__ = ["PAUSE_ALARM_INTERVAL_S", "EmergencyStop"]
