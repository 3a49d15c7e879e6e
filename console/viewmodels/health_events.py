"""Health, events: the bus by type, its handlers, and the events that Redis refused for good.

Types that lose or delay events, or whose handlers fail, come first; then the busiest. Handler times
are microseconds in the snapshot and milliseconds for handlers. Pure.
"""

from dataclasses import dataclass
from typing import Final

from console.viewmodels.appearance import Tone
from console.viewmodels.formatting import age, moment, percent, whole
from console.viewmodels.freshness import Engine
from console.viewmodels.health_links import Fact, aged
from console.viewmodels.positions import Cell, Column
from engine.model.limits import BUS_HANDLER_BUDGET_MS
from engine.model.records import DeadLetter
from engine.model.snapshots import BusHandlerSnapshot, BusSnapshot, BusTypeSnapshot

__all__ = [
    "DEAD_LETTER_COLUMNS",
    "HANDLER_COLUMNS",
    "TYPE_COLUMNS",
    "DeadLettersState",
    "HealthEventsState",
    "HealthEventsViewModel",
]

TYPE_COLUMNS: Final = (
    Column(title="Event", width_px=218),
    Column(title="Published", width_px=80, is_number=True),
    Column(title="Dropped", width_px=70, is_number=True),
    Column(title="Conflated", width_px=78, is_number=True),
    Column(title="Delayed", width_px=68, is_number=True),
    Column(title="Errors", width_px=60, is_number=True),
    Column(title="Mean, µs", width_px=72, is_number=True),
    Column(title="Worst, µs", width_px=90, is_number=True),
)
HANDLER_COLUMNS: Final = (
    Column(title="Handler", width_px=112, may_elide=True),
    Column(title="Errors", width_px=66, is_number=True),
    Column(title="Slow", width_px=56, is_number=True),
    Column(title="Worst, ms", width_px=84, is_number=True),
)
DEAD_LETTER_COLUMNS: Final = (
    Column(title="No.", width_px=66, is_number=True),
    Column(title="Event", width_px=130, may_elide=True),
    Column(title="Fate", width_px=112),
)
_HANDLER_BUDGET_US: Final = BUS_HANDLER_BUDGET_MS * 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthEventsState:
    """The bus half."""

    facts: tuple[Fact, ...]
    types: tuple[tuple[Cell, ...], ...]
    types_empty: str
    handlers: tuple[tuple[Cell, ...], ...]
    newest_fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettersState:
    """The dead letters: rows with their keys, what is told of the chosen one, and its button."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]
    keys: tuple[str, ...]
    empty: str
    detail: str
    button: str
    can_requeue: bool


class HealthEventsViewModel:
    """Makes the states."""

    def present(self, engine: Engine) -> HealthEventsState:
        """The bus now."""
        bus = engine.snapshot.bus
        # What is said per type is renewed once a second and sorted by what needs a look.
        types = sorted(bus.types, key=_by_need)
        return HealthEventsState(
            facts=aged(_facts(bus), engine),
            types=tuple(_type_row(one, is_dim=engine.is_silent) for one in types),
            types_empty="No event yet",
            handlers=tuple(_handler_row(one) for one in bus.handlers),
            newest_fault=_fault_words(bus.handlers),
        )

    def dead_letters(
        self, letters: tuple[DeadLetter, ...], *, chosen: str, now_ns: int, is_pending: bool
    ) -> DeadLettersState:
        """The list, newest first; ``chosen`` is a key."""
        parked = sum(1 for letter in letters if letter.requeued_seq is None)
        letter = next((one for one in letters if str(one.seq) == chosen), None)
        waits = letter is not None and letter.requeued_seq is None
        return DeadLettersState(
            title=f"Dead letters: {parked} parked" if parked else "Dead letters",
            rows=tuple(_letter_row(one) for one in letters),
            keys=tuple(str(one.seq) for one in letters),
            empty="Redis has refused no event",
            detail=_letter_words(letter, bool(letters), now_ns),
            button="Requeue sent, waiting" if is_pending else "Requeue…",
            can_requeue=waits and not is_pending,
        )


def _facts(bus: BusSnapshot) -> tuple[Fact, ...]:
    oldest = age(bus.oldest_age_s) if bus.oldest_age_s >= 0.05 else "< 0.1 s"
    return (
        Fact(name="In the queue", value=f"{whole(bus.size)} of {whole(bus.capacity)}"),
        Fact(name="Fill", value=percent(bus.utilisation, places=0)),
        Fact(name="Highest so far", value=whole(bus.high_water)),
        Fact(name="Oldest", value=oldest),
        Fact(name="Published", value=whole(bus.published)),
        Fact(name="Conflated", value=whole(bus.conflated)),
        Fact(name="Dropped", value=whole(bus.dropped), tone=_tone(bus.dropped)),
        Fact(name="Handler errors", value=whole(bus.errors), tone=_tone(bus.errors)),
    )


def _by_need(one: BusTypeSnapshot) -> tuple[bool, int, str]:
    return not (one.errors or one.dropped), -one.published, one.type


def _tone(count: int) -> Tone:
    return Tone.HIGH if count else Tone.NEUTRAL


def _count(count: int, *, is_urgent: bool = False) -> Cell:
    return Cell(
        text=whole(count), is_dim=count == 0, tone=_tone(count) if is_urgent else Tone.NEUTRAL
    )


def _type_row(one: BusTypeSnapshot, *, is_dim: bool) -> tuple[Cell, ...]:
    is_slow = one.handler_us_max > _HANDLER_BUDGET_US
    return (
        Cell(text=one.type, is_dim=is_dim),
        _count(one.published),
        _count(one.dropped, is_urgent=True),
        _count(one.conflated),
        _count(one.delayed),
        _count(one.errors, is_urgent=True),
        Cell(text=whole(round(one.handler_us_mean))),
        Cell(text=whole(round(one.handler_us_max)), tone=Tone.LOW if is_slow else Tone.NEUTRAL),
    )


def _handler_row(one: BusHandlerSnapshot) -> tuple[Cell, ...]:
    return (
        Cell(text=one.name),
        _count(one.errors, is_urgent=True),
        _count(one.slow),
        Cell(text=f"{one.ms_max:.1f}"),
    )


def _fault_words(handlers: tuple[BusHandlerSnapshot, ...]) -> str:
    """The newest fault, whole; the handlers come newest fault first."""
    if not handlers or not handlers[0].last_fault:
        return ""
    newest = handlers[0]
    return f"{newest.name}, {age(newest.last_fault_age_s)} ago: {newest.last_fault}"


def _letter_row(letter: DeadLetter) -> tuple[Cell, ...]:
    again = letter.requeued_seq
    fate = (
        Cell(text="parked", tone=Tone.HIGH)
        if again is None
        else Cell(text=f"sent as {again}", is_done=True)
    )
    return Cell(text=str(letter.seq)), Cell(text=letter.type), fate


def _letter_words(letter: DeadLetter | None, has_letters: bool, now_ns: int) -> str:
    if letter is None:
        return "Choose one to read why it was refused." if has_letters else ""
    written, parked = moment(letter.ts_ns, now_ns), moment(letter.parked_ns, now_ns)
    return f"{letter.event_id}, written {written}, parked {parked} UTC. {letter.error}"
