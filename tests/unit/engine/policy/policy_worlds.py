"""Histories of a policy shared by several nodes, for property tests: what really can happen.

A world is a few nodes, each with the heads it knows. A node changes the policy on what it knows, or
hears of another's heads. No node ever hears of what was not made.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
from hypothesis import strategies as st

from engine.model.policy import (
    FIELDS,
    PROFILE_NAMES,
    FieldSpec,
    PolicyDocument,
    Profile,
    Value,
    replace_value,
    seeded,
    type_of,
    validate,
)
from engine.model.policy_revision import Revision
from engine.policy.merge import effective, first_lineage, join, successor_lineage

__all__ = ["NODES", "World", "documents", "profiles", "worlds"]

NODES = ("desk1", "desk2", "desk3")
_SEEDED = seeded(Decimal(100_000), live=False)


def _value(spec: FieldSpec) -> st.SearchStrategy[Value]:
    if spec.kind == "flag":
        return st.booleans()
    if type_of(spec.name) is int:
        # Small numbers meet each other and the zero that means off.
        high = min(int(spec.ceiling), int(spec.minimum) + 6)
        return st.integers(int(spec.minimum), high)
    step = (spec.ceiling - spec.minimum) / 8
    return st.integers(0, 8).map(lambda number: spec.minimum + step * number)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Any valid profile: some fields moved, cross-field rules kept."""
    profile = _SEEDED.profiles[draw(st.sampled_from(PROFILE_NAMES))]
    for spec in draw(st.lists(st.sampled_from(FIELDS), max_size=4, unique_by=lambda s: s.name)):
        moved = replace_value(profile, spec.name, draw(_value(spec)))
        trial = msgspec.structs.replace(_SEEDED, profile="moderate", profiles={"moderate": moved})
        if not validate(trial, live=False).keys() - {"profiles"}:
            profile = moved
    return profile


@st.composite
def documents(draw: st.DrawFn) -> PolicyDocument:
    """Any valid document."""
    moved = draw(st.sets(st.sampled_from(PROFILE_NAMES), max_size=2))
    return msgspec.structs.replace(
        _SEEDED,
        profile=draw(st.sampled_from(PROFILE_NAMES)),
        profiles=_SEEDED.profiles | {name: draw(profiles()) for name in sorted(moved)},
        allow_new_trades=draw(st.booleans()),
    )


class World:
    """Nodes, what they know, and every revision that was ever made."""

    def __init__(self, *, seeded_alike: bool) -> None:
        self.made: list[Revision] = []
        self.known: dict[str, tuple[Revision, ...]] = {}
        self._in_force: dict[str, int] = {}
        # (node, version before, version after) of each time a node's document changed.
        self.steps: list[tuple[str, int, int]] = []
        shared = self._seed(NODES[0])
        for node in NODES:
            own = shared if seeded_alike or node == NODES[0] else self._seed(node)
            self.known[node] = (own,)
            self._in_force[node] = 1

    def _seed(self, node: str) -> Revision:
        document = msgspec.structs.replace(_SEEDED, ts_ns=len(self.made))
        revision = Revision(
            document=document, lineage=first_lineage(document, line=node), node=node
        )
        self.made.append(revision)
        return revision

    def change(self, node: str, wanted: PolicyDocument, *, ts_ns: int) -> Revision:
        """A person at a node wants these limits."""
        lineage = successor_lineage(self.known[node], line=node, above=self._in_force[node])
        document = msgspec.structs.replace(
            wanted, version=sum(lineage.values()), author=f"op of {node}", ts_ns=ts_ns, reason="r"
        )
        revision = Revision(document=document, lineage=lineage, node=node)
        self.made.append(revision)
        self._know(node, (revision,))
        return revision

    def hear(self, node: str, other: str) -> None:
        """One node learns what another knows."""
        self._know(node, join(self.known[node], self.known[other]))

    def exchange_all(self) -> None:
        everything = join(*self.known.values())
        for node in NODES:
            self._know(node, everything)

    def _know(self, node: str, heads: tuple[Revision, ...]) -> None:
        before, self.known[node] = self.known[node], heads
        if effective(before) != effective(heads):
            self.steps.append((node, self._in_force[node], effective(heads).version))
            self._in_force[node] = effective(heads).version


@st.composite
def worlds(draw: st.DrawFn, *, seeded_alike: bool | None = None) -> World:
    """Changes and exchanges in any order, after any start."""
    alike = draw(st.booleans()) if seeded_alike is None else seeded_alike
    world = World(seeded_alike=alike)
    nodes = st.sampled_from(NODES)
    for number in range(draw(st.integers(0, 8))):
        if draw(st.booleans()):
            world.change(draw(nodes), draw(documents()), ts_ns=draw(st.integers(0, 3)) + number)
        else:
            world.hear(draw(nodes), draw(nodes))
    return world
