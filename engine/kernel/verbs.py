"""The verbs of the control socket: JSON in, JSON out, the same commands that the window gives.

Wrong arguments are a clear error that names the argument; nothing else can go wrong here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from engine.api import CommandResult
from engine.kernel.backup_keeper import backup_json
from engine.kernel.client import LocalClient
from engine.kernel.order_verbs import OrderVerbs
from engine.kernel.status import conflict_json, emergency_json, status_json
from engine.model.emergency import ResetRequest, Scope, TripSource
from engine.model.errors import OperatorMessage
from engine.model.ids import Symbol, TripId
from engine.model.policy import diff

Verb = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


def result_json(result: CommandResult) -> dict[str, Any]:
    """The contract's answer to a changing command."""
    return {
        "ok": result.ok,
        "state": str(result.state),
        "emergency": emergency_json(result.emergency),
        "message": result.message,
        "unmet": [{"condition": entry.condition, "why": entry.why} for entry in result.unmet],
        "rebased": result.rebased,
        "problems": result.problems,
        "conflict": result.conflict,
        "conflict_fields": result.conflict_fields,
        "version": result.version,
    }


def _text(args: Mapping[str, Any], name: str, default: str = "") -> str:
    value = args.get(name, default)
    if not isinstance(value, str):
        raise OperatorMessage(f"{name} must be text")
    return value


def _author(args: Mapping[str, Any]) -> str:
    return _text(args, "author", "operator")


def _number(args: Mapping[str, Any], name: str) -> int:
    value = args.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise OperatorMessage(f"{name} must be a whole number")
    return value


def _texts(args: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = args.get(name, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise OperatorMessage(f"{name} must be a list of texts")
    return tuple(value)


class Verbs:
    """Maps verbs to the engine's client."""

    def __init__(self, *, client: LocalClient) -> None:
        self._client = client

    def table(self) -> dict[str, Verb]:
        """Every verb."""
        return {
            "status": self._status,
            "panic": self._panic,
            "halt": self._halt,
            "resume": self._resume,
            "reduce-only": self._reduce_only,
            "start": self._start,
            "reset": self._reset,
            "backup": self._backup,
            "journal.list-dead": self._journal_list_dead,
            "journal.requeue": self._journal_requeue,
            "policy.show": self._policy_show,
            "policy.history": self._policy_history,
            "policy.diff": self._policy_diff,
            "policy.set": self._policy_set,
            "policy.mode": self._policy_mode,
            "policy.rollback": self._policy_rollback,
            "policy.resolve": self._policy_resolve,
        } | OrderVerbs(client=self._client, result_json=result_json).table()

    async def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return status_json(
            self._client.snapshot(), running=True, safeguards=self._client.safeguards()
        )

    async def _panic(self, args: Mapping[str, Any]) -> dict[str, Any]:
        reason = _text(args, "reason") or "seawall panic"
        scope = Scope(_text(args, "scope", "node"))
        self._client.trip(source=TripSource.COMMAND_LINE, reason=reason, scope=scope)
        return result_json(self._client.answer())

    async def _halt(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return result_json(
            await self._client.halt(reason=_text(args, "reason"), author=_author(args))
        )

    async def _resume(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return result_json(
            await self._client.resume(reason=_text(args, "reason"), author=_author(args))
        )

    async def _reduce_only(self, args: Mapping[str, Any]) -> dict[str, Any]:
        switch = _text(args, "switch")
        if switch not in {"on", "off"}:
            raise OperatorMessage("switch must be on or off")
        return result_json(
            await self._client.reduce_only(
                on=switch == "on", reason=_text(args, "reason"), author=_author(args)
            )
        )

    async def _start(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return result_json(
            await self._client.start(
                reason=_text(args, "reason"),
                author=_author(args),
                confirm_live=_text(args, "confirm_live"),
            )
        )

    async def _reset(self, args: Mapping[str, Any]) -> dict[str, Any]:
        if args.get("acknowledge") is True:
            await self._client.acknowledge_all(priority=1)
        request = ResetRequest(
            cause=_text(args, "cause"),
            reason=_text(args, "reason"),
            clear=tuple(TripId(entry) for entry in _texts(args, "clear")),
            rebase=_texts(args, "rebase"),
            accept_residual=tuple(Symbol(entry) for entry in _texts(args, "accept_residual")),
            author=_author(args),
        )
        return result_json(await self._client.reset(request))

    async def _backup(self, args: Mapping[str, Any]) -> dict[str, Any]:
        made = await self._client.make_backup(author=_author(args), reason=_text(args, "reason"))
        return backup_json(made)

    async def _journal_list_dead(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"dead_letters": [entry._asdict() for entry in await self._client.dead_letters()]}

    async def _journal_requeue(self, args: Mapping[str, Any]) -> dict[str, Any]:
        seq = _number(args, "seq")
        result = await self._client.requeue(seq, author=_author(args), reason=_text(args, "reason"))
        if not result.ok:
            raise OperatorMessage(result.message)
        return {"ok": True, "seq": seq, "new_seq": result.number}

    async def _policy_show(self, _: Mapping[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = msgspec.to_builtins(self._client.policy())
        shown = self._client.snapshot().policy
        document["shared"] = {
            "source": shown.source,
            "age_s": shown.age_s,
            "stale": shown.stale,
            "note": shown.note,
            "conflict": conflict_json(shown.conflict),
        }
        return document

    async def _policy_history(self, _: Mapping[str, Any]) -> dict[str, Any]:
        versions = await self._client.policy_history()
        return {
            "versions": [
                {
                    "version": entry.document.version,
                    "author": entry.document.author,
                    "ts_ns": entry.document.ts_ns,
                    "reason": entry.document.reason,
                    "changes": entry.changes,
                }
                for entry in versions
            ]
        }

    async def _policy_diff(self, args: Mapping[str, Any]) -> dict[str, Any]:
        versions = {
            entry.document.version: entry.document for entry in await self._client.policy_history()
        }
        before, after = _number(args, "before"), _number(args, "after")
        for version in (before, after):
            if version not in versions:
                raise OperatorMessage(f"there is no policy version {version}")
        return {
            "before": before,
            "after": after,
            "changes": diff(versions[before], versions[after]),
        }

    async def _policy_set(self, args: Mapping[str, Any]) -> dict[str, Any]:
        changes = args.get("changes")
        if not isinstance(changes, dict) or not all(
            isinstance(value, str) for value in changes.values()
        ):
            raise OperatorMessage("changes must map field names to texts")
        base = args.get("base_version")
        base_version = (
            self._client.policy().version if base is None else _number(args, "base_version")
        )
        return result_json(
            await self._client.update_policy(
                changes,
                base_version=base_version,
                author=_author(args),
                reason=_text(args, "reason"),
            )
        )

    async def _policy_mode(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return result_json(
            await self._client.set_policy_mode(
                _text(args, "name"),
                author=_author(args),
                reason=_text(args, "reason"),
            )
        )

    async def _policy_rollback(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return result_json(
            await self._client.rollback_policy(
                _number(args, "version"),
                author=_author(args),
                reason=_text(args, "reason"),
            )
        )

    async def _policy_resolve(self, args: Mapping[str, Any]) -> dict[str, Any]:
        base = args.get("base_version")
        return result_json(
            await self._client.resolve_policy(
                _text(args, "choice"),
                base_version=None if base is None else _number(args, "base_version"),
                author=_author(args),
                reason=_text(args, "reason"),
            )
        )


__all__ = ["Verb", "Verbs", "result_json"]
