"""The policy that the desk shares: the hash `seawall:policy`, read and written by this node.

Fields: `version`, `document` (canonical JSON), `sha256` (of it), `author`, `node` (who wrote it),
`heads` (the revisions that the document follows from, JSON) and `sig`, made with the desk key over
`seawall:policy`, version, sha256, node and heads, joined by newlines (contract.md). It is written
only by one script, which compares version, sha256 and heads with what was read before, and tells
every node in the same step. An answer that was lost is no harm: the script finds its own work done
and writes nothing again.

What is read is reported as it is; whom to believe is not decided here. Loop only. Fails: BridgeDown
with the cause in words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from engine.model.desk_key import DeskKey
from engine.model.errors import BridgeDown
from engine.model.limits import POLICY_SHARED_BYTES_MAX
from engine.model.policy import PolicyDocument, document_from_json, document_hash, document_json
from engine.model.policy_revision import (
    Revision,
    SharedReading,
    revisions_from_json,
    revisions_json,
)
from engine.redis_link.desk_connection import CHANGES_KEY, CHANGES_MAX, DeskConnection
from engine.redis_link.faults import LINK_FAULTS, cause_of

POLICY_KEY: Final = "seawall:policy"
POLICY_TOPIC: Final = "policy"
_FIELDS = ("version", "sha256", "heads", "document", "author", "node", "sig")
# A key of another kind is somebody's mistake; it is replaced.
_SCRIPT = """
local held = redis.pcall('HMGET', KEYS[1], 'version', 'sha256', 'heads')
if held.err then
  if redis.call('TYPE', KEYS[1]).ok == 'hash' then return held end
  redis.call('DEL', KEYS[1])
  held = {false, false, false}
end
for i = 1, 3 do
  if (held[i] or '') ~= ARGV[i] then return 0 end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'version', ARGV[4], 'sha256', ARGV[5], 'heads', ARGV[6],
  'document', ARGV[7], 'author', ARGV[8], 'node', ARGV[9], 'sig', ARGV[10])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[11], '*', 'topic', ARGV[12], 'node', ARGV[9])
return 1
"""


class RedisSharedPolicy:
    """Implements `engine.policy.SharedPolicy` for one node."""

    def __init__(self, *, desk: DeskConnection, key: DeskKey, node: str) -> None:
        self._desk = desk
        self._key = key
        self._node = node
        self._raw: list[str | None] | None = None
        self._reading = SharedReading(is_missing=True)

    @property
    def has_key(self) -> bool:
        return bool(self._key)

    @property
    def is_there(self) -> bool:
        return self._desk.is_there

    async def read(self) -> SharedReading:
        """The same object as before while nothing has changed."""
        try:
            answer: list[bytes | None] = await self._desk("HMGET", POLICY_KEY, *_FIELDS)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise BridgeDown(cause_of(error)) from error
            return SharedReading(fault="the key holds something of another kind")
        except LINK_FAULTS as error:
            raise BridgeDown(cause_of(error)) from error
        raw = [None if one is None else one.decode(errors="replace") for one in answer]
        if raw != self._raw:
            self._reading, self._raw = self._understand(raw), raw
        return self._reading

    async def write(
        self, document: PolicyDocument, heads: Sequence[Revision], *, based_on: SharedReading
    ) -> bool:
        """Compare and set, told to every node in the same step."""
        version, sha256 = str(document.version), document_hash(document)
        said = revisions_json(tuple(heads))
        arguments: list[Any] = [
            *based_on.stood,
            *(version, sha256, said, document_json(document), document.author, self._node),
            *(self._sign(version, sha256, self._node, said), CHANGES_MAX, POLICY_TOPIC),
        ]
        try:
            return bool(await self._desk("EVAL", _SCRIPT, 2, POLICY_KEY, CHANGES_KEY, *arguments))
        except LINK_FAULTS as error:
            raise BridgeDown(cause_of(error)) from error

    def _sign(self, version: str, sha256: str, node: str, heads: str) -> str:
        return self._key.sign(POLICY_KEY, version, sha256, node, heads)

    def _understand(self, raw: list[str | None]) -> SharedReading:
        if all(one is None for one in raw):
            return SharedReading(is_missing=True)
        version, sha256, heads, document, author, node, sig = (one or "" for one in raw)
        found = SharedReading(
            stood=(version, sha256, heads),
            is_signed=self._key.verifies(sig, POLICY_KEY, version, sha256, node, heads),
            node=node,
        )
        try:
            return msgspec.structs.replace(
                found,
                document=_document(document, version=version, sha256=sha256, author=author),
                heads=_heads(heads, wanted=found.is_signed),
            )
        except ValueError as error:  # msgspec's are.
            return msgspec.structs.replace(found, fault=str(error))


def _document(text: str, *, version: str, sha256: str, author: str) -> PolicyDocument:
    """The document; a stranger may leave out what it says itself, and what differs is damage."""
    if len(text) > POLICY_SHARED_BYTES_MAX:
        raise ValueError(f"it is longer than {POLICY_SHARED_BYTES_MAX} bytes")
    if sha256 and hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise ValueError("the document is damaged: it is not that of its sha256")
    document = document_from_json(text)
    if version not in ("", str(document.version)) or author not in ("", document.author):
        raise ValueError("version or author is not the document's")
    return document


def _heads(text: str, *, wanted: bool) -> tuple[Revision, ...]:
    """The revisions; only a stranger may leave them out."""
    if len(text) > POLICY_SHARED_BYTES_MAX:
        raise ValueError(f"the heads are longer than {POLICY_SHARED_BYTES_MAX} bytes")
    heads = revisions_from_json(text) if text else ()
    if wanted and not heads:
        raise ValueError("there are no heads")
    return heads


__all__ = ["POLICY_KEY", "POLICY_TOPIC", "RedisSharedPolicy"]
