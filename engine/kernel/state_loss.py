"""What a start does when the state database is damaged, gone, or older than it was.

Damaged or gone: the newest good backup takes its place (`engine.database.restoring`); without one
the start is refused, and nothing is changed. Older than it was (somebody put an old copy in its
place, or its WAL is missing after a crash): it is used, as far as it goes. Either way the database
gets a generation above any that was ever used here, so that no client order id is used twice; what
the venue knows is booked by the reconciliation that every start makes; and trading waits for START,
because holds, resets and policy changes since then may be missing. Blocks on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from engine.database import (
    BackupFolder,
    Migration,
    plan_restore,
    restore,
)
from engine.kernel.data_directory import DataDirectory
from engine.kernel.standing import NEEDS_START
from engine.latch import LatchFile, LatchState
from engine.model.errors import DatabaseCorrupt
from engine.trade_state import LossNote


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLoss:
    """What was lost and what was done about it, for the alarm and for the state's why."""

    text: str
    # Whether all that Redis had was read, and how long it took; None when there was none to ask.
    taken_ok: bool | None = None
    taken_ms: float = 0.0


def found_missing(directory: DataDirectory) -> str:
    """Why there must have been a state database that is not there any more; "" if all is well.

    A first start that was killed leaves none either, but then nothing else is here yet.
    """
    database = directory.state_db
    if database.is_file() and database.stat().st_size:
        return ""
    word = "empty" if database.is_file() else "missing"
    wal = directory.state_wal
    has_history = directory.has_books or (wal.is_file() and wal.stat().st_size > 0)
    return f"{database.name} is {word}" if has_history else ""


def older_than_it_was(
    directory: DataDirectory, generation: int, latch_state: LatchState, *, wal_lost: bool
) -> str:
    """Why the database with this generation is not the newest one; "" if it is."""
    name = directory.state_db.name
    if generation < latch_state.generation:
        return (
            f"{name} is of generation {generation} and the latch file knows"
            f" {latch_state.generation}: an older copy was put in its place"
        )
    if wal_lost:
        return (
            f"{name}-wal is missing although the last engine was not stopped in order: the newest"
            " changes are lost"
        )
    return ""


def restore_backup(
    directory: DataDirectory,
    *,
    backups: BackupFolder,
    migrations: Sequence[Migration],
    latch: LatchFile,
    latch_state: LatchState,
    damage: str,
    now_ns: int,
) -> tuple[StateLoss, LatchState]:
    """Put the newest good backup in place; returns the latch with its new generation.

    Raises `DatabaseCorrupt`, which says what can be done.
    """
    plan = plan_restore(
        directory.state_db,
        backups,
        migrations=migrations,
        above_generation=latch_state.generation,
    )
    if plan is None:
        raise DatabaseCorrupt(
            f"{damage}, and there is no good backup in {directory.backups}. Nothing was changed."
            " If you have a copy, put it there under its own name (state-<time>-g<generation>.db)"
            " and start again. To begin anew, move the whole directory away; positions stay open"
            " at the venue, and `seawall panic` still closes them from here."
        )
    if not latch_state.damage:
        # A damaged one stays damaged until a reset; the stop writes its generation then.
        latch_state = latch.update(
            lambda old: replace(old, generation=max(old.generation, plan.generation))
        )
    made = datetime.fromtimestamp(plan.made_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    text = (
        f"{damage}; restored from the backup of {made}. Compare policy, holds and positions, then"
        " START"
    )
    restore(
        plan,
        directory.state_db,
        migrations=migrations,
        now_ns=now_ns,
        note=loss_note(text, now_ns=now_ns),
    )
    return StateLoss(text=text), latch_state


def loss_note(text: str, *, now_ns: int) -> LossNote:
    """Audits it, and lets trading wait for START."""
    return LossNote(standing=NEEDS_START, text=text, ts_ns=now_ns)


__all__ = [
    "StateLoss",
    "found_missing",
    "loss_note",
    "older_than_it_was",
    "restore_backup",
]
