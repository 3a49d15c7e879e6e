"""Names of everything in the data directory (contract.md, On disk). Owner-only permissions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Paths below one data directory."""

    root: Path

    @property
    def state_db(self) -> Path:
        return self.root / "state.db"

    @property
    def state_wal(self) -> Path:
        return self.root / "state.db-wal"

    @property
    def paper_db(self) -> Path:
        return self.root / "paper.db"

    @property
    def latch(self) -> Path:
        return self.root / "latch"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def create(self) -> None:
        """Make the folders, readable by their owner only."""
        for folder in (self.root, self.backups, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            if os.name == "posix":
                folder.chmod(0o700)

    @property
    def has_books(self) -> bool:
        """The venue's books or a backup are here, so there was a state database too."""
        has_backups = self.backups.is_dir() and any(self.backups.iterdir())
        return self.paper_db.exists() or has_backups

    @property
    def is_new(self) -> bool:
        """Nothing of ours is here yet: the only case in which an armed latch may be created."""
        return not (self.state_db.exists() or self.has_books)


__all__ = ["DataDirectory"]
