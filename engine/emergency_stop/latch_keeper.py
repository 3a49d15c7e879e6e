"""Keeps the latch file and the memory the same: writes on a thread, and looks at the file each
second.

Why a thread of its own: the stop never waits for a disk, a disk may hang for ever, and a hung disk
must not keep the process from ending (the thread is a daemon). Writes are in the order of the
calls. One that failed is tried again each second until it, or a later one, is on the disk.

The file is also how a stop arrives from outside: `seawall panic` with an engine that does not
answer, and the guard, write it. Whatever differs from what this process wrote or last saw is
handed to `on_seen`, on the loop. The second is real time, also under a simulated clock, since the
other side is a real process; a simulation adds `pending` as a busy probe, so that time stands
during a write.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from engine.emergency_stop.collaborators import LatchStore
from engine.latch import LatchState

_log = logging.getLogger(__name__)
Change = Callable[[LatchState], LatchState]
POLL_S = 1.0
_JOIN_S = 1.0


@dataclass(slots=True)
class _Job:
    change: Change | None
    is_owed: bool
    done: Future[LatchState] = field(default_factory=Future)


class LatchKeeper:
    """`on_seen(state)`: the file says something new. `on_error(text)`: "" once it is written
    again.
    """

    def __init__(
        self,
        *,
        latch: LatchStore,
        on_seen: Callable[[LatchState], None],
        on_error: Callable[[str], None],
    ) -> None:
        self._latch = latch
        self._on_seen = on_seen
        self._on_error = on_error
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending = 0
        # Only the thread touches these.
        self._owed: Change | None = None
        self._seen: LatchState | None = None

    def start(self, seen: LatchState | None = None) -> None:
        """Start looking at the file; `seen` is what is known of it. Must be called on the loop."""
        if self._thread is not None:
            return
        self._seen = seen
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="latch-keeper", daemon=True)
        self._thread.start()

    def pending(self) -> int:
        """Writes that were asked for and not answered yet."""
        return self._pending

    def write(self, change: Change, *, is_owed: bool = True) -> Future[LatchState]:
        """Queue a change; the future has the state as written, or the error.

        An owed change is tried again until it is written. Never blocks, never raises.
        """
        job = _Job(change, is_owed)
        self._pending += 1
        self._jobs.put(job)
        return job.done

    def look(self) -> Future[LatchState]:
        """Look at the file behind the writes that are queued; news go to `on_seen` first."""
        job = _Job(None, is_owed=False)
        self._pending += 1
        self._jobs.put(job)
        return job.done

    def close(self) -> None:
        """Write what is queued and end, unless the disk hangs for more than a second."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_JOIN_S)
            self._thread = None

    # --- On the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=POLL_S)
            except queue.Empty:
                self._look()
                continue
            if job is None:
                return
            if job.change is None:
                self._look()
                self._finish(job.done, self._seen or self._latch.read())
            else:
                self._write(job, job.change)

    def _write(self, job: _Job, change: Change) -> None:
        try:
            written = self._latch.update(self._noticing(change))
        except Exception as error:  # Supervised place: a disk may fail in any way.
            _log.exception("the latch file could not be written")
            if job.is_owed:
                self._owed = change
            self._tell(self._on_error, f"the latch file could not be written: {error}")
            self._finish(job.done, error)
            return
        self._settle(written)
        self._finish(job.done, written)

    def _noticing(self, change: Change) -> Change:
        """The change, after telling what it is about to write over if that is news."""

        def notice(old: LatchState) -> LatchState:
            if self._seen is not None and old != self._seen:
                self._seen = old
                self._tell(self._on_seen, old)
            return change(old)

        return notice

    def _settle(self, written: LatchState) -> None:
        if self._owed is not None:
            self._owed = None
            self._tell(self._on_error, "")
        back = self._latch.read()
        self._seen = back
        ids = {trip.trip_id for trip in written.trips}
        if back.damage or back.latched != written.latched or _ids(back) - ids:
            self._tell(self._on_seen, back)

    def _look(self) -> None:
        if self._owed is not None:
            try:
                written = self._latch.update(self._noticing(self._owed))
            except Exception:  # Supervised place: a disk may fail in any way.
                _log.info("the latch file still cannot be written", exc_info=True)
                return
            self._settle(written)
            return
        state = self._latch.read()
        if state != self._seen:
            self._seen = state
            self._tell(self._on_seen, state)

    def _tell(self, callback: Callable[..., None], value: object) -> None:
        self._on_loop(lambda: callback(value))

    def _finish(self, done: Future[LatchState], outcome: LatchState | Exception) -> None:
        def finish() -> None:
            self._pending -= 1
            if done.cancelled():
                return
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        self._on_loop(finish)

    def _on_loop(self, call: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(call)
        except RuntimeError:
            _log.info("the loop has ended; the latch file has been written")


def _ids(state: LatchState) -> set[str]:
    return {trip.trip_id for trip in state.trips}


__all__ = ["POLL_S", "LatchKeeper"]
