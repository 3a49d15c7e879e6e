"""Signatures for a fixed key and clock, and that nothing of a key can be read off a signer.

Bybit's documentation shows signatures without the secret they were made with, so none of them can
be made again. The expected values were made with openssl from the documented string to sign;
pybit, which is not ours, is asked as well.
"""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pybit._http_manager import generate_signature  # type: ignore[import-untyped]

from engine.model.errors import ConfigurationError
from engine.venues.bybit.signing import ENTRY_RECEIVE_WINDOW_MS, Signer

KEY, SECRET = "test-key", "test-secret"
EXPIRES_MS = 1711010121452


@pytest.fixture
def signer() -> Signer:
    return Signer(api_key=KEY, api_secret=SECRET)


def test_a_get_is_signed_over_its_query(signer: Signer) -> None:
    headers = signer.headers(
        b"category=option&symbol=BTC-29JUL22-25000-C", timestamp_ms=1658384314791
    )
    assert headers == {
        "X-BAPI-API-KEY": KEY,
        "X-BAPI-TIMESTAMP": "1658384314791",
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": "65548120da59aeb18c9c3c11a3d9793cefd43f6f6f84ef264d2ac76ab24c8a39",
    }


def test_a_post_is_signed_over_its_body(signer: Signer) -> None:
    headers = signer.headers(
        b'{"category":"linear"}',
        timestamp_ms=1658385579423,
        receive_window_ms=ENTRY_RECEIVE_WINDOW_MS,
    )
    assert headers["X-BAPI-RECV-WINDOW"] == "1000"
    expected = "db08be90fc46faaf5a2f31cab10e2411fba8fa8a7f697d25e20508f0a0f6d5ed"
    assert headers["X-BAPI-SIGN"] == expected


def test_a_stream_is_opened_with_a_signed_expiry(signer: Signer) -> None:
    message = msgspec.json.decode(signer.stream_login(expires_ms=EXPIRES_MS))
    expected = "5795d383b420ac992af406408d13bac3bec8ef51c1df13637fc01e0451fa1f61"
    assert message == {"op": "auth", "args": [KEY, EXPIRES_MS, expected]}


@given(
    payload=st.text(max_size=200).filter(lambda text: text.isprintable()),
    timestamp_ms=st.integers(min_value=1, max_value=10**14),
    window_ms=st.integers(min_value=1, max_value=60_000),
)
def test_pybit_signs_the_same(payload: str, timestamp_ms: int, window_ms: int) -> None:
    signer = Signer(api_key=KEY, api_secret=SECRET)
    ours = signer.headers(payload.encode(), timestamp_ms=timestamp_ms, receive_window_ms=window_ms)
    theirs = generate_signature(False, SECRET, f"{timestamp_ms}{KEY}{window_ms}{payload}")
    assert ours["X-BAPI-SIGN"] == theirs


def test_one_signature_leaves_nothing_behind_for_the_next(signer: Signer) -> None:
    first = signer.headers(b"a=1", timestamp_ms=1)
    signer.headers(b"b=2", timestamp_ms=2)
    signer.stream_login(expires_ms=3)
    assert signer.headers(b"a=1", timestamp_ms=1) == first


@pytest.mark.parametrize(("key", "secret"), [("", SECRET), (KEY, ""), (KEY, "se cret\n")])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key: str, secret: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Signer(api_key=key, api_secret=secret)
    assert raised.value.field == ("bybit.api_key" if not key else "bybit.api_secret")
    told = "".join(traceback.format_exception_only(raised.value))
    assert not any(text in told for text in (KEY, SECRET, "se cret") if text)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda signer: signer.headers(b"", timestamp_ms=0), id="time"),
        pytest.param(
            lambda signer: signer.headers(b"", timestamp_ms=1, receive_window_ms=0), id="window"
        ),
        pytest.param(lambda signer: signer.stream_login(expires_ms=-1), id="expiry"),
    ],
)
def test_a_time_that_cannot_be_one_is_refused(
    signer: Signer, act: Callable[[Signer], object]
) -> None:
    with pytest.raises(ValueError, match="above zero") as raised:
        act(signer)
    assert KEY not in str(raised.value)


def test_nothing_of_a_key_is_shown_copied_or_written_down(signer: Signer) -> None:
    shown = (repr(signer), str(signer), f"{signer!r:>5}", repr([signer]), repr({"a": signer}))
    assert not any(text in each for each in shown for text in (KEY, SECRET))
    assert not hasattr(signer, "__dict__")
    held = [getattr(signer, name) for name in Signer.__slots__]
    # The secret itself is nowhere in it, in whatever form it could be read back.
    assert SECRET not in held
    assert not any(SECRET in repr(each) for each in held)
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="never copied"):
            act(signer)
