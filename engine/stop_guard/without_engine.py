"""`offline_panic`: latch the data directory and flatten its account without an engine.

Order: the latch file first, whatever else is broken. Then the account:

- On paper, and in a dry run, whose orders live in the same books, the lock of the data directory
decides. Nobody holds it: we take it, open the paper venue on `paper.db` with its last marks, and
run the same stop as the engine would, under a raised fence. An engine holds it and did not answer:
its paper books are its own, so it has to close. It looks at the latch file every second on a thread
and trips by it; a frozen one does so when it wakes, before its loop can send anything else. We
watch the file until it says flat, and take over should the engine die meanwhile.
- Live, the account is at the exchange. An engine that holds the lock has a second to close by
itself; after that, or when there is none, the same stop runs here, over connections of our own.
Both closing at once does no harm, since everything sent is a cancel or reduce-only.

Two writers of the latch file are no danger: each keeps the trips it finds, and only a reset that
names every trip arms it. A pause of the closing is honoured: positions stay and are listed. The
fills that closing made are booked by the next start, which asks the venue. Blocks until flat or
`wait_s` real seconds have passed. Fails only in its answer: whatever cannot be done is in `unmet`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.database import DataDirLock
from engine.emergency_stop import (
    EmergencyStop,
    KnownAccount,
    StopHooks,
    StopIdentity,
)
from engine.latch import LatchFile, LatchState, LatchTrip, StopState
from engine.model.api_key import ApiKey
from engine.model.config import Configuration
from engine.model.emergency import EmergencySnapshot, EmergencyState, Scope, TripSource
from engine.model.errors import ConfigurationError, DataDirectoryInUse, EngineError
from engine.model.events import Event
from engine.model.values import plain
from engine.ports import Clock
from engine.runtime import IdSource, SystemClock
from engine.stop_guard.accounts import ExchangeAccount, PaperAccount, StoppableAccount
from engine.venues.exchange import network

_log = logging.getLogger(__name__)
_LOOK_S = 0.05
# How long an engine that may still be there has for a live account before we close it too.
_ENGINE_MAY_CLOSE_S = 1.0
FindKey = Callable[[], Awaitable[ApiKey]]
Unmet = list[dict[str, str]]


async def _no_key() -> ApiKey:
    raise ConfigurationError("", "nobody has said where its key is")


class _Log:
    """Takes the stop's events where there is no bus: into the log."""

    def emit(self, event: Event) -> None:
        _log.info("%s", event)


def offline_panic(
    data_dir: Path,
    *,
    reason: str,
    wait_s: float = 60.0,
    scope: Scope = Scope.NODE,
    configuration: Configuration | None = None,
    find_key: FindKey = _no_key,
) -> dict[str, Any]:
    """Latch and flatten; the answer has the shape that `seawall panic --json` prints.

    `find_key` is asked for the exchange's key when the configuration is live; it raises
    ConfigurationError where there is none.

    `ok` is true when the account is flat by the venue's own books. With scope desk it is never
    true: from here nobody but this node can be stopped; the engine tells the desk when it starts.
    """
    panic = _Panic(
        data_dir=data_dir,
        reason=reason,
        wait_s=wait_s,
        scope=scope,
        configuration=configuration or Configuration(),
        find_key=find_key,
        clock=SystemClock(),
    )
    return asyncio.run(panic.run())


class _Panic:
    """One panic without an engine."""

    def __init__(
        self,
        *,
        data_dir: Path,
        reason: str,
        wait_s: float,
        scope: Scope,
        configuration: Configuration,
        find_key: FindKey,
        clock: Clock,
    ) -> None:
        self._find_key = find_key
        self._data_dir = data_dir
        self._reason = reason
        self._wait_s = wait_s
        self._scope = scope
        self._configuration = configuration
        self._clock = clock
        self._ids = IdSource()
        self._latch = LatchFile(data_dir / "latch")
        self._lock = DataDirLock(data_dir, purpose="panic")
        self._deadline_ns = 0

    async def run(self) -> dict[str, Any]:
        """Latch, then close, or see to it that the engine does."""
        self._deadline_ns = self._clock.monotonic_ns() + round(self._wait_s * 1_000_000_000)
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        not_latched = [*self._write_latch(), *self._not_told()]
        if self._configuration.engine.mode == "live":
            return _with(await self._stop_live(), not_latched)
        while True:
            try:
                self._lock.acquire()
            except DataDirectoryInUse as error:
                answer = await self._watch_engine(str(error))
                if answer is not None:
                    return _with(answer, not_latched)
            else:
                break
        try:
            return _with(await self._close_here(), not_latched)
        finally:
            self._lock.release()

    # --- The latch ------------------------------------------------------------------------------

    def _write_latch(self) -> Unmet:
        """Write the trip into the file; what a broken disk says is an answer, not an end."""
        trip = LatchTrip(
            trip_id=self._ids.next("x"),
            source=TripSource.COMMAND_LINE.value,
            reason=self._reason,
            ts_ns=self._clock.now_ns(),
            scope=self._scope.value,
        )

        def change(old: LatchState) -> LatchState:
            trips = old.trips
            if old.damage:
                # Healing the file must not hide that it was damaged: it is a trip of its own.
                trips += (
                    LatchTrip(
                        trip_id=self._ids.next("x"),
                        source=TripSource.LATCH_FILE.value,
                        reason=old.damage,
                        ts_ns=trip.ts_ns,
                    ),
                )
            return replace(
                old,
                state=StopState.FLATTENING,
                latched=True,
                written_ns=trip.ts_ns,
                trips=(*trips, trip),
                damage="",
            )

        try:
            self._latch.update(change)
        except (OSError, ValueError) as error:
            why = f"the latch file could not be written: {error}"
            return [{"condition": "latch_file", "why": why}]
        return []

    def _not_told(self) -> Unmet:
        if self._scope is Scope.NODE:
            return []
        why = (
            "only this node was stopped: no engine answers here that could tell the desk. Stop the"
            " other nodes at theirs; this one's engine tells them when it starts or wakes up"
        )
        return [{"condition": "desk", "why": why}]

    # --- An engine that does not answer ---------------------------------------------------------

    async def _watch_engine(self, holder: str) -> dict[str, Any] | None:
        """Wait for the engine to close; None when it has let go of the lock."""
        while self._clock.monotonic_ns() < self._deadline_ns:
            state = self._latch.read()
            if state.state is StopState.FLAT and not state.damage:
                return _answer(_from_file(state), [])
            if self._lock_is_free():
                return None
            await self._clock.sleep(_LOOK_S)
        state = self._latch.read()
        why = (
            f"{holder} and does not answer; it is latched and has to close its positions itself. "
            "If it is frozen, end that process and call panic again"
        )
        return _answer(_from_file(state), [{"condition": "flat", "why": why}])

    def _lock_is_free(self) -> bool:
        try:
            self._lock.acquire()
        except DataDirectoryInUse:
            return False
        return True

    # --- Live -----------------------------------------------------------------------------------

    async def _stop_live(self) -> dict[str, Any]:
        """Close at the exchange, unless an engine is quicker."""
        try:
            self._lock.acquire()
        except DataDirectoryInUse:
            state = await self._engine_closes()
            if state is not None:
                return _answer(_from_file(state), [])
        try:
            return await self._close_live()
        finally:
            self._lock.release()

    async def _engine_closes(self) -> LatchState | None:
        until_ns = self._clock.monotonic_ns() + round(_ENGINE_MAY_CLOSE_S * 1_000_000_000)
        while self._clock.monotonic_ns() < until_ns:
            state = self._latch.read()
            if state.state is StopState.FLAT and not state.damage:
                return state
            await self._clock.sleep(_LOOK_S)
        return None

    async def _close_live(self) -> dict[str, Any]:
        found = self._latch.read()
        name = self._configuration.venue.name
        try:
            key = await self._find_key()
        except ConfigurationError as error:
            why = f"{name} cannot be asked to close anything: {error}"
            return _answer(_from_file(found), [{"condition": "flat", "why": why}])
        account = ExchangeAccount(
            configuration=self._configuration,
            key=key,
            transport=network(self._clock),
            clock=self._clock,
        )
        return await self._flatten(account, found)

    # --- No engine ------------------------------------------------------------------------------

    async def _close_here(self) -> dict[str, Any]:
        """Open the paper venue's books and run the stop on them."""
        found = self._latch.read()
        books = self._data_dir / "paper.db"
        if not books.exists():
            return self._without_books(found, books)
        account = PaperAccount(books=books, configuration=self._configuration, clock=self._clock)
        try:
            return await self._flatten(account, found)
        except EngineError as error:
            why = f"the paper venue's books cannot be opened: {error}"
            return _answer(_from_file(found), [{"condition": "flat", "why": why}])

    def _without_books(self, found: LatchState, books: Path) -> dict[str, Any]:
        if (self._data_dir / "state.db").exists():
            why = f"{books} is missing beside state.db: what is open cannot be known"
            return _answer(_from_file(found), [{"condition": "flat", "why": why}])
        # Nothing has ever traded here: latched, and nothing to close.
        try:
            found = self._latch.update(lambda state: replace(state, state=StopState.FLAT))
        except (OSError, ValueError) as error:
            _log.warning("the latch file could not be written: %s", error)
        return _answer({**_from_file(found), "positions_open": 0, "orders_open": 0}, [])

    async def _flatten(self, account: StoppableAccount, found: LatchState) -> dict[str, Any]:
        try:
            await account.open()
            shot = await self._stop(account, found)
        finally:
            await account.close()
        return _answer(_from_snapshot(shot), _not_flat(shot))

    async def _stop(self, account: StoppableAccount, found: LatchState) -> EmergencySnapshot:
        stop = EmergencyStop(
            venue=account.venue,
            # Our own books stay closed: what is open is asked of the venue.
            account=KnownAccount(exposures=tuple, instrument=account.instrument),
            latch=self._latch,
            identity=StopIdentity(
                node=self._configuration.node.name,
                generation=max(1, found.generation),
                owner=f"panic:{os.getpid()}",
            ),
            clock=self._clock,
            ids=self._ids,
            bus=_Log(),
            hooks=StopHooks(),
        )
        stop.restore(found)
        try:
            await self._until_flat(stop)
            return stop.snapshot()
        finally:
            await stop.aclose()

    async def _until_flat(self, stop: EmergencyStop) -> None:
        while self._clock.monotonic_ns() < self._deadline_ns:
            if stop.snapshot().state is EmergencyState.FLAT:
                return
            await self._clock.sleep(_LOOK_S)


# --- The answer ---------------------------------------------------------------------------------


def _answer(emergency: dict[str, Any], unmet: Unmet) -> dict[str, Any]:
    return {
        "ok": not unmet,
        "state": "latched" if emergency["latched"] else "off",
        "emergency": emergency,
        "unmet": unmet,
    }


def _with(answer: dict[str, Any], further: Unmet) -> dict[str, Any]:
    """The answer with what else went wrong; a latch that could not be written is never ok."""
    unmet = [*further, *answer["unmet"]]
    return {**answer, "ok": not unmet, "unmet": unmet}


def _from_file(state: LatchState) -> dict[str, Any]:
    return {
        "state": state.state.value,
        "latched": state.latched,
        "reason": state.trips[0].reason if state.trips else state.damage,
        "since": state.trips[0].ts_ns if state.trips else None,
        "paused": state.paused,
        "trips": [
            {
                "id": trip.trip_id,
                "source": trip.source,
                "reason": trip.reason,
                "ts_ns": trip.ts_ns,
                "scope": trip.scope,
                "node": trip.node,
            }
            for trip in state.trips
        ],
        # Nobody has asked the venue.
        "positions_open": None,
        "orders_open": None,
    }


def _from_snapshot(shot: EmergencySnapshot) -> dict[str, Any]:
    return {
        "state": shot.state.value,
        "latched": shot.latched,
        "reason": shot.reason,
        "since": shot.since_ns,
        "paused": shot.paused,
        "trips": [
            {
                "id": trip.id,
                "source": trip.source.value,
                "reason": trip.reason,
                "ts_ns": trip.ts_ns,
                "scope": trip.scope.value,
                "node": trip.node,
            }
            for trip in shot.trips
        ],
        "positions_open": shot.positions_open,
        "orders_open": shot.orders_open,
    }


def _not_flat(shot: EmergencySnapshot) -> Unmet:
    """What is open, a line each; nothing when flat."""
    if shot.state is EmergencyState.FLAT:
        return []
    open_rows = [row for row in shot.positions if row.left != 0]
    unmet = [
        {
            "condition": "flat",
            "why": f"{row.symbol} {row.side} "
            f"{'?' if row.left is None else plain(row.left)}: {row.state_words}"
            + (f" ({row.last_answer})" if row.last_answer else ""),
        }
        for row in open_rows
    ]
    if shot.orders_open:
        unmet.append({"condition": "flat", "why": f"{shot.orders_open} orders are open"})
    if not unmet:
        unmet.append({"condition": "flat", "why": "the venue has not confirmed it twice"})
    return unmet


__all__ = ["FindKey", "offline_panic"]
