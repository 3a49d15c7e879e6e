"""Where the desk key and an exchange's key come from: the environment, else the system's keyring.

Never from the configuration file, and never into a log, the journal, Redis or the database. The
environment wins, so that a headless engine never asks a keyring. A keyring may take as long as a
person who is asked to unlock it: it is read on a thread of its own and waited for a few seconds of
real time, also where the engine's time is simulated. Without a desk key the engine runs, and
refuses what has to be signed: `why` says so in words. Without an exchange's key there is no account
to act on: ConfigurationError says what to set.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from engine.model.api_key import ApiKey
from engine.model.desk_key import DeskKey
from engine.model.errors import ConfigurationError, VaultUnavailable
from engine.ports.keys import KeyVault

DESK_KEY_VARIABLE = "SEAWALL_DESK_KEY"
DESK_KEY_ENTRY = "desk-key"
API_KEY_VARIABLE = "SEAWALL_API_KEY"
API_SECRET_VARIABLE = "SEAWALL_API_SECRET"
VAULT_WAIT_S = 5.0
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class FoundKey:
    """The desk key, or none; `why` says where it came from, or why there is none."""

    key: DeskKey
    why: str


@dataclass(frozen=True, slots=True)
class FoundApiKey:
    """An exchange's key; `why` says where it came from."""

    key: ApiKey
    why: str


def read_desk_key(environment: Mapping[str, str]) -> DeskKey:
    """The desk key, or none; ConfigurationError names the variable and never quotes it."""
    return _checked(environment.get(DESK_KEY_VARIABLE, ""), DESK_KEY_VARIABLE)


async def find_desk_key(
    environment: Mapping[str, str], vault: KeyVault, *, wait_s: float = VAULT_WAIT_S
) -> FoundKey:
    """Look in both places; ConfigurationError when a key is there and no good."""
    key = read_desk_key(environment)
    if key:
        return FoundKey(key, f"from {DESK_KEY_VARIABLE}")
    nowhere = f"none in {DESK_KEY_VARIABLE}"
    try:
        text = await _read(vault, DESK_KEY_ENTRY, wait_s)
    except VaultUnavailable as error:
        return FoundKey(DeskKey(""), f"{nowhere}, and {error}")
    key = _checked(text or "", f"{DESK_KEY_ENTRY} in {vault.name}")
    if not key:
        return FoundKey(key, f"{nowhere} and none in {vault.name}")
    return FoundKey(key, f"from {vault.name}")


def _checked(text: str, where: str) -> DeskKey:
    try:
        return DeskKey(text)
    except ValueError as error:
        raise ConfigurationError(where, str(error)) from error


def api_key_entry(venue: str, account: str) -> str:
    """The vault's entry for an account of an exchange; ConfigurationError for what is no name."""
    for field, text in (("venue", venue), ("account", account)):
        if not _NAME.fullmatch(text):
            raise ConfigurationError(
                field, f"must be letters, digits, '.', '_' or '-', at most 64, not {text!r}"
            )
    return f"api-key/{venue}/{account}"


def stored_text(key: ApiKey) -> str:
    """What a vault keeps of a key: one text, so that never half of it is there."""
    return msgspec.json.encode({"key": key.key, "secret": key.secret}).decode()


async def find_api_key(
    environment: Mapping[str, str],
    vault: KeyVault,
    venue: str,
    account: str,
    *,
    wait_s: float = VAULT_WAIT_S,
) -> FoundApiKey:
    """The key for an account of an exchange. ConfigurationError names what to set when there is
    none or it is no good, and quotes nothing of it.
    """
    entry = api_key_entry(venue, account)
    key = _api_key_of(environment)
    if key is not None:
        return FoundApiKey(key, f"from {API_KEY_VARIABLE} and {API_SECRET_VARIABLE}")
    try:
        text = await _read(vault, entry, wait_s)
    except VaultUnavailable as error:
        raise _missing(venue, account, str(error)) from error
    if not text:
        raise _missing(venue, account, f"none in {vault.name}")
    return FoundApiKey(_unpacked(text, f"{entry} in {vault.name}"), f"from {vault.name}")


def _api_key_of(environment: Mapping[str, str]) -> ApiKey | None:
    key = environment.get(API_KEY_VARIABLE, "").strip()
    secret = environment.get(API_SECRET_VARIABLE, "").strip()
    if not key and not secret:
        return None
    if not key or not secret:
        there, missing = (
            (API_KEY_VARIABLE, API_SECRET_VARIABLE)
            if key
            else (API_SECRET_VARIABLE, API_KEY_VARIABLE)
        )
        raise ConfigurationError(missing, f"is empty, and {there} is set: both are needed")
    try:
        return ApiKey(key=key, secret=secret)
    except ValueError as error:
        raise ConfigurationError(
            f"{API_KEY_VARIABLE}, {API_SECRET_VARIABLE}", str(error)
        ) from error


def _unpacked(text: str, where: str) -> ApiKey:
    try:
        stored = msgspec.json.decode(text, type=dict[str, str])
        return ApiKey(key=stored["key"], secret=stored["secret"])
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        words = "does not hold a key and a secret; store it again with `seawall keys set`"
        raise ConfigurationError(where, words) from error


def _missing(venue: str, account: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        "",
        f"there is no API key for {venue}, account {account}: none in {API_KEY_VARIABLE} and"
        f" {API_SECRET_VARIABLE}, and {why}; set both variables, or store it with"
        f" `seawall keys set {venue} {account}`",
    )


async def _read(vault: KeyVault, entry: str, wait_s: float) -> str | None:
    """Off the loop. Who does not answer in time is left behind on a thread that ends with us."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[str | None] = loop.create_future()

    def tell(text: str | None, error: BaseException | None) -> None:
        if answered.done():
            return
        if error is None:
            answered.set_result(text)
        else:
            answered.set_exception(error)

    def say(text: str | None, error: BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, text, error)

    def ask() -> None:
        text: str | None = None
        error: VaultUnavailable | None = VaultUnavailable(f"{vault.name} failed; the log says how")
        try:
            text, error = vault.read(entry), None
        except VaultUnavailable as refused:
            error = refused
        finally:
            say(text, error)

    late = VaultUnavailable(f"{vault.name} did not answer within {wait_s:g} s; is it locked?")
    # Real time whatever the loop's own is: the keyring is real.
    limit = threading.Timer(wait_s, say, (None, late))
    limit.daemon = True
    limit.start()
    threading.Thread(target=ask, name="key-vault", daemon=True).start()
    try:
        return await answered
    finally:
        limit.cancel()


__all__ = [
    "API_KEY_VARIABLE",
    "API_SECRET_VARIABLE",
    "DESK_KEY_ENTRY",
    "DESK_KEY_VARIABLE",
    "FoundApiKey",
    "FoundKey",
    "api_key_entry",
    "find_api_key",
    "find_desk_key",
    "read_desk_key",
    "stored_text",
]
