"""Stop, latch file, sets and tables must agree (R-POL-6): each difference counts as tripped, P1.

Whatever a test changes it changes with a hand of its own: the tables over a connection beside the
engine's, the latch file past the engine.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.api import CommandResult
from engine.latch import LatchFile, StopState
from engine.model.emergency import (
    Clearing,
    EmergencyState,
    ResetRequest,
    Scope,
    Trip,
    TripSource,
)
from engine.model.ids import TripId
from engine.model.snapshots import EngineState
from engine.runtime import SystemClock
from engine.stop_guard import offline_panic
from tests.desk import Desk, story
from tests.waiting import eventually

pytestmark = pytest.mark.allow_log("")


def _sql(desk: Desk, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(desk.data_dir / "state.db", timeout=5)) as connection:
        rows = connection.execute(sql, values).fetchall()
        connection.commit()
        return rows


def _trip(desk: Desk) -> Trip:
    made = desk.kernel.client.trip(source=TripSource.BUTTON, reason="the story")
    assert made.node == "desk"
    return made


async def _flat(desk: Desk) -> None:
    stop = desk.kernel.parts.stop
    await desk.until(lambda: stop.snapshot().state is EmergencyState.FLAT, timeout_s=60)
    await desk.kernel.parts.storage.writer.submit(lambda _: None)


async def _reset(desk: Desk) -> CommandResult:
    await desk.sleep(6)
    await desk.kernel.client.acknowledge_all(priority=1)
    return await desk.kernel.client.reset(
        ResetRequest(
            cause="drill",
            reason="the story goes on",
            clear=tuple(trip.id for trip in desk.kernel.parts.stop.trips),
        )
    )


def _sources(desk: Desk) -> list[str]:
    return [trip.source.value for trip in desk.kernel.parts.stop.trips]


def _disagreement_sounds(desk: Desk) -> bool:
    return any(
        alarm.code == "LATCH_DISAGREES" and alarm.priority == 1 and alarm.state == "new"
        for alarm in desk.kernel.parts.alarms.snapshot()
    )


async def _look(desk: Desk) -> None:
    await desk.kernel.parts.desk_emergency.compare_tables()
    await desk.sleep(1.5)


async def _tripped_by_difference(desk: Desk) -> None:
    await _look(desk)
    assert desk.kernel.parts.stop.is_latched()
    assert "disagreement" in _sources(desk)
    assert _disagreement_sounds(desk)
    await _flat(desk)
    # What was put right stays right, and a reset ends it.
    before = _sources(desk)
    await _look(desk)
    assert _sources(desk) == before
    assert (await _reset(desk)).ok
    await _look(desk)
    assert not desk.kernel.parts.stop.is_latched()


@story()
async def test_nothing_differs_through_a_stop_a_reset_and_a_start(desk: Desk) -> None:
    """Goal: no false alarm, looked at as often as the loop allows."""
    emergency = desk.kernel.parts.desk_emergency
    ended = asyncio.Event()

    async def look_on() -> int:
        looks = 0
        while not ended.is_set():
            await emergency.compare_tables()
            emergency.compare()
            looks += 1
            await desk.sleep(0.05)
        return looks

    watch = desk.kernel.parts.tasks.spawn("look on", look_on())
    for _ in range(3):
        await desk.enter()
        _trip(desk)
        await _flat(desk)
        assert (await _reset(desk)).ok
        assert (await desk.kernel.client.start(reason="story")).ok
    await desk.sleep(2)
    ended.set()
    assert await watch > 100
    assert not desk.kernel.parts.stop.is_latched()
    assert not _disagreement_sounds(desk)
    assert _sql(desk, "SELECT count(*) FROM trips") == [(3,)]


@story()
async def test_a_trip_taken_out_of_the_database(desk: Desk) -> None:
    await desk.enter()
    trip = _trip(desk)
    await _flat(desk)
    _sql(desk, "DELETE FROM trips")
    await _look(desk)
    assert _sql(desk, "SELECT trip_id FROM trips WHERE trip_id = ?", trip.id) == [(trip.id,)]
    await _tripped_by_difference(desk)


@story()
async def test_a_clearing_taken_out_of_the_database(desk: Desk) -> None:
    """Goal: what a restart would take for tripped is tripped now, positions and all."""
    _trip(desk)
    await _flat(desk)
    assert (await _reset(desk)).ok
    assert (await desk.kernel.client.start(reason="story")).ok
    await desk.enter()
    _sql(desk, "DELETE FROM clearings")
    await _tripped_by_difference(desk)
    assert desk.quantity() == 0


@story()
async def test_a_trip_put_into_the_database(desk: Desk) -> None:
    await desk.enter()
    trip = Trip(
        id=TripId("x-by-hand"), source=TripSource.BUS, reason="by hand", ts_ns=1, node="desk"
    )
    _sql(desk, "INSERT INTO trips VALUES (?, 1, ?)", trip.id, msgspec.json.encode(trip))
    await _look(desk)
    assert trip.id in {one.id for one in desk.kernel.parts.stop.trips}
    await _tripped_by_difference(desk)


@story()
async def test_a_clearing_put_into_the_database_clears_nothing(desk: Desk) -> None:
    trip = _trip(desk)
    await _flat(desk)
    forged = Clearing(id="c-by-hand", trips=(trip.id,), author="x", cause="x", reason="x", ts_ns=1)
    _sql(desk, "INSERT INTO clearings VALUES (?, 1, ?)", forged.id, msgspec.json.encode(forged))
    await _look(desk)
    assert trip.id in {one.id for one in desk.kernel.parts.desk_emergency.sets.uncleared()}
    assert _sql(desk, "SELECT count(*) FROM clearings") == [(0,)]
    [(kept,)] = _sql(desk, "SELECT what FROM audit WHERE origin = 'repair' AND what LIKE 'taken%'")
    assert "c-by-hand" in kept
    await _tripped_by_difference(desk)
    assert await desk.kernel.parts.storage.store.verify_audit() is None


@story()
async def test_a_trip_weakened_in_the_database(desk: Desk) -> None:
    trip = desk.kernel.client.trip(source=TripSource.BUTTON, reason="the story", scope=Scope.DESK)
    await _flat(desk)
    weaker = msgspec.structs.replace(trip, scope=Scope.NODE, node="elsewhere")
    _sql(desk, "UPDATE trips SET record = ?", msgspec.json.encode(weaker))
    await _look(desk)
    [(record,)] = _sql(desk, "SELECT record FROM trips WHERE trip_id = ?", trip.id)
    assert msgspec.json.decode(record, type=Trip).scope is Scope.DESK
    assert "disagreement" in _sources(desk)


@story()
async def test_a_row_that_cannot_be_read(desk: Desk) -> None:
    _trip(desk)
    await _flat(desk)
    _sql(desk, "UPDATE trips SET record = 'not JSON'")
    await _tripped_by_difference(desk)


@story()
async def test_a_latch_file_armed_by_hand(desk: Desk) -> None:
    _trip(desk)
    await _flat(desk)
    latch = LatchFile(desk.data_dir / "latch")
    latch.update(lambda old: replace(old, state=StopState.ARMED, latched=False, trips=()))
    await desk.kernel.parts.stop.poll_latch_file()
    await desk.until(lambda: not desk.kernel.parts.stop.pending_writes())
    assert latch.read().latched
    await _tripped_by_difference(desk)


@story()
async def test_a_latch_file_armed_while_no_engine_ran(desk: Desk) -> None:
    """Goal: the database's word is enough, under the trip's own id."""
    await desk.enter()
    trip = _trip(desk)
    await _flat(desk)
    await desk.close()
    latch = LatchFile(desk.data_dir / "latch")
    latch.update(lambda old: replace(old, state=StopState.ARMED, latched=False, trips=()))
    await desk.open()
    assert desk.state() is EngineState.LATCHED
    assert [one.id for one in desk.kernel.parts.stop.trips] == [trip.id]
    assert _disagreement_sounds(desk)
    await _flat(desk)
    assert (await _reset(desk)).ok


@story()
async def test_a_stop_cleared_past_the_list_of_conditions(desk: Desk) -> None:
    """Goal: the stop alone cannot end an emergency: a second later it is tripped again."""
    trip = _trip(desk)
    await _flat(desk)
    stop = desk.kernel.parts.stop
    clearing = Clearing(id="c-past", trips=(trip.id,), author="x", cause="x", reason="x", ts_ns=1)
    assert await stop.clear(clearing) == ()
    assert await desk.until(stop.is_latched, timeout_s=2) <= 1.1
    assert [one.id for one in stop.trips] == [trip.id]
    assert _disagreement_sounds(desk)
    await _flat(desk)
    assert (await _reset(desk)).ok
    await _look(desk)
    assert not stop.is_latched()


@story()
async def test_a_trip_that_only_the_latch_file_names_is_recorded(desk: Desk) -> None:
    """`panic` without an engine writes the file and nothing else: no difference, but a record."""
    await desk.close()
    latch = LatchFile(desk.data_dir / "latch")
    desk.kernel.parts.storage.latch.update(lambda old: old)

    answer = await asyncio.to_thread(
        offline_panic, desk.data_dir, reason="from a shell", wait_s=10, scope=Scope.DESK
    )
    assert [entry["condition"] for entry in answer["unmet"]] == ["desk"]
    assert not answer["ok"]
    [written] = latch.read().trips
    await desk.open()
    assert desk.state() is EngineState.LATCHED
    [row] = _sql(desk, "SELECT trip_id, record FROM trips")
    assert row[0] == written.trip_id
    assert msgspec.json.decode(row[1], type=Trip).scope is Scope.DESK
    assert "disagreement" not in _sources(desk)
    why = desk.kernel.client.snapshot().emergency.desk_why
    assert "no Redis of a desk to tell" in why


async def test_the_tables_are_looked_at_by_themselves(tmp_path: Path) -> None:
    """Real time: nobody asks for the look."""
    desk = Desk(clock=SystemClock(), folder=tmp_path)
    await desk.open()
    try:
        _trip(desk)
        await eventually(lambda: _sql(desk, "SELECT count(*) FROM trips") == [(1,)])
        await eventually(lambda: not desk.kernel.parts.desk_emergency.records._owed_trips)
        _sql(desk, "DELETE FROM trips")
        await eventually(lambda: "disagreement" in _sources(desk), timeout_s=8)
        # Both again: the one that was taken out, and the one of the difference.
        await eventually(lambda: _sql(desk, "SELECT count(*) FROM trips") == [(2,)])
    finally:
        await desk.close()
