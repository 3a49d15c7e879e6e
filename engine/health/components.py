"""The health tree: each component's state, its last sign of life and its last error.

A component that promised a heartbeat and does not give one is degraded by that alone. The state of
a parent is the worst of its own and its children's. Ages in seconds of the monotonic clock. Loop
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from engine.ports.clock import Clock


class ComponentState(StrEnum):
    """How a component is, mildest first."""

    OK = "ok"
    RECOVERING = "recovering"
    DEGRADED = "degraded"
    FAILED = "failed"


class ComponentTrigger(StrEnum):
    """What moves it."""

    WORKS = "works"
    IS_LIMITED = "is_limited"
    BROKE = "broke"
    IS_RESTARTED = "is_restarted"


_S, _T = ComponentState, ComponentTrigger
TRANSITIONS: Mapping[tuple[ComponentState, ComponentTrigger], ComponentState] = {
    (state, trigger): following
    for state in ComponentState
    for trigger, following in (
        (_T.WORKS, _S.OK),
        (_T.IS_LIMITED, _S.DEGRADED),
        (_T.BROKE, _S.FAILED),
        (_T.IS_RESTARTED, _S.RECOVERING),
    )
    # What failed must be restarted before it can be merely limited.
    if (state, trigger) != (_S.FAILED, _T.IS_LIMITED)
}
_SEVERITY = {state: number for number, state in enumerate(ComponentState)}


class ComponentSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One component now. `heartbeat_age_s` is None while it has not been heard of."""

    name: str
    title: str
    parent: str
    state: ComponentState
    why: str = ""
    heartbeat_age_s: float | None = None
    last_error: str = ""
    restarts: int = 0


class _Component:
    __slots__ = (
        "beat_ns",
        "last_error",
        "parent",
        "restarts",
        "state",
        "timeout_s",
        "title",
        "why",
    )

    def __init__(self, title: str, parent: str, timeout_s: float | None) -> None:
        self.title = title
        self.parent = parent
        self.timeout_s = timeout_s
        self.state = ComponentState.OK
        self.why = ""
        self.beat_ns: int | None = None
        self.last_error = ""
        self.restarts = 0


class ComponentHealth:
    """The tree. Components are registered once, parents first."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._components: dict[str, _Component] = {}

    def register(
        self, name: str, title: str, *, parent: str = "", heartbeat_s_max: float | None = None
    ) -> None:
        """Add a component; `heartbeat_s_max` is how often it must give a sign of life."""
        if name in self._components or (parent and parent not in self._components):
            raise ValueError(f"{name}: registered twice, or before its parent {parent!r}")
        component = _Component(title, parent, heartbeat_s_max)
        component.beat_ns = self._clock.monotonic_ns() if heartbeat_s_max is not None else None
        self._components[name] = component

    def beat(self, name: str) -> None:
        """A sign of life."""
        self._components[name].beat_ns = self._clock.monotonic_ns()

    def works(self, name: str) -> None:
        """All is well."""
        self._move(name, ComponentTrigger.WORKS, "")

    def degraded(self, name: str, why: str) -> None:
        """It works in part; `why` is for the operator."""
        self._move(name, ComponentTrigger.IS_LIMITED, why)

    def failed(self, name: str, error: str) -> None:
        """It does not work."""
        self._components[name].last_error = error
        self._move(name, ComponentTrigger.BROKE, error)

    def recovering(self, name: str, why: str) -> None:
        """It is being restarted."""
        self._components[name].restarts += 1
        self._move(name, ComponentTrigger.IS_RESTARTED, why)

    def state(self, name: str) -> ComponentState:
        """The component's state with that of everything below it."""
        own, _ = self._own(name)
        below = [self.state(child) for child, c in self._components.items() if c.parent == name]
        return max([own, *below], key=_SEVERITY.__getitem__)

    def snapshot(self) -> tuple[ComponentSnapshot, ...]:
        """Every component, in the order of registration."""
        now = self._clock.monotonic_ns()
        rows = []
        for name, component in self._components.items():
            _, why = self._own(name)
            age_s = None if component.beat_ns is None else (now - component.beat_ns) / 1e9
            rows.append(
                ComponentSnapshot(
                    name=name,
                    title=component.title,
                    parent=component.parent,
                    state=self.state(name),
                    why=why,
                    heartbeat_age_s=age_s,
                    last_error=component.last_error,
                    restarts=component.restarts,
                )
            )
        return tuple(rows)

    def _own(self, name: str) -> tuple[ComponentState, str]:
        component = self._components[name]
        if component.state is ComponentState.OK and component.timeout_s is not None:
            assert component.beat_ns is not None
            age_s = (self._clock.monotonic_ns() - component.beat_ns) / 1e9
            if age_s > component.timeout_s:
                return ComponentState.DEGRADED, f"no sign of life for {age_s:.1f} s"
        return component.state, component.why

    def _move(self, name: str, trigger: ComponentTrigger, why: str) -> None:
        component = self._components[name]
        following = TRANSITIONS.get((component.state, trigger))
        if following is not None:
            component.state, component.why = following, why


__all__ = [
    "TRANSITIONS",
    "ComponentHealth",
    "ComponentSnapshot",
    "ComponentState",
    "ComponentTrigger",
]
