"""A desk of two whole engines on one real Redis, and its one policy: what the gate does by it, what
an order carries, what status, alarms and the command line say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from console import cli_text
from engine.kernel.keys import DESK_KEY_VARIABLE
from engine.kernel.verbs import Verbs
from engine.model.events import OrderIntended, PolicyChanged, RecoveryStep
from engine.runtime import SystemClock
from tests.desk import Desk
from tests.faults.policy_desk import KEY, in_redis
from tests.real_redis import RealRedis
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]


@pytest.fixture(autouse=True)
def _desk_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DESK_KEY_VARIABLE, KEY)


@pytest.fixture
async def engines(tmp_path: Path, redis_server: RealRedis) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two engines with open gates and one policy."""
    async with AsyncExitStack() as stack:
        found: list[Desk] = []
        for node in ("alpha", "beta"):
            folder = tmp_path / node
            folder.mkdir()
            desk = Desk(clock=SystemClock(), folder=folder, redis_url=redis_server.url, node=node)
            await desk.open()
            stack.push_async_callback(desk.close)
            await eventually(lambda desk=desk: not desk.gate(), timeout_s=20)
            found.append(desk)
        alpha, beta = found
        await _one_policy(alpha, beta)
        yield alpha, beta


def _heads(desk: Desk) -> Any:
    return desk.kernel.parts.policy.keeper.heads


async def _one_policy(alpha: Desk, beta: Desk) -> None:
    def is_one() -> bool:
        both = [desk.kernel.parts.desk_policy for desk in (alpha, beta)]
        agreed = all(one is not None and one.agrees for one in both)
        return agreed and _heads(alpha) == _heads(beta)

    await eventually(is_one, timeout_s=10)


async def _lose(server: RealRedis, *desks: Desk) -> None:
    server.kill()
    for desk in desks:
        await eventually(lambda desk=desk: "redis_down" in desk.gate(), timeout_s=5)


async def _change(desk: Desk, **changes: str) -> None:
    client = desk.kernel.client
    result = await client.update_policy(
        changes, base_version=client.policy().version, author="op", reason="test"
    )
    assert result.ok, result.message


async def _ask(desk: Desk, verb: str, **args: Any) -> dict[str, Any]:
    """As `seawall` asks a running engine."""
    answer: dict[str, Any] = await Verbs(client=desk.kernel.client).table()[verb](args)
    return answer


def _alarms(desk: Desk) -> set[str]:
    return {
        alarm.code
        for alarm in desk.kernel.parts.alarms.snapshot()
        if alarm.state in {"new", "acknowledged"}
    }


async def test_a_change_on_one_engine_rules_the_others_gate_within_a_second(
    engines: tuple[Desk, Desk], redis_server: RealRedis
) -> None:
    alpha, beta = engines
    await _change(alpha, allow_new_trades="false")
    await eventually(lambda: "new_trades_not_allowed" in beta.gate(), timeout_s=1.0)
    await alpha.kernel.client.set_policy_mode("defensive", author="alice", reason="storm")
    await eventually(lambda: beta.kernel.client.policy().profile == "defensive", timeout_s=1.0)
    await _change(alpha, allow_new_trades="true")
    await eventually(lambda: not beta.gate(), timeout_s=1.0)
    status = await _ask(beta, "status")
    held = in_redis(redis_server.url)
    assert status["policy"]["sha256"] == held["sha256"]
    assert str(status["policy"]["version"]) == held["version"]
    assert (status["policy"]["source"], status["policy"]["stale"]) == ("redis", False)
    assert status["policy"]["conflict"] is None
    proof = status["safeguards"]["cache_invalidation"]
    assert proof["state"] == "ACTIVE"
    assert proof["proof"].startswith("a pushed change was in force after")
    authors = [event.author for event in beta.heard(PolicyChanged)]
    assert "alice" in authors
    # And an order carries the version that allowed it, wherever it was made.
    await beta.enter()
    [intended] = [event for event in beta.heard(OrderIntended) if event.policy_version][:1]
    assert intended.policy_version == alpha.kernel.client.policy().version


async def test_both_sides_of_an_outage_from_the_first_alarm_to_the_resolution(
    engines: tuple[Desk, Desk], redis_server: RealRedis
) -> None:
    alpha, beta = engines
    await _lose(redis_server, alpha, beta)
    await _change(alpha, max_leverage="8", allow_new_trades="false")
    await _change(beta, max_leverage="3")
    assert (await _ask(beta, "policy.show"))["shared"]["source"] == "local snapshot"
    redis_server.start()
    await eventually(lambda: "POLICY_CONFLICT" in _alarms(alpha) & _alarms(beta), timeout_s=20)
    await _one_policy(alpha, beta)
    for desk in engines:
        policy = desk.kernel.client.policy()
        assert (int(policy.active.max_leverage), policy.allow_new_trades) == (3, False)
        assert "new_trades_not_allowed" in desk.gate()
        steps = [step.step for step in desk.heard(RecoveryStep)]
        assert steps[-4:] == ["trips", "replay", "policy", "reconcile"]
    shown = await _ask(alpha, "policy.show")
    conflict = shown["shared"]["conflict"]
    assert {side["node"] for side in conflict["sides"]} == {"alpha", "beta"}
    assert set(conflict["fields"]["conservative.max_leverage"]) == {"8", "3"}
    assert conflict["base"]["conservative.max_leverage"] == "5"
    text = cli_text.policy_text("show", shown)
    assert "CONFLICT: the stricter value of each field holds" in text
    assert "conservative.max_leverage: alpha 8, beta 3" in text
    refused = await _ask(alpha, "policy.resolve", choice="nobody", reason="r")
    assert not refused["ok"]
    assert "alpha, beta" in refused["message"]
    done = await _ask(alpha, "policy.resolve", choice="theirs", author="alice", reason="agreed")
    assert done["ok"], done["message"]
    await _one_policy(alpha, beta)
    for desk in engines:
        assert desk.kernel.client.policy().version == done["version"]
        await eventually(lambda desk=desk: not desk.gate(), timeout_s=10)
        await eventually(lambda desk=desk: "POLICY_CONFLICT" not in _alarms(desk), timeout_s=10)
    again = await _ask(beta, "policy.resolve", choice="mine", reason="late")
    assert "no conflict" in again["message"]


async def test_an_unconfirmed_policy_is_stale_then_shuts_the_gate_and_both_end(
    engines: tuple[Desk, Desk], redis_server: RealRedis
) -> None:
    alpha, beta = engines
    await _lose(redis_server, alpha, beta)
    keeper = alpha.kernel.parts.policy.keeper
    assert keeper.confirmed_ns is not None
    assert "POLICY_STALE" not in _alarms(alpha)
    keeper.confirmed_ns -= 31_000_000_000  # So long ago, as it were.
    await eventually(lambda: "POLICY_STALE" in _alarms(alpha), timeout_s=5)
    status = await _ask(alpha, "status")
    assert (status["policy"]["stale"], status["policy"]["source"]) == (True, "local snapshot")
    assert "STALE" in cli_text.status_text(status)
    assert "policy_too_old" not in alpha.gate()
    keeper.confirmed_ns -= 300_000_000_000
    await eventually(lambda: "policy_too_old" in alpha.gate(), timeout_s=2)
    redis_server.start()
    await eventually(lambda: not alpha.gate(), timeout_s=20)
    await eventually(lambda: "POLICY_STALE" not in _alarms(alpha), timeout_s=10)


async def test_a_second_editor_is_told_field_by_field(
    engines: tuple[Desk, Desk], redis_server: RealRedis
) -> None:
    alpha, beta = engines
    base = beta.kernel.client.policy().version
    await _change(alpha, max_leverage="3")
    answer = await _ask(
        beta, "policy.set", changes={"max_leverage": "4"}, base_version=base, reason="late"
    )
    assert (answer["ok"], answer["conflict"]) == (False, True)
    assert answer["conflict_fields"] == {"conservative.max_leverage": ("5", "3", "4")}
    text = cli_text.result_text(answer)
    assert "conservative.max_leverage: was 5, is 3, wanted 4" in text
    await _one_policy(alpha, beta)
    assert beta.kernel.client.policy().active.max_leverage == 3
