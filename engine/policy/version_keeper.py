"""Keeps what is in force, and every way in which that changes: one at a time, durable first.

What the desk knows is a set of heads (`engine.policy.merge`); the document in force follows from
them. Each change is one transaction of the state database: version, heads, event and audit entry;
after the commit it is in force in memory, and only then told. A version in force on this node is
always above the one before it.

What another node says is taken whole when it can be trusted. When it cannot, only stricter values
are: nothing here gets looser by it. Loop only. Fails: StoreError when the disk cannot, and then the
old policy stays in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from engine.model.commands import CommandNote
from engine.model.errors import PolicyInvalid, StoreError, require
from engine.model.events import Event, PolicyChanged, PolicyConflicted
from engine.model.policy import PolicyDocument, Profile, diff, document_hash, validate
from engine.model.policy_revision import Revision
from engine.model.snapshots import PolicyConflictSnapshot
from engine.policy.authority import AuthorityState, PolicyAuthority
from engine.policy.merge import (
    ancestor_version,
    conflict_of,
    effective,
    first_lineage,
    join,
    joint_lineage,
    strictest,
    successor_lineage,
)
from engine.ports.clock import Clock
from engine.runtime import Stamper

_log = logging.getLogger(__name__)
# An unsigned lineage is believed to have been made on as many changes more than we know of.
_UNSEEN_MAX = 1_000
_NAME_MAX = 100


class VersionKeeper:
    """One node's policy. `turn` is held by whoever decides on a change and makes it."""

    def __init__(
        self,
        *,
        authority: PolicyAuthority,
        clock: Clock,
        stamp: Stamper,
        announce: Callable[[Event], object],
        live: bool,
        node: str,
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._stamp = stamp
        self._announce = announce
        self._live = live
        self._node = node
        self._line = ""
        self._is_rebuilt = False
        self._document: PolicyDocument | None = None
        self._profile: Profile | None = None
        self.turn = asyncio.Lock()
        self.sha256 = ""
        self.heads: tuple[Revision, ...] = ()
        self.conflict: PolicyConflictSnapshot | None = None
        # Of what the heads want only the stricter part is in force here.
        self.is_withholding = False
        # Redis has the last word: what is stored here alone confirms nothing.
        self.is_shared = False
        self.confirmed_ns: int | None = None
        # Why the database's last answer was not a confirmation; empty when it was.
        self.fault = ""

    # --- reading ------------------------------------------------------------------------------

    @property
    def node(self) -> str:
        return self._node

    @property
    def document(self) -> PolicyDocument:
        """The document in force."""
        require(self._document is not None, "the policy is read before it was opened")
        assert self._document is not None
        return self._document

    @property
    def profile(self) -> Profile:
        """The active profile; the hot path's way to a limit."""
        profile = self._profile
        require(profile is not None, "the policy is read before it was opened")
        assert profile is not None
        return profile

    def problems(self, document: PolicyDocument) -> dict[str, str]:
        """Every rule that a document breaks here."""
        return validate(document, live=self._live)

    async def versions(self) -> tuple[PolicyDocument, ...]:
        """Every version that was in force on this node, oldest first."""
        return await self._authority.versions()

    async def version(self, number: int) -> PolicyDocument | None:
        """One of them."""
        found = (entry for entry in await self._authority.versions() if entry.version == number)
        return next(found, None)

    # --- start --------------------------------------------------------------------------------

    async def open(self, seed: Callable[[], PolicyDocument]) -> bool:
        """Load what is in force, or store `seed()` as the first; True when it was seeded."""
        self._line = await self._authority.line()
        stored = await self._authority.newest()
        if stored is None:
            first = msgspec.structs.replace(seed(), version=1)
            self._refuse_invalid(first)
            heads = (self._first(first),)
            event = self._changed(first, first)
            await self._authority.store(first, base_version=0, heads=heads, events=(event,))
            self._adopt(first, heads)
            self._announce(event)
        else:
            self._refuse_invalid(stored)
            self._adopt(stored, await self._heads_of(stored))
            self.conflict = await self._conflict(self.heads)
        return stored is None

    def _first(self, document: PolicyDocument) -> Revision:
        lineage = first_lineage(document, line=self._line)
        return Revision(document=document, lineage=lineage, node=self._node)

    async def _heads_of(self, stored: PolicyDocument) -> tuple[Revision, ...]:
        found = await self._authority.heads()
        if found is None:  # Made before policies were shared.
            return (self._first(stored),)
        version, heads = found
        # A restored database was given versions back from events, and not what they were made on:
        # that is what the desk has, if anybody.
        self._is_rebuilt = version != stored.version
        return heads

    # --- confirming ---------------------------------------------------------------------------

    async def confirm_disk(self) -> bool:
        """Whether what is in force is what the database holds."""
        mine = self.document
        try:
            theirs = await self._authority.confirm()
            if theirs is not None and theirs.version > mine.version:
                return await self._take_newer()
        except StoreError as error:
            return self._doubt(f"the {self._authority.name} does not answer: {error}")
        if mine is not self._document:
            return True  # It was changed while we asked, and storing the change confirmed it.
        return self._is_same(mine, theirs)

    def _is_same(self, mine: PolicyDocument, theirs: AuthorityState | None) -> bool:
        if theirs is None:
            return self._doubt(f"the {self._authority.name} holds no policy any more")
        if (theirs.version, theirs.sha256) != (mine.version, self.sha256):
            return self._doubt(
                f"version {mine.version} is in force, "
                f"the {self._authority.name} holds another version {theirs.version}"
            )
        self.fault = ""
        return True

    async def _take_newer(self) -> bool:
        """A change that was stored and never answered to us, or made from elsewhere."""
        newest = await self._authority.newest()
        if newest is None or newest.version <= self.document.version:
            return False
        problems = self.problems(newest)
        if problems:
            return self._doubt(f"version {newest.version} is invalid: {PolicyInvalid(problems)}")
        heads = await self._heads_of(newest)
        conflict = await self._conflict(heads)
        before = self.document
        self._adopt(newest, heads)
        self.conflict = conflict
        self._announce(self._changed(before, newest))
        return True

    def _doubt(self, fault: str) -> bool:
        if fault != self.fault:
            _log.error("the policy is not confirmed: %s", fault)
        self.fault = fault
        return False

    def confirmed(self) -> None:
        """Whoever has the last word agrees with what is in force."""
        self.confirmed_ns = self._clock.monotonic_ns()

    # --- changing; the caller holds `turn` ----------------------------------------------------

    async def change(
        self,
        wanted: PolicyDocument,
        *,
        author: str,
        reason: str,
        command: CommandNote | None = None,
    ) -> Revision:
        """A person's decision at this node, made on everything that is known here: it ends a
        conflict. `command`: what it came by, stored with it."""
        lineage = successor_lineage(self.heads, line=self._line, above=self.document.version)
        revision = self._revision(wanted, lineage, author=author, reason=reason)
        origin = "policy" if command is None else "redis"
        await self._keep(revision.document, (revision,), origin=origin, command=command)
        return revision

    # --- taking from elsewhere ----------------------------------------------------------------

    async def merge(self, theirs: Sequence[Revision], *, trusted: bool) -> bool:
        """Take what another node knows; True when that was anything new.

        What is not `trusted` never makes anything looser here.
        """
        async with self.turn:
            heads = join(self.heads, theirs)
            if heads == self.heads:
                return False
            wanted = effective(heads)
            if not trusted:
                wanted = self._stricter_than_mine(wanted)
            elif self._is_no_later(wanted) and len(heads) == 1:
                lineage = successor_lineage(heads, line=self._line, above=self.document.version)
                joined = f"taken from the desk: v{wanted.version} of node {heads[0].node}"
                revision = self._revision(wanted, lineage, author=wanted.author, reason=joined)
                heads, wanted = (revision,), revision.document
            nodes = sorted({revision.node for revision in heads} - {self._node})
            origin = (
                f"policy of node {', '.join(nodes)[:_NAME_MAX]}" if nodes else "policy of the desk"
            )
            await self._keep(wanted, heads, origin=origin)
            return True

    async def claim(self) -> None:
        """The desk has nothing: what a restored database was given back is a revision of ours."""
        async with self.turn:
            if self._is_rebuilt:
                mine = self.document
                reason = f"{mine.reason}; the desk has no other"
                revision = await self.change(mine, author=mine.author, reason=reason)
                _log.info("v%d is what the desk gets back", revision.document.version)

    async def tighten(
        self, theirs: PolicyDocument, *, node: str, lineage: Mapping[str, int]
    ) -> bool:
        """Take only the stricter values of a document whose origin is not proved.

        `lineage` is what it says it was made on: with it the sender sees that it was heard. During
        a conflict nothing is decided by it: the stricter values hold until the heads change.
        """
        async with self.turn:
            before = self.document
            wanted = strictest((before, theirs))
            is_tighter = bool(diff(before, wanted))
            origin = f"unsigned policy of node {node[:_NAME_MAX]}"
            author = f"unsigned: {theirs.author[:_NAME_MAX]}"
            reason = f"only the stricter values of an unsigned policy v{theirs.version}"
            seen = self._believed(lineage)
            if self.conflict is not None:
                if is_tighter:
                    now_ns = self._clock.now_ns()
                    wanted = msgspec.structs.replace(
                        wanted, author=author, reason=reason, ts_ns=now_ns
                    )
                    await self._keep(wanted, self.heads, origin=origin)
                return is_tighter
            if not is_tighter and not seen:
                return False
            unproved = Revision(document=theirs, lineage=dict(seen), node=node)
            made_on = successor_lineage(
                (*self.heads, unproved), line=self._line, above=before.version
            )
            revision = self._revision(wanted, made_on, author=author, reason=reason)
            await self._keep(revision.document, (revision,), origin=origin)
            return True

    def _believed(self, lineage: Mapping[str, int]) -> Mapping[str, int]:
        """What of an unproved lineage is new to us; nothing where it is beyond belief."""
        known = joint_lineage(self.heads)
        new = {line: count for line, count in lineage.items() if count > known.get(line, 0)}
        surplus = sum(count - known.get(line, 0) for line, count in new.items())
        return new if surplus <= _UNSEEN_MAX else {}

    def _stricter_than_mine(self, theirs: PolicyDocument) -> PolicyDocument:
        mine = self.document
        found = strictest((theirs, mine))
        if not diff(mine, found):
            return mine
        if not diff(theirs, found):
            return found
        note = "only its stricter values are taken without a desk key"
        return msgspec.structs.replace(found, reason=f"{theirs.reason} ({note})")

    def _is_no_later(self, wanted: PolicyDocument) -> bool:
        return wanted.version <= self.document.version and document_hash(wanted) != self.sha256

    # --- one change -----------------------------------------------------------------------------

    def _revision(
        self, wanted: PolicyDocument, lineage: dict[str, int], *, author: str, reason: str
    ) -> Revision:
        document = msgspec.structs.replace(
            wanted,
            version=sum(lineage.values()),
            author=author,
            ts_ns=self._clock.now_ns(),
            reason=reason,
        )
        return Revision(document=document, lineage=lineage, node=self._node)

    async def _keep(
        self,
        wanted: PolicyDocument,
        heads: tuple[Revision, ...],
        *,
        origin: str,
        command: CommandNote | None = None,
    ) -> None:
        """Store, then put in force, then tell."""
        before = self.document
        is_new = document_hash(wanted) != self.sha256
        if is_new and wanted.version <= before.version:
            wanted = msgspec.structs.replace(wanted, version=before.version + 1)
        conflict = await self._conflict(heads)
        events: list[Event] = [self._changed(before, wanted)] if is_new else []
        if conflict is not None and heads != self.heads:
            events.append(self._conflicted(wanted, conflict))
        if is_new:
            await self._authority.store(
                wanted,
                base_version=before.version,
                heads=heads,
                events=events,
                origin=origin,
                command=command,
            )
        else:
            await self._authority.keep_heads(heads, version=before.version, events=events)
        self._adopt(wanted if is_new else before, heads)
        self.conflict = conflict
        for event in events:
            self._announce(event)

    async def _conflict(self, heads: tuple[Revision, ...]) -> PolicyConflictSnapshot | None:
        if conflict_of(heads) is None:
            return None
        return conflict_of(heads, await self.version(ancestor_version(heads)))

    def _changed(self, before: PolicyDocument, after: PolicyDocument) -> PolicyChanged:
        return PolicyChanged(
            **self._stamp(),
            version=after.version,
            author=after.author,
            reason=after.reason,
            changes=diff(before, after),
        )

    def _conflicted(
        self, wanted: PolicyDocument, conflict: PolicyConflictSnapshot
    ) -> PolicyConflicted:
        sides = (
            f"v{side.version} by {side.author} on {side.node}: {side.reason}"
            for side in conflict.sides
        )
        return PolicyConflicted(
            **self._stamp(),
            version=wanted.version,
            author=" and ".join(side.author for side in conflict.sides),
            reason="; ".join(sides),
            changes=conflict.fields,
        )

    def _adopt(self, document: PolicyDocument, heads: tuple[Revision, ...]) -> None:
        self._document = document
        self._profile = document.active
        self.sha256 = document_hash(document)
        if self.heads and heads != self.heads:
            self._is_rebuilt = False
        self.heads = heads
        self.is_withholding = bool(diff(effective(heads), document))
        self.fault = ""
        if not self.is_shared:
            self.confirmed()

    def _refuse_invalid(self, document: PolicyDocument) -> None:
        problems = self.problems(document)
        if problems:
            raise PolicyInvalid(problems)


__all__ = ["VersionKeeper"]
