"""What the self-test asks of the files: are the databases sound, is an unreadable latch a stop?

Thread: call off the loop; the disk is read and written. Fails: a finding is a sentence and an empty
list means sound; OSError where the disk refuses.
"""

from __future__ import annotations

from pathlib import Path

from engine.database import check_integrity
from engine.kernel.data_directory import DataDirectory
from engine.latch import LatchFile, LatchState, StopState


def database_findings(data_dir: Path) -> list[str]:
    """What is wrong with the state database and the paper venue's books."""
    directory = DataDirectory(data_dir)
    return [
        f"{path.name}: {finding}"
        for path in (directory.state_db, directory.paper_db)
        for finding in check_integrity(path)
    ]


def latch_findings(folder: Path) -> list[str]:
    """Write and read a latch in an empty folder: armed, latched, damaged, gone."""
    latch = LatchFile(DataDirectory(folder).latch)
    armed = latch.create_armed(generation=1, owner="selftest", written_ns=0)
    findings = _unlike("a new latch", armed, latch.read())
    stopped = LatchState(
        state=StopState.FLATTENING, latched=True, generation=1, owner="selftest", written_ns=1
    )
    latch.write(stopped)
    findings += _unlike("a latch after a stop", stopped, LatchFile(latch.path).read())
    latch.write(armed)
    with latch.path.open("r+b") as file:
        file.write(bytes(64))
    damaged = latch.read()
    if not (damaged.latched and damaged.damage):
        findings.append("a damaged latch file does not read as latched")
    latch.path.unlink()
    if not latch.read().latched:
        findings.append("a missing latch file does not read as latched")
    return findings


def _unlike(what: str, wanted: LatchState, found: LatchState) -> list[str]:
    return [] if found == wanted else [f"{what} reads back as {found}"]


__all__ = ["database_findings", "latch_findings"]
