"""`LocalClient`: the engine's door (`EngineClient`) for faces in the same process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from engine.api import CommandResult, HistoryPoint, PolicyVersion
from engine.kernel.backup_keeper import Backup
from engine.kernel.bus_commands import BusCommands
from engine.kernel.link_history import LinkHistory
from engine.kernel.operator_commands import OperatorCommands
from engine.kernel.parts import Parts
from engine.kernel.policy_commands import PolicyCommands
from engine.kernel.reset import ResetDesk
from engine.kernel.safeguards import safeguards
from engine.kernel.snapshot_maker import SnapshotMaker
from engine.kernel.ticket_desk import TicketDesk
from engine.model.emergency import Condition, ResetRequest, Scope, Trip, TripSource
from engine.model.errors import StoreError
from engine.model.events import AccountEquityUpdated, Event, PositionUpdated
from engine.model.ids import Symbol
from engine.model.policy import PolicyDocument
from engine.model.records import DeadLetter
from engine.model.snapshots import EngineSnapshot, SafeguardSnapshot
from engine.model.ticket import Ticket, TicketPreview

_HISTORY_POINTS = 4_000
# Fast for the judges, and as frequent as ticks: a face reads them in the snapshot, at its own pace.
_IN_EVERY_SNAPSHOT = (AccountEquityUpdated, PositionUpdated)


class LocalClient:
    """Implements `EngineClient`."""

    def __init__(self, *, parts: Parts) -> None:
        self._parts = parts
        self._commands = OperatorCommands(parts=parts, conditions=lambda: self._reset.start_list())
        self._reset = ResetDesk(parts=parts, commands=self._commands)
        # What the desk's other services say over Redis.
        self.from_bus = BusCommands(parts=parts)
        self._policy = PolicyCommands(parts=parts, answer=self.answer)
        self._tickets = TicketDesk(parts=parts, answer=self.answer)
        self._snapshots = SnapshotMaker(
            parts=parts,
            link_history=LinkHistory(bus=parts.bus),
            start_conditions=self._reset.start_list,
            reset_conditions=self._reset.reset_list,
            would_trip_again=self._reset.would_trip_again,
        )

    def snapshot(self) -> EngineSnapshot:
        return self._snapshots.make()

    def safeguards(self) -> dict[str, SafeguardSnapshot]:
        """Every safeguard that is built, with its latest proof."""
        return safeguards(self._parts)

    def answer(self) -> CommandResult:
        """A positive answer with the state as it is now."""
        return self._commands.result(ok=True)

    def subscribe(self, handler: Callable[[Event], None]) -> Callable[[], None]:
        def hear(event: Event) -> None:
            if type(event).FAST and not isinstance(event, _IN_EVERY_SNAPSHOT):
                handler(event)

        return self._parts.bus.subscribe(hear, name="face")

    def trip(self, *, source: TripSource, reason: str, scope: Scope = Scope.NODE) -> Trip:
        return self._commands.trip(source=source, reason=reason, scope=scope)

    async def pause_closing(
        self, *, paused: bool, reason: str, author: str = "operator"
    ) -> CommandResult:
        return await self._commands.pause_closing(paused=paused, reason=reason, author=author)

    async def halt(self, *, reason: str, author: str = "operator") -> CommandResult:
        return await self._commands.halt(reason=reason, author=author)

    async def resume(self, *, reason: str, author: str = "operator") -> CommandResult:
        return await self._commands.resume(reason=reason, author=author)

    async def reduce_only(
        self, *, on: bool, reason: str, author: str = "operator"
    ) -> CommandResult:
        return await self._commands.reduce_only(on=on, reason=reason, author=author)

    def preview(self, ticket: Ticket) -> TicketPreview:
        return self._tickets.preview(ticket)

    async def submit(
        self, ticket: Ticket, *, reason: str, author: str = "operator"
    ) -> CommandResult:
        return await self._tickets.submit(ticket, author=author, reason=reason)

    async def cancel_order(
        self, client_order_id: str, *, reason: str, author: str = "operator"
    ) -> CommandResult:
        return await self._tickets.cancel(client_order_id, author=author, reason=reason)

    async def close_position(
        self,
        symbol: Symbol,
        *,
        quantity: Decimal | None,
        reason: str,
        author: str = "operator",
    ) -> CommandResult:
        return await self._tickets.close(symbol, quantity=quantity, author=author, reason=reason)

    async def start(
        self, *, reason: str, author: str = "operator", confirm_live: str = ""
    ) -> CommandResult:
        return await self._commands.start(reason=reason, author=author, confirm_live=confirm_live)

    async def reset(self, request: ResetRequest) -> CommandResult:
        return await self._reset.reset(request)

    def reset_conditions(self, request: ResetRequest) -> tuple[Condition, ...]:
        return self._reset.reset_list(request)

    def policy(self) -> PolicyDocument:
        return self._parts.policy.get_policy()

    async def check_policy(self, changes: Mapping[str, str]) -> CommandResult:
        return await self._policy.check(changes)

    async def update_policy(
        self, changes: Mapping[str, str], *, base_version: int, author: str, reason: str
    ) -> CommandResult:
        return await self._policy.update(
            changes, base_version=base_version, author=author, reason=reason
        )

    async def set_policy_mode(self, name: str, *, author: str, reason: str) -> CommandResult:
        return await self._policy.set_mode(name, author=author, reason=reason)

    async def rollback_policy(self, version: int, *, author: str, reason: str) -> CommandResult:
        return await self._policy.rollback(version, author=author, reason=reason)

    async def resolve_policy(
        self, choice: str, *, base_version: int | None, author: str, reason: str
    ) -> CommandResult:
        return await self._policy.resolve(
            choice, base_version=base_version, author=author, reason=reason
        )

    async def policy_history(self) -> tuple[PolicyVersion, ...]:
        return await self._policy.history()

    async def make_backup(self, *, author: str, reason: str) -> Backup:
        """Make a backup now, audited; raises `StoreError`."""
        made = await self._parts.backups.back_up()
        await self._audit(author, f"backup {made.path.name}", reason)
        return made

    async def back_up(self, *, author: str, reason: str) -> CommandResult:
        try:
            made = await self.make_backup(author=author, reason=reason)
        except StoreError as error:
            return self._commands.result(ok=False, message=str(error))
        return self._commands.result(ok=True, message=f"{made.path.name} made and checked")

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        return tuple(await self._parts.storage.journal.dead_letters())

    async def requeue(self, seq: int, *, author: str, reason: str) -> CommandResult:
        try:
            number = await self._parts.storage.journal.requeue(seq)
            await self._audit(author, f"requeue of dead letter {seq} as {number}", reason)
        except StoreError as error:
            return self._commands.result(ok=False, message=str(error))
        result = self._commands.result(ok=True, message=f"{seq} goes out again as {number}")
        return msgspec.structs.replace(result, number=number)

    async def _audit(self, who: str, what: str, why: str) -> None:
        parts = self._parts
        await parts.storage.store.append_audit(
            who=who, what=what, why=why, where="engine", ts_ns=parts.clock.now_ns()
        )

    async def acknowledge_alarm(self, alarm_id: str) -> CommandResult:
        return await self._commands.acknowledge_alarm(alarm_id)

    async def acknowledge_all(self, *, priority: int) -> None:
        """Mark every alarm of a priority as seen; for a shell, where there is no list to click."""
        for alarm in self._parts.alarms.snapshot():
            if alarm.priority == priority:
                self._parts.alarms.acknowledge(alarm.id)

    async def equity_history(self, *, since_ns: int) -> tuple[HistoryPoint, ...]:
        marks = await self._parts.storage.store.history.equity(
            from_ns=since_ns, to_ns=self._parts.clock.now_ns(), points=_HISTORY_POINTS
        )
        return tuple(
            HistoryPoint(
                ts_ns=mark.ts_ns, equity=mark.equity, peak=mark.peak, drawdown=mark.drawdown
            )
            for mark in marks
        )


__all__ = ["LocalClient"]
