"""Speaks to a node over Redis as any service would, by the contract alone.

Nothing of the engine is imported: the signature is written out here once more, so that what the
engine accepts is proved against a second reading of the contract.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import os
import time
from typing import Any

import redis

__all__ = ["KEY", "BusSender", "signature"]

KEY = "a-desk-key-for-tests-of-32-bytes"
_numbers = itertools.count(1)


def signature(key: str, *parts: str) -> str:
    """RFC 2104 by hand: H((K ^ opad) + H((K ^ ipad) + message))."""
    secret = key.encode()
    if len(secret) > 64:
        secret = hashlib.sha256(secret).digest()
    secret = secret.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in secret) + "\n".join(parts).encode())
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in secret) + inner.digest())
    made = outer.hexdigest()
    assert made == hmac.new(key.encode(), "\n".join(parts).encode(), "sha256").hexdigest()
    return made


class BusSender:
    """One service of the desk."""

    def __init__(self, url: str, *, node: str = "desk", key: str = KEY) -> None:
        self.redis: Any = redis.Redis.from_url(url, protocol=2)
        self.node = node
        self.key = key

    def close(self) -> None:
        self.redis.close()

    @property
    def stream(self) -> str:
        return f"seawall:{self.node}:commands"

    def fields(
        self,
        kind: str,
        payload: dict[str, Any] | str,
        *,
        age_s: float = 0.0,
        identifier: str = "",
        nonce: str = "",
        signed: bool = True,
    ) -> dict[str, str]:
        """A command as it lies in the stream."""
        fields = {
            "type": kind,
            "id": identifier or f"c{os.getpid()}-{next(_numbers)}",
            "ts": str(time.time_ns() - round(age_s * 1e9)),
            "nonce": nonce or f"n{os.getpid()}-{next(_numbers)}",
            "payload": payload if isinstance(payload, str) else json.dumps(payload),
        }
        if signed:
            fields["sig"] = self.sign(fields)
        return fields

    def sign(self, fields: dict[str, str]) -> str:
        names = ("type", "id", "ts", "nonce", "payload")
        return signature(self.key, self.node, *(fields[name] for name in names))

    def put(self, fields: dict[str, str]) -> str:
        """Into the stream; the entry's id."""
        entry: bytes = self.redis.xadd(self.stream, fields)
        return entry.decode()

    def send(self, kind: str, payload: dict[str, Any] | str, **options: Any) -> dict[str, str]:
        """Put a command there; what was put."""
        fields = self.fields(kind, payload, **options)
        fields["entry"] = self.put(fields)
        return fields

    def signal(self, *, symbol: str = "BTCUSDT", **options: Any) -> dict[str, str]:
        payload = {"symbol": symbol, "side": "buy", "confidence": 0.9, "strategy": "test"}
        return self.send("signal.submit", payload, **options)

    def dead(self) -> list[dict[str, str]]:
        """The dead-letter stream, oldest first."""
        rows = self.redis.xrange(f"seawall:{self.node}:dead")
        return [
            {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
            for _, fields in rows
        ]

    def why_dead(self, identifier: str) -> str:
        """The error of a command that was refused; empty while it is not."""
        return next((row["error"] for row in self.dead() if row.get("id") == identifier), "")

    def is_worked_off(self) -> bool:
        """Everything in the stream was delivered and acknowledged."""
        groups = self.redis.xinfo_groups(self.stream)
        if not groups or groups[0]["pending"]:
            return False
        newest = self.redis.xrevrange(self.stream, count=1)
        return not newest or groups[0]["last-delivered-id"] == newest[0][0]
