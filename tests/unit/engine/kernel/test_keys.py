"""The desk key and the exchange's: the environment first, then the vault, and never quoted."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

import keyring.backends.fail
import keyring.backends.null
import pytest

from engine.kernel.keyring_vault import KEYRING_SERVICE, KeyringVault
from engine.kernel.keys import (
    API_KEY_VARIABLE,
    API_SECRET_VARIABLE,
    DESK_KEY_ENTRY,
    DESK_KEY_VARIABLE,
    api_key_entry,
    find_api_key,
    find_desk_key,
    read_desk_key,
    stored_text,
)
from engine.model.api_key import ApiKey
from engine.model.desk_key import DeskKey
from engine.model.errors import ConfigurationError, VaultUnavailable
from engine.runtime import run_simulated

KEY = "0123456789abcdef0123456789abcdef"
API_KEY, API_SECRET = "a-key-of-the-exchange", "the-secret-of-that-key"
ENTRY = "api-key/binance/testnet"


class _Vault:
    """A vault of the test's own."""

    name = "the test's vault"

    def __init__(self, read: Callable[[], str | None]) -> None:
        self._read = read
        self.asked: list[tuple[str, str]] = []

    def read(self, entry: str) -> str | None:
        self.asked.append((entry, threading.current_thread().name))
        return self._read()


def _fails() -> str | None:
    raise VaultUnavailable("there is no keyring on this machine")


def test_the_environment_has_the_key() -> None:
    key = read_desk_key({DESK_KEY_VARIABLE: KEY})
    assert key.verifies(key.sign("a"), "a")


def test_without_the_variable_there_is_no_key() -> None:
    assert not read_desk_key({})


def test_a_short_key_names_the_variable_and_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError, match=DESK_KEY_VARIABLE) as refused:
        read_desk_key({DESK_KEY_VARIABLE: "hunter2"})
    assert "hunter2" not in str(refused.value)


async def test_the_environment_wins_and_no_vault_is_asked() -> None:
    vault = _Vault(lambda: "another key of sixteen bytes")
    found = await find_desk_key({DESK_KEY_VARIABLE: KEY}, vault)
    assert found.key.sign("a") == DeskKey(KEY).sign("a")
    assert found.why == f"from {DESK_KEY_VARIABLE}"
    assert vault.asked == []


async def test_the_vault_is_asked_off_the_loop() -> None:
    vault = _Vault(lambda: KEY)
    found = await find_desk_key({}, vault)
    assert found.key.sign("a") == DeskKey(KEY).sign("a")
    assert vault.asked == [(DESK_KEY_ENTRY, "key-vault")]
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda: None, "none in SEAWALL_DESK_KEY and none in the test's vault"),
        (_fails, "none in SEAWALL_DESK_KEY, and there is no keyring on this machine"),
    ],
)
async def test_no_key_is_no_error_and_is_said_in_words(
    read: Callable[[], str | None], words: str
) -> None:
    found = await find_desk_key({}, _Vault(read))
    assert not found.key
    assert found.why == words


async def test_a_vault_that_waits_for_a_person_is_left_behind() -> None:
    unlocked = threading.Event()

    def read() -> str | None:
        unlocked.wait(10)
        return KEY

    try:
        found = await find_desk_key({}, _Vault(read), wait_s=0.05)
    finally:
        unlocked.set()
    assert not found.key
    assert "did not answer within 0.05 s; is it locked?" in found.why


def test_the_wait_is_of_real_time_when_the_engines_time_is_simulated() -> None:
    async def found_key(_: object) -> str:
        return (await find_desk_key({}, _Vault(lambda: KEY))).why

    assert run_simulated(found_key, start_ns=0) == "from the test's vault"


async def test_a_short_key_in_the_vault_is_refused_without_being_quoted() -> None:
    with pytest.raises(ConfigurationError, match="desk-key in the test's vault") as refused:
        await find_desk_key({}, _Vault(lambda: "hunter2"))
    assert "hunter2" not in str(refused.value)


def test_a_crash_report_with_the_variables_of_each_frame_does_not_show_the_key() -> None:
    key = read_desk_key({DESK_KEY_VARIABLE: KEY})
    found = [key]

    def crash() -> None:
        mine = (key, found, {"key": key})
        raise RuntimeError(str(mine))

    try:
        crash()
    except RuntimeError as error:
        report = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "DeskKey(***)" in report
    assert KEY not in report


# --- the key of an exchange ---------------------------------------------------------------------


async def _find(environment: dict[str, str], vault: _Vault) -> ApiKey:
    return (await find_api_key(environment, vault, "binance", "testnet")).key


async def test_an_exchange_key_in_the_environment_wins_and_no_vault_is_asked() -> None:
    vault = _Vault(lambda: stored_text(ApiKey(key="another-key", secret="another-secret")))
    both = {API_KEY_VARIABLE: f" {API_KEY}\n", API_SECRET_VARIABLE: API_SECRET}
    found = await find_api_key(both, vault, "binance", "testnet")
    assert (found.key.key, found.key.secret) == (API_KEY, API_SECRET)
    assert found.why == "from SEAWALL_API_KEY and SEAWALL_API_SECRET"
    assert vault.asked == []


async def test_an_exchange_key_is_kept_by_venue_and_account() -> None:
    vault = _Vault(lambda: stored_text(ApiKey(key=API_KEY, secret=API_SECRET)))
    found = await find_api_key({}, vault, "binance", "testnet")
    assert (found.key.key, found.key.secret) == (API_KEY, API_SECRET)
    assert found.why == "from the test's vault"
    assert vault.asked == [(ENTRY, "key-vault")]
    assert API_KEY not in repr(found)
    assert API_SECRET not in repr(found)


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (lambda: None, "none in the test's vault"),
        (_fails, "there is no keyring on this machine"),
    ],
)
async def test_without_an_exchange_key_the_error_says_what_to_set(
    read: Callable[[], str | None], why: str
) -> None:
    with pytest.raises(ConfigurationError) as missing:
        await _find({}, _Vault(read))
    said = str(missing.value)
    assert "there is no API key for binance, account testnet" in said
    assert f"none in SEAWALL_API_KEY and SEAWALL_API_SECRET, and {why}" in said
    assert "set both variables, or store it with `seawall keys set binance testnet`" in said


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({API_KEY_VARIABLE: API_KEY}, "SEAWALL_API_SECRET: is empty, and SEAWALL_API_KEY is set"),
        ({API_SECRET_VARIABLE: API_SECRET, API_KEY_VARIABLE: " "}, "SEAWALL_API_KEY: is empty"),
        ({API_KEY_VARIABLE: "two words", API_SECRET_VARIABLE: API_SECRET}, "visible ASCII"),
    ],
)
async def test_half_a_key_names_the_other_half_and_asks_no_vault(
    environment: dict[str, str], words: str
) -> None:
    vault = _Vault(lambda: stored_text(ApiKey(key=API_KEY, secret=API_SECRET)))
    with pytest.raises(ConfigurationError, match=words) as refused:
        await _find(environment, vault)
    assert vault.asked == []
    for hidden in (API_KEY, API_SECRET, "two words"):
        assert hidden not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["hunter2", '{"key": "hunter2"}', '{"key": "hunter2", "secret": ""}', '["hunter2"]', "{"],
)
async def test_what_is_no_key_in_the_vault_is_refused_unquoted(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{ENTRY} in the test's vault") as refused:
        await _find({}, _Vault(lambda: text))
    assert "seawall keys set" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("venue", "account"), [("", "testnet"), ("binance", "a/b"), ("b b", "c")])
def test_an_entry_has_names_of_its_own(venue: str, account: str) -> None:
    with pytest.raises(ConfigurationError, match="must be letters, digits"):
        api_key_entry(venue, account)


# --- the operating system's keyring -------------------------------------------------------------


class _Keyring(keyring.backends.null.Keyring):
    """A real backend of the library, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = {(KEYRING_SERVICE, DESK_KEY_ENTRY): KEY}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


def test_the_keyring_library_is_asked_for_our_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", _Keyring())
    assert KeyringVault().read(DESK_KEY_ENTRY) == KEY
    assert KeyringVault().read("another") is None


def test_an_entry_is_kept_replaced_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = _Keyring()
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)
    vault = KeyringVault()
    vault.write(ENTRY, "first")
    vault.write(ENTRY, "second")
    assert backend.kept[KEYRING_SERVICE, ENTRY] == "second"
    assert vault.forget(ENTRY)
    assert not vault.forget(ENTRY)
    assert vault.read(ENTRY) is None


@pytest.mark.parametrize(
    "act",
    [
        lambda vault: vault.read(DESK_KEY_ENTRY),
        lambda vault: vault.write(ENTRY, "text"),
        lambda vault: vault.forget(ENTRY),
    ],
)
def test_a_machine_without_a_keyring_says_so(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[KeyringVault], object]
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", keyring.backends.fail.Keyring())
    with pytest.raises(VaultUnavailable, match="there is no keyring on this machine"):
        act(KeyringVault())
