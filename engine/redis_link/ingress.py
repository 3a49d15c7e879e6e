"""Reads the node's commands stream: judges what is there, has it carried out once, and answers.

Two readers, each on a connection of its own. The *scout* looks through everything new at once, and
at what an earlier run left unfinished, for nothing but halts and trips, which it has obeyed in the
same turn: they wait neither for a replay, nor for a recovery, nor behind other commands. The
*consumer* reads in order as the group `engine`, a batch at a time, and only while nothing of the
link recovers. What it has done it acknowledges, what it refuses goes to the dead-letter stream
in the same step. What is delivered again is known from the ledger, which was written together with
the effect (`CommandLedger`), so it acts once; a group that was forgotten is made again from the
beginning of the stream.

Bounded: one batch in memory; consumed entries stay in the stream for an hour of the stream's own
time. Real time (`io_clock`), as Redis is real. Loop only.
Fails: a fault of the link ends its session, as any other; a server that only refuses this stream is
a fault in words, and is tried again each second. What the disk cannot do now stays unacknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis.exceptions

from engine.bus import EventBus
from engine.model.commands import BusCommand, CommandOutcome, CommandRecord, CommandResult
from engine.model.desk_key import DeskKey
from engine.model.errors import BusSaturated, StoreError
from engine.model.events import CommandRefused
from engine.model.ids import TraceId
from engine.model.limits import (
    COMMAND_BATCH_MAX,
    COMMAND_DEAD_LETTERS_MAX,
    COMMAND_STOPS_REMEMBERED,
    REDIS_PING_INTERVAL_S,
)
from engine.model.snapshots import CommandsSnapshot
from engine.ports.clock import Clock
from engine.ports.commands import CommandLedger, CommandTarget
from engine.redis_link.commands import (
    FIELDS_MAX,
    Entry,
    Refusal,
    RefusalCode,
    is_stop,
    judge,
    shown,
)
from engine.redis_link.faults import cause_of
from engine.redis_link.node_stream import Command
from engine.runtime import Stamper

_log = logging.getLogger(__name__)
GROUP: Final = "engine"
_AGAIN_S = 1.0
_WAIT_S = 0.02
_TIDY_EVERY_S = 60.0
_KEPT_MS = 3_600_000
_ALARMING_NS = 60_000_000_000
_VALUE_KEPT_BYTES = 65_536
_WHY_MAX = 1_000
_BLOCK_MS = round(REDIS_PING_INTERVAL_S * 1000)

# Refusing is one step: an entry is never acknowledged without its dead letter, nor twice in there.
_BURY = """
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3))
return redis.call('XACK', KEYS[1], 'engine', ARGV[2])
"""

_Entries = list[tuple[str, Entry]]
_Verdicts = list[tuple[Entry, BusCommand | Refusal]]
_STOPPING: Final = CommandOutcome(
    result=CommandResult.POSTPONED, why="what was before them had to wait"
)


def commands_key(node: str) -> str:
    """The stream that others write."""
    return f"seawall:{node}:commands"


def dead_key(node: str) -> str:
    """The stream of what was refused."""
    return f"seawall:{node}:dead"


class Ingress:
    """The commands of one node, over all sessions of its link."""

    def __init__(
        self,
        *,
        node: str,
        key: DeskKey,
        key_why: str,
        ledger: CommandLedger,
        target: CommandTarget,
        bus: EventBus,
        stamper: Stamper,
        io_clock: Clock,
    ) -> None:
        self._node = node
        self._key = key
        self._key_why = key_why
        self._ledger = ledger
        self._target = target
        self._bus = bus
        self._stamper = stamper
        self._io_clock = io_clock
        self._waits_for: Callable[[], str] = lambda: ""
        self._stream = commands_key(node)
        self._dead = dead_key(node)
        self._opened = asyncio.Event()
        self._swept = asyncio.Event()
        self._look_again = False
        self._is_reading_pending = True
        self._tidied_ns = 0
        self._consumed = "0-0"
        # Stops that were counted ahead of their turn.
        self._counted: set[str] = set()
        self._received = self._accepted = self._refused = self._repeated = 0
        self._last_error = ""
        self._last_error_ns: int | None = None
        self._fault = self._postponed = ""
        # Monotonic times of the alarming ones of the last minute, and the words of the last.
        self._alarms: deque[int] = deque(maxlen=1_000)
        self._alarming = ""

    # --- what others ask --------------------------------------------------------------------------

    def snapshot(self) -> CommandsSnapshot:
        return CommandsSnapshot(
            desk_key=self._key_why,
            received=self._received,
            accepted=self._accepted,
            refused=self._refused,
            repeated=self._repeated,
            last_error=self._last_error,
            last_error_ns=self._last_error_ns,
            waiting=self._waits_for() or self._postponed,
            fault=self._fault,
            alarming=self._alarming_now(),
        )

    async def swept(self) -> bool:
        """A part of the recovery: every halt and trip that waited in the stream is obeyed."""
        await self._swept.wait()
        return True

    def wait_while(self, why: Callable[[], str]) -> None:
        """All but stops wait while `why` says something: that is shown."""
        self._waits_for = why

    def begin_session(self) -> None:
        """Before the readers of a new session start."""
        self._opened.clear()
        self._swept.clear()
        self._counted.clear()
        self._look_again = False
        self._is_reading_pending = True

    # --- the scout --------------------------------------------------------------------------------

    async def scout(self, execute: Command) -> None:
        """Have every halt and trip obeyed as soon as it is there; ends with the session."""
        while True:
            try:
                position = await self._open(execute)
                self._opened.set()
                await self._look_ahead(execute, position)
            except redis.exceptions.ResponseError as error:
                await self._refused_by_server(error)

    async def _open(self, execute: Command) -> str:
        """Make sure of the group; returns from where on there may be something that is not done."""
        await self._make_group(execute)
        groups: Any = await execute("XINFO", "GROUPS", self._stream)
        delivered = next(
            (
                _pairs(group)[b"last-delivered-id"]
                for group in groups
                if _pairs(group).get(b"name") == GROUP.encode()
            ),
            b"0-0",
        )
        pending: Any = await execute("XPENDING", self._stream, GROUP)
        if pending and pending[0]:
            return _before(pending[1].decode())
        return str(delivered.decode())

    async def _make_group(self, execute: Command) -> None:
        try:
            await execute("XGROUP", "CREATE", self._stream, GROUP, "0", "MKSTREAM")
        except redis.exceptions.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _look_ahead(self, execute: Command, position: str) -> None:
        while not self._look_again:
            answer: Any = await execute(
                *("XREAD", "COUNT", COMMAND_BATCH_MAX),
                *(("BLOCK", _BLOCK_MS) if self._swept.is_set() else ()),
                *("STREAMS", self._stream, position),
            )
            self._fault = ""
            entries = _entries(answer[0][1]) if answer else []
            for stream_id, entry in entries:
                self._obey(stream_id, entry)
            if entries:
                position = entries[-1][0]
            else:
                self._swept.set()
        self._look_again = False

    def _obey(self, stream_id: str, entry: Entry) -> None:
        if not is_stop(entry):
            return
        verdict = self._judge(stream_id, entry)
        if not isinstance(verdict, BusCommand) or not self._target.obey(verdict):
            return
        self._count_accepted()
        if len(self._counted) < COMMAND_STOPS_REMEMBERED:
            self._counted.add(stream_id)

    # --- the consumer -----------------------------------------------------------------------------

    async def consume(self, execute: Command) -> None:
        """Have everything carried out in order; ends with the session."""
        while True:
            try:
                await self._opened.wait()
                await self._claim(execute)
                while True:
                    await self._turn(execute)
            except redis.exceptions.ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    await self._refused_by_server(error)
                    continue
                # Somebody flushed the server, or removed the stream or the group.
                _log.info("the group of the commands stream was gone and is made again")
                self._is_reading_pending = True
                await self._make_group(execute)
                self._look_again = True

    async def _claim(self, execute: Command) -> None:
        """What was handed to another consumer of the group and never done is ours."""
        cursor: Any = b"0-0"
        while True:
            answer: Any = await execute(
                *("XAUTOCLAIM", self._stream, GROUP, GROUP, 0, cursor),
                *("COUNT", COMMAND_BATCH_MAX, "JUSTID"),
            )
            cursor = answer[0]
            if cursor == b"0-0":
                return

    async def _turn(self, execute: Command) -> None:
        if self._waits_for():
            await self._io_clock.sleep(_WAIT_S)
            return
        since = "0" if self._is_reading_pending else ">"
        answer: Any = await execute(
            *("XREADGROUP", "GROUP", GROUP, GROUP, "COUNT", COMMAND_BATCH_MAX),
            *(() if self._is_reading_pending else ("BLOCK", _BLOCK_MS)),
            *("STREAMS", self._stream, since),
        )
        self._fault = ""
        entries = _entries(answer[0][1]) if answer else []
        if entries:
            await self._work_off(execute, entries)
        elif self._is_reading_pending:
            self._is_reading_pending = False
        else:
            await self._tidy(execute)

    async def _work_off(self, execute: Command, entries: _Entries) -> None:
        """Judge a batch, have it carried out, acknowledge. What is postponed is read again."""
        await self._bus.room()
        verdicts = [(entry, self._judge(stream_id, entry)) for stream_id, entry in entries if entry]
        verdicts = self._without_repetition(verdicts)
        commands = [verdict for _, verdict in verdicts if isinstance(verdict, BusCommand)]
        try:
            of_entry = await self._have_carried_out(commands)
        except StoreError as error:
            await self._postpone(str(error))
            return
        # An entry that was deleted while it was pending has nothing left to judge.
        done = [stream_id for stream_id, entry in entries if not entry]
        postponed = ""
        for entry, verdict in verdicts:
            outcome = verdict if isinstance(verdict, Refusal) else of_entry[verdict.stream_id]
            if isinstance(outcome, Refusal):
                await self._bury(execute, entry, outcome)
            elif outcome.result is CommandResult.POSTPONED:
                postponed = outcome.why
            else:
                done.append(verdict.stream_id)
        if done:
            await execute("XACK", self._stream, GROUP, *done)
        if postponed:
            await self._postpone(postponed)
        else:
            self._consumed = verdicts[-1][1].stream_id if verdicts else self._consumed

    def _without_repetition(self, verdicts: _Verdicts) -> _Verdicts:
        """Up to where an id or a nonce comes again: what is behind is judged in the next turn, when
        the ledger knows the first.
        """
        seen: set[tuple[str, str]] = set()
        for number, (_, verdict) in enumerate(verdicts):
            if isinstance(verdict, Refusal):
                continue
            names = {(verdict.type.value, verdict.id)}
            if verdict.nonce is not None:
                names.add(("nonce", verdict.nonce))
            if names & seen:
                self._is_reading_pending = True
                return verdicts[:number]
            seen |= names
        return verdicts

    async def _have_carried_out(
        self, commands: Sequence[BusCommand]
    ) -> dict[str, CommandOutcome | Refusal]:
        """What became of each, by its entry; what was done before is not done again."""
        found: dict[str, CommandOutcome | Refusal] = {}
        new: list[BusCommand] = []
        for command, record in zip(commands, await self._ledger.known(commands), strict=True):
            if record is None:
                new.append(command)
                found[command.stream_id] = _STOPPING
            elif (refusal := _again(command, record)) is not None:
                found[command.stream_id] = refusal
            else:
                self._repeated += command.stream_id not in self._counted
                self._counted.discard(command.stream_id)
                found[command.stream_id] = CommandOutcome(result=CommandResult.DONE)
        outcomes = await self._target.carry_out(new) if new else []
        for command, outcome in zip(new, outcomes, strict=False):
            found[command.stream_id] = outcome
            if outcome.result is CommandResult.REFUSED:
                found[command.stream_id] = _refusal(command, RefusalCode.REFUSED, outcome.why)
            elif outcome.result is CommandResult.DONE:
                if command.stream_id not in self._counted:
                    self._count_accepted()
                self._counted.discard(command.stream_id)
        return found

    def _count_accepted(self) -> None:
        self._received += 1
        self._accepted += 1

    async def _postpone(self, why: str) -> None:
        self._postponed = why
        self._is_reading_pending = True
        await self._io_clock.sleep(_AGAIN_S)
        self._postponed = ""

    async def _refused_by_server(self, error: redis.exceptions.ResponseError) -> None:
        """The server lives and will not have this: no reason to give up the link."""
        fault = cause_of(error)
        if fault != self._fault:
            _log.warning("the commands stream cannot be read: %s", fault)
        self._fault = fault
        await self._io_clock.sleep(_AGAIN_S)

    async def _tidy(self, execute: Command) -> None:
        """When there is nothing to do: let go of what was consumed and of what is too old to
        come again.
        """
        now_ns = self._io_clock.monotonic_ns()
        if now_ns - self._tidied_ns < _TIDY_EVERY_S * 1e9:
            return
        self._tidied_ns = now_ns
        until_ms = int(self._consumed.partition("-")[0]) - _KEPT_MS
        if until_ms > 0:
            await execute("XTRIM", self._stream, "MINID", "~", f"{until_ms}-0")
        try:
            await self._ledger.prune(now_ns=self._io_clock.now_ns())
        except StoreError as error:
            _log.warning("old commands could not be forgotten: %s", error)

    # --- refusing ---------------------------------------------------------------------------------

    def _judge(self, stream_id: str, entry: Entry) -> BusCommand | Refusal:
        return judge(
            stream_id, entry, node=self._node, key=self._key, now_ns=self._io_clock.now_ns()
        )

    async def _bury(self, execute: Command, entry: Entry, refusal: Refusal) -> None:
        self._received += 1
        self._refused += 1
        self._last_error = refusal.words
        self._last_error_ns = self._io_clock.now_ns()
        if refusal.is_alarming:
            self._alarming = refusal.words
            self._alarms.append(self._io_clock.monotonic_ns())
        _log.info("refused: %s", refusal.words)  # Anybody can fill a stream; a log is for people.
        try:
            self._bus.emit(
                CommandRefused(
                    **self._stamper(TraceId(refusal.id) if refusal.id else None),
                    command_id=refusal.id,
                    command_type=refusal.type,
                    stream_id=refusal.stream_id,
                    origin=refusal.origin,
                    code=refusal.code,
                    error=refusal.why,
                )
            )
        except BusSaturated:
            _log.warning("%s reached no subscriber", CommandRefused.TYPE)
        fields: list[bytes | str] = []
        for name, value in list(entry.items())[:FIELDS_MAX]:
            fields += [name[:_VALUE_KEPT_BYTES], value[:_VALUE_KEPT_BYTES]]
        fields += ["entry", refusal.stream_id, "code", refusal.code, "error", refusal.why]
        await execute(
            *("EVAL", _BURY, 2, self._stream, self._dead),
            *(COMMAND_DEAD_LETTERS_MAX, refusal.stream_id, *fields),
        )

    def _alarming_now(self) -> str:
        since_ns = self._io_clock.monotonic_ns() - _ALARMING_NS
        while self._alarms and self._alarms[0] < since_ns:
            self._alarms.popleft()
        if not self._alarms:
            return ""
        count = len(self._alarms)
        more = f"; {count} in the last minute" if count > 1 else ""
        return f"{self._alarming}{more}"


def _again(command: BusCommand, record: CommandRecord) -> Refusal | None:
    """What was done before: the same entry, or a stop, is merely there again; anything else that
    uses its id or nonce is a replay.
    """
    if record.stream_id == command.stream_id or command.type.is_stop:
        return None
    what = "id" if (record.type, record.id) == (command.type, command.id) else "nonce"
    why = f"its {what} was used before, by {record.type} {record.id} (entry {record.stream_id})"
    return _refusal(command, RefusalCode.REPLAYED, why)


def _refusal(command: BusCommand, code: RefusalCode, why: str) -> Refusal:
    return Refusal(
        code=code,
        why=shown(why, _WHY_MAX),
        stream_id=command.stream_id,
        type=command.type,
        id=command.id,
        origin=command.payload.origin,
    )


def _entries(rows: Any) -> _Entries:
    """Entries as Redis sends them. One that was deleted while it was pending has no fields."""
    found: _Entries = []
    for stream_id, fields in rows:
        found.append((stream_id.decode(), _pairs(fields or [])))
    return found


def _pairs(flat: Any) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _before(stream_id: str) -> str:
    """The largest id below this one."""
    milliseconds, _, number = stream_id.partition("-")
    if int(number):
        return f"{milliseconds}-{int(number) - 1}"
    return f"{int(milliseconds) - 1}-{2**64 - 1}" if int(milliseconds) else "0-0"


__all__ = ["GROUP", "Ingress", "commands_key", "dead_key"]
