"""Keeps this node's policy and the desk's the same: reads, merges, writes back.

`exchange` is all there is to it, whatever the occasion (a pushed change, a start, the end of an
outage, a question every two seconds): read what the desk has, take what is new, and when the desk
lacks something of ours write the union, by compare-and-set on what was read. The union only grows
by decisions that somebody made, so it does not matter how often or in which order this is done. A
missing key is no information: this node writes its own back.

Who is believed: with a desk key, what is signed with it. Of anything else, and without a key of
anything that was not made here, only stricter values are taken, with an alarm that names the
origin. What is signed and yet not understood (a newer Seawall) is left alone, and the policy is not
confirmed.

Real time. Loop only. Fails: never towards a caller; without an answer the age grows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from engine.model.errors import BridgeDown, EngineError, PolicyInvalid
from engine.model.limits import POLICY_ASK_EVERY_S, POLICY_DESK_WAIT_S
from engine.model.policy_revision import Revision, SharedReading
from engine.policy.merge import effective
from engine.policy.shared import SharedPolicy
from engine.policy.version_keeper import VersionKeeper
from engine.ports.clock import Clock
from engine.runtime import Tasks

_log = logging.getLogger(__name__)
_TRIES = 8
# Somebody who goes on writing what we do not believe is not answered more often than this.
_AFTER_REFUSAL_S = 0.5
UNSIGNED, REFUSED = "POLICY_UNSIGNED", "POLICY_REFUSED"


class DeskPolicy:
    """The exchange of one node with the desk. `on_alarm(code, words)`; no words end the alarm."""

    def __init__(
        self,
        *,
        shared: SharedPolicy,
        keeper: VersionKeeper,
        io_clock: Clock,
        tasks: Tasks,
        on_alarm: Callable[[str, str], object],
    ) -> None:
        self._shared = shared
        self._keeper = keeper
        self._io_clock = io_clock
        self._tasks = tasks
        self._on_alarm = on_alarm
        self._turn = asyncio.Lock()
        self._heard = asyncio.Event()
        self._agreed: tuple[SharedReading, tuple[Revision, ...]] | None = None
        self._refusals = 0
        self._pushed_ns = 0
        # How long after the last push what it told of was in force here; None before the first.
        self.push_ms: float | None = None
        keeper.is_shared = True
        keeper.confirmed_ns = None

    @property
    def has_key(self) -> bool:
        return self._shared.has_key

    @property
    def agrees(self) -> bool:
        """Whether the last answer of the desk held what this node knows now."""
        return self._agreed is not None and self._agreed[1] == self._keeper.heads

    def push_age_s(self) -> float | None:
        """Seconds since a push was last followed to its end."""
        if self.push_ms is None:
            return None
        return (self._io_clock.monotonic_ns() - self._pushed_ns) / 1e9

    # --- occasions ----------------------------------------------------------------------------

    def heard(self) -> None:
        """Somebody changed the shared policy: what is cached of it counts no more."""
        self._agreed = None
        self._heard.set()

    async def recover(self) -> bool:
        """Redis is back, or there for the first time: both sides know the same when this is true.

        EngineError when it is not."""
        return await self.exchange()

    async def settle(self) -> None:
        """Exchange now, for a person who waits: no longer than half a second."""
        if self._shared.is_there:
            task = self._tasks.spawn("policy exchange", self._quietly())
            await asyncio.wait({task}, timeout=POLICY_DESK_WAIT_S)

    async def follow(self) -> None:
        """Exchange at each pushed change, for ever."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            refusals, heard_ns = self._refusals, self._io_clock.monotonic_ns()
            await self._quietly()
            if self.agrees:
                self._pushed_ns = self._io_clock.monotonic_ns()
                self.push_ms = (self._pushed_ns - heard_ns) / 1e6
            if self._refusals != refusals:
                await self._io_clock.sleep(_AFTER_REFUSAL_S)

    async def ask(self) -> None:
        """Exchange at least every two seconds, for ever: a push may be lost with its connection."""
        while True:
            # Often enough that an age is never beyond a short maximum while all is well.
            limit_s = float(self._keeper.profile.max_policy_age_s)
            await self._io_clock.sleep(min(POLICY_ASK_EVERY_S, limit_s / 2))
            if self._shared.is_there:
                await self._quietly()

    async def _quietly(self) -> None:
        try:
            await self.exchange()
        except BridgeDown as error:
            _log.debug("the desk's policy cannot be asked for: %s", error)
        except EngineError as error:
            _log.warning("the exchange of the policy failed: %s", error)

    # --- the exchange -------------------------------------------------------------------------

    async def exchange(self) -> bool:
        """True when the desk holds exactly what this node knows."""
        async with self._turn:
            for _ in range(_TRIES):
                reading = await self._shared.read()
                if self._agreed != (reading, self._keeper.heads):
                    may_write = await self._take(reading)
                    heads = self._keeper.heads
                    if not self._holds(reading, heads):
                        if not may_write:
                            return False
                        await self._shared.write(effective(heads), heads, based_on=reading)
                        continue
                    self._agreed = (reading, heads)
                    if self._is_believed(reading):
                        self._on_alarm(UNSIGNED, "")
                        self._on_alarm(REFUSED, "")
                if not self._keeper.fault:
                    self._keeper.confirmed()
                return True
            return False

    def _holds(self, reading: SharedReading, heads: tuple[Revision, ...]) -> bool:
        """Whether nothing has to be written."""
        readable = not reading.is_missing and not reading.fault
        return readable and self._is_believed(reading) and reading.heads == heads

    def _is_believed(self, reading: SharedReading) -> bool:
        return reading.is_signed or not self._shared.has_key

    async def _take(self, reading: SharedReading) -> bool:
        """Take what may be taken; False when it must not be written over."""
        if reading.is_missing:
            await self._keeper.claim()
            return True
        if reading.fault:
            return self._refuse(reading, reading.fault)
        for revision in reading.heads:
            problems = self._keeper.problems(revision.document)
            if problems:
                return self._refuse(reading, str(PolicyInvalid(problems)))
        if reading.is_signed:
            await self._keeper.merge(reading.heads, trusted=True)
        elif not self._shared.has_key and reading.heads:
            await self._keeper.merge(reading.heads, trusted=False)
        else:
            return await self._take_stricter(reading)
        return True

    async def _take_stricter(self, reading: SharedReading) -> bool:
        document = reading.document
        assert document is not None, "a reading without a fault has a document"
        problems = self._keeper.problems(document)
        if problems:
            return self._refuse(reading, str(PolicyInvalid(problems)))
        self._refusals += 1
        lineage: dict[str, int] = {}
        for revision in reading.heads:
            for line, count in revision.lineage.items():
                lineage[line] = max(lineage.get(line, 0), count)
        before = self._keeper.document.version
        await self._keeper.tighten(document, node=reading.node, lineage=lineage)
        took = self._keeper.document.version != before
        self._on_alarm(
            UNSIGNED,
            f"v{document.version} by {document.author!r}, node {reading.node!r}: "
            + ("only its stricter values were taken" if took else "nothing of it was taken"),
        )
        return True

    def _refuse(self, reading: SharedReading, why: str) -> bool:
        self._refusals += 1
        _log.warning("the shared policy of node %r is refused: %s", reading.node, why)
        self._on_alarm(REFUSED, f"node {reading.node!r} wrote it: {why}")
        # What is signed was made by one of us; it may be for a newer Seawall to understand.
        return not reading.is_signed


__all__ = ["REFUSED", "UNSIGNED", "DeskPolicy"]
