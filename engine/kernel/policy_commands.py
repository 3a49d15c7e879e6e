"""Changes of the policy as commands: refusals become answers with every wrong field."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from engine.api import CommandResult, PolicyVersion
from engine.kernel.parts import Parts
from engine.model.errors import PolicyConflict, PolicyInvalid, StoreError
from engine.model.policy import PolicyDocument

Answer = Callable[[], CommandResult]


class PolicyCommands:
    """check, update, mode, rollback, resolve, history. `answer` makes a result with the state."""

    def __init__(self, *, parts: Parts, answer: Answer) -> None:
        self._policy = parts.policy
        self._answer = answer

    async def check(self, changes: Mapping[str, str]) -> CommandResult:
        """Validate without storing."""
        try:
            self._policy.check(changes)
        except PolicyInvalid as error:
            return self._refusal(str(error), problems=error.problems)
        return self._answer()

    async def update(
        self, changes: Mapping[str, str], *, base_version: int, author: str, reason: str
    ) -> CommandResult:
        return await self._apply(
            self._policy.update(changes, base_version=base_version, author=author, reason=reason)
        )

    async def set_mode(self, name: str, *, author: str, reason: str) -> CommandResult:
        return await self._apply(self._policy.set_mode(name, author=author, reason=reason))

    async def rollback(self, version: int, *, author: str, reason: str) -> CommandResult:
        return await self._apply(self._policy.rollback(version, author=author, reason=reason))

    async def resolve(
        self, choice: str, *, base_version: int | None, author: str, reason: str
    ) -> CommandResult:
        return await self._apply(
            self._policy.resolve(choice, base_version=base_version, author=author, reason=reason)
        )

    async def history(self) -> tuple[PolicyVersion, ...]:
        return await self._policy.history()

    async def _apply(self, change: Awaitable[PolicyDocument]) -> CommandResult:
        try:
            document = await change
        except PolicyInvalid as error:
            return self._refusal(str(error), problems=error.problems)
        except PolicyConflict as error:
            answer = self._refusal(str(error), problems={})
            return msgspec.structs.replace(
                answer, conflict=True, conflict_fields=error.fields, version=error.current_version
            )
        except StoreError as error:
            return self._refusal(f"the policy could not be stored: {error}", problems={})
        answer = self._answer()
        return msgspec.structs.replace(
            answer, message=f"policy v{document.version} is in force", version=document.version
        )

    def _refusal(self, message: str, *, problems: dict[str, str]) -> CommandResult:
        return msgspec.structs.replace(self._answer(), ok=False, message=message, problems=problems)


__all__ = ["PolicyCommands"]
