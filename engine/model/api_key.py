"""An exchange's API key with its secret, as one object that shows neither.

Both are secret: whoever has the key alone can still be told from others. `repr`, `str` and `format`
say nothing, and nothing can write one down: not pickle, not a copy, not msgspec, which knows no way
to encode it. Only the signers of `engine.venues` read what is inside. HMAC-SHA256 (RFC 2104).
Fails: ValueError for what no exchange hands out, never quoting it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn

# Visible ASCII; anything else cannot stand in a header.
_HEADER_SAFE = frozenset(chr(code) for code in range(0x21, 0x7F))
# As much of a key as may be shown: enough to tell two apart, of one long enough to stay secret.
_SHOWN = 4
_SHOWN_OF_MIN = 16


class ApiKey:
    """A key and its secret; the key goes into a header, the secret never leaves."""

    __slots__ = ("_key", "_keyed_hash", "_secret")

    def __init__(self, *, key: str, secret: str) -> None:
        """ValueError when either is empty or could not stand in a header."""
        if not key or not secret:
            raise ValueError("an exchange key needs both a key and a secret")
        for name, text in (("key", key), ("secret", secret)):
            if not _HEADER_SAFE.issuperset(text):
                raise ValueError(
                    f"an exchange's {name} must be visible ASCII characters without blanks, as it"
                    " was shown there"
                )
        self._key = key
        self._secret = secret
        self._keyed_hash = hmac.new(secret.encode(), digestmod=hashlib.sha256)

    @property
    def key(self) -> str:
        """For the header that names the account."""
        return self._key

    @property
    def secret(self) -> str:
        """For a signer that makes a keyed hash of its own."""
        return self._secret

    @property
    def ends_with(self) -> str:
        """The last characters of the key (not of the secret), for a person who tells keys apart;
        nothing of a key so short that they would tell too much.
        """
        return self._key[-_SHOWN:] if len(self._key) >= _SHOWN_OF_MIN else ""

    def sign(self, payload: str) -> str:
        """The signature of a text exactly as it will be sent, in hex."""
        keyed = self._keyed_hash.copy()
        keyed.update(payload.encode())
        return keyed.hexdigest()

    def __repr__(self) -> str:
        return "ApiKey(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not to be written down")


__all__ = ["ApiKey"]
