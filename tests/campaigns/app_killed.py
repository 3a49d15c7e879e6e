"""Campaign: the engine's process is killed again and again on one folder; nothing is lost or twice.

Each seed kills two engines, at random moments or exactly at a kill point: between the venue's
commit, the fill event and our commit; inside groups of statements, policy writes, backups and
prunings; inside a migration of an older database; inside the restore of a destroyed one and while
its events are taken back from Redis (`_killable` names them all; twenty seeds see each), and starts
one more after each. A real Redis lives on beside.

Invariants, right after each kill: both databases and every named backup are sound, no acknowledged
write is missing (`_witness` keeps the list, outside), every order at the venue has a durable
intent, no client order id twice, no two entries for one signal, nothing booked that the venue does
not have. After each next start: every order has a named state, books and open orders are the
venue's own (by the independent auditor), every execution is booked once, every position has its
stop, a pressed stop is still latched and flat, no illegal transition was heard; what was
acknowledged is in the stream, all of it, once, in the journal's order. When a thing dies at a
random moment is not repeatable to the microsecond; the plan of each death is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.real_redis import RealRedis, find_redis_server

SEED_LIMIT_S = 60
_ROOT = Path(__file__).resolve().parents[2]


def run_seed(seed: int, workdir: Path) -> dict[str, object]:
    """One folder, several deaths; see the module."""
    binary = find_redis_server()
    assert binary is not None, "no redis-server or valkey-server here"
    server = RealRedis(binary=binary)
    server.start()
    try:
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "tests.campaigns._killable"),
                *(str(workdir), str(seed), server.url),
            ],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=SEED_LIMIT_S,
        )
    finally:
        server.close()
    assert finished.returncode == 0, finished.stderr[-6000:]
    counted: dict[str, object] = json.loads(finished.stdout)
    return counted
