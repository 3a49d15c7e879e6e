"""The merge of policies that were changed on both sides of an outage. Pure.

What a desk agrees on is a set of heads: the revisions of which none descends from another. `join`
is the union without what others descend from; it is commutative, associative and idempotent, so
every order of exchanges ends in the same set. What is in force follows from the set alone
(`effective`): one head is its own document; of several each field's stricter value holds, until a
person makes a revision that descends from all of them.

The stricter of several documents: `allow_new_trades` only if all allow; the active profile is the
most careful one that any of them has active; each profile's fields are the strictest of that
profile; and the active one's fields are besides no looser than those of any document's active
profile. Every cross-field rule of the policy holds for the result when it holds for the parts.

Descent is by lineage. A seed (nobody's wish) yields to whatever a person wanted, and of two seeds
the older stands. Where an order is needed it is by version, then time, then hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from engine.model.policy import (
    FIELDS,
    PROFILE_NAMES,
    PolicyDocument,
    Profile,
    diff,
    get_value,
    replace_value,
    stricter_value,
    value_text,
)
from engine.model.policy_revision import SEED_AUTHOR, Revision, revision_id
from engine.model.snapshots import PolicyConflictSnapshot, PolicySideSnapshot

_CAREFUL = {name: rank for rank, name in enumerate(PROFILE_NAMES)}


# --- descent ------------------------------------------------------------------------------------


def order_of(revision: Revision) -> tuple[int, int, str]:
    """The one order of revisions: version, then time, then hash."""
    return revision.document.version, revision.document.ts_ns, revision_id(revision)


def precedes(older: Revision, newer: Revision) -> bool:
    """Whether `newer` makes `older` superfluous. A strict partial order."""
    if older.is_seed:
        return not newer.is_seed or order_of(newer) < order_of(older)
    if newer.is_seed or older.lineage == newer.lineage:
        return False
    return all(newer.lineage.get(line, 0) >= count for line, count in older.lineage.items())


def join(*sides: Iterable[Revision]) -> tuple[Revision, ...]:
    """The heads of everything that any side knows, in their order."""
    known = {revision_id(revision): revision for side in sides for revision in side}
    every = known.values()
    heads = [one for one in every if not any(precedes(one, other) for other in every)]
    return tuple(sorted(heads, key=order_of))


def joint_lineage(heads: Iterable[Revision]) -> dict[str, int]:
    """Every change that these heads were made on."""
    joint: dict[str, int] = {}
    for revision in heads:
        for line, count in revision.lineage.items():
            joint[line] = max(joint.get(line, 0), count)
    return joint


def successor_lineage(heads: Iterable[Revision], *, line: str, above: int) -> dict[str, int]:
    """The lineage of a change made on all of these heads, its version above `above`."""
    lineage = joint_lineage(heads)
    others = sum(count for name, count in lineage.items() if name != line)
    lineage[line] = max(lineage.get(line, 0) + 1, above + 1 - others)
    return lineage


def first_lineage(document: PolicyDocument, *, line: str) -> dict[str, int]:
    """The lineage of what a database held before it knew of any.

    A seed counts on a line of its own: it may be dropped without anybody descending from it, and a
    number that was used for it must not be used again.
    """
    if document.version == 1 and document.author == SEED_AUTHOR:
        return {f"seed of {line}": 1}
    return {line: document.version}


# --- what is in force ---------------------------------------------------------------------------


def strictest_profile(profiles: Sequence[Profile]) -> Profile:
    """Field by field the strictest."""
    strictest = profiles[0]
    for spec in FIELDS:
        value = get_value(strictest, spec.name)
        for profile in profiles[1:]:
            value = stricter_value(spec, value, get_value(profile, spec.name))
        strictest = replace_value(strictest, spec.name, value)
    return strictest


def strictest(documents: Sequence[PolicyDocument]) -> PolicyDocument:
    """The limits that are no looser than any of these wants; the rest is the first one's."""
    active = min((document.profile for document in documents), key=_CAREFUL.__getitem__)
    profiles = {
        name: strictest_profile([document.profiles[name] for document in documents])
        for name in documents[0].profiles
    }
    profiles[active] = strictest_profile(
        [profiles[active], *(document.active for document in documents)]
    )
    return msgspec.structs.replace(
        documents[0],
        profile=active,
        profiles=profiles,
        allow_new_trades=all(document.allow_new_trades for document in documents),
    )


def differ(documents: Sequence[PolicyDocument]) -> bool:
    """Whether any limit differs; version, author, time and reason do not count."""
    return any(diff(documents[0], other) for other in documents[1:])


def effective(heads: Sequence[Revision]) -> PolicyDocument:
    """The document in force where these heads are known."""
    documents = [revision.document for revision in heads]
    if len(heads) == 1:
        return documents[0]
    said = "; ".join(
        f"v{revision.document.version} by {revision.document.author} on {revision.node}"
        f" ({revision_id(revision)[:8]})"
        for revision in sorted(heads, key=order_of)
    )
    what = (
        "changed on both sides of an outage, the stricter value of each field holds"
        if differ(documents)
        else "the same limits were set on both sides of an outage"
    )
    return msgspec.structs.replace(
        strictest(documents),
        version=sum(joint_lineage(heads).values()),
        author=SEED_AUTHOR,
        ts_ns=max(document.ts_ns for document in documents),
        reason=f"{what}: {said}",
    )


# --- what a person is shown ---------------------------------------------------------------------


def values_of(document: PolicyDocument) -> dict[str, str]:
    """Every field as text: `PROFILE.FIELD`, `profile`, `allow_new_trades`."""
    values = {
        f"{name}.{spec.name}": value_text(get_value(profile, spec.name))
        for name, profile in sorted(document.profiles.items())
        for spec in FIELDS
    }
    values["profile"] = document.profile
    values["allow_new_trades"] = value_text(document.allow_new_trades)
    return values


def three_way(
    base: PolicyDocument | None, theirs: PolicyDocument, mine: PolicyDocument
) -> dict[str, tuple[str, str, str]]:
    """Field → (base, theirs, mine) where not all agree; base is "" where it is not known."""
    of_base = {} if base is None else values_of(base)
    of_theirs, of_mine = values_of(theirs), values_of(mine)
    found: dict[str, tuple[str, str, str]] = {}
    for name, value in of_mine.items():
        their = of_theirs.get(name, "")
        one = of_base.get(name, "" if base is None else value)
        if their != value or (base is not None and one != value):
            found[name] = (one, their, value)
    return found


def ancestor_version(heads: Sequence[Revision]) -> int:
    """The version that all heads have in common, where history was one line; 0 for none."""
    lines = set.intersection(*(set(revision.lineage) for revision in heads))
    return sum(min(revision.lineage[line] for revision in heads) for line in lines)


def conflict_of(
    heads: Sequence[Revision], base: PolicyDocument | None = None
) -> PolicyConflictSnapshot | None:
    """Both values of every field that differs, who wanted them and when; None without a
    conflict."""
    documents = [revision.document for revision in heads]
    if len(heads) < 2 or not differ(documents):
        return None
    values = [values_of(document) for document in documents]
    of_base: Mapping[str, str] = {} if base is None else values_of(base)
    return PolicyConflictSnapshot(
        sides=tuple(
            PolicySideSnapshot(
                node=revision.node,
                version=revision.document.version,
                author=revision.document.author,
                ts_ns=revision.document.ts_ns,
                reason=revision.document.reason,
            )
            for revision in heads
        ),
        fields={
            name: tuple(one.get(name, "") for one in values)
            for name in values[0]
            if any(one.get(name) != values[0][name] for one in values[1:])
        },
        base={name: of_base[name] for name in of_base if _differs(values, name)},
        base_version=None if base is None else base.version,
    )


def _differs(values: Sequence[Mapping[str, str]], name: str) -> bool:
    return any(one.get(name) != values[0].get(name) for one in values[1:])


__all__ = [
    "ancestor_version",
    "conflict_of",
    "differ",
    "effective",
    "first_lineage",
    "join",
    "joint_lineage",
    "order_of",
    "precedes",
    "strictest",
    "strictest_profile",
    "successor_lineage",
    "three_way",
    "values_of",
]
