"""A policy written by a person: taken whole, or refused with the field and what would be right."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from engine.model.errors import ConfigurationError
from engine.model.policy import document_json, seeded
from engine.policy import read_policy_file

WRITTEN = json.loads(document_json(seeded(Decimal(50_000), live=False)))


def read(folder: Path, text: str, name: str = "policy.json"):  # type: ignore[no-untyped-def]
    path = folder / name
    path.write_text(text)
    return read_policy_file(path, live=False, ts_ns=5)


def test_a_whole_document_is_taken_as_version_one(tmp_path: Path) -> None:
    document = read(tmp_path, json.dumps(WRITTEN | {"version": 12, "profile": "moderate"}))
    assert (document.version, document.ts_ns, document.profile) == (1, 5, "moderate")
    assert document.active.min_balance == Decimal(25_000)


def test_toml_and_missing_metadata(tmp_path: Path) -> None:
    lines = ['profile = "defensive"', "allow_new_trades = true"]
    for name, profile in WRITTEN["profiles"].items():
        governor = profile.pop("governor")
        for table, fields in ((name, profile), (f"{name}.governor", governor)):
            lines.append(f"[profiles.{table}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        profile["governor"] = governor
    document = read(tmp_path, "\n".join(lines), "policy.toml")
    assert (document.author, document.reason) == ("policy file", "seeded from policy.toml")
    assert document.active.drawdown_hard == Decimal("0.1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": "reckless"}, "profile: must be one of"),
        ({"nonsense": 1}, "nonsense"),
        ({"profiles": {}}, "must be exactly"),
        ({"allow_new_trades": "perhaps"}, "allow_new_trades"),
    ],
)
def test_faults_name_the_field(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        read(tmp_path, json.dumps(WRITTEN | change))
    assert caught.value.field == "policy.file"


def test_every_limit_out_of_range_is_named(tmp_path: Path) -> None:
    written = json.loads(json.dumps(WRITTEN))
    written["profiles"]["moderate"]["drawdown_soft"] = "0.9"
    written["profiles"]["defensive"]["max_leverage"] = "500"
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, json.dumps(written))
    assert "moderate.drawdown_soft" in caught.value.problem
    assert "defensive.max_leverage" in caught.value.problem


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.json"):
        read_policy_file(tmp_path / "nowhere.json", live=False, ts_ns=0)
