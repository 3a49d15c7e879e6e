"""The policy document: seeds, ranges, cross-field rules, directions, differences, text changes."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import PolicyInvalid
from engine.model.policy import (
    FIELD_BY_NAME,
    FIELDS,
    PROFILE_NAMES,
    PolicyDocument,
    Profile,
    diff,
    direction,
    document_from_json,
    document_hash,
    document_json,
    get_value,
    is_looser,
    parse_value,
    seeded,
    stricter_value,
    validate,
    value_text,
    with_changes,
)

PAPER = seeded(Decimal(100_000), live=False)


def changed(name: str, text: str) -> PolicyDocument:
    return with_changes(PAPER, {name: text})


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("initial", ["100", "10000", "5000000"])
def test_what_is_seeded_is_valid(initial: str, live: bool) -> None:
    assert validate(seeded(Decimal(initial), live=live), live=live) == {}


def test_seeds_are_the_contracts() -> None:
    profiles = [PAPER.profiles[name] for name in PROFILE_NAMES]
    assert [profile.position_fraction for profile in profiles] == [
        Decimal(text) for text in ("0.01", "0.02", "0.05", "0.10")
    ]
    assert [profile.max_leverage for profile in profiles] == [2, 5, 10, 20]
    assert [profile.max_gross_exposure for profile in profiles] == [
        Decimal(text) for text in ("0.1", "0.5", "2", "4")
    ]
    assert PAPER.profile == "conservative"
    assert PAPER.allow_new_trades
    assert not seeded(Decimal(1000), live=True).allow_new_trades
    assert PAPER.active.min_balance == Decimal(50_000)
    assert PAPER.active.max_consecutive_losses == 0
    assert seeded(Decimal(1000), live=True).active.max_consecutive_losses == 5


def test_the_table_declares_every_field_of_a_profile_and_nothing_else() -> None:
    leaves = {name for name in Profile.__struct_fields__ if name != "governor"}
    leaves |= {f"governor.{name}" for name in type(PAPER.active.governor).__struct_fields__}
    assert set(FIELD_BY_NAME) == leaves
    assert len(FIELDS) == len(FIELD_BY_NAME)


@pytest.mark.parametrize(
    ("field", "text", "problem"),
    [
        ("max_leverage", "126", "outside 1 to 125"),
        ("drawdown_soft", "0.10", "must be below drawdown_hard"),
        ("governor.soft", "0.16", "the rungs must rise"),
        ("protective_stop", "0.2", "× max_leverage is 1"),
        ("max_gross_exposure", "21", "outside 0 to 20"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(field: str, text: str, problem: str) -> None:
    problems = validate(changed(field, text), live=False)
    assert problem in problems[f"conservative.{field}"]


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        with_changes(PAPER, {"no_such": "1", "max_leverage": "many", "allow_naked": "perhaps"})
    assert set(caught.value.problems) == {"no_such", "max_leverage", "allow_naked"}


def test_a_streak_limit_of_zero_is_off_and_refused_on_live() -> None:
    document = with_changes(seeded(Decimal(1000), live=True), {"max_consecutive_losses": "0"})
    assert "refused on live" in validate(document, live=True)["conservative.max_consecutive_losses"]
    spec = FIELD_BY_NAME["max_consecutive_losses"]
    assert direction(spec, 5, 0) == "looser"
    assert direction(spec, 0, 5) == "tighter"
    assert stricter_value(spec, 0, 7) == 7


def test_a_bare_name_means_the_active_profile_and_a_dotted_one_that_one() -> None:
    assert diff(PAPER, changed("max_leverage", "3")) == {"conservative.max_leverage": ("5", "3")}
    assert diff(PAPER, changed("aggressive.governor.hard", "0.3")) == {
        "aggressive.governor.hard": ("0.2", "0.3")
    }


def test_per_cent_is_understood_where_the_field_is_a_fraction() -> None:
    assert parse_value(FIELD_BY_NAME["max_daily_loss"], "4 %") == Decimal("0.04")
    with pytest.raises(ValueError, match="not in per cent"):
        parse_value(FIELD_BY_NAME["max_leverage"], "4%")


def test_looser_is_seen_in_any_profile_and_in_what_is_allowed() -> None:
    assert not is_looser(PAPER, changed("max_leverage", "3"))
    assert is_looser(PAPER, changed("aggressive.max_leverage", "25"))
    assert is_looser(PAPER, changed("profile", "aggressive"))
    assert not is_looser(PAPER, changed("profile", "defensive"))
    closed = msgspec.structs.replace(PAPER, allow_new_trades=False)
    assert is_looser(closed, PAPER)
    assert is_looser(PAPER, changed("min_balance", "1"))


def test_a_document_survives_json_and_its_hash_is_its_contents() -> None:
    again = document_from_json(document_json(PAPER))
    assert again == PAPER
    assert document_hash(again) == document_hash(PAPER)
    assert document_hash(changed("max_leverage", "3")) != document_hash(PAPER)


def test_unknown_fields_in_json_are_refused() -> None:
    body = document_json(PAPER).replace(b'"version"', b'"versoin"')
    with pytest.raises(msgspec.ValidationError):
        document_from_json(body)


@given(st.sampled_from(FIELDS), st.data())
def test_a_value_reads_back_from_its_text_and_directions_mirror(spec, data) -> None:  # type: ignore[no-untyped-def]
    value = get_value(PAPER.active, spec.name)
    assert parse_value(spec, value_text(value)) == value
    if spec.kind == "flag":
        return
    other = data.draw(st.decimals(min_value=spec.minimum, max_value=spec.ceiling, places=3))
    mirror = {"tighter": "looser", "looser": "tighter", "same": "same"}
    assert direction(spec, other, value) == mirror[direction(spec, value, other)]
    assert stricter_value(spec, value, other) == stricter_value(spec, other, value)
