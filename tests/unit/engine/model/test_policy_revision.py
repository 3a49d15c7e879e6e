"""A revision of the policy: what adds up is read back as it was, and nothing else is."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from engine.model.policy import seeded
from engine.model.policy_revision import (
    COUNT_MAX,
    LINES_MAX,
    Revision,
    revision_id,
    revisions_from_json,
    revisions_json,
)

SEED = seeded(Decimal(100_000), live=False, ts_ns=5)


def _revision(lineage: dict[str, int], *, version: int | None = None) -> Revision:
    number = sum(lineage.values()) if version is None else version
    document = msgspec.structs.replace(SEED, version=number, author="op")
    return Revision(document=document, lineage=lineage, node="desk1")


def test_revisions_are_read_back_as_they_were_whatever_the_order_of_their_lines() -> None:
    one, same = _revision({"a": 2, "b": 3}), _revision({"b": 3, "a": 2})
    assert revisions_from_json(revisions_json((one,))) == (one,)
    assert revision_id(one) == revision_id(same)
    assert revision_id(one) != revision_id(msgspec.structs.replace(one, node="desk2"))


def test_only_the_first_document_that_nobody_wrote_is_a_seed() -> None:
    seed = Revision(document=SEED, lineage={"seed of a": 1}, node="desk1")
    assert seed.is_seed
    assert not _revision({"a": 1}).is_seed
    later = msgspec.structs.replace(SEED, version=2)
    assert not msgspec.structs.replace(seed, document=later).is_seed


@pytest.mark.parametrize(
    "lineage",
    [
        {},
        {"a": 0},
        {"a": -1},
        {"a": COUNT_MAX + 1},
        {f"line {number}": 1 for number in range(LINES_MAX + 1)},
    ],
    ids=["empty", "zero", "negative", "too high", "too long"],
)
def test_a_lineage_that_cannot_be_is_refused(lineage: dict[str, int]) -> None:
    text = revisions_json((_revision(lineage, version=max(1, sum(lineage.values()))),))
    with pytest.raises(ValueError, match="lineage"):
        revisions_from_json(text)


def test_a_version_that_is_not_the_sum_of_its_lineage_is_refused() -> None:
    with pytest.raises(ValueError, match="version 9 is not the sum"):
        revisions_from_json(revisions_json((_revision({"a": 2}, version=9),)))


@pytest.mark.parametrize("text", ["", "{}", "[{}]", "[1]"])
def test_what_is_no_revision_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        revisions_from_json(text)
