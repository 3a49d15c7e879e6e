"""The alarm desk: states by its table, delays, dead-bands, first-out, chatter, bounds."""

from __future__ import annotations

import random

import pytest

from engine.health import ALARMS, AlarmDesk
from engine.health.alarm_desk import TRANSITIONS, AlarmState, AlarmTrigger
from engine.model.events import AlarmCleared, AlarmRaised
from engine.model.records import AlarmRecord
from engine.runtime import IdSource, SimClock, Stamper
from tests.fakes.risk_facts import NOW_NS


class Desk:
    def __init__(self, *, alarms_max: int = 500) -> None:
        self.clock = SimClock(start_ns=NOW_NS)
        self.published: list[tuple[AlarmRecord, AlarmRaised]] = []
        ids = IdSource(seed=1)
        self.alarms = AlarmDesk(
            clock=self.clock,
            stamp=Stamper(clock=self.clock, ids=ids, source="alarms"),
            ids=ids,
            publish=lambda record, event: self.published.append((record, event)),
            alarms_max=alarms_max,
        )

    def after(self, seconds: float) -> None:
        self.clock._elapsed_ns += round(seconds * 1e9)
        self.alarms.tick()

    def shown(self) -> list[tuple[str, str]]:
        return [(alarm.code, alarm.state) for alarm in self.alarms.snapshot()]

    def told(self) -> list[tuple[str, str]]:
        return [(type(event).__name__, event.code) for _, event in self.published]

    def see(self) -> None:
        for alarm in self.alarms.snapshot():
            assert self.alarms.acknowledge(alarm.id)


def test_every_alarm_of_the_table_is_something_to_do() -> None:
    for code, spec in ALARMS.items():
        assert code == spec.code == code.upper()
        assert 1 <= spec.priority <= 3
        assert spec.title
        assert spec.consequence.endswith(".")
        assert spec.action.endswith((".", "?"))
        assert (spec.set_point is None) == (spec.clear_point is None)
        if spec.set_point is not None and spec.clear_point is not None:
            assert spec.clear_point < spec.set_point, "an analogue alarm needs a dead-band"
        assert not spec.trips or (spec.priority == 1 and spec.on_delay_s == 0)


def test_life_of_an_alarm_that_is_seen_first() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("DRAWDOWN_SOFT", "drawdown 5.10 %, the limit is 5.00 %")
    assert desk.shown() == [("DRAWDOWN_SOFT", "new")]
    desk.see()
    assert desk.shown() == [("DRAWDOWN_SOFT", "acknowledged")]
    desk.alarms.clear_alarm("DRAWDOWN_SOFT")
    assert desk.shown() == []
    assert desk.told() == [("AlarmRaised", "DRAWDOWN_SOFT"), ("AlarmCleared", "DRAWDOWN_SOFT")]
    assert [record.cleared_ns is None for record, _ in desk.published] == [True, False]
    assert len({record.id for record, _ in desk.published}) == 1


def test_life_of_an_alarm_that_goes_before_anybody_looked() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("DRAWDOWN_SOFT")
    desk.alarms.clear_alarm("DRAWDOWN_SOFT")
    assert desk.shown() == [("DRAWDOWN_SOFT", "returned")]
    desk.after(61)
    desk.alarms.raise_alarm("DRAWDOWN_SOFT")
    assert desk.shown() == [("DRAWDOWN_SOFT", "new")]
    desk.alarms.clear_alarm("DRAWDOWN_SOFT")
    desk.see()
    assert desk.shown() == []


def test_raising_again_what_sounds_changes_its_text_and_tells_nothing() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("POSITION_UNPROTECTED", "BTCUSDT", key="BTCUSDT")
    desk.alarms.raise_alarm("POSITION_UNPROTECTED", "BTCUSDT, try 2", key="BTCUSDT")
    desk.alarms.raise_alarm("POSITION_UNPROTECTED", "ETHUSDT", key="ETHUSDT")
    assert len(desk.published) == 2
    assert {alarm.text for alarm in desk.alarms.snapshot()} == {
        "Position without its protective stop: BTCUSDT, try 2",
        "Position without its protective stop: ETHUSDT",
    }
    desk.alarms.clear_alarm("POSITION_UNPROTECTED", key="BTCUSDT")
    states = {alarm.key: alarm.state for alarm in desk.alarms.snapshot()}
    assert states == {"BTCUSDT": "returned", "ETHUSDT": "new"}


def test_the_table_of_transitions() -> None:
    assert TRANSITIONS[AlarmState.NEW, AlarmTrigger.SEEN] is AlarmState.ACKNOWLEDGED
    assert (AlarmState.ACKNOWLEDGED, AlarmTrigger.SEEN) not in TRANSITIONS
    reachable = {AlarmState.NEW, *TRANSITIONS.values()}
    assert reachable == set(AlarmState)


def test_on_delay_and_off_delay() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("MARKET_DATA_STALE", key="BTCUSDT")
    desk.after(1.9)
    assert desk.shown() == []
    desk.after(0.1)
    assert desk.shown() == [("MARKET_DATA_STALE", "new")]
    desk.alarms.clear_alarm("MARKET_DATA_STALE", key="BTCUSDT")
    desk.after(4.9)
    assert desk.shown() == [("MARKET_DATA_STALE", "new")]
    desk.after(0.1)
    assert desk.shown() == [("MARKET_DATA_STALE", "returned")]


def test_a_cause_shorter_than_the_delay_never_sounds() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("REDIS_DOWN")
    desk.after(2.9)
    desk.alarms.clear_alarm("REDIS_DOWN")
    desk.after(60)
    assert desk.published == []


def test_a_cause_that_returns_within_the_off_delay_never_went() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("REDIS_DOWN")
    desk.after(3)
    desk.alarms.clear_alarm("REDIS_DOWN")
    desk.after(9.9)
    desk.alarms.raise_alarm("REDIS_DOWN")
    desk.after(5)
    assert desk.told() == [("AlarmRaised", "REDIS_DOWN")]


def test_redis_becomes_priority_one_after_a_minute() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("REDIS_DOWN")
    desk.after(3)
    desk.see()
    assert [alarm.priority for alarm in desk.alarms.snapshot()] == [2]
    desk.after(59.9)
    assert [alarm.priority for alarm in desk.alarms.snapshot()] == [2]
    desk.after(0.1)
    assert [(alarm.priority, alarm.state) for alarm in desk.alarms.snapshot()] == [(1, "new")]
    desk.after(60)
    assert [event.priority for _, event in desk.published] == [2, 1]


def test_analogue_alarms_have_a_dead_band() -> None:
    desk = Desk()
    for value, shown in ((0.79, 0), (0.80, 1), (0.75, 1), (0.70, 1), (0.699, 0), (0.75, 0)):
        desk.alarms.measure("QUEUE_FILL", value)
        states = [state for _, state in desk.shown()]
        assert states.count("new") == shown, value
    with pytest.raises(ValueError, match="no set-point"):
        desk.alarms.measure("DRAWDOWN_SOFT", 1.0)
    with pytest.raises(KeyError):
        desk.alarms.raise_alarm("NO_SUCH_ALARM")


def test_first_out_is_the_first_by_sequence_whatever_the_order_of_arrival() -> None:
    codes = [code for code, spec in ALARMS.items() if spec.trips]
    others = [code for code, spec in ALARMS.items() if not spec.trips and not spec.on_delay_s]
    causes = [*codes, *others[: 12 - len(codes)]]
    assert len(causes) == 12
    for seed in range(20):
        desk = Desk()
        arrivals = list(enumerate(causes, start=100))
        random.Random(seed).shuffle(arrivals)
        for sequence, code in arrivals:
            desk.clock._elapsed_ns += 4_000_000
            desk.alarms.raise_alarm(code, sequence=sequence)
        marked = [alarm.code for alarm in desk.alarms.snapshot() if alarm.first_out]
        assert marked == [codes[0]], seed


def test_first_out_is_held_until_the_reset_even_when_its_cause_is_gone() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("DRAWDOWN_SOFT")
    desk.alarms.raise_alarm("DRAWDOWN_HARD")
    desk.alarms.raise_alarm("DAILY_LOSS")
    desk.see()
    desk.alarms.clear_alarm("DRAWDOWN_HARD")
    first = [alarm for alarm in desk.alarms.snapshot() if alarm.first_out]
    assert [(alarm.code, alarm.state) for alarm in first] == [("DRAWDOWN_HARD", "cleared")]
    desk.alarms.release_first_out()
    assert "DRAWDOWN_HARD" not in [code for code, _ in desk.shown()]
    desk.alarms.raise_alarm("MIN_BALANCE")
    assert [a.code for a in desk.alarms.snapshot() if a.first_out] == ["MIN_BALANCE"]


def test_chatter_is_told_once_and_ends_after_a_calm_minute() -> None:
    desk = Desk()
    for _ in range(6):
        desk.alarms.raise_alarm("POLICY_TOO_OLD")
        desk.after(1)
        desk.alarms.clear_alarm("POLICY_TOO_OLD")
        desk.after(1)
    assert desk.told().count(("AlarmRaised", "ALARM_CHATTERING")) == 1
    desk.after(61)
    assert desk.told().count(("AlarmCleared", "ALARM_CHATTERING")) == 1


def test_slow_changes_are_no_chatter() -> None:
    desk = Desk()
    for _ in range(6):
        desk.alarms.raise_alarm("POLICY_TOO_OLD")
        desk.after(25)
        desk.alarms.clear_alarm("POLICY_TOO_OLD")
        desk.after(25)
    assert ("AlarmRaised", "ALARM_CHATTERING") not in desk.told()


def test_bounded_and_the_first_out_stays() -> None:
    desk = Desk(alarms_max=10)
    desk.alarms.raise_alarm("DRAWDOWN_HARD")
    for number in range(50):
        desk.alarms.raise_alarm("HANDLER_FAILED", key=str(number))
    assert len(desk.alarms.snapshot()) == 10
    assert desk.alarms.evicted == 41
    assert desk.alarms.snapshot()[0].code == "DRAWDOWN_HARD"


def test_most_urgent_first_then_newest() -> None:
    desk = Desk()
    for code in ("HANDLER_FAILED", "DRAWDOWN_SOFT", "DRAWDOWN_UNKNOWN", "LEDGER_DIFFERS"):
        desk.alarms.raise_alarm(code)
        desk.after(1)
    assert [code for code, _ in desk.shown()] == [
        "DRAWDOWN_UNKNOWN",
        "LEDGER_DIFFERS",
        "DRAWDOWN_SOFT",
        "HANDLER_FAILED",
    ]


def test_what_sounded_before_a_restart_waits_to_be_seen() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("LEDGER_DIFFERS", "4.20 USDT")
    record = desk.published[-1][0]
    again = Desk()
    again.alarms.restore((record,))
    assert again.shown() == [("LEDGER_DIFFERS", "returned")]
    assert again.published[-1][0].cleared_ns is not None
    again.see()
    assert again.shown() == []


def test_an_alarm_nobody_has_cannot_be_seen() -> None:
    assert not Desk().alarms.acknowledge("a1")


def test_events_are_of_the_contract() -> None:
    desk = Desk()
    desk.alarms.raise_alarm("DRAWDOWN_UNKNOWN", "BTCUSDT has no price")
    desk.alarms.clear_alarm("DRAWDOWN_UNKNOWN")
    raised, cleared = (event for _, event in desk.published)
    assert (raised.TYPE, cleared.TYPE) == ("alarm.raised", "alarm.cleared")
    assert raised.DURABLE
    assert isinstance(cleared, AlarmCleared)
    assert raised.action == ALARMS["DRAWDOWN_UNKNOWN"].action
