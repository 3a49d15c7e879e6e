"""The policy in force, its changes and its age.

Memory is a cache of what the authority (standalone: the state database) holds; `confirm` reads
version and hash back every few seconds, and the age is the time since it last agreed. A change is
validated, compare-and-set on the version, durable with its event and audit entry in one
transaction, in force in memory after the commit, and only then told. Emergency mode is not a field:
it is derived from the trips, and nothing here touches those.

Ages in seconds of the monotonic clock. Loop only. Fails: PolicyInvalid with every wrong field,
PolicyConflict when somebody was faster, StoreError when the authority cannot store it: in each case
the old policy stays in force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from engine.api import PolicyVersion
from engine.model.emergency import Trip, TripSource
from engine.model.errors import PolicyConflict, PolicyInvalid, StoreError, require
from engine.model.events import Event, PolicyChanged
from engine.model.policy import (
    PolicyDocument,
    Profile,
    diff,
    document_hash,
    is_looser,
    replace_value,
    validate,
    with_changes,
)
from engine.model.snapshots import PolicySnapshot
from engine.policy.authority import PolicyAuthority
from engine.ports.clock import Clock
from engine.runtime import Stamper

_log = logging.getLogger(__name__)
_CONFIRM_INTERVAL_S = 10.0


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
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._stamp = stamp
        self._announce = announce
        self._emergency = emergency
        self._loosening_refused = loosening_refused
        self._live = live
        self._document: PolicyDocument | None = None
        self._profile: Profile | None = None
        self._sha256 = ""
        self._confirmed_ns: int | None = None
        # Why the authority's last answer was not a confirmation; empty when it was.
        self.fault = ""

    # --- start --------------------------------------------------------------------------------

    async def open(self, seed: Callable[[], PolicyDocument]) -> bool:
        """Load the newest version, or store `seed()` as the first; True when it was seeded.

        PolicyInvalid when what is stored breaks the rules of this version of Seawall.
        """
        stored = await self._authority.newest()
        if stored is None:
            first = msgspec.structs.replace(seed(), version=1)
            self._refuse_invalid(first)
            event = self._event(first, first)
            await self._authority.store(first, base_version=0, event=event)
            self._adopt(first)
            self._announce(event)
        else:
            self._refuse_invalid(stored)
            self._adopt(stored)
        return stored is None

    # --- reading ------------------------------------------------------------------------------

    def get_policy(self) -> PolicyDocument:
        """The document in force."""
        require(self._document is not None, "the policy is read before it was opened")
        assert self._document is not None
        return self._document

    def active(self) -> Profile:
        """The active profile; the hot path's way to a limit."""
        profile = self._profile
        require(profile is not None, "the policy is read before it was opened")
        assert profile is not None
        return profile

    @property
    def version(self) -> int:
        return self.get_policy().version

    def age_s(self) -> float | None:
        """Seconds since the authority last confirmed what is in force; None before."""
        if self._confirmed_ns is None:
            return None
        return (self._clock.monotonic_ns() - self._confirmed_ns) / 1e9

    def is_fresh(self) -> bool:
        """Whether the age is within the profile's maximum."""
        age_s = self.age_s()
        return age_s is not None and age_s <= self.active().max_policy_age_s

    def is_emergency_mode(self) -> bool:
        """Latched, or some trip in scope without a clearing."""
        return self._emergency.is_latched() or bool(self._emergency.trips)

    def emergency_reason(self) -> str:
        """The first uncleared trip's reason, empty when there is none."""
        trips = self._emergency.trips
        return trips[0].reason if trips else ""

    def emergency_activated_at(self) -> int | None:
        """UTC nanoseconds of the first uncleared trip."""
        trips = self._emergency.trips
        return trips[0].ts_ns if trips else None

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
            sha256=self._sha256,
            age_s=age_s,
            source=self._authority.name,
            allow_new_trades=document.allow_new_trades,
            author=document.author,
            ts_ns=document.ts_ns,
        )

    async def history(self) -> tuple[PolicyVersion, ...]:
        """All versions with their differences to the one before, newest first."""
        found: list[PolicyVersion] = []
        before: PolicyDocument | None = None
        for document in await self._authority.versions():
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
        """Ask the authority whether what is in force is what it holds; False lets the age grow."""
        mine = self.get_policy()
        try:
            theirs = await self._authority.confirm()
            if theirs is not None and theirs.version > mine.version:
                return await self._take_newer()
        except StoreError as error:
            return self._doubt(f"the {self._authority.name} does not answer: {error}")
        if mine is not self._document:
            return True  # It was changed while we asked, and storing the change confirmed it.
        if theirs is None:
            return self._doubt(f"the {self._authority.name} holds no policy any more")
        if (theirs.version, theirs.sha256) != (mine.version, self._sha256):
            return self._doubt(
                f"version {mine.version} is in force, "
                f"the {self._authority.name} holds another version {theirs.version}"
            )
        self._confirmed()
        return True

    async def _take_newer(self) -> bool:
        """A change that was stored and never answered to us, or made from elsewhere."""
        newest = await self._authority.newest()
        if newest is None or newest.version <= self.version:
            return False
        problems = validate(newest, live=self._live)
        if problems:
            return self._doubt(f"version {newest.version} is invalid: {PolicyInvalid(problems)}")
        before = self.get_policy()
        self._adopt(newest)
        self._announce(self._event(before, newest))
        return True

    def _doubt(self, fault: str) -> bool:
        if fault != self.fault:
            _log.error("the policy is not confirmed: %s", fault)
        self.fault = fault
        return False

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
        self, changes: Mapping[str, str], *, base_version: int, author: str, reason: str
    ) -> PolicyDocument:
        """Change fields by name (as in `engine.model.policy.with_changes`); the new document."""
        self._refuse_other_base(base_version)
        document = with_changes(self.get_policy(), changes)
        return await self._change(document, author=author, reason=reason)

    async def set_mode(
        self, name: str, *, author: str, reason: str, base_version: int | None = None
    ) -> PolicyDocument:
        """Switch the active profile."""
        self._refuse_other_base(base_version)
        document = msgspec.structs.replace(self.get_policy(), profile=name)
        return await self._change(document, author=author, reason=reason)

    async def rollback(
        self, version: int, *, author: str, reason: str, base_version: int | None = None
    ) -> PolicyDocument:
        """Make a new version equal to an old one, by the same rules as any change."""
        self._refuse_other_base(base_version)
        before = self.get_policy()
        for document in await self._authority.versions():
            if document.version == version:
                self._refuse_other_base(before.version)
                return await self._change(document, author=author, reason=reason)
        raise PolicyInvalid({"version": f"there is no version {version}"})

    async def _change(self, wanted: PolicyDocument, *, author: str, reason: str) -> PolicyDocument:
        before = self.get_policy()
        self._refuse_invalid(wanted)
        if not reason.strip():
            raise PolicyInvalid({"reason": "say why"})
        if not diff(before, wanted):
            return before
        self._refuse_loosening(wanted)
        document = msgspec.structs.replace(
            wanted,
            version=before.version + 1,
            author=author,
            ts_ns=self._clock.now_ns(),
            reason=reason.strip(),
        )
        event = self._event(before, document)
        await self._authority.store(document, base_version=before.version, event=event)
        if document.version > self.version:
            self._adopt(document)
            self._announce(event)
        return document

    def _event(self, before: PolicyDocument, after: PolicyDocument) -> PolicyChanged:
        return PolicyChanged(
            **self._stamp(),
            version=after.version,
            author=after.author,
            reason=after.reason,
            changes=diff(before, after),
        )

    def _adopt(self, document: PolicyDocument) -> None:
        self._document = document
        self._profile = document.active
        self._sha256 = document_hash(document)
        self._confirmed()

    def _confirmed(self) -> None:
        self._confirmed_ns = self._clock.monotonic_ns()
        self.fault = ""

    # --- refusing -----------------------------------------------------------------------------

    def _refuse_invalid(self, document: PolicyDocument) -> None:
        problems = validate(document, live=self._live)
        if problems:
            raise PolicyInvalid(problems)

    def _refuse_other_base(self, base_version: int | None) -> None:
        if base_version is not None and base_version != self.version:
            raise PolicyConflict(base_version, self.version)

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


__all__ = ["EmergencyView", "PolicyStore"]
