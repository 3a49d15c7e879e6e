"""Keeps the journal within its bounds (R-JRN-6): prunes what is acknowledged, gives up what waits.

Every five minutes, and every few seconds while over the cap. Order, over the cap: acknowledged rows
go; if what keeps them is only that the newest backup is older than they are, a new backup is made;
and what waits for Redis is given up last, never while a replay is emptying it. Seconds of trading
time. Fails: a disk that refuses is tried again at the next look; its alarm is the writer's.
"""

from __future__ import annotations

import logging

from engine.bus import EventBus
from engine.journal import Journal
from engine.kernel.backup_keeper import BackupKeeper
from engine.model.errors import StoreError
from engine.model.snapshots import LinkState
from engine.ports import Clock
from engine.redis_link import RedisLink
from engine.runtime import Stamper

_log = logging.getLogger(__name__)
_LOOK_S = 5.0
_EVERY_S = 300.0
_BACKUP_AT_MOST_EVERY_S = 3_600.0

__all__ = ["Retention"]


class Retention:
    """The journal's bounds, kept for ever."""

    def __init__(
        self,
        *,
        journal: Journal,
        backups: BackupKeeper,
        redis: RedisLink,
        bus: EventBus,
        stamper: Stamper,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._backups = backups
        self._redis = redis
        self._bus = bus
        self._stamper = stamper
        self._clock = clock
        self._tried_ns: int | None = None

    async def run(self) -> None:
        """For ever."""
        waited_s = 0.0
        while True:
            await self._clock.sleep(_LOOK_S)
            waited_s += _LOOK_S
            if not self._journal.is_over_cap and waited_s < _EVERY_S:
                continue
            waited_s = 0.0
            try:
                await self.look()
            except StoreError as error:
                _log.warning("the journal could not be pruned: %s", error)

    async def look(self) -> None:
        """Prune, and while that is not enough do what else may be done."""
        journal = self._journal
        await journal.prune(keep_since_ns=self._backups.keep_since_ns)
        if journal.is_over_cap and await self._is_new_backup_of_use():
            await self._back_up()
            await journal.prune(keep_since_ns=self._backups.keep_since_ns)
        if self._redis.snapshot().state is LinkState.REPLAYING:
            return
        for event in await journal.shed(self._stamper):
            _log.warning("given up at the journal's cap: %s", event.types)
            self._bus.emit(event, journaled=True)

    async def _is_new_backup_of_use(self) -> bool:
        age_s, now_ns = self._backups.age_s(), self._clock.monotonic_ns()
        every_ns = round(_BACKUP_AT_MOST_EVERY_S * 1e9)
        if self._tried_ns is not None and now_ns - self._tried_ns < every_ns:
            return False
        if age_s is None or age_s < _BACKUP_AT_MOST_EVERY_S:
            return False  # Without one, the keeper of backups is trying anyway.
        return await self._journal.has_acknowledged_since(self._backups.keep_since_ns)

    async def _back_up(self) -> None:
        self._tried_ns = self._clock.monotonic_ns()
        try:
            await self._backups.back_up()
        except StoreError as error:
            _log.warning("no backup, so acknowledged events stay: %s", error)
