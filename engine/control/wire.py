"""The lines on the wire: `{v, id, verb, args}` → `{v, id, ok, result | error}`, one JSON object
each.

Version 1. An error is `{code, message}`. Decimals are strings, as everywhere in our JSON. Fails:
`decode_request` and `decode_answer` raise ValueError with what is wrong, never anything else.
"""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = 1
REQUEST_BYTES_MAX = 64 * 1024
ANSWER_BYTES_MAX = 16 * 1024 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One command; `token` only where the transport has no rights of its own."""

    v: int
    id: str | int
    verb: str
    args: dict[str, Any] = {}
    token: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no result."""

    code: str
    message: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer; `id` is None when the request's could not be read."""

    v: int
    id: str | int | None
    ok: bool
    result: Any = None
    error: Failure | None = None


_REQUESTS = msgspec.json.Decoder(Request)
_ANSWERS = msgspec.json.Decoder(Answer)


def encode(message: Request | Answer) -> bytes:
    """One line, with its end."""
    return msgspec.json.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Read a request; ValueError says what is wrong with it."""
    try:
        request = _REQUESTS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a request {{v, id, verb, args}}: {error}") from error
    if request.v != VERSION:
        raise ValueError(f"version {request.v} is not understood, this engine speaks {VERSION}")
    return request


def decode_answer(line: bytes) -> Answer:
    """Read an answer; ValueError says what is wrong with it."""
    try:
        return _ANSWERS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not an answer: {error}") from error


def request_id(line: bytes) -> str | int | None:
    """The id of a request that could not be understood otherwise, if it has one."""
    try:
        raw = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    found = raw.get("id") if isinstance(raw, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


__all__ = [
    "ANSWER_BYTES_MAX",
    "REQUEST_BYTES_MAX",
    "VERSION",
    "Answer",
    "Failure",
    "Request",
    "decode_answer",
    "decode_request",
    "encode",
    "request_id",
]
