"""A policy document written by a person, to start a new data directory with (`[policy] file`).

JSON as `seawall policy show --json` prints it, or the same as TOML. Version, author, time and
reason may be left out: the first version is made here. Fails with ConfigurationError naming the
field.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from engine.model.errors import ConfigurationError
from engine.model.policy import PolicyDocument, Profile, validate

_FIELD = "policy.file"


class _WrittenDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person writes."""

    profile: str
    profiles: dict[str, Profile]
    allow_new_trades: bool
    version: int = 1
    author: str = ""
    ts_ns: int = 0
    reason: str = ""
    # How it stood when it was shown; of no consequence here.
    shared: object = None


def read_policy_file(path: Path, *, live: bool, ts_ns: int) -> PolicyDocument:
    """The first version of a new data directory, as written in a file; validated. Blocks."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(_FIELD, f"cannot read {path}: {error}") from error
    try:
        if path.suffix == ".toml":
            raw = tomllib.loads(text, parse_float=str)
            written = msgspec.convert(raw, _WrittenDocument, str_keys=True)
        else:
            written = msgspec.json.decode(text, type=_WrittenDocument)
    except (tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise ConfigurationError(_FIELD, f"{path.name}: {error}") from error
    document = PolicyDocument(
        version=1,
        author=written.author or "policy file",
        ts_ns=ts_ns,
        reason=written.reason or f"seeded from {path.name}",
        profile=written.profile,
        profiles=written.profiles,
        allow_new_trades=written.allow_new_trades,
    )
    problems = validate(document, live=live)
    if problems:
        listed = "; ".join(f"{field}: {why}" for field, why in problems.items())
        raise ConfigurationError(_FIELD, f"{path.name}: {listed}")
    return document


__all__ = ["read_policy_file"]
