"""Every kind of error answer, and what it proves."""

from __future__ import annotations

import json

import pytest

from engine.model.errors import NotExecuted, OutcomeUnknown, Refused
from engine.venues.binance.errors import outcome_of, read_error, refusal
from tests.simulators.binance.errors import ERROR_ANSWERS


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("unknown_503", OutcomeUnknown),
        ("unavailable_503", NotExecuted),
        ("internal_503", NotExecuted),
        ("throttled_503", NotExecuted),
        ("timeout_408", OutcomeUnknown),
        ("timeout_503", OutcomeUnknown),
        ("unexpected_503", OutcomeUnknown),
        ("unknown_500", OutcomeUnknown),
        ("gateway_502", OutcomeUnknown),
        ("gateway_504", OutcomeUnknown),
        ("forbidden_403", OutcomeUnknown),
        ("matching_window_400", NotExecuted),
        ("rejected_400", Refused),
        ("key_401", Refused),
        ("open_orders_400", Refused),
        ("percent_price_400", Refused),
    ],
)
def test_each_kind_of_server_error_is_told_apart(name: str, kind: type[Exception]) -> None:
    answer = ERROR_ANSWERS[name]
    assert type(refusal(answer.status, answer.body)) is kind


def test_every_error_answer_of_the_simulator_is_judged_above() -> None:
    assert len(ERROR_ANSWERS) == 16


_REFUSED = (
    *(-1013, -1014, -1022, -1100, -1102, -1111, -1116, -1121, -1125, -2010, -2011, -2013, -2014),
    *(-2015, -2018, -2019, *range(-2028, -2019), -4000, -4014, -4023, -4061, -4116, -4118, -4120),
    *(-4131, -4164, -4192, -4400, -4401, -5021, -5022, -5026, -5027),
)


@pytest.mark.parametrize("code", _REFUSED)
def test_what_the_venue_refuses_is_final_and_keeps_its_code(code: int) -> None:
    error = refusal(400, json.dumps({"code": code, "msg": "no"}).encode())
    assert isinstance(error, Refused)
    assert (error.code, error.detail) == (str(code), "no")


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, -1003), (418, -1003), (429, -1015), (400, -1021), (400, -5028), (503, -1008)],
)
def test_what_did_not_happen_may_be_tried_again_when_the_venue_says(status: int, code: int) -> None:
    body = json.dumps({"code": code, "msg": "later"}).encode()
    error = refusal(status, body, retry_after_s=17)
    assert isinstance(error, NotExecuted)
    assert error.retry_after_s == 17


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"code": -1000, "msg": "An unknown error"}'),
        (400, b'{"code": -1006, "msg": "x"}'),
        (500, b'{"code": -4014, "msg": "a refusal with the status of a failure"}'),
        (400, b'{"code": -98765, "msg": "a code that nobody has documented"}'),
        (400, b""),
        (400, b"<html>"),
        (400, b'{"code": "text"}'),
        (400, b"\xff\xfe"),
        (302, b"{}"),
    ],
)
def test_whatever_is_not_in_the_table_is_unknown(status: int, body: bytes) -> None:
    assert isinstance(refusal(status, body), OutcomeUnknown)


@pytest.mark.parametrize("status", [418, 429])
def test_a_limit_needs_no_body(status: int) -> None:
    assert outcome_of(status, read_error(b"<html>")).value == "not_executed"
