"""Commands to the engine: sent once, shown as pending, answered in words.

Why here: a button may not change the screen by itself. It sends, the message line says that it
was sent, and the screen changes when the engine's snapshot says so (commands up, state down).
Thread: GUI loop. Fails: a refusal is a result and is told with every unmet condition; an
exception is reported by the task guard.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from PySide6.QtCore import QObject, Signal

from console.messages import OperatorMessages
from console.qt.tasks import ConsoleTasks
from console.viewmodels.conditions import condition_words
from engine.api import CommandResult

__all__ = ["CommandDesk", "refusal_words"]


class CommandDesk(QObject):
    """Sends commands and remembers which are pending."""

    pending_changed = Signal()
    answered = Signal(str)

    def __init__(self, *, tasks: ConsoleTasks, messages: OperatorMessages) -> None:
        super().__init__()
        self._tasks = tasks
        self._messages = messages
        self._pending: set[str] = set()

    def say(self, text: str) -> None:
        """Put words on the message line."""
        self._messages.say(text)

    def is_pending(self, key: str) -> bool:
        """Whether ``key`` was sent and not yet answered."""
        return key in self._pending

    def send(
        self,
        key: str,
        title: str,
        call: Callable[[], Coroutine[Any, Any, CommandResult]],
        *,
        on_result: Callable[[CommandResult], None] | None = None,
    ) -> None:
        """Send unless the same command is still pending."""
        if key in self._pending:
            return
        self._pending.add(key)
        self._messages.say(f"{title}: sent, waiting for the engine")
        self.pending_changed.emit()
        self._tasks.spawn(f"command {key}", self._carry(key, title, call, on_result))

    async def _carry(
        self,
        key: str,
        title: str,
        call: Callable[[], Coroutine[Any, Any, CommandResult]],
        on_result: Callable[[CommandResult], None] | None,
    ) -> None:
        try:
            result = await call()
        finally:
            self._pending.discard(key)
            self.pending_changed.emit()
        if result.ok:
            self._messages.say(f"{title}: {result.message or 'done'}")
        else:
            self._messages.fail(f"{title} refused: {refusal_words(result)}")
        if on_result is not None:
            on_result(result)
        self.answered.emit(key)


def refusal_words(result: CommandResult) -> str:
    """Why a command was refused, in one line."""
    reasons = [result.message] if result.message else []
    reasons += [
        condition.why or condition_words(condition.condition)
        for condition in result.unmet
        if not condition.met
    ]
    reasons += [f"{field}: {why}" for field, why in result.problems.items()]
    reasons += [f"{one.code.replace('_', ' ')}: {one.detail}" for one in result.reasons]
    return "; ".join(reasons) or "the engine gave no reason"
