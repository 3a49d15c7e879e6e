"""The operating system's keyring as key vault (Secret Service, Credential Locker, Keychain).

The library is imported where it is used, because that alone takes a quarter of a second. A machine
without a keyring is nothing unusual (a server, a container): VaultUnavailable, in words. Blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.model.errors import VaultUnavailable

KEYRING_SERVICE = "seawall"


class KeyringVault:
    """Implements `KeyCabinet`."""

    name = "the operating system's keyring"

    def read(self, entry: str) -> str | None:
        """What `write`, or `keyring set seawall ENTRY`, stored."""
        with _in_words():
            # Slow to import, and not needed by an engine that has its key from the environment.
            import keyring

            return keyring.get_password(KEYRING_SERVICE, entry)

    def write(self, entry: str, text: str) -> None:
        """Store it, in the place of what was there."""
        with _in_words():
            import keyring

            keyring.set_password(KEYRING_SERVICE, entry, text)

    def forget(self, entry: str) -> bool:
        """Drop it; False when there was none."""
        if self.read(entry) is None:
            return False
        with _in_words():
            import keyring

            keyring.delete_password(KEYRING_SERVICE, entry)
        return True


@contextmanager
def _in_words() -> Iterator[None]:
    """What the library raises, as VaultUnavailable."""
    import keyring.errors

    try:
        yield
    except keyring.errors.NoKeyringError as error:
        raise VaultUnavailable("there is no keyring on this machine") from error
    except keyring.errors.KeyringError as error:
        # What a backend says may name the entry; it never quotes the secret.
        raise VaultUnavailable(f"the keyring did not open: {error}") from error
    except OSError as error:  # A session bus that is gone.
        raise VaultUnavailable(f"the keyring does not answer: {error}") from error


__all__ = ["KEYRING_SERVICE", "KeyringVault"]
