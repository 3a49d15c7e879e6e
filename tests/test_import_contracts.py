"""Proves that the import contracts can break: each planted fault is found and named.

The real packages are copied, one forbidden import is added, and import-linter runs with the real
configuration. Without this, a contract that silently matches nothing would look kept for ever.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_LINT = "from importlinter.cli import lint_imports_command as run; run(['--no-logo', '--no-cache'])"


@pytest.fixture(scope="module")
def copy_of_the_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("project")
    for package in ("engine", "console", "desk_client"):
        shutil.copytree(
            _ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(_ROOT / "pyproject.toml", copy)
    return copy


def _lint(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _LINT], cwd=project, capture_output=True, text=True, check=False
    )


def _plant(project: Path, module: str, code: str) -> Path:
    """Add a module, and the packages above it that do not exist yet; return what to remove."""
    path = project / f"{module.replace('.', '/')}.py"
    first_new = path
    for folder in path.parents:
        if (folder / "__init__.py").exists() or folder == project:
            break
        first_new = folder
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in path.parents:
        if folder == project:
            break
        (folder / "__init__.py").touch()
    path.write_text(f"{code}\n")
    return first_new


@pytest.mark.parametrize(
    ("module", "code", "named"),
    [
        ("engine.runtime.planted", "import PySide6", "engine.runtime.planted"),
        ("engine.bus.planted", "import qasync", "engine.bus.planted"),
        ("engine.model.planted", "import console", "engine.model.planted"),
        ("engine.venues.binance.planted", "import engine.venues.paper", "venues.binance.planted"),
        ("engine.venues.transport.planted", "import engine.venues.binance", "transport.planted"),
        ("console.planted", "import engine.runtime", "console.planted"),
        ("console.views.planted", "from engine.latch import LatchFile", "console.views.planted"),
        ("engine.model.planted", "import engine.runtime", "engine.model.planted"),
        ("engine.api.planted", "import redis", "engine.api.planted"),
        ("engine.runtime.planted", "import sqlite3", "engine.runtime.planted"),
        ("engine.redis_link.planted", "import keyring", "engine.redis_link.planted"),
        ("engine.latch.planted", "import engine.runtime", "engine.latch.planted"),
        ("engine.emergency_stop.planted", "import redis", "engine.emergency_stop.planted"),
        ("console.viewmodels.planted", "import PySide6.QtCore", "console.viewmodels.planted"),
        ("desk_client.planted", "import engine.model", "desk_client.planted"),
        ("engine.model.planted", "import desk_client", "engine.model.planted"),
        ("engine.unplaced.planted", "", "engine.unplaced"),
    ],
)
def test_a_planted_import_breaks_a_contract(
    copy_of_the_project: Path, module: str, code: str, named: str
) -> None:
    planted = _plant(copy_of_the_project, module, code)
    try:
        finished = _lint(copy_of_the_project)
    finally:
        if planted.is_dir():
            shutil.rmtree(planted)
        else:
            planted.unlink()
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert named in finished.stdout.split("Broken contracts")[-1]


def test_the_copy_without_a_fault_is_kept(copy_of_the_project: Path) -> None:
    finished = _lint(copy_of_the_project)
    assert finished.returncode == 0, finished.stdout + finished.stderr
