"""The desk key: the environment first, then the key vault, and never quoted."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

import keyring.backends.fail
import keyring.backends.null
import pytest

from engine.kernel.keyring_vault import KEYRING_SERVICE, KeyringVault
from engine.kernel.keys import DESK_KEY_ENTRY, DESK_KEY_VARIABLE, find_desk_key, read_desk_key
from engine.model.desk_key import DeskKey
from engine.model.errors import ConfigurationError, VaultUnavailable
from engine.runtime import run_simulated

KEY = "0123456789abcdef0123456789abcdef"


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


class _Keyring(keyring.backends.null.Keyring):
    """A real backend of the library, in memory."""

    def get_password(self, service: str, username: str) -> str | None:
        return KEY if (service, username) == (KEYRING_SERVICE, DESK_KEY_ENTRY) else None


def test_the_keyring_library_is_asked_for_our_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", _Keyring())
    assert KeyringVault().read(DESK_KEY_ENTRY) == KEY
    assert KeyringVault().read("another") is None


def test_a_machine_without_a_keyring_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", keyring.backends.fail.Keyring())
    with pytest.raises(VaultUnavailable, match="there is no keyring on this machine"):
        KeyringVault().read(DESK_KEY_ENTRY)
