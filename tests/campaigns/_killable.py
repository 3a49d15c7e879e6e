"""The program of the kill campaign: engines that trade a lot and are killed, several on one folder.

One interpreter a seed: it forks one process for each engine (the import is paid once), and one more
to start the engine again and judge it. An engine is a real process with the real kernel, real files
and real time; it dies by SIGKILL, either at a random moment (from its first instruction on) or by
its own hand exactly at a kill point:

- `commit:place`, `commit:reduce`, `commit:match`: the venue has committed, nobody has been told;
- `told`: the venue has told us of a fill, our own commit has not come back;
- an event type: our commit is done (the event is published after it) and nothing else.

    python -m tests.campaigns._killable DIR SEED

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
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
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
from tests.desk import Desk

ENGINES = 2
_RANDOM_S_MAX = 0.7
_LIMIT_S = 12.0
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
_POINTS = (
    *("commit:place", "commit:place", "commit:reduce", "commit:match", "told", "told"),
    *("order.intended", "order.submitted", "order.accepted", "order.filled"),
    *("position.opened", "trade.closed"),
)
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


def plan_of(seed: int, number: int, chance: random.Random) -> Plan:
    """Half of the engines die at a kill point; some are pressed first."""
    at_point = chance.random() < 0.5
    return Plan(
        number=number,
        seed=seed * 100 + number,
        point=chance.choice(_POINTS) if at_point else "",
        count=chance.randint(1, 6),
        after_s=chance.random() * _RANDOM_S_MAX,
        press=number == ENGINES - 1 and chance.random() < 0.3,
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Reaper:
    """Counts the visits to one kill point and dies at the last."""

    def __init__(self, plan: Plan) -> None:
        self._point, self._left = plan.point, plan.count

    def visit(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                die()


# --- the engine that dies -------------------------------------------------------------------------


def _desk(clock: SimClock | SystemClock, folder: Path) -> Desk:
    return Desk(
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


async def engine(folder: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Trade as fast as the policy allows until death."""
    desk = _desk(SystemClock(offset_ns=(plan.number + 1) * _AHEAD_NS), folder)
    await desk.build()
    reaper, parts = _Reaper(plan), desk.kernel.parts

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
    while True:
        for symbol in _PRICES:
            _stir(desk, Symbol(symbol), chance)
        press_in -= 1
        if plan.press and press_in == 0:
            desk.kernel.client.trip(source=TripSource.BUTTON, reason="campaign")
            await desk.until(lambda: not parts.stop.pending_writes())
            say("pressed")
        await asyncio.sleep(chance.random() * 0.02)


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


def check_disk(folder: Path, *, after: str) -> dict[str, int]:
    """What must hold on the disk alone, right after the kill."""
    data = folder / "data"
    if not (data / "state.db").exists():
        return {"fills": 0, "orders": 0, "unbooked": 0}
    state, paper = data / "state.db", data / "paper.db"
    for path in (state, paper):
        if path.exists():
            assert _rows(path, "PRAGMA integrity_check") == [("ok",)], (path.name, after)
    if not paper.exists() or not _rows(paper, "SELECT 1 FROM sqlite_master WHERE name = 'venue'"):
        return {"fills": 0, "orders": 0, "unbooked": 0}
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


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def _fills(path: Path) -> set[tuple[Any, ...]]:
    """Who, what and how much; decimals by their value."""
    rows = _rows(
        path, "SELECT execution_id, client_order_id, symbol, side, quantity, price, fee FROM fills"
    )
    return {(*row[:4], *(Decimal(text) for text in row[4:])) for row in rows}


async def judge(clock: SimClock, folder: Path, plan: Plan, pressed: bool) -> None:
    """Start again on the same folder, let unknown outcomes be looked up, and compare everything."""
    desk = _desk(clock, folder)
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


def run_engine(folder: Path, plan: Plan) -> str:
    """Let an engine live and die; what it said."""
    pid, reading = forked(lambda say: asyncio.run(engine(folder, plan, say)))
    began = time.monotonic()
    limit_s = _LIMIT_S if plan.point or plan.press else plan.after_s
    said, killed, from_s = "", False, began
    while True:
        left_s = from_s + limit_s - time.monotonic()
        if left_s <= 0 and not killed:
            killed = True
            os.kill(pid, signal.SIGKILL)
        if select.select([reading], [], [], max(0.0, left_s) if not killed else None)[0]:
            chunk = os.read(reading, 4096)
            if not chunk:
                break
            if not said and plan.seed % 5 and not plan.point:
                from_s = time.monotonic()  # Most random moments are within trading.
            said += chunk.decode()
            if plan.press and "pressed" in said and not plan.point:
                limit_s = min(limit_s, time.monotonic() - from_s + plan.after_s)
    os.close(reading)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status), f"the engine did not die by the kill but by itself: {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    return said


def run_judge(folder: Path, plan: Plan, *, pressed: bool) -> None:
    start_ns = time.time_ns() + (plan.number + 1) * _AHEAD_NS + 1_000_000_000

    def work(_: Callable[[str], None]) -> None:
        run_simulated(lambda clock: judge(clock, folder, plan, pressed), start_ns=start_ns)

    pid, reading = forked(work)
    while os.read(reading, 4096):
        pass
    os.close(reading)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"the start after {plan} was not sound (status {status})"


def main(folder: Path, seed: int) -> dict[str, object]:
    """All engines of one seed, judged after each death."""
    chance = random.Random(seed)
    deaths, unbooked = [], 0
    figures: dict[str, int] = {}
    for number in range(ENGINES):
        plan = plan_of(seed, number, chance)
        said = run_engine(folder, plan)
        died_at = plan.point or ("trading" if "trading" in said else "starting")
        deaths.append(died_at)
        figures = check_disk(folder, after=str(plan))
        unbooked += figures["unbooked"]
        run_judge(folder, plan, pressed="pressed" in said)
    return {"deaths": deaths, **figures, "unbooked": unbooked}


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
