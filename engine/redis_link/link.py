"""RedisLink: keeps the node's stream in Redis equal to its journal, and says whether Redis is
there.

One task at a time holds a session: connect, align, replay, then mirror what comes. Whatever ends
the session is an outage from that moment on: `is_up` is false and `recovering` true before anything
else runs. After the reconnect the parts of the recovery follow in the order the kernel gives
(R-RED-4), each an event with its duration; `replay`, up to what was newest at the reconnect, is one
of them. Only when all have succeeded is `recovering` false again and `system.redis_recovered`
published. What the desk shares is read and written over `desk`, and whoever wants to hear of its
changes gives a listener to `hear`.

Two times: events and outages carry trading time, everything else here is real time (`io_clock`),
because Redis is real even when the market is not. Loop only; nothing here blocks it.
Fails: never towards the caller. Redis being away is a state with a cause, and the journal holds
what was not sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence

from engine.bus import EventBus
from engine.journal import Journal
from engine.model.errors import EngineError
from engine.model.events import (
    JournalDeadLettered,
    LinkChanged,
    RecoveryStep,
    RedisLost,
    RedisRecovered,
)
from engine.model.ids import EventId
from engine.model.limits import (
    REDIS_BACKOFF_FIRST_S,
    REDIS_BACKOFF_MAX_S,
    REDIS_PING_INTERVAL_S,
)
from engine.model.redis_url import parse_redis_url
from engine.model.snapshots import LinkState, RedisSnapshot
from engine.ports.clock import Clock
from engine.redis_link._alignment import Alignment
from engine.redis_link.connection import find_server
from engine.redis_link.desk_connection import DeskConnection
from engine.redis_link.faults import LINK_FAULTS, LinkFault, NameInUse, cause_of
from engine.redis_link.ingress import Ingress
from engine.redis_link.lease import Lease
from engine.redis_link.managed_server import ManagedServer
from engine.redis_link.mirror import Mirror
from engine.redis_link.mode import LinkSettings
from engine.redis_link.recovery_part import RecoveryPart
from engine.redis_link.session import Session
from engine.runtime import Chance, Stamper, Tasks, cancel_and_wait
from engine.runtime.spawn import FaultHandler

_log = logging.getLogger(__name__)
_SERVER_START_S = 5.0
_SERVER_POLL_S = 0.01
_RECOVERY_RETRY_S = 1.0
_DRAIN_POLL_S = 0.01
# Finding somebody else's entries is a moment; this is how long it is told afterwards.
_FOREIGN_TOLD_S = 60.0


class RedisLink:
    """The link of one node. `start` it, then ask `is_up` and `recovering`; `drain` and `close` at
    the end."""

    def __init__(
        self,
        *,
        settings: LinkSettings,
        journal: Journal,
        bus: EventBus,
        stamper: Stamper,
        io_clock: Clock,
        chance: Chance,
        on_fault: FaultHandler,
        recovery: Callable[[], Sequence[RecoveryPart]],
    ) -> None:
        """`recovery` gives the parts in their order, `replay` among them; asked when needed."""
        self._settings = settings
        self._journal = journal
        self._bus = bus
        self._stamper = stamper
        self._io_clock = io_clock
        self._chance = chance
        self._recovery = recovery
        self.desk = DeskConnection()
        self._listeners: dict[str, Callable[[], object]] = {}
        self._ingress: Ingress | None = None
        self._tasks = Tasks(on_fault=on_fault)
        self._mirror = Mirror(
            journal=journal,
            io_clock=io_clock,
            stream_max_events=settings.stream_max_events,
            on_aligned=self._aligned,
            on_dead_letter=self._dead_lettered,
        )
        self._server = ManagedServer(
            program=settings.server, folder=settings.run_folder, io_clock=io_clock
        )
        self._lease = Lease(node=settings.node, owner=settings.owner, number=self._stamper()["id"])
        self._held: Session | None = None
        self._replayed = 0
        self._name_in_use = False
        self._secret = ""
        self._is_new_server = False
        self._state = LinkState.DISABLED if settings.is_standalone else LinkState.CONNECTING
        self._cause = settings.why
        self._first_attempt_over = asyncio.Event()
        self._recovering = not settings.is_standalone
        self._recovery_wanted = asyncio.Event()
        self._answered_ns: int | None = None
        self._lost_ns: int | None = None
        self._down_ns = 0
        self._outages: list[tuple[int, int | None]] = []
        self._attempts = 0
        self._tries = 0
        self._target = self._replay_from = 0
        # What had been appended, and when, at the reconnect: the mirror sends from then on, while
        # the parts of the recovery before the replay's own are still under way.
        self._appended_before = self._replay_began_ns = 0
        self._foreign = ""
        self._foreign_ns = 0

    # --- what others ask -----------------------------------------------------------------------

    @property
    def is_standalone(self) -> bool:
        """No Redis was wanted or found: the engine is complete on its own."""
        return self._settings.is_standalone

    @property
    def recovering(self) -> bool:
        """True from the moment of an outage until every step of the recovery has succeeded."""
        return self._recovering

    @property
    def outages(self) -> list[tuple[int, int | None]]:
        """From and to in trading time; the last is open (None) while Redis is away."""
        return list(self._outages)

    def is_up(self) -> bool:
        """Whether Redis answers; true in standalone, where there is nothing to be down."""
        return self._state in (LinkState.UP, LinkState.REPLAYING, LinkState.DISABLED)

    def last_answer_age_s(self) -> float | None:
        """Real seconds since Redis last answered; None before the first answer and in
        standalone."""
        if self._answered_ns is None:
            return None
        return (self._io_clock.monotonic_ns() - self._answered_ns) / 1e9

    def snapshot(self) -> RedisSnapshot:
        remaining = total = 0
        if self._state is LinkState.REPLAYING:
            remaining = max(0, self._target - self._mirror.position)
            total = self._target - self._replay_from
        down_s: float | None = None
        if self._lost_ns is not None:
            down_s = (self._io_clock.monotonic_ns() - self._lost_ns) / 1e9
        return RedisSnapshot(
            mode=self._settings.mode,
            state=self._state,
            cause=self._cause,
            why=self._settings.why,
            replayed=self._mirror.appended,
            replay_remaining=remaining,
            last_answer_age_s=self.last_answer_age_s(),
            name_in_use=self._name_in_use,
            fence=self._lease.fence,
            foreign=self._foreign_lately(),
            owner="" if self.is_standalone else self._lease.owner,
            stream="" if self.is_standalone else f"seawall:{self._settings.node}:events",
            was_up=self._answered_ns is not None,
            down_s=down_s,
            tries=self._tries if down_s is not None else 0,
            replay_total=total,
            commands=None if self._ingress is None else self._ingress.snapshot(),
        )

    def _foreign_lately(self) -> str:
        age_ns = self._io_clock.monotonic_ns() - self._foreign_ns
        return self._foreign if age_ns < _FOREIGN_TOLD_S * 1e9 else ""

    # --- life ----------------------------------------------------------------------------------

    def hear(self, topic: str, listener: Callable[[], object]) -> None:
        """Call `listener` on the loop when some node changed what the desk shares of `topic`.

        Only while the link is up: what was changed during an outage is found by the recovery.
        """
        self._listeners[topic] = listener

    def read_commands_with(self, ingress: Ingress) -> None:
        """Read the node's commands in every session. Before `start`."""
        self._ingress = ingress

    async def start(self) -> None:
        """Begin to keep the link; returns when the first attempt has succeeded or failed."""
        if self._settings.is_standalone:
            return
        self._mirror.open()
        self._journal.set_wake(self._mirror.wake)
        self._say(LinkState.CONNECTING, self._settings.why)
        self._tasks.spawn("redis-link", self._keep_connected(), forever=True)
        self._tasks.spawn("redis-cursor", self._mirror.keep_acknowledging(), forever=True)
        await self._first_attempt_over.wait()

    async def drain(self, timeout_s: float) -> int:
        """For the orderly stop: let the stream catch up while Redis answers; returns what is
        left."""
        if self._settings.is_standalone:
            return 0
        deadline_ns = self._io_clock.monotonic_ns() + round(timeout_s * 1e9)
        while self._io_clock.monotonic_ns() < deadline_ns and self.is_up():
            if self._mirror.position >= self._journal.tail_seq():
                break
            await self._io_clock.sleep(_DRAIN_POLL_S)
        await self._mirror.acknowledge()
        return self._journal.pending

    async def close(self) -> None:
        """Let go of the name and of Redis, end the managed server; harmless when it was never
        started."""
        self._journal.set_wake(None)
        was_up = self.is_up()
        await self._tasks.cancel_all()
        if self._held is not None:
            await self._let_go(self._held, with_name=was_up)
        await self._server.stop()

    async def _keep_connected(self) -> None:
        while True:
            session: Session | None = None
            try:
                session = await self._connect()
                await self._hold(session)
            except LINK_FAULTS as error:
                self._lost_by(error)
            finally:
                self._first_attempt_over.set()
            if session is not None:
                self._held = None
                await self._drop(session)
            await self._back_off()

    async def _let_go(self, session: Session, *, with_name: bool) -> None:
        try:
            if with_name:
                await session.release(self._heartbeat("stopped"))
        except LINK_FAULTS as error:
            _log.debug("the lease runs out by itself: %s", error)
        await self._drop(session)

    async def _drop(self, session: Session) -> None:
        try:
            await session.close()
        except LINK_FAULTS as error:
            _log.debug("closing the connection: %s", error)

    async def _back_off(self) -> None:
        wait_s = min(REDIS_BACKOFF_MAX_S, REDIS_BACKOFF_FIRST_S * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 10)
        await self._io_clock.sleep(wait_s * self._chance.uniform(0.75, 1.25))

    async def _connect(self) -> Session:
        self._tries += 1
        if self._settings.mode == "managed" and not self._server.is_running():
            self._server.start()
            self._is_new_server = True
        give_up_ns = self._io_clock.monotonic_ns() + round(_SERVER_START_S * 1e9)
        while True:
            is_managed = self._settings.mode == "managed"
            session: Session | None = None
            try:
                session = await self._make_session(
                    self._server.url if is_managed else self._settings.url
                )
                await session.open()
            except LINK_FAULTS:
                if session is not None:
                    await self._drop(session)
                starting = is_managed and self._is_new_server and self._server.is_running()
                if not starting or self._io_clock.monotonic_ns() > give_up_ns:
                    raise
                await self._io_clock.sleep(_SERVER_POLL_S)
            else:
                self._answered()
                self._held = session
                return session

    async def _make_session(self, url: str) -> Session:
        settings = self._settings
        address = parse_redis_url(url)
        self._secret = address.password
        return Session(
            address=await find_server(address, settings.ca_file),
            ca_file=settings.ca_file,
            node=settings.node,
            lease=self._lease,
        )

    async def _hold(self, session: Session) -> None:
        """Use a session until its first fault, which is raised."""
        await self._mirror.begin(
            session.stream, run_id=session.run_id, is_new_server=self._is_new_server
        )
        self._is_new_server = False
        self.desk.attach(session.desk)
        self._found()
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Owned by the link and not by this session, so that `close` waits for them whatever
        # happens.
        tasks = [
            self._tasks.spawn(name, self._until_fault(work, failed))
            for name, work in self._work_of(session).items()
        ]
        try:
            await failed
        finally:
            self.desk.detach()
            await cancel_and_wait(tasks)
        if self._lost_ns is None:
            raise LinkFault("a task of the link itself failed; the log says why")

    def _work_of(self, session: Session) -> dict[str, Callable[[], Awaitable[None]]]:
        work: dict[str, Callable[[], Awaitable[None]]] = {
            "redis-watch": lambda: self._watch(session),
            "redis-beat": self._beat,
            "redis-mirror": lambda: self._mirror.run(session.stream, session.run_id),
            "redis-recovery": self._recover,
        }
        ingress = self._ingress
        if ingress is not None:
            ingress.begin_session()
            work["redis-scout"] = lambda: ingress.scout(session.scout)
            work["redis-commands"] = lambda: ingress.consume(session.consumer)
        return work

    async def _until_fault(
        self, work: Callable[[], Awaitable[None]], failed: asyncio.Future[None]
    ) -> None:
        try:
            await work()
        except LINK_FAULTS as error:
            # At once, before the session is taken apart: the gate asks `is_up`.
            self._lost_by(error)
        finally:
            if not failed.done():
                failed.set_result(None)

    async def _watch(self, session: Session) -> None:
        while True:
            await session.beat(self._heartbeat(self._state.value))
            self._answered()
            changed = await session.wait_for_changes()
            self._answered()
            for topic in changed & self._listeners.keys():
                self._listeners[topic]()

    async def _beat(self) -> None:
        while True:
            await self._io_clock.sleep(REDIS_PING_INTERVAL_S)
            self._mirror.wake()

    def _heartbeat(self, state: str) -> str:
        """What the desk reads of this node in `seawall:nodes`."""
        return json.dumps(
            {
                "node": self._settings.node,
                "owner": self._lease.owner,
                "fence": self._lease.fence,
                "ts_ns": self._io_clock.now_ns(),
                "link": state,
                "pending": self._journal.pending,
            }
        )

    def _answered(self) -> None:
        self._answered_ns = self._io_clock.monotonic_ns()

    # --- outage and recovery -------------------------------------------------------------------

    def _lost_by(self, error: BaseException) -> None:
        self._name_in_use = isinstance(error, NameInUse)
        cause = cause_of(error)
        # A server may quote what it was sent, and the first thing it is sent is the password.
        self._lost(cause.replace(self._secret, "***") if self._secret else cause)

    def _lost(self, cause: str) -> None:
        if self._lost_ns is not None:
            if cause != self._cause:
                self._say(LinkState.DOWN, cause)
            return
        self._lost_ns = self._io_clock.monotonic_ns()
        self._tries = 0
        self._recovering = True
        self._outages.append((self._stamper()["ts_ns"], None))
        self._say(LinkState.DOWN, cause)
        _log.warning("Redis is away: %s", cause)
        self._bus.emit(RedisLost(**self._stamper(), cause=cause))

    def _found(self) -> None:
        """Redis answers and the mirror knows where it stands."""
        self._name_in_use = False
        if self._lost_ns is not None:
            self._down_ns += self._io_clock.monotonic_ns() - self._lost_ns
            self._lost_ns = None
            self._outages[-1] = (self._outages[-1][0], self._stamper()["ts_ns"])
        self._begin_replay("reconnected" if self._outages else self._settings.why)
        self._first_attempt_over.set()

    def _begin_replay(self, cause: str) -> None:
        self._target = self._journal.tail_seq()
        self._replay_from = self._mirror.position
        self._appended_before = self._mirror.appended
        self._replay_began_ns = self._io_clock.monotonic_ns()
        self._recovering = True
        if self._target > self._mirror.position:
            self._say(LinkState.REPLAYING, cause)
        self._recovery_wanted.set()

    async def _recover(self) -> None:
        while True:
            await self._recovery_wanted.wait()
            self._recovery_wanted.clear()
            began_ns = self._io_clock.monotonic_ns()
            was_away_ns, self._replayed = self._down_ns, 0
            is_outage = was_away_ns > 0
            for part in self._recovery():
                if part.after_outage and not is_outage:
                    continue
                while not await self._succeeds(part):
                    await self._io_clock.sleep(_RECOVERY_RETRY_S)
            if self._recovery_wanted.is_set():
                continue  # The stream was lost meanwhile.
            self._recovering = False
            if is_outage:
                self._down_ns = 0
                self._announce_recovery(was_away_ns, began_ns, self._replayed)

    async def replay(self) -> bool:
        """The link's own part: everything that was newest at the reconnect is in the stream."""
        await self._mirror.arrived(self._target)
        # Not before: a server that only answers a PING is no reason to hurry.
        self._attempts = 0
        self._replayed = self._mirror.appended - self._appended_before
        if self._replayed:
            duration_s = (self._io_clock.monotonic_ns() - self._replay_began_ns) / 1e9
            self._journal.note_replay(events=self._replayed, duration_s=duration_s)
        self._say(LinkState.UP, self._settings.why)
        return True

    async def _succeeds(self, part: RecoveryPart) -> bool:
        began_ns = self._io_clock.monotonic_ns()
        try:
            ok = await part.run()
        except LinkFault:
            raise
        except EngineError as error:
            _log.warning("%s, after Redis came back, failed: %s", part.name, error)
            ok = False
        duration_ms = (self._io_clock.monotonic_ns() - began_ns) / 1e6
        common = self._stamper()
        self._bus.emit(RecoveryStep(**common, step=part.name, ok=ok, duration_ms=duration_ms))
        return ok

    def _announce_recovery(self, was_away_ns: int, began_ns: int, replayed: int) -> None:
        resumed_ns = self._io_clock.monotonic_ns() - began_ns
        common = self._stamper()
        self._bus.emit(
            RedisRecovered(
                **common,
                timestamp=common["ts_ns"],
                downtime_seconds=was_away_ns / 1e9,
                replayed=replayed,
                resumed_in_seconds=resumed_ns / 1e9,
            )
        )

    def _aligned(self, found: Alignment) -> None:
        """The stream was not as this node left it."""
        _log.warning("Redis stream: %s", found.what)
        if found.is_foreign:
            self._foreign, self._foreign_ns = found.what, self._io_clock.monotonic_ns()
        if self._state is not LinkState.DOWN:
            self._begin_replay(found.what)

    def _dead_lettered(self, event_id: EventId, error: str) -> None:
        self._bus.emit(JournalDeadLettered(**self._stamper(), event_id=event_id, error=error))

    def _say(self, state: LinkState, cause: str) -> None:
        if (state, cause) == (self._state, self._cause) and self._first_attempt_over.is_set():
            return
        self._state, self._cause = state, cause
        self._bus.emit(LinkChanged(**self._stamper(), state=state.value, cause=cause))


__all__ = ["RedisLink"]
