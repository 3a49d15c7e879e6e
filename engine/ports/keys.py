"""The key vault port: where secrets are kept outside every file of ours.

Why a port: on a desktop it is the operating system's keyring, whose library must stay at one place,
and a test brings a vault of its own. Fails: `VaultUnavailable` says in words why there is none.
"""

from __future__ import annotations

from typing import Protocol


class KeyVault(Protocol):
    """Holds secrets by name."""

    @property
    def name(self) -> str:
        """Shown as where a key came from, e.g. `the operating system's keyring`."""
        ...

    def read(self, entry: str) -> str | None:
        """The secret of an entry, or None when there is none. Blocks, perhaps on a person who is
        asked to unlock the vault: never on the loop. Raises VaultUnavailable.
        """
        ...


__all__ = ["KeyVault"]
