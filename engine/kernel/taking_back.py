"""Takes back from Redis what a restored database had lost, before anything is built on it.

R-STA-4. At the start, between the opened database and the journal's: read the node's own stream
from the backup's position on, batch by batch, and let `Rebuilding` say what each event changes.
State and journal rows of a batch are one transaction that also keeps the place, so a kill in
between goes on there. Bounded: a server that does not answer in 5 s (60 s while it reads its data)
ends it, and the start goes on without; whatever came of it is said, audited, and over. Trading
waits for START in any case.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from engine.journal import MirroredRow
from engine.kernel.standing import NEEDS_START
from engine.kernel.state_loss import StateLoss
from engine.kernel.storage import Storage
from engine.kernel.taken_back import Rebuilding
from engine.model import events as ev
from engine.ports import Clock
from engine.redis_link import LinkFault, LinkSettings, PastEvents
from engine.runtime import Stopwatch
from engine.trade_state import TAKE_BACK, TakeBackFrom

_log = logging.getLogger(__name__)
_ANSWER_S = 5.0
_LOADING_S = 60.0
_NAMED_MAX = 8


@dataclass(slots=True)
class _Figures:
    """What was read, beside what `Rebuilding` counts."""

    events: int = 0
    missing: int = 0
    without_room: int = 0
    unreadable: int = 0
    why_ended: str = ""


class TakingBack:
    """One attempt. `run` changes the storage it was given: its open state and its words of loss."""

    def __init__(
        self,
        *,
        storage: Storage,
        settings: LinkSettings,
        clock: Clock,
        io_clock: Clock,
        stopwatch: Stopwatch,
        rebuilding: Rebuilding,
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._io_clock = io_clock
        self._stopwatch = stopwatch
        self._rebuilding = rebuilding
        self._figures = _Figures()

    async def run(self) -> None:
        """Take back what there is, and say what came of it."""
        storage = self._storage
        begun = msgspec.json.decode(storage.open_state.standing[TAKE_BACK], type=TakeBackFrom)
        began = self._stopwatch()
        words = ""
        if self._settings.mode == "url":
            await self._read(begun)
            words = self._words()
        elif self._settings.mode == "managed":
            words = "Redis was a private server that ended with the engine and has nothing of it."
        before = storage.open_state.standing.get(NEEDS_START, "")
        text = f"{before}. {words}" if words else before
        if words:
            _log.warning("%s", words)
        await storage.store.end_taking_back(
            standing=NEEDS_START, text=text, taken=words, ts_ns=self._clock.now_ns()
        )
        storage.open_state = await storage.store.load_open()
        storage.loss = StateLoss(
            text=text,
            taken_ok=not self._figures.why_ended if self._settings.mode == "url" else None,
            taken_ms=(self._stopwatch() - began) / 1e6,
        )

    async def _read(self, begun: TakeBackFrom) -> None:
        number = f"past-{self._clock.now_ns()}"
        past = PastEvents(settings=self._settings, io_clock=self._io_clock, number=number)
        held: list[MirroredRow] = []
        try:
            await past.open(timeout_s=_ANSWER_S, loading_s=_LOADING_S)
            async for rows in past.after(begun.epoch, begun.seq):
                held = await self._take([*held, *rows], begun, is_last=False)
        except LinkFault as error:
            self._figures.why_ended = str(error)
        finally:
            await past.close()
        if held:
            await self._take(held, begun, is_last=True)
        self._figures.unreadable += past.unreadable

    async def _take(
        self, rows: Sequence[MirroredRow], begun: TakeBackFrom, *, is_last: bool
    ) -> list[MirroredRow]:
        """One batch; returns what must wait for the next one."""
        store, rebuilding = self._storage.store, self._rebuilding
        unknown = {mirrored.row.event_id for mirrored in await store.unknown_of(rows)}
        events = [self._event(one) if one.row.event_id in unknown else None for one in rows]
        count = len(rows) if is_last else rebuilding.complete(events)
        now, events = rows[:count], events[:count]
        for event in events:
            if isinstance(event, ev.OrderEvent) and event.client_order_id not in rebuilding.orders:
                known = await store.order_of(event.client_order_id)
                if known is not None:
                    rebuilding.orders[event.client_order_id] = known
        if now and not self._figures.events and now[0].row.seq > begun.seq + 1:
            self._figures.missing = now[0].row.seq - begun.seq - 1
        self._figures.without_room += await store.take_back(
            rebuilding.follow(events), now, begun=begun
        )
        self._figures.events += sum(one.row.event_id in unknown for one in now)
        return list(rows[count:])

    def _event(self, mirrored: MirroredRow) -> ev.Event | None:
        row = mirrored.row
        try:
            event = ev.decode(row.type, row.event_id, row.ts_ns, row.source, row.trace, row.payload)
        except KeyError:
            self._rebuilding.not_applied[row.type] += 1  # Imported, or of a later version.
            return None
        except msgspec.DecodeError:
            self._figures.unreadable += 1
            return None
        if isinstance(event, ev.OrderIntended) and b'"purpose"' not in row.payload:
            self._rebuilding.not_applied[row.type] += 1
            return None
        return event

    # --- words ------------------------------------------------------------------------------------

    def _words(self) -> str:
        figures, rebuilding = self._figures, self._rebuilding
        if figures.why_ended and not figures.events:
            return f"Nothing was taken back from Redis: {figures.why_ended}."
        applied = rebuilding.applied
        orders = sum(n for kind, n in applied.items() if kind.startswith("order."))
        parts = [
            f"{figures.events} later events were taken back from Redis"
            f" ({orders} of orders, {applied['order.filled']} of them fills)"
        ]
        if figures.why_ended:
            parts.append(f"then it went away: {figures.why_ended}")
        if figures.missing:
            parts.append(f"{figures.missing} before them are not there any more")
        if figures.unreadable:
            parts.append(f"{figures.unreadable} entries were no events")
        if figures.without_room:
            parts.append(f"{figures.without_room} have numbers that the backup gave to others")
        if rebuilding.not_applied:
            parts.append(f"not applied: {_listed(rebuilding.not_applied)}")
        return "; ".join(parts) + "."


def _listed(counted: Counter[str]) -> str:
    named = [f"{kind} × {count}" for kind, count in counted.most_common(_NAMED_MAX)]
    more = len(counted) - len(named)
    return ", ".join(named) + (f" and {more} other types" if more > 0 else "")


__all__ = ["TakingBack"]
