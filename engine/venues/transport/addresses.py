"""A venue's two addresses: for requests and for streams, without a path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """`https://host[:port]` and `wss://host[:port]`; plain ones for loopback alone."""

    rest_url: str
    stream_url: str


__all__ = ["Addresses"]
