"""The history of the link: outages with their causes, and the steps of the last recovery."""

from __future__ import annotations

from typing import Any

from engine.bus import EventBus
from engine.kernel.link_history import LinkHistory
from engine.model.events import Event, LinkChanged, RecoveryStep, RedisLost, RedisRecovered
from engine.model.limits import REDIS_OUTAGES_SHOWN_MAX
from engine.runtime import CountingStopwatch, IdSource, SimClock, Stamper


class Rig:
    """A real bus with a history on it; every event is a millisecond after the one before."""

    def __init__(self) -> None:
        self.clock = SimClock(start_ns=0)
        self._stamper = Stamper(clock=self.clock, ids=IdSource(), source="test")
        self.bus = EventBus(
            clock=self.clock,
            stopwatch=CountingStopwatch(step_ns=1_000),
            log=None,
            stamper=self._stamper,
        )
        self.history = LinkHistory(bus=self.bus)
        self._ms = 0

    def say(self, kind: type[Event], **fields: Any) -> None:
        self._ms += 1
        self.bus.emit(kind(**{**self._stamper(), "ts_ns": self._ms * 1_000_000}, **fields))

    def outage(self, cause: str) -> None:
        self.say(LinkChanged, state="down", cause=cause)
        self.say(RedisLost, cause=cause)

    def recover(self) -> None:
        self.say(LinkChanged, state="replaying", cause="reconnected")
        self.say(RecoveryStep, step="replay", ok=True, duration_ms=12.5)
        self.say(LinkChanged, state="up", cause="")
        self.say(RecoveryStep, step="reconcile", ok=False, duration_ms=3.0)
        self.say(RecoveryStep, step="reconcile", ok=True, duration_ms=4.0)
        self.say(
            RedisRecovered,
            timestamp=9,
            downtime_seconds=11.5,
            replayed=420,
            resumed_in_seconds=0.02,
        )


def test_nothing_has_happened_at_first() -> None:
    rig = Rig()
    rig.say(LinkChanged, state="up", cause="managed")
    rig.say(RecoveryStep, step="replay", ok=True, duration_ms=1.0)
    now = rig.history.snapshot()
    assert (now.outages, now.outages_total, now.recovery) == ((), 0, None)


def test_an_outage_lasts_until_redis_answers_and_its_recovery_until_it_is_announced() -> None:
    rig = Rig()
    rig.outage("nothing listens at its address")
    lasting = rig.history.snapshot().outages
    assert [(one.cause, one.to_ns) for one in lasting] == [("nothing listens at its address", None)]
    rig.recover()
    now = rig.history.snapshot()
    assert (now.outages[0].from_ns, now.outages[0].to_ns) == (2_000_000, 3_000_000)
    assert now.recovery is not None
    assert [(step.step, step.ok) for step in now.recovery.steps] == [
        ("replay", True),
        ("reconcile", False),
        ("reconcile", True),
    ]
    assert (now.recovery.downtime_s, now.recovery.replayed) == (11.5, 420)
    assert now.recovery.finished_ns is not None


def test_a_step_before_the_link_is_said_to_be_there_belongs_to_the_recovery() -> None:
    """Goal: trips are exchanged first, and with nothing to replay no other state comes before."""
    rig = Rig()
    rig.outage("the connection was closed")
    rig.say(RecoveryStep, step="trips", ok=True, duration_ms=2.0)
    rig.recover()
    recovery = rig.history.snapshot().recovery
    assert recovery is not None
    assert [step.step for step in recovery.steps][:2] == ["trips", "replay"]


def test_steps_after_a_finished_recovery_are_not_added_to_it() -> None:
    rig = Rig()
    rig.outage("first")
    rig.recover()
    before = rig.history.snapshot().recovery
    rig.say(RecoveryStep, step="replay", ok=True, duration_ms=1.0)
    assert rig.history.snapshot().recovery == before


def test_only_the_newest_outages_are_kept_and_all_are_counted() -> None:
    rig = Rig()
    for number in range(REDIS_OUTAGES_SHOWN_MAX + 3):
        rig.outage(str(number))
        rig.recover()
    now = rig.history.snapshot()
    assert now.outages_total == REDIS_OUTAGES_SHOWN_MAX + 3
    assert len(now.outages) == REDIS_OUTAGES_SHOWN_MAX
    assert now.outages[0].cause == str(REDIS_OUTAGES_SHOWN_MAX + 2)
