"""The connection for what the desk shares: policy, trips and clearings, and who changed them.

One object over all sessions of the link, so that whoever needs the desk need not know when there is
one. One request at a time, in the order of the calls; a replay on its own connection never holds
one up. Loop only. Fails: LINK_FAULTS to the caller, at once when Redis is away; nothing is repeated
here. A request whose answer was lost may have had its effect: every script that is sent must
bear to be sent again.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from engine.redis_link.faults import LinkFault
from engine.redis_link.node_stream import Command

# Whoever changes what the desk shares appends a line here, in the same script: `topic`, `node`.
CHANGES_KEY: Final = "seawall:changes"
CHANGES_MAX: Final = 1_000


class DeskConnection:
    """Call it like `execute_command`."""

    def __init__(self) -> None:
        self._command: Command | None = None
        self._turn = asyncio.Lock()

    @property
    def is_there(self) -> bool:
        """Whether a session holds a connection now."""
        return self._command is not None

    def attach(self, command: Command) -> None:
        """A session begins."""
        self._command = command

    def detach(self) -> None:
        """The session ended; what still waits for an answer fails by itself."""
        self._command = None

    async def __call__(self, *arguments: Any) -> Any:
        """Send one command and give its answer as the client reads it; raises LINK_FAULTS."""
        async with self._turn:
            if self._command is None:
                raise LinkFault("Redis is away")
            return await self._command(*arguments)


__all__ = ["CHANGES_KEY", "CHANGES_MAX", "DeskConnection"]
