"""A whole engine with a desk key: the key is nowhere but in its memory.

Searched as text, in every byte that the program wrote: both databases with their WAL, journal,
latch, logs at their most talkative, standard output and error, backups, and everything in Redis.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_redis import RealRedis
from tests.secret_search import everything_in_redis

pytestmark = pytest.mark.timeout(90)
_ROOT = Path(__file__).resolve().parents[2]
KEY = "correct-horse-battery-staple-of-the-desk"


def test_the_key_is_in_no_file_no_log_and_not_in_redis(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    data, config = tmp_path / "data", tmp_path / "seawall.toml"
    config.write_text(
        f'[redis]\nmode = "url"\nurl = "{redis_server.url}"\n[log]\nlevel = "debug"\n'
    )
    words = ["run", "--headless", "--for", "3s", "--json"]
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "console", *words),
            *("--config", str(config), "--data-dir", str(data)),
        ],
        cwd=_ROOT,
        env={**os.environ, "SEAWALL_DESK_KEY": KEY},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    said = finished.stdout + finished.stderr
    for path in (path for path in data.rglob("*") if path.is_file()):
        said += path.read_bytes()
    assert b"desk key: from SEAWALL_DESK_KEY" in said, "the engine did not say that it has the key"
    in_redis = everything_in_redis(redis_server.url)
    assert b"seawall:" in in_redis
    for hidden in (KEY.encode(), KEY.encode().hex().encode(), KEY.encode("utf-16-le")):
        assert hidden not in said
        assert hidden not in in_redis
