"""A Bybit request's parameters, and whether it is who it says and in time.

GET sends them in the query, POST as JSON; the signature covers timestamp, key, window and those
very bytes. Numbers of money come as texts; a number where a text belongs is read all the same.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qsl

import msgspec

from tests.simulators.bybit.errors import ApiError, params_error
from tests.simulators.exchange import Request

_AHEAD_MS = 1000
_WINDOW_MS = 5000
_LINK_ID = re.compile(r"^[A-Za-z0-9_-]{1,36}$")


class Parameters:
    """Named values with typed readers."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = {name: value for name, value in values.items() if value not in ("", None)}

    @classmethod
    def of(cls, request: Request) -> Parameters:
        if request.method == "GET":
            return cls(dict(parse_qsl(request.query)))
        try:
            return cls(msgspec.json.decode(request.body or b"{}", type=dict[str, object]))
        except msgspec.DecodeError as error:
            raise params_error("body is not JSON") from error

    def optional(self, name: str) -> str | None:
        value = self.values.get(name)
        if isinstance(value, list | dict):
            raise params_error(f"{name} invalid")
        return None if value is None else str(value)

    def text(self, name: str) -> str:
        value = self.optional(name)
        if value is None:
            raise params_error(f"{name} is required")
        return value

    def choice(self, name: str, allowed: Mapping[str, object], default: str | None = None) -> str:
        value = self.optional(name) or default
        if value is None:
            raise params_error(f"{name} is required")
        if value not in allowed:
            raise params_error(f"{name} invalid")
        return value

    def optional_decimal(self, name: str) -> Decimal | None:
        text = self.optional(name)
        if text is None:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation as error:
            raise params_error(f"{name} invalid") from error
        if not value.is_finite() or value < 0:
            raise params_error(f"{name} invalid")
        return value

    def decimal(self, name: str) -> Decimal:
        value = self.optional_decimal(name)
        if value is None:
            raise params_error(f"{name} is required")
        return value

    def optional_integer(self, name: str) -> int | None:
        text = self.optional(name)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise params_error(f"{name} invalid") from error

    def limit(self, *, default: int, most: int) -> int:
        value = self.optional_integer("limit")
        if value is None:
            return default
        if not 1 <= value <= most:
            raise params_error("limit invalid")
        return value

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if isinstance(value, bool):
            return value
        if str(value).lower() not in {"true", "false"}:
            raise params_error(f"{name} invalid")
        return str(value).lower() == "true"

    def link_id(self) -> str | None:
        text = self.optional("orderLinkId")
        if text is not None and not _LINK_ID.match(text):
            raise params_error("orderLinkId invalid")
        return text

    def items(self, name: str) -> list[Parameters]:
        """A list of objects."""
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise params_error(f"{name} invalid")
        return [Parameters(each) for each in value if isinstance(each, dict)]

    def check_linear(self) -> None:
        if self.text("category") != "linear":
            raise params_error("only category linear is simulated")


def check_request(request: Request, *, key: str, secret: str, now_ms: int) -> None:
    """Key, signature and time of a private request."""
    headers = request.headers
    given_key = headers.get("x-bapi-api-key", "")
    if not given_key:
        raise ApiError(10003, "API key is invalid.", status=401)
    stamp, window = headers.get("x-bapi-timestamp", ""), headers.get("x-bapi-recv-window", "")
    payload = request.query if request.method == "GET" else request.body.decode(errors="replace")
    if given_key != key:
        raise ApiError(10003, "API key is invalid.")
    made = sign(secret, f"{stamp}{given_key}{window}{payload}")
    if not hmac.compare_digest(made, headers.get("x-bapi-sign", "")):
        raise ApiError(10004, "Error sign, please check your signature generation algorithm.")
    check_time(stamp, window, now_ms)


def check_time(stamp: str, window: str, now_ms: int) -> None:
    try:
        sent_ms, window_ms = int(stamp), int(window or _WINDOW_MS)
    except ValueError as error:
        raise params_error("timestamp invalid") from error
    if not now_ms - window_ms <= sent_ms < now_ms + _AHEAD_MS:
        raise ApiError(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{sent_ms}],server_timestamp[{now_ms}],recv_window[{window_ms}]",
        )


def sign(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


__all__ = ["Parameters", "check_request", "check_time", "sign"]
