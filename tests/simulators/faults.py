"""What a simulator does wrong on request: rules that say what, on what, how often; seeded.

A rule applies to one kind of thing: requests (`on` matches `POST /fapi/v1/order`), pushes (`on`
matches the event's name, `ORDER_TRADE_UPDATE`), or nothing but the moment it is injected. `skip`
lets so many pass first, `times` uses it up (null: never), `probability` draws from the seed.
Rules come as JSON, so an unknown key or kind is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from engine.runtime import Chance


class Fault(StrEnum):
    """Everything that can go wrong."""

    # Requests. BEFORE never took effect, AFTER did; the client cannot tell.
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    # `answer` names one of the dialect's error answers; `took_effect` says whether it is true.
    ERROR = "error"
    SLOW = "slow"
    MALFORMED_ANSWER = "malformed_answer"
    RATE_LIMITED = "rate_limited"
    BANNED = "banned"
    # One item of a batch fails; asked once for each item.
    BATCH_ITEM = "batch_item"
    # The order that the request makes meets the book only `seconds` later.
    LATE_FILL = "late_fill"
    # The order that the request makes cannot be queried or cancelled for `seconds`.
    HIDDEN = "hidden"
    # Pushes.
    DUPLICATE = "duplicate"
    GAP = "gap"
    REORDER = "reorder"
    DELAY = "delay"
    MALFORMED_FRAME = "malformed_frame"
    CUT_ON_PUSH = "cut_on_push"
    # At once.
    CLOCK_SKEW = "clock_skew"
    EXPIRE_LISTEN_KEY = "expire_listen_key"
    CUT_STREAMS = "cut_streams"
    SILENCE = "silence"


REQUEST_FAULTS = frozenset(
    {
        Fault.TIMEOUT_BEFORE,
        Fault.TIMEOUT_AFTER,
        Fault.DROP_BEFORE,
        Fault.DROP_AFTER,
        Fault.ERROR,
        Fault.SLOW,
        Fault.MALFORMED_ANSWER,
        Fault.RATE_LIMITED,
        Fault.BANNED,
    }
)
PUSH_FAULTS = frozenset(
    {
        Fault.DUPLICATE,
        Fault.GAP,
        Fault.REORDER,
        Fault.DELAY,
        Fault.MALFORMED_FRAME,
        Fault.CUT_ON_PUSH,
    }
)
IMMEDIATE_FAULTS = frozenset(
    {Fault.CLOCK_SKEW, Fault.EXPIRE_LISTEN_KEY, Fault.CUT_STREAMS, Fault.SILENCE}
)


class FaultRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One rule; `seconds` is a wait, a ban, an offset or a silence, as the kind has it."""

    kind: Fault
    on: str = "*"
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    seconds: float = 0.0
    answer: str = ""
    took_effect: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be 0 to 1")
        if self.skip < 0 or (self.times is not None and self.times < 1):
            raise ValueError("skip must not be below 0, times not below 1")
        if self.kind is Fault.ERROR and not self.answer:
            raise ValueError("an error needs the name of its answer")
        if self.seconds < 0 and self.kind is not Fault.CLOCK_SKEW:
            raise ValueError("seconds must not be below 0")


def read_rules(document: bytes | str) -> list[FaultRule]:
    """Read one rule or a list of them; raises ValueError that says what is wrong."""
    try:
        read = msgspec.json.decode(document, type=list[FaultRule] | FaultRule)
    except msgspec.DecodeError as error:
        raise ValueError(f"fault rules: {error}") from error
    return read if isinstance(read, list) else [read]


class Faults:
    """The rules in force, and a count of what was done wrong."""

    def __init__(
        self, *, seed: int, on_done: Callable[[FaultRule, str], None] = lambda rule, subject: None
    ) -> None:
        """`on_done` hears each rule that is played, and on what."""
        self._chance = Chance(seed=seed, name="faults")
        self._on_done = on_done
        self._rules: list[FaultRule] = []
        self.done: dict[str, int] = {}

    def add(self, rules: Iterable[FaultRule]) -> None:
        # Copies, because a rule counts itself down.
        self._rules += [msgspec.structs.replace(rule) for rule in rules]

    def clear(self) -> None:
        self._rules.clear()

    @property
    def pending(self) -> int:
        """How many rules are still in force."""
        return len(self._rules)

    def take(self, kinds: Iterable[Fault], subject: str) -> FaultRule | None:
        """The first rule of these kinds that applies to the subject now, and use it up once."""
        wanted = frozenset(kinds)
        for rule in self._rules:
            if rule.kind not in wanted or not fnmatchcase(subject, rule.on):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            if rule.probability < 1 and self._chance.random() >= rule.probability:
                continue
            if rule.times is not None:
                rule.times -= 1
                if not rule.times:
                    self._rules.remove(rule)
            self.note(rule, subject)
            return rule
        return None

    def note(self, rule: FaultRule, subject: str) -> None:
        self.done[rule.kind.value] = self.done.get(rule.kind.value, 0) + 1
        self._on_done(rule, subject)


__all__ = [
    "IMMEDIATE_FAULTS",
    "PUSH_FAULTS",
    "REQUEST_FAULTS",
    "Fault",
    "FaultRule",
    "Faults",
    "read_rules",
]
