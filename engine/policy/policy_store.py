"""The policy in force: what is asked of it, and who may change it how.

A change is validated, compare-and-set on the version, durable with its event and audit entry in one
transaction, in force in memory after the commit, and only then told (`version_keeper`). On a desk
the one who changes asks the desk first whether somebody was faster, and tells it right after; when
Redis is away the change is made here and merged later. Emergency mode is not a field: it is derived
from the trips, and nothing here touches those.

The age is the time since the authority last confirmed what is in force: Redis on a desk, else the
state database. Ages in seconds of the monotonic clock. Loop only. Fails: PolicyInvalid with every
wrong field, PolicyConflict when somebody was faster, StoreError when it cannot be stored: in each
case the old policy stays in force.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from engine.api import PolicyVersion
from engine.model.commands import CommandNote
from engine.model.emergency import Trip, TripSource
from engine.model.errors import PolicyConflict, PolicyInvalid
from engine.model.events import Event
from engine.model.limits import POLICY_CACHE_S, POLICY_STALE_AFTER_S
from engine.model.policy import (
    PolicyDocument,
    Profile,
    diff,
    is_looser,
    replace_value,
    with_changes,
)
from engine.model.policy_revision import Revision
from engine.model.snapshots import PolicySnapshot
from engine.policy.authority import PolicyAuthority
from engine.policy.desk_policy import DeskPolicy
from engine.policy.merge import three_way
from engine.policy.version_keeper import VersionKeeper
from engine.ports.clock import Clock
from engine.runtime import Stamper

_CONFIRM_INTERVAL_S = 10.0
_MINE, _THEIRS, _STRICTER = "mine", "theirs", "stricter"


class EmergencyView(Protocol):
    """What the policy may know and do about the emergency stop (filled by the stop)."""

    def is_latched(self) -> bool: ...

    @property
    def trips(self) -> tuple[Trip, ...]:
        """Trips in scope without a clearing, oldest first."""
        ...

    def trip(self, *, source: TripSource, reason: str) -> object:
        """Trip the stop; on return no entry leaves."""
        ...


class EmergencyMode(msgspec.Struct, frozen=True, kw_only=True):
    """The policy's derived emergency: active when latched or some trip in scope is uncleared."""

    active: bool
    reason: str
    activated_at: int | None
    trips: tuple[Trip, ...]


class PolicyStore:
    """Serves the policy at no cost and changes it only by compare-and-set.

    `announce` tells the bus of an event that is in the journal already. `loosening_refused` says
    why only tighter limits are accepted now (latched, or past the soft limit), or None.
    """

    def __init__(
        self,
        *,
        authority: PolicyAuthority,
        clock: Clock,
        stamp: Stamper,
        announce: Callable[[Event], object],
        emergency: EmergencyView,
        loosening_refused: Callable[[], str | None],
        live: bool,
        node: str,
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._emergency = emergency
        self._loosening_refused = loosening_refused
        self._desk: DeskPolicy | None = None
        self._opened_ns = clock.monotonic_ns()
        self.keeper = VersionKeeper(
            authority=authority, clock=clock, stamp=stamp, announce=announce, live=live, node=node
        )

    async def open(self, seed: Callable[[], PolicyDocument]) -> bool:
        """Load the newest version, or store `seed()` as the first; True when it was seeded.

        PolicyInvalid when what is stored breaks the rules of this version of Seawall.
        """
        return await self.keeper.open(seed)

    def share(self, desk: DeskPolicy) -> None:
        """From now on the desk's Redis has the last word."""
        self._desk = desk

    # --- reading ------------------------------------------------------------------------------

    def get_policy(self) -> PolicyDocument:
        """The document in force."""
        return self.keeper.document

    def active(self) -> Profile:
        """The active profile; the hot path's way to a limit."""
        return self.keeper.profile

    @property
    def version(self) -> int:
        return self.keeper.document.version

    @property
    def fault(self) -> str:
        """Why the database's last answer was not a confirmation; empty when it was."""
        return self.keeper.fault

    def age_s(self) -> float | None:
        """Seconds since the authority last confirmed what is in force; None before."""
        if self.keeper.confirmed_ns is None:
            return None
        return (self._clock.monotonic_ns() - self.keeper.confirmed_ns) / 1e9

    def is_fresh(self) -> bool:
        """Whether the age is within the profile's maximum."""
        age_s = self.age_s()
        return age_s is not None and age_s <= self.active().max_policy_age_s

    def is_stale(self) -> bool:
        """A shared policy that Redis has not confirmed for 30 s."""
        since_ns = self.keeper.confirmed_ns
        if since_ns is None:
            since_ns = self._opened_ns
        age_s = (self._clock.monotonic_ns() - since_ns) / 1e9
        return self._desk is not None and age_s > POLICY_STALE_AFTER_S

    def source(self) -> str:
        """Who serves: the last word's own, while it is not older than the cache may be."""
        if self._desk is None:
            return self._authority.name
        age_s = self.age_s()
        is_cached = age_s is not None and age_s <= POLICY_CACHE_S and self._desk.agrees
        return "redis" if is_cached else "local snapshot"

    def emergency(self) -> EmergencyMode:
        """The emergency that follows from the trips; costs nothing, for a look every second."""
        trips = self._emergency.trips
        return EmergencyMode(
            active=self._emergency.is_latched() or bool(trips),
            reason=trips[0].reason if trips else "",
            activated_at=trips[0].ts_ns if trips else None,
            trips=trips,
        )

    def is_emergency_mode(self) -> bool:
        """Latched, or some trip in scope without a clearing."""
        return self.emergency().active

    def emergency_reason(self) -> str:
        """The first uncleared trip's reason, empty when there is none."""
        return self.emergency().reason

    def emergency_activated_at(self) -> int | None:
        """UTC nanoseconds of the first uncleared trip."""
        return self.emergency().activated_at

    def set_emergency_mode(self, reason: str, *, source: TripSource = TripSource.BUTTON) -> None:
        """Trip the stop. There is no way back here: only a reset clears trips."""
        self._emergency.trip(source=source, reason=reason)

    def can_open_new_trades(self) -> bool:
        """Allowed by the policy, confirmed recently enough, and no emergency."""
        allowed = self.get_policy().allow_new_trades
        return allowed and self.is_fresh() and not self.is_emergency_mode()

    def snapshot(self) -> PolicySnapshot:
        """For console and status. Before the first confirmation the age is that of the document."""
        document = self.get_policy()
        age_s = self.age_s()
        if age_s is None:
            age_s = max(0.0, (self._clock.now_ns() - document.ts_ns) / 1e9)
        return PolicySnapshot(
            version=document.version,
            profile=document.profile,
            sha256=self.keeper.sha256,
            age_s=age_s,
            source=self.source(),
            allow_new_trades=document.allow_new_trades,
            author=document.author,
            ts_ns=document.ts_ns,
            stale=self.is_stale(),
            note=self._note(),
            conflict=self.keeper.conflict,
        )

    def _note(self) -> str:
        if self._desk is None:
            return ""
        if self.keeper.is_withholding:
            nodes = ", ".join(sorted({head.node for head in self.keeper.heads}))
            why = "there is no desk key here" if not self._desk.has_key else "not all is signed"
            return f"{why}: of the policy of node {nodes} only stricter values are in force"
        is_alone = all(head.node == self.keeper.node for head in self.keeper.heads)
        if not self._desk.has_key and not is_alone:
            return "there is no desk key here: of other nodes only stricter values are taken"
        return ""

    async def history(self) -> tuple[PolicyVersion, ...]:
        """Every version that was in force on this node, with its differences to the one before;
        newest first."""
        found: list[PolicyVersion] = []
        before: PolicyDocument | None = None
        for document in await self.keeper.versions():
            changes = {} if before is None else diff(before, document)
            found.append(PolicyVersion(document=document, changes=changes))
            before = document
        return tuple(reversed(found))

    # --- confirming ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Confirm every few seconds, for ever."""
        while True:
            await self.confirm()
            # Often enough that an age is never beyond a short maximum while all is well.
            limit_s = float(self.active().max_policy_age_s)
            await self._clock.sleep(min(_CONFIRM_INTERVAL_S, limit_s / 2))

    async def confirm(self) -> bool:
        """Ask the database whether what is in force is what it holds; False lets the age grow."""
        is_same = await self.keeper.confirm_disk()
        if is_same and self._desk is None:
            self.keeper.confirmed()
        return is_same

    # --- changing -----------------------------------------------------------------------------

    def check(self, changes: Mapping[str, str]) -> PolicyDocument:
        """The document that these changes would make; nothing is stored.

        Raises PolicyInvalid with every wrong field, and for what may not be loosened now.
        """
        document = with_changes(self.get_policy(), changes)
        self._refuse_invalid(document)
        self._refuse_loosening(document)
        return document

    async def update(
        self,
        changes: Mapping[str, str],
        *,
        base_version: int,
        author: str,
        reason: str,
        command: CommandNote | None = None,
    ) -> PolicyDocument:
        """Change fields by name (as in `engine.model.policy.with_changes`); the new document.

        `command`: stored with the new version, or not at all.
        """
        return await self._decide(
            lambda base: with_changes(base, changes),
            base_version,
            author=author,
            reason=reason,
            command=command,
        )

    async def set_mode(
        self,
        name: str,
        *,
        author: str,
        reason: str,
        base_version: int | None = None,
        command: CommandNote | None = None,
    ) -> PolicyDocument:
        """Switch the active profile. `command`: stored with the new version, or not at all."""
        return await self._decide(
            lambda base: msgspec.structs.replace(base, profile=name),
            base_version,
            author=author,
            reason=reason,
            command=command,
        )

    async def rollback(
        self, version: int, *, author: str, reason: str, base_version: int | None = None
    ) -> PolicyDocument:
        """Make a new version equal to an old one, by the same rules as any change."""
        old = await self.keeper.version(version)
        if old is None:
            raise PolicyInvalid({"version": f"there is no version {version}"})
        return await self._decide(lambda _: old, base_version, author=author, reason=reason)

    async def resolve(
        self, choice: str, *, author: str, reason: str, base_version: int | None = None
    ) -> PolicyDocument:
        """End a conflict: `mine`, `theirs`, the name of a node, or `stricter` (what is in force).

        PolicyInvalid when there is none, or the choice names no side or more than one.
        """

        def wanted(base: PolicyDocument) -> PolicyDocument:
            return base if choice == _STRICTER else self._side(choice)

        return await self._decide(wanted, base_version, author=author, reason=reason, ends=True)

    def _side(self, choice: str) -> PolicyDocument:
        heads, me = self.keeper.heads, self.keeper.node
        matches: Callable[[Revision], bool] = {
            _MINE: lambda head: head.node == me,
            _THEIRS: lambda head: head.node != me,
        }.get(choice, lambda head: head.node == choice)
        sides = [head.document for head in heads if matches(head)]
        if len(sides) != 1:
            nodes = ", ".join(sorted({head.node for head in heads}))
            problem = f"{len(sides)} sides are {choice!r}; say stricter, or a node: {nodes}"
            raise PolicyInvalid({"choice": problem})
        return sides[0]

    async def _decide(
        self,
        make: Callable[[PolicyDocument], PolicyDocument],
        base_version: int | None,
        *,
        author: str,
        reason: str,
        ends: bool = False,
        command: CommandNote | None = None,
    ) -> PolicyDocument:
        """Ask the desk, change what is in force, tell the desk."""
        desk, keeper = self._desk, self.keeper
        if desk is not None:
            await desk.settle()
        async with keeper.turn:
            before, was_conflict = keeper.document, keeper.conflict is not None
            if base_version is not None and base_version != before.version:
                raise await self._conflict(base_version, make)
            if ends and not was_conflict:
                raise PolicyInvalid({"policy": "there is no conflict to resolve"})
            wanted = make(before)
            self._refuse_invalid(wanted)
            if not reason.strip():
                raise PolicyInvalid({"reason": "say why"})
            # Said on top of the conflict that was shown, the same values are a decision too.
            decides = ends or (was_conflict and base_version is not None)
            if not diff(before, wanted) and not decides:
                return before
            self._refuse_loosening(wanted)
            revision = await keeper.change(
                wanted, author=author, reason=reason.strip(), command=command
            )
        if desk is not None:
            await desk.settle()
            if keeper.conflict is not None and revision in keeper.heads:
                # Somebody else's change in the same moment: neither is lost, and both are told.
                fields = three_way(before, keeper.document, revision.document)
                raise PolicyConflict(before.version, self.version, fields, is_kept=True)
        return revision.document

    async def _conflict(
        self, base_version: int, make: Callable[[PolicyDocument], PolicyDocument]
    ) -> PolicyConflict:
        """What was based on an old version: base, theirs and mine, field by field."""
        base = await self.keeper.version(base_version)
        try:
            mine = make(base or self.get_policy())
            fields = three_way(base, self.get_policy(), mine)
        except PolicyInvalid:
            fields = {}
        return PolicyConflict(base_version, self.version, fields)

    # --- refusing -----------------------------------------------------------------------------

    def _refuse_invalid(self, document: PolicyDocument) -> None:
        problems = self.keeper.problems(document)
        if problems:
            raise PolicyInvalid(problems)

    def _refuse_loosening(self, wanted: PolicyDocument) -> None:
        why = self._loosening_refused()
        if why is None:
            return
        before = self.get_policy()
        # What tripped on the minimum balance can only be traded again with a lower one (or
        # capital).
        if any(trip.source is TripSource.MIN_BALANCE for trip in self._emergency.trips):
            wanted = _with_min_balance_of(wanted, before)
        if is_looser(before, wanted):
            raise PolicyInvalid({"policy": f"only tighter limits are accepted now: {why}"})


def _with_min_balance_of(wanted: PolicyDocument, before: PolicyDocument) -> PolicyDocument:
    profiles = {
        name: replace_value(profile, "min_balance", before.profiles[name].min_balance)
        for name, profile in wanted.profiles.items()
    }
    return msgspec.structs.replace(wanted, profiles=profiles)


__all__ = ["EmergencyMode", "EmergencyView", "PolicyStore"]
