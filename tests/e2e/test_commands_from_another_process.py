"""End to end: `seawall run --headless` with a desk key, and the client in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.control import ControlClient, NoEngine
from tests.e2e.test_desk_key_stays_secret import everything_in_redis
from tests.real_redis import RealRedis
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(120)
_ROOT = Path(__file__).resolve().parents[2]
KEY = "correct-horse-battery-staple-of-the-desk"
_SERVICE = """
import json, sys
from desk_client import DeskClient
url, key = sys.argv[1:]
said = []
with DeskClient(url, "local", key, origin="another-process") as desk:
    def tell(sent):
        outcome = desk.wait_for_outcome(sent, timeout_s=20)
        said.append([sent.type, outcome.accepted, outcome.why])
    tell(desk.submit_signal("BTCUSDT", "buy", 0.9, strategy="elsewhere"))
    tell(desk.halt("lunch"))
    tell(desk.resume("back"))
    tell(desk.set_policy_mode("defensive", reason="careful"))
    tell(desk.trip("end of the story"))
    tell(desk.resume("too late"))
with DeskClient(url, "local") as nobody:
    refused = nobody.wait_for_outcome(nobody.resume("me too"), timeout_s=20)
    said.append(["unsigned", refused.accepted, refused.why])
print(json.dumps(said))
"""


@contextmanager
def running(data: Path, config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An engine with a desk key, as a service manager would start it; ended in order."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "console", "run", "--headless", "--json"),
                *("--config", str(config), "--data-dir", str(data)),
            ],
            cwd=_ROOT,
            env={**os.environ, "SEAWALL_DESK_KEY": KEY},
            stdout=said,
            stderr=said,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def serve(url: str) -> subprocess.CompletedProcess[str]:
    """The service, to its end."""
    return subprocess.run(
        [sys.executable, "-c", _SERVICE, url, KEY],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def status(data: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ControlClient(data).call("status")
    except NoEngine:
        return {"state": "off"}
    return found


async def test_a_service_in_another_process_commands_a_headless_engine(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    data, config, log = tmp_path / "data", tmp_path / "seawall.toml", tmp_path / "said"
    config.write_text(
        '[node]\nname = "local"\n[log]\nlevel = "debug"\n'
        f'[redis]\nmode = "url"\nurl = "{redis_server.url}"\n'
    )
    with running(data, config, log):
        await eventually(lambda: status(data)["state"] == "running", timeout_s=40)
        finished = await asyncio.to_thread(serve, redis_server.url)
        assert finished.returncode == 0, finished.stderr[-3000:]
        said = json.loads(finished.stdout)
        assert [(kind, accepted) for kind, accepted, _ in said] == [
            ("signal.submit", True),
            ("trading.halt", True),
            ("trading.resume", True),
            ("policy.mode", True),
            ("emergency.trip", True),
            ("trading.resume", False),
            ("unsigned", False),
        ]
        assert "latched" in said[5][2]
        assert "must be signed" in said[6][2]
        found = status(data)
        assert found["state"] == "latched"
        assert found["policy"]["profile"] == "defensive"
        commands = found["redis"]["commands"]
        assert (commands["accepted"], commands["refused"]) == (5, 2)
        assert commands["desk_key"] == "from SEAWALL_DESK_KEY"
        assert "must be signed" in commands["last_error"]
        in_redis = everything_in_redis(redis_server.url)
    written = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert KEY.encode() not in written + log.read_bytes() + in_redis
