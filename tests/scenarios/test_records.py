"""Stories of the records an operator lives by: backups on the real kernel."""

from __future__ import annotations

from engine.database import check_integrity
from engine.kernel.verbs import Verbs
from tests.desk import Desk, story


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
