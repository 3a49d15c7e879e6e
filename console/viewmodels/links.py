"""Links: one row a link with its word (console.md 2.2), its age or detail, and its cause.

A calm row is one line; one that is not well says why in a second line, in plain words. The policy
has a row of its own: where it was confirmed last and how long ago.
Why the rows are remembered: not every link measures for how long it has been down, so the time of
the change is kept here, on the engine's clock. Ages are seconds.
"""

from dataclasses import dataclass
from typing import Final

from console.viewmodels.appearance import ChipState, Glyph, Tone
from console.viewmodels.formatting import age, duration, grouped
from console.viewmodels.freshness import Engine, Freshness
from console.viewmodels.movement import Movement
from engine.model.limits import POLICY_STALE_AFTER_S
from engine.model.snapshots import (
    DeadManSnapshot,
    LinkSnapshot,
    LinkState,
    PolicySnapshot,
    RedisSnapshot,
)

__all__ = ["LinkRow", "LinksViewModel", "link_chip", "policy_chip", "replay_fraction"]

_RECONNECTED: Final = "reconnected"
_NOT_THERE: Final = (LinkState.DOWN, LinkState.CONNECTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow:
    """One link. A calm row is plain text, an abnormal one a chip with its cause below.

    ``progress`` is how much of a replay is done, a fraction, or None.
    """

    name: str
    title: str
    chip: ChipState
    detail: str
    cause: str
    progress: float | None = None


def _is_slow(link: LinkSnapshot) -> bool:
    """Up, and its last sign of life is older than it should be."""
    if link.slow_after_s is None or link.age_s is None:
        return False
    return link.state is LinkState.UP and link.age_s > link.slow_after_s


def link_chip(link: LinkSnapshot, *, down_s: float | None, remaining: int = 0) -> ChipState:
    """The one word for a link's state, with its figure."""
    if link.state is LinkState.DISABLED:
        return ChipState(text="OFF BY POLICY", tone=Tone.QUIET)
    if link.state is LinkState.REPLAYING:
        return ChipState(text=f"REPLAYING {grouped(str(remaining))} left", tone=Tone.HIGH)
    if link.state is LinkState.UP:
        return ChipState(text="SLOW", tone=Tone.LOW) if _is_slow(link) else ChipState(text="UP")
    if not link.was_up:
        tone = Tone.CRITICAL if link.state is LinkState.DOWN else Tone.HIGH
        return ChipState(text="NEVER CONNECTED", tone=tone)
    if link.state is LinkState.CONNECTING:
        return ChipState(text=f"RECONNECTING {max(1, link.tries)}", tone=Tone.HIGH)
    return ChipState(text=f"DOWN {duration(down_s or 0.0)}", tone=Tone.CRITICAL)


def policy_chip(policy: PolicySnapshot) -> ChipState:
    """Whether its authority has confirmed the policy lately, and to one side only."""
    if policy.conflict is not None:
        return ChipState(text="CONFLICT", tone=Tone.HIGH)
    if policy.stale or policy.age_s > POLICY_STALE_AFTER_S:
        return ChipState(text=f"STALE {duration(policy.age_s)}", tone=Tone.HIGH)
    return ChipState(text="CONFIRMED")


def replay_fraction(redis: RedisSnapshot) -> float | None:
    """How much of the replay under way has been sent; None when there is none."""
    if redis.state is not LinkState.REPLAYING or redis.replay_total <= 0:
        return None
    return min(1.0, max(0.0, 1.0 - redis.replay_remaining / redis.replay_total))


class LinksViewModel:
    """Makes the rows of the links panel."""

    def __init__(self) -> None:
        self._since_s: dict[str, tuple[LinkState, float]] = {}
        self._replay = Movement(window_s=5.0, span_min_s=0.4)

    def present(self, engine: Engine) -> tuple[LinkRow, ...]:
        """The rows, the engine's own answer first."""
        own = LinkRow(
            name="engine",
            title="Engine",
            chip=ChipState(text="SILENT", tone=Tone.CRITICAL)
            if engine.is_silent
            else ChipState(text="UP"),
            detail=age(engine.silent_s),
            cause="it does not answer; nothing below is current" if engine.is_silent else "",
        )
        policy = engine.snapshot.policy
        rows = (
            *(self._row(link, engine) for link in engine.snapshot.links),
            _policy_row(policy),
            *_dead_man_rows(engine.snapshot.dead_man),
        )
        if engine.is_silent:
            rows = tuple(_stale(row, engine) for row in rows)
        return (own, *rows)

    def _row(self, link: LinkSnapshot, engine: Engine) -> LinkRow:
        now_s = engine.snapshot.monotonic_ns / 1e9
        state, since_s = self._since_s.get(link.name, (link.state, now_s))
        if state is not link.state or since_s > now_s:
            since_s = now_s
        self._since_s[link.name] = (link.state, since_s)
        down_s = link.down_s if link.down_s is not None else now_s - since_s
        redis = engine.snapshot.redis
        is_replaying = link.state is LinkState.REPLAYING
        detail = _detail(link)
        if is_replaying:
            self._replay.add(now_s, float(redis.replay_remaining))
            detail = self._replay_words()
        elif link.name == "redis":
            self._replay.restart()
        return LinkRow(
            name=link.name,
            title=link.title,
            chip=link_chip(link, down_s=down_s, remaining=redis.replay_remaining),
            detail=detail,
            cause=_cause(link),
            progress=replay_fraction(redis) if is_replaying else None,
        )

    def _replay_words(self) -> str:
        left_s = self._replay.seconds_until(0.0)
        return f"done in {duration(max(1.0, left_s))}" if left_s else ""


def _cause(link: LinkSnapshot) -> str:
    if link.state is LinkState.UP:
        return f"its last answer is {age(link.age_s)} old" if _is_slow(link) else ""
    if link.state in _NOT_THERE and link.tries > 0:
        return f"{link.cause} (try {link.tries})" if link.cause else f"try {link.tries}"
    # That it is there again is what the word above says.
    return "" if link.cause == _RECONNECTED else link.cause


def _detail(link: LinkSnapshot) -> str:
    if link.state is LinkState.DISABLED:
        return ""
    if link.state in _NOT_THERE:
        # How old the last answer is says the same as for how long it has been down.
        return "" if link.detail.startswith("lag") else link.detail
    if link.state is LinkState.REPLAYING:
        return ""
    lead = "" if not link.detail or link.detail.startswith("lag") else f"{link.detail}, "
    return link.detail if not lead and link.detail else f"{lead}{age(link.age_s)}"


def _dead_man_rows(state: DeadManSnapshot | None) -> tuple[LinkRow, ...]:
    """The venue's own switch, in words of its own: it is for orders and closes no position."""
    if state is None:
        return ()
    chip, detail, cause = ChipState(text="ORDERS ONLY"), "", ""
    if state.why_not:
        chip, cause = ChipState(text="NOT TO BE HAD", tone=Tone.LOW), state.why_not
    elif state.failed:
        chip, cause = ChipState(text="NOT WOUND", tone=Tone.HIGH), state.failed
    elif state.held_off:
        names = ", ".join(state.held_off)
        cause = f"entries in {names} are not covered: it could take a stop along"
    if state.armed:
        detail = f"{', '.join(state.armed)}, {age(state.renewed_age_s)}"
    elif not cause:
        detail = "no entry rests"
    return (LinkRow(name="dead_man", title="Dead-man", chip=chip, detail=detail, cause=cause),)


def _policy_row(policy: PolicySnapshot) -> LinkRow:
    chip = policy_chip(policy)
    cause = ""
    if policy.conflict is not None:
        count = len(policy.conflict.fields)
        fields = "one field" if count == 1 else f"{count} fields"
        cause = f"{fields} changed on both sides; the stricter holds"
    elif chip.tone is not Tone.NEUTRAL:
        cause = "the last good copy is in force"
    return LinkRow(
        name="policy",
        title="Policy",
        chip=chip,
        detail=f"{policy.source}, {age(policy.age_s)}",
        cause=cause,
    )


def _stale(row: LinkRow, engine: Engine) -> LinkRow:
    """What a silent engine said last is no longer current, whatever it was (R32)."""
    word = "NO DATA" if engine.freshness is Freshness.NO_DATA else f"old {age(engine.silent_s)}"
    return LinkRow(
        name=row.name,
        title=row.title,
        chip=ChipState(text=word, tone=Tone.QUIET, glyph=Glyph.QUESTION),
        detail="",
        cause="",
    )
