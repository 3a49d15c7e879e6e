"""The records of a data directory while no engine runs on it: its backups.

Writers take the data directory's lock, so no engine can start meanwhile, and one that runs refuses
them. Blocks on the disk: for the command line, which has no loop. Times UTC nanoseconds. Fails:
`DataDirectoryInUse`, `StoreError`, and `OperatorMessage` where there is nothing to work on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.database import BackupFolder, DataDirLock
from engine.kernel.backup_keeper import Backup, backup_json
from engine.kernel.data_directory import DataDirectory
from engine.model.config import Configuration
from engine.model.errors import OperatorMessage
from engine.runtime import SystemClock


def back_up_offline(data_dir: Path, configuration: Configuration) -> dict[str, Any]:
    """Make a backup under the lock."""
    directory = _directory(data_dir)
    with DataDirLock(data_dir, purpose="backup"):
        folder = BackupFolder(directory.backups, keep=configuration.backup.keep)
        path = folder.back_up(directory.state_db, now_ns=SystemClock().now_ns())
        return backup_json(Backup(path=path, made_ns=folder.made_ns(path)))


def _directory(data_dir: Path) -> DataDirectory:
    directory = DataDirectory(data_dir)
    if not directory.state_db.is_file():
        raise OperatorMessage(f"there is no state database in {data_dir}")
    return directory


__all__ = ["back_up_offline"]
