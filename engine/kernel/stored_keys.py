"""Exchange keys from a shell: stored in the system's keyring, forgotten, or looked for.

A secret comes in as an argument of ours and goes nowhere but into the keyring; what comes out tells
where a key is and at most how it ends. Blocks, perhaps on a person who unlocks the keyring: for the
command line, which has no loop. Fails: ConfigurationError for a name or a key that is none,
`OperatorMessage` where there is no keyring.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from engine.kernel.keyring_vault import KeyringVault
from engine.kernel.keys import (
    API_KEY_VARIABLE,
    API_SECRET_VARIABLE,
    api_key_entry,
    find_api_key,
    stored_text,
)
from engine.kernel.options import KernelOptions
from engine.model.api_key import ApiKey
from engine.model.errors import ConfigurationError, OperatorMessage, VaultUnavailable
from engine.ports import KeyCabinet

# A person at a terminal may be asked for the keyring's own password.
_UNLOCK_S = 120.0


async def exchange_key(options: KernelOptions) -> ApiKey:
    """The key of the account that an engine with these options trades; ConfigurationError."""
    name = options.configuration.venue.name
    found = await find_api_key(os.environ, KeyringVault(), name, options.account)
    return found.key


def store_api_key(
    venue: str, account: str, *, key: str, secret: str, cabinet: KeyCabinet | None = None
) -> dict[str, Any]:
    """Keep it for later starts, in the place of what was there."""
    cabinet = cabinet or KeyringVault()
    entry = api_key_entry(venue, account)
    try:
        checked = ApiKey(key=key.strip(), secret=secret.strip())
    except ValueError as error:
        raise ConfigurationError("", str(error)) from error
    try:
        cabinet.write(entry, stored_text(checked))
    except VaultUnavailable as error:
        raise _unavailable(error) from error
    return _told(venue, account, where=cabinet.name, key=checked)


def forget_api_key(
    venue: str, account: str, *, cabinet: KeyCabinet | None = None
) -> dict[str, Any]:
    """Drop it from the keyring; the environment is not ours to change."""
    cabinet = cabinet or KeyringVault()
    entry = api_key_entry(venue, account)
    try:
        forgotten = cabinet.forget(entry)
    except VaultUnavailable as error:
        raise _unavailable(error) from error
    return {"venue": venue, "account": account, "forgotten": forgotten}


def show_api_key(venue: str, account: str, *, cabinet: KeyCabinet | None = None) -> dict[str, Any]:
    """Where an engine that starts now would find the key, or why it would find none."""
    cabinet = cabinet or KeyringVault()
    api_key_entry(venue, account)
    try:
        found = asyncio.run(find_api_key(os.environ, cabinet, venue, account, wait_s=_UNLOCK_S))
    except ConfigurationError as error:
        return {"venue": venue, "account": account, "found": False, "why": str(error)}
    return _told(venue, account, where=found.why.removeprefix("from "), key=found.key)


def _told(venue: str, account: str, *, where: str, key: ApiKey) -> dict[str, Any]:
    return {
        "venue": venue,
        "account": account,
        "found": True,
        "where": where,
        "key_ends_with": key.ends_with,
    }


def _unavailable(error: VaultUnavailable) -> OperatorMessage:
    return OperatorMessage(
        f"{error}; where there is no keyring, set {API_KEY_VARIABLE} and {API_SECRET_VARIABLE}"
        " for the engine instead"
    )


__all__ = ["exchange_key", "forget_api_key", "show_api_key", "store_api_key"]
