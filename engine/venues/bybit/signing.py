"""Bybit's signatures: the headers of a REST request and the first message of a private stream.

What is signed is timestamp, key, receive window and then the very bytes that are sent (the raw
query of a GET, the raw JSON of a POST), so a caller signs last and sends what it signed. Times are
UTC milliseconds of the venue's clock; the window is in milliseconds.
Secrets: the API secret is turned into a keyed hash at once and not kept; neither it nor the API key
is in `repr`, in an error, in a copy or in a pickle.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from engine.model.errors import ConfigurationError

# Bybit's own default (venues.md B2); entries are signed with less, so that one that was frozen in
# our process is refused.
RECEIVE_WINDOW_MS = 5_000
ENTRY_RECEIVE_WINDOW_MS = 1_000
# Visible ASCII; anything else cannot stand in a header.
_HEADER_SAFE = frozenset(chr(code) for code in range(0x21, 0x7F))


class Signer:
    """One account's key. Makes signatures; says nothing about itself."""

    __slots__ = ("_api_key", "_keyed_hash")

    def __init__(self, *, api_key: str, api_secret: str) -> None:
        for field, text in (("bybit.api_key", api_key), ("bybit.api_secret", api_secret)):
            if not text or not _HEADER_SAFE.issuperset(text):
                raise ConfigurationError(
                    field, "must be visible ASCII characters without blanks, as Bybit shows it"
                )
        self._api_key = api_key
        self._keyed_hash = hmac.new(api_secret.encode(), digestmod=hashlib.sha256)

    def headers(
        self, payload: bytes, *, timestamp_ms: int, receive_window_ms: int = RECEIVE_WINDOW_MS
    ) -> Mapping[str, str]:
        """Headers of a request whose query string or JSON body is exactly `payload`."""
        if timestamp_ms <= 0 or receive_window_ms <= 0:
            raise ValueError("timestamp and receive window must be above zero")
        prefix = f"{timestamp_ms}{self._api_key}{receive_window_ms}"
        return {
            "X-BAPI-API-KEY": self._api_key,
            "X-BAPI-TIMESTAMP": str(timestamp_ms),
            "X-BAPI-RECV-WINDOW": str(receive_window_ms),
            "X-BAPI-SIGN": self._sign(prefix.encode() + payload),
        }

    def stream_login(self, *, expires_ms: int) -> bytes:
        """The `auth` message of a private stream; the venue refuses it from `expires_ms` on."""
        if expires_ms <= 0:
            raise ValueError("the expiry must be above zero")
        signature = self._sign(f"GET/realtime{expires_ms}".encode())
        return msgspec.json.encode({"op": "auth", "args": [self._api_key, expires_ms, signature]})

    def _sign(self, payload: bytes) -> str:
        keyed = self._keyed_hash.copy()
        keyed.update(payload)
        return keyed.hexdigest()

    def __repr__(self) -> str:
        return "Signer(key and secret hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer is never copied or written down")


__all__ = ["ENTRY_RECEIVE_WINDOW_MS", "RECEIVE_WINDOW_MS", "Signer"]
