"""`seawall keys`: a secret comes in by the terminal or by stdin, and never out again."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import keyring.backends.fail
import keyring.backends.null
import pytest

from console.arguments import build_parser
from console.cli import main
from engine.kernel.keys import API_KEY_VARIABLE, API_SECRET_VARIABLE

KEY, SECRET = "a-key-of-the-exchange-wxyz", "the-secret-of-that-key"
ENTRY = ("seawall", "api-key/binance/testnet")
_ROOT = Path(__file__).resolve().parents[3]


class _Keyring(keyring.backends.null.Keyring):
    """A real backend of the library, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> _Keyring:
    for variable in (API_KEY_VARIABLE, API_SECRET_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    made = _Keyring()
    monkeypatch.setattr(keyring.core, "_keyring_backend", made)
    return made


def _keys(monkeypatch: pytest.MonkeyPatch, *words: str, typed: str = "", status: int = 0) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert main(["keys", words[0], "binance", "testnet", *words[1:]]) == status


def test_a_key_is_kept_found_and_forgotten(
    backend: _Keyring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _keys(monkeypatch, "show", status=1)
    assert "there is no API key for binance, account testnet" in capsys.readouterr().out
    _keys(monkeypatch, "set", typed=f"{KEY}\n{SECRET}\n")
    assert json.loads(backend.kept[ENTRY]) == {"key": KEY, "secret": SECRET}
    _keys(monkeypatch, "show")
    _keys(monkeypatch, "show", "--json")
    said = capsys.readouterr()
    where = "the operating system's keyring"
    assert f"kept in {where}: binance, account testnet, its key ends with wxyz" in said.out
    shown = json.loads(said.out[said.out.index("{") :])
    assert shown == {
        "venue": "binance",
        "account": "testnet",
        "found": True,
        "where": where,
        "key_ends_with": "wxyz",
    }
    _keys(monkeypatch, "forget")
    _keys(monkeypatch, "forget", status=1)
    assert backend.kept == {}
    said_after = capsys.readouterr()
    for hidden in (KEY, SECRET):
        assert hidden not in said.out + said.err + said_after.out + said_after.err


def test_a_key_in_the_environment_is_shown_as_the_one_that_counts(
    backend: _Keyring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _keys(monkeypatch, "set", typed=f"{KEY}\n{SECRET}\n")
    monkeypatch.setenv(API_KEY_VARIABLE, "another-key-of-the-exchange-0000")
    monkeypatch.setenv(API_SECRET_VARIABLE, SECRET)
    _keys(monkeypatch, "show", "--json")
    shown = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert shown["where"] == f"{API_KEY_VARIABLE} and {API_SECRET_VARIABLE}"
    assert shown["key_ends_with"] == "0000"


def test_without_names_it_is_the_key_of_the_configuration(
    backend: _Keyring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "seawall.toml"
    config.write_text('[node]\nname = "px-01"\n[venue]\nname = "binance"\n')
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\n{SECRET}\n"))
    assert main(["keys", "set", "--config", str(config)]) == 0
    assert list(backend.kept) == [("seawall", "api-key/binance/px-01")]


def test_half_a_key_is_not_kept(
    backend: _Keyring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _keys(monkeypatch, "set", typed=f"{KEY}\n", status=2)
    assert backend.kept == {}
    said = capsys.readouterr().err
    assert "needs both a key and a secret" in said
    assert KEY not in said


def test_without_a_keyring_the_variables_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", keyring.backends.fail.Keyring())
    _keys(monkeypatch, "set", typed=f"{KEY}\n{SECRET}\n", status=1)
    said = capsys.readouterr().err
    assert "there is no keyring on this machine" in said
    assert f"set {API_KEY_VARIABLE} and {API_SECRET_VARIABLE}" in said


def test_no_argument_takes_a_key() -> None:
    """What stands in a command line, every user of the machine can read."""
    with pytest.raises(SystemExit):
        build_parser("0").parse_args(["keys", "set", "binance", "testnet", KEY])


def test_a_terminal_does_not_echo_what_is_typed(tmp_path: Path) -> None:
    """The real program on a real terminal, with a keyring of the test's in its process."""
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "console", "keys", "set", "bybit", "live"],
        cwd=_ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={
            **os.environ,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "HOME": str(tmp_path),
        },
    )
    os.close(theirs)
    seen = b""
    try:
        for prompt, typed in ((b"API key: ", KEY), (b"API secret: ", SECRET)):
            while prompt not in seen:
                seen += os.read(ours, 1024)
            os.write(ours, typed.encode() + b"\n")
        while b"kept in" not in seen:
            seen += os.read(ours, 1024)
        assert program.wait(20) == 0
    finally:
        program.kill()
        program.wait(20)
        os.close(ours)
    assert KEY.encode() not in seen
    assert SECRET.encode() not in seen
