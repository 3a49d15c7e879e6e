"""Health, links and records: Redis, journal, policy and database, each as figures with their words.

What a person needs to judge an outage: what state, why, since when, what it cost, what brought it
back and how long each step took. Ages are seconds, times UTC nanoseconds, sizes bytes. Pure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from console.viewmodels.appearance import ChipState, Tone
from console.viewmodels.buffer import BufferState
from console.viewmodels.chart_frames import ChartState
from console.viewmodels.formatting import (
    DASH,
    age,
    duration,
    milliseconds,
    moment,
    whole,
)
from console.viewmodels.freshness import Engine, Freshness
from console.viewmodels.links import LinkRow, replay_fraction
from console.viewmodels.positions import Cell, Column
from console.viewmodels.trends import TrendSeries
from engine.model.limits import POLICY_STALE_AFTER_S
from engine.model.snapshots import (
    DatabaseSnapshot,
    EngineSnapshot,
    JournalSnapshot,
    LinkState,
    RecoverySnapshot,
    RecoveryStepSnapshot,
)

__all__ = [
    "OUTAGE_COLUMNS",
    "Fact",
    "HealthLinksState",
    "HealthLinksViewModel",
    "PartState",
    "StepBar",
    "TimelineState",
    "aged",
    "step_words",
]

OUTAGE_COLUMNS: Final = (
    Column(title="From, UTC", width_px=94),
    Column(title="To", width_px=94),
    Column(title="Lasted", width_px=70, is_number=True),
    Column(title="Cause", width_px=250, may_elide=True),
)
_STEP_WORDS: Final[Mapping[str, str]] = {
    "pending_stops": "Pending stops obeyed",
    "trips": "Trips exchanged",
    "replay": "Events replayed",
    "policy": "Policy merged",
    "reconcile": "Positions compared",
    "gate": "Gate opened",
}
_STEPS_SHOWN: Final = 5
_CHART_LOW_MAX: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One figure with its name. A stale one is dim."""

    name: str
    value: str
    tone: Tone = Tone.NEUTRAL
    is_stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """One part of the infrastructure: its word, its cause, its figures."""

    chip: ChipState
    cause: str
    facts: tuple[Fact, ...]
    note: str = ""
    progress: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBar:
    """One step on the timeline: where it begins and ends, as fractions of the whole."""

    title: str
    duration: str
    begin: float
    end: float
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineState:
    """The last recovery."""

    title: str
    steps: tuple[StepBar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLinksState:
    """Everything on this half of the page."""

    redis: PartState
    journal: PartState
    policy: PartState
    database: PartState | None
    outages_title: str
    outages: tuple[tuple[Cell, ...], ...]
    timeline: TimelineState | None
    can_back_up: bool
    backup_words: str


def aged(facts: tuple[Fact, ...], engine: Engine) -> tuple[Fact, ...]:
    """The figures as a silent engine leaves them: dim at first, then no data (R32)."""
    if not engine.is_silent:
        return facts
    is_gone = engine.freshness is Freshness.NO_DATA
    return tuple(
        Fact(name=fact.name, value="NO DATA" if is_gone else fact.value, is_stale=True)
        for fact in facts
    )


def step_words(step: str) -> str:
    """What a step of the recovery is called on the screen; an unknown one by its own name."""
    return _STEP_WORDS.get(step, step.replace("_", " ").capitalize())


class HealthLinksViewModel:
    """Makes the states from a snapshot, the row of the links panel, and the buffer's state."""

    def present(
        self,
        engine: Engine,
        *,
        rows: tuple[LinkRow, ...],
        buffer: BufferState,
        policy_age_max_s: float,
        is_backing_up: bool,
    ) -> HealthLinksState:
        """The page now. ``rows`` are those of the overview, so that both say the same word."""
        snapshot = engine.snapshot
        by_name = {row.name: row for row in rows}
        history = snapshot.link_history
        database = snapshot.database
        count = history.outages_total
        return HealthLinksState(
            redis=_aged_part(_redis(snapshot, by_name["redis"]), engine),
            journal=_aged_part(_journal(snapshot, buffer), engine),
            policy=_aged_part(_policy(snapshot, by_name["policy"], policy_age_max_s), engine),
            database=None
            if database is None
            else _aged_part(_database(snapshot, database, by_name), engine),
            outages_title=f"Outages of Redis in this run: {count}" if count else "Outages of Redis",
            outages=_outages(snapshot),
            timeline=None if history.recovery is None else _timeline(history.recovery),
            can_back_up=database is not None and not is_backing_up and not engine.is_silent,
            backup_words="Backing up, waiting" if is_backing_up else "Back up now",
        )

    @staticmethod
    def buffer_chart(engine: Engine, series: TrendSeries) -> ChartState:
        """Events that wait for Redis, over the last hour; the scale follows its peak."""
        _, values = series.view()
        peak = float(np.fmax.reduce(values)) if len(values) else 0.0
        if math.isnan(peak):
            peak = 0.0  # Nothing but gaps.
        high = max(_CHART_LOW_MAX, peak * 1.15)
        pending = engine.snapshot.journal.pending
        return ChartState(
            note="events that wait for Redis",
            limits=(),
            band=(0.0, 0.0),
            low=0.0,
            high=high,
            no_data=engine.silent_s >= 10,
            description=f"{pending} events wait for Redis, at most {peak:.0f} in the last hour",
        )


def _aged_part(part: PartState, engine: Engine) -> PartState:
    if not engine.is_silent:
        return part
    return replace(part, cause="", facts=aged(part.facts, engine), note="", progress=None)


def _redis(snapshot: EngineSnapshot, row: LinkRow) -> PartState:
    redis = snapshot.redis
    facts = [
        Fact(name="Mode", value=redis.mode),
        Fact(name="Chosen because", value=redis.why or DASH),
    ]
    if redis.state is LinkState.DISABLED:
        return PartState(chip=row.chip, cause="", facts=tuple(facts))
    facts += [
        Fact(name="Last answer", value=age(redis.last_answer_age_s)),
        Fact(name="Sent in this run", value=f"{whole(redis.replayed)} events"),
        Fact(name="Stream", value=redis.stream),
        Fact(name="Fencing number", value=whole(redis.fence) if redis.fence else "none yet"),
        Fact(name="Lease owner", value=redis.owner),
    ]
    if redis.foreign:
        facts.append(Fact(name="Not ours", value=redis.foreign, tone=Tone.CRITICAL))
    cause = row.cause
    if redis.state is LinkState.REPLAYING:
        cause = f"{redis.cause}: {row.detail}" if row.detail else redis.cause
    return PartState(
        chip=row.chip, cause=cause, facts=tuple(facts), progress=replay_fraction(redis)
    )


def _journal(snapshot: EngineSnapshot, buffer: BufferState) -> PartState:
    journal = snapshot.journal
    dead = journal.dead_lettered
    facts = [
        Fact(name="Written", value=whole(journal.written)),
        Fact(name="Acknowledged", value=whole(journal.acknowledged)),
        Fact(name="Waiting", value=whole(journal.pending)),
        Fact(name="Oldest waiting", value=age(journal.oldest_pending_age_s)),
        Fact(name="Dead letters", value=whole(dead), tone=Tone.HIGH if dead else Tone.NEUTRAL),
        Fact(name="On disk", value=buffer.size, tone=buffer.bar.tone),
    ]
    calm = "steady" if journal.pending else "nothing waits"
    replay_s, rate = journal.last_replay_duration_s, journal.last_replay_rate_per_s
    if replay_s is not None and rate is not None:
        facts += [
            Fact(name="Last replay", value=f"{whole(round(replay_s * rate))} events"),
            Fact(
                name="Replay took", value=f"{milliseconds(replay_s * 1000)}, {whole(round(rate))}/s"
            ),
        ]
    facts += _losses(journal)
    return PartState(
        chip=ChipState(text=""),
        cause=_shed_words(journal),
        facts=tuple(facts),
        note=buffer.direction or calm,
    )


def _losses(journal: JournalSnapshot) -> list[Fact]:
    """What is shown only when it happened."""
    counts = (
        ("Given up", journal.shed, Tone.HIGH),
        ("Held in memory", journal.held, Tone.HIGH),
        ("Lost", journal.lost, Tone.CRITICAL),
    )
    return [Fact(name=name, value=whole(count), tone=tone) for name, count, tone in counts if count]


def _shed_words(journal: JournalSnapshot) -> str:
    """What the journal gave up at its cap, by type, the most of one first."""
    types = sorted(journal.shed_types.items(), key=lambda item: -item[1])
    return f"given up: {', '.join(f'{whole(n)} {kind}' for kind, n in types)}" if types else ""


def _policy(snapshot: EngineSnapshot, row: LinkRow, age_max_s: float) -> PartState:
    policy = snapshot.policy
    cause = row.cause
    if policy.age_s > age_max_s:
        cause = "too old: entries are held until it is confirmed"
    elif policy.conflict is None and policy.age_s > POLICY_STALE_AFTER_S:
        cause = f"{row.cause}; entries are held in {duration(age_max_s - policy.age_s)}"
    return PartState(
        chip=row.chip,
        cause=cause or policy.note,
        facts=(
            Fact(name="Source", value=policy.source),
            Fact(name="Confirmed", value=f"{age(policy.age_s)} ago"),
            Fact(name="Version", value=f"v{policy.version} · {policy.sha256[:7]}"),
            Fact(
                name="Changed at",
                value=moment(policy.ts_ns, snapshot.ts_ns) if policy.ts_ns else DASH,
            ),
            Fact(name="Changed by", value=policy.author or DASH),
            Fact(name="Entries held", value=f"at {duration(age_max_s)} of age"),
        ),
    )


def _database(
    snapshot: EngineSnapshot, database: DatabaseSnapshot, rows: Mapping[str, LinkRow]
) -> PartState:
    made = "none yet"
    if database.backup_ns is not None:
        made = f"{moment(database.backup_ns, snapshot.ts_ns)} UTC"
    failed = bool(database.backup_fault)
    result = DASH if database.backup_ns is None else "good, checked"
    row = rows.get("database")
    fault = database.fault or (f"backup: {database.backup_fault}" if failed else "")
    return PartState(
        chip=row.chip if row is not None else ChipState(text="UP"),
        cause=fault,
        facts=(
            Fact(name="Generation", value=whole(database.generation)),
            Fact(name="Commit lag", value=age(database.lag_s)),
            Fact(name="Last backup", value=made),
            Fact(
                name="Backup age",
                value=DASH if database.backup_age_s is None else age(database.backup_age_s),
            ),
            Fact(
                name="Backup result",
                value="the newest failed" if failed else result,
                tone=Tone.HIGH if failed else Tone.NEUTRAL,
            ),
        ),
    )


def _outages(snapshot: EngineSnapshot) -> tuple[tuple[Cell, ...], ...]:
    rows = []
    for outage in snapshot.link_history.outages:
        lasts = outage.to_ns is None
        to_ns = snapshot.ts_ns if outage.to_ns is None else outage.to_ns
        lasted_ms = max(0, to_ns - outage.from_ns) / 1e6
        rows.append(
            (
                Cell(text=moment(outage.from_ns, snapshot.ts_ns)),
                Cell(text="lasts" if lasts else moment(to_ns, snapshot.ts_ns)),
                Cell(text=duration(lasted_ms / 1e3) if lasts else milliseconds(lasted_ms)),
                Cell(text=outage.cause),
            )
        )
    return tuple(rows)


def _timeline(recovery: RecoverySnapshot) -> TimelineState:
    steps = recovery.steps[-_STEPS_SHOWN:]
    total_ms = sum(step.duration_ms for step in steps) or 1.0
    bars, at_ms = [], 0.0
    for step in steps:
        bars.append(_bar(step, at_ms / total_ms, (at_ms + step.duration_ms) / total_ms))
        at_ms += step.duration_ms
    if recovery.finished_ns is None:
        title = "Recovery under way"
    else:
        down, resumed = recovery.downtime_s or 0.0, recovery.resumed_in_s or 0.0
        title = (
            f"Last recovery: away {milliseconds(down * 1e3)}, {whole(recovery.replayed)} events "
            f"replayed, gate open after {milliseconds(resumed * 1e3)}"
        )
    return TimelineState(title=title, steps=tuple(bars))


def _bar(step: RecoveryStepSnapshot, begin: float, end: float) -> StepBar:
    words = step_words(step.step)
    return StepBar(
        title=words if step.ok else f"{words}: failed",
        duration=milliseconds(step.duration_ms),
        begin=begin,
        end=end,
        ok=step.ok,
    )
