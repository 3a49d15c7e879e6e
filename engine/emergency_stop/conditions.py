"""What a reset and a start need: one list each, the same for console, command line and engine.

Pure: facts in, conditions out, every one with what is missing in plain words. `reset_conditions`
without a request is the list that the console shows while nobody has asked yet: what a person has
to give is then unmet and says so. Conditions of parts that are not built are absent. Ages and
durations are seconds, utilisation is a fraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.emergency_stop.flattening import FlatProof
from engine.model.emergency import REBASES, Condition, ResetRequest, Trip
from engine.model.ids import Symbol
from engine.model.values import PositionSide, plain

LINKS_UP_S = 60.0
QUEUE_CALM_UTILISATION = 0.50
QUEUE_CALM_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetFacts:
    """The world as far as a reset cares.

    `links_up_s`: how long each of order link, data link and engine has been up, None while it is
    not. `would_trip_again`: measures beyond their limit now; those of `REBASES` can be re-based by
    name, any other has to change first. `database_why`, `latch_why`: empty when all is well.
    """

    trips: tuple[Trip, ...]
    proof: FlatProof | None
    positions_open: int
    orders_open: int
    links_up_s: Mapping[str, float | None]
    queue_utilisation: float
    since_last_drop_s: float | None
    alarms_unacknowledged: tuple[str, ...] = ()
    would_trip_again: tuple[str, ...] = ()
    # Positions of our own books, which follow the venue's a moment later.
    books_open: tuple[Symbol, ...] = ()
    database_why: str = ""
    latch_why: str = ""
    links_up_needed_s: float = LINKS_UP_S


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """The world as far as START cares; every `..._why` is empty when all is well."""

    latched: bool
    trips: tuple[Trip, ...] = ()
    ready_why: str = ""
    database_why: str = ""
    redis_why: str = ""
    venue_why: str = ""
    reconciled_why: str = ""
    market_age_s: float | None = None
    market_age_max_s: float = 5.0
    policy_age_s: float = 0.0
    policy_age_max_s: float = 300.0
    queue_why: str = ""
    drawdown_why: str = ""
    further: Mapping[str, str] = field(default_factory=dict)


def reset_conditions(
    facts: ResetFacts, request: ResetRequest | None = None
) -> tuple[Condition, ...]:
    """Every condition of a reset, met or not, in the order of the sheet."""
    return (
        _positions(facts, request),
        _orders(facts),
        _trips(facts, request),
        _measures(facts, request),
        _links(facts),
        _queue(facts),
        _alarms(facts),
        _cause(request),
        _plain("database", facts.database_why),
        _plain("latch_file", facts.latch_why),
    )


def clearing_conditions(
    trips: tuple[Trip, ...], request: ResetRequest, *, database_why: str
) -> tuple[Condition, ...]:
    """What it takes to clear other nodes' own trips here, where nothing is latched: some of them
    by name, a cause and a reason. Positions stay and nothing is started.
    """
    known = {trip.id for trip in trips}
    named = [trip for trip in request.clear if trip in known]
    listed = ", ".join(f"{trip.id} (node {trip.node})" for trip in trips)
    why = "" if named else f"the stop is not latched; clear by name: {listed}"
    return (_plain("trips_named", why), _cause(request), _plain("database", database_why))


def start_conditions(facts: StartFacts) -> tuple[Condition, ...]:
    """Every condition of READY → RUNNING. Redis down blocks this, never a reset."""
    listed = ", ".join(f"{trip.id} ({trip.source.value}, node {trip.node})" for trip in facts.trips)
    return (
        _plain("not_latched", "the emergency stop is latched; it needs a reset" * facts.latched),
        _plain("trips_cleared", f"not cleared: {listed}" if facts.trips else ""),
        _plain("engine_ready", facts.ready_why),
        _plain("database", facts.database_why),
        _plain("redis", facts.redis_why),
        _plain("venue", facts.venue_why),
        _plain("reconciled", facts.reconciled_why),
        _plain("market_data", _age_why("market data", facts.market_age_s, facts.market_age_max_s)),
        _plain("policy", _age_why("the policy", facts.policy_age_s, facts.policy_age_max_s)),
        _plain("queue", facts.queue_why),
        _plain("drawdown", facts.drawdown_why),
        *(_plain(name, why) for name, why in facts.further.items()),
    )


def unmet(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Those that stand in the way."""
    return tuple(condition for condition in conditions if not condition.met)


def _plain(name: str, why: str) -> Condition:
    return Condition(condition=name, met=not why, why=why)


def _age_why(what: str, age_s: float | None, most_s: float) -> str:
    if age_s is None:
        return f"{what}: none yet"
    return f"{what} is {age_s:.1f} s old, at most {most_s:g} s" if age_s > most_s else ""


def _positions(facts: ResetFacts, request: ResetRequest | None) -> Condition:
    name = "positions_zero"
    if facts.positions_open and facts.proof is None:
        return _plain(name, f"{facts.positions_open} positions are open at the venue")
    if facts.proof is None:
        return _plain(name, "the venue has not shown twice, a second apart, that nothing is open")
    accepted = request.accept_residual if request is not None else ()
    left = [(symbol, each) for symbol, each in facts.proof.residual if symbol not in accepted]
    symbols = [symbol for symbol, _ in left]
    listed = ", ".join(
        # Both legs of a symbol may be left; one acceptance names the symbol and takes both.
        f"{symbol}{f' {PositionSide.of(each).value.lower()}' * (symbols.count(symbol) > 1)}"
        f" {plain(abs(each))}"
        for symbol, each in left
    )
    if left:
        return _plain(name, f"below the venue's minimum, accept by name: {listed}")
    residual = {symbol for symbol, _ in facts.proof.residual}
    behind = ", ".join(symbol for symbol in facts.books_open if symbol not in residual)
    words = f"our books still show {behind}; the next comparison with the venue settles it"
    return _plain(name, words if behind else "")


def _orders(facts: ResetFacts) -> Condition:
    if facts.orders_open:
        return _plain("orders_zero", f"{facts.orders_open} orders are open at the venue")
    why = "" if facts.proof is not None else "the venue has not shown twice that no order is open"
    return _plain("orders_zero", why)


def _trips(facts: ResetFacts, request: ResetRequest | None) -> Condition:
    named = request.clear if request is not None else ()
    missing = [f"{t.id} ({t.source.value})" for t in facts.trips if t.id not in named]
    return _plain("trips_named", f"clear by name: {', '.join(missing)}" if missing else "")


def _measures(facts: ResetFacts, request: ResetRequest | None) -> Condition:
    given = request.rebase if request is not None else ()
    to_rebase = [m for m in facts.would_trip_again if m in REBASES and m not in given]
    to_change = [m for m in facts.would_trip_again if m not in REBASES]
    unknown = [measure for measure in given if measure not in REBASES]
    parts = []
    if to_rebase:
        parts.append(f"would trip again, re-base by name: {', '.join(to_rebase)}")
    if to_change:
        parts.append(f"would trip again and has to change first: {', '.join(to_change)}")
    if unknown:
        parts.append(f"cannot be re-based: {', '.join(unknown)}")
    return _plain("measures", "; ".join(parts))


def _links(facts: ResetFacts) -> Condition:
    parts = []
    for link, up_s in facts.links_up_s.items():
        if up_s is None:
            parts.append(f"{link} is down")
        elif up_s < facts.links_up_needed_s:
            parts.append(f"{link} up for {up_s:.0f} of {facts.links_up_needed_s:.0f} s")
    return _plain("links_up", ", ".join(parts))


def _queue(facts: ResetFacts) -> Condition:
    parts = []
    if facts.queue_utilisation >= QUEUE_CALM_UTILISATION:
        used, most = facts.queue_utilisation * 100, QUEUE_CALM_UTILISATION * 100
        parts.append(f"queue {used:.0f} % full, below {most:.0f} % needed")
    if facts.since_last_drop_s is not None and facts.since_last_drop_s < QUEUE_CALM_S:
        parts.append(f"last drop {facts.since_last_drop_s:.0f} s ago, {QUEUE_CALM_S:.0f} s needed")
    return _plain("queue_calm", ", ".join(parts))


def _alarms(facts: ResetFacts) -> Condition:
    waiting = ", ".join(facts.alarms_unacknowledged)
    return _plain("alarms_acknowledged", f"P1 not acknowledged: {waiting}" if waiting else "")


def _cause(request: ResetRequest | None) -> Condition:
    parts = []
    if request is None or not request.cause.strip():
        parts.append("a cause")
    if request is None or not request.reason.strip():
        parts.append("a reason in one sentence")
    return _plain("cause", f"needs {' and '.join(parts)}" if parts else "")


__all__ = [
    "LINKS_UP_S",
    "QUEUE_CALM_S",
    "QUEUE_CALM_UTILISATION",
    "ResetFacts",
    "StartFacts",
    "clearing_conditions",
    "reset_conditions",
    "start_conditions",
    "unmet",
]
