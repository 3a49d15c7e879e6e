"""The buffer in front of Redis: how many events wait, how old the oldest is, and where it is going.

Two distances to a limit (R31): while it fills, the time until the journal meets its cap; while it
drains, the time until nothing waits. Rates are of the last seconds, so they are kept here.
Sizes are bytes, ages and rates by the second. Pure.
"""

from dataclasses import dataclass
from typing import Final

from console.viewmodels.appearance import IndicatorState, Tone
from console.viewmodels.formatting import age, duration, size, split_size, whole
from console.viewmodels.freshness import Engine
from console.viewmodels.movement import Movement
from engine.model.limits import REPLAY_BATCH_MAX
from engine.model.snapshots import JournalSnapshot, LinkState

__all__ = ["BUFFER_NAME", "JOURNAL_ALARM_FRACTION", "BufferState", "BufferViewModel"]

BUFFER_NAME: Final = "Waiting for Redis"
_STANDALONE_NAME: Final = "Journal, no Redis"
JOURNAL_ALARM_FRACTION: Final = 0.8
_FORECAST_MAX_S: Final = 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferState:
    """The bar (journal against its cap), and the figures in words."""

    bar: IndicatorState
    direction: str
    oldest: str
    size: str

    @property
    def figures(self) -> str:
        """One line for the overview."""
        return " · ".join(part for part in (self.oldest, self.size) if part)


class BufferViewModel:
    """Remembers the last seconds for the direction."""

    def __init__(self) -> None:
        self._events = Movement(window_s=10.0, span_min_s=0.4)
        self._bytes = Movement(window_s=30.0, span_min_s=2.0)
        self._was = LinkState.DISABLED

    def present(self, engine: Engine) -> BufferState:
        """The buffer now."""
        journal, redis = engine.snapshot.journal, engine.snapshot.redis
        if redis.state is not self._was:
            # Filling before says nothing of draining now.
            self._was = redis.state
            self._events.restart()
            self._bytes.restart()
        now_s = engine.snapshot.monotonic_ns / 1e9
        self._events.add(now_s, float(journal.pending))
        self._bytes.add(now_s, float(journal.bytes))
        direction = "" if engine.is_silent else self._direction(journal, redis.state)
        return BufferState(
            bar=self._bar(engine, journal, redis.state, direction),
            direction=direction,
            oldest=_oldest(journal, redis.state),
            size=_size(journal),
        )

    def _direction(self, journal: JournalSnapshot, state: LinkState) -> str:
        if state is LinkState.DISABLED:
            return ""
        # What is on its way to a server that answers comes and goes; it is no backlog.
        if state is LinkState.UP and journal.pending <= REPLAY_BATCH_MAX:
            return ""
        rate = self._events.rate_per_s
        if rate is None or rate == 0:
            return ""
        if rate < 0:
            left_s = self._events.seconds_until(0.0)
            return f"draining, empty in {duration(max(1.0, left_s))}" if left_s else "draining"
        return f"filling{self._until_full(journal)}"

    def _until_full(self, journal: JournalSnapshot) -> str:
        if journal.bytes_max <= 0:
            return ""
        seconds = self._bytes.seconds_until(float(journal.bytes_max))
        if seconds is None or not self._bytes.rate_per_s or self._bytes.rate_per_s < 0:
            return ""
        return f", full in {duration(seconds)}" if seconds <= _FORECAST_MAX_S else ""

    @staticmethod
    def _bar(
        engine: Engine, journal: JournalSnapshot, state: LinkState, direction: str
    ) -> IndicatorState:
        used = journal.bytes / journal.bytes_max if journal.bytes_max > 0 else 0.0
        tone = Tone.NEUTRAL
        if used >= JOURNAL_ALARM_FRACTION:
            tone = Tone.CRITICAL if used >= 1.0 and journal.pending else Tone.HIGH
        is_gone = engine.silent_s >= 10
        return IndicatorState(
            name=BUFFER_NAME if state is not LinkState.DISABLED else "Journal, no Redis",
            value="NO DATA" if is_gone else whole(journal.pending),
            at=None if is_gone else min(1.0, used),
            normal_to=JOURNAL_ALARM_FRACTION,
            ticks=(JOURNAL_ALARM_FRACTION,),
            tone=tone,
            is_stale=engine.is_silent,
            note="" if is_gone else direction,
            description=f"{direction}. {_size(journal)}, alarm from 80 per cent of it".strip(". "),
        )


def _oldest(journal: JournalSnapshot, state: LinkState) -> str:
    if state is LinkState.DISABLED:
        return "a commit is enough"
    if not journal.pending or journal.oldest_pending_age_s is None:
        return "none waits"
    return f"oldest {age(journal.oldest_pending_age_s)}"


def _size(journal: JournalSnapshot) -> str:
    if journal.bytes_max <= 0:
        return f"{size(journal.bytes)} on disk"
    value, unit = split_size(journal.bytes)
    cap, cap_unit = split_size(journal.bytes_max)
    first = value if unit == cap_unit else f"{value} {unit}"
    return f"{first} of {cap} {cap_unit}"
