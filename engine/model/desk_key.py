"""The desk key: proves that a command, a policy or a clearing comes from this desk.

HMAC-SHA256 (RFC 2104) over texts joined by newlines, in hex. No part may hold a newline, except
the last: otherwise two different lists of parts could have the same signature. Without a key
nothing verifies. A key never shows itself: `repr` and `str` are redacted.
"""

from __future__ import annotations

import hashlib
import hmac

from engine.model.errors import require

KEY_BYTES_MIN = 16


class DeskKey:
    """A shared secret. `DeskKey("")` is no key: it signs nothing and verifies nothing."""

    __slots__ = ("_secret",)

    def __init__(self, text: str) -> None:
        """ValueError when the text is there and shorter than 16 bytes."""
        self._secret = text.strip().encode()
        if self._secret and len(self._secret) < KEY_BYTES_MIN:
            raise ValueError(f"the desk key must have at least {KEY_BYTES_MIN} bytes")

    def __bool__(self) -> bool:
        return bool(self._secret)

    def __repr__(self) -> str:
        return f"DeskKey({'***' if self else 'none'})"

    def sign(self, *parts: str) -> str:
        """Signature in hex; "" without a key."""
        if not self:
            return ""
        require(
            all("\n" not in part for part in parts[:-1]),
            "only the last part of what is signed may have more than one line",
        )
        return hmac.new(self._secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()

    def verifies(self, signature: str, *parts: str) -> bool:
        """Whether this key made the signature over exactly these parts; takes constant time."""
        if not self or any("\n" in part for part in parts[:-1]):
            return False
        return hmac.compare_digest(self.sign(*parts).encode(), signature.encode())


__all__ = ["KEY_BYTES_MIN", "DeskKey"]
