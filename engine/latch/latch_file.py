"""The latch file: two checksummed slots in a preallocated file, overwritten in place.

Why so: a stop must be recordable on a full disk, and must survive a power cut in the middle of
being recorded. Overwriting in place needs no free space; two slots mean that a write never touches
the newest good record.

Layout: two slots of 16 KiB. A slot is magic (8 bytes), sequence (u64), body length (u32), SHA-256
over sequence, length and body (32 bytes), then the JSON body. Little-endian. A write goes to the
slot with the older sequence, numbered one above the newer, and is synced before it is said to be
done.

How it is read: the file counts only if both slots are intact and their sequences are neighbours;
then the newer one is the truth. Everything else means LATCHED. In particular one intact slot is
*not* enough: a write always goes to the older slot, so a slot that fails its checksum was being
replaced by something newer than the one that is left, and that something may have been the stop
itself. The surviving slot still lends its generation, owner, fence, trips and pause, since they are
the best that is known. An abandoned write that was not the stop therefore latches too: that costs
one reset by a person, the other error costs money.

How it heals: a write that completes leaves two intact neighbouring slots, whatever was there
before. A torn slot is the first to be overwritten; when both are bad both are written, and until
the second is synced the file still reads as latched. A missing file or one of a wrong size is
replaced whole (temporary file, sync, rename).

Threads and processes: every method may be called from any thread and blocks on the disk, so never
from the loop. Writers of several processes (engine, guard, offline panic) take an advisory lock for
at most 250 ms and then go on without it, because a frozen process must not be able to keep a stop
from being recorded; two writers at once can at worst tear a slot, which reads as latched. Readers
take no lock: a reading that is damaged is repeated for a few milliseconds, in case it met a write
in flight.

Fails: ``read`` never raises. ``write`` and ``update`` raise ``OSError`` when the disk refuses, and
what was there before then still counts or reads as latched. File systems that copy on write (btrfs,
ZFS) may need free space to overwrite; the latch in memory does not depend on the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from engine.latch.latch_state import LatchState, StopState, decode, encode

if sys.platform != "win32":
    import fcntl

__all__ = ["LatchFile", "may_create"]

_MAGIC: Final = b"SWLATCH1"
_HEADER: Final = struct.Struct("<8sQI32s")
_SEALED: Final = struct.Struct("<QI")
_SLOT_BYTES: Final = 16 * 1024
_SLOTS: Final = 2
_FILE_BYTES: Final = _SLOTS * _SLOT_BYTES
_BODY_BYTES_MAX: Final = _SLOT_BYTES - _HEADER.size
_OWNER_ONLY: Final = 0o600
_LOCK_TRIES: Final = 125
_READ_TRIES: Final = 5
_RETRY_S: Final = 0.002
_BOOKS: Final = ("state.db", "paper.db")
_BACKUPS: Final = "backups"
_OPEN_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

assert _LOCK_TRIES * _RETRY_S <= 0.25


class _Slot(NamedTuple):
    sequence: int
    state: LatchState


class _Reading(NamedTuple):
    """Both slots as found (``None``: not intact), and why the file has to be replaced whole, if it
    has."""

    slots: tuple[_Slot | None, _Slot | None]
    unusable: str = ""


def may_create(data_dir: Path) -> bool:
    """Whether a latch may be created armed here: only when the data directory has no history at
    all.

    A latch that is missing beside books means that somebody removed it, and then it counts as
    latched.
    """
    if not data_dir.exists():
        return True
    for entry in data_dir.iterdir():
        # state.db-wal without its database is history too; an empty folder for backups is not.
        if entry.name.startswith(_BOOKS) or (entry.name == _BACKUPS and any(entry.iterdir())):
            return False
    return True


class LatchFile:
    """Reads and writes the latch file. One object per process is enough; it may be shared by
    threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        return self._path

    def create_armed(self, *, generation: int, owner: str, written_ns: int) -> LatchState:
        """Create the file, armed. Only together with a new data directory: ask ``may_create``
        first.

        Raises ``FileExistsError`` when there is a file already: what it says is never overwritten
        by this.
        """
        state = LatchState(
            state=StopState.ARMED,
            latched=False,
            generation=generation,
            owner=owner,
            written_ns=written_ns,
        )
        with self._lock:
            if os.path.lexists(self._path):
                raise FileExistsError(f"there is a latch file already: {self._path}")
            self._replace_whole(state)
        return state

    def read(self) -> LatchState:
        """What the file says. Never raises: what cannot be read is latched, and ``damage`` says
        why."""
        found = _judge(self._scan())
        for _ in range(_READ_TRIES - 1):
            if not found.damage:
                break
            time.sleep(_RETRY_S)
            found = _judge(self._scan())
        return found

    def write(self, state: LatchState) -> None:
        """Make ``state`` what the file says, synced to the disk when this returns."""
        self.update(lambda _: state)

    def update(self, change: Callable[[LatchState], LatchState]) -> LatchState:
        """Read, change and write as one step against other processes; returns what was written.

        ``change`` is given what ``read`` would say, damage included, and the damage is healed by
        the write.
        """
        with self._lock, self._exclusive():
            reading = self._scan()
            state = change(_judge(reading))
            if reading.unusable:
                self._replace_whole(state)
            else:
                self._write_slots(reading, state)
        return state

    def _write_slots(self, reading: _Reading, state: LatchState) -> None:
        body = encode(state, size_max=_BODY_BYTES_MAX)
        first, second = reading.slots
        newest = max((slot.sequence for slot in reading.slots if slot), default=0)
        target = 0 if first is None or (second and first.sequence < second.sequence) else 1
        other = reading.slots[1 - target]
        fd = os.open(self._path, os.O_RDWR | _OPEN_FLAGS)
        try:
            _write_at(fd, target * _SLOT_BYTES, _seal(newest + 1, body))
            os.fsync(fd)
            if other is None:
                _write_at(fd, (1 - target) * _SLOT_BYTES, _seal(newest + 2, body))
                os.fsync(fd)
        finally:
            os.close(fd)

    def _replace_whole(self, state: LatchState) -> None:
        """A new file with the state in both slots, every byte written so that later writes need no
        space."""
        body = encode(state, size_max=_BODY_BYTES_MAX)
        content = bytearray(_FILE_BYTES)
        for index in range(_SLOTS):
            record = _seal(index + 1, body)
            content[index * _SLOT_BYTES : index * _SLOT_BYTES + len(record)] = record
        temporary = self._path.with_name(self._path.name + ".new")
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | _OPEN_FLAGS, _OWNER_ONLY)
        try:
            os.chmod(temporary, _OWNER_ONLY)
            _write_at(fd, 0, bytes(content))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, self._path)
        _sync_directory(self._path.parent)

    def _scan(self) -> _Reading:
        """Both slots as they are on the disk now."""
        nothing = (None, None)
        try:
            fd = os.open(self._path, os.O_RDONLY | _OPEN_FLAGS)
        except FileNotFoundError:
            return _Reading(nothing, "the latch file is missing")
        except OSError as error:
            return _Reading(nothing, f"the latch file cannot be opened: {error}")
        try:
            content = _read_all(fd, _FILE_BYTES + 1)
        except OSError as error:
            return _Reading(nothing, f"the latch file cannot be read: {error}")
        finally:
            os.close(fd)
        unusable = ""
        if len(content) != _FILE_BYTES:
            unusable = f"the latch file has {len(content)} bytes instead of {_FILE_BYTES}"
            content = content.ljust(_FILE_BYTES, b"\0")
        first, second = content[:_SLOT_BYTES], content[_SLOT_BYTES:_FILE_BYTES]
        return _Reading((_parse(first), _parse(second)), unusable)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keep other processes' writers out, for as long as it is worth waiting for them."""
        if sys.platform == "win32":
            yield
            return
        fd = -1
        try:
            # A directory can be locked like a file, is always there, and is not replaced as the
            # file may be.
            fd = os.open(self._path.parent, os.O_RDONLY | _OPEN_FLAGS)
            for _ in range(_LOCK_TRIES):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_RETRY_S)
        except OSError:
            # No lock to be had (out of descriptors, a file system without locks): record the stop
            # all the same.
            pass
        try:
            yield
        finally:
            if fd >= 0:
                os.close(fd)


def _judge(reading: _Reading) -> LatchState:
    """The rule of the module's docstring, in one place."""
    intact = sorted((slot for slot in reading.slots if slot), key=lambda slot: slot.sequence)
    sequences = [slot.sequence for slot in intact]
    why = reading.unusable
    if not why and not intact:
        why = "both slots of the latch file fail their checksum"
    elif not why and len(intact) < _SLOTS:
        why = "one slot of the latch file fails its checksum: a newer record was lost"
    elif not why and sequences[1] != sequences[0] + 1:
        why = f"the slots of the latch file are not neighbours: {sequences}"
    if not intact:
        return LatchState.unknown(why)
    return intact[-1].state.as_damaged(why) if why else intact[-1].state


def _seal(sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, sequence, len(body), _digest(sequence, body)) + body


def _parse(slot: bytes) -> _Slot | None:
    magic, sequence, length, digest = _HEADER.unpack_from(slot)
    if magic != _MAGIC or length > _BODY_BYTES_MAX:
        return None
    body = slot[_HEADER.size : _HEADER.size + length]
    if _digest(sequence, body) != digest:
        return None
    try:
        return _Slot(sequence, decode(body))
    except ValueError:
        return None


def _digest(sequence: int, body: bytes) -> bytes:
    return hashlib.sha256(_SEALED.pack(sequence, len(body)) + body).digest()


def _write_at(fd: int, offset: int, data: bytes) -> None:
    os.lseek(fd, offset, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _read_all(fd: int, size_max: int) -> bytes:
    content = b""
    while len(content) < size_max:
        block = os.read(fd, size_max - len(content))
        if not block:
            break
        content += block
    return content


def _sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut, where directories can be synced at all."""
    if sys.platform == "win32":
        return
    fd = os.open(directory, os.O_RDONLY | _OPEN_FLAGS)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
