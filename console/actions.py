"""Actions as data: id, title, keys, when enabled, how much confirmation.

Shortcuts, the rail and the documentation are made from this list; the window binds each id to
what it does. The two stop chords are listed to be documented, but are caught by the application's
filter, never by a shortcut, and cannot be changed. No trading action sits on an unmodified key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from console.viewmodels.entries import may_switch_reduce_only_on
from console.viewmodels.freshness import Engine
from engine.model.snapshots import EngineState

__all__ = ["ACTIONS", "Action", "Confirm"]


class Confirm(Enum):
    """How much an action asks before it acts."""

    NONE = "at once"
    HOLD = "hold 1.5 s"
    SHEET = "a sheet in the page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing an operator can do."""

    id: str
    title: str
    keys: tuple[str, ...]
    confirm: Confirm = Confirm.NONE
    is_enabled: Callable[[Engine | None], bool] = lambda engine: True
    is_fixed: bool = False


def _may_hold(engine: Engine | None) -> bool:
    return engine is not None and engine.snapshot.state is EngineState.RUNNING


def _may_reduce(engine: Engine | None) -> bool:
    return engine is not None and may_switch_reduce_only_on(engine.snapshot)


def _is_latched(engine: Engine | None) -> bool:
    return engine is not None and engine.snapshot.emergency.latched


ACTIONS: Final = (
    Action(
        id="stop",
        title="EMERGENCY STOP",
        keys=("Ctrl+Shift+F12", "Ctrl+Pause"),
        is_fixed=True,
    ),
    Action(id="page.overview", title="Overview", keys=("Alt+1",)),
    Action(id="page.orders", title="Orders", keys=("Alt+2",)),
    Action(id="page.policy", title="Policy", keys=("Alt+3",)),
    Action(id="page.alarms", title="Alarms", keys=("Alt+4",)),
    Action(id="page.health", title="Health", keys=("Alt+8",)),
    Action(id="entries.hold", title="Hold entries", keys=("Ctrl+H",), is_enabled=_may_hold),
    Action(
        id="reduce_only.on",
        title="Reduce only: exits and nothing else",
        keys=("Ctrl+R",),
        is_enabled=_may_reduce,
    ),
    Action(
        id="reset.open",
        title="Open the reset sheet",
        keys=("Ctrl+Shift+R",),
        confirm=Confirm.SHEET,
        is_enabled=_is_latched,
    ),
    Action(id="policy.apply", title="Apply the checked draft", keys=("Ctrl+Return", "Ctrl+Enter")),
    Action(id="theme.switch", title="Switch theme", keys=("Ctrl+L",)),
    Action(id="region.next", title="Next region", keys=("F6",)),
    Action(id="region.previous", title="Previous region", keys=("Shift+F6",)),
    Action(id="window.close", title="Close the window", keys=("Ctrl+Q",), confirm=Confirm.SHEET),
)
