"""Judges what lies in the commands stream: may this be carried out, and if not, why not.

Pure: an entry, the node, the desk key and the time come in as values. Order of the checks: form,
signature, freshness, payload; a payload whose sender is not proven is not read, except that of a
halt or a trip, which anyone may send. Whether a command was there before is the ledger's business.
Signature: hex HMAC-SHA256 with the desk key over NODE, type, id, ts, nonce, payload as received,
joined by newlines. Fails closed: whatever cannot be judged is refused with a sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from engine.model.commands import (
    COMMAND_AHEAD_S,
    COMMAND_FRESH_S,
    BusCommand,
    CommandType,
    Hold,
    ModelPromote,
    Payload,
    PolicyMode,
    PolicyUpdate,
    SignalSubmit,
    StrategySwitch,
    TripRequest,
)
from engine.model.desk_key import DeskKey

FIELDS_MAX: Final = 32
PAYLOAD_BYTES_MAX: Final = 65_536
_TEXT_MAX: Final = 200
_WHY_MAX: Final = 500
_DIGITS_MAX: Final = 19
_VERSION_MAX: Final = 2**31
_WORD = re.compile(r"[!-~]{1,128}")
_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PAYLOADS: Final[Mapping[CommandType, type[Payload]]] = {
    CommandType.SIGNAL_SUBMIT: SignalSubmit,
    CommandType.MODEL_PROMOTE: ModelPromote,
    CommandType.STRATEGY_SWITCH: StrategySwitch,
    CommandType.POLICY_MODE: PolicyMode,
    CommandType.POLICY_UPDATE: PolicyUpdate,
    CommandType.TRADING_HALT: Hold,
    CommandType.TRADING_RESUME: Hold,
    CommandType.EMERGENCY_TRIP: TripRequest,
}
_SIDES: Final = {b'"buy"': b'"BUY"', b'"sell"': b'"SELL"'}

Entry = Mapping[bytes, bytes]


class RefusalCode(StrEnum):
    """Why, in one word."""

    MALFORMED = "malformed"
    NO_DESK_KEY = "no_desk_key"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    STALE = "stale"
    REPLAYED = "replayed"
    REFUSED = "refused"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A command that is not carried out. Type, id and origin are what the sender says."""

    code: RefusalCode
    why: str
    stream_id: str
    type: str = ""
    id: str = ""
    origin: str = ""

    @property
    def is_alarming(self) -> bool:
        """Somebody may be trying what he may not, or a stop could not be read."""
        unproven = {
            RefusalCode.NO_DESK_KEY,
            RefusalCode.UNSIGNED,
            RefusalCode.BAD_SIGNATURE,
            RefusalCode.STALE,
            RefusalCode.REPLAYED,
        }
        if self.code in unproven:
            return True
        return self.type in (CommandType.TRADING_HALT, CommandType.EMERGENCY_TRIP)

    @property
    def words(self) -> str:
        """The whole sentence, with where it came from."""
        of = f"{self.type or 'a command'} {self.id}".strip()
        by = f" from {self.origin}" if self.origin else ""
        return f"{of}{by} (entry {self.stream_id}): {self.why}"


class _Malformed(Exception):
    """Says what is wrong with the form."""


def judge(
    stream_id: str, entry: Entry, *, node: str, key: DeskKey, now_ns: int
) -> BusCommand | Refusal:
    """What may be carried out, or why it may not."""
    claimed = _Claimed(stream_id, entry)
    try:
        kind = claimed.kind()
        if kind.is_stop:
            return _stop(claimed, kind, node=node, key=key)
        words = claimed.words()
        refusal = _unproven(claimed, words, node=node, key=key, now_ns=now_ns)
        if refusal is not None:
            return refusal
        return BusCommand(
            type=kind,
            id=words["id"],
            stream_id=stream_id,
            payload=_payload(kind, words["payload"]),
            nonce=words["nonce"],
            ts_ns=int(words["ts"]),
            is_signed=True,
        )
    except _Malformed as error:
        return claimed.refusal(RefusalCode.MALFORMED, str(error))


def is_stop(entry: Entry) -> bool:
    """Whether an entry says halt or trip; cheap, for looking through a backlog."""
    return entry.get(b"type") in (b"trading.halt", b"emergency.trip")


class _Claimed:
    """What an entry says of itself."""

    def __init__(self, stream_id: str, entry: Entry) -> None:
        self._stream_id = stream_id
        self._entry = entry

    def kind(self) -> CommandType:
        if len(self._entry) > FIELDS_MAX:
            raise _Malformed(f"{len(self._entry)} fields; {FIELDS_MAX} at most")
        text = self.text("type")
        try:
            return CommandType(text)
        except ValueError as error:
            raise _Malformed(f"unknown type {text[:64]!r}") from error

    def text(self, name: str, default: str | None = None) -> str:
        """One field. Without a default it must be there."""
        raw = self._entry.get(name.encode())
        if raw is None:
            if default is None:
                raise _Malformed(f"the field {name} is missing")
            return default
        if len(raw) > PAYLOAD_BYTES_MAX:
            raise _Malformed(f"{name} is longer than {PAYLOAD_BYTES_MAX} bytes")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise _Malformed(f"{name} is not UTF-8") from error

    def words(self) -> dict[str, str]:
        """The fields of a signed command, each in its form."""
        words = {name: self.text(name) for name in ("type", "id", "ts", "nonce", "payload")}
        for name in ("id", "nonce"):
            if not _WORD.fullmatch(words[name]):
                raise _Malformed(f"{name} must be 1 to 128 printable ASCII characters, no spaces")
        if not _is_time(words["ts"]):
            raise _Malformed("ts must be whole UTC nanoseconds")
        words["sig"] = self.text("sig", "")
        return words

    def refusal(self, code: RefusalCode, why: str) -> Refusal:
        return Refusal(
            code=code,
            why=shown(why, _WHY_MAX),
            stream_id=self._stream_id,
            type=self._shown("type"),
            id=self._shown("id"),
            origin=_claimed_origin(self._entry),
        )

    def stop_id(self) -> str:
        """A stop without an id that can be used is known by its entry."""
        text = self.text("id", "")
        return text if _WORD.fullmatch(text) else f"entry:{self._stream_id}"

    @property
    def stream_id(self) -> str:
        return self._stream_id

    def _shown(self, name: str) -> str:
        return shown(self._entry.get(name.encode(), b"").decode(errors="replace"), 128)


def shown(text: str, longest: int = _TEXT_MAX) -> str:
    """Foreign text as it may stand in a log, an alarm or the latch file."""
    return _CONTROL.sub(" ", text)[:longest].strip()


def _claimed_origin(entry: Entry) -> str:
    """Who an entry says it is from, be the rest as it may; empty when it does not say."""
    raw = entry.get(b"payload", b"")
    if len(raw) > PAYLOAD_BYTES_MAX:
        return ""
    try:
        found: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    origin = found.get("origin") if isinstance(found, dict) else None
    return shown(origin, 64) if isinstance(origin, str) else ""


def _is_time(text: str) -> bool:
    """Whether a text is a time as we write them."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def _unproven(
    claimed: _Claimed, words: Mapping[str, str], *, node: str, key: DeskKey, now_ns: int
) -> Refusal | None:
    if not key:
        why = (
            f"{words['type']} must be signed with the desk key, and this node has none:"
            " set SEAWALL_DESK_KEY, or the entry desk-key of seawall in the system's keyring"
        )
        return claimed.refusal(RefusalCode.NO_DESK_KEY, why)
    if not words["sig"]:
        return claimed.refusal(
            RefusalCode.UNSIGNED, f"{words['type']} must be signed with the desk key"
        )
    if not _verifies(key, node, words):
        return claimed.refusal(
            RefusalCode.BAD_SIGNATURE, "the signature is not this desk's, or of something else"
        )
    age_s = (now_ns - int(words["ts"])) / 1e9
    if age_s > COMMAND_FRESH_S:
        why = f"it is {age_s:.1f} s old; {COMMAND_FRESH_S} s are allowed"
        return claimed.refusal(RefusalCode.STALE, why)
    if -age_s > COMMAND_AHEAD_S:
        why = f"it is of {-age_s:.1f} s from now; the sender's clock, or ours, is wrong"
        return claimed.refusal(RefusalCode.STALE, why)
    return None


def _verifies(key: DeskKey, node: str, words: Mapping[str, str]) -> bool:
    parts = (words[name] for name in ("type", "id", "ts", "nonce", "payload"))
    return key.verifies(words["sig"].lower(), node, *parts)


def _stop(claimed: _Claimed, kind: CommandType, *, node: str, key: DeskKey) -> BusCommand:
    """Anyone may stop the desk. A signature that does not hold makes it an unsigned one."""
    payload = _payload(kind, claimed.text("payload", "{}"))
    is_signed = False
    try:
        is_signed = _verifies(key, node, claimed.words())
    except _Malformed:
        pass  # Only what has to be proven needs them.
    return BusCommand(
        type=kind,
        id=claimed.stop_id(),
        stream_id=claimed.stream_id,
        payload=payload,
        is_signed=is_signed,
    )


def _payload(kind: CommandType, text: str) -> Payload:
    try:
        if kind is CommandType.SIGNAL_SUBMIT:
            payload: Payload = _signal(text)
        else:
            payload = msgspec.json.decode(text, type=_PAYLOADS[kind])
    except msgspec.ValidationError as error:
        raise _Malformed(f"payload: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Malformed(f"payload is not JSON: {error}") from error
    return _checked(payload)


def _signal(text: str) -> SignalSubmit:
    """Sides may be written small."""
    fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    if "side" in fields:
        side = bytes(fields["side"])
        fields["side"] = msgspec.Raw(_SIDES.get(side, side))
    return msgspec.json.decode(msgspec.json.encode(fields), type=SignalSubmit)


def _checked(payload: Payload) -> Payload:
    """What types cannot say."""
    if len(payload.origin) > 64 or _CONTROL.search(payload.origin):
        raise _Malformed("origin must be at most 64 characters, without control characters")
    if isinstance(payload, SignalSubmit):
        _check_signal(payload)
    elif isinstance(payload, PolicyUpdate) and not 0 <= payload.base_version < _VERSION_MAX:
        raise _Malformed(f"base_version must be between 0 and {_VERSION_MAX}")
    elif isinstance(payload, Hold | TripRequest | PolicyMode | PolicyUpdate):
        # Long words are no reason not to stop.
        payload = msgspec.structs.replace(payload, reason=shown(payload.reason))
    return payload


def _check_signal(signal: SignalSubmit) -> None:
    for name, text in (("symbol", signal.symbol), ("strategy", signal.strategy)):
        if not _NAME.fullmatch(text):
            raise _Malformed(f"{name} must be 1 to 64 letters, digits or . _ : / -")
    if not (math.isfinite(signal.confidence) and 0.0 <= signal.confidence <= 1.0):
        raise _Malformed("confidence must be between 0 and 1")
    for name, distance in (("stop_loss", signal.stop_loss), ("take_profit", signal.take_profit)):
        if distance is not None and not (distance.is_finite() and 0 < distance < 1):
            raise _Malformed(f"{name} must be a fraction of the entry price between 0 and 1")


__all__ = ["FIELDS_MAX", "Entry", "Refusal", "RefusalCode", "is_stop", "judge", "shown"]
