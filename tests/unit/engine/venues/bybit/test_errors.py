"""Each retCode and HTTP status means what the venue's documentation proves, and no more."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import NotExecuted, OutcomeUnknown, Refused, VenueError
from engine.venues.bybit.errors import (
    ADDRESS_BAN_S,
    Outcome,
    RequestKind,
    is_duplicate,
    is_wrong_leg,
    item_refusal,
    outcome_of,
    outcome_of_code,
    read_verdict,
    refusal,
    seconds_to_reset,
    undecodable,
)
from tests.simulators.bybit.errors import ERROR_ANSWERS

_PLACE, _CANCEL, _READ = RequestKind.PLACE, RequestKind.CANCEL, RequestKind.READ
_AMEND, _SETTING = RequestKind.AMEND, RequestKind.SETTING
_CHANGES = [kind for kind in RequestKind if kind is not _READ]

_REFUSED = [
    10001, 10003, 10004, 10005, 10010, 10027, 10028, 10029, 110003, 110004, 110006, 110007,
    110009, 110012, 110017, 110020, 110021, 110022, 110023, 110044, 110045, 110052, 110090,
    110072, 110094, 110120, 110121, 110124,
]  # fmt: skip
_UNKNOWN = [
    429, 10000, 10014, 10016, 10019, 20006, 110079, 170007, 170032, 170146, 170147, 500000,
]  # fmt: skip
_NOT_EXECUTED = [10002, 10006, 10018, 10403, 10429, 20003]


def body_of(code: int, text: str = "words") -> bytes:
    return msgspec.json.encode({"retCode": code, "retMsg": text, "result": {}, "time": 0})


@pytest.mark.parametrize("kind", _CHANGES)
@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        (_REFUSED, Outcome.REFUSED),
        (_UNKNOWN, Outcome.UNKNOWN),
        (_NOT_EXECUTED, Outcome.NOT_EXECUTED),
    ],
)
def test_a_code_is_classed(codes: list[int], outcome: Outcome, kind: RequestKind) -> None:
    assert {code: outcome_of_code(code, kind) for code in codes} == dict.fromkeys(codes, outcome)


@pytest.mark.parametrize("code", [110001, 110008, 110010])
def test_an_order_that_is_gone_ends_a_cancel_and_says_nothing_of_a_placing(code: int) -> None:
    assert outcome_of_code(code, _CANCEL) is Outcome.REFUSED
    assert outcome_of_code(code, _AMEND) is Outcome.REFUSED
    assert outcome_of_code(code, _PLACE) is Outcome.UNKNOWN


@pytest.mark.parametrize("code", [110025, 110026, 110043])
def test_a_setting_that_is_so_already_is_done(code: int) -> None:
    assert refusal(200, body_of(code), _SETTING) is None
    assert outcome_of_code(code, _PLACE) is Outcome.UNKNOWN


@pytest.mark.parametrize("code", [424242, 7, -1])
def test_a_code_nobody_knows_is_looked_up(code: int) -> None:
    error = refusal(200, body_of(code, "who knows"), _PLACE)
    assert isinstance(error, OutcomeUnknown)
    assert str(error) == f"HTTP 200, {code}: who knows"


def test_what_two_refusals_tell_is_read_from_their_code_and_words() -> None:
    duplicate = refusal(200, body_of(110072, "OrderLinkedID is duplicate"), _PLACE)
    leg = refusal(200, body_of(10001, "Position idx not match position mode"), _PLACE)
    other = refusal(200, body_of(10001, "Qty invalid"), _PLACE)
    told = [each for each in (duplicate, leg, other) if isinstance(each, Refused)]
    assert [is_duplicate(each) for each in told] == [True, False, False]
    assert [is_wrong_leg(each) for each in told] == [False, True, False]


@given(code=st.integers(), status=st.integers(min_value=100, max_value=599))
def test_no_unnamed_code_is_ever_a_refusal_of_an_order(code: int, status: int) -> None:
    known = {*_REFUSED, 10007, 10008, 10009, 10017, 110005, 110011, 110013, 110024, 110028}
    known |= {110029, 110074, 110092, 110093}
    outcome = outcome_of(status, body_of(code), _PLACE)
    assert (outcome is Outcome.REFUSED) == (
        code in known and status < 500 and status not in {408, 429}
    )
    assert (outcome is Outcome.DONE) == (code == 0 and status == 200)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_broken_or_overloaded_answer_proves_nothing_whatever_it_says(status: int) -> None:
    for code in (0, 10001, 110007, 10006):
        assert isinstance(refusal(status, body_of(code), _PLACE), OutcomeUnknown)
        assert isinstance(refusal(status, body_of(code), _READ), NotExecuted)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{", b'{"retCode":"0"}', b"\xff\xfe", b"[" * 10**5]
)
def test_an_answer_that_cannot_be_read_is_unknown_and_a_read_may_be_repeated(body: bytes) -> None:
    assert read_verdict(body) is None
    assert isinstance(refusal(200, body, _PLACE), OutcomeUnknown)
    assert isinstance(refusal(200, body, _CANCEL), OutcomeUnknown)
    assert isinstance(refusal(200, body, _READ), NotExecuted)


def test_a_refusal_carries_the_venues_code_and_words_with_a_bound() -> None:
    error = refusal(200, body_of(110007, "ab not enough for new order" + "!" * 10_000), _PLACE)
    assert isinstance(error, Refused)
    assert error.code == "110007"
    assert error.detail.startswith("ab not enough for new order")
    assert len(error.detail) == 300


def test_a_refused_key_is_a_refusal_whatever_status_it_comes_with() -> None:
    error = refusal(401, body_of(10003, "API key is invalid."), _PLACE)
    assert isinstance(error, Refused)
    assert error.code == "10003"


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [body_of(10018, "access too frequent"), b"403: Access too frequent.", body_of(10006)],
)
def test_a_403_for_too_many_requests_means_ten_minutes_of_silence(body: bytes) -> None:
    error = refusal(403, body, _PLACE)
    assert isinstance(error, NotExecuted)
    assert error.retry_after_s == ADDRESS_BAN_S == 600


@pytest.mark.parametrize("body", [b"", b"<html>your country</html>"])
def test_another_403_proves_nothing_of_an_order(body: bytes) -> None:
    assert isinstance(refusal(403, body, _PLACE), OutcomeUnknown)


@pytest.mark.parametrize("name", ["X-Bapi-Limit-Reset-Timestamp", "x-bapi-limit-reset-timestamp"])
def test_a_spent_endpoint_says_when_it_is_open_again(name: str) -> None:
    error = refusal(
        200, body_of(10006), _PLACE, headers={name: "1700000000750"}, now_ms=1700000000000
    )
    assert isinstance(error, NotExecuted)
    assert error.retry_after_s == 0.75


@pytest.mark.parametrize(
    "stamp", ["", "soon", "1699999999999", "1700000000000", "9999999999999", "-5", "1e9", "²"]
)
def test_a_reset_that_makes_no_sense_is_a_second(stamp: str) -> None:
    headers = {"X-Bapi-Limit-Reset-Timestamp": stamp}
    assert seconds_to_reset(headers, now_ms=1700000000000) == 1.0
    assert seconds_to_reset({}, now_ms=1700000000000) == 1.0


def test_only_a_spent_limit_waits_for_the_reset() -> None:
    headers = {"X-Bapi-Limit-Reset-Timestamp": "1700000009000"}
    error = refusal(200, body_of(10002), _PLACE, headers=headers, now_ms=1700000000000)
    assert isinstance(error, NotExecuted)
    assert error.retry_after_s == 1.0


# --- the rest -----------------------------------------------------------------------------------


def test_an_item_of_a_batch_is_judged_by_its_own_code() -> None:
    assert item_refusal(0, "OK", _PLACE) is None
    assert isinstance(item_refusal(110007, "funds", _PLACE), Refused)
    assert isinstance(item_refusal(10006, "slow down", _PLACE), NotExecuted)
    assert isinstance(item_refusal(1, "?", _PLACE), OutcomeUnknown)
    assert isinstance(item_refusal(170213, "Order does not exist.", _CANCEL), Refused)


def test_a_done_that_cannot_be_read_is_unknown_for_an_order() -> None:
    assert isinstance(undecodable(_PLACE, "result.orderId is missing"), OutcomeUnknown)
    assert isinstance(undecodable(_READ, "result.list is missing"), NotExecuted)
    assert "result.orderId" in str(undecodable(_CANCEL, "result.orderId is missing"))


def test_every_error_the_simulated_venue_knows_is_unknown_or_waits() -> None:
    """They are the ambiguous ones but for four that say what they are; none is a success."""
    classes: dict[str, type[VenueError]] = {}
    for name, answer in ERROR_ANSWERS.items():
        error = refusal(answer.status, answer.body, _PLACE)
        assert error is not None, name
        classes[name] = type(error)
    assert classes.pop("rate_10006") is NotExecuted
    assert classes.pop("stale_10002") is NotExecuted
    assert classes.pop("rejected_10001") is Refused
    assert classes.pop("key_10003") is Refused
    assert set(classes.values()) == {OutcomeUnknown}
