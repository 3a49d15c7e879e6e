"""A policy document with its descent: who made it, and which changes it was made on.

`lineage` counts changes by line (one line a database): a revision with an entry `LINE: 7` was made
knowing the first seven changes of that line. So two revisions can be compared without a history:
one descends from the other, or both sides were changed without knowing of each other. The
document's version is the sum of its lineage: it rises with every change on whatever node.
"""

from __future__ import annotations

import hashlib

import msgspec

from engine.model.policy import PolicyDocument

# Nobody's wish: the document a new data directory begins with when no file was given.
SEED_AUTHOR = "seawall"
LINES_MAX = 1_000
COUNT_MAX = 1_000_000_000


class Revision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change of the policy, as it travels between nodes. `node` made it."""

    document: PolicyDocument
    lineage: dict[str, int]
    node: str

    @property
    def is_seed(self) -> bool:
        """Made by a new data directory and wanted by nobody."""
        return self.document.version == 1 and self.document.author == SEED_AUTHOR


class SharedReading(msgspec.Struct, frozen=True, kw_only=True):
    """What the desk's policy was found to be in Redis; whom to believe is not decided by it.

    `is_missing`: nothing is there, which is no information. `fault` says in words why it cannot be
    read. `is_signed`: with our desk key. `heads` is empty where a stranger wrote only a document.
    `stood` is version, sha256 and heads as they were, for the compare-and-set.
    """

    stood: tuple[str, str, str] = ("", "", "")
    is_missing: bool = False
    is_signed: bool = False
    fault: str = ""
    node: str = ""
    document: PolicyDocument | None = None
    heads: tuple[Revision, ...] = ()


_ENCODER = msgspec.json.Encoder(order="sorted")


def revision_id(revision: Revision) -> str:
    """Hex SHA-256 of the whole revision: the same id, the same revision."""
    return hashlib.sha256(_ENCODER.encode(revision)).hexdigest()


def revisions_json(revisions: tuple[Revision, ...]) -> str:
    """Canonical JSON: sorted keys, decimals as strings."""
    return _ENCODER.encode(revisions).decode()


def revisions_from_json(text: str | bytes) -> tuple[Revision, ...]:
    """Decode strictly; msgspec.ValidationError names the path, ValueError what does not add up."""
    revisions = msgspec.json.decode(text, type=tuple[Revision, ...])
    for revision in revisions:
        counts = revision.lineage.values()
        if not 1 <= len(counts) <= LINES_MAX or not all(1 <= one <= COUNT_MAX for one in counts):
            raise ValueError("a lineage is empty, too long or counts wrongly")
        if revision.document.version != sum(counts):
            raise ValueError(f"version {revision.document.version} is not the sum of its lineage")
    return revisions


__all__ = [
    "COUNT_MAX",
    "LINES_MAX",
    "SEED_AUTHOR",
    "Revision",
    "SharedReading",
    "revision_id",
    "revisions_from_json",
    "revisions_json",
]
