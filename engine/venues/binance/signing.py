"""Signs requests to Binance: hex HMAC-SHA256 of query and body, joined without a character between.

The signature comes last. Parameters keep the order they are given in; values are percent-encoded as
UTF-8, for symbols may hold any script. A secret never shows itself: `repr` and `str` are redacted.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote_plus, urlencode


class ApiKey:
    """A key and its secret; the key goes into a header, the secret never leaves."""

    __slots__ = ("_secret", "key")

    def __init__(self, *, key: str, secret: str) -> None:
        """ValueError when either is empty, or the key cannot stand in a header."""
        if not key or not secret:
            raise ValueError("an exchange key needs both a key and a secret")
        if not key.isascii() or not key.isprintable():
            raise ValueError("the exchange key holds characters that no key has")
        self.key = key
        self._secret = secret.encode()

    def __repr__(self) -> str:
        return "ApiKey(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be written down")

    def sign(self, payload: str) -> str:
        """The signature of query and body as they will be sent."""
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()


def encoded(parameters: Mapping[str, str]) -> str:
    """Parameters as they stand in a query or a body."""
    return urlencode(parameters, quote_via=quote_plus)


def signed(parameters: Mapping[str, str], *, key: ApiKey) -> str:
    """Parameters with their signature at the end; they must hold `timestamp` already."""
    payload = encoded(parameters)
    return f"{payload}&signature={key.sign(payload)}"


__all__ = ["ApiKey", "encoded", "signed"]
