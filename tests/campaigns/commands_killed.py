"""Campaign: the engine is killed while commands come over a real Redis; each has its effect once.

Each seed sends signals, policy changes, halts, resumes and perhaps a trip, some of them twice. The
first engine dies by SIGKILL: after reading, between effect and acknowledgement, between a stop and
its record, after the acknowledgement, or at a random moment. The second is left alone until all is
worked off.

Invariants, from the test's own list: every command that was accepted has one row, one effect and
one event; a signal one `signal.received` and at most one entry; a policy change one version; every
entry of the stream is acknowledged; what is in no row is in the dead-letter stream with a reason; a
trip that was sent is latched.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.bus_sender import KEY, BusSender
from tests.campaigns._commanded import POINTS
from tests.real_redis import RealRedis, find_redis_server

SEED_LIMIT_S = 120
_ROOT = Path(__file__).resolve().parents[2]
_ENGINES = 2
_LIFE_S = 10.0


def run_seed(seed: int, workdir: Path) -> dict[str, object]:
    """One folder, one Redis, several deaths; see the module."""
    binary = find_redis_server()
    assert binary is not None, "no Redis server here"
    chance = random.Random(seed)
    server = RealRedis(binary=binary)
    server.start()
    sender = BusSender(server.url)
    sent: list[dict[str, str]] = []
    deaths: list[str] = []
    try:
        for number in range(_ENGINES):
            last = number == _ENGINES - 1
            _say_something(sender, sent, chance, with_trip=last and chance.random() < 0.5)
            deaths.append(_live_and_die(workdir, server, sender, sent, chance, last=last))
        return {"deaths": deaths, **_judge(workdir, sender, sent)}
    finally:
        sender.close()
        server.close()


def _say_something(
    sender: BusSender, sent: list[dict[str, str]], chance: random.Random, *, with_trip: bool
) -> None:
    """A handful of commands, some sent twice to the letter, as an impatient service would."""
    kinds = chance.choices(
        ["signal", "mode", "update", "halt", "resume"], weights=[5, 2, 2, 1, 1], k=12
    )
    for kind in kinds + (["trip"] if with_trip else []):
        fields = _command(sender, kind, chance)
        sender.put(fields)
        sent.append(fields)
        if chance.random() < 0.2:
            sender.put(fields)


def _command(sender: BusSender, kind: str, chance: random.Random) -> dict[str, str]:
    if kind == "signal":
        payload: dict[str, Any] = {
            "symbol": chance.choice(("BTCUSDT", "ETHUSDT")),
            "side": chance.choice(("buy", "sell")),
            "confidence": round(chance.random(), 3),
            "strategy": "campaign",
        }
        return sender.fields("signal.submit", payload)
    if kind == "mode":
        name = chance.choice(("defensive", "conservative", "moderate"))
        return sender.fields("policy.mode", {"name": name})
    if kind == "update":
        payload = {"base_version": chance.randint(1, 4), "fields": {"max_open_positions": 4}}
        return sender.fields("policy.update", payload)
    if kind == "trip":
        return sender.fields("emergency.trip", {"reason": "campaign"}, signed=False)
    signed = kind == "resume" or chance.random() < 0.5
    return sender.fields(f"trading.{kind}", {"reason": "campaign"}, signed=signed)


def _live_and_die(
    folder: Path,
    server: RealRedis,
    sender: BusSender,
    sent: list[dict[str, str]],
    chance: random.Random,
    *,
    last: bool,
) -> str:
    point = "" if last or chance.random() < 0.3 else chance.choice(POINTS)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.campaigns._commanded", "engine"),
            *(str(folder), server.url, point or "never", str(chance.randint(1, 3))),
        ],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "SEAWALL_DESK_KEY": KEY},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        _say_something(sender, sent, chance, with_trip=False)
        if last:
            _until(sender.is_worked_off, "the last engine works everything off")
        else:
            deadline_s = time.monotonic() + (_LIFE_S if point else chance.random() * 0.3)
            while process.poll() is None and time.monotonic() < deadline_s:
                time.sleep(0.002)
                if point and sender.is_worked_off():
                    _say_something(sender, sent, chance, with_trip=False)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    return point or ("left alone" if last else "random moment")


def _until(condition: Any, what: str) -> None:
    deadline_s = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline_s, f"not within 40 s: {what}"
        time.sleep(0.01)


def _judge(folder: Path, sender: BusSender, sent: list[dict[str, str]]) -> dict[str, object]:
    with closing(sqlite3.connect(folder / "data" / "state.db")) as state:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return state.execute(sql).fetchall()

        assert rows("PRAGMA integrity_check") == [("ok",)]
        done = {row[0] for row in rows("SELECT command_id FROM commands")}
        received = Counter(
            row[0] for row in rows("SELECT trace FROM outbox WHERE type = 'signal.received'")
        )
        accepted = Counter(
            row[0] for row in rows("SELECT trace FROM outbox WHERE type = 'command.accepted'")
        )
        entries = Counter(
            signal
            for (record,) in rows("SELECT record FROM intents WHERE purpose = 'entry'")
            if (signal := json.loads(record)["signal_id"])
        )
        versions = rows("SELECT version, reason FROM policy_versions ORDER BY version")
        trips = rows("SELECT count(*) FROM trips")[0][0]
    by_id = {fields["id"]: fields for fields in sent}
    assert done <= set(by_id), f"done and never sent: {done - set(by_id)}"
    assert not [one for one in (received + accepted) if (received + accepted)[one] != 1], (
        "an effect came twice"
    )
    assert set(received) | set(accepted) == done, "an effect without its row, or a row without one"
    assert all(count == 1 for count in entries.values()), "two entries for one signal"
    of_policy = Counter(reason for version, reason in versions if version > 1)
    assert all(count == 1 for count in of_policy.values()), f"a change came twice: {of_policy}"
    assert {f"command {one}" for one in done} >= set(of_policy), "a version without its command"
    dead = {row["id"]: row["error"] for row in sender.dead()}
    lost = [one for one in by_id if one not in done and one not in dead]
    assert not lost, f"neither done nor refused: {[by_id[one] for one in lost]}"
    assert all(dead[one] for one in dead), "a refusal without a reason"
    asked = [fields for fields in sent if fields["type"] == "emergency.trip"]
    assert bool(trips) == bool(asked), f"{len(asked)} trips were sent, {trips} are there"
    return {"sent": len(sent), "done": len(done), "refused": len(set(by_id) - done)}
