"""Judging commands: what is good passes, all else is refused with a sentence, never a crash."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.commands import BusCommand, CommandType
from engine.model.desk_key import DeskKey
from engine.model.emergency import Scope
from engine.redis_link.commands import FIELDS_MAX, Refusal, RefusalCode, judge
from tests.bus_sender import KEY, signature

NOW_NS = 1_800_000_000_000_000_000
NODE = "desk"
SIGNAL = {"symbol": "BTCUSDT", "side": "buy", "confidence": 0.5, "strategy": "s"}
GOOD: dict[str, dict[str, Any]] = {
    "signal.submit": SIGNAL,
    "model.promote": {"name": "m", "version": "2"},
    "strategy.switch": {"to": "moderate"},
    "policy.mode": {"name": "moderate"},
    "policy.update": {"base_version": 3, "fields": {"max_leverage": 2, "profile": "moderate"}},
    "trading.halt": {"reason": "r"},
    "trading.resume": {"reason": "r"},
    "emergency.trip": {"reason": "r", "scope": "desk"},
}
STOPS = ("trading.halt", "emergency.trip")
SIGNED_ONLY = tuple(kind for kind in GOOD if kind not in STOPS)


def fields(kind: str, payload: object, *, signed: bool = True, **changes: str) -> dict[str, str]:
    found = {
        "type": kind,
        "id": "id-1",
        "ts": str(NOW_NS),
        "nonce": "nonce-1",
        "payload": payload if isinstance(payload, str) else json.dumps(payload),
    }
    found |= {name: value for name, value in changes.items() if name in found}
    if signed:
        parts = [found[name] for name in ("type", "id", "ts", "nonce", "payload")]
        found["sig"] = signature(KEY, NODE, *parts)
    return found | {name: value for name, value in changes.items() if name not in found}


def judged(entry: dict[str, str] | dict[bytes, bytes], *, key: str = KEY) -> BusCommand | Refusal:
    raw = {
        name if isinstance(name, bytes) else name.encode(): value
        if isinstance(value, bytes)
        else value.encode()
        for name, value in entry.items()
    }
    return judge("7-0", raw, node=NODE, key=DeskKey(key), now_ns=NOW_NS)


def refusal(entry: dict[str, str], *, key: str = KEY) -> Refusal:
    found = judged(entry, key=key)
    assert isinstance(found, Refusal), found
    assert found.why
    return found


@pytest.mark.parametrize("kind", GOOD)
def test_every_type_of_the_contract_passes_when_it_is_signed(kind: str) -> None:
    command = judged(fields(kind, GOOD[kind] | {"origin": "svc"}))
    assert isinstance(command, BusCommand)
    assert (command.type, command.id, command.author) == (kind, "id-1", "bus:svc")
    assert command.is_signed
    assert command.nonce == (None if kind in STOPS else "nonce-1")


@pytest.mark.parametrize("kind", SIGNED_ONLY)
def test_what_can_add_risk_must_be_signed_fresh_and_unchanged(kind: str) -> None:
    good = GOOD[kind]
    assert refusal(fields(kind, good, signed=False)).code is RefusalCode.UNSIGNED
    assert refusal(fields(kind, good), key="").code is RefusalCode.NO_DESK_KEY
    other = "another-key-of-32-bytes-and-more"
    assert refusal(fields(kind, good), key=other).code is RefusalCode.BAD_SIGNATURE
    for name in ("id", "ts", "nonce", "payload"):
        entry = fields(kind, good)
        entry[name] += " " if name == "payload" else "1"
        assert refusal(entry).code in {RefusalCode.BAD_SIGNATURE, RefusalCode.MALFORMED}
    to_another = fields(kind, good)
    found = judge(
        "7-0",
        {name.encode(): value.encode() for name, value in to_another.items()},
        node="other",
        key=DeskKey(KEY),
        now_ns=NOW_NS,
    )
    assert isinstance(found, Refusal)
    assert found.code is RefusalCode.BAD_SIGNATURE
    for age_s, is_good in ((30, True), (31, False), (-5, True), (-6, False)):
        verdict = judged(fields(kind, good, ts=str(NOW_NS - age_s * 1_000_000_000)))
        assert isinstance(verdict, BusCommand) is is_good, age_s
        if isinstance(verdict, Refusal):
            assert verdict.code is RefusalCode.STALE
            assert verdict.is_alarming


@pytest.mark.parametrize("kind", STOPS)
def test_anyone_may_stop_however_old_and_however_signed(kind: str) -> None:
    bare = judged({"type": kind})
    assert isinstance(bare, BusCommand)
    assert (bare.id, bare.nonce, bare.author) == ("entry:7-0", None, "bus:unsigned")
    old = judged(fields(kind, {}, signed=False, ts="1"))
    forged = judged(fields(kind, {}), key="another-key-of-32-bytes-and-more")
    keyless = judged(fields(kind, {}), key="")
    for verdict in (old, forged, keyless):
        assert isinstance(verdict, BusCommand)
        assert not verdict.is_signed


def test_a_trip_is_of_the_node_unless_it_says_desk() -> None:
    for payload, scope in (({}, Scope.NODE), ({"scope": "desk"}, Scope.DESK)):
        command = judged(fields("emergency.trip", payload, signed=False))
        assert isinstance(command, BusCommand)
        assert command.type is CommandType.EMERGENCY_TRIP
        assert command.payload.scope is scope  # type: ignore[union-attr]


def test_a_stop_that_makes_no_sense_is_refused_with_an_alarm() -> None:
    for payload in ("{", '{"scope": "galaxy"}', '{"reason": 5}', '{"more": 1}', "[]"):
        found = refusal(fields("emergency.trip", payload, signed=False))
        assert found.code is RefusalCode.MALFORMED
        assert found.is_alarming


def test_long_and_broken_words_of_a_stop_are_cut_and_it_is_obeyed() -> None:
    command = judged(fields("emergency.trip", {"reason": "a\nb\x00" + "x" * 5_000}, signed=False))
    assert isinstance(command, BusCommand)
    assert command.payload.reason.startswith("a b x")  # type: ignore[union-attr]
    assert len(command.payload.reason) == 200  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("null", "Expected"),
        (SIGNAL | {"extra": 1}, "unknown field"),
        (SIGNAL | {"confidence": "high"}, "Expected `float`"),
        (SIGNAL | {"confidence": 1.01}, "between 0 and 1"),
        (SIGNAL | {"side": "up"}, "Invalid enum"),
        (SIGNAL | {"symbol": "BTC USDT"}, "symbol must be"),
        (SIGNAL | {"strategy": ""}, "strategy must be"),
        (SIGNAL | {"stop_loss": "NaN"}, "stop_loss must be"),
        (SIGNAL | {"stop_loss": "1"}, "stop_loss must be"),
        (SIGNAL | {"take_profit": "-0.1"}, "take_profit must be"),
        (SIGNAL | {"origin": "x" * 65}, "origin must be"),
        ({"symbol": "BTCUSDT"}, "missing required field"),
    ],
)
def test_malformed_signals_are_refused_in_words(payload: object, words: str) -> None:
    found = refusal(fields("signal.submit", payload))
    assert found.code is RefusalCode.MALFORMED
    assert words in found.why
    assert not found.is_alarming


def test_a_version_that_no_policy_can_have_is_malformed() -> None:
    for version in (-1, 2**31, 10**30):
        entry = fields("policy.update", {"base_version": version, "fields": {}})
        assert refusal(entry).code is RefusalCode.MALFORMED


def test_malformed_entries_are_refused_in_words() -> None:
    for name in ("type", "id", "ts", "nonce", "payload"):
        entry = fields("policy.mode", GOOD["policy.mode"])
        del entry[name]
        assert refusal(entry).why == f"the field {name} is missing"
    assert "unknown type 'reset'" in refusal(fields("reset", {})).why
    assert "nanoseconds" in refusal(fields("policy.mode", {}, ts="yesterday")).why
    assert "printable" in refusal(fields("policy.mode", {}, id="two words")).why
    assert "longer than" in refusal(fields("policy.mode", "9" * 70_000)).why
    many = {f"f{number}": "1" for number in range(FIELDS_MAX)}
    assert f"{FIELDS_MAX} at most" in refusal(fields("policy.mode", {}) | many).why
    binary = judged({b"type": b"policy.mode", b"id": b"\xff\xfe"})
    assert isinstance(binary, Refusal)
    assert "not UTF-8" in binary.why


def test_fields_that_are_not_ours_are_let_be() -> None:
    assert isinstance(judged(fields("policy.mode", {"name": "a"}, tracing="x")), BusCommand)


_BYTES = st.binary(max_size=40) | st.sampled_from(
    [b"policy.mode", b"emergency.trip", b"signal.submit", b"{}", b"[" * 3_000, b'{"name": "a"}']
)
_NAMES = st.sampled_from([b"type", b"id", b"ts", b"nonce", b"payload", b"sig"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(entry=st.dictionaries(_NAMES | st.binary(max_size=8), _BYTES, max_size=10))
def test_whatever_lies_in_the_stream_has_a_verdict(entry: dict[bytes, bytes]) -> None:
    found = judge("7-0", entry, node=NODE, key=DeskKey(KEY), now_ns=NOW_NS)
    if isinstance(found, Refusal):
        assert found.why
        assert found.words
    else:
        assert found.type.is_stop, "something without a signature was let in"


@given(kind=st.sampled_from(sorted(GOOD)), payload=_JSON)
def test_whatever_is_signed_is_one_of_ours_to_the_type_or_refused(
    kind: str, payload: object
) -> None:
    found = judged(fields(kind, payload))
    if isinstance(found, Refusal):
        assert found.code is RefusalCode.MALFORMED
    else:
        assert found.type == kind
        assert isinstance(payload, dict)


@given(
    name=st.sampled_from(["type", "id", "ts", "nonce", "payload", "sig"]),
    place=st.integers(min_value=0, max_value=500),
    byte=st.integers(min_value=0, max_value=255),
)
def test_no_changed_byte_gets_through(name: str, place: int, byte: int) -> None:
    good = {
        field.encode(): value.encode()
        for field, value in fields("policy.update", GOOD["policy.update"]).items()
    }
    value = bytearray(good[name.encode()])
    value[place % len(value)] = byte
    changed = good | {name.encode(): bytes(value)}
    verdict = judge("7-0", changed, node=NODE, key=DeskKey(KEY), now_ns=NOW_NS)
    same = bytes(value).lower() if name == "sig" else bytes(value)
    assert isinstance(verdict, BusCommand) is (same == good[name.encode()])


def test_judging_is_fast_enough_for_a_flood() -> None:
    """A batch of a hundred must not hold the loop up."""
    entry = {name.encode(): text.encode() for name, text in fields("signal.submit", SIGNAL).items()}
    key = DeskKey(KEY)
    began = time.process_time()
    for _ in range(1_000):
        assert isinstance(judge("7-0", entry, node=NODE, key=key, now_ns=NOW_NS), BusCommand)
    assert time.process_time() - began < 1.0
