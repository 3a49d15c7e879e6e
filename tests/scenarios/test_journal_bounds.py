"""Stories of a journal at its cap, and of subscribers that misbehave: what an operator is told."""

from __future__ import annotations

import dataclasses
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.kernel.status import status_json
from engine.model import events as ev
from engine.model.snapshots import AlarmSnapshot
from engine.runtime import SystemClock
from tests.desk import Desk, story

_CAP = 60_000


def _alarm(desk: Desk, code: str, key: str = "") -> AlarmSnapshot | None:
    """It, while its cause lasts."""
    found = [
        alarm
        for alarm in desk.kernel.parts.alarms.snapshot()
        if (alarm.code, alarm.key, alarm.state) == (code, key, "new")
    ]
    return found[0] if found else None


def _status(desk: Desk) -> dict[str, Any]:
    document = status_json(desk.kernel.client.snapshot(), running=True, safeguards={})
    again: dict[str, Any] = json.loads(msgspec.json.encode(document))
    return again


async def _write_telemetry(desk: Desk, count: int) -> None:
    some = Decimal(100_000)
    bus, stamp = desk.kernel.parts.bus, desk.kernel.parts.stamper
    for _ in range(count):
        bus.emit(
            ev.AccountEquityUpdated(
                **stamp(), equity=some, balance=some, unrealised=some, peak=some, drawdown=some
            ),
            durable=True,
        )
    await desk.sleep(0.1)


def _with_small_cap(desk: Desk, cap: int = _CAP) -> None:
    configuration = msgspec.structs.replace(
        desk.options.configuration,
        journal=msgspec.structs.replace(desk.options.configuration.journal, max_bytes=cap),
    )
    desk.options = dataclasses.replace(desk.options, configuration=configuration)


@story(start=False, redis_url="unix:///nowhere/redis.sock")
@pytest.mark.allow_log("")
async def test_without_redis_the_journal_alarms_then_gives_telemetry_up_and_says_so(
    desk: Desk,
) -> None:
    """Goal: at 80 % an alarm, at the cap telemetry goes, counted in status, summary and journal."""
    _with_small_cap(desk)
    await desk.open()
    journal = desk.kernel.parts.storage.journal
    await _write_telemetry(desk, (_CAP * 85 // 100 - journal.bytes) // 246)
    await desk.until(lambda: _alarm(desk, "JOURNAL_BEHIND"), timeout_s=70)
    assert _status(desk)["journal"]["shed"] == 0
    assert _alarm(desk, "EVENTS_SHED") is None
    await _write_telemetry(desk, 100)
    assert journal.is_over_cap
    await desk.until(lambda: journal.shed_count, timeout_s=30)
    assert journal.bytes <= _CAP
    await desk.until(lambda: _alarm(desk, "EVENTS_SHED"), timeout_s=5)
    found = _status(desk)["journal"]
    assert found["shed"] == found["shed_types"]["account.equity.updated"] == journal.shed_count
    assert found["written"] == found["acknowledged"] + found["pending"] + found["shed"]
    assert sum(event.events for event in desk.heard(ev.JournalShed)) == journal.shed_count
    assert (await desk.kernel.summary())["journal"]["shed"] == journal.shed_count
    alarm = _alarm(desk, "EVENTS_SHED")
    assert alarm is not None
    assert f"{journal.shed_count} account.equity.updated" in alarm.text


@story(start=False)
@pytest.mark.allow_log("")
async def test_when_only_the_backups_age_keeps_rows_a_new_backup_is_made(desk: Desk) -> None:
    """Goal: nothing that waits is given up for the sake of what has arrived."""
    _with_small_cap(desk)
    await desk.open()
    backups, journal = desk.kernel.parts.backups, desk.kernel.parts.storage.journal
    await desk.until(lambda: backups.newest is not None)
    await desk.sleep(3_700)
    first = backups.newest
    await _write_telemetry(desk, 400)
    assert journal.is_over_cap
    await desk.until(lambda: backups.newest is not first, timeout_s=30)
    await desk.until(lambda: not journal.is_over_cap, timeout_s=30)
    assert journal.shed_count == 0


@story()
async def test_a_burst_that_fills_the_queue_is_an_alarm_though_it_is_over_at_once(
    desk: Desk,
) -> None:
    """Goal: size, capacity, published, dropped and delayed are said; it ends by itself."""
    bus, stamp = desk.kernel.parts.bus, desk.kernel.parts.stamper
    for _ in range(bus.capacity * 96 // 100):
        bus.emit(
            ev.PositionsReconciled(
                **stamp(), timestamp=0, position_count=0, symbols=(), positions={}, divergences=0
            ),
            journaled=True,
        )
    critical = _alarm(desk, "QUEUE_CRITICAL")
    assert critical is not None
    assert critical.priority == 1
    assert "9500 of 10000 wait; " in critical.text
    assert critical.text.endswith("published, 0 dropped, 0 delayed")
    assert _alarm(desk, "QUEUE_FILL") is not None
    assert "bus_saturated" in desk.gate()
    await desk.until(lambda: bus.size == 0)
    await desk.until(lambda: _alarm(desk, "QUEUE_CRITICAL") is None, timeout_s=2)
    assert desk.venue_positions() == {}
    assert not desk.kernel.parts.stop.is_latched()


@story()
@pytest.mark.allow_log("handler crasher")
async def test_a_subscriber_that_fails_is_named_until_it_is_well(desk: Desk) -> None:
    """Goal: name, count and last error are an alarm of its own, which goes by itself."""

    def crash(_: ev.Event) -> None:
        raise ValueError("no such column")

    desk.kernel.parts.bus.subscribe(crash, types=(ev.OrderIntended,), name="crasher")
    await desk.enter()
    await desk.until(lambda: _alarm(desk, "HANDLER_FAILED", "crasher"), timeout_s=3)
    alarm = _alarm(desk, "HANDLER_FAILED", "crasher")
    assert alarm is not None
    assert alarm.priority == 3
    assert "crasher raised ValueError: no such column on order.intended (trace " in alarm.text
    assert "2 errors, 0 slow" in alarm.text  # Entry and protective stop.
    found = _status(desk)["bus"]
    assert found["handlers"]["crasher"]["errors"] == 2
    assert found["types"]["order.intended"]["errors"] == 2
    assert found["types"]["market.tick"]["published"] > 0
    await desk.sleep(70)
    assert _alarm(desk, "HANDLER_FAILED", "crasher") is None


@pytest.mark.allow_log("The loop stood still|loop")
async def test_a_slow_subscriber_is_named(tmp_path: Path) -> None:
    """Method: real time, because simulated time does not pass within a handler."""
    desk = Desk(clock=SystemClock(), folder=tmp_path)
    await desk.open()
    try:
        desk.kernel.parts.bus.subscribe(
            lambda _: time.sleep(0.06), types=(ev.OrderAccepted,), name="sleeper"
        )
        await desk.enter()
        await desk.until(lambda: _alarm(desk, "HANDLER_FAILED", "sleeper"), timeout_s=5)
        alarm = _alarm(desk, "HANDLER_FAILED", "sleeper")
        assert alarm is not None
        assert "ms on order.accepted (trace " in alarm.text
        assert _status(desk)["bus"]["handlers"]["sleeper"]["ms_max"] >= 60
    finally:
        await desk.close()
