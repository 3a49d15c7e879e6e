"""An exchange key signs, and shows itself to nobody."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import pickle
import pprint
from collections.abc import Callable

import msgspec
import pytest

from engine.model.api_key import ApiKey

KEY = "K3y0fTheAccountABCDwxyz"
SECRET = "S3cretOfTheAccount99zz"


@pytest.fixture
def api_key() -> ApiKey:
    return ApiKey(key=KEY, secret=SECRET)


def test_it_signs_with_its_secret(api_key: ApiKey) -> None:
    expected = hmac.new(SECRET.encode(), b"a=1&b=2", hashlib.sha256).hexdigest()
    assert api_key.sign("a=1&b=2") == expected
    assert api_key.sign("a=1&b=2") == expected, "a signature must not leave anything behind"
    assert (api_key.key, api_key.secret) == (KEY, SECRET)


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        lambda key: f"{key!s:>80}",
        lambda key: "%s %r" % (key, [key]),  # noqa: UP031 - as a log record does it.
        pprint.pformat,
        lambda key: str(RuntimeError(key)),
        lambda key: json.dumps(key, default=repr),
        lambda key: msgspec.json.encode([key], enc_hook=str).decode(),
    ],
)
def test_nothing_of_it_is_in_any_text(api_key: ApiKey, show: Callable[[ApiKey], str]) -> None:
    said = show(api_key)
    assert "ApiKey(***)" in said
    assert KEY not in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "write_down",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        msgspec.json.encode,
        msgspec.msgpack.encode,
        msgspec.to_builtins,
        json.dumps,
        vars,
    ],
)
def test_nothing_can_write_it_down(api_key: ApiKey, write_down: Callable[[ApiKey], object]) -> None:
    with pytest.raises(TypeError) as refused:
        write_down(api_key)
    assert KEY not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_person_is_told_the_end_of_a_long_key_and_nothing_of_a_short_one() -> None:
    assert ApiKey(key=KEY, secret=SECRET).ends_with == "wxyz"
    assert ApiKey(key="short-key-of-15", secret=SECRET).ends_with == ""


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("", SECRET),
        (KEY, ""),
        (f"{KEY}\r\nHost: elsewhere", SECRET),
        (f"{KEY} ", SECRET),
        ("ключ", SECRET),
        (KEY, "sécret"),
        (KEY, f"{SECRET}\n"),
    ],
)
def test_what_no_exchange_hands_out_is_refused_unquoted(key: str, secret: str) -> None:
    with pytest.raises(ValueError, match="exchange") as refused:
        ApiKey(key=key, secret=secret)
    for hidden in (KEY, SECRET, "ключ", "sécret"):
        assert hidden not in str(refused.value)
