"""Stories of the records an operator lives by: backups and dead letters on the real kernel."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from engine.database import check_integrity
from engine.kernel.verbs import Verbs
from engine.model.config import JournalSection
from engine.model.errors import OperatorMessage
from engine.model.values import Side
from tests.desk import BTC, ETH, Desk, story


@story()
async def test_a_start_makes_a_backup_and_an_operator_another(desk: Desk) -> None:
    """Goal: there is always something to restore, and its age is seen. Method: verb and status."""
    backups = desk.kernel.parts.backups
    await desk.until(lambda: backups.newest is not None)
    first = backups.newest
    assert first is not None
    await desk.enter()
    verbs = Verbs(client=desk.kernel.client).table()
    made = await verbs["backup"]({"author": "mira", "reason": "before the weekend"})
    assert made["ok"]
    assert backups.newest is not None
    assert backups.newest.made_ns == backups.keep_since_ns == made["made_ns"] > first.made_ns
    assert check_integrity(backups.newest.path) == []
    safeguard = (await verbs["status"]({}))["safeguards"]["trade_state"]
    assert safeguard["state"] == "ACTIVE"
    assert backups.newest.path.name in safeguard["proof"]
    assert 0 <= safeguard["proof_age_s"] < 5
    entry = (await desk.kernel.parts.storage.store.history.audit())[-1]
    assert (entry.who, entry.why) == ("mira", "before the weekend")
    assert entry.what == f"backup {backups.newest.path.name}"


@story()
async def test_a_dead_letter_is_listed_and_sent_again_once(desk: Desk) -> None:
    """Goal: what Redis refused is not lost. Method: park a row, requeue it by the verb, twice."""
    parts = desk.kernel.parts
    journal, verbs = parts.storage.journal, Verbs(client=desk.kernel.client).table()
    assert await verbs["journal.list-dead"]({}) == {"dead_letters": []}
    parked = (await journal.read_batch(0, 1))[0]
    await journal.park(parked.seq, "the server said no")
    (listed,) = (await verbs["journal.list-dead"]({}))["dead_letters"]
    assert (listed["seq"], listed["event_id"]) == (parked.seq, parked.event_id)
    assert (listed["error"], listed["requeued_seq"]) == ("the server said no", None)
    answer = await verbs["journal.requeue"]({"seq": parked.seq, "author": "mira", "reason": "ok"})
    again = (await journal.read_batch(answer["new_seq"] - 1, 1))[0]
    assert (again.event_id, again.replaces) == (parked.event_id, parked.seq)
    with pytest.raises(OperatorMessage, match=f"no dead letter {parked.seq} to be requeued"):
        await verbs["journal.requeue"]({"seq": parked.seq})
    entry = (await parts.storage.store.history.audit())[-1]
    assert entry.what == f"requeue of dead letter {parked.seq} as {answer['new_seq']}"
    assert (entry.who, entry.why) == ("mira", "ok")


@story(start=False)
async def test_the_journal_keeps_what_is_younger_than_the_newest_backup(desk: Desk) -> None:
    """Goal: a restored state can be brought up to date. Method: rows too old at once, and time."""
    configuration = msgspec.structs.replace(
        desk.options.configuration, journal=JournalSection(max_age=0)
    )
    desk.options = dataclasses.replace(desk.options, configuration=configuration)
    await desk.open()
    parts = desk.kernel.parts
    await desk.enter(Side.BUY, BTC)
    await parts.backups.back_up()
    await desk.enter(Side.SELL, ETH)
    made_ns, tail_seq = parts.backups.keep_since_ns, parts.storage.journal.tail_seq()
    await desk.sleep(310)
    rows = await parts.storage.journal.read_batch(0)
    assert 1 < rows[0].seq <= tail_seq
    assert rows[0].ts_ns >= made_ns
    assert [row.seq for row in rows if row.seq <= tail_seq] == list(
        range(rows[0].seq, tail_seq + 1)
    )
