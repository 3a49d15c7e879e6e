"""SQLite: one writer thread with group commit, readers beside it, migrations, integrity, backups,
lock.

Its one rule: nothing touches the disk on the loop, and nothing is said to be done before it is
committed.
"""

from engine.database.backups import BackupFolder
from engine.database.connections import check_integrity
from engine.database.data_dir_lock import DataDirLock
from engine.database.generation import read_generation, write_generation
from engine.database.group_commit import CommitParticipant, Job, is_disk_fault, one_statement
from engine.database.migrations import Migration, load_migrations
from engine.database.reader import DatabaseReader
from engine.database.restoring import RestorePlan, is_damage, plan_restore, restore
from engine.database.writer import (
    DatabaseWriter,
    WriterHealth,
    WriterStatistics,
)

__all__ = [
    "BackupFolder",
    "CommitParticipant",
    "DataDirLock",
    "DatabaseReader",
    "DatabaseWriter",
    "Job",
    "Migration",
    "RestorePlan",
    "WriterHealth",
    "WriterStatistics",
    "check_integrity",
    "is_damage",
    "is_disk_fault",
    "load_migrations",
    "one_statement",
    "plan_restore",
    "read_generation",
    "restore",
    "write_generation",
]
