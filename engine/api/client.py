"""`EngineClient`: the protocol every face of Seawall uses to reach an engine.

`trip` is synchronous on purpose: when it returns, no entry can leave any more. Everything else that
changes something answers with a `CommandResult`; refusals are results, not exceptions, so that a
face can always say why. Times are UTC nanoseconds, fractions positive decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Protocol

import msgspec

from engine.model.emergency import (
    Condition,
    EmergencySnapshot,
    ResetRequest,
    Scope,
    Trip,
    TripSource,
)
from engine.model.events import Event
from engine.model.ids import Symbol
from engine.model.policy import PolicyDocument
from engine.model.reasons import Reason
from engine.model.records import DeadLetter
from engine.model.snapshots import EngineSnapshot, EngineState, OrderSnapshot
from engine.model.ticket import Ticket, TicketPreview


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a command. `unmet` lists what stood in the way, `problems` wrong fields by name.

    `conflict` is True when a policy change was based on an old version, and `conflict_fields` maps
    each field in which not all agree to (base, theirs, mine). `version` is the policy's.
    """

    ok: bool
    state: EngineState
    emergency: EmergencySnapshot
    message: str = ""
    unmet: tuple[Condition, ...] = ()
    rebased: dict[str, str] = {}
    version: int | None = None
    problems: dict[str, str] = {}
    conflict: bool = False
    conflict_fields: dict[str, tuple[str, str, str]] = {}
    # What a requeue made: the new sequence number.
    number: int | None = None
    # Of a ticket: every reason of the gate against it, and the order as it is known now.
    reasons: tuple[Reason, ...] = ()
    order: OrderSnapshot | None = None


class HistoryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One mark of the account's history."""

    ts_ns: int
    equity: Decimal
    peak: Decimal
    drawdown: Decimal


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the policy's history with its differences to the version before."""

    document: PolicyDocument
    changes: dict[str, tuple[str, str]]


class EngineClient(Protocol):
    """What a face may do with a running engine."""

    def snapshot(self) -> EngineSnapshot:
        """The engine now; cheap enough for 20 a second."""
        ...

    def subscribe(self, handler: Callable[[Event], None]) -> Callable[[], None]:
        """Hear safety events (fast path) at once, on the loop; returns the unsubscribe function."""
        ...

    def trip(self, *, source: TripSource, reason: str, scope: Scope = Scope.NODE) -> Trip:
        """Emergency stop. On return no entry leaves; closing goes on by itself."""
        ...

    async def pause_closing(
        self, *, paused: bool, reason: str, author: str = "operator"
    ) -> CommandResult:
        """Under a latch: stop or go on closing positions; the latch is kept."""
        ...

    async def halt(self, *, reason: str, author: str = "operator") -> CommandResult:
        """No new risk, resting entries cancelled, positions kept, exits run."""
        ...

    async def resume(self, *, reason: str, author: str = "operator") -> CommandResult:
        """End a halt."""
        ...

    async def reduce_only(
        self, *, on: bool, reason: str, author: str = "operator"
    ) -> CommandResult:
        """Switch the operator's reduce-only on or off."""
        ...

    def preview(self, ticket: Ticket) -> TicketPreview:
        """What a ticket comes to, and every reason against it now; changes nothing."""
        ...

    async def submit(
        self, ticket: Ticket, *, reason: str, author: str = "operator"
    ) -> CommandResult:
        """Send an order by the path of signals; `order` says what is known of it in the end."""
        ...

    async def cancel_order(
        self, client_order_id: str, *, reason: str, author: str = "operator"
    ) -> CommandResult:
        """Cancel an order; never refused by a halt or a latch."""
        ...

    async def close_position(
        self,
        symbol: Symbol,
        *,
        quantity: Decimal | None,
        reason: str,
        author: str = "operator",
    ) -> CommandResult:
        """Close a position at market, or `quantity` of it; never refused by a halt or a latch."""
        ...

    async def start(
        self, *, reason: str, author: str = "operator", confirm_live: str = ""
    ) -> CommandResult:
        """READY → RUNNING, or the unmet conditions."""
        ...

    async def reset(self, request: ResetRequest) -> CommandResult:
        """The guarded reset: clears trips by name, starts nothing."""
        ...

    def reset_conditions(self, request: ResetRequest) -> tuple[Condition, ...]:
        """Every condition of a reset as this request would meet it now; nothing is done."""
        ...

    def policy(self) -> PolicyDocument:
        """The document in force."""
        ...

    async def check_policy(self, changes: Mapping[str, str]) -> CommandResult:
        """Validate changes by name against the document in force without storing anything."""
        ...

    async def update_policy(
        self, changes: Mapping[str, str], *, base_version: int, author: str, reason: str
    ) -> CommandResult:
        """Compare-and-set on `base_version`; field names as in
        `engine.model.policy.with_changes`.
        """
        ...

    async def set_policy_mode(self, name: str, *, author: str, reason: str) -> CommandResult:
        """Switch the active profile."""
        ...

    async def rollback_policy(self, version: int, *, author: str, reason: str) -> CommandResult:
        """Make a new version equal to an old one."""
        ...

    async def resolve_policy(
        self, choice: str, *, base_version: int | None, author: str, reason: str
    ) -> CommandResult:
        """End a conflict of the policy: `mine`, `theirs`, the name of a node, or `stricter`."""
        ...

    async def policy_history(self) -> tuple[PolicyVersion, ...]:
        """All versions, newest first."""
        ...

    async def acknowledge_alarm(self, alarm_id: str) -> CommandResult:
        """Mark an alarm as seen."""
        ...

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        """The newest events that Redis refused for good, newest first."""
        ...

    async def requeue(self, seq: int, *, author: str, reason: str) -> CommandResult:
        """Give a dead letter another try at the tail, audited; `number` is its new one."""
        ...

    async def back_up(self, *, author: str, reason: str) -> CommandResult:
        """Make a backup of the state database now, audited; refused with what the disk said."""
        ...

    async def equity_history(self, *, since_ns: int) -> tuple[HistoryPoint, ...]:
        """Recorded equity marks since a time, oldest first."""
        ...


__all__ = ["CommandResult", "EngineClient", "HistoryPoint", "PolicyVersion"]
