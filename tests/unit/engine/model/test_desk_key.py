"""The desk key signs what it should, verifies nothing else and never shows itself."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from engine.model.desk_key import DeskKey

KEY = "0123456789abcdef0123456789abcdef"


def test_the_signature_is_the_hex_hmac_sha256_of_the_lines() -> None:
    expected = hmac.new(KEY.encode(), b"desk\ntrading.resume\nc-1", hashlib.sha256).hexdigest()
    assert DeskKey(KEY).sign("desk", "trading.resume", "c-1") == expected


def test_only_the_same_parts_in_the_same_order_verify() -> None:
    key = DeskKey(KEY)
    signature = key.sign("a", "b", "c")
    assert key.verifies(signature, "a", "b", "c")
    assert not key.verifies(signature, "a", "c", "b")
    assert not key.verifies(signature, "a", "b")
    assert not key.verifies(signature.upper(), "a", "b", "c")
    assert not key.verifies("", "a", "b", "c")
    assert not DeskKey(KEY + "x").verifies(signature, "a", "b", "c")


def test_a_signature_that_is_no_ascii_is_refused_and_no_error() -> None:
    assert not DeskKey(KEY).verifies("ä\udcff".encode("utf-8", "replace").decode(), "a")


def test_parts_cannot_be_shifted_over_a_line() -> None:
    key = DeskKey(KEY)
    signature = key.sign("a", "b\nc")
    assert not key.verifies(signature, "a\nb", "c")


def test_without_a_key_nothing_verifies() -> None:
    key = DeskKey("  ")
    assert not key
    assert key.sign("a") == ""
    assert not key.verifies("", "a")


def test_a_short_key_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes") as refused:
        DeskKey("hunter2")
    assert "hunter2" not in str(refused.value)


def test_it_never_shows_itself() -> None:
    key = DeskKey(KEY)
    assert KEY not in f"{key} {key!r} {[key]}"
