"""The alarm desk: raises, clears and acknowledges alarms by the table, and marks what came first.

A condition (on or off, or a measure with set-point and dead-band) becomes an alarm after its
on-delay and returns after its off-delay. States: new, acknowledged, returned (gone, but nobody has
looked), cleared. The first-out is the stop's first cause by the engine's sequence, held until
`release_first_out` (a reset). More than three transitions a minute raise ALARM_CHATTERING once.

Times: UTC for what is shown, monotonic for delays. Loop only. Bounded: at the limit the oldest that
has returned gives way, else the least urgent, and is counted in `evicted`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from engine.health.alarms_table import ALARMS, AlarmSpec
from engine.model.events import AlarmCleared, AlarmRaised
from engine.model.limits import CONSOLE_ALARMS_MAX
from engine.model.records import AlarmRecord
from engine.model.snapshots import AlarmSnapshot
from engine.ports.clock import Clock
from engine.runtime import IdSource, Stamper

TICK_S = 0.25
_CHATTER_TRANSITIONS_MAX = 3
_CHATTER_WITHIN_NS = 60_000_000_000
_CHATTER = "ALARM_CHATTERING"


class AlarmState(StrEnum):
    """Where an alarm is."""

    NEW = "new"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"
    CLEARED = "cleared"


class AlarmTrigger(StrEnum):
    """What moves it."""

    CAUSE_BACK = "cause_back"
    CAUSE_GONE = "cause_gone"
    SEEN = "seen"


_S, _T = AlarmState, AlarmTrigger
TRANSITIONS: Mapping[tuple[AlarmState, AlarmTrigger], AlarmState] = {
    (_S.NEW, _T.SEEN): _S.ACKNOWLEDGED,
    (_S.NEW, _T.CAUSE_GONE): _S.RETURNED,
    (_S.ACKNOWLEDGED, _T.CAUSE_GONE): _S.CLEARED,
    (_S.RETURNED, _T.SEEN): _S.CLEARED,
    (_S.RETURNED, _T.CAUSE_BACK): _S.NEW,
    # Only the first-out is kept when it is cleared, until the reset.
    (_S.CLEARED, _T.CAUSE_BACK): _S.NEW,
}


class _Alarm:
    """One condition of one code and key, sounding or not."""

    __slots__ = (
        "changes",
        "condition",
        "id",
        "key",
        "order",
        "priority",
        "since",
        "sounded_at",
        "spec",
        "state",
        "text",
        "ts_ns",
    )

    def __init__(self, spec: AlarmSpec, key: str) -> None:
        self.spec = spec
        self.key = key
        self.id = ""
        self.text = ""
        self.condition = False
        self.since = 0
        self.state: AlarmState | None = None
        self.priority = spec.priority
        self.ts_ns = 0
        self.order = 0
        self.sounded_at = 0
        self.changes: deque[int] = deque(maxlen=_CHATTER_TRANSITIONS_MAX + 1)

    @property
    def is_active(self) -> bool:
        """It sounds and its cause lasts, as far as anybody was told."""
        return self.state in (AlarmState.NEW, AlarmState.ACKNOWLEDGED)


class AlarmDesk:
    """Keeps the alarms; unknown codes are a KeyError.

    `publish` is given each raising and return: the record for the database and the event of it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        stamp: Stamper,
        ids: IdSource,
        publish: Callable[[AlarmRecord, AlarmRaised], object],
        table: Mapping[str, AlarmSpec] = ALARMS,
        alarms_max: int = CONSOLE_ALARMS_MAX,
    ) -> None:
        self._clock = clock
        self._stamp = stamp
        self._ids = ids
        self._publish = publish
        self._table = table
        self._alarms_max = alarms_max
        self._alarms: dict[tuple[str, str], _Alarm] = {}
        self._order = itertools.count(1)
        self._first_out: _Alarm | None = None
        self.raised = 0
        self.evicted = 0

    # --- conditions ---------------------------------------------------------------------------

    def raise_alarm(
        self, code: str, text: str = "", *, key: str = "", sequence: int | None = None
    ) -> None:
        """The cause is there. `key` tells several of a code apart (a symbol, an order).

        `sequence` is the engine's own number of the cause, where it has one; it decides which was
        first, whatever the order of arrival.
        """
        self._set(self._alarm(code, key), condition=True, text=text, sequence=sequence)

    def clear_alarm(self, code: str, *, key: str = "") -> None:
        """The cause is gone; harmless when it never was."""
        alarm = self._alarms.get((self._table[code].code, key))
        if alarm is not None:
            self._set(alarm, condition=False, text="", sequence=None)

    def measure(self, code: str, value: float, text: str = "", *, key: str = "") -> None:
        """A new value of an analogue alarm: on from its set-point, off below its clear-point."""
        spec = self._table[code]
        if spec.set_point is None or spec.clear_point is None:
            raise ValueError(f"{code} has no set-point; it is raised, not measured")
        if value >= spec.set_point:
            self.raise_alarm(code, text, key=key)
        elif value < spec.clear_point:
            self.clear_alarm(code, key=key)
        else:
            # In the dead-band nothing changes, but a delay that runs goes on.
            self.tick()

    def acknowledge(self, alarm_id: str) -> bool:
        """Somebody has seen it; False when there is no such alarm."""
        for alarm in self._alarms.values():
            if alarm.id == alarm_id and alarm.state is not None:
                following = TRANSITIONS.get((alarm.state, AlarmTrigger.SEEN))
                if following is not None:
                    alarm.state = following
                    self._forget_cleared()
                return True
        return False

    def restore(self, records: Iterable[AlarmRecord]) -> None:
        """After a restart: what sounded when the engine went, as returned until it sounds anew."""
        for record in records:
            if record.code not in self._table:
                continue  # A newer or older Seawall's; the journal still has it.
            alarm = self._alarm(record.code, f"before restart {record.id}")
            alarm.id, alarm.text, alarm.ts_ns = record.id, record.text, record.raised_ns
            alarm.priority = record.priority
            alarm.state = AlarmState.RETURNED
            self._tell(AlarmCleared, alarm)

    def release_first_out(self) -> None:
        """After a reset: the next cause of a stop is the first again."""
        self._first_out = None
        self._forget_cleared()

    # --- time ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let the delays pass, for ever."""
        while True:
            await self._clock.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """Sound, return and escalate what has become due."""
        now = self._clock.monotonic_ns()
        for alarm in tuple(self._alarms.values()):
            calmed = now - alarm.since >= _CHATTER_WITHIN_NS
            if alarm.spec.code == _CHATTER and alarm.condition and calmed:
                alarm.condition, alarm.since = False, now
            self._settle(alarm, now)

    # --- what is shown ------------------------------------------------------------------------

    def snapshot(self) -> tuple[AlarmSnapshot, ...]:
        """Everything that is not cleared, most urgent first, then newest first."""
        shown = [
            alarm
            for alarm in self._alarms.values()
            if alarm.state not in (None, AlarmState.CLEARED) or alarm is self._first_out
        ]
        shown.sort(key=lambda alarm: (alarm.priority, -alarm.ts_ns, -alarm.order))
        return tuple(
            AlarmSnapshot(
                id=alarm.id,
                code=alarm.spec.code,
                priority=alarm.priority,
                text=alarm.text,
                action=alarm.spec.action,
                ts_ns=alarm.ts_ns,
                state=str(alarm.state),
                first_out=alarm is self._first_out,
                key=alarm.key,
            )
            for alarm in shown
        )

    # --- within -------------------------------------------------------------------------------

    def _alarm(self, code: str, key: str) -> _Alarm:
        spec = self._table[code]
        alarm = self._alarms.get((code, key))
        if alarm is None:
            self._make_room()
            alarm = self._alarms[code, key] = _Alarm(spec, key)
        return alarm

    def _set(self, alarm: _Alarm, *, condition: bool, text: str, sequence: int | None) -> None:
        now = self._clock.monotonic_ns()
        if text:
            alarm.text = f"{alarm.spec.title}: {text}"
        elif not alarm.text:
            alarm.text = alarm.spec.title
        if condition != alarm.condition:
            alarm.condition = condition
            alarm.since = now
            if condition:
                number = next(self._order)
                alarm.order = number if sequence is None else sequence
        elif condition and sequence is not None:
            alarm.order = min(alarm.order, sequence)
        self._settle(alarm, now)
        self._mark_first_out(alarm)

    def _settle(self, alarm: _Alarm, now: int) -> None:
        """Bring what sounds in line with its condition, once the delay has passed."""
        waited_s = (now - alarm.since) / 1e9
        if alarm.condition and not alarm.is_active:
            if waited_s >= alarm.spec.on_delay_s:
                self._sound(alarm, now)
        elif not alarm.condition and alarm.is_active:
            if waited_s >= alarm.spec.off_delay_s:
                self._return(alarm, now)
        elif not alarm.condition and alarm.state is None and alarm is not self._first_out:
            self._alarms.pop((alarm.spec.code, alarm.key), None)
        escalates = alarm.spec.escalates_after_s
        if alarm.is_active and alarm.priority > 1 and escalates is not None:
            if (now - alarm.sounded_at) / 1e9 >= escalates:
                alarm.priority = 1
                alarm.state = AlarmState.NEW
                self._tell(AlarmRaised, alarm)

    def _sound(self, alarm: _Alarm, now: int) -> None:
        if alarm.state is None:
            alarm.id = self._ids.next("a")
            alarm.state = AlarmState.NEW
        else:
            alarm.state = TRANSITIONS[alarm.state, AlarmTrigger.CAUSE_BACK]
        alarm.ts_ns = self._clock.now_ns()
        alarm.sounded_at = now
        alarm.priority = alarm.spec.priority
        self.raised += 1
        self._tell(AlarmRaised, alarm)
        self._watch_chatter(alarm, now)

    def _return(self, alarm: _Alarm, now: int) -> None:
        assert alarm.state is not None
        alarm.state = TRANSITIONS[alarm.state, AlarmTrigger.CAUSE_GONE]
        self._tell(AlarmCleared, alarm)
        self._watch_chatter(alarm, now)
        self._forget_cleared()

    def _watch_chatter(self, alarm: _Alarm, now: int) -> None:
        if alarm.spec.code == _CHATTER or _CHATTER not in self._table:
            return
        alarm.changes.append(now)
        full = len(alarm.changes) > _CHATTER_TRANSITIONS_MAX
        if full and now - alarm.changes[0] <= _CHATTER_WITHIN_NS:
            alarm.changes.clear()
            self.raise_alarm(_CHATTER, f"{alarm.spec.title} comes and goes", key=alarm.spec.code)

    def _mark_first_out(self, alarm: _Alarm) -> None:
        if not (alarm.spec.trips and alarm.condition and alarm.is_active):
            return
        if self._first_out is None or alarm.order < self._first_out.order:
            self._first_out = alarm

    def _forget_cleared(self) -> None:
        for key, alarm in tuple(self._alarms.items()):
            is_gone = alarm.state is AlarmState.CLEARED and not alarm.condition
            if is_gone and alarm is not self._first_out:
                del self._alarms[key]

    def _make_room(self) -> None:
        if len(self._alarms) < self._alarms_max:
            return
        candidates = [
            (
                alarm.state not in (None, AlarmState.RETURNED, AlarmState.CLEARED),
                -alarm.priority,
                alarm.ts_ns,
                key,
            )
            for key, alarm in self._alarms.items()
            if alarm is not self._first_out
        ]
        self._alarms.pop(min(candidates)[3])
        self.evicted += 1

    def _tell(self, kind: type[AlarmRaised], alarm: _Alarm) -> None:
        event = kind(
            **self._stamp(),
            code=alarm.spec.code,
            priority=alarm.priority,
            text=alarm.text,
            action=alarm.spec.action,
        )
        record = AlarmRecord(
            id=alarm.id,
            code=alarm.spec.code,
            priority=alarm.priority,
            text=alarm.text,
            action=alarm.spec.action,
            raised_ns=alarm.ts_ns,
            cleared_ns=None if alarm.condition else event.ts_ns,
        )
        self._publish(record, event)


__all__ = ["TRANSITIONS", "AlarmDesk", "AlarmState", "AlarmTrigger"]
