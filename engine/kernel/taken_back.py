"""What each event of the node's stream gives back to a restored database: one table, `RULES`.

Why a table: for every type that the journal carries it is said here, once, what it changes or why
it changes nothing (`docs/taken_back.md` is made from it). Every event taken goes back into the
journal whatever its type; the table is about state beside that.

Safe by direction: Redis is not proof of who wrote. So money follows the events (the venue is
compared right after), trips count, limits and holds only become stricter, and a reset counts only
where the latch file says too that the stop is open. On the loop, no I/O. What cannot be applied is
counted by type. Money in account currency, times UTC nanoseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from engine.kernel.standing import HALTED
from engine.kernel.wiring import GOVERNOR, governor_record
from engine.model import events as ev
from engine.model.emergency import Clearing, Scope, Trip, TripSource
from engine.model.errors import InvariantBroken, PolicyInvalid
from engine.model.ids import Symbol
from engine.model.orders import (
    Fill,
    Intent,
    OrderRecord,
    OrderState,
    OrderTrigger,
    next_state,
)
from engine.model.policy import is_looser, validate, with_changes
from engine.model.records import EquityMark
from engine.model.snapshots import EngineState
from engine.portfolio import Ledger, LedgerTotals
from engine.risk import GovernorState
from engine.runtime import IdSource
from engine.trade_state import OpenState, TakenChanges

_DAY_NS = 86_400_000_000_000
_COMPANIONS = (ev.TradeEvent, ev.PositionEvent)
_MOVES: Mapping[type[ev.Event], tuple[OrderTrigger, OrderState]] = {
    ev.OrderSubmitted: (OrderTrigger.SENT, OrderState.SUBMITTED),
    ev.OrderAccepted: (OrderTrigger.VENUE_ACCEPTED, OrderState.ACCEPTED),
    ev.OrderCancelled: (OrderTrigger.VENUE_CANCELLED, OrderState.CANCELLED),
    ev.OrderRejected: (OrderTrigger.VENUE_REJECTED, OrderState.REJECTED),
    ev.OrderDenied: (OrderTrigger.DENIED_BY_US, OrderState.DENIED),
    ev.OrderUnresolved: (OrderTrigger.TIMED_OUT, OrderState.UNRESOLVED),
    ev.OrderAbandoned: (OrderTrigger.NOT_AT_VENUE, OrderState.ABANDONED),
    ev.OrderLost: (OrderTrigger.VENUE_FORGOT, OrderState.LOST),
}


class _TradeIds(IdSource):
    """Gives a new trade the id that it had; one of its own where no event tells of it."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = ""

    def next(self, kind: str = "e") -> str:
        return self.expected or super().next(kind)


class Rebuilding:
    """Follows events in their order and says what they change, batch by batch.

    `find_order` is asked for orders that are neither open nor among the events.
    """

    def __init__(
        self,
        *,
        state: OpenState,
        initial: Decimal | None,
        currency: str,
        node: str,
        latched: bool,
        live: bool,
        now_ns: int,
    ) -> None:
        self._ids = _TradeIds()
        self._ledger = Ledger(initial=initial, ids=self._ids, now_ns=now_ns, currency=currency)
        totals = self._ledger.totals
        if state.totals_json is not None:
            totals = msgspec.json.decode(state.totals_json, type=LedgerTotals)
            self._ledger.restore(
                totals=totals,
                positions=state.positions,
                open_trades=state.trades,
                marks={},
                now_ns=totals.day * _DAY_NS,
            )
        # The ledger values positions at old prices here, so these three follow what was told.
        self._peak, self._day, self._day_start = totals.peak, totals.day, totals.day_start_equity
        self.orders: dict[str, OrderRecord] = {
            order.client_order_id: order for order in state.orders
        }
        self._executions = set(state.executions)
        self._inferred: dict[str, Fill] = {fill.execution_id: fill for fill in state.inferred}
        self._trips = {trip.id for trip in state.trips_uncleared}
        self._node = node
        self._latched = latched
        self._policy = state.policy
        self._live = live
        self._governor = governor_record(state.standing)
        self._held_before = HALTED in state.standing
        self._was_reset = False
        self._batch = TakenChanges()
        self.applied: Counter[str] = Counter()
        # By type, and by what is wrong where a person should know it.
        self.not_applied: Counter[str] = Counter()

    @property
    def policy_version(self) -> int:
        return self._policy.version if self._policy is not None else 0

    def complete(self, events: Sequence[ev.Event | None]) -> int:
        """How many of the first events can be applied: a fill waits for the trades and positions
        that were told with it, which may be in the next batch.
        """
        at = len(events)
        while at and isinstance(events[at - 1], _COMPANIONS):
            at -= 1
        if at and isinstance(events[at - 1], ev.OrderFilled):
            return at - 1
        return len(events)

    def follow(self, events: Sequence[ev.Event | None]) -> TakenChanges:
        """Apply a batch; what is None could not be read and is known to the caller."""
        # What has ended is on the disk since the last batch, and is looked up where it is needed.
        for record in self._batch.orders.values():
            if record.state.is_final:
                del self.orders[record.client_order_id]
        self._batch = TakenChanges()
        touched = False
        for number, event in enumerate(events):
            if event is None:
                continue
            rule = RULES.get(event.TYPE)
            if rule is None:
                self.not_applied[event.TYPE] += 1
            elif rule.apply is not None:
                touched = True
                following = events[number + 1 : number + 5]
                done = rule.apply(self, event, following)
                (self.applied if done else self.not_applied)[event.TYPE] += 1
        if touched:
            self._batch.totals = replace(
                self._ledger.totals,
                peak=self._peak,
                day=self._day,
                day_start_equity=self._day_start,
            )
        return self._batch

    # --- orders and fills -------------------------------------------------------------------------

    def intended(self, event: ev.Event, _: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.OrderIntended)
        if event.client_order_id in self.orders:
            return False
        intent = Intent(
            client_order_id=event.client_order_id,
            symbol=event.symbol,
            side=event.side,
            kind=event.kind,
            purpose=event.purpose,
            quantity=event.quantity,
            price=event.price,
            trigger_price=event.trigger_price,
            reduce_only=event.reduce_only,
            leverage=event.leverage,
            policy_version=event.policy_version,
            trace=event.trace,
            signal_id=event.signal_id,
            trade_id=event.trade_id,
            stop_loss=event.stop_loss,
            take_profit=event.take_profit,
            strategy=event.strategy,
            created_ns=event.ts_ns,
        )
        self._batch.intents.append(intent)
        self.orders[intent.client_order_id] = OrderRecord(
            intent=intent, state=OrderState.INTENDED, updated_ns=event.ts_ns
        )
        return True

    def moved(self, event: ev.Event, _: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.OrderEvent)
        before = self.orders.get(event.client_order_id)
        if before is None:
            return False
        trigger, state = _MOVES[type(event)]
        self._keep(
            replace(
                before,
                state=next_state(before.state, trigger) or state,
                venue_order_id=event.venue_order_id or before.venue_order_id,
                reason=event.reason_codes[0] if event.reason_codes else before.reason,
                updated_ns=event.ts_ns,
            )
        )
        return True

    def filled(self, event: ev.Event, following: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.OrderFilled)
        if event.execution_id in self._executions:
            return False
        fill = Fill(
            execution_id=event.execution_id,
            client_order_id=event.client_order_id,
            venue_order_id=event.venue_order_id,
            symbol=event.symbol,
            side=event.side,
            quantity=event.last_quantity,
            price=event.last_price,
            fee=event.fee,
            fee_currency=event.fee_currency,
            ts_ns=event.executed_at or event.ts_ns,
            is_maker=event.is_maker,
        )
        if event.replaces:
            return self._replaced(event, fill)
        record = self._filled_record(event, fill)
        told = self._told_with(event.symbol, following)
        opened = [entry for entry in told if isinstance(entry, ev.TradeOpened)]
        self._ids.expected = opened[0].trade_id if opened else ""
        try:
            plan = self._ledger.plan_fill(fill, intent=None if record is None else record.intent)
            self._ledger.apply(plan)
        except InvariantBroken:
            return False
        self._executions.add(fill.execution_id)
        if fill.execution_id.startswith("inferred"):
            self._inferred[fill.execution_id] = fill
        if record is not None:
            self._keep(record)
        self._batch.fills.append(fill)
        self._batch.positions[fill.symbol] = plan.position
        for trade in (plan.closed, plan.trade):
            if trade is not None:
                self._batch.trades[trade.trade_id] = trade
        for entry in told:
            closed = plan.closed
            if isinstance(entry, ev.TradeClosed) and (
                closed is None or (closed.realised, closed.fees) != (entry.realised, entry.fees)
            ):
                self.not_applied["trade.closed with other figures"] += 1
        return True

    def _replaced(self, event: ev.OrderFilled, fill: Fill) -> bool:
        """A true execution that took the place of an inferred fill, which was told before it."""
        inferred = self._inferred.get(event.replaces)
        if inferred is None or event.replaced_price is None or inferred.quantity < fill.quantity:
            return False
        try:
            plan = self._ledger.plan_replacement(
                fill, price_before=event.replaced_price, inferred_ns=event.replaced_at
            )
            self._ledger.apply_replacement(plan)
        except InvariantBroken:
            return False
        self._executions.add(fill.execution_id)
        remaining = replace(inferred, quantity=inferred.quantity - fill.quantity)
        self._inferred[event.replaces] = remaining
        self._batch.fills.append(fill)
        self._batch.replaced.append(remaining)
        record = self._filled_record(event, fill)
        before = self.orders.get(event.client_order_id)
        if before is not None and event.client_order_id == inferred.client_order_id:
            # It is counted as filled already, at the price that was inferred.
            more = fill.quantity * (fill.price - event.replaced_price)
            fees = before.fees + fill.fee
            record = replace(before, filled_notional=before.filled_notional + more, fees=fees)
        if record is not None:
            self._keep(record)
        if plan.position is not None and plan.trade is not None:
            self._batch.positions[fill.symbol] = plan.position
            self._batch.trades[plan.trade.trade_id] = plan.trade
        return True

    def _filled_record(self, event: ev.OrderFilled, fill: Fill) -> OrderRecord | None:
        before = self.orders.get(event.client_order_id)
        if before is None:
            return None  # Opened elsewhere; its money counts, the venue knows its order.
        filled = before.filled + fill.quantity
        last = filled >= before.intent.quantity
        trigger = OrderTrigger.LAST_FILL if last else OrderTrigger.PARTIAL_FILL
        default = OrderState.FILLED if last else OrderState.PARTIALLY_FILLED
        return replace(
            before,
            state=next_state(before.state, trigger) or default,
            filled=filled,
            filled_notional=before.filled_notional + fill.quantity * fill.price,
            fees=before.fees + fill.fee,
            venue_order_id=event.venue_order_id or before.venue_order_id,
            updated_ns=event.ts_ns,
        )

    def _told_with(
        self, symbol: Symbol, following: Sequence[ev.Event | None]
    ) -> list[ev.TradeEvent]:
        """The trades that were told in one transaction with a fill: they follow it directly."""
        found: list[ev.TradeEvent] = []
        for event in following:
            if not isinstance(event, _COMPANIONS) or event.symbol != symbol:
                break
            if isinstance(event, ev.TradeEvent):
                found.append(event)
        return found

    def _keep(self, record: OrderRecord) -> None:
        self.orders[record.client_order_id] = record
        self._batch.orders[record.client_order_id] = record

    # --- account ----------------------------------------------------------------------------------

    def equity(self, event: ev.Event, _: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.AccountEquityUpdated)
        self._batch.marks.append(
            EquityMark(
                ts_ns=event.ts_ns,
                equity=event.equity,
                balance=event.balance,
                unrealised=event.unrealised,
                peak=event.peak,
                drawdown=event.drawdown,
            )
        )
        # A peak falls by nothing but a reset's re-base.
        self._peak = event.peak if self._was_reset else max(self._peak, event.peak)
        day = event.ts_ns // _DAY_NS
        if day > self._day:
            self._day, self._day_start = day, event.equity
        return True

    def governor(self, event: ev.Event, _: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.GovernorChanged)
        rungs = list(GovernorState)
        if event.state not in rungs:
            return False
        rung = GovernorState(event.state)
        if rungs.index(rung) <= rungs.index(self._governor.state):
            return True
        self._governor = replace(self._governor, state=rung, below_since_ns=None)
        self._batch.standing[GOVERNOR] = msgspec.json.encode(self._governor).decode()
        return True

    # --- stop, holds, policy ----------------------------------------------------------------------

    def tripped(self, event: ev.Event, _: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.EmergencyTriggered)
        if event.phase != "tripped":
            return True
        source, _colon, reason = event.reason.partition(": ")
        known = source in set(TripSource)
        self._batch.trips.append(
            Trip(
                id=event.trip_id,
                source=TripSource(source) if known else TripSource.BUS,
                reason=reason if known else event.reason,
                ts_ns=event.ts_ns,
                scope=Scope.DESK if event.scope == Scope.DESK.value else Scope.NODE,
                node=event.node or self._node,
            )
        )
        self._trips.add(event.trip_id)
        return True

    def reset(self, event: ev.Event, _: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.EmergencyReset)
        if self._latched:
            return False
        cleared = event.cleared or tuple(sorted(self._trips))
        self._batch.clearings.append(
            Clearing(
                id=f"redis-{event.id}",
                trips=cleared,
                author="",
                cause="taken back from Redis",
                reason=event.reason,
                ts_ns=event.ts_ns,
            )
        )
        self._trips -= set(cleared)
        self._was_reset = True
        return True

    def state_word(self, event: ev.Event, _: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.EngineStateChanged)
        if event.state == EngineState.HALTED.value:
            self._batch.standing[HALTED] = event.why
        elif event.state in {EngineState.RUNNING.value, EngineState.REDUCE_ONLY.value}:
            if self._held_before:
                return False  # That the hold ended would be a loosening.
            self._batch.standing[HALTED] = None
        return True

    def policy(self, event: ev.Event, _: Sequence[ev.Event | None]) -> bool:
        assert isinstance(event, ev.PolicyChanged | ev.PolicyConflicted)
        policy = self._policy
        if policy is None or event.version <= policy.version:
            return False
        left_out = []
        wanted = policy
        # A change has the value before and the one after, a conflict one of each side.
        told = slice(None) if isinstance(event, ev.PolicyConflicted) else slice(1, None)
        for name, texts in event.changes.items():
            for text in texts[told]:
                try:
                    candidate = with_changes(wanted, {name: text})
                except (PolicyInvalid, KeyError):
                    left_out.append(name)
                    continue
                if is_looser(wanted, candidate) or validate(candidate, live=self._live):
                    left_out.append(name)
                else:
                    wanted = candidate
        if isinstance(event, ev.PolicyConflicted):
            left_out = []  # Of two sides one is the looser; the stricter one was in force.
        words = f"; left out as looser: {', '.join(left_out)}" if left_out else ""
        self._policy = replace(
            wanted,
            version=event.version,
            author=event.author,
            ts_ns=event.ts_ns,
            reason=f"{event.reason} (taken back from Redis{words})",
        )
        self._batch.policies.append(self._policy)
        for name in left_out:
            self.not_applied[f"policy.changed, looser: {name}"] += 1
        return True


_Apply = Callable[[Rebuilding, ev.Event, Sequence["ev.Event | None"]], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """What an event gives back; without `apply` it changes no state, and `words` say why not."""

    words: str
    apply: _Apply | None = None


_MOVED = Rule("its order moves to this state, if its intent is known", Rebuilding.moved)
_OPERATION = Rule("tells of operation; no state hangs on it")
_OF_FILLS = Rule("follows from the fills; ids of trades are taken from it, its figures compared")
_SIGNAL = Rule("a signal lives for seconds; the order it became tells the rest")
_BREACH = Rule("measures are taken anew from equity and peak; the trip it led to is an event too")
RULES: Mapping[str, Rule] = {
    "order.intended": Rule(
        "the intent is made again from it; one without a purpose (of an older version) is not",
        Rebuilding.intended,
    ),
    **{kind.TYPE: _MOVED for kind in _MOVES},
    "order.filled": Rule(
        "booked by the ledger once for its execution id: fill, order, position, trade, totals",
        Rebuilding.filled,
    ),
    "trade.opened": _OF_FILLS,
    "trade.closed": _OF_FILLS,
    "position.opened": _OF_FILLS,
    "position.closed": _OF_FILLS,
    "position.force_closed": _OF_FILLS,
    "account.equity.updated": Rule(
        "a point of the equity curve; the peak rises to it (and falls only after a reset), a new"
        " day begins with the first one of it",
        Rebuilding.equity,
    ),
    "account.wallet.moved": Rule(
        "the venue's own list is read again from where the older database stood"
    ),
    "risk.governor.changed": Rule(
        "a higher rung holds again; a lower one is worked out anew", Rebuilding.governor
    ),
    "system.emergency.triggered": Rule(
        "phase tripped: the trip counts; other phases tell of the course of a"
        " stop, which goes on from the venue's positions",
        Rebuilding.tripped,
    ),
    "system.emergency.reset": Rule(
        "clears the trips it names, where the latch file too says that the stop is open; else not."
        " Re-bases of day, streak and capital are told by no event",
        Rebuilding.reset,
    ),
    "system.engine_state": Rule(
        "halted: the hold is on again; a later end of it counts only if the hold itself came from"
        " Redis. Reduce only is not taken: the word does not say whether a person or a measure"
        " asked, and measures ask again",
        Rebuilding.state_word,
    ),
    "policy.changed": Rule(
        "a version of this number with the stricter of its values; looser ones are left out and"
        " named, as nothing proves who wrote them",
        Rebuilding.policy,
    ),
    "policy.conflict": Rule("the same, of both sides: the stricter value", Rebuilding.policy),
    "system.emergency.desk": Rule("other nodes' trips and resets are read from the desk's own"),
    "system.emergency.flat": Rule("tells of the course of a stop"),
    "risk.drawdown.soft_breach": _BREACH,
    "risk.drawdown.hard_breach": _BREACH,
    "risk.circuit_breaker.triggered": _BREACH,
    "alarm.raised": Rule("an alarm whose cause lasts is raised again"),
    "alarm.cleared": Rule("an alarm whose cause lasts is raised again"),
    "signal.received": _SIGNAL,
    "signal.executed": _SIGNAL,
    "signal.dropped": _SIGNAL,
    "signal.expired": _SIGNAL,
    "signal.blocked": _SIGNAL,
    "execution.positions_reconciled": Rule("the venue is compared anew at this start"),
    "market.stream": Rule("how the market's stream is, is seen anew at this start"),
    "execution.divergence": Rule("what it repaired is an order or a fill of its own"),
    "command.accepted": Rule("its effect has an event of its own; it is too old to come again"),
    "command.refused": Rule("nothing came of it"),
    "journal.dead_lettered": Rule("the event itself never was in Redis and stays lost"),
    "journal.shed": Rule("what was shed never was in Redis and stays lost"),
    **{
        kind.TYPE: _OPERATION
        for kind in (
            *(ev.RedisLost, ev.RedisRecovered, ev.RecoveryStep, ev.LinkChanged),
            *(ev.BusQueueWarning, ev.BusQueueCritical, ev.BusQueueCleared),
        )
    },
}

__all__ = ["RULES", "Rebuilding", "Rule"]
