"""The program of the kill campaign: engines that trade a lot and are killed, several on one folder.

One interpreter a seed: it forks one process for each engine (the import is paid once), and one more
to start the engine again and judge it. An engine is a real process with the real kernel, real files
and real time, and mirrors to a real Redis that lives on; it dies by SIGKILL, either at a random
moment (from its first instruction on) or by its own hand exactly at a kill point:

- `commit:place`, `commit:reduce`, `commit:match`: the venue has committed, nobody has been told;
- `told`: the venue has told us of a fill, our own commit has not come back;
- an event type: our commit is done (the event is published after it) and nothing else;
- inside a group of statements, before its COMMIT, or after it and before anybody is told;
- inside a policy write, a backup, a pruning of the journal;
- inside a migration of a database that is older than the program;
- inside a restore of a destroyed database, and while its events are taken back from Redis.

    python -m tests.campaigns._killable DIR SEED REDIS_URL

prints one JSON document; exit 1 with the broken invariant on standard error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import select
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.model.emergency import TripSource
from engine.model.events import Event
from engine.model.ids import Symbol
from engine.model.orders import OrderState
from engine.model.values import Side
from engine.model.venue import StreamUpdate
from engine.runtime import SimClock, SystemClock, run_simulated
from tests import books_auditor
from tests.campaigns._kill_points import EXTRA_MIGRATIONS, Reaper, install, use_migrations
from tests.campaigns._witness import (
    Witness,
    copied,
    missing_on_disk,
    problems_of_stream,
    read_acknowledged,
)
from tests.desk import Desk
from tests.faults.link_desk import read_stream

ENGINES = 2
_RANDOM_S_MAX = 0.7
_LIMIT_S = 12.0
_START_LIMIT_S = 5.0
# Each engine's clock is set on by more than its judge's simulated time, so that time never goes
# back.
_AHEAD_NS = 120_000_000_000
_PRICES = {"BTCUSDT": "60000", "ETHUSDT": "2500", "SOLUSDT": "150", "XRPUSDT": "0.6"}
_POLICY = {
    "signal_rate": "50",
    "max_orders_per_minute": "1200",
    "max_gross_exposure": "5",
    "max_open_positions": "20",
}
# Of engines on a fresh folder, by chance; how often a point may be passed first.
_FIRST_POINTS = {
    **dict.fromkeys(("commit:place", "commit:reduce", "commit:match", "told"), 6),
    **dict.fromkeys(("order.intended", "order.submitted", "order.accepted", "order.filled"), 6),
    **dict.fromkeys(("position.opened", "trade.closed"), 3),
    "migration:statement": 30,
    "migration:commit": 4,
    "group:before commit": 40,
}
# Of engines on a folder with a history, in turn, so that twenty seeds see each.
_POINTS = {
    "group:statement": 200,
    "group:before commit": 80,
    "group:committed, untold": 80,
    "migration:statement": 5,
    "migration:commit": 2,
    "policy:half written": 4,
    "policy.changed": 4,
    "backup:copying": 60,
    "backup:unnamed": 3,
    "backup:named": 3,
    "restore:half copied": 1,
    "restore:migrated": 1,
    "restore:set aside": 1,
    "restore:in place": 1,
    "take back:batch": 3,
    "take back:all": 1,
    "prune:delete": 3,
    "commit:place": 6,
    "told": 6,
    "": 1,
}
_AT_THE_START = ("migration", "restore", "take back")
_RESTORING = ("restore", "take back")
_NAMED = frozenset(OrderState) - {OrderState.INTENDED, OrderState.SUBMITTED}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one engine lives and dies. `point` empty: after `after_s`, wherever it is."""

    number: int
    seed: int
    point: str
    count: int
    after_s: float
    press: bool
    # `after_s` counts from the first trade on, not from the process' first instruction.
    is_trading: bool
    # How many migrations more than today's the program knows from here on.
    migrations: int = 0
    # Its database was destroyed before its start.
    is_restored: bool = False

    @property
    def dies_at_start(self) -> bool:
        return self.number > 0 and self.point.startswith(_AT_THE_START)


def plan_of(seed: int, number: int, chance: random.Random) -> Plan:
    """The first engine dies at a random moment or a point by chance, the next at one in turn.

    What a later start migrates or restores is worth it only after some trading.
    """
    in_turn = list(_POINTS)[seed % len(_POINTS)]
    has_history = number == 0 and in_turn.startswith(_AT_THE_START)
    if number:
        point = in_turn
        most = _POINTS[point]
    else:
        point = chance.choice(list(_FIRST_POINTS)) if chance.random() < 0.5 else ""
        if has_history:
            point = ""
        most = _FIRST_POINTS.get(point, 1)
    is_busy = not point.startswith(_AT_THE_START)
    return Plan(
        number=number,
        seed=seed * 100 + number,
        point=point,
        count=chance.randint(1, most),
        after_s=chance.random() * _RANDOM_S_MAX + (0.3 if has_history else 0.0),
        is_trading=has_history or chance.random() < 0.7,
        press=number == ENGINES - 1 and is_busy and chance.random() < 0.3,
        migrations=len(EXTRA_MIGRATIONS) if number and point.startswith("migration") else 0,
    )


# --- the engine that dies -------------------------------------------------------------------------


def _desk(clock: SimClock | SystemClock, folder: Path, url: str) -> Desk:
    return Desk(
        redis_url=url,
        clock=clock,
        folder=folder,
        policy=_POLICY,
        latency_ms=1,
        prices={Symbol(symbol): price for symbol, price in {**_PRICES, **_marks(folder)}.items()},
    )


def _marks(folder: Path) -> dict[str, str]:
    """The market goes on where it was."""
    paper = folder / "data" / "paper.db"
    if not paper.exists() or not _rows(paper, "SELECT 1 FROM sqlite_master WHERE name = 'marks'"):
        return {}
    return dict(_rows(paper, "SELECT symbol, price FROM marks"))


async def engine(folder: Path, plan: Plan, url: str, say: Callable[[str], None]) -> None:
    """Trade as fast as the policy allows until death."""
    reaper = Reaper(plan.point, plan.count)
    install(reaper)
    use_migrations(plan.migrations)
    Witness(folder).install()
    desk = _desk(SystemClock(offset_ns=(plan.number + 1) * _AHEAD_NS), folder, url)
    await desk.build()
    parts = desk.kernel.parts

    def committed(step: str) -> None:
        reaper.visit(f"commit:{step}")

    def told(update: StreamUpdate) -> None:
        # Subscribed after booking: our commit is on its way to the disk, and is not waited for.
        if update.fill is not None:
            reaper.visit("told")

    def published(event: Event) -> None:
        reaper.visit(type(event).TYPE)

    parts.venue._after_commit = committed
    parts.venue.subscribe(told)
    parts.bus.subscribe(published, name="reaper")
    await desk.kernel.start()
    await desk.until(lambda: parts.market.ages_s())
    say("trading")
    chance = random.Random(plan.seed)
    press_in = chance.randint(5, 40)
    chores = [
        asyncio.create_task(work)
        for work in (_change_policy(desk, chance), _back_up(desk), _prune(desk))
    ]
    while all(not chore.done() for chore in chores):
        for symbol in _PRICES:
            _stir(desk, Symbol(symbol), chance)
        press_in -= 1
        if plan.press and press_in == 0:
            desk.kernel.client.trip(source=TripSource.BUTTON, reason="campaign")
            await desk.until(lambda: not parts.stop.pending_writes())
            say("pressed")
        await asyncio.sleep(chance.random() * 0.02)
    await asyncio.gather(*chores)


async def _change_policy(desk: Desk, chance: random.Random) -> None:
    """Tighter each time, in a profile that is not in force; at most thirty times a life."""
    policy = desk.kernel.parts.policy
    for _ in range(30):
        await asyncio.sleep(chance.random() * 0.1)
        limit = policy.get_policy().profiles["defensive"].max_orders_per_minute
        await policy.update(
            {"defensive.max_orders_per_minute": str(limit - 1)},
            base_version=policy.version,
            author="campaign",
            reason=f"{limit - 1}",
        )
    await asyncio.Event().wait()


async def _back_up(desk: Desk) -> None:
    while True:
        await asyncio.sleep(0.25)
        await desk.kernel.parts.backups.back_up()


async def _prune(desk: Desk) -> None:
    """Whatever is acknowledged and older than the newest backup."""
    parts = desk.kernel.parts
    parts.storage.journal._bytes_max = 1
    while True:
        await asyncio.sleep(0.1)
        await parts.storage.journal.prune(keep_since_ns=parts.backups.keep_since_ns)


def _stir(desk: Desk, symbol: Symbol, chance: random.Random) -> None:
    """Move a price, now and then through the stops, and ask for an entry or an exit."""
    drift = 0.035 if chance.random() < 0.03 else 0.0005
    price = float(desk.market.prices[symbol]) * (1 + drift * chance.choice((-1, 1)))
    digits = 1 if symbol == "BTCUSDT" else 2 if symbol != "XRPUSDT" else 4
    desk.market.move(symbol, f"{price:.{digits}f}")
    if desk.quantity(symbol) == 0:
        if chance.random() < 0.5:
            desk.signal(chance.choice((Side.BUY, Side.SELL)), symbol)
    elif chance.random() < 0.25:
        desk.exit(symbol)


# --- the judge ------------------------------------------------------------------------------------


def check_disk(folder: Path, plan: Plan, *, stream: set[str]) -> dict[str, int]:
    """What must hold on the disk alone, right after the kill."""
    data, after = folder / "data", str(plan)
    nothing = {"fills": 0, "orders": 0, "unbooked": 0}
    state, paper = data / "state.db", data / "paper.db"
    sound = [paper, *_named_backups(data)]
    for path in sound if plan.is_restored else [state, *sound]:
        if path.exists():
            assert _rows(path, "PRAGMA integrity_check") == [("ok",)], (path.name, after)
    for path in _named_backups(data):
        assert _rows(path, "SELECT count(*) FROM fills"), f"half a backup ({after})"
    if plan.is_restored or not state.exists():
        return nothing  # What it must have again is asked of the next start.
    if not paper.exists() or not _rows(paper, "SELECT 1 FROM sqlite_master WHERE name = 'venue'"):
        return nothing
    with tempfile.TemporaryDirectory() as beside:
        missing = missing_on_disk(
            copied(state, Path(beside)),
            read_acknowledged(folder),
            stream=stream,
            not_told=frozenset(),
        )
    assert not missing, f"acknowledged and not there ({after}): {missing[:5]}"
    orders = [row[0] for row in _rows(paper, "SELECT client_order_id FROM orders")]
    assert len(orders) == len(set(orders)), f"a client order id came twice ({after})"
    intents = [json.loads(row[0]) for row in _rows(state, "SELECT record FROM intents")]
    known = {intent["client_order_id"] for intent in intents}
    assert set(orders) <= known, f"an order went out without its intent ({after})"
    entries = [one["signal_id"] for one in intents if one["purpose"] == "entry"]
    assert len(entries) == len(set(entries)), f"two entries for one signal ({after})"
    theirs, ours = _fills(paper), _fills(state)
    assert ours <= theirs, f"we booked what the venue never did: {ours - theirs} ({after})"
    if _rows(paper, "SELECT 1 FROM venue"):
        assert books_auditor.problems_of(paper) == [], after
    return {"fills": len(theirs), "orders": len(orders), "unbooked": len(theirs - ours)}


def check_told(folder: Path, plan: Plan, url: str) -> int:
    """What must hold after the next start has ended in order: all is on the disk and in Redis,
    once. Returns how many events are in the stream."""
    state = folder / "data" / "state.db"
    entries = read_stream(url)
    assert problems_of_stream(entries) == [], plan
    order = {fields["id"]: number for number, (_, fields) in enumerate(entries)}
    acknowledged = read_acknowledged(folder)
    not_told = frozenset({"audit", "clearing"}) if plan.is_restored else frozenset[str]()
    missing = missing_on_disk(state, acknowledged, stream=set(order), not_told=not_told)
    assert not missing, f"acknowledged and not there after the start ({plan}): {missing[:5]}"
    events = [one for kind, *words in acknowledged if kind == "events" for one in words[0]]
    unsent = [one for one in events if one not in order]
    assert not unsent, f"acknowledged and never sent ({plan}): {unsent[:5]}"
    places = [order[one] for one in events]
    assert places == sorted(places), f"the stream's order is not the journal's ({plan})"
    kept = [row[0] for row in _rows(state, "SELECT event_id FROM outbox")]
    assert set(kept) <= set(order), f"the journal has what Redis has not ({plan})"
    if plan.migrations:
        known = _rows(state, "SELECT count(*) FROM copied_fills WHERE number >= 0")[0][0]
        assert known <= len(_fills(state))
        assert _rows(state, "SELECT count(*) FROM copied_orders")
    return len(entries)


def _named_backups(data: Path) -> list[Path]:
    return sorted((data / "backups").glob("state-*.db")) if (data / "backups").is_dir() else []


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Of a copy: the last to close a database tidies its WAL away, and that is evidence."""
    with (
        tempfile.TemporaryDirectory() as beside,
        closing(sqlite3.connect(copied(path, Path(beside)))) as connection,
    ):
        return connection.execute(sql).fetchall()


def _fills(path: Path) -> set[tuple[Any, ...]]:
    """Who, what and how much; decimals by their value."""
    rows = _rows(
        path, "SELECT execution_id, client_order_id, symbol, side, quantity, price, fee FROM fills"
    )
    return {(*row[:4], *(Decimal(text) for text in row[4:])) for row in rows}


async def judge(clock: SimClock, folder: Path, plan: Plan, url: str, pressed: bool) -> None:
    """Start again on the same folder, let unknown outcomes be looked up, and compare everything."""
    use_migrations(plan.migrations)
    Witness(folder).install()
    desk = _desk(clock, folder, url)
    await desk.build()
    kernel, parts = desk.kernel, desk.kernel.parts
    try:
        await kernel.start()
        at_start = {record.state for record in desk.orders()}
        assert at_start <= _NAMED, f"orders without a named state after the start: {at_start}"
        await desk.assert_sound()
        assert parts.stop.is_latched() or not pressed, "the restart forgot the stop"
        await desk.sleep(45.0)  # Absence counts after 31 s.
        unknown = [record for record in desk.orders() if record.state is OrderState.UNRESOLVED]
        assert not unknown, f"still unknown: {unknown}"
        assert {str(record.client_order_id) for record in desk.orders()} == set(
            desk.open_at_venue()
        ), "open orders differ from the venue's"
        await desk.assert_sound()
        bare = [p.symbol for p in parts.ledger.positions() if not desk.protected(p.symbol)]
        assert not bare, f"no stop under {bare}"
        if pressed:
            assert parts.stop.is_latched(), "the latch opened by itself"
            assert desk.venue_positions() == {}, "latched and not flat"
        assert not _alarms(folder), _alarms(folder)
    finally:
        await kernel.stop()
    data = folder / "data"
    assert _fills(data / "paper.db") == _fills(data / "state.db"), "a fill is lost"


def _alarms(folder: Path) -> list[str]:
    rows = _rows(folder / "data" / "state.db", "SELECT code, record FROM alarms")
    return [str(row) for row in rows if row[0] in {"ILLEGAL_TRANSITION", "INVARIANT_BROKEN"}]


# --- processes ------------------------------------------------------------------------------------


def forked(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Run `work(say)` in a process of its own: its pid, and where what it says can be read."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    os.close(reading)

    def say(text: str) -> None:
        os.write(writing, f"{text}\n".encode())

    status = 1
    try:
        work(say)
        status = 0
    finally:  # The process ends here, whatever happened.
        if status:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    raise AssertionError("unreachable")


def run_engine(folder: Path, plan: Plan, url: str) -> tuple[str, bool]:
    """Let an engine live and die; what it said, and whether it died by its own hand."""
    pid, reading = forked(lambda say: asyncio.run(engine(folder, plan, url, say)))
    limit_s = _LIMIT_S if plan.point or plan.press or plan.is_trading else plan.after_s
    if plan.dies_at_start:
        limit_s = _START_LIMIT_S
    said, killed, from_s = "", False, time.monotonic()
    while True:
        left_s = from_s + limit_s - time.monotonic()
        if left_s <= 0 and not killed:
            killed = True
            os.kill(pid, signal.SIGKILL)
        if select.select([reading], [], [], max(0.0, left_s) if not killed else None)[0]:
            chunk = os.read(reading, 4096)
            if not chunk:
                break
            if not (said or plan.point or plan.press):
                from_s, limit_s = time.monotonic(), plan.after_s
            said += chunk.decode()
            if plan.press and "pressed" in said and not plan.point:
                limit_s = min(limit_s, time.monotonic() - from_s + plan.after_s)
    os.close(reading)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status), f"the engine did not die by the kill but by itself: {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    lived_out = killed and limit_s >= _START_LIMIT_S
    assert said or not lived_out, f"{plan}: it did not start within {limit_s} s"
    return said, not killed


def run_judge(folder: Path, plan: Plan, url: str, *, pressed: bool) -> None:
    start_ns = time.time_ns() + (plan.number + 1) * _AHEAD_NS + 1_000_000_000

    def work(_: Callable[[str], None]) -> None:
        run_simulated(lambda clock: judge(clock, folder, plan, url, pressed), start_ns=start_ns)

    pid, reading = forked(work)
    while os.read(reading, 4096):
        pass
    os.close(reading)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"the start after {plan} was not sound (status {status})"


def destroy(folder: Path, chance: random.Random) -> bool:
    """Destroy the state database; False where there is no backup of it, and then it is spared."""
    data = folder / "data"
    if not _named_backups(data):
        return False
    state = data / "state.db"
    content = state.read_bytes()
    how = chance.randrange(3)
    if how == 0:
        state.unlink()
    else:
        state.write_bytes(content[: len(content) // 3] if how == 1 else b"\0" * len(content))
    for side in ("-wal", "-shm"):
        state.with_name(state.name + side).unlink(missing_ok=True)
    return True


def main(folder: Path, seed: int, url: str) -> dict[str, object]:
    """All engines of one seed, judged after each death."""
    chance = random.Random(seed)
    deaths, unbooked, told = [], 0, 0
    figures: dict[str, int] = {}
    for number in range(ENGINES):
        plan = plan_of(seed, number, chance)
        if plan.dies_at_start and plan.point.startswith(_RESTORING) and destroy(folder, chance):
            plan = replace(plan, is_restored=True)
        said, by_own_hand = run_engine(folder, plan, url)
        where = "trading" if "trading" in said else "starting"
        deaths.append(plan.point if by_own_hand else where)
        stream = {fields["id"] for _, fields in read_stream(url)}
        figures = check_disk(folder, plan, stream=stream)
        unbooked += figures["unbooked"]
        run_judge(folder, plan, url, pressed="pressed" in said)
        told = check_told(folder, plan, url)
    acknowledged = len(read_acknowledged(folder))
    return {
        "deaths": deaths,
        **figures,
        "unbooked": unbooked,
        "acknowledged": acknowledged,
        "in_stream": told,
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
