"""`TradeStore`: every change of state with the events that tell of it, in one transaction each.

Why one door: what is on the disk must never be half a change, and no event may tell of a state that
was not committed, nor a state exist that no event tells of. So each method is one job of the
writer, which changes the state and appends the events to the outbox. Guarantees: a future is done
after the commit; jobs are carried out in the order of the calls; an execution, a trip and a
clearing count once (False, and no events, when they are known already). Does not: decide anything,
or publish: the caller publishes when the future is done. On the loop. Fails with ``StoreError``,
and then nothing of the change was applied; ``PolicyConflict`` when somebody else changed the policy
first.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from engine.database import DatabaseReader, DatabaseWriter, read_generation
from engine.journal import Journal, MirroredRow, unknown_rows
from engine.model.commands import CommandNote
from engine.model.emergency import Clearing, Trip
from engine.model.emergency_sets import EmergencySets
from engine.model.events import Event
from engine.model.ids import ClientOrderId, TradeId
from engine.model.orders import (
    Fill,
    Intent,
    OrderRecord,
    PositionRecord,
    TradeRecord,
)
from engine.model.policy import PolicyDocument
from engine.model.records import AlarmRecord, AuditEntry, AuditWords, EquityMark
from engine.trade_state import audit, changes, command_table, taking_back
from engine.trade_state.command_table import CommandTable
from engine.trade_state.history import TradeHistory
from engine.trade_state.loading import OpenState, load_open
from engine.trade_state.taking_back import TakeBackFrom, TakenChanges

__all__ = ["BookedFill", "Replacement", "TradeStore"]

T = TypeVar("T")


class BookedFill(Protocol):
    """What one fill does to the books, by shape: the ledger's plan is one.

    `closed` is the trade that ended with it, `trade` the one open after it; `totals` the account's.
    """

    @property
    def fill(self) -> Fill: ...

    @property
    def position(self) -> PositionRecord: ...

    @property
    def trade(self) -> TradeRecord | None: ...

    @property
    def closed(self) -> TradeRecord | None: ...

    @property
    def totals(self) -> msgspec.Struct: ...


class Replacement(Protocol):
    """What a true execution changes that replaces an inferred one, by shape: the ledger's plan is
    one. Position and trade are None when flat.
    """

    @property
    def fill(self) -> Fill: ...

    @property
    def position(self) -> PositionRecord | None: ...

    @property
    def trade(self) -> TradeRecord | None: ...

    @property
    def totals(self) -> msgspec.Struct: ...


class TradeStore:
    """The state of one node in one database."""

    def __init__(
        self, *, writer: DatabaseWriter, reader: DatabaseReader, journal: Journal, node: str
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._journal = journal
        self._node = node
        self.history = TradeHistory(reader=reader)
        self.commands = CommandTable(writer=writer, reader=reader)

    # --- orders ----------------------------------------------------------------------------------

    def record_intent(self, intent: Intent, events: Sequence[Event]) -> asyncio.Future[None]:
        """Make an intent durable. An id that exists is refused.

        Its order has no row of its own until its first transition: an order waits for this commit,
        and every page of it counts. `load_open` gives it as an order in state intended.
        """
        return self._change(
            lambda connection: changes.put_intent(connection, intent, node=self._node), events
        )

    def record_order(self, order: OrderRecord, events: Sequence[Event]) -> asyncio.Future[None]:
        """Replace what is known of an order; an adopted one needs no intent of ours."""
        return self._change(lambda connection: changes.put_order(connection, order), events)

    def record_fill(
        self, order: OrderRecord, booked: BookedFill, events: Sequence[Event]
    ) -> asyncio.Future[bool]:
        """Book an execution: fill, order, position, trades and totals together. False when
        known."""

        def change(connection: sqlite3.Connection) -> bool:
            if not changes.put_fill(connection, booked.fill):
                return False
            changes.put_order(connection, order)
            changes.put_position(connection, booked.position)
            for trade in (booked.closed, booked.trade):
                if trade is not None:
                    changes.put_trade(connection, trade)
            changes.put_totals(connection, booked.totals)
            self._journal.append_in(connection, events)
            return True

        return self._writer.submit(change)

    def record_replacement(
        self,
        order: OrderRecord,
        replacement: Replacement,
        inferred: Fill,
        events: Sequence[Event],
    ) -> asyncio.Future[bool]:
        """A true execution took the place of (a part of) an inferred fill, of which `inferred` is
        what is left. False when the execution is known."""

        def change(connection: sqlite3.Connection) -> bool:
            if not changes.put_fill(connection, replacement.fill):
                return False
            changes.replace_inferred(connection, inferred)
            changes.put_order(connection, order)
            if replacement.position is not None:
                changes.put_position(connection, replacement.position)
            if replacement.trade is not None:
                changes.put_trade(connection, replacement.trade)
            changes.put_totals(connection, replacement.totals)
            self._journal.append_in(connection, events)
            return True

        return self._writer.submit(change)

    # --- trades ----------------------------------------------------------------------------------

    def save(self, trade: TradeRecord, events: Sequence[Event] = ()) -> asyncio.Future[None]:
        """Insert or replace a trade."""
        return self._change(lambda connection: changes.put_trade(connection, trade), events)

    async def get(self, trade_id: TradeId) -> TradeRecord | None:
        rows = await self._reader.fetch_all(
            "SELECT record FROM trades WHERE trade_id = ?", (trade_id,)
        )
        return msgspec.json.decode(rows[0][0], type=TradeRecord) if rows else None

    def delete(self, trade_id: TradeId) -> asyncio.Future[bool]:
        """Remove a trade; False when there was none."""
        return self._writer.submit(lambda connection: changes.delete_trade(connection, trade_id))

    def import_trades(
        self, trades: Sequence[TradeRecord], *, who: str, what: str, why: str, ts_ns: int
    ) -> asyncio.Future[tuple[TradeId, ...]]:
        """Insert those whose id is new, audited, all in one transaction; returns the ids that were
        known and were left as they are."""

        def change(connection: sqlite3.Connection) -> tuple[TradeId, ...]:
            known = tuple(
                trade.trade_id for trade in trades if not changes.put_new_trade(connection, trade)
            )
            audit.append(connection, who=who, what=what, why=why, where="import", ts_ns=ts_ns)
            return known

        return self._writer.submit(change)

    async def list_open_trades(self) -> list[TradeRecord]:
        """Oldest first."""
        rows = await self._reader.fetch_all(
            "SELECT record FROM trades WHERE closed_ns IS NULL ORDER BY opened_ns, trade_id"
        )
        return [msgspec.json.decode(row[0], type=TradeRecord) for row in rows]

    # --- account ---------------------------------------------------------------------------------

    def record_equity_mark(
        self, mark: EquityMark, totals: msgspec.Struct, events: Sequence[Event] = ()
    ) -> asyncio.Future[None]:
        """A point of the equity curve, with the totals (and so the peak) of that moment."""

        def change(connection: sqlite3.Connection) -> None:
            changes.put_equity_mark(connection, mark)
            changes.put_totals(connection, totals)

        return self._change(change, events)

    def record_totals(
        self,
        totals: msgspec.Struct,
        events: Sequence[Event] = (),
        *,
        positions: Iterable[PositionRecord] = (),
        trades: Iterable[TradeRecord] = (),
        standing: Mapping[str, str] | None = None,
    ) -> asyncio.Future[None]:
        """Funding, a transfer, a re-base: totals, with the positions and trades they touch, and
        with what must be remembered of it.
        """
        touched, of_trades = tuple(positions), tuple(trades)
        remembered = dict(standing or {})

        def change(connection: sqlite3.Connection) -> None:
            for position in touched:
                changes.put_position(connection, position)
            for trade in of_trades:
                changes.put_trade(connection, trade)
            for name, value in remembered.items():
                changes.put_standing(connection, name, value)
            changes.put_totals(connection, totals)

        return self._change(change, events)

    # --- policy and emergency
    # ----------------------------------------------------------------------

    def record_policy_version(
        self,
        document: PolicyDocument,
        expected_version: int,
        events: Sequence[Event] = (),
        *,
        heads: str = "",
        origin: str = "policy",
        command: CommandNote | None = None,
    ) -> asyncio.Future[None]:
        """Compare and set: `PolicyConflict` unless the newest version is `expected_version` (0:
        none). The audit entry, which names the origin, and the heads that the document follows
        from (JSON) are part of the change, and so is the command that asked for it."""

        def change(connection: sqlite3.Connection) -> None:
            changes.put_policy(connection, document, expected_version=expected_version)
            if heads:
                changes.put_policy_heads(connection, heads, version=document.version)
            audit.append(
                connection,
                who=document.author,
                what=f"policy version {document.version}",
                why=document.reason,
                where=origin,
                ts_ns=document.ts_ns,
            )

        return self._change(change, events, command=command)

    def record_policy_heads(
        self, heads: str, *, version: int, events: Sequence[Event] = ()
    ) -> asyncio.Future[None]:
        """Revisions of other nodes that change nothing of what is in force here."""
        return self._change(
            lambda connection: changes.put_policy_heads(connection, heads, version=version), events
        )

    async def policy_line(self, *, node: str, new_line: str) -> str:
        """Under which name this database counts its changes of the policy."""
        return await self._writer.submit(
            lambda connection: changes.settle_policy_line(connection, node=node, new_line=new_line)
        )

    def record_trip(self, trip: Trip, events: Sequence[Event] = ()) -> asyncio.Future[bool]:
        """Remember a trip; False, and no events, when it is known."""
        return self._change_once(lambda connection: changes.put_trip(connection, trip), events)

    def record_trip_of_command(
        self, trip: Trip, command: CommandNote, *, audited: AuditWords
    ) -> asyncio.Future[None]:
        """A trip that a command asked for, known or new, with the command and its audit entry."""

        def change(connection: sqlite3.Connection) -> None:
            changes.put_trip(connection, trip)
            audit.append(connection, **msgspec.structs.asdict(audited))

        return self._change(change, (), command=command)

    def record_clearing(
        self, clearing: Clearing, events: Sequence[Event] = ()
    ) -> asyncio.Future[bool]:
        """Remember a reset; False, and no events, when it is known."""
        return self._change_once(
            lambda connection: changes.put_clearing(connection, clearing), events
        )

    def record_emergency(
        self, found: EmergencySets, events: Sequence[Event] = (), *, where: str, ts_ns: int
    ) -> asyncio.Future[None]:
        """Remember trips and clearings, each with its audit entry, in one transaction; those that
        are known are left as they are.
        """

        def change(connection: sqlite3.Connection) -> None:
            for trip in found.trips.values():
                if changes.put_trip(connection, trip):
                    who, what, why = _trip_words(trip)
                    audit.append(connection, who=who, what=what, why=why, where=where, ts_ns=ts_ns)
            for one in found.clearings.values():
                if changes.put_clearing(connection, one):
                    who, what, why = _clearing_words(one)
                    audit.append(connection, who=who, what=what, why=why, where=where, ts_ns=ts_ns)

        return self._change(change, events)

    def repair_emergency(
        self, wanted: EmergencySets, unwanted: EmergencySets, *, why: str, ts_ns: int
    ) -> asyncio.Future[None]:
        """Make the tables say again what the engine knows; what is taken out is kept in the audit
        trail, word by word.
        """

        def change(connection: sqlite3.Connection) -> None:
            for one in unwanted.clearings.values():
                changes.delete_clearing(connection, one)
                what = f"taken out: {msgspec.json.encode(one).decode()}"
                audit.append(
                    connection, who="engine", what=what, why=why, where="repair", ts_ns=ts_ns
                )
            for trip in wanted.trips.values():
                changes.put_trip(connection, trip, in_place=True)
            for one in wanted.clearings.values():
                changes.put_clearing(connection, one, in_place=True)
            names = [*(f"trip {id}" for id in sorted(wanted.ids)), *_names(wanted)]
            if names:
                what = f"put back: {', '.join(names)}"
                audit.append(
                    connection, who="engine", what=what, why=why, where="repair", ts_ns=ts_ns
                )

        return self._change(change, ())

    # --- audit and alarms
    # --------------------------------------------------------------------------

    def append_audit(
        self, *, who: str, what: str, why: str, where: str, ts_ns: int
    ) -> asyncio.Future[AuditEntry]:
        """Add a link to the audit chain."""
        return self._writer.submit(
            lambda connection: audit.append(
                connection, who=who, what=what, why=why, where=where, ts_ns=ts_ns
            )
        )

    def record_standing(
        self,
        name: str,
        value: str | None,
        events: Sequence[Event] = (),
        *,
        audited: AuditWords | None = None,
        command: CommandNote | None = None,
    ) -> asyncio.Future[None]:
        """Remember what an operator said beyond a restart, with its audit entry and the command
        that it came by; None forgets it."""

        def change(connection: sqlite3.Connection) -> None:
            changes.put_standing(connection, name, value)
            if audited is not None:
                audit.append(connection, **msgspec.structs.asdict(audited))

        return self._change(change, events, command=command)

    def record_command(
        self,
        command: CommandNote,
        events: Sequence[Event] = (),
        *,
        audited: AuditWords | None = None,
    ) -> asyncio.Future[None]:
        """A command whose whole effect on the disk are `events`; CommandKnown when it was done."""

        def change(connection: sqlite3.Connection) -> None:
            if audited is not None:
                audit.append(connection, **msgspec.structs.asdict(audited))

        return self._change(change, events, command=command)

    async def verify_audit(self) -> int | None:
        """The first broken link of the audit trail, or None when it is unbroken."""
        return await self.history.verify_audit()

    def record_alarm(
        self, alarm: AlarmRecord, events: Sequence[Event] = ()
    ) -> asyncio.Future[None]:
        """Insert or replace an alarm by its id."""
        return self._change(lambda connection: changes.put_alarm(connection, alarm), events)

    # --- what was lost and Redis still has
    # -------------------------------------------------------------------------------------

    def take_back(
        self, batch: TakenChanges, rows: Sequence[MirroredRow], *, begun: TakeBackFrom
    ) -> asyncio.Future[int]:
        """Put state and journal rows back; how many rows had no room. Before the journal opens."""
        return self._writer.submit(
            lambda connection: taking_back.put_batch(
                connection, batch, rows, node=self._node, begun=begun
            )
        )

    def unknown_of(self, rows: Sequence[MirroredRow]) -> asyncio.Future[tuple[MirroredRow, ...]]:
        """Those whose event this database does not have."""
        return self._writer.submit(lambda connection: unknown_rows(connection, rows))

    def order_of(self, client_order_id: ClientOrderId) -> asyncio.Future[OrderRecord | None]:
        """An order by its id, open or not."""
        return self._writer.submit(
            lambda connection: changes.get_order(connection, client_order_id)
        )

    def end_taking_back(
        self, *, standing: str, text: str, taken: str, ts_ns: int
    ) -> asyncio.Future[None]:
        """Nothing more is taken back; `text` is what the operator's word `standing` says now."""
        return self._writer.submit(
            lambda connection: taking_back.end(
                connection, standing=standing, text=text, taken=taken, ts_ns=ts_ns
            )
        )

    # --- start
    # -------------------------------------------------------------------------------------

    async def load_open(self) -> OpenState:
        """Everything a start needs, from one moment, for the generation of this database."""
        return await self._writer.submit(
            lambda connection: load_open(connection, generation=read_generation(connection))
        )

    def _change(
        self,
        change: Callable[[sqlite3.Connection], None],
        events: Sequence[Event],
        *,
        command: CommandNote | None = None,
    ) -> asyncio.Future[None]:
        def job(connection: sqlite3.Connection) -> None:
            if command is not None:
                command_table.put(connection, command.record)
            change(connection)
            self._journal.append_in(connection, events)
            if command is not None and command.event is not None:
                self._journal.append_in(connection, (command.event,))

        return self._writer.submit(job)

    def _change_once(
        self, change: Callable[[sqlite3.Connection], bool], events: Sequence[Event]
    ) -> asyncio.Future[bool]:
        def job(connection: sqlite3.Connection) -> bool:
            is_new = change(connection)
            if is_new:
                self._journal.append_in(connection, events)
            return is_new

        return self._writer.submit(job)


def _trip_words(trip: Trip) -> tuple[str, str, str]:
    what = f"trip {trip.id} of node {trip.node}, scope {trip.scope.value}"
    return trip.source.value, what, trip.reason


def _clearing_words(clearing: Clearing) -> tuple[str, str, str]:
    what = f"reset of {', '.join(clearing.trips)} at node {clearing.node}"
    return clearing.author, what, f"{clearing.cause}: {clearing.reason}"


def _names(found: EmergencySets) -> list[str]:
    return [f"clearing {one.id}" for one in found.clearings.values()]
