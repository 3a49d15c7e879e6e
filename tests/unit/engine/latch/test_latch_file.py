"""The latch file: a stop is recorded whatever the disk does, and what cannot be read is latched."""

from __future__ import annotations

import os
import random
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.latch import LatchFile, LatchState, LatchTrip, StopState, may_create
from engine.latch.latch_state import decode, encode

SLOT_BYTES = 16 * 1024
FILE_BYTES = 2 * SLOT_BYTES
TRIP = LatchTrip(trip_id="t-1", source="button", reason="operator", ts_ns=17, scope="node")


@pytest.fixture
def latch(tmp_path: Path) -> LatchFile:
    file = LatchFile(tmp_path / "latch")
    file.create_armed(generation=3, owner="engine-1", written_ns=10)
    return file


def latched(state: LatchState, *, at_ns: int = 20) -> LatchState:
    return replace(state, state=StopState.FLATTENING, latched=True, trips=(TRIP,), written_ns=at_ns)


def test_created_armed_and_read_back(latch: LatchFile) -> None:
    state = latch.read()
    assert state == LatchState(
        state=StopState.ARMED, latched=False, generation=3, owner="engine-1", written_ns=10
    )


def test_everything_written_is_read_back_by_another_object(latch: LatchFile) -> None:
    written = replace(latched(latch.read()), fence=4, paused=True, owner="guard")
    latch.write(written)
    assert LatchFile(latch.path).read() == written


def test_only_the_owner_may_read_it(latch: LatchFile) -> None:
    assert stat.S_IMODE(latch.path.stat().st_mode) == 0o600


def test_it_is_never_created_over_an_existing_one(latch: LatchFile) -> None:
    latch.write(latched(latch.read()))
    with pytest.raises(FileExistsError):
        latch.create_armed(generation=4, owner="engine-2", written_ns=30)
    assert latch.read().latched


@pytest.mark.parametrize(
    "history", ["state.db", "paper.db", "backups/state-1-g1.db", "state.db-wal"]
)
def test_may_be_created_only_where_there_is_no_history(tmp_path: Path, history: str) -> None:
    assert may_create(tmp_path / "not there yet")
    (tmp_path / "backups").mkdir()
    assert may_create(tmp_path)
    (tmp_path / history).touch()
    assert not may_create(tmp_path)


def test_missing_means_latched_and_a_write_heals_it(latch: LatchFile) -> None:
    armed = latch.read()
    latch.path.unlink()
    found = latch.read()
    assert found.latched
    assert "missing" in found.damage
    latch.write(armed)
    assert latch.read() == armed
    assert stat.S_IMODE(latch.path.stat().st_mode) == 0o600


def test_unreadable_means_latched(tmp_path: Path) -> None:
    (tmp_path / "latch").mkdir()
    found = LatchFile(tmp_path / "latch").read()
    assert found.latched
    assert found.damage


@pytest.mark.parametrize("size", [0, 1, 4096, SLOT_BYTES - 1, SLOT_BYTES, FILE_BYTES - 1])
def test_truncated_means_latched_and_heals(latch: LatchFile, size: int) -> None:
    os.truncate(latch.path, size)
    found = latch.read()
    assert found.latched
    assert found.state is StopState.INCOMPLETE
    assert str(size) in found.damage
    latch.write(replace(found, state=StopState.ARMED, latched=False, damage=""))
    assert not latch.read().latched


def test_longer_than_it_should_be_means_latched(latch: LatchFile) -> None:
    with latch.path.open("ab") as file:
        file.write(b"\0")
    assert latch.read().latched


@pytest.mark.parametrize("slot", [0, 1])
def test_one_torn_slot_is_latched_but_lends_what_it_knew(latch: LatchFile, slot: int) -> None:
    """The torn slot may have been the stop, so the surviving "armed" is not to be believed."""
    latch.write(replace(latch.read(), fence=7))
    latch.write(replace(latch.read(), fence=7, written_ns=11))
    corrupt(latch.path, slot * SLOT_BYTES + 30, b"\xff\xff")
    found = latch.read()
    assert found.latched
    assert found.state is StopState.INCOMPLETE
    assert (found.generation, found.owner, found.fence) == (3, "engine-1", 7)


def test_a_stop_under_way_stays_under_way_when_a_slot_is_torn(latch: LatchFile) -> None:
    latch.write(latched(latch.read()))
    latch.write(latched(latch.read()))
    corrupt(latch.path, 30, b"\xff\xff")
    found = latch.read()
    assert found.state is StopState.FLATTENING
    assert found.trips == (TRIP,)


def test_one_write_heals_one_or_two_torn_slots(latch: LatchFile) -> None:
    armed = latch.read()
    for torn in ([0], [1], [0, 1]):
        for slot in torn:
            corrupt(latch.path, slot * SLOT_BYTES + 30, b"\xff\xff")
        assert latch.read().latched
        latch.write(armed)
        assert latch.read() == armed


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_corruption_never_arms(tmp_path: Path, data: st.DataObject) -> None:
    """Goal: no damage makes an armed reading of a latched file, nor a different one of an armed
    file."""
    path = tmp_path / "latch"
    path.unlink(missing_ok=True)
    latch = LatchFile(path)
    latch.create_armed(generation=3, owner="engine-1", written_ns=10)
    if data.draw(st.booleans(), label="latched"):
        latch.write(latched(latch.read()))
    before = latch.read()
    for _ in range(data.draw(st.integers(1, 4), label="hits")):
        slot = data.draw(st.integers(0, 1), label="slot")
        near = st.integers(0, 400)
        offset = slot * SLOT_BYTES + data.draw(near | st.integers(0, SLOT_BYTES - 64), label="at")
        corrupt(path, offset, data.draw(st.binary(min_size=1, max_size=64), label="bytes"))
    found = latch.read()
    assert found == before or (found.latched and found.damage)


def test_every_torn_prefix_of_a_stop_reads_as_latched(latch: LatchFile, tmp_path: Path) -> None:
    """Method: play the write of the stop byte by byte over the slot it goes to, as a power cut
    would leave it."""
    before = latch.path.read_bytes()
    latch.write(latched(latch.read()))
    after = latch.path.read_bytes()
    changed = [at for at in range(FILE_BYTES) if before[at] != after[at]]
    torn = LatchFile(tmp_path / "torn")
    for length in range(changed[0] + 1, changed[-1] + 2):
        torn.path.write_bytes(after[:length] + before[length:])
        assert torn.read().latched, f"cut after {length} bytes"


def test_many_trips_never_keep_a_stop_from_being_recorded(latch: LatchFile) -> None:
    trips = tuple(replace(TRIP, trip_id=f"t-{n}", reason="x" * 300) for n in range(500))
    latch.write(replace(latched(latch.read()), trips=trips))
    found = latch.read()
    assert found.latched
    assert not found.damage
    assert found.trips[0].trip_id == "t-0"
    assert found.trips[-1].trip_id == "t-499"
    assert len(found.trips) + found.trips_omitted == 500
    latch.write(replace(found, trips=(replace(TRIP, reason="y" * 100_000),)))
    assert latch.read().trips[0].trip_id == "t-1"


def test_update_sees_what_is_there_and_returns_what_it_wrote(latch: LatchFile) -> None:
    written = latch.update(lambda state: replace(state, fence=state.fence + 1))
    assert written.fence == 1
    assert latch.read() == written


def test_threads_do_not_lose_each_others_updates(latch: LatchFile) -> None:
    def raise_fence() -> None:
        for _ in range(20):
            latch.update(lambda state: replace(state, fence=state.fence + 1))

    threads = [threading.Thread(target=raise_fence) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert latch.read().fence == 80


WRITER = textwrap.dedent(
    """
    import sys
    from dataclasses import replace
    from pathlib import Path
    from engine.latch import LatchFile, LatchTrip, StopState

    latch = LatchFile(Path(sys.argv[1]))
    state = latch.read()
    print("ready", flush=True)
    for number in range(1, 1_000_000):
        trips = tuple(
            LatchTrip(trip_id=f"{number}-{n}", source="test", reason="x" * 200, ts_ns=number)
            for n in range(20)
        )
        on = number % 2 == 1
        latch.write(replace(
            state, state=StopState.FLATTENING if on else StopState.ARMED, latched=on,
            written_ns=number, trips=trips,
        ))
        print(number, flush=True)
    """
)


@pytest.mark.timeout(60)
def test_killed_in_mid_write_the_last_acknowledged_state_or_a_latch_is_read(
    latch: LatchFile,
) -> None:
    """Method: SIGKILL a real writer at 20 random moments; reopen; go on."""
    chance = random.Random(20240808)
    initial = latch.read()
    for _ in range(20):
        latch.write(initial)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(latch.path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        acknowledged = 0
        for line in process.stdout:
            acknowledged = 0 if line.startswith("ready") else int(line)
            if acknowledged >= chance.randint(1, 60):
                break
        process.send_signal(signal.SIGKILL)
        acknowledged = max(
            [acknowledged, *(int(line) for line in process.stdout if line[-1] == "\n")]
        )
        process.wait()
        process.stdout.close()
        found = latch.read()
        if found.damage:
            assert found.latched
            continue
        assert found.written_ns in {acknowledged, acknowledged + 1}
        assert found.latched == (found.written_ns % 2 == 1)


def test_writing_needs_no_more_room_than_the_file_has(latch: LatchFile) -> None:
    """Method: a process that may not let any file grow beyond what the latch already has."""

    def no_growth() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))

    code = WRITER.replace("1_000_000", "40")
    done = subprocess.run(
        [sys.executable, "-c", code, str(latch.path)],
        preexec_fn=no_growth,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "39"
    assert latch.read().latched
    assert latch.path.stat().st_size == FILE_BYTES


def test_a_stop_is_recorded_on_a_disk_without_a_free_byte(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk of its own cannot be mounted here: needs root")
    try:
        latch = LatchFile(disk / "latch")
        latch.create_armed(generation=1, owner="engine", written_ns=1)
        with pytest.raises(OSError, match="space"):
            (disk / "filler").write_bytes(bytes(1024 * 1024))
        latch.write(latched(latch.read()))
        assert latch.read().latched
        assert not latch.read().damage
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def corrupt(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_file_from_before_trips_had_a_node_is_understood() -> None:
    state = latched(LatchState.unknown("")).as_damaged("")
    body = encode(state, size_max=SLOT_BYTES)
    older = body.replace(b',"node":""', b"")
    assert older != body
    assert decode(older) == decode(body)
    elsewhere = replace(TRIP, scope="desk", node="alpha")
    newer = encode(replace(state, trips=(elsewhere,)), size_max=SLOT_BYTES)
    assert decode(newer).trips == (elsewhere,)
    with pytest.raises(ValueError, match="node"):
        decode(newer.replace(b'"node":"alpha"', b'"node":7'))
