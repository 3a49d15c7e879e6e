"""A request's parameters: merged from query and body, signed or not, read by type.

The signature covers query and body joined as they were sent, without the signature itself; where a
name comes twice the query wins. Whoever reads a parameter names what it must be; anything else is
the venue's -1102 or its own code.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qsl

from tests.simulators.binance.errors import ApiError, missing
from tests.simulators.exchange import Request

_SIGNATURE = re.compile(r"(^|&)signature=([^&]*)")
_RECV_WINDOW_MS = 5000
_RECV_WINDOW_MAX_MS = 60_000
_AHEAD_MS = 1000
_CLIENT_ID = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")


class Parameters:
    """Named texts with typed readers."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = {name: value for name, value in values.items() if value != ""}

    @classmethod
    def of(cls, request: Request) -> Parameters:
        body = request.body.decode(errors="replace")
        # Bodies in JSON exist only where the venue takes them: nowhere here.
        merged = dict(parse_qsl(body, keep_blank_values=True))
        merged.update(parse_qsl(request.query, keep_blank_values=True))
        return cls(merged)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def optional(self, name: str) -> str | None:
        return self.values.get(name)

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            raise missing(name)
        return value

    def decimal(self, name: str) -> Decimal:
        value = self.optional_decimal(name)
        if value is None:
            raise missing(name)
        return value

    def optional_decimal(self, name: str) -> Decimal | None:
        text = self.values.get(name)
        if text is None:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation as error:
            raise _illegal(name) from error
        if not value.is_finite():
            raise _illegal(name)
        return value

    def integer(self, name: str) -> int:
        value = self.optional_integer(name)
        if value is None:
            raise missing(name)
        return value

    def optional_integer(self, name: str) -> int | None:
        text = self.values.get(name)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise _illegal(name) from error

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self.values.get(name)
        if text is None:
            return default
        if text.lower() not in {"true", "false"}:
            raise _illegal(name)
        return text.lower() == "true"

    def client_id(self, name: str) -> str | None:
        text = self.values.get(name)
        if text is not None and not _CLIENT_ID.match(text):
            raise ApiError(-4015, "Client order id is not valid.")
        return text


def _illegal(name: str) -> ApiError:
    return ApiError(-1102, f"Illegal characters or value found in parameter '{name}'.")


def check_signature(request: Request, secret: str) -> None:
    """Raise -1022 unless query and body carry a right signature."""
    given = ""
    payload = ""
    for part in (request.query, request.body.decode(errors="replace")):
        found = _SIGNATURE.search(part)
        given = given or (found[2] if found else "")
        payload += _SIGNATURE.sub("", part)
    if not given:
        raise missing("signature")
    made = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(made, given.lower()):
        raise ApiError(-1022, "Signature for this request is not valid.")


def check_time(parameters: Parameters, now_ms: int) -> None:
    """Raise -1021 unless the timestamp is within the receive window."""
    timestamp = parameters.integer("timestamp")
    window = parameters.optional_integer("recvWindow")
    window = _RECV_WINDOW_MS if window is None else window
    if not 0 < window <= _RECV_WINDOW_MAX_MS:
        raise ApiError(-1131, "recvWindow must be less than 60000.")
    if timestamp >= now_ms + _AHEAD_MS:
        raise ApiError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - timestamp > window:
        raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")


__all__ = ["Parameters", "check_signature", "check_time"]
