"""What the Redis link has been through in this run: outages, and the steps of the last recovery.

Made from the events that everybody else hears too, so that it tells no other story than they do.
Kept as ready-made snapshots, because one is asked for with every frame and an outage is rare.
On the loop. Times UTC nanoseconds of trading time. Bounded: the newest outages are kept, all are
counted.
"""

from __future__ import annotations

import msgspec

from engine.bus import EventBus
from engine.model.events import Event, LinkChanged, RecoveryStep, RedisLost, RedisRecovered
from engine.model.limits import REDIS_OUTAGES_SHOWN_MAX, REDIS_STEPS_SHOWN_MAX
from engine.model.snapshots import (
    LinkHistorySnapshot,
    LinkState,
    OutageSnapshot,
    RecoverySnapshot,
    RecoveryStepSnapshot,
)

_THERE = {LinkState.UP.value, LinkState.REPLAYING.value}


class LinkHistory:
    """Listens from its making on."""

    def __init__(self, *, bus: EventBus) -> None:
        self._now = LinkHistorySnapshot()
        # Whether the next sign of a recovery is the first of its outage.
        self._is_new_outage = False
        bus.subscribe(
            self._hear,
            types=(RedisLost, LinkChanged, RecoveryStep, RedisRecovered),
            name="history of the link",
        )

    def snapshot(self) -> LinkHistorySnapshot:
        """The history now."""
        return self._now

    def _hear(self, event: Event) -> None:
        match event:
            case RedisLost():
                self._lost(event)
            case LinkChanged(state=state) if state in _THERE:
                self._found(event.ts_ns)
            case RecoveryStep():
                self._step(event)
            case RedisRecovered():
                self._recovered(event)
            case _:
                pass  # The other states change nothing here.

    def _lost(self, event: RedisLost) -> None:
        self._is_new_outage = True
        outage = OutageSnapshot(from_ns=event.ts_ns, to_ns=None, cause=event.cause)
        self._now = msgspec.structs.replace(
            self._now,
            outages=(outage, *self._now.outages)[:REDIS_OUTAGES_SHOWN_MAX],
            outages_total=self._now.outages_total + 1,
        )

    def _found(self, ts_ns: int) -> None:
        outages = self._now.outages
        if not outages or outages[0].to_ns is not None:
            return
        self._begin_recovery(ts_ns)
        over = msgspec.structs.replace(outages[0], to_ns=ts_ns)
        self._now = msgspec.structs.replace(self._now, outages=(over, *outages[1:]))

    def _begin_recovery(self, ts_ns: int) -> None:
        """What is exchanged first may succeed before the link is said to be there."""
        if self._is_new_outage:
            self._is_new_outage = False
            recovery = RecoverySnapshot(began_ns=ts_ns)
            self._now = msgspec.structs.replace(self._now, recovery=recovery)

    def _step(self, event: RecoveryStep) -> None:
        self._begin_recovery(event.ts_ns - round(event.duration_ms * 1e6))
        recovery = self._now.recovery
        if recovery is None or recovery.finished_ns is not None:
            return  # A step of the start, or of a stream that was lost while Redis answered.
        step = RecoveryStepSnapshot(step=event.step, ok=event.ok, duration_ms=event.duration_ms)
        steps = (*recovery.steps, step)[-REDIS_STEPS_SHOWN_MAX:]
        recovery = msgspec.structs.replace(recovery, steps=steps)
        self._now = msgspec.structs.replace(self._now, recovery=recovery)

    def _recovered(self, event: RedisRecovered) -> None:
        recovery = self._now.recovery or RecoverySnapshot(began_ns=event.ts_ns)
        self._now = msgspec.structs.replace(
            self._now,
            recovery=msgspec.structs.replace(
                recovery,
                finished_ns=event.ts_ns,
                downtime_s=event.downtime_seconds,
                replayed=event.replayed,
                resumed_in_s=event.resumed_in_seconds,
            ),
        )


__all__ = ["LinkHistory"]
