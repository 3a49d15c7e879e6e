"""What an answer of Bybit proves: one table of retCodes, one of HTTP statuses.

A request was done, was refused (final), was not executed (may be tried again), or nobody knows. The
tables are short on purpose: for a request that changes something, a code they do not name is
unknown, because to take a live order for dead costs money and to ask once more costs a request.
A read changes nothing, so there the same code means: not read, may be tried again.
Some codes mean a thing only for some requests: `110001` ends a cancel and says nothing about a
placing. An id that was used before (110072) refuses this placing and nothing else: ids are made
once, so it is most likely our own order, sent before, and whoever placed looks it up.
A retCode outranks the HTTP status when the venue gave one, but for the statuses that mean
"overloaded" or "broken", whose body proves nothing. Pure; `refusal` returns the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from engine.model.errors import NotExecuted, OutcomeUnknown, Refused, VenueError


class RequestKind(StrEnum):
    """What was asked for; decides what an answer can prove."""

    PLACE = "place"
    AMEND = "amend"
    CANCEL = "cancel"
    SETTING = "setting"
    READ = "read"


class Outcome(StrEnum):
    """What is known after an answer."""

    DONE = "done"
    REFUSED = "refused"
    NOT_EXECUTED = "not_executed"
    UNKNOWN = "unknown"


class Verdict(msgspec.Struct, frozen=True):
    """The venue's own word on a request: its code and text, never more of the body."""

    code: int = msgspec.field(name="retCode")
    text: str = msgspec.field(name="retMsg", default="")


SUCCESS = 0
DUPLICATE_ID_CODE = 110072
RATE_CODES = frozenset({10006, 10018, 10403, 10429, 20003})
# Outside the receive window: the clocks must be compared again, then the request signed anew.
STALE_TIME_CODES = frozenset({10002})
# The setting is so already; what was wanted is the case.
NO_CHANGE_CODES = frozenset({110025, 110026, 110027, 110043, 34040})
# On a cancel or an amendment: it is over, or was never there.
NO_SUCH_ORDER_CODES = frozenset({110001, 110008, 110010, 170213})

_R, _N, _U = Outcome.REFUSED, Outcome.NOT_EXECUTED, Outcome.UNKNOWN
# Whatever was asked for.
_CODES: Mapping[int, Outcome] = {
    429: _U,  # The trading service under load: some call it a refusal, some do not.
    10000: _U,  # Server timeout.
    10001: _R,  # Parameters.
    10002: _N,  # Outside the receive window.
    10003: _R,  # Key.
    10004: _R,  # Signature.
    10005: _R,  # Permission.
    10006: _N,  # Endpoint's rate.
    10007: _R,  # Not logged in.
    10008: _R,  # Account banned.
    10009: _R,  # Address banned by hand; a rate ban is 10018 or HTTP 403.
    10010: _R,  # Address not bound to the key.
    10014: _U,  # Duplicate request: the first one may be ours.
    10016: _U,  # Server error.
    10017: _R,  # No such route: it met no order.
    10018: _N,  # Address's rate.
    10019: _U,  # Restarting; requests in process are not affected.
    10027: _R,  # Trading banned.
    10028: _R,  # Unified accounts only.
    10029: _R,  # Symbol.
    10403: _N,  # Order-entry socket: address's rate.
    10429: _N,  # Order-entry socket: rate.
    20003: _N,  # Order-entry socket: too frequent.
    20006: _U,  # Order-entry socket: request id used before.
    110003: _R,  # Price out of range.
    110004: _R,  # Funds, as are 110006, 110007, 110012, 110044, 110045, 110052.
    110005: _R,  # Position's status.
    110006: _R,
    110007: _R,
    110009: _R,  # Too many stop orders.
    110011: _R,  # Would be liquidated at once.
    110012: _R,
    110013: _R,  # Leverage beyond the risk limit.
    110017: _R,  # Reduce-only, and there is nothing to reduce.
    110020: _R,  # 500 active orders.
    110021: _R,  # Open interest.
    110022: _R,  # Reduce-only period.
    110023: _R,  # Reduce-only contract.
    110024: _R,  # Mode with a position.
    110028: _R,  # Mode with orders.
    110029: _R,  # No hedge mode here.
    110044: _R,
    110045: _R,
    110052: _R,
    110074: _R,  # Contract is not live.
    110079: _U,  # The order is being processed.
    110090: _R,  # Position limit.
    110092: _R,  # A rising trigger that is reached already.
    110093: _R,  # A falling trigger that is reached already.
    110094: _R,  # Below the least value.
    110120: _R,  # Price bounds.
    110121: _R,
    110124: _R,  # Cooling off.
    170007: _U,  # Backend timeout.
    170032: _U,  # Network.
    170146: _U,  # Creation timed out.
    170147: _U,  # Cancellation timed out.
    500000: _U,
    DUPLICATE_ID_CODE: _R,  # This one; the one before may well be ours.
}
_CHANGES_AN_ORDER = frozenset({RequestKind.AMEND, RequestKind.CANCEL})
# Statuses whose body proves nothing about what was done behind it.
_BODY_PROVES_NOTHING = frozenset({408, 429})
_FORBIDDEN = 403
_FORBIDDEN_WORDS = "access too frequent"
# After a 403 for too many requests the venue wants silence for at least ten minutes.
ADDRESS_BAN_S = 600.0
_RETRY_S = 1.0
# A stamp further ahead than this is not a limit of a rolling second.
_RESET_MAX_S = 60.0
_RESET_HEADER = "x-bapi-limit-reset-timestamp"
_TEXT_MAX = 300
_PARAMETERS = "10001"
_WRONG_LEG_WORDS = "position idx not match position mode"


def read_verdict(body: bytes) -> Verdict | None:
    """Code and text of an answer, or None when it has none that can be read."""
    try:
        return msgspec.json.decode(body, type=Verdict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def outcome_of_code(code: int, kind: RequestKind) -> Outcome:
    """What a retCode proves; also for the items of a batch and the order-entry socket."""
    if code == SUCCESS:
        return Outcome.DONE
    if code in NO_CHANGE_CODES and kind is RequestKind.SETTING:
        return Outcome.DONE
    if code in NO_SUCH_ORDER_CODES and kind in _CHANGES_AN_ORDER:
        return Outcome.REFUSED
    outcome = _CODES.get(code, Outcome.UNKNOWN)
    # Nothing was to be changed by a read, so nothing about it can be unknown.
    is_read = kind is RequestKind.READ
    return Outcome.NOT_EXECUTED if is_read and outcome is Outcome.UNKNOWN else outcome


def outcome_of(status: int, body: bytes, kind: RequestKind) -> Outcome:
    """What an HTTP answer proves."""
    if is_address_ban(status, body):
        return Outcome.NOT_EXECUTED
    verdict = read_verdict(body)
    proves = status < 500 and status not in _BODY_PROVES_NOTHING and verdict is not None
    if verdict is None or not proves or (verdict.code == SUCCESS and status != 200):
        return Outcome.NOT_EXECUTED if kind is RequestKind.READ else Outcome.UNKNOWN
    return outcome_of_code(verdict.code, kind)


def refusal(
    status: int,
    body: bytes,
    kind: RequestKind,
    *,
    headers: Mapping[str, str] | None = None,
    now_ms: int = 0,
) -> VenueError | None:
    """The error to raise for an answer, or None when the venue did it (or has it so already).

    `now_ms` is the venue's time; with it, a spent endpoint says exactly how long to wait.
    """
    outcome = outcome_of(status, body, kind)
    if outcome is Outcome.DONE:
        return None
    verdict = read_verdict(body)
    if is_address_ban(status, body):
        wait_s = ADDRESS_BAN_S
    elif verdict is not None and verdict.code in RATE_CODES:
        wait_s = seconds_to_reset(headers or {}, now_ms=now_ms)
    else:
        wait_s = _RETRY_S
    words = "an answer that cannot be read" if verdict is None else _words(verdict)
    return _error(outcome, verdict, f"HTTP {status}, {words}", wait_s)


def item_refusal(code: int, text: str, kind: RequestKind) -> VenueError | None:
    """The same for one item of a batch, or an answer of the order-entry socket."""
    verdict = Verdict(code, text)
    outcome = outcome_of_code(code, kind)
    return None if outcome is Outcome.DONE else _error(outcome, verdict, _words(verdict), _RETRY_S)


def undecodable(kind: RequestKind, why: str) -> VenueError:
    """The error for an answer that says "done" and cannot be read further."""
    if kind is RequestKind.READ:
        return NotExecuted(f"the answer is not as documented: {why}")
    return OutcomeUnknown(f"the answer is not as documented: {why}")


def seconds_to_reset(headers: Mapping[str, str], *, now_ms: int) -> float:
    """How long an endpoint's limit lasts; one second when the venue does not say."""
    stamp = next((text for name, text in headers.items() if name.lower() == _RESET_HEADER), "")
    if not now_ms or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 16):
        return _RETRY_S
    seconds = (int(stamp) - now_ms) / 1000
    return seconds if 0 < seconds <= _RESET_MAX_S else _RETRY_S


def is_address_ban(status: int, body: bytes) -> bool:
    """HTTP 403 for too many requests; other 403s come from elsewhere and prove nothing."""
    if status != _FORBIDDEN:
        return False
    verdict = read_verdict(body)
    if verdict is not None and verdict.code in RATE_CODES:
        return True
    return _FORBIDDEN_WORDS in body[:_TEXT_MAX].decode(errors="replace").lower()


def is_duplicate(refused: Refused) -> bool:
    """Whether the id was used before: this order was not taken, and the one before may be ours."""
    return refused.code == str(DUPLICATE_ID_CODE)


def is_wrong_leg(refused: Refused) -> bool:
    """Whether the order named a leg that the account's position mode does not have. The code is
    that of every wrong parameter, so its words decide.
    """
    return refused.code == _PARAMETERS and _WRONG_LEG_WORDS in refused.detail.lower()


def _words(verdict: Verdict) -> str:
    return f"{verdict.code}: {verdict.text[:_TEXT_MAX]}"


def _error(outcome: Outcome, verdict: Verdict | None, words: str, wait_s: float) -> VenueError:
    if outcome is Outcome.REFUSED and verdict is not None:
        return Refused(str(verdict.code), verdict.text[:_TEXT_MAX])
    if outcome is Outcome.NOT_EXECUTED:
        return NotExecuted(words, retry_after_s=wait_s)
    return OutcomeUnknown(words)


__all__ = [
    "ADDRESS_BAN_S",
    "DUPLICATE_ID_CODE",
    "NO_CHANGE_CODES",
    "NO_SUCH_ORDER_CODES",
    "RATE_CODES",
    "STALE_TIME_CODES",
    "SUCCESS",
    "Outcome",
    "RequestKind",
    "Verdict",
    "is_address_ban",
    "is_duplicate",
    "is_wrong_leg",
    "item_refusal",
    "outcome_of",
    "outcome_of_code",
    "read_verdict",
    "refusal",
    "seconds_to_reset",
    "undecodable",
]
