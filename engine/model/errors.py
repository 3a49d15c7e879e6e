"""The errors of the engine, one tree:

    EngineError
    ├── ConfigurationError      a setting is wrong; names the field and what would be right
    ├── Denied                  we refused it ourselves, before anything was sent
    ├── BusSaturated            the event queue is full; nothing was queued
    ├── StoreError              the database could not do it; the state is as before
    │   ├── SchemaTooNew        a newer Seawall wrote this database
    │   └── DatabaseCorrupt     its integrity check failed; never an empty start instead
    ├── DataDirectoryInUse      another engine holds the lock of this data directory
    ├── VenueError
    │   ├── Refused             the venue proved that it did not happen; final
    │   ├── NotExecuted         did not happen and may be tried again (`retry_after_s`)
    │   └── OutcomeUnknown      sent, no answer: it may have happened; ask, never assume
    ├── VaultUnavailable        the key vault cannot be asked; in words, and never a secret
    ├── BridgeDown              Redis is away; nothing is lost, it is in the journal
    ├── PolicyInvalid           every wrong field with its reason
    ├── PolicyConflict          somebody changed the policy meanwhile; carries theirs
    ├── CommandKnown            this command had its effect before; nothing was done again
    └── InvariantBroken         a programmer's error; the gate shuts, exits go on

`OperatorMessage` is what a person may be shown: plain words, no traceback.
"""

from __future__ import annotations

from collections.abc import Mapping


class EngineError(Exception):
    """Root of everything the engine raises on purpose."""


class ConfigurationError(EngineError):
    """A setting is wrong. `field` is its dotted name, the message says what would be right."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


class Denied(EngineError):
    """We refused it before anything was sent. `reason_codes` hold `ReasonCode` values."""

    def __init__(self, reason_codes: tuple[str, ...], detail: str) -> None:
        super().__init__(detail)
        self.reason_codes = reason_codes


class BusSaturated(EngineError):
    """The event queue is full and this event was not queued."""


class StoreError(EngineError):
    """The database could not do it; nothing of the job was applied."""


class SchemaTooNew(StoreError):
    """The database was written by a newer Seawall."""


class DatabaseCorrupt(StoreError):
    """The integrity check failed; the message carries its findings."""


class DataDirectoryInUse(EngineError):
    """Another engine holds the lock of this data directory."""


class VenueError(EngineError):
    """Something at a venue went wrong; the subclasses say what is known of the outcome."""


class Refused(VenueError):
    """The venue proved that it did not happen and never will. `code` is the venue's own."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class NotExecuted(VenueError):
    """It did not happen and may be tried again, not before `retry_after_s`."""

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(VenueError):
    """It was sent and no answer came: it may have happened. Look it up; never assume."""


class BridgeDown(EngineError):
    """Redis is away. Nothing is lost: the events are in the journal."""


class VaultUnavailable(EngineError):
    """The key vault cannot be asked. The message says why and never holds a secret."""


class PolicyInvalid(EngineError):
    """The policy was refused; `problems` maps each wrong field to its reason."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {why}" for field, why in problems.items()))
        self.problems = problems


class PolicyConflict(EngineError):
    """Somebody changed the policy since the version this change was based on.

    `fields` maps each field in which not all agree to (base, theirs, mine). `is_kept`: both changes
    were made in the same moment on two nodes, and both are kept until a person resolves it.
    """

    def __init__(
        self,
        base_version: int,
        current_version: int,
        fields: Mapping[str, tuple[str, str, str]] | None = None,
        *,
        is_kept: bool = False,
    ) -> None:
        super().__init__(
            f"the policy was changed on two nodes in the same moment: both changes are kept, and in"
            f" version {current_version} the stricter value of each field holds until it is"
            " resolved"
            if is_kept
            else f"the policy is at version {current_version},"
            f" this change was based on {base_version}"
        )
        self.base_version = base_version
        self.current_version = current_version
        self.fields = dict(fields or {})
        self.is_kept = is_kept


class CommandKnown(EngineError):
    """A command from the bus had its effect before; nothing of it was done again."""


class InvariantBroken(EngineError):
    """A programmer's error was caught in the act; no new risk is taken until a person has
    looked.
    """


class OperatorMessage(Exception):
    """Safe to show to a person: says what, why and what to do."""


def require(condition: bool, what: str) -> None:
    """Assertion that survives `python -O`; raises InvariantBroken with `what`."""
    if not condition:
        raise InvariantBroken(what)


__all__ = [
    "BridgeDown",
    "BusSaturated",
    "CommandKnown",
    "ConfigurationError",
    "DataDirectoryInUse",
    "DatabaseCorrupt",
    "Denied",
    "EngineError",
    "InvariantBroken",
    "NotExecuted",
    "OperatorMessage",
    "OutcomeUnknown",
    "PolicyConflict",
    "PolicyInvalid",
    "Refused",
    "SchemaTooNew",
    "StoreError",
    "VaultUnavailable",
    "VenueError",
    "require",
]
