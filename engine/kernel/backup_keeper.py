"""Keeps backups of the state database: one a day of trading time, and whenever an operator asks.

Why a thread of its own for each: a copy takes as long as the disk likes, and a disk that hangs must
keep neither the loop nor the end of the process waiting (the thread is a daemon). One at a
time: who asks meanwhile waits, and then gets his own.
`newest` is the newest backup that passed its check, and so what may be pruned from the journal.
On the loop. Times UTC nanoseconds, ages seconds of trading time. Fails: `StoreError` from
`back_up`; the daily one raises the alarm and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from engine.database import BackupFolder
from engine.model.errors import EngineError, StoreError
from engine.ports import Clock

_log = logging.getLogger(__name__)
EVERY_S = 86_400.0
OVERDUE_S = 2 * EVERY_S
_RETRY_S = 300.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that passed its check."""

    path: Path
    made_ns: int


def backup_json(backup: Backup) -> dict[str, Any]:
    """What `seawall backup` answers."""
    return {"ok": True, "path": str(backup.path), "made_ns": backup.made_ns}


class BackupKeeper:
    """The backups of one running engine; `on_failed` hears why, and "" when one succeeded."""

    def __init__(
        self,
        *,
        folder: BackupFolder,
        database: Path,
        clock: Clock,
        on_failed: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._database = database
        self._clock = clock
        self._on_failed = on_failed
        self._busy = asyncio.Lock()
        self._pending = 0
        self._running: asyncio.Future[Any] | None = None
        self._newest: Backup | None = None
        self._fault = ""

    @property
    def newest(self) -> Backup | None:
        """The newest good one, as far as this process has looked."""
        return self._newest

    @property
    def fault(self) -> str:
        """Why the last one failed; "" when it did not."""
        return self._fault

    @property
    def pending(self) -> int:
        """Work on a thread that has not been answered: a simulated clock holds still for it."""
        return self._pending

    @property
    def keep_since_ns(self) -> int:
        """Journal rows from here on stay; without a good backup that is all of them."""
        return self._newest.made_ns if self._newest is not None else 0

    def age_s(self) -> float | None:
        """Age of the newest good backup; None without one."""
        if self._newest is None:
            return None
        return max(0.0, (self._clock.now_ns() - self._newest.made_ns) / 1e9)

    def why_not(self) -> str:
        """Why a damaged database could not be restored to less than two days ago; "" if it can."""
        age_s = self.age_s()
        if self._fault:
            return self._fault
        if age_s is None:
            return "there is no good backup yet"
        return f"the newest backup is {age_s / 3600:.0f} h old" if age_s > OVERDUE_S else ""

    async def back_up(self) -> Backup:
        """Make one now; raises `StoreError`, and then the older ones are as they were."""
        made = await self._on_thread(self._make)
        self._newest = made
        self._tell("")
        return made

    async def run(self) -> None:
        """For ever: look at what is there, and make one whenever a day has passed since the last.

        One that bears a time in the future does not count: the folder has lived in another time.
        """
        self._newest = await self._on_thread(self._find)
        age_s = None if self._newest is None else self._clock.now_ns() - self._newest.made_ns
        wait_s = EVERY_S - age_s / 1e9 if age_s is not None and age_s >= 0 else 0.0
        while True:
            await self._clock.sleep(max(0.0, wait_s))
            try:
                await self.back_up()
                wait_s = EVERY_S
            except StoreError as error:
                _log.warning("backup: %s", error)
                self._tell(str(error))
                wait_s = _RETRY_S

    async def aclose(self) -> None:
        """Wait for the copy under way, so that the database is not closed beneath it."""
        if self._running is not None:
            await asyncio.wait([self._running])
            # Looked at, so that nothing is said of an error that nobody waits for any more.
            self._running.exception()

    def _tell(self, fault: str) -> None:
        self._fault = fault
        self._on_failed(fault)

    # --- on a thread --------------------------------------------------------------------------

    async def _on_thread(self, work: Callable[[], T]) -> T:
        """Run it on a thread of its own; one at a time. Cancelling the caller leaves it running."""
        async with self._busy:
            await self.aclose()  # Whoever started the last one may have been cancelled.
            loop = asyncio.get_running_loop()
            done: asyncio.Future[T] = loop.create_future()
            self._running = done

            def tell(settle: Callable[[], None]) -> None:
                try:
                    loop.call_soon_threadsafe(self._settle, settle)
                except RuntimeError:
                    _log.info("the loop ended before the backup did")

            def run() -> None:
                try:
                    result = work()
                except EngineError as error:
                    tell(partial(done.set_exception, error))
                else:
                    tell(partial(done.set_result, result))

            self._pending += 1
            threading.Thread(target=run, name="backup", daemon=True).start()
            return await asyncio.shield(done)

    def _settle(self, settle: Callable[[], None]) -> None:
        self._pending -= 1
        settle()

    def _make(self) -> Backup:
        path = self._folder.back_up(self._database, now_ns=self._clock.now_ns())
        return Backup(path=path, made_ns=self._folder.made_ns(path))

    def _find(self) -> Backup | None:
        path = self._folder.newest_good()
        return None if path is None else Backup(path=path, made_ns=self._folder.made_ns(path))


__all__ = ["EVERY_S", "OVERDUE_S", "Backup", "BackupKeeper", "backup_json"]
