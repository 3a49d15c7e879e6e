"""Each state of a link has one word, a cause in plain words and an age; the buffer says where it
goes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from console.viewmodels import formatting
from console.viewmodels.appearance import Tone
from console.viewmodels.buffer import BufferState, BufferViewModel
from console.viewmodels.freshness import Engine
from console.viewmodels.links import LinkRow, LinksViewModel
from console.viewmodels.movement import Movement
from engine.model.ids import Symbol
from engine.model.snapshots import (
    DeadManSnapshot,
    EngineSnapshot,
    LinkState,
    PolicyConflictSnapshot,
    PolicySideSnapshot,
)
from tests.fakes.engine_client import (
    LINKS,
    down_snapshot,
    recovered_snapshot,
    replaying_snapshot,
    running_snapshot,
)


def seen(snapshot: EngineSnapshot, *, silent_s: float = 0.0) -> Engine:
    return Engine(snapshot=snapshot, silent_s=silent_s)


def row(snapshot: EngineSnapshot, name: str, *, silent_s: float = 0.0) -> LinkRow:
    rows = LinksViewModel().present(seen(snapshot, silent_s=silent_s))
    return next(one for one in rows if one.name == name)


def redis_row(**fields: Any) -> LinkRow:
    link = msgspec.structs.replace(LINKS[2], **fields)
    return row(msgspec.structs.replace(running_snapshot(), links=(link,)), "redis")


# --- links --------------------------------------------------------------------------------------


def test_the_rows_are_the_engine_its_links_and_the_policy() -> None:
    rows = LinksViewModel().present(seen(running_snapshot()))
    assert [one.title for one in rows] == [
        "Engine",
        "Paper orders",
        "Market data",
        "Redis",
        "Database",
        "Policy",
    ]
    assert {one.chip.tone for one in rows} == {Tone.NEUTRAL}
    assert {one.cause for one in rows} == {""}


@pytest.mark.parametrize(
    ("fields", "word", "tone"),
    [
        ({}, "UP", Tone.NEUTRAL),
        ({"age_s": 1.4}, "SLOW", Tone.LOW),
        ({"state": LinkState.DOWN, "down_s": 12.4}, "DOWN 12 s", Tone.CRITICAL),
        ({"state": LinkState.DOWN, "was_up": False}, "NEVER CONNECTED", Tone.CRITICAL),
        ({"state": LinkState.CONNECTING, "was_up": False}, "NEVER CONNECTED", Tone.HIGH),
        ({"state": LinkState.CONNECTING, "tries": 3}, "RECONNECTING 3", Tone.HIGH),
        ({"state": LinkState.DISABLED}, "OFF BY POLICY", Tone.QUIET),
    ],
)
def test_each_state_has_one_word(fields: dict[str, Any], word: str, tone: Tone) -> None:
    chip = redis_row(**fields).chip
    assert (chip.text, chip.tone) == (word, tone)


@pytest.mark.parametrize(
    ("state", "word", "tone", "detail", "cause"),
    [
        (DeadManSnapshot(), "ORDERS ONLY", Tone.NEUTRAL, "no entry rests", ""),
        (
            DeadManSnapshot(armed=(Symbol("BTCUSDT"),), renewed_age_s=3.0),
            "ORDERS ONLY",
            Tone.NEUTRAL,
            "BTCUSDT, 3.0 s",
            "",
        ),
        (
            DeadManSnapshot(held_off=(Symbol("ETHUSDT"),)),
            "ORDERS ONLY",
            Tone.NEUTRAL,
            "",
            "entries in ETHUSDT are not covered: it could take a stop along",
        ),
        (
            DeadManSnapshot(failed="BTCUSDT: no answer"),
            "NOT WOUND",
            Tone.HIGH,
            "",
            "BTCUSDT: no answer",
        ),
        (DeadManSnapshot(why_not="not enabled"), "NOT TO BE HAD", Tone.LOW, "", "not enabled"),
    ],
)
def test_the_dead_mans_switch_is_a_state_of_its_own(
    state: DeadManSnapshot, word: str, tone: Tone, detail: str, cause: str
) -> None:
    shown = row(msgspec.structs.replace(running_snapshot(), dead_man=state), "dead_man")
    assert (shown.chip.text, shown.chip.tone) == (word, tone)
    assert (shown.detail, shown.cause) == (detail, cause)


def test_a_link_that_is_down_says_why_and_which_try_it_is() -> None:
    down = row(down_snapshot(), "redis")
    assert down.cause == "nothing listens at its address (try 14)"
    assert row(running_snapshot(), "redis").detail == "managed, 0.3 s"


def test_a_slow_link_says_how_old_its_last_answer_is() -> None:
    assert redis_row(age_s=1.4).cause == "its last answer is 1.4 s old"


def test_what_does_not_measure_its_outage_is_measured_here() -> None:
    """Goal: DOWN with its seconds for every link. Method: the engine's clock goes on."""
    model = LinksViewModel()
    up = running_snapshot()
    down = msgspec.structs.replace(LINKS[0], state=LinkState.DOWN, cause="not connected")
    later = msgspec.structs.replace(up, links=(down,), monotonic_ns=up.monotonic_ns + 2_000_000_000)
    latest = msgspec.structs.replace(later, monotonic_ns=later.monotonic_ns + 7_000_000_000)
    words = [model.present(seen(one))[1].chip.text for one in (up, later, latest)]
    assert words == ["UP", "DOWN 0 s", "DOWN 7 s"]


def test_a_replay_says_what_is_left_and_when_it_is_done() -> None:
    model = LinksViewModel()
    first = replaying_snapshot()
    redis = msgspec.structs.replace(first.redis, replay_remaining=6_421)
    second = msgspec.structs.replace(
        first, redis=redis, monotonic_ns=first.monotonic_ns + 1_000_000_000
    )
    before, after = (
        next(one for one in model.present(seen(snapshot)) if one.name == "redis")
        for snapshot in (first, second)
    )
    assert before.chip.text == "REPLAYING 8\u2009421 left"
    assert before.progress == pytest.approx(1 - 8_421 / 12_600)
    assert after.chip.text == "REPLAYING 6\u2009421 left"
    assert (after.detail, after.cause) == ("done in 3 s", "")


def test_nothing_that_a_silent_engine_said_looks_current() -> None:
    silent = LinksViewModel().present(seen(running_snapshot(), silent_s=4.0))
    assert silent[0].chip.text == "SILENT"
    assert {one.chip.text for one in silent[1:]} == {"old 4.0 s"}
    gone = LinksViewModel().present(seen(running_snapshot(), silent_s=11.0))
    assert {one.chip.text for one in gone[1:]} == {"NO DATA"}


def test_the_policy_says_where_it_was_confirmed_and_when() -> None:
    fresh = row(running_snapshot(), "policy")
    assert (fresh.chip.text, fresh.detail) == ("CONFIRMED", "state database, 0.2 s")
    policy = msgspec.structs.replace(running_snapshot().policy, age_s=34.0)
    stale = row(msgspec.structs.replace(running_snapshot(), policy=policy), "policy")
    assert (stale.chip.text, stale.chip.tone) == ("STALE 34 s", Tone.HIGH)
    assert "last good copy" in stale.cause


def test_a_policy_changed_on_both_sides_is_a_conflict_and_says_what_holds() -> None:
    side = PolicySideSnapshot(version=7, author="op1", node="desk", ts_ns=1, reason="r")
    conflict = PolicyConflictSnapshot(sides=(side, side), fields={"max_leverage": ("3", "5")})
    policy = msgspec.structs.replace(running_snapshot().policy, conflict=conflict)
    shown = row(msgspec.structs.replace(running_snapshot(), policy=policy), "policy")
    assert (shown.chip.text, shown.chip.tone) == ("CONFLICT", Tone.HIGH)
    assert shown.cause == "one field changed on both sides; the stricter holds"


# --- the buffer ---------------------------------------------------------------------------------


def buffers(*figures: tuple[float, int, int], snapshot: EngineSnapshot) -> BufferState:
    """Show (seconds, pending, bytes) one after the other; the last state."""
    model = BufferViewModel()
    state: BufferState | None = None
    for at_s, pending, size in figures:
        journal = msgspec.structs.replace(snapshot.journal, pending=pending, bytes=size)
        now = msgspec.structs.replace(snapshot, journal=journal, monotonic_ns=round(at_s * 1e9))
        state = model.present(seen(now))
    assert state is not None
    return state


def test_while_redis_is_down_it_says_when_the_journal_is_full() -> None:
    """Goal: distance to the limit (R31). Method: 1 MB in 10 s, 90 MB to go."""
    state = buffers((0, 0, 9_000_000), (10, 3_000, 10_000_000), snapshot=down_snapshot())
    assert state.direction == "filling, full in 15 min"
    assert state.bar.value == "3\u2009000"
    assert state.figures == "oldest 12 s · 10 of 100 MB"


def test_while_it_replays_it_says_when_nothing_waits() -> None:
    state = buffers((0, 12_000, 10_000_000), (2, 8_000, 10_000_000), snapshot=replaying_snapshot())
    assert state.direction == "draining, empty in 4 s"


def test_what_is_on_its_way_to_a_server_that_answers_is_no_backlog() -> None:
    assert buffers((0, 3, 500), (1, 40, 900), snapshot=running_snapshot()).direction == ""


def test_a_change_of_the_link_starts_the_direction_anew() -> None:
    """Goal: never "filling" after the reconnect because of what was filled before it."""
    model = BufferViewModel()
    down, back = down_snapshot(), replaying_snapshot()
    model.present(seen(msgspec.structs.replace(down, monotonic_ns=0)))
    model.present(seen(msgspec.structs.replace(down, monotonic_ns=5_000_000_000)))
    state = model.present(seen(msgspec.structs.replace(back, monotonic_ns=5_100_000_000)))
    assert state.direction == ""


@pytest.mark.parametrize(
    ("size", "tone"), [(79_000_000, Tone.NEUTRAL), (80_000_000, Tone.HIGH), (10**8, Tone.CRITICAL)]
)
def test_the_bar_takes_its_tone_from_the_cap(size: int, tone: Tone) -> None:
    assert buffers((0, 10, size), snapshot=down_snapshot()).bar.tone is tone


def test_without_redis_nothing_waits() -> None:
    running = running_snapshot()
    redis = msgspec.structs.replace(running.redis, mode="standalone", state=LinkState.DISABLED)
    state = BufferViewModel().present(seen(msgspec.structs.replace(running, redis=redis)))
    assert state.bar.name == "Journal, no Redis"
    assert state.figures == "a commit is enough · 412 kB of 100 MB"


def test_a_calm_desk_after_an_outage_is_calm() -> None:
    state = BufferViewModel().present(seen(recovered_snapshot()))
    assert (state.direction, state.oldest, state.bar.tone) == ("", "none waits", Tone.NEUTRAL)


# --- figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (412_000, "412 kB"),
        (1_240_000, "1.2 MB"),
        (999_900, "1.0 MB"),
        (100_000_000, "100 MB"),
        (2_500_000_000, "2.5 GB"),
    ],
)
def test_sizes_have_one_unit(count: int, text: str) -> None:
    assert formatting.size(count) == text


def test_a_rate_needs_some_time_and_forgets_a_clock_that_stepped_back() -> None:
    movement = Movement(window_s=10.0, span_min_s=1.0)
    movement.add(0.0, 0.0)
    movement.add(0.5, 5.0)
    assert movement.rate_per_s is None
    movement.add(2.0, 20.0)
    assert movement.rate_per_s == pytest.approx(10.0)
    assert movement.seconds_until(120.0) == pytest.approx(10.0)
    assert movement.seconds_until(0.0) is None
    movement.add(1.0, 3.0)
    assert movement.rate_per_s is None
