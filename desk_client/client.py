"""`DeskClient`: commands to one node, signed, and its events.

A command is an entry in `seawall:NODE:commands`; the node acts on it once, also when it is
delivered twice, and refuses what is not signed with the desk key or older than 30 s. Halt and trip
may be sent without a key. Nothing is retried here: `redis.RedisError` is the caller's. Whoever does
not know whether a command was sent sends it again with the same `command_id`: it is done once.
Blocking; one client a thread.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import redis

from desk_client.messages import (
    CommandRefusedError,
    DeskEvent,
    NoAnswerError,
    Outcome,
    Sent,
    to_event,
)

KEY_BYTES_MIN: Final = 16
_BLOCK_MS: Final = 500
_BATCH: Final = 200
# What tells that a command had its effect: the signal's own event, and the one of all others.
_ACCEPTED: Final = frozenset({"command.accepted", "signal.received"})
_REFUSED: Final = "command.refused"


class DeskClient:
    """Use it as a context manager, or `close` it."""

    def __init__(
        self, url: str, node: str, key: str = "", *, origin: str = "", **redis_options: Any
    ) -> None:
        """`url` as redis-py takes it (`redis://`, `rediss://`, `unix://`); `key` is the desk key,
        without which only `halt` and `trip` are heard; `origin` says who we are, in every command.
        """
        key = key.strip()
        if key and len(key.encode()) < KEY_BYTES_MIN:
            raise ValueError(f"the desk key must have at least {KEY_BYTES_MIN} bytes")
        self._redis: Any = redis.Redis.from_url(url, **{"protocol": 2, **redis_options})
        self._node = node
        self._key = key.encode()
        self._origin = origin
        self._commands = f"seawall:{node}:commands"
        self._dead = f"seawall:{node}:dead"
        self._events = f"seawall:{node}:events"

    def __enter__(self) -> DeskClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"DeskClient(node={self._node!r}, key={'***' if self._key else 'none'})"

    def close(self) -> None:
        """Drop the connection."""
        self._redis.close()

    # --- commands --------------------------------------------------------------------------------

    def submit_signal(
        self,
        symbol: str,
        side: str,
        confidence: float,
        *,
        strategy: str,
        stop_loss: Decimal | str | None = None,
        take_profit: Decimal | str | None = None,
        command_id: str = "",
    ) -> Sent:
        """Say that a symbol will move. `side` buy or sell, `confidence` 0 to 1, distances as
        fractions of the entry price. It becomes an order only through the node's queue and gate.
        """
        payload = {
            "symbol": symbol,
            "side": side,
            "confidence": confidence,
            "strategy": strategy,
            "stop_loss": None if stop_loss is None else str(stop_loss),
            "take_profit": None if take_profit is None else str(take_profit),
        }
        return self._send("signal.submit", payload, command_id)

    def halt(self, reason: str, *, command_id: str = "") -> Sent:
        """No new risk; positions are kept. Needs no key."""
        return self._send("trading.halt", {"reason": reason}, command_id)

    def resume(self, reason: str, *, command_id: str = "") -> Sent:
        """Allow new risk again; refused while the emergency stop is latched."""
        return self._send("trading.resume", {"reason": reason}, command_id)

    def trip(self, reason: str, *, scope: str = "node", command_id: str = "") -> Sent:
        """The emergency stop: cancel everything, close everything. `scope` node or desk. Needs no
        key. It is ended by a person at the node, never from here.
        """
        return self._send("emergency.trip", {"reason": reason, "scope": scope}, command_id)

    def set_policy_mode(self, name: str, *, reason: str = "", command_id: str = "") -> Sent:
        """Switch the active profile."""
        return self._send("policy.mode", {"name": name, "reason": reason}, command_id)

    def update_policy(
        self,
        fields: Mapping[str, object],
        *,
        base_version: int,
        reason: str = "",
        command_id: str = "",
    ) -> Sent:
        """Change fields of the policy; refused when it is not at `base_version` any more."""
        texts = {name: _text(value) for name, value in fields.items()}
        payload = {"base_version": base_version, "fields": texts, "reason": reason}
        return self._send("policy.update", payload, command_id)

    # --- what became of it -----------------------------------------------------------------------

    def wait_for_outcome(self, sent: Sent, *, timeout_s: float = 10.0) -> Outcome:
        """Wait until the node has carried a command out or refused it.

        NoAnswerError when it says nothing in time: it may be away, and may still act.
        """
        deadline_s = time.monotonic() + timeout_s
        for event in self.read_events(sent.events_from, timeout_s=timeout_s, pulse=True):
            if event is not None and event["trace"] == sent.id:
                if event["type"] in _ACCEPTED:
                    return Outcome(sent=sent, accepted=True, why="", event=event)
                if event["type"] == _REFUSED:
                    told = event["payload"]
                    return _refusal(sent, str(told["code"]), str(told["error"]), event)
            # Events come late while the node replays; what was refused is there already.
            if event is None and (dead := self._dead_letter(sent)) is not None:
                return _refusal(sent, dead["code"], dead["error"], None)
            if time.monotonic() > deadline_s:
                break
        raise NoAnswerError(f"{sent.type} {sent.id}: no answer within {timeout_s:g} s")

    def require(self, sent: Sent, *, timeout_s: float = 10.0) -> Outcome:
        """The same, with CommandRefusedError for a refusal."""
        outcome = self.wait_for_outcome(sent, timeout_s=timeout_s)
        if not outcome.accepted:
            raise CommandRefusedError(sent, outcome.why)
        return outcome

    # --- events ----------------------------------------------------------------------------------

    def newest_event(self) -> str:
        """Where the node's stream stands now; "0-0" when there is none."""
        newest = self._redis.xrevrange(self._events, count=1)
        return newest[0][0].decode() if newest else "0-0"

    def read_events(
        self, since: str = "0-0", *, timeout_s: float | None = None, pulse: bool = False
    ) -> Iterator[Any]:
        """Every event after an entry, in order, then those to come, until `timeout_s` is over (for
        ever without one). Keep `entry` of the last one to go on later. With `pulse` a None comes
        each half second in which nothing happened.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while deadline_s is None or time.monotonic() < deadline_s:
            left_ms = _BLOCK_MS
            if deadline_s is not None:
                left_ms = max(1, min(_BLOCK_MS, round((deadline_s - time.monotonic()) * 1000)))
            answer = self._redis.xread({self._events: since}, count=_BATCH, block=left_ms)
            if not answer:
                if pulse:
                    yield None
                continue
            [(_, entries)] = answer
            for entry, fields in entries:
                since = entry.decode()
                yield to_event(entry, fields)

    # --- within ----------------------------------------------------------------------------------

    def _send(self, kind: str, payload: Mapping[str, Any], command_id: str) -> Sent:
        said = {name: value for name, value in payload.items() if value is not None}
        if self._origin:
            said["origin"] = self._origin
        ts_ns = time.time_ns()
        fields = {
            "type": kind,
            "id": command_id or secrets.token_hex(16),
            "ts": str(ts_ns),
            "nonce": secrets.token_hex(16),
            "payload": json.dumps(said, allow_nan=False),
        }
        if self._key:
            fields["sig"] = self._signature(fields)
        events_from = self.newest_event()
        entry: bytes = self._redis.xadd(self._commands, fields)
        return Sent(
            type=kind,
            id=fields["id"],
            entry=entry.decode(),
            ts_ns=ts_ns,
            events_from=events_from,
        )

    def _signature(self, fields: Mapping[str, str]) -> str:
        names = ("type", "id", "ts", "nonce", "payload")
        message = "\n".join((self._node, *(fields[name] for name in names)))
        return hmac.new(self._key, message.encode(), hashlib.sha256).hexdigest()

    def _dead_letter(self, sent: Sent) -> dict[str, str] | None:
        """What was refused, with its error; the stream is bounded, so newest first."""
        for _, fields in self._redis.xrevrange(self._dead, count=_BATCH):
            if fields.get(b"entry") == sent.entry.encode():
                return {name: fields[name.encode()].decode() for name in ("code", "error")}
        return None


def _refusal(sent: Sent, code: str, why: str, event: DeskEvent | None) -> Outcome:
    """A command whose id was used before was carried out before, by an earlier try of ours."""
    done_before = code == "replayed" and why.startswith("its id")
    return Outcome(sent=sent, accepted=done_before, why=why, event=event)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


__all__ = ["DeskClient"]
