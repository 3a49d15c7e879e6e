"""The client for other services against a real node; its page's examples are run as they are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from desk_client import CommandRefusedError, DeskClient, NoAnswerError
from engine.model.snapshots import EngineState
from tests.bus_sender import KEY, signature
from tests.faults.command_desk import command_desk
from tests.real_redis import RealRedis

pytestmark = [pytest.mark.timeout(60), pytest.mark.allow_log("Redis is away")]
_PAGE = Path(__file__).resolve().parents[2] / "docs" / "desk_client.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), flags=re.DOTALL)


async def off_the_loop(work: Callable[[], Any]) -> Any:
    """The client blocks, and the engine lives on this loop."""
    return await asyncio.to_thread(work)


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("number", range(6))
async def test_each_example_of_the_page_runs(
    number: int, tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        names = {"url": redis_server.url, "node": "desk", "key": KEY, "print": lambda *_: None}
        code = compile(EXAMPLES[number], f"{_PAGE.name} example {number}", "exec")
        await off_the_loop(lambda: exec("from desk_client import DeskClient", names))
        await off_the_loop(lambda: exec(code, names))
        await desk.settled()
        assert desk.commands().fault == ""


def test_its_signature_is_the_contracts(redis_server: RealRedis) -> None:
    """Against the second reading of the contract in `tests.bus_sender`."""
    with DeskClient(redis_server.url, "desk", KEY, origin="ü\n") as client:
        client.submit_signal("BTCUSDT", "buy", 0.5, strategy="é")
    server: Any = redis.Redis.from_url(redis_server.url, decode_responses=True, protocol=2)
    [(_, fields)] = server.xrange("seawall:desk:commands")
    server.close()
    parts = [fields[name] for name in ("type", "id", "ts", "nonce", "payload")]
    assert fields["sig"] == signature(KEY, "desk", *parts)


async def test_outcomes_refusals_and_silence(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        with DeskClient(redis_server.url, "desk", KEY, origin="test") as client:
            sent = await off_the_loop(lambda: client.halt("a", command_id="once"))
            outcome = await off_the_loop(lambda: client.require(sent))
            assert outcome.event["payload"]["origin"] == "test"
            assert desk.state() is EngineState.HALTED
            mode = await off_the_loop(lambda: client.set_policy_mode("reckless"))
            with pytest.raises(CommandRefusedError, match="must be one of"):
                await off_the_loop(lambda: client.require(mode))
            first = await off_the_loop(
                lambda: client.set_policy_mode("defensive", command_id="mode-1")
            )
            await off_the_loop(lambda: client.require(first))
            again = await off_the_loop(
                lambda: client.set_policy_mode("defensive", command_id="mode-1")
            )
            repeated = await off_the_loop(lambda: client.wait_for_outcome(again))
            assert repeated.accepted
            assert "its id was used before" in repeated.why
        with DeskClient(redis_server.url, "another", KEY) as nobody:
            lost = await off_the_loop(lambda: nobody.resume("hello"))
            with pytest.raises(NoAnswerError):
                await off_the_loop(lambda: nobody.wait_for_outcome(lost, timeout_s=0.3))


async def test_a_refusal_is_heard_while_events_wait_for_a_replay(
    tmp_path: Path, redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the dead-letter stream answers too. Method: the mirror is held."""
    async with command_desk(tmp_path, redis_server.url, monkeypatch) as desk:
        mirror = desk.kernel.parts.redis._mirror
        monkeypatch.setattr(mirror, "wake", lambda: None)
        with DeskClient(redis_server.url, "desk", "a-wrong-key-of-sixteen-bytes") as client:
            sent = await off_the_loop(lambda: client.resume("forged"))
            outcome = await off_the_loop(lambda: client.wait_for_outcome(sent))
        assert not outcome.accepted
        assert "signature is not this desk's" in outcome.why
