"""What an answer of Binance that is not a success proves: the one table of outcome classes.

A request may have been refused (final), not executed (may be tried again), or nobody knows. The
table is short on purpose: whatever it does not name is unknown, because to take a live order for
dead costs money and to ask once more costs a request. Four answers with status 503 differ by their
text alone. Pure; `refusal` returns the error, the caller raises it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from engine.model.errors import NotExecuted, OutcomeUnknown, Refused, VenueError


class Outcome(StrEnum):
    """What is known after an error."""

    REFUSED = "refused"
    NOT_EXECUTED = "not_executed"
    UNKNOWN = "unknown"


# Codes that say so themselves, whatever the HTTP status.
_CODES: Mapping[int, Outcome] = {
    -1000: Outcome.UNKNOWN,
    -1001: Outcome.NOT_EXECUTED,
    -1003: Outcome.NOT_EXECUTED,
    -1006: Outcome.UNKNOWN,
    -1007: Outcome.UNKNOWN,
    -1008: Outcome.NOT_EXECUTED,
    -1013: Outcome.REFUSED,
    -1014: Outcome.REFUSED,
    -1015: Outcome.NOT_EXECUTED,
    -1021: Outcome.NOT_EXECUTED,
    -1022: Outcome.REFUSED,
    -2010: Outcome.REFUSED,
    -2011: Outcome.REFUSED,
    -2013: Outcome.REFUSED,
    -2014: Outcome.REFUSED,
    -2015: Outcome.REFUSED,
    -2018: Outcome.REFUSED,
    -2019: Outcome.REFUSED,
    -5021: Outcome.REFUSED,
    -5022: Outcome.REFUSED,
    -5026: Outcome.REFUSED,
    -5027: Outcome.REFUSED,
    -5028: Outcome.NOT_EXECUTED,
    -5029: Outcome.REFUSED,
    -5041: Outcome.REFUSED,
}
# Whole families that are refusals by their nature: malformed requests, order rules, filters,
# account settings. Both ends belong to the family.
_REFUSED_RANGES: tuple[tuple[int, int], ...] = (
    (-1199, -1100),
    (-2028, -2020),
    (-4199, -4000),
    (-4499, -4400),
)
# The texts of a 503, in lower case; they outrank the code that comes with them.
_TEXTS_503: tuple[tuple[str, Outcome], ...] = (
    ("unknown error, please check your request or try again later", Outcome.UNKNOWN),
    ("service unavailable", Outcome.NOT_EXECUTED),
    ("internal error; unable to process", Outcome.NOT_EXECUTED),
)
_NOT_EXECUTED_STATUSES = frozenset({418, 429})
# Refused inside the time window: the clocks must be compared again, then the request signed anew.
STALE_TIME_CODES = frozenset({-1021, -5028})
# The request asks for what is so already.
NO_CHANGE_CODES = frozenset({"-4046", "-4059", "-5027"})
# On a cancel or a query: there is no such open order, or there never was.
NO_SUCH_ORDER_CODES = frozenset({"-2011", "-2013"})
DUPLICATE_ID_CODE = "-4116"
# The order is of one position mode and the account in the other.
WRONG_MODE_CODE = "-4061"


class ApiError(msgspec.Struct, frozen=True):
    """The body of an error."""

    code: int
    msg: str = ""


def read_error(body: bytes) -> ApiError | None:
    """The code and text of an error body, or None when it has none."""
    try:
        return msgspec.json.decode(body, type=ApiError)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def outcome_of(status: int, error: ApiError | None) -> Outcome:
    """What is known of a request that was answered with this status and error."""
    if status in _NOT_EXECUTED_STATUSES:
        return Outcome.NOT_EXECUTED
    if status == 408 or error is None:
        return Outcome.UNKNOWN
    if status == 503:
        text = error.msg.lower()
        for words, outcome in _TEXTS_503:
            if words in text:
                return outcome
    if error.code in _CODES:
        return _CODES[error.code]
    is_family = any(low <= error.code <= high for low, high in _REFUSED_RANGES)
    return Outcome.REFUSED if is_family and 400 <= status < 500 else Outcome.UNKNOWN


def refusal(status: int, body: bytes, *, retry_after_s: float | None = None) -> VenueError:
    """The error to raise for an answer that is not a success."""
    error = read_error(body)
    words = f"{error.code}: {error.msg}" if error else "an answer that cannot be read"
    outcome = outcome_of(status, error)
    if outcome is Outcome.REFUSED and error is not None:
        return Refused(str(error.code), error.msg)
    if outcome is Outcome.NOT_EXECUTED:
        return NotExecuted(
            f"HTTP {status}, {words}",
            retry_after_s=_pause_s(status) if retry_after_s is None else retry_after_s,
        )
    return OutcomeUnknown(f"HTTP {status}, {words}")


def _pause_s(status: int) -> float:
    """Where the venue names no time: an overload is tried again soon, as its documents advise."""
    return 0.2 if status == 503 else 1.0


__all__ = [
    "DUPLICATE_ID_CODE",
    "NO_CHANGE_CODES",
    "NO_SUCH_ORDER_CODES",
    "STALE_TIME_CODES",
    "WRONG_MODE_CODE",
    "ApiError",
    "Outcome",
    "outcome_of",
    "read_error",
    "refusal",
]
