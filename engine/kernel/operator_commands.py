"""What an operator may tell a running engine: halt, resume, reduce only, start, pause, acknowledge.

Each is audited with who and why, survives a restart where it holds a safety state, and answers with
a `CommandResult`: a refusal is a result that says why, not an exception.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.api import CommandResult
from engine.kernel.parts import Parts
from engine.kernel.standing import HALTED, LIVE_CONFIRMED, NEEDS_START, REDUCE_ONLY
from engine.model.emergency import Condition, Scope, Trip, TripSource
from engine.model.snapshots import EngineState


class OperatorCommands:
    """The commands that change the engine's mode."""

    def __init__(self, *, parts: Parts, conditions: Callable[[], tuple[Condition, ...]]) -> None:
        self._parts = parts
        self._start_conditions = conditions

    def result(
        self, *, ok: bool, message: str = "", unmet: tuple[Condition, ...] = ()
    ) -> CommandResult:
        """An answer with the state as it is now."""
        parts = self._parts
        return CommandResult(
            ok=ok,
            state=parts.mode.state,
            emergency=parts.desk_emergency.snapshot(),
            message=message,
            unmet=unmet,
            version=parts.policy.version,
        )

    def trip(self, *, source: TripSource, reason: str, scope: Scope) -> Trip:
        """The emergency stop; when this returns no entry leaves."""
        trip = self._parts.stop.trip(source=source, reason=reason, scope=scope)
        self._parts.mode.tell()
        return trip

    async def pause_closing(self, *, paused: bool, reason: str, author: str) -> CommandResult:
        if not self._parts.stop.pause(paused=paused, reason=reason):
            return self.result(ok=False, message="there is no stop to pause")
        await self._audit(author, "pause closing" if paused else "go on closing", reason)
        return self.result(ok=True, message="closing is paused" if paused else "closing goes on")

    async def halt(self, *, reason: str, author: str) -> CommandResult:
        """Hold entries: at once in memory, then durable; resting entries are cancelled."""
        why = reason or "held by the operator"
        self._parts.mode.set_halted(why)
        await self._remember(HALTED, why)
        await self._audit(author, "halt", reason)
        cancelled = await self._parts.execution.cancel_entries()
        return self.result(ok=True, message=f"entries are held; {cancelled} cancelled")

    async def resume(self, *, reason: str, author: str) -> CommandResult:
        if self._parts.mode.state is EngineState.LATCHED:
            return self.result(
                ok=False,
                message="the emergency stop is latched; it needs a reset",
                unmet=(Condition(condition="not_latched", met=False, why="latched"),),
            )
        await self._remember(HALTED, None)
        await self._audit(author, "resume", reason)
        self._parts.mode.set_halted(None)
        return self.result(ok=True, message="entries are allowed again")

    async def reduce_only(self, *, on: bool, reason: str, author: str) -> CommandResult:
        why = (reason or "reduce only, by the operator") if on else None
        if on:
            self._parts.mode.set_operator_reduce_only(why)
        await self._remember(REDUCE_ONLY, why)
        await self._audit(author, "reduce only on" if on else "reduce only off", reason)
        self._parts.mode.set_operator_reduce_only(why)
        return self.result(ok=True, message="reduce only is " + ("on" if on else "off"))

    async def start(self, *, reason: str, author: str, confirm_live: str = "") -> CommandResult:
        """READY → RUNNING when every condition is met; already running is fine. Live takes the
        account's name as a confirmation, in every run anew.
        """
        mode = self._parts.mode
        if mode.base is EngineState.RUNNING and mode.state is not EngineState.LATCHED:
            return self.result(ok=True, message="already running")
        conditions = (*self._start_conditions(), *self._confirmation(confirm_live))
        unmet = tuple(entry for entry in conditions if not entry.met)
        if unmet:
            return self.result(ok=False, message="not started", unmet=unmet)
        await self._remember(NEEDS_START, None)
        is_live = self._parts.options.effective.engine.mode == "live"
        await self._audit(author, f"start live {confirm_live}" if is_live else "start", reason)
        # The stop may have been pressed while the disk was busy: it wins.
        if mode.state is EngineState.LATCHED:
            await self._remember(NEEDS_START, "the stop was pressed during START")
            return self.result(ok=False, message="the stop was pressed meanwhile")
        if is_live:
            await self._confirmed(confirm_live)
        mode.go(EngineState.RUNNING, reason)
        # Whoever starts has looked at what a restored database may lack.
        self._parts.alarms.clear_alarm("DATABASE_RESTORED")
        return self.result(ok=True, message="running")

    async def _confirmed(self, account: str) -> None:
        """From now on, over restarts, what is open on this account is looked after."""
        parts = self._parts
        await self._remember(LIVE_CONFIRMED, account)
        parts.mode.is_confirmed = True
        for position in parts.ledger.positions():
            parts.execution.protection.look(position.symbol)

    def _confirmation(self, confirm_live: str) -> tuple[Condition, ...]:
        """Nothing where no money is at risk."""
        options = self._parts.options
        if options.effective.engine.mode != "live":
            return ()
        account = options.account
        if confirm_live == account:
            return (Condition(condition="live_confirmed", met=True, why=""),)
        said = f"not {confirm_live!r}" if confirm_live else "which was not given"
        why = f"real orders need the account's name, {account!r}, {said}"
        return (Condition(condition="live_confirmed", met=False, why=why),)

    async def acknowledge_alarm(self, alarm_id: str) -> CommandResult:
        known = self._parts.alarms.acknowledge(alarm_id)
        return self.result(ok=known, message="" if known else "there is no such alarm")

    async def _remember(self, name: str, value: str | None) -> None:
        await self._parts.storage.store.record_standing(name, value)

    async def _audit(self, who: str, what: str, why: str) -> None:
        await self._parts.storage.store.append_audit(
            who=who, what=what, why=why, where="engine", ts_ns=self._parts.clock.now_ns()
        )


__all__ = ["OperatorCommands"]
