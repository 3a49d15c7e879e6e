"""Where the desk key comes from: the environment, else the operating system's keyring.

Never from the configuration file, and never into a log, the journal, Redis or the database. The
environment wins, so that a headless engine never asks a keyring. A keyring may take as long as a
person who is asked to unlock it: it is read on a thread of its own and waited for a few seconds of
real time, also where the engine's time is simulated. Without a key the engine runs, and refuses
what has to be signed: `why` says so in words.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from engine.model.desk_key import DeskKey
from engine.model.errors import ConfigurationError, VaultUnavailable
from engine.ports.keys import KeyVault

DESK_KEY_VARIABLE = "SEAWALL_DESK_KEY"
DESK_KEY_ENTRY = "desk-key"
VAULT_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class FoundKey:
    """The desk key, or none; `why` says where it came from, or why there is none."""

    key: DeskKey
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
        text = await _read(vault, wait_s)
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


async def _read(vault: KeyVault, wait_s: float) -> str | None:
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
            text, error = vault.read(DESK_KEY_ENTRY), None
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


__all__ = ["DESK_KEY_ENTRY", "DESK_KEY_VARIABLE", "FoundKey", "find_desk_key", "read_desk_key"]
