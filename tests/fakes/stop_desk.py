"""An emergency stop on a scripted venue with a real latch file, and what it told the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from engine.emergency_stop import (
    EmergencyStop,
    Exposure,
    KnownAccount,
    StopHooks,
    StopIdentity,
    StopVenue,
)
from engine.latch import LatchFile
from engine.model.emergency import Clearing, EmergencyState, PositionProgress, Trip
from engine.model.events import Event
from engine.model.ids import Symbol
from engine.model.instrument import Instrument, paper_instrument
from engine.model.orders import Intent
from engine.runtime import IdSource, SimClock
from tests.fakes.scripted_venue import ScriptedVenue

START_NS = 1_700_000_000 * 1_000_000_000


class ListeningBus:
    """Keeps what was emitted; `error` makes every emit fail."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.error: Exception | None = None

    def emit(self, event: Event) -> None:
        if self.error is not None:
            raise self.error
        self.events.append(event)

    def named(self, event_type: str) -> list[Event]:
        return [event for event in self.events if event.TYPE == event_type]


@dataclass
class StopDesk:
    """Everything around one stop."""

    clock: SimClock
    venue: ScriptedVenue
    latch: LatchFile
    stop: EmergencyStop
    bus: ListeningBus
    trips: list[Trip] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)

    def row(self, symbol: str) -> PositionProgress:
        return next(row for row in self.stop.snapshot().positions if row.symbol == symbol)

    @property
    def state(self) -> EmergencyState:
        return self.stop.snapshot().state

    async def until(self, condition: Callable[[], object], *, within_s: float = 60.0) -> float:
        """Let time pass until it holds; returns how long it took, simulated seconds."""
        began = self.clock.monotonic_ns()
        while not condition():
            passed = (self.clock.monotonic_ns() - began) / 1e9
            assert passed < within_s, f"not within {within_s} simulated seconds"
            await self.clock.sleep(0.01)
        return (self.clock.monotonic_ns() - began) / 1e9

    async def until_flat(self, *, within_s: float = 60.0) -> float:
        return await self.until(lambda: self.state is EmergencyState.FLAT, within_s=within_s)

    def clearing(self, *trips: Trip) -> Clearing:
        return Clearing(
            id="c1",
            trips=tuple(trip.id for trip in (trips or self.stop.trips)),
            author="operator",
            cause="test",
            reason="all is well again",
            ts_ns=self.clock.now_ns(),
        )

    async def aclose(self) -> None:
        await self.stop.aclose()
        await self.venue.aclose()
        self.clock.remove_busy_probe(self.stop.pending_writes)


def small_instrument(symbol: Symbol) -> Instrument:
    """A grid of 0.001 with at most 10 for one order."""
    return replace_instrument(paper_instrument(symbol), quantity_max=Decimal(10))


def replace_instrument(instrument: Instrument, *, quantity_max: Decimal) -> Instrument:
    return Instrument(
        symbol=instrument.symbol,
        tick_size=instrument.tick_size,
        quantity_step=Decimal("0.001"),
        quantity_min=Decimal("0.001"),
        quantity_max=quantity_max,
        notional_min=instrument.notional_min,
    )


def make_desk(
    clock: SimClock,
    folder: Path,
    *,
    venue: ScriptedVenue | None = None,
    known: tuple[str, ...] | None = None,
    restore: bool = True,
    owner: str = "engine-1",
    instrument: Callable[[Symbol], Instrument] = small_instrument,
) -> StopDesk:
    """A desk; `known` are the symbols our books know, by default all the venue holds."""
    venue = venue or ScriptedVenue(clock=clock)
    latch = LatchFile(folder / "latch")
    if not latch.path.exists():
        latch.create_armed(generation=1, owner=owner, written_ns=clock.now_ns())
    bus = ListeningBus()
    trips: list[Trip] = []
    intents: list[Intent] = []

    def exposures() -> tuple[Exposure, ...]:
        held = venue.truth.positions
        names = [Symbol(name) for name in known] if known is not None else list(held)
        return tuple(
            Exposure(symbol=s, quantity=held.get(s, Decimal(0)), mark=venue.truth.marks.get(s))
            for s in names
        )

    stop = EmergencyStop(
        venue=StopVenue(exits=venue, reads=venue, streams=venue),
        account=KnownAccount(exposures=exposures, instrument=instrument),
        latch=latch,
        identity=StopIdentity(node="desk", generation=1, owner=owner),
        clock=clock,
        ids=IdSource(),
        bus=bus,
        hooks=StopHooks(on_trip=trips.append, record_closing=intents.append),
    )
    clock.add_busy_probe(stop.pending_writes)
    if restore:
        stop.restore(latch.read())
    return StopDesk(
        clock=clock, venue=venue, latch=latch, stop=stop, bus=bus, trips=trips, intents=intents
    )


__all__ = ["START_NS", "ListeningBus", "StopDesk", "make_desk", "small_instrument"]
