"""The set-up scripts: what they decide, on values of ours, without installing anything.

That they install is proved by every run of `packaging/test.py`, which starts with it.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_PACKAGING = _ROOT / "packaging"


@pytest.fixture
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules; their folder is on the path only as long as the test runs."""
    names = ("environment", "run")
    sys.path.insert(0, str(_PACKAGING))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(_PACKAGING))
        for name in names:
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], None),
        (["--data-dir", "/tmp/desk"], None),
        (["--config=desk.toml"], None),
        (["--data-dir", "/tmp/desk", "status", "--json"], "status"),
        (["run", "--headless"], "run"),
    ],
)
def test_the_command_is_told_from_the_values_of_options(
    scripts: dict[str, ModuleType], arguments: list[str], command: str | None
) -> None:
    assert scripts["run"]._command_of(arguments) == command


def test_without_a_display_the_person_gets_a_sentence(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(scripts["run"], "ensure_qt_libraries", list)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(scripts["environment"].SetupProblem, match="no display"):
        scripts["run"]._check_that_a_window_can_open([])


def test_without_qt_libraries_only_what_draws_is_refused(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def missing() -> list[str]:
        asked.append("asked")
        return ["libegl1"]

    monkeypatch.setattr(scripts["run"], "ensure_qt_libraries", missing)
    scripts["run"]._check_that_a_window_can_open(["status", "--json"])
    assert asked == []
    with pytest.raises(scripts["environment"].SetupProblem, match="cannot open"):
        scripts["run"]._check_that_a_window_can_open(["screenshot", "shots"])


def test_a_missing_library_is_named_by_its_package_and_not_installed_by_a_plain_user(
    scripts: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment = scripts["environment"]
    libraries = {"libc.so.6": "libc6", "libnosuchthing.so.9": "libnosuchthing9"}
    monkeypatch.setattr(environment, "_QT_LIBRARIES", libraries)
    monkeypatch.setattr(environment, "_has_a_font", lambda: True)
    monkeypatch.setattr(environment, "_may_install", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert environment.ensure_qt_libraries() == ["libnosuchthing9"]
    spoken = capsys.readouterr()
    assert spoken.out == ""
    assert "apt-get install libnosuchthing9" in spoken.err


def test_an_old_python_gets_a_sentence(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts["environment"], "_PYTHON_MIN", (99, 0))
    with pytest.raises(scripts["environment"].SetupProblem, match="needs Python"):
        scripts["environment"].ensure_dependencies(["run"])


def test_a_changed_lock_file_changes_the_fingerprint(
    scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1\n")
    before = scripts["environment"]._fingerprint([lock])
    assert scripts["environment"]._fingerprint([lock]) == before
    lock.write_text("a==2\n")
    assert scripts["environment"]._fingerprint([lock]) != before


def test_the_lock_files_hold_exact_versions_with_hashes_and_no_addresses() -> None:
    locks = sorted(_PACKAGING.glob("requirements-*.lock"))
    assert {lock.stem for lock in locks} >= {"requirements-run", "requirements-dev"}
    for lock in locks:
        text = lock.read_text()
        assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links", text), lock.name
        requirements = re.findall(r"^[A-Za-z].*?(?=^[A-Za-z]|\Z)", text, re.M | re.S)
        assert requirements
        for requirement in requirements:
            assert re.match(r"[a-z0-9-]+==[\w.]+( ; [^\\]+)? \\\n", requirement), requirement[:80]
            assert "--hash=sha256:" in requirement, requirement[:80]


def test_the_lock_files_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    locked = {
        group: set(re.findall(r"^([a-z0-9-]+)==", (_PACKAGING / file).read_text(), re.M))
        for group, file in (("run", "requirements-run.lock"), ("dev", "requirements-dev.lock"))
    }
    asked = {
        "run": project["dependencies"],
        "dev": project["optional-dependencies"]["dev"],
    }
    for group, requirements in asked.items():
        names = {re.split(r"[=<>;~! ]", each)[0].lower() for each in requirements}
        assert names <= locked[group]


def test_continuous_integration_runs_the_same_command_as_everybody() -> None:
    script = (_ROOT / ".ci" / "run").read_text()
    assert [line for line in script.splitlines() if "python" in line] == [
        "exec python3 packaging/test.py"
    ]


def test_a_wrong_use_of_the_test_command_is_refused_in_words() -> None:
    finished = subprocess.run(
        [sys.executable, str(_PACKAGING / "test.py"), "--campaign", "x", "tests/unit"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "takes no pytest arguments" in finished.stderr


def test_packaging_holds_scripts_and_is_no_package() -> None:
    assert not (_PACKAGING / "__init__.py").exists()
