"""Looks at every part once a second and tells the alarm desk what is there and what is gone.

One place, so that an alarm's cause is written beside all others; delays and dead-bands are the
desk's. Seconds; utilisation is a fraction.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.kernel.parts import Parts
from engine.model.emergency import EmergencyState, TripSource
from engine.model.ids import Symbol
from engine.model.orders import OrderState
from engine.model.snapshots import LinkState
from engine.risk import DrawdownState, GovernorState

_LOOK_S = 1.0
_UNPROTECTED_NS = 5_000_000_000
_CODE_OF_SOURCE: Mapping[TripSource, str] = {
    TripSource.DRAWDOWN: "DRAWDOWN_HARD",
    TripSource.DAILY_LOSS: "DAILY_LOSS",
    TripSource.LOSS_STREAK: "LOSS_STREAK",
    TripSource.MIN_BALANCE: "MIN_BALANCE",
    TripSource.GOVERNOR: "GOVERNOR_HARD_STOP",
    TripSource.LATCH_FILE: "LATCH_FILE_DAMAGED",
}


class AlarmWatch:
    """Raises and clears by what it sees."""

    def __init__(self, *, parts: Parts) -> None:
        self._parts = parts
        self._alarms = parts.alarms
        self._trips_told: set[str] = set()
        self._naked_since: dict[Symbol, int] = {}
        self._held_keys: dict[str, set[str]] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._parts.clock.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """One look at everything."""
        self._look_at_stop()
        self._look_at_risk()
        self._look_at_infrastructure()
        self._look_at_orders()
        self._alarms.tick()
        # The latch may have been closed from outside; the state word follows it.
        self._parts.mode.tell()

    def _state(self, code: str, text: str) -> None:
        """Raise with a text, clear with an empty one."""
        if text:
            self._alarms.raise_alarm(code, text)
        else:
            self._alarms.clear_alarm(code)

    def _keyed(self, code: str, texts: Mapping[str, str]) -> None:
        """Raise one alarm a key, clear those whose key is gone."""
        for key, text in texts.items():
            self._alarms.raise_alarm(code, text, key=key)
        for key in self._held_keys.get(code, set()) - set(texts):
            self._alarms.clear_alarm(code, key=key)
        self._held_keys[code] = set(texts)

    def _look_at_stop(self) -> None:
        stop = self._parts.stop.snapshot()
        for number, trip in enumerate(stop.trips):
            if trip.id not in self._trips_told:
                self._trips_told.add(trip.id)
                code = _CODE_OF_SOURCE.get(trip.source, "STOP_PRESSED")
                self._alarms.raise_alarm(code, trip.reason, key=trip.id, sequence=number)
        if not stop.trips and self._trips_told:
            for code in {*_CODE_OF_SOURCE.values(), "STOP_PRESSED"}:
                for identifier in self._trips_told:
                    self._alarms.clear_alarm(code, key=identifier)
            self._trips_told.clear()
            self._alarms.release_first_out()
        not_flat = stop.state is EmergencyState.INCOMPLETE
        open_text = f"{stop.positions_open} positions, {stop.orders_open} orders are open"
        self._state("STOP_NOT_FLAT", open_text if not_flat else "")
        self._state("CLOSING_PAUSED", "paused by the operator" if stop.paused else "")

    def _look_at_risk(self) -> None:
        parts = self._parts
        state, drawdown = parts.breaker.state, parts.breaker.drawdown
        blind = ", ".join(sorted(parts.mark_watch.blind))
        self._state("DRAWDOWN_UNKNOWN", f"no price for {blind}" if blind else "")
        soft = state is DrawdownState.SOFT and drawdown is not None
        self._state("DRAWDOWN_SOFT", f"{(drawdown or 0) * 100:.2f} % from the peak" if soft else "")
        rung = parts.governor.state
        self._state("GOVERNOR_RUNG", "" if rung is GovernorState.NORMAL else rung.value)
        reduce_why = None
        if soft:
            reduce_why = "drawdown beyond the soft limit"
        elif rung in {GovernorState.QUARANTINE, GovernorState.HARD_STOP}:
            reduce_why = f"governor {rung.value}"
        parts.mode.set_automatic_reduce_only(reduce_why)

    def _look_at_infrastructure(self) -> None:
        parts = self._parts
        profile = parts.policy.active()
        size, capacity = parts.bus.size, parts.bus.capacity
        fill = f"{size / capacity * 100:.0f} % full, {size} of {capacity}"
        self._alarms.measure("QUEUE_FILL", size / capacity, fill)
        self._alarms.measure("QUEUE_CRITICAL", size / capacity, fill)
        redis = parts.redis.snapshot()
        down = redis.state in {LinkState.DOWN, LinkState.CONNECTING}
        self._state("NODE_NAME_IN_USE", redis.cause if redis.name_in_use else "")
        away = down and not redis.name_in_use
        self._state("REDIS_DOWN", redis.cause or "no connection" if away else "")
        writer = parts.storage.writer
        database = "" if writer.healthy else writer.last_error
        self._state("DATABASE_DOWN", database)
        age_s = parts.policy.age_s()
        old = age_s is None or age_s > profile.max_policy_age_s
        self._state("POLICY_TOO_OLD", f"not confirmed for {age_s or 0:.0f} s" if old else "")
        self._state("POLICY_MISMATCH", parts.policy.fault)
        connected = parts.venue.is_connected()
        self._state("VENUE_STREAM_DOWN", "" if connected else "the private stream is down")
        limit_s = float(profile.max_market_data_age_s)
        held = {position.symbol for position in parts.ledger.positions()}
        stale = {
            str(symbol): f"{symbol}: last price {age:.1f} s ago"
            for symbol, age in parts.market.ages_s().items()
            if age > limit_s and symbol in held
        }
        self._keyed("MARKET_DATA_STALE", stale)
        journal = parts.storage.journal.snapshot()
        used = journal.bytes / parts.options.configuration.journal.max_bytes
        self._alarms.measure("JOURNAL_BEHIND", used, f"{used * 100:.0f} % of its cap")

    def _look_at_orders(self) -> None:
        parts = self._parts
        unresolved = {
            str(record.client_order_id): f"{record.intent.symbol} {record.client_order_id}"
            for record in parts.execution.desk.open_orders()
            if record.state in {OrderState.UNRESOLVED, OrderState.LOST}
        }
        self._keyed("ORDER_UNRESOLVED", unresolved)
        now_ns = parts.clock.monotonic_ns()
        naked: dict[str, str] = {}
        bare = {
            position.symbol
            for position in parts.ledger.positions()
            if parts.execution.protection.trigger_price(position.symbol) is None
        }
        self._naked_since = {
            symbol: self._naked_since.get(symbol, now_ns) for symbol in sorted(bare)
        }
        for symbol, since_ns in self._naked_since.items():
            if now_ns - since_ns > _UNPROTECTED_NS:
                naked[symbol] = f"{symbol} has had no stop for {(now_ns - since_ns) / 1e9:.0f} s"
        self._keyed("POSITION_UNPROTECTED", naked)
        p99 = parts.execution.entries.round_trip_ms_p99()
        if p99 is not None:
            self._alarms.measure("ORDER_ROUND_TRIP", p99, f"{p99:.0f} ms")


__all__ = ["AlarmWatch"]
