"""EventBus: carries every event of the process to its subscribers (R-BUS).

Two ways through it. Fast types are delivered before `emit` returns; one emitted inside a fast
handler comes after the current one, in order. Everything else goes through one bounded queue,
drained on the loop in boxes of 2 ms by a single `call_soon`, so that a flood starves neither the
window nor the stop. Only ticks ever give way: from half the capacity on the newest tick of a
symbol replaces the one waiting in the queue. A durable event is handed to the journal before
anything else, whatever the queue says. Loop only; not thread-safe.
Fails: `BusSaturated` when the
queue is full (the event is then in the journal, if durable, but reaches no subscriber); a handler
that raises or is slow is named and hurts nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any

from engine.bus._channel import Channel, Handler, Subscription
from engine.bus._saturation import Saturation
from engine.model.errors import BusSaturated, StoreError, require
from engine.model.events import BusQueueEvent, Event
from engine.model.limits import (
    BUS_CAPACITY,
    BUS_DRAIN_BUDGET_MS,
    BUS_HANDLER_BUDGET_MS,
    BUS_PRESSURE_UTILISATION,
    BUS_PUBLISH_WAIT_S,
)
from engine.model.snapshots import BusHandlerSnapshot, BusSnapshot, BusTypeSnapshot
from engine.ports.clock import Clock
from engine.ports.events import EventLog
from engine.runtime import Stamper, Stopwatch, within

_log = logging.getLogger(__name__)
_DRAIN_BUDGET_NS = round(BUS_DRAIN_BUDGET_MS * 1_000_000)
_HANDLER_BUDGET_NS = round(BUS_HANDLER_BUDGET_MS * 1_000_000)
# Above this many waiting, only every so-manyth delivery is timed: a stopwatch costs as much as a
# handler.
_FLOOD_SIZE = 64
_CHUNK_MAX = 127
# After a chunk overran, deliveries are timed one by one for this many events, to find who it was.
_SUSPICIOUS_EVENTS = 10_000
# How often the per-type part of the snapshot is made anew: it looks at every waiting event.
_DETAIL_NS = 1_000_000_000


_NO_CHANNEL = Channel(Event)


class _Slot:
    """A place in the queue whose tick is exchanged for a newer one while it waits."""

    __slots__ = ("channel", "event", "key")

    def __init__(self, channel: Channel, key: tuple[str, str], event: Event) -> None:
        self.channel = channel
        self.key = key
        self.event = event


class EventBus:
    """Typed, ordered, bounded. `log` None is for a process without a journal (the stop guard)."""

    def __init__(
        self,
        *,
        clock: Clock,
        stopwatch: Stopwatch,
        log: EventLog | None,
        stamper: Stamper,
        capacity: int = BUS_CAPACITY,
    ) -> None:
        self._clock = clock
        self._stopwatch = stopwatch
        self._log = log
        self._stamper = stamper
        self._capacity = capacity
        self._pressure = max(1, int(capacity * BUS_PRESSURE_UTILISATION))
        self._saturation = Saturation(capacity=capacity)
        self._channels: dict[type[Event], Channel] = {}
        self._plain: dict[type[Event], Channel] = {}  # Those that only go into the queue.
        self._subscriptions: list[Subscription] = []
        # Stands for whoever was slow among many deliveries that were timed together.
        self._crowd = Subscription(lambda _: None, (), "somebody")
        self._queue: deque[Event | _Slot] = deque()
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._urgent: deque[tuple[Channel, Event]] = deque()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._scheduled = False
        self._dispatching = False
        self._urgent_active = False
        self._stopping = False
        self._carried = 0
        self._suspicious = 0
        self._high_water = 0
        self._watch_size = 0
        self._care_size = 0
        self._journal_errors = 0
        self._dropped_ns: int | None = None
        self._detail: tuple[tuple[BusTypeSnapshot, ...], tuple[BusHandlerSnapshot, ...]] = ((), ())
        self._detail_ns: int | None = None

    # --- subscribing ---------------------------------------------------------------------------

    def subscribe(
        self, handler: Handler, *, types: tuple[type[Event], ...] | None = None, name: str = ""
    ) -> Callable[[], None]:
        """Hear events of these types (or of their subclasses; None is all); returns the
        unsubscribe function.

        Handlers run synchronously on the loop, in the order of their subscription.
        """
        subscription = Subscription(handler, types, self._label(handler, name))
        self._subscriptions.append(subscription)
        self._tell_channels()

        def unsubscribe() -> None:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
                self._tell_channels()

        return unsubscribe

    def _label(self, handler: Handler, name: str) -> str:
        """A name that nobody else has, so that whoever misbehaves is told apart."""
        label = name or getattr(handler, "__qualname__", repr(handler))
        taken = {one.name for one in self._subscriptions}
        candidates = (label, *(f"{label} {number}" for number in range(2, len(taken) + 3)))
        return next(one for one in candidates if one not in taken)

    def _tell_channels(self) -> None:
        for channel in self._channels.values():
            channel.listen(self._subscriptions)

    def _channel(self, event_type: type[Event]) -> Channel:
        channel = self._channels.get(event_type)
        if channel is None:
            channel = self._channels[event_type] = Channel(event_type)
            channel.listen(self._subscriptions)
            if not (channel.fast or channel.durable):
                self._plain[event_type] = channel
        return channel

    # --- publishing ----------------------------------------------------------------------------

    def emit(self, event: Event, journaled: bool = False, durable: bool = False) -> None:
        """Deliver (fast types) or queue. Never waits; raises BusSaturated at once when the queue
        is full.

        `journaled`: the transaction that changed the state already wrote it to the journal.
        `durable`: write this one to the journal although its type is not durable (an equity mark
        at a new peak).
        """
        # The hot path of a flood: a plain type, room enough, nothing new to note. It counts
        # nothing: published is what was delivered, conflated or dropped, and what is waiting.
        if type(event) not in self._plain or durable:
            self._emit_special(event, journaled, durable)
            return
        queue = self._queue
        size = len(queue)
        if size >= self._care_size:
            self._append_with_care(self._plain[type(event)], event, size)
            return
        queue.append(event)
        if not size:
            self._schedule()

    def _emit_special(self, event: Event, journaled: bool, durable: bool) -> None:
        channel = self._channel(type(event))
        if (channel.durable or durable) and not journaled:
            self._to_journal(event)
        if channel.fast:
            self._deliver_urgently(channel, event)
        else:
            self._append_with_care(channel, event, len(self._queue))

    def publish(self, event: Event) -> Coroutine[Any, Any, None]:
        """Like `emit`, but waits up to 1 s for room, then BusSaturated. InvariantBroken inside a
        handler: the drain would wait for itself.
        """
        require(not self._dispatching, f"publish({event.TYPE}) inside a handler; emit() is meant")
        return self._publish(event, journaled=False)

    def publish_durable(self, event: Event) -> Coroutine[Any, Any, None]:
        """Write to the journal, whatever the type; return after the commit, when it has been
        published too.

        StoreError: it was neither written nor published. A caller cancelled meanwhile leaves an
        event that may be in the journal without having reached the subscribers.
        """
        require(not self._dispatching, f"publish_durable({event.TYPE}) inside a handler")
        return self._publish_durable(event)

    async def _publish(self, event: Event, *, journaled: bool) -> None:
        channel = self._channel(type(event))
        if not (channel.fast or channel.is_tick) and len(self._queue) >= self._capacity:
            if channel.durable and not journaled:
                self._to_journal(event)
                journaled = True
            channel.delayed += 1
            try:
                await within(
                    self._clock, BUS_PUBLISH_WAIT_S, self._emit_when_room(event, journaled)
                )
            except TimeoutError as error:
                raise self._refuse(channel) from error
            return
        self.emit(event, journaled=journaled)

    async def _emit_when_room(self, event: Event, journaled: bool) -> None:
        await self._below(self._capacity)
        self.emit(event, journaled=journaled)

    async def _publish_durable(self, event: Event) -> None:
        log = self._log
        require(log is not None, "publish_durable without a journal")
        assert log is not None  # For the type checker; require() has raised
        # Shielded: many events share one group commit, a cancelled caller must not cancel theirs.
        await asyncio.shield(log.append(event))
        await self._publish(event, journaled=True)

    def since_last_drop_s(self) -> float | None:
        """Seconds since a tick was last dropped; None when none ever was."""
        if self._dropped_ns is None:
            return None
        return (self._clock.monotonic_ns() - self._dropped_ns) / 1e9

    async def room(self) -> None:
        """Wait until ticks are no longer conflated; a replay awaits it before each tick."""
        if len(self._queue) >= self._pressure and not self._stopping:
            await self._below(self._pressure)

    async def _below(self, size: int) -> None:
        while len(self._queue) >= size:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((size, waiter))
            await waiter

    def _to_journal(self, event: Event) -> None:
        if self._log is None:
            return
        try:
            self._log.keep(event)
        except StoreError as error:
            # Delivered all the same: the emergency stop must not depend on the disk.
            self._journal_errors += 1
            if self._journal_errors == 1:
                _log.error("a durable event could not be written to the journal: %s", error)

    # --- the queue -----------------------------------------------------------------------------

    def _append_with_care(self, channel: Channel, event: Event, size: int) -> None:
        """Queue under pressure, or at a size worth a look; ticks are conflated here."""
        item: Event | _Slot = event
        if channel.is_tick and size >= self._pressure:
            key = (channel.name, event.symbol)  # type: ignore[attr-defined]
            slot = self._slots.get(key)
            if slot is not None:
                slot.event = event
                channel.conflated += 1
                return
            if self._stopping or size >= self._capacity:
                channel.dropped += 1
                self._dropped_ns = self._clock.monotonic_ns()
                return
            item = self._slots[key] = _Slot(channel, key, event)
        elif size >= self._capacity:
            raise self._refuse(channel)
        self._queue.append(item)
        self._schedule()
        if size >= self._watch_size:
            self._note_size(size + 1)

    def _refuse(self, channel: Channel) -> BusSaturated:
        self._saturation.refused(self._clock.monotonic_ns())
        return BusSaturated(
            f"the event queue is full ({self._capacity}); {channel.name} not queued"
        )

    def _note_size(self, size: int) -> None:
        """The queue has reached a size worth a look: a new high water, or a threshold."""
        self._high_water = max(self._high_water, size)
        announce = self._saturation.rise(size, self._clock.monotonic_ns())
        self._set_watch()
        if announce is not None:
            self._announce(announce)

    def _set_watch(self) -> None:
        self._watch_size = min(self._high_water, self._saturation.watch_size - 1)
        self._care_size = min(self._watch_size, self._pressure)

    def _announce(self, event_type: type[BusQueueEvent]) -> None:
        size, channels = len(self._queue), self._channels.values()
        self.emit(
            event_type(
                **self._stamper(),
                size=size,
                capacity=self._capacity,
                utilisation=size / self._capacity,
                published=size + sum(channel.done() for channel in channels),
                dropped=sum(channel.dropped for channel in channels),
                delayed=sum(channel.delayed for channel in channels),
            )
        )

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        """One turn: deliver for 2 ms at most, then let the loop do something else."""
        self._dispatching = True
        try:
            self._drain_turn()
        finally:
            self._dispatching = False
            size = self._carried = len(self._queue)
            self._scheduled = False
            if size:
                self._schedule()
            self._after_turn(size)

    def _drain_turn(self) -> None:
        turn = len(self._queue)  # What handlers emit meanwhile waits for the next turn.
        now = self._stopwatch()
        end = now + _DRAIN_BUDGET_NS
        while turn > 0 and now < end:
            before = now
            now = self._deliver(*self._next(), now)
            turn -= 1
            if self._suspicious:
                self._suspicious -= 1
            elif turn > _FLOOD_SIZE:
                # The timed delivery says how many more fit into what is left of the box.
                chunk = min(_CHUNK_MAX, turn, (end - now) // (now - before + 1))
                chunk = min(chunk, self._carried or chunk)
                if chunk > 0:
                    self._deliver_untimed(chunk)
                    turn -= chunk
                    before, now = now, self._stopwatch()
                    if now - before > _HANDLER_BUDGET_NS:
                        self._suspicious = _SUSPICIOUS_EVENTS
                        self._crowd.overran_in_flood(
                            chunk, now - before, self._clock.monotonic_ns()
                        )

    def _next(self) -> tuple[Channel, Event]:
        item = self._queue.popleft()
        if type(item) is _Slot:
            del self._slots[item.key]
            channel, event = item.channel, item.event
        else:
            assert isinstance(item, Event)  # For the type checker
            channel, event = self._channels[type(item)], item
        channel.count(1, delayed=self._carried > 0)
        self._carried = max(0, self._carried - 1)
        return channel, event

    def _deliver_untimed(self, count: int) -> None:
        """The hot loop: nothing but taking out and calling. All are delayed, or none."""
        popleft = self._queue.popleft
        kind: type | None = None
        channel: Channel = _NO_CHANNEL
        run = 0
        for _ in range(count):
            item: Any = popleft()
            if type(item) is not kind:
                channel.count(run, delayed=self._carried > 0)
                run = 0
                kind = type(item)
                if kind is _Slot:
                    kind = None  # The next slot may be of another type.
                    del self._slots[item.key]
                    channel, item = item.channel, item.event
                else:
                    channel = self._channels[kind]
            run += 1
            for handler in channel.handlers:
                try:
                    handler(item)
                except Exception as error:  # supervised: a handler hurts nobody else
                    owner = next(one for one in channel.subscriptions if one.handler is handler)
                    channel.errors += 1
                    owner.raised(item, error, self._clock.monotonic_ns())
        channel.count(run, delayed=self._carried > 0)
        self._carried = max(0, self._carried - count)

    def _deliver(self, channel: Channel, event: Event, now: int) -> int:
        """Deliver one event, timing each handler; returns the stopwatch's last reading."""
        stopwatch = self._stopwatch
        began = now
        for subscription in channel.subscriptions:
            try:
                subscription.handler(event)
            except Exception as error:  # supervised: a handler hurts nobody else
                channel.errors += 1
                subscription.raised(event, error, self._clock.monotonic_ns())
            before, now = now, stopwatch()
            if now - before > subscription.ns_max:
                subscription.ns_max = now - before
            if now - before > _HANDLER_BUDGET_NS:
                subscription.overran(event, now - before, self._clock.monotonic_ns())
        channel.timed += 1
        channel.ns_total += now - began
        if now - began > channel.ns_max:
            channel.ns_max = now - began
        return now

    def _deliver_urgently(self, channel: Channel, event: Event) -> None:
        if self._urgent_active:
            if len(self._urgent) >= self._capacity:
                raise self._refuse(channel)
            self._urgent.append((channel, event))
            return
        nested = self._dispatching
        self._dispatching = self._urgent_active = True
        channel.delivered += 1
        try:
            now = self._deliver(channel, event, self._stopwatch())
            while self._urgent:
                channel, event = self._urgent.popleft()
                channel.delivered += 1
                now = self._deliver(channel, event, now)
        finally:
            self._urgent_active = False
            self._dispatching = nested

    def _after_turn(self, size: int) -> None:
        announce = self._saturation.fall(size)
        self._set_watch()
        if announce is not None:
            self._announce(announce)
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for below, waiter in waiters:
                if size >= below:
                    self._waiters.append((below, waiter))
                elif not waiter.done():
                    waiter.set_result(None)

    # --- what it looks like --------------------------------------------------------------------

    def is_saturated(self) -> bool:
        """Whether the gate must shut: critical, or somebody got BusSaturated within the last 10
        s."""
        return self._saturation.shuts_gate(self._clock.monotonic_ns())

    @property
    def errors(self) -> int:
        """How often a handler raised."""
        return sum(channel.errors for channel in self._channels.values())

    @property
    def size(self) -> int:
        """Events waiting now."""
        return len(self._queue)

    @property
    def capacity(self) -> int:
        """How many may wait."""
        return self._capacity

    @property
    def journal_errors(self) -> int:
        """Durable events that came when the journal was closed."""
        return self._journal_errors

    def snapshot(self) -> BusSnapshot:
        """The queue now, with totals over all types; what is said per type and per handler is up
        to a second old."""
        now_ns = self._clock.monotonic_ns()
        if self._detail_ns is None or now_ns - self._detail_ns >= _DETAIL_NS:
            self._detail_ns = now_ns
            self._detail = self.type_rows(), self.handler_rows()
        channels = self._channels.values()
        size = len(self._queue)
        return BusSnapshot(
            size=size,
            capacity=self._capacity,
            utilisation=size / self._capacity,
            state=self._saturation.state,
            published=size + sum(channel.done() for channel in channels),
            dropped=sum(channel.dropped for channel in channels),
            delayed=sum(channel.delayed for channel in channels),
            conflated=sum(channel.conflated for channel in channels),
            high_water=self._high_water,
            oldest_age_s=self._oldest_age_s(),
            errors=sum(channel.errors for channel in channels),
            types=self._detail[0],
            handlers=self._detail[1],
        )

    def _oldest_age_s(self) -> float:
        if not self._queue:
            return 0.0
        item = self._queue[0]
        event = item.event if isinstance(item, _Slot) else item
        return max(0.0, (self._clock.now_ns() - event.ts_ns) / 1_000_000_000)

    def type_rows(self) -> tuple[BusTypeSnapshot, ...]:
        """Every type that was ever published, by name. Looks at each waiting event."""
        waiting = Counter(map(type, self._queue))
        conflating = Counter(slot.channel for slot in self._slots.values())
        rows = [
            channel.snapshot(waiting=waiting[kind] + conflating[channel])
            for kind, channel in self._channels.items()
        ]
        return tuple(sorted(rows, key=lambda row: row.type))

    def handler_rows(self) -> tuple[BusHandlerSnapshot, ...]:
        """The handlers that raised or were slow, the newest fault first."""
        now_ns = self._clock.monotonic_ns()
        known = (*self._subscriptions, self._crowd)
        faulty = [one for one in known if one.fault_ns is not None]
        faulty.sort(key=lambda one: one.fault_ns or 0, reverse=True)
        return tuple(one.snapshot(now_ns) for one in faulty)

    # --- orderly stop --------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> int:
        """Let go of every tick, now and from now on, and deliver all else; returns how many were
        left."""
        self._stopping = True
        self._drop_ticks()
        try:
            await within(self._clock, timeout_s, self._below(1))
        except TimeoutError:
            _log.warning("%d events were not delivered within %s s", len(self._queue), timeout_s)
        return len(self._queue)

    def _drop_ticks(self) -> None:
        kept: list[Event | _Slot] = []
        for item in self._queue:
            channel = item.channel if isinstance(item, _Slot) else self._channels[type(item)]
            if channel.is_tick:
                channel.dropped += 1
            else:
                kept.append(item)
        self._queue.clear()
        self._queue.extend(kept)
        self._slots.clear()
        self._carried = min(self._carried, len(kept))
        # From now on every tick meets the pressure path, which lets it go.
        self._pressure = 0
        self._after_turn(len(kept))


__all__ = ["EventBus"]
