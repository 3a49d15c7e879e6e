"""Carries out what the desk's other services say over the bus, each command once.

When a command counts as done (`docs/commands_over_redis.md` has the table): in the transaction that
has its effect, or that records it where the effect is in memory first: a halt and a trip are in
force at once and written beside. A command that is delivered again is known from the table
`commands`; one whose transaction never happened had no effect that outlives the process, and is
done then. The same checks hold as for an operator: a latched stop resumes nothing, and the policy
refuses what it would refuse anybody.

Stops (halt, trip) are obeyed ahead of their turn, so a resume that stands before a halt in the
stream must not lift it: `_newest_halt`.

Loop only. The work of a turn is a task of the kernel: a link that is lost in the middle of it takes
nothing with it. Fails: a disk that refuses postpones, everything else is an outcome in words.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from engine.execution import announce
from engine.kernel.parts import Parts
from engine.kernel.standing import HALTED
from engine.model.commands import (
    BusCommand,
    CommandNote,
    CommandOutcome,
    CommandRecord,
    CommandResult,
    CommandType,
    Hold,
    PolicyMode,
    PolicyUpdate,
    SignalSubmit,
    TripRequest,
)
from engine.model.emergency import TripSource
from engine.model.errors import CommandKnown, PolicyConflict, PolicyInvalid, StoreError
from engine.model.events import CommandAccepted, SignalEvent
from engine.model.ids import SignalId, Symbol
from engine.model.limits import COMMAND_STOPS_REMEMBERED, COMMAND_STOPS_WRITING_MAX
from engine.model.records import AuditWords
from engine.model.signals import Signal
from engine.model.snapshots import EngineState

_log = logging.getLogger(__name__)
_DONE = CommandOutcome(result=CommandResult.DONE)
_WHERE = "redis"

_Key = tuple[CommandType, str]


def _refused(why: str) -> CommandOutcome:
    return CommandOutcome(result=CommandResult.REFUSED, why=why)


def _postponed(error: Exception) -> CommandOutcome:
    return CommandOutcome(result=CommandResult.POSTPONED, why=str(error))


def _place(stream_id: str) -> tuple[int, int]:
    """Where an entry stands in its stream."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number or 0)


class BusCommands:
    """Implements `CommandTarget`."""

    def __init__(self, *, parts: Parts) -> None:
        self._parts = parts
        self._turn = asyncio.Lock()
        # Stops in force, so that each is obeyed once; those beyond the newest so many are looked up
        # in the table when their turn comes.
        self._in_force: OrderedDict[_Key, None] = OrderedDict()
        # How to write down a stop that is in force and not on the disk yet, and what is under way.
        self._to_write: OrderedDict[_Key, Callable[[], asyncio.Future[None]]] = OrderedDict()
        self._writing: dict[_Key, asyncio.Future[None]] = {}
        self._newest_halt = (0, 0)

    def restore(self, stops: Iterable[CommandRecord]) -> None:
        """What earlier runs of this engine have obeyed, oldest first."""
        for record in stops:
            self._in_force[record.type, record.id] = None
            if record.type is CommandType.TRADING_HALT:
                self._newest_halt = max(self._newest_halt, _place(record.stream_id))

    # --- stops ------------------------------------------------------------------------------------

    def obey(self, command: BusCommand) -> bool:
        """In force when this returns; False when it was. Its record is not waited for."""
        key = (command.type, command.id)
        if key in self._in_force:
            return False
        if isinstance(command.payload, TripRequest):
            self._to_write[key] = self._trip(command, command.payload)
        elif isinstance(command.payload, Hold):
            self._to_write[key] = self._halt(command, command.payload)
        self._in_force[key] = None
        while len(self._in_force) > COMMAND_STOPS_REMEMBERED:
            forgotten, _ = self._in_force.popitem(last=False)
            self._to_write.pop(forgotten, None)
        if len(self._writing) < COMMAND_STOPS_WRITING_MAX:
            self._write(key)
        return True

    def _trip(
        self, command: BusCommand, request: TripRequest
    ) -> Callable[[], asyncio.Future[None]]:
        parts = self._parts
        reason = f"{request.reason or 'no reason given'} ({command.author})"
        trip = parts.stop.trip(source=TripSource.BUS, reason=reason, scope=request.scope)
        parts.mode.tell()
        note = self._note(command, f"trip {trip.id}, scope {trip.scope}")
        audited = self._audited(command, f"trip {trip.id}, scope {trip.scope}", request.reason)
        store = parts.storage.store
        return lambda: self._announced(
            note, store.record_trip_of_command(trip, note, audited=audited)
        )

    def _halt(self, command: BusCommand, request: Hold) -> Callable[[], asyncio.Future[None]]:
        parts = self._parts
        why = f"{request.reason or 'held'} ({command.author})"
        parts.mode.set_halted(why)
        self._newest_halt = max(self._newest_halt, _place(command.stream_id))
        if parts.mode.base not in (EngineState.STOPPING, EngineState.OFF):
            parts.tasks.spawn(f"halt {command.id}", self._cancel_entries())
        note = self._note(command, "entries are held")
        audited = self._audited(command, "halt", request.reason)
        store = parts.storage.store
        return lambda: self._announced(
            note, store.record_standing(HALTED, why, audited=audited, command=note)
        )

    async def _cancel_entries(self) -> None:
        await self._parts.execution.cancel_entries()

    def _write(self, key: _Key) -> asyncio.Future[None]:
        future = self._writing[key] = self._to_write[key]()

        def written(done: asyncio.Future[None]) -> None:
            self._writing.pop(key, None)
            error = None if done.cancelled() else done.exception()
            if isinstance(error, StoreError):
                _log.warning("%s %s is in force and not written down yet: %s", *key, error)
            else:
                self._to_write.pop(key, None)

        future.add_done_callback(written)
        return future

    async def _stop_in_turn(self, command: BusCommand) -> CommandOutcome:
        """The turn of a stop: it is in force since long, mostly, and has to be on the disk now."""
        self.obey(command)
        key = (command.type, command.id)
        if key not in self._to_write:
            return _DONE
        future = self._writing.get(key) or self._write(key)
        await asyncio.wait([future])
        error = future.exception()
        return _postponed(error) if isinstance(error, StoreError) else _DONE

    # --- in order ---------------------------------------------------------------------------------

    async def carry_out(self, commands: Sequence[BusCommand]) -> list[CommandOutcome]:
        """In order; an outcome for each until the first that is postponed, which is the last."""
        task = self._parts.tasks.spawn("bus commands", self._in_order(commands))
        await asyncio.wait([task])
        if task.cancelled():
            return [CommandOutcome(result=CommandResult.POSTPONED, why="the engine is stopping")]
        return task.result()

    async def _in_order(self, commands: Sequence[BusCommand]) -> list[CommandOutcome]:
        outcomes: list[CommandOutcome] = []
        async with self._turn:
            await self._parts.bus.room()
            for kind, same in itertools.groupby(commands, key=lambda command: command.type):
                if kind is CommandType.SIGNAL_SUBMIT:
                    found = await self._signals(list(same))
                else:
                    found = await self._one_by_one(list(same))
                outcomes += found
                if found[-1].result is CommandResult.POSTPONED:
                    break
        return outcomes

    async def _one_by_one(self, commands: Sequence[BusCommand]) -> list[CommandOutcome]:
        outcomes: list[CommandOutcome] = []
        for command in commands:
            outcomes.append(await self._one(command))
            if outcomes[-1].result is CommandResult.POSTPONED:
                break
        return outcomes

    async def _one(self, command: BusCommand) -> CommandOutcome:
        payload = command.payload
        try:
            if command.type.is_stop:
                return await self._stop_in_turn(command)
            if isinstance(payload, Hold):
                return await self._resume(command, payload)
            if isinstance(payload, PolicyMode | PolicyUpdate):
                return await self._policy(command, payload)
        except CommandKnown:
            return _DONE
        except StoreError as error:
            return _postponed(error)
        return _refused(f"{command.type} is not supported by this version")

    async def _signals(self, commands: Sequence[BusCommand]) -> list[CommandOutcome]:
        """Many in one commit. In the queue right after it, in the order of the stream."""
        store, desk = self._parts.storage.store, self._parts.execution.signals
        offered: list[tuple[Signal, SignalEvent, asyncio.Future[None]]] = []
        for command in commands:
            assert isinstance(command.payload, SignalSubmit)
            signal = self._signal(command, command.payload)
            received = desk.received(signal)
            note = CommandNote(record=self._record(command))
            offered.append((signal, received, store.record_command(note, (received,))))
        await asyncio.wait([future for _, _, future in offered])
        outcomes: list[CommandOutcome] = []
        for signal, received, future in offered:
            error = future.exception()
            if error is None:
                desk.submit(signal, received=received)
            if isinstance(error, StoreError):
                outcomes.append(_postponed(error))
                # Those behind it may have got through; they are known when they come again.
                continue
            outcomes.append(_DONE)
        return _until_postponed(outcomes)

    def _signal(self, command: BusCommand, asked: SignalSubmit) -> Signal:
        clock, io_clock = self._parts.clock, self._parts.io_clock
        # As old as its sender says: its time to live runs since then. Trading time may be another.
        age_ns = max(0, io_clock.now_ns() - (command.ts_ns or 0))
        return Signal(
            id=SignalId(command.id),
            symbol=Symbol(asked.symbol),
            side=asked.side,
            confidence=asked.confidence,
            strategy=asked.strategy,
            ts_ns=clock.now_ns() - age_ns,
            trace=command.trace,
            stop_loss=asked.stop_loss,
            take_profit=asked.take_profit,
        )

    async def _resume(self, command: BusCommand, asked: Hold) -> CommandOutcome:
        mode = self._parts.mode
        if mode.state is EngineState.LATCHED:
            return _refused("the emergency stop is latched; it needs a reset at its own node")
        if _place(command.stream_id) < self._newest_halt:
            return _refused("a halt that was sent after it stands")
        held = mode.halted_why
        note = self._note(command, "entries are allowed again")
        audited = self._audited(command, "resume", asked.reason)
        await self._announced(
            note,
            self._parts.storage.store.record_standing(HALTED, None, audited=audited, command=note),
        )
        # Whoever held entries meanwhile wrote after us, and wins in memory too.
        if mode.halted_why == held:
            mode.set_halted(None)
        return _DONE

    async def _policy(
        self, command: BusCommand, asked: PolicyMode | PolicyUpdate
    ) -> CommandOutcome:
        policy = self._parts.policy
        reason = asked.reason or f"command {command.id}"
        try:
            if isinstance(asked, PolicyMode):
                what = f"mode {asked.name}"
                note = self._note(command, what)
                await policy.set_mode(
                    asked.name, author=command.author, reason=reason, command=note
                )
            else:
                what = f"{', '.join(sorted(asked.fields))} on version {asked.base_version}"
                note = self._note(command, what)
                await policy.update(
                    _texts(asked),
                    base_version=asked.base_version,
                    author=command.author,
                    reason=reason,
                    command=note,
                )
        except PolicyInvalid as error:
            return _refused(str(error))
        except PolicyConflict as error:
            # Kept beside another node's of the same moment, it had its effect: a person decides.
            return _DONE if error.is_kept else _refused(str(error))
        await self._remember_unchanged(command, note, what, reason)
        return _DONE

    async def _remember_unchanged(
        self, command: BusCommand, note: CommandNote, what: str, reason: str
    ) -> None:
        """A change that changed nothing made no version that could have carried the command."""
        audited = self._audited(command, f"policy as it was: {what}", reason)
        written = self._parts.storage.store.record_command(note, audited=audited)
        try:
            await written
        except CommandKnown:
            pass  # It went with the version.
        if note.event is not None:
            announce(self._parts.bus, note.event, journaled=True)

    # --- what is written --------------------------------------------------------------------------

    def _announced(self, note: CommandNote, written: asyncio.Future[None]) -> asyncio.Future[None]:
        """Tell of it after the commit, whoever waits for that."""

        def done(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and future.exception() is None and note.event is not None:
                announce(self._parts.bus, note.event, journaled=True)

        written.add_done_callback(done)
        return written

    def _note(self, command: BusCommand, result: str) -> CommandNote:
        return CommandNote(
            record=self._record(command),
            event=CommandAccepted(
                **self._parts.stamper(command.trace),
                command_id=command.id,
                command_type=command.type.value,
                stream_id=command.stream_id,
                origin=command.origin,
                signed=command.is_signed,
                result=result,
            ),
        )

    def _record(self, command: BusCommand) -> CommandRecord:
        return CommandRecord(
            type=command.type,
            id=command.id,
            stream_id=command.stream_id,
            nonce=command.nonce,
            received_ns=self._parts.io_clock.now_ns(),
        )

    def _audited(self, command: BusCommand, what: str, why: str) -> AuditWords:
        return AuditWords(
            ts_ns=self._parts.clock.now_ns(),
            who=command.author,
            what=f"{what} (command {command.id})",
            why=why,
            where=_WHERE,
        )


def _until_postponed(outcomes: Sequence[CommandOutcome]) -> list[CommandOutcome]:
    found: list[CommandOutcome] = []
    for outcome in outcomes:
        found.append(outcome)
        if outcome.result is CommandResult.POSTPONED:
            break
    return found


def _texts(asked: PolicyUpdate) -> dict[str, str]:
    """The values as an operator would type them; numbers to the digit."""
    texts: dict[str, str] = {}
    for name, raw in asked.fields.items():
        text = bytes(raw).decode()
        texts[name] = msgspec.json.decode(text, type=str) if text.startswith('"') else text
    return texts


__all__ = ["BusCommands"]
