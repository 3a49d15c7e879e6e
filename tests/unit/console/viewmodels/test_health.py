"""The Health page in words and figures: what an outage was, what it cost, what needs a look."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from console.viewmodels import formatting
from console.viewmodels.appearance import Tone
from console.viewmodels.buffer import BufferViewModel
from console.viewmodels.freshness import Engine
from console.viewmodels.health_events import HealthEventsViewModel
from console.viewmodels.health_links import (
    Fact,
    HealthLinksState,
    HealthLinksViewModel,
    step_words,
)
from console.viewmodels.links import LinksViewModel
from console.viewmodels.trends import TrendSeries
from engine.model.snapshots import EngineSnapshot, LinkState
from tests.fakes.engine_client import (
    BUS_TYPES,
    LETTERS,
    NOW_NS,
    down_snapshot,
    recovered_snapshot,
    replaying_snapshot,
    running_snapshot,
)


def links_of(
    snapshot: EngineSnapshot,
    *,
    silent_s: float = 0.0,
    age_max_s: float = 300.0,
    is_backing_up: bool = False,
) -> HealthLinksState:
    engine = Engine(snapshot=snapshot, silent_s=silent_s)
    return HealthLinksViewModel().present(
        engine,
        rows=LinksViewModel().present(engine),
        buffer=BufferViewModel().present(engine),
        policy_age_max_s=age_max_s,
        is_backing_up=is_backing_up,
    )


def value(facts: tuple[Fact, ...], name: str) -> str:
    return next(fact.value for fact in facts if fact.name == name)


def altered(snapshot: EngineSnapshot, part: str, **fields: Any) -> EngineSnapshot:
    changed = msgspec.structs.replace(getattr(snapshot, part), **fields)
    return msgspec.structs.replace(snapshot, **{part: changed})


# --- Redis and its outages ----------------------------------------------------------------------


def test_redis_says_its_mode_its_lease_and_its_stream() -> None:
    facts = links_of(running_snapshot()).redis.facts
    assert value(facts, "Mode") == "managed"
    assert value(facts, "Chosen because") == "auto: no URL, redis-server found"
    assert value(facts, "Fencing number") == "3"
    assert value(facts, "Stream") == "seawall:desk:events"
    assert value(facts, "Lease owner") == "desk-pc:/home/op/seawall"


def test_without_redis_nothing_is_said_of_a_lease() -> None:
    alone = altered(running_snapshot(), "redis", mode="standalone", state=LinkState.DISABLED)
    assert [fact.name for fact in links_of(alone).redis.facts] == ["Mode", "Chosen because"]


def test_an_outage_that_lasts_counts_on_and_one_that_is_over_has_its_end() -> None:
    lasting = links_of(down_snapshot())
    assert lasting.outages_title == "Outages of Redis in this run: 1"
    assert [cell.text for cell in lasting.outages[0]] == [
        "14:31:55",
        "lasts",
        "12 s",
        "nothing listens at its address",
    ]
    over = links_of(recovered_snapshot()).outages
    assert [cell.text for cell in over[0]][:3] == ["14:30:55", "14:31:07", "12 s"]
    assert over[1][2].text == "1.40 s"


def test_the_last_recovery_is_told_step_by_step() -> None:
    timeline = links_of(recovered_snapshot()).timeline
    assert timeline is not None
    assert timeline.title == (
        "Last recovery: away 12 s, 12\u2009600 events replayed, gate open after 870 ms"
    )
    assert [(bar.title, bar.duration) for bar in timeline.steps] == [
        ("Pending stops obeyed", "1.2 ms"),
        ("Trips exchanged", "3.1 ms"),
        ("Events replayed", "812 ms"),
        ("Policy merged", "9.4 ms"),
        ("Positions compared", "41 ms"),
    ]
    ends = [bar.end for bar in timeline.steps]
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(1.0)
    assert [bar.begin for bar in timeline.steps] == [0.0, *ends[:-1]]


def test_a_step_that_failed_says_so() -> None:
    snapshot = recovered_snapshot()
    recovery = snapshot.link_history.recovery
    assert recovery is not None
    failed = msgspec.structs.replace(recovery.steps[4], ok=False)
    history = msgspec.structs.replace(
        snapshot.link_history, recovery=msgspec.structs.replace(recovery, steps=(failed,))
    )
    timeline = links_of(msgspec.structs.replace(snapshot, link_history=history)).timeline
    assert timeline is not None
    assert timeline.steps[0].title == "Positions compared: failed"
    assert not timeline.steps[0].ok


def test_a_step_nobody_named_yet_is_shown_rather_than_hidden() -> None:
    assert step_words("model_sync") == "Model sync"


def test_a_recovery_under_way_is_said_and_its_replay_has_a_bar() -> None:
    state = links_of(replaying_snapshot())
    assert state.timeline is not None
    assert state.timeline.title == "Recovery under way"
    assert state.redis.progress == pytest.approx(1 - 8_421 / 12_600)


# --- journal, policy, database ------------------------------------------------------------------


def test_the_journal_says_how_fast_its_last_replay_was() -> None:
    snapshot = altered(
        running_snapshot(),
        "journal",
        last_replay_duration_s=0.8,
        last_replay_rate_per_s=15_000.0,
        dead_lettered=2,
    )
    facts = links_of(snapshot).journal.facts
    assert value(facts, "Last replay") == "12\u2009000 events"
    assert value(facts, "Replay took") == "800 ms, 15\u2009000/s"
    assert next(fact for fact in facts if fact.name == "Dead letters").tone is Tone.HIGH


def test_what_the_journal_gave_up_is_told_by_type() -> None:
    snapshot = altered(
        running_snapshot(), "journal", shed=14, shed_types={"signal.received": 12, "x.y": 2}, lost=1
    )
    part = links_of(snapshot).journal
    assert part.cause == "given up: 12 signal.received, 2 x.y"
    assert value(part.facts, "Given up") == "14"
    assert next(fact for fact in part.facts if fact.name == "Lost").tone is Tone.CRITICAL


@pytest.mark.parametrize(
    ("age_s", "chip", "cause"),
    [
        (0.2, "CONFIRMED", ""),
        (40.0, "STALE 40 s", "entries are held in 4 min"),
        (320.0, "STALE 5 min", "too old: entries are held until it is confirmed"),
    ],
)
def test_the_policy_says_how_far_its_age_is_from_holding_entries(
    age_s: float, chip: str, cause: str
) -> None:
    part = links_of(altered(running_snapshot(), "policy", age_s=age_s)).policy
    assert part.chip.text == chip
    assert part.cause.endswith(cause)
    assert value(part.facts, "Source") == "state database"


def test_a_backup_that_failed_is_told_with_what_the_disk_said() -> None:
    good = links_of(running_snapshot()).database
    assert good is not None
    assert value(good.facts, "Last backup") == "08:32:07 UTC"
    assert value(good.facts, "Backup result") == "good, checked"
    bad = links_of(altered(running_snapshot(), "database", backup_fault="disk is full")).database
    assert bad is not None
    assert bad.cause == "backup: disk is full"
    assert value(bad.facts, "Backup result") == "the newest failed"


def test_a_backup_is_not_asked_for_twice() -> None:
    state = links_of(running_snapshot(), is_backing_up=True)
    assert (state.can_back_up, state.backup_words) == (False, "Backing up, waiting")


def test_figures_of_a_silent_engine_are_dim_and_then_no_data() -> None:
    old = links_of(running_snapshot(), silent_s=3.0).redis.facts
    gone = links_of(running_snapshot(), silent_s=12.0).redis.facts
    assert all(fact.is_stale for fact in old)
    assert {fact.value for fact in gone} == {"NO DATA"}


def test_the_chart_is_scaled_by_its_peak_and_survives_gaps() -> None:
    series = TrendSeries(window_s=3_600, capacity=100)
    engine = Engine(snapshot=running_snapshot(), silent_s=0.0)
    assert HealthLinksViewModel.buffer_chart(engine, series).high == 100.0
    series.load(np.array([0.0, 1.0, 60.0]), np.array([10.0, 4_000.0, 20.0]))
    assert HealthLinksViewModel.buffer_chart(engine, series).high == pytest.approx(4_600.0)
    only_gaps = TrendSeries(window_s=3_600, capacity=100)
    only_gaps.append(1.0, None)
    assert HealthLinksViewModel.buffer_chart(engine, only_gaps).high == 100.0


# --- the bus ------------------------------------------------------------------------------------


def test_types_that_lose_events_come_first_and_then_the_busiest() -> None:
    types = tuple(
        msgspec.structs.replace(one, dropped=3) if one.type == "order.filled" else one
        for one in BUS_TYPES
    )
    snapshot = altered(running_snapshot(), "bus", types=types)
    state = HealthEventsViewModel().present(Engine(snapshot=snapshot, silent_s=0.0))
    names = [row[0].text for row in state.types]
    assert names[:3] == ["order.filled", "market.tick", "account.equity.updated"]
    assert (state.types[0][2].text, state.types[0][2].tone) == ("3", Tone.HIGH)


def test_a_type_whose_handlers_overran_their_budget_is_marked() -> None:
    state = HealthEventsViewModel().present(Engine(snapshot=down_snapshot(), silent_s=0.0))
    slow = next(row for row in state.types if row[0].text == "risk.circuit_breaker.triggered")
    assert (slow[7].text, slow[7].tone) == ("51\u2009200", Tone.LOW)


def test_handlers_are_shown_only_when_one_misbehaved() -> None:
    model = HealthEventsViewModel()
    calm = model.present(Engine(snapshot=running_snapshot(), silent_s=0.0))
    assert (calm.handlers, calm.newest_fault) == ((), "")
    bad = model.present(Engine(snapshot=down_snapshot(), silent_s=0.0))
    assert [cell.text for cell in bad.handlers[0]] == ["alarms of the stop", "2", "1", "63.2"]
    assert bad.newest_fault.startswith("alarms of the stop, 14 s ago: KeyError")


# --- dead letters -------------------------------------------------------------------------------


def test_only_a_parked_letter_that_is_chosen_can_be_requeued() -> None:
    model = HealthEventsViewModel()

    def state(chosen: str, *, is_pending: bool = False) -> Any:
        return model.dead_letters(LETTERS, chosen=chosen, now_ns=NOW_NS, is_pending=is_pending)

    assert [state(key).can_requeue for key in ("", "812", "640")] == [False, True, False]
    assert not state("812", is_pending=True).can_requeue
    assert state("").title == "Dead letters: 1 parked"
    assert state("812").detail.endswith("proto-max-bulk-len allows")
    assert [row[2].text for row in state("").rows] == ["parked", "sent as 655"]


def test_no_dead_letter_is_said_in_words() -> None:
    state = HealthEventsViewModel().dead_letters((), chosen="", now_ns=NOW_NS, is_pending=False)
    assert (state.title, state.empty, state.detail) == (
        "Dead letters",
        "Redis has refused no event",
        "",
    )


# --- figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [(3.14, "3.1 ms"), (41.4, "41 ms"), (812.0, "812 ms"), (1_400.0, "1.40 s"), (12_400.0, "12 s")],
)
def test_durations_of_steps_have_one_unit(value_ms: float, text: str) -> None:
    assert formatting.milliseconds(value_ms) == text


def test_a_moment_of_another_day_carries_its_date() -> None:
    assert formatting.moment(NOW_NS, NOW_NS) == "14:32:07"
    assert formatting.moment(NOW_NS - 86_400_000_000_000, NOW_NS) == "11-20 14:32"
