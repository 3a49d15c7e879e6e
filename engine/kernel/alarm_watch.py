"""Looks at every part once a second and tells the alarm desk what is there and what is gone.

One place, so that an alarm's cause is written beside all others; delays and dead-bands are the
desk's. Seconds; utilisation is a fraction.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.kernel.parts import Parts
from engine.model.emergency import EmergencyState, Trip, TripSource
from engine.model.events import BusQueueCleared, BusQueueEvent, EmergencyTriggered
from engine.model.ids import Symbol
from engine.model.orders import OrderState
from engine.model.snapshots import LinkState
from engine.risk import DrawdownState, GovernorState

_LOOK_S = 1.0
_UNPROTECTED_NS = 5_000_000_000
_RECENT_S = 60.0
_QUEUE_WORTH_WORDS = 0.5
# console.md, alarm 9: more than 3 % of the entries of the last while, once there are enough to
# tell.
_REJECT_RATIO = 0.03
_REJECTS_OF_AT_LEAST = 10
_CODE_OF_SOURCE: Mapping[TripSource, str] = {
    TripSource.DRAWDOWN: "DRAWDOWN_HARD",
    TripSource.DAILY_LOSS: "DAILY_LOSS",
    TripSource.LOSS_STREAK: "LOSS_STREAK",
    TripSource.MIN_BALANCE: "MIN_BALANCE",
    TripSource.GOVERNOR: "GOVERNOR_HARD_STOP",
    TripSource.LATCH_FILE: "LATCH_FILE_DAMAGED",
    TripSource.DISAGREEMENT: "LATCH_DISAGREES",
}
_STOP_CODES = frozenset({*_CODE_OF_SOURCE.values(), "STOP_PRESSED", "STOP_BY_DESK"})


class AlarmWatch:
    """Raises and clears by what it sees."""

    def __init__(self, *, parts: Parts) -> None:
        self._parts = parts
        self._alarms = parts.alarms
        self._raised: dict[str, set[str]] = {}
        self._node = parts.options.configuration.node.name
        self._trips_told: set[str] = set()
        self._is_even = False
        self._naked_since: dict[Symbol, int] = {}
        # Those of the last run have had their alarm.
        self._shed_known = parts.storage.journal.shed_count
        # A stop shows its first cause at once, not at the next look.
        parts.bus.subscribe(
            lambda _: self._look_at_stop(), types=(EmergencyTriggered,), name="alarms of the stop"
        )
        parts.bus.subscribe(self._hear_queue, types=(BusQueueEvent,), name="alarms of the queue")

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._parts.clock.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """One look at everything."""
        self._parts.desk_emergency.compare()
        self._look_at_stop()
        for code, texts in self._parts.desk_emergency.alarms().items():
            self._keyed(code, texts)
        self._look_at_risk()
        # Their alarms wait for seconds before they sound; every other look is enough.
        self._is_even = not self._is_even
        if self._is_even:
            self._look_at_links()
        else:
            self._look_at_queue_and_journal()
        self._look_at_orders()
        self._look_at_positions()
        self._alarms.tick()
        # The latch may have been closed from outside; the state word follows it.
        self._parts.mode.tell()

    # --- telling ----------------------------------------------------------------------------------

    def _state(self, code: str, text: str) -> None:
        """Raise with a text, clear with an empty one."""
        self._keyed(code, {"": text} if text else {})

    def _keyed(self, code: str, texts: Mapping[str, str]) -> None:
        """Raise one alarm a key, clear those whose key is gone."""
        raised = self._raised.get(code)
        if not texts and not raised:
            return
        for key, text in texts.items():
            self._alarms.raise_alarm(code, text, key=key)
        for key in (raised or set()) - set(texts):
            self._alarms.clear_alarm(code, key=key)
        self._raised[code] = set(texts)

    # --- the stop and risk ------------------------------------------------------------------------

    def _look_at_stop(self) -> None:
        parts = self._parts
        if not parts.stop.is_latched() and not self._trips_told:
            return
        stop = parts.stop.snapshot()
        for number, trip in enumerate(stop.trips):
            if trip.id not in self._trips_told:
                self._trips_told.add(trip.id)
                self._alarms.raise_alarm(
                    self._code_of(trip, damage=stop.damage),
                    trip.reason if trip.node == self._node else f"{trip.node}: {trip.reason}",
                    key=trip.id,
                    sequence=number,
                )
        if not stop.trips:
            for code in _STOP_CODES:
                for identifier in self._trips_told:
                    self._alarms.clear_alarm(code, key=identifier)
            self._trips_told.clear()
            self._alarms.release_first_out()
        open_text = f"{stop.positions_open} positions, {stop.orders_open} orders are open"
        not_flat = stop.state is EmergencyState.INCOMPLETE
        self._state("STOP_NOT_FLAT", open_text if not_flat else "")
        self._state("CLOSING_PAUSED", "by the operator" if stop.paused else "")

    def _code_of(self, trip: Trip, *, damage: str) -> str:
        if trip.node != self._node:
            return "STOP_BY_DESK"
        if trip.source is TripSource.LATCH_FILE and not damage:
            return "LATCH_DISAGREES"
        return _CODE_OF_SOURCE.get(trip.source, "STOP_PRESSED")

    def _look_at_risk(self) -> None:
        parts = self._parts
        drawdown, rung = parts.breaker.drawdown, parts.governor.state
        blind = parts.mark_watch.blind
        self._state("DRAWDOWN_UNKNOWN", ", ".join(sorted(blind)))
        soft = drawdown is not None and parts.breaker.state is DrawdownState.SOFT
        self._state("DRAWDOWN_SOFT", f"{(drawdown or 0) * 100:.2f} % from the peak" if soft else "")
        self._state("GOVERNOR_RUNG", "" if rung is GovernorState.NORMAL else rung.value)
        reduce_why = None
        if soft:
            reduce_why = "drawdown beyond the soft limit"
        elif rung in {GovernorState.QUARANTINE, GovernorState.HARD_STOP}:
            reduce_why = f"governor {rung.value}"
        parts.mode.set_automatic_reduce_only(reduce_why)

    # --- infrastructure ---------------------------------------------------------------------------

    def _look_at_links(self) -> None:
        parts = self._parts
        if not parts.redis.is_standalone:
            redis = parts.redis.snapshot()
            self._state("NODE_NAME_IN_USE", redis.cause if redis.name_in_use else "")
            self._state("STREAM_NOT_OURS", redis.foreign)
            if (commands := redis.commands) is not None:
                self._state("COMMAND_REFUSED", commands.alarming)
                self._state("COMMANDS_UNREADABLE", commands.fault)
            down = redis.state in {LinkState.DOWN, LinkState.CONNECTING}
            away = down and not redis.name_in_use
            self._state("REDIS_DOWN", redis.cause or "no connection" if away else "")
        writer = parts.storage.writer
        self._state("DATABASE_DAMAGED", writer.damage)
        is_down = not (writer.healthy or writer.damage)
        self._state("DATABASE_DOWN", writer.last_error if is_down else "")
        age_s, limit_s = parts.policy.age_s(), parts.policy.active().max_policy_age_s
        old = age_s is None or age_s > limit_s
        self._state("POLICY_TOO_OLD", f"not confirmed for {age_s or 0:.0f} s" if old else "")
        self._state("POLICY_MISMATCH", parts.policy.fault)
        policy = parts.policy.snapshot()
        since = "since the start" if age_s is None else f"for {age_s:.0f} s"
        stale = f"not confirmed by Redis {since}, v{policy.version} of this node"
        self._state("POLICY_STALE", stale if policy.stale else "")
        conflict = policy.conflict
        sides = "" if conflict is None else " and ".join(side.node for side in conflict.sides)
        self._state(
            "POLICY_CONFLICT",
            "" if conflict is None else f"{len(conflict.fields)} fields differ, of nodes {sides}",
        )
        offset_ms, window_ms = parts.venue.clock_offset_ms(), parts.venue.receive_window_ms
        far = offset_ms is not None and window_ms is not None and abs(offset_ms) > window_ms / 2
        self._state("CLOCK_OFFSET", f"{offset_ms or 0:+.0f} ms" if far else "")
        connected = parts.venue.is_connected()
        self._state("VENUE_STREAM_DOWN", "" if connected else "not connected")
        rights = parts.venue.key_rights
        may_withdraw = rights is not None and rights.can_withdraw
        self._state("KEY_CAN_WITHDRAW", f"of {parts.venue.name}" if may_withdraw else "")
        self._keyed("MARKET_STREAM_DOWN", parts.market.streams_down())

    def _look_at_queue_and_journal(self) -> None:
        parts, bus = self._parts, self._parts.bus
        self._measure_queue(bus.size / bus.capacity)
        dropped_s = bus.since_last_drop_s()
        recent = dropped_s is not None and dropped_s < _RECENT_S
        self._state("EVENTS_DROPPED", f"last {dropped_s or 0:.0f} s ago" if recent else "")
        self._look_at_handlers()
        journal = parts.storage.journal
        dead = journal.dead_lettered
        self._state("DEAD_LETTER", f"{dead} events are parked" if dead else "")
        used = journal.bytes / parts.options.configuration.journal.max_bytes
        self._alarms.measure("JOURNAL_BEHIND", used, f"{used * 100:.0f} % of its cap")
        self._look_at_shed_events()

    def _hear_queue(self, event: BusQueueEvent) -> None:
        """A burst may come and go between two looks: it is an alarm all the same."""
        self._measure_queue(0.0 if isinstance(event, BusQueueCleared) else event.utilisation)

    def _measure_queue(self, fill: float) -> None:
        words = ""
        if fill >= _QUEUE_WORTH_WORDS:
            bus = self._parts.bus.snapshot()
            words = (
                f"{bus.size} of {bus.capacity} wait; {bus.published} published, "
                f"{bus.dropped} dropped, {bus.delayed} delayed"
            )
        self._alarms.measure("QUEUE_FILL", fill, words)
        self._alarms.measure("QUEUE_CRITICAL", fill, words)

    def _look_at_handlers(self) -> None:
        """Each handler that raised or was slow within the last minute, by name."""
        self._keyed(
            "HANDLER_FAILED",
            {
                row.name: f"{row.name} {row.last_fault}; {row.errors} errors, {row.slow} slow"
                for row in self._parts.bus.handler_rows()
                if (row.last_fault_age_s or 0.0) < _RECENT_S
            },
        )

    def _look_at_shed_events(self) -> None:
        """From the first event that is given up until nothing waits any more."""
        journal = self._parts.storage.journal
        lost = journal.lost
        self._state("EVENTS_LOST", f"{lost} of them" if lost else "")
        if journal.shed_count == self._shed_known:
            return
        if not journal.pending:
            self._shed_known = journal.shed_count
            self._state("EVENTS_SHED", "")
            return
        types = ", ".join(
            f"{count} {name}" for name, count in journal.snapshot().shed_types.items()
        )
        self._state("EVENTS_SHED", f"in all {types}")

    # --- orders and positions ---------------------------------------------------------------------

    def _look_at_orders(self) -> None:
        parts = self._parts
        execution = parts.execution
        self._keyed(
            "ORDER_UNRESOLVED",
            {
                str(record.client_order_id): f"{record.intent.symbol} {record.client_order_id}"
                for record in execution.desk.open_orders()
                if record.state in {OrderState.UNRESOLVED, OrderState.LOST}
            },
        )
        rejected, sent = execution.entries.recent_rejects()
        many = sent >= _REJECTS_OF_AT_LEAST and rejected / sent > _REJECT_RATIO
        self._state("ORDER_REJECTS", f"{rejected} of the last {sent}" if many else "")
        p99 = execution.entries.round_trip_ms_p99()
        if p99 is not None:
            self._alarms.measure("ORDER_ROUND_TRIP", p99, f"{p99:.0f} ms")
        reconciliation = execution.reconciliation
        self._state("POSITION_MISMATCH", reconciliation.mismatch)
        self._state("LEDGER_DIFFERS", reconciliation.balance_gap)

    def _look_at_positions(self) -> None:
        parts = self._parts
        positions = parts.ledger.positions()
        if not (positions or self._naked_since or self._raised.get("MARKET_DATA_STALE")):
            return
        limit_s = float(parts.policy.active().max_market_data_age_s)
        ages = parts.market.ages_s()
        stale = {
            str(position.symbol): f"{position.symbol}: {ages[position.symbol]:.1f} s old"
            for position in positions
            if ages.get(position.symbol, 0.0) > limit_s
        }
        self._keyed("MARKET_DATA_STALE", stale)
        now_ns = parts.clock.monotonic_ns()
        self._naked_since = {
            position.symbol: self._naked_since.get(position.symbol, now_ns)
            for position in positions
            if parts.execution.protection.trigger_price(position.symbol) is None
        }
        naked = {
            str(symbol): f"{symbol} for {(now_ns - since_ns) / 1e9:.0f} s"
            for symbol, since_ns in self._naked_since.items()
            if now_ns - since_ns > _UNPROTECTED_NS
        }
        self._keyed("POSITION_UNPROTECTED", naked)


__all__ = ["AlarmWatch"]
