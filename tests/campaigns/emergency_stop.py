"""Campaign: the stop against a venue that fails at random, judged by the venue's own truth.

Each seed makes a book of positions and orders, presses, and lets every call be slow, lost,
refused, answered late or filled in part, with entries that were on the wire filling late, a
private stream that may be down, a restart in the middle, a pause, more trips. After a while the
venue heals.

Invariants: no position is ever reversed by us; whenever the stop says FLAT the venue was flat at
both reads it rests on (a fill after the second read must be found again); it ends flat by the
venue's truth, latched, with the file saying so; no closing order id is used twice.
"""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

from engine.model.emergency import EmergencyState, TripSource
from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.runtime import SimClock, run_simulated
from tests.fakes.scripted_venue import Call, Fault, ScriptedVenue
from tests.fakes.stop_desk import START_NS, StopDesk, make_desk

SEED_LIMIT_S = 60
_READ_NS = 2_000_000_000
_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT")


class _Judge:
    """Looks at every change of the venue's truth and of what the stop claims."""

    def __init__(self, venue: ScriptedVenue, clock: SimClock) -> None:
        self._venue = venue
        self._clock = clock
        # (monotonic ns, whether the venue was flat from then on)
        self._history: list[tuple[int, bool]] = []
        self.claims = 0
        self.reopened = 0
        self._was_flat = False

    def look(self, desk: StopDesk) -> None:
        now_ns, is_flat = self._clock.monotonic_ns(), self._venue.truth.is_flat
        if not self._history or self._history[-1][1] != is_flat:
            self._history.append((now_ns, is_flat))
        claims_flat = desk.state is EmergencyState.FLAT
        if claims_flat and not self._was_flat:
            self.claims += 1
            self._check_claim(desk)
        if self._was_flat and not claims_flat:
            self.reopened += 1
        self._was_flat = claims_flat
        assert not self._venue.truth.reversed, self._venue.truth.reversed

    def _check_claim(self, desk: StopDesk) -> None:
        proof = desk.stop.flat_proof()
        if proof is None:
            return  # A read failed since; the claim itself was checked when it was made.
        now_ns = self._clock.monotonic_ns()
        for name, looks in self._venue.looks.items():
            first = [
                empty
                for at_ns, empty in looks
                if proof.first_ended_ns - _READ_NS <= at_ns <= proof.first_ended_ns
            ]
            second = [empty for at_ns, empty in looks if proof.second_began_ns <= at_ns <= now_ns]
            assert any(first), f"{name}: the first read of the proof was not empty"
            assert any(second), f"{name}: the second read of the proof was not empty"
        assert proof.second_began_ns - proof.first_ended_ns >= 1_000_000_000
        # Not flat now only if something filled after the second read.
        assert self._flat_within(proof.second_began_ns, now_ns)

    def _flat_within(self, from_ns: int, to_ns: int) -> bool:
        state = None
        for at_ns, is_flat in self._history:
            if at_ns <= from_ns:
                state = is_flat
            elif at_ns <= to_ns and is_flat:
                return True
        return bool(state)


def _stage(venue: ScriptedVenue, chance: random.Random) -> tuple[str, ...]:
    """Positions and orders; returns the symbols our own books happen to know."""
    for symbol in chance.sample(_SYMBOLS, chance.randint(0, len(_SYMBOLS))):
        quantity = Decimal(chance.randint(1, 40_000)) / 1000 * chance.choice((1, -1))
        venue.hold(symbol, str(quantity), str(chance.choice((1, 100, 60_000))))
        if chance.random() < 0.6:
            side = Side.SELL if quantity > 0 else Side.BUY
            venue.rest(symbol, f"stop-{symbol}", trigger="90", reduce_only=True, side=side)
            if chance.random() < 0.3:
                venue.refuses_close_with_stops.add(Symbol(symbol))
    for index in range(chance.randint(0, 6)):
        symbol = chance.choice(_SYMBOLS)
        trigger = "120" if chance.random() < 0.3 else None
        venue.rest(symbol, f"entry-{index}", trigger=trigger, side=Side.BUY)
    return tuple(s for s in venue.truth.positions if chance.random() < 0.7)


def _script(chance: random.Random, severity: float) -> object:
    def script(call: Call) -> Fault | None:
        if chance.random() > severity:
            return Fault(request_s=chance.random() * 0.1) if chance.random() < 0.3 else None
        kind = chance.randrange(8)
        if kind == 0:
            return Fault(loses_request=True)
        if kind == 1:
            return Fault(loses_answer=True)
        if kind == 2:
            return Fault(error=OutcomeUnknown("dropped"))
        if kind == 3:
            return Fault(error=NotExecuted("429", retry_after_s=chance.choice((0.1, 1.0, 5.0))))
        if kind == 4 and call.name in {"reduce", "cancel"}:
            return Fault(error=Refused("-9999", "no"))
        if kind == 5 and call.name == "reduce":
            return Fault(fills_at_most=Decimal(chance.randint(0, 3000)) / 1000)
        if kind == 6:
            return Fault(error=RuntimeError("a fault of the adapter"))
        return Fault(request_s=chance.random() * 3, answer_s=chance.random() * 3)

    return script


def _late_entries(venue: ScriptedVenue, chance: random.Random) -> int:
    """Entries that were on the wire at the press, and somebody else's hand later on."""
    count = chance.choice((0, 0, 1, 2, 3))
    for _ in range(count):
        symbol = chance.choice(_SYMBOLS)
        size = Decimal(chance.randint(1, 5000)) / 1000
        held = venue.truth.positions.get(Symbol(symbol), Decimal(0))
        # In the direction of the position, so that a reversal can only be ours.
        signed = str(size if held >= 0 else -size)

        def fill(symbol: str = symbol, signed: str = signed) -> None:
            now = venue.truth.positions.get(Symbol(symbol), Decimal(0))
            if now == 0 or (now > 0) == (Decimal(signed) > 0):
                venue.fill_entry(symbol, signed)

        venue.later(chance.random() * chance.choice((0.5, 5.0, 30.0)), fill)
    return count


def run_seed(seed: int, workdir: Path) -> dict[str, object]:
    """One stop; see the module."""
    chance = random.Random(seed)

    async def main(clock: SimClock) -> dict[str, object]:
        venue = ScriptedVenue(clock=clock, latency_s=chance.choice((0.001, 0.02, 0.3)))
        venue.is_stream_up = chance.random() < 0.7
        known = _stage(venue, chance)
        severity = chance.choice((0.0, 0.1, 0.3, 0.6, 0.9))
        venue.script = _script(chance, severity)  # type: ignore[assignment]
        desk = make_desk(clock, workdir, venue=venue, known=known)
        judge = _Judge(venue, clock)
        used: list[str] = []
        desk.stop.trip(source=TripSource.BUTTON, reason=f"seed {seed}")
        late = _late_entries(venue, chance)
        for source in chance.sample(list(TripSource), chance.randint(0, 2)):
            desk.stop.trip(source=source, reason="another")

        async def pass_time(seconds: float, *, step_s: float = 0.02) -> None:
            until = clock.monotonic_ns() + seconds * 1e9
            while clock.monotonic_ns() < until:
                await clock.sleep(step_s)
                judge.look(desk)

        await pass_time(chance.random() * 10)
        if chance.random() < 0.3:
            desk.stop.pause(paused=True, reason="wrong press")
            await pass_time(chance.random() * 5)
            desk.stop.pause(paused=False, reason="go on")
        if chance.random() < 0.4:
            await desk.stop.aclose()
            clock.remove_busy_probe(desk.stop.pending_writes)
            used += [str(intent.client_order_id) for intent in desk.intents]
            desk = make_desk(clock, workdir, venue=venue, known=(), owner="engine-2")
            assert desk.stop.is_latched(), "the restart forgot the stop"
        await pass_time(chance.random() * 10)
        venue.script = lambda _: None  # The venue heals.
        healed_ns = clock.monotonic_ns()
        await pass_time(
            35.0, step_s=0.1
        )  # Late entries are over and the longest back-off has passed.
        await pass_time(
            6.0 if venue.is_stream_up else 62.0, step_s=0.1
        )  # The slowest watch has looked.
        used += [str(intent.client_order_id) for intent in desk.intents]
        assert venue.truth.is_flat, f"not flat: {venue.truth.positions} {venue.truth.orders}"
        assert desk.state is EmergencyState.FLAT, desk.stop.snapshot()
        assert desk.stop.flat_proof() is not None
        assert desk.stop.is_latched()
        assert desk.latch.read().latched
        assert len(used) == len(set(used)), "a closing order id was used twice"
        await desk.aclose()
        return {
            "orders_sent": len(used),
            "late_entries": late,
            "flat_claims": judge.claims,
            "reopened": judge.reopened,
            "severity": severity,
            "healed_at_s": healed_ns / 1e9,
        }

    return run_simulated(main, start_ns=START_NS)
