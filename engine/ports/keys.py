"""The key vault ports: where secrets are kept outside every file of ours. The engine only reads;
what an operator stores or forgets goes through the command line.

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


class KeyCabinet(KeyVault, Protocol):
    """A vault that an operator may fill. Both block, perhaps on a person, and raise
    VaultUnavailable.
    """

    def write(self, entry: str, text: str) -> None:
        """Keep a secret under a name, in the place of what was there."""
        ...

    def forget(self, entry: str) -> bool:
        """Drop a secret; False when there was none."""
        ...


__all__ = ["KeyCabinet", "KeyVault"]
