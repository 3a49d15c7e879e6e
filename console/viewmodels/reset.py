"""The reset sheet: live conditions, the operator's gestures, and the request they make.

What only a person can say (each trip cleared by name, each measure re-based by name, the cause and
one sentence) is kept here; the engine judges every condition against it, live, and again when RESET
is held. A reset starts nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from console.viewmodels.conditions import condition_words
from console.viewmodels.formatting import clock_tenths, quantity
from console.viewmodels.freshness import Engine
from console.viewmodels.stop_progress import cause_words
from engine.model.emergency import REBASES, Condition, ResetRequest
from engine.model.ids import Symbol, TripId

__all__ = ["CAUSES", "Choice", "Judge", "ResetSheetState", "ResetSheetViewModel"]

CAUSES: Final = (
    "wrong press",
    "market moved against us",
    "venue or link fault",
    "software fault",
    "rehearsal or test",
    "other",
)
_REASON_MIN: Final = 8
_REBASE_WORDS: Final = {
    "peak": "Drawdown: take today's equity as the new peak",
    "day": "Loss today: count from now",
    "streak": "Losing streak: count from zero",
    "capital": "Governor: take today's equity as initial capital",
}


Judge = Callable[[ResetRequest], tuple[Condition, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One box to tick."""

    id: str
    text: str
    is_ticked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetSheetState:
    """Everything on the sheet."""

    conditions: tuple[Condition, ...]
    trips: tuple[Choice, ...]
    rebases: tuple[Choice, ...]
    residuals: tuple[Choice, ...]
    must_change: tuple[str, ...]
    missing: tuple[str, ...]
    can_reset: bool
    summary: str


class ResetSheetViewModel:
    """Keeps what the operator ticked and typed; judges nothing the engine can judge."""

    def __init__(self, *, judge: Judge) -> None:
        self._judge = judge
        self._trips: set[str] = set()
        self._rebases: set[str] = set()
        self._residuals: set[str] = set()
        self.cause = ""
        self.reason = ""

    def tick(self, kind: str, choice: str, *, is_ticked: bool) -> None:
        """Tick or untick a box of ``trips``, ``rebases`` or ``residuals``."""
        chosen = {"trips": self._trips, "rebases": self._rebases, "residuals": self._residuals}[
            kind
        ]
        (chosen.add if is_ticked else chosen.discard)(choice)

    def present(self, engine: Engine) -> ResetSheetState:
        """The sheet for the engine as it is now."""
        snapshot = engine.snapshot
        trips = tuple(
            Choice(
                id=str(trip.id),
                text=f"{clock_tenths(trip.ts_ns)}"
                f"  {cause_words(trip, node=snapshot.node)}: {trip.reason}",
                is_ticked=str(trip.id) in self._trips,
            )
            for trip in snapshot.emergency.trips
        )
        rebases = tuple(
            Choice(id=name, text=_REBASE_WORDS[name], is_ticked=name in self._rebases)
            for name in snapshot.would_trip_again
            if name in REBASES
        )
        must_change = tuple(name for name in snapshot.would_trip_again if name not in REBASES)
        residuals = self._residual_choices(engine)
        missing = self._missing(trips, rebases, residuals, must_change)
        conditions = self._judge(self._request(trips, rebases, residuals, author=""))
        unmet = [condition for condition in conditions if not condition.met]
        total = len(conditions)
        return ResetSheetState(
            conditions=tuple(
                replace(condition, condition=condition_words(condition.condition))
                for condition in conditions
            ),
            trips=trips,
            rebases=rebases,
            residuals=residuals,
            must_change=must_change,
            missing=missing,
            can_reset=not unmet and not missing and not engine.is_silent,
            summary=f"{total - len(unmet)} of {total} conditions met",
        )

    def request(self, engine: Engine, *, author: str) -> ResetRequest:
        """What is sent: only boxes that are still on the sheet."""
        state = self.present(engine)
        return self._request(state.trips, state.rebases, state.residuals, author=author)

    def _request(
        self,
        trips: tuple[Choice, ...],
        rebases: tuple[Choice, ...],
        residuals: tuple[Choice, ...],
        *,
        author: str,
    ) -> ResetRequest:
        return ResetRequest(
            cause=self.cause,
            reason=self.reason.strip(),
            clear=tuple(TripId(choice.id) for choice in trips if choice.is_ticked),
            rebase=tuple(choice.id for choice in rebases if choice.is_ticked),
            accept_residual=tuple(Symbol(choice.id) for choice in residuals if choice.is_ticked),
            author=author,
        )

    def _residual_choices(self, engine: Engine) -> tuple[Choice, ...]:
        return tuple(
            Choice(
                id=str(row.symbol),
                text=f"Accept the residue of {quantity(row.left)} {row.symbol}",
                is_ticked=str(row.symbol) in self._residuals,
            )
            for row in engine.snapshot.emergency.positions
            if row.left is not None and "RESIDUAL" in row.state_words
        )

    def _missing(
        self,
        trips: tuple[Choice, ...],
        rebases: tuple[Choice, ...],
        residuals: tuple[Choice, ...],
        must_change: tuple[str, ...],
    ) -> tuple[str, ...]:
        missing = []
        if any(not choice.is_ticked for choice in trips):
            missing.append("clear every cause by name")
        if any(not choice.is_ticked for choice in rebases):
            missing.append("re-base what would trip again")
        if any(not choice.is_ticked for choice in residuals):
            missing.append("accept the residue by name")
        if must_change:
            missing.append(f"change {', '.join(must_change)} first")
        if not self.cause:
            missing.append("choose a cause")
        if len(self.reason.strip()) < _REASON_MIN:
            missing.append("say what happened in one sentence")
        return tuple(missing)
